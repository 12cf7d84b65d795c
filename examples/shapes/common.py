"""What the training stages share: data-parallel ranks, the optimiser, averaging, checkpoints."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def setup(seed: int) -> None:
    """One thread per rank is the fastest split on small CPUs; start the ranks with torchrun."""
    if world_size() > 1:
        torch.set_num_threads(int(os.environ.get("THREADS", "1")))
        dist.init_process_group("gloo")
    torch.manual_seed(seed)


def has_bf16() -> bool:
    """Whether bf16 products are faster than fp32 here; without the instructions they are many times slower."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bf16())


def log(text: str) -> None:
    if rank() == 0:
        print(time.strftime("%H:%M:%S"), text, flush=True)


@torch.no_grad()
def average_parameters(params: list[nn.Parameter]) -> None:
    """Local steps with occasional averaging: the ranks hardly ever wait for each other."""
    if world_size() == 1:
        return
    flat = torch.cat([p.detach().flatten() for p in params])
    dist.all_reduce(flat)
    flat /= world_size()
    for p, part in zip(params, flat.split([p.numel() for p in params])):
        p.copy_(part.view_as(p))


class Clock:
    """The fraction of a stage that is done; every SYNC steps the ranks agree on it (and average).

    It counts processor time, so that a stage means the same amount of work on a busy machine."""

    SYNC = 8

    def __init__(self, seconds: float, spent: float, params: list[nn.Parameter], pause: float = 300):
        self.seconds, self.spent, self.params, self.pause = seconds, spent, params, pause
        self.steps, self.begin, self.done, self.evaluate = 0, None, spent / seconds, False
        self.last = time.time()

    def tick(self) -> bool:
        """Call once before every step; False ends the stage. The first step (compilation) is free."""
        if self.steps == 1:
            self.begin = time.process_time()
        if self.begin is not None:
            self.done = (self.spent + time.process_time() - self.begin) / self.seconds
        self.evaluate = False
        if self.steps % self.SYNC == 0:
            average_parameters(self.params)
            state = torch.tensor([self.done, time.time() - self.last], dtype=torch.float64)
            if world_size() > 1:
                dist.broadcast(state, 0)
            self.done, self.evaluate = float(state[0]), float(state[1]) > self.pause
            if self.evaluate:
                self.last = time.time()
            if self.done >= 1:
                return False
        self.done = min(self.done, 1.0)
        self.steps += 1
        return True


def orthogonalize(g: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton-Schulz iteration of the Muon optimiser: the nearest (semi-)orthogonal matrix, for one
    matrix [m, n] or a stack of them."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(torch.bfloat16 if has_bf16() else torch.float32)
    flip = x.shape[-2] > x.shape[-1]
    if flip:
        x = x.mT.contiguous()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if flip else x).float()


def direction(g: torch.Tensor) -> torch.Tensor:
    """Muon's update for a weight of two or more dimensions, with its scale.

    An upsampler's convolution is eight convolutions, one for each of the voxels it makes out of one;
    taking them one by one is also far cheaper.
    """
    rows = g.shape[0]
    flat = g.reshape(rows, -1)
    if g.ndim == 5 and rows >= 512:
        parts = flat.view(rows // 8, 8, -1).transpose(0, 1)
        flat = orthogonalize(parts).transpose(0, 1).reshape(rows, -1)
        rows //= 8
    else:
        flat = orthogonalize(flat)
    return flat.view(g.shape) * (0.2 * math.sqrt(max(rows, flat.shape[1])))


class Muon:
    """Muon on matrices and convolution kernels, Adam on everything else."""

    def __init__(self, groups: list[dict]):
        """Each group: params (list of (name, parameter)), lr (Adam), muon (Muon rate or 0)."""
        self.groups = groups
        self.state: dict[str, dict[str, torch.Tensor]] = {}
        self.t = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        self.t += 1
        for group in self.groups:
            for name, p in group["params"]:
                g = p.grad
                if g is None:
                    continue
                s = self.state.setdefault(name, {})
                m = s.setdefault("m", torch.zeros_like(p))
                if group["muon"] and p.ndim >= 2 and min(p.shape[0], p[0].numel()) > 1:
                    m.lerp_(g, 0.05)
                    p.sub_(direction(g.lerp(m, 0.95)), alpha=group["muon"] * scale)
                else:
                    v = s.setdefault("v", torch.zeros_like(p))
                    m.lerp_(g, 0.1)
                    v.lerp_(g * g, 0.01)
                    hat = (v / (1 - 0.99**self.t)).sqrt_().add_(1e-8)
                    p.addcdiv_(m / (1 - 0.9**self.t), hat, value=-group["lr"] * scale)

    def state_dict(self) -> dict:
        return {"state": self.state, "t": self.t}

    def load_state_dict(self, d: dict) -> None:
        self.state, self.t = d["state"], d["t"]


class Average:
    """Exponential moving average of parameters, with a warm start."""

    def __init__(self, modules: dict[str, nn.Module], decay: float):
        self.modules, self.decay, self.n = modules, decay, 0
        self.shadow = {k: {n: p.detach().clone() for n, p in m.named_parameters()}
                       for k, m in modules.items()}

    @torch.no_grad()
    def update(self) -> None:
        self.n += 1
        decay = min(self.decay, (1 + self.n) / (10 + self.n))
        for k, m in self.modules.items():
            pairs = [(self.shadow[k][n], p) for n, p in m.named_parameters()]
            torch._foreach_lerp_([a for a, _ in pairs], [p.detach() for _, p in pairs], 1 - decay)

    def swap(self) -> None:
        """Exchange the weights of the modules with the averages (call twice to undo)."""
        with torch.no_grad():
            for k, m in self.modules.items():
                for n, p in m.named_parameters():
                    kept = p.detach().clone()
                    p.copy_(self.shadow[k][n])
                    self.shadow[k][n].copy_(kept)


def save(path: Path, value: dict) -> None:
    if rank() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        torch.save(value, part)
        part.replace(path)


def load(path: Path) -> dict | None:
    return torch.load(path, map_location="cpu", weights_only=False) if path.exists() else None


def schedule(done: float, warmup: float = 0.02) -> float:
    """Learning-rate factor at a fraction `done` of the stage: short warm-up, cosine to zero."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))
