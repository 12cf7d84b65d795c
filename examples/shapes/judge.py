"""A small shape classifier on object-centred crops of real renders.

The VAE training matches its features (so that it pays for recognisable outlines) and the logs quote
its accuracy. It is not the scorer of score.py.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import world
from common import Muon, load, log, save, schedule

CROP, REACH = 32, 1.35  # crop size in pixels; half width of the crop in radii


def alpha_of(video: torch.Tensor, cells: list[world.Cell]) -> torch.Tensor:
    """[B, 3, T, H, W] -> estimated coverage [B, T, H, W], given the two colours."""
    fg = torch.stack([world.rgb(world.FOREGROUNDS[c.color]) for c in cells])
    bg = torch.stack([world.rgb(world.BACKGROUNDS[c.background]) for c in cells])
    axis = (fg - bg) / (fg - bg).square().sum(1, keepdim=True)
    offset = (axis * bg).sum(1)
    return torch.einsum("bc,bcthw->bthw", axis, video) - offset[:, None, None, None]


def crops(alpha: torch.Tensor, path: torch.Tensor, jitter: float = 0.0) -> torch.Tensor:
    """[N, H, W] and [N, 4] (x, y, radius, rotation) -> [N, 1, CROP, CROP], rotation kept."""
    n, size = alpha.shape[0], alpha.shape[-1]
    line = torch.linspace(-REACH, REACH, CROP)
    x, y, r = path[:, 0], path[:, 1], path[:, 2]
    if jitter:
        x, y = x + jitter * r * torch.randn(n), y + jitter * r * torch.randn(n)
        r = r * (1 + jitter * torch.randn(n))
    gx = ((x[:, None] + r[:, None] * line) / size * 2 - 1)[:, None, :].expand(n, CROP, CROP)
    gy = ((y[:, None] + r[:, None] * line) / size * 2 - 1)[:, :, None].expand(n, CROP, CROP)
    return F.grid_sample(alpha[:, None], torch.stack([gx, gy], -1), align_corners=False,
                         padding_mode="border")


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        widths = (1, 16, 32, 64, 96)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=1 if i == 0 else 2, padding=1)
                                   for i, (a, b) in enumerate(zip(widths, widths[1:])))
        self.norms = nn.ModuleList(nn.GroupNorm(8, b) for b in widths[1:])
        self.head = nn.Linear(widths[-1], len(world.SHAPES))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        features = []
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(norm(conv(x)))
            features.append(x)
        return self.head(x.amax((2, 3))), features


def degrade(x: torch.Tensor) -> torch.Tensor:
    """Random blur, contrast and noise, one strength per batch half."""
    sigma = random.choice([0, 0, 0.6, 1.0, 1.6, 2.4])
    if sigma:
        t = torch.arange(-6, 7, dtype=torch.float32)
        k = torch.exp(-t * t / (2 * sigma * sigma))
        k = (k / k.sum()).view(1, 1, 1, -1)
        x = F.conv2d(F.conv2d(x, k, padding=(0, 6)), k.transpose(2, 3), padding=(6, 0))
    return x * (1 + 0.15 * torch.randn(x.shape[0], 1, 1, 1)) + random.choice([0, 0.05, 0.15]) * torch.randn_like(x)


def labels_of(cells: list[world.Cell]) -> torch.Tensor:
    return torch.tensor([world.SHAPES.index(c.shape) for c in cells])


def train(work: Path, seconds: float, seed: int) -> None:
    random.seed(seed)
    rng = random.Random(seed)
    net = Judge()
    optimizer = Muon([dict(params=list(net.named_parameters()), lr=2e-3, muon=0)])
    start, step, hits = time.time(), 0, 0.0
    while (done := (time.time() - start) / seconds) < 1:
        cells, dists, paths = [], [], []
        for _ in range(64):
            cell = world.sample_cell(rng)
            path = world.trajectory(cell, rng)[rng.randrange(world.FRAMES)][None]
            if rng.random() < 0.15:
                path[:, 3] = rng.uniform(0, 6.3)
            cells.append(cell)
            paths.append(path)
            dists.append(world.distance(cell.shape, path))
        x = crops(world.coverage(torch.cat(dists)), torch.cat(paths), jitter=0.06)
        logits, _ = net(degrade(x))
        loss = F.cross_entropy(logits, labels_of(cells))
        net.zero_grad()
        loss.backward()
        optimizer.step(schedule(done))
        step += 1
        hits += 0.02 * ((logits.argmax(1) == labels_of(cells)).float().mean().item() - hits)
        if step % 100 == 0:
            log(f"judge step {step} loss {loss.item():.4f} accuracy {hits:.3f}")
    save(work / "judge.pt", net.state_dict())


def load_judge(work: Path) -> Judge | None:
    state = load(work / "judge.pt")
    if state is None:
        return None
    net = Judge()
    net.load_state_dict(state)
    return net.requires_grad_(False)
