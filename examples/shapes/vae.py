"""Training of the VAE, the latent cache, and the final decoder-only fine-tune."""

from __future__ import annotations

import math
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import models
import world
from common import Average, Clock, Muon, load, log, rank, save, schedule, world_size
from judge import alpha_of, crops, labels_of, load_judge
from text import ATTRIBUTES, attribute_labels
from windows import WINDOW, choose_windows, cut, shape_loss, window_loss

C = models.LATENT_CHANNELS
CHANNELS_LAST = torch.channels_last_3d


class LatentHeads(nn.Module):
    """Linear read-outs of the mean latent, only used in training.

    They keep everything a caption says linearly readable from the pooled latent, and where the object
    is, how large and how turned, from every token; the encoder learns this long before the decoder
    can make use of it.
    """

    def __init__(self):
        super().__init__()
        self.head = nn.ModuleDict({k: nn.Linear(C, len(v)) for k, v in ATTRIBUTES.items()})
        self.place = nn.Linear(C, 39)

    def loss(self, latent: torch.Tensor, batch: world.Batch) -> torch.Tensor:
        frames = latent.shape[2]
        pooled = latent.float().mean((2, 3, 4))
        labels = attribute_labels(batch.cells)
        names = [k for k in ATTRIBUTES if frames > 1 or k not in ("motion", "size")]
        naming = sum(F.cross_entropy(self.head[k](pooled), labels[k]) for k in names)
        target, weight = places(batch.path, frames)
        error = (self.place(latent.float().movedim(1, -1)) - target).square().mean(-1)
        return naming + 10 * (error * weight).sum() / weight.sum()


def places(path: torch.Tensor, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Path [B, T, 4] -> what each token should tell [B, F, 4, 4, 39], and how much that matters.

    At the first, middle and last frame of the token: the centre relative to the token (linear and as
    sines of two wavelengths), the radius, the rotation.
    """
    times = torch.tensor([[max(0, 8 * f - 7), max(0, 8 * f - 4), 8 * f] for f in range(frames)])
    state = path[:, times]  # [B, F, 3, 4]
    middle = torch.arange(4) * 32.0 + 16
    parts, offsets = [], []
    for axis, view in ((0, (1, 1, 1, 4, 1)), (1, (1, 1, 4, 1, 1))):
        rel = state[:, :, None, None, :, axis] - middle.view(view)
        rel = rel.expand(-1, -1, 4, 4, -1)
        offsets.append(rel.mean(-1))
        parts.append(rel / 64)
        for wave in (96.0, 32.0):
            phase = rel * (2 * math.pi / wave)
            parts += [phase.sin(), phase.cos()]
    rest = torch.cat([state[..., 2] / 28, state[..., 3].cos(), state[..., 3].sin()], -1)
    parts.append(rest[:, :, None, None].expand(-1, -1, 4, 4, -1))
    away = torch.hypot(*offsets)
    return torch.cat(parts, -1), 0.05 + torch.exp(-away / 30)


def make_step(vae, compiled: bool):
    def step(video, noise, target, dist, rows, columns):
        with torch.autocast("cpu", torch.bfloat16):
            latent = vae.encoder(video)[:, :C].float()
        noisy = latent + noise * latent.detach().std()
        loss, out = window_loss(vae.decoder, noisy, target, dist, rows, columns)
        return loss, latent, out

    if not compiled:
        return step
    torch._dynamo.config.cache_size_limit = 64
    return torch.compile(step, dynamic=False)


def unify_time(vae) -> None:
    """After training on single frames: make every upsampler treat both time halves alike.

    Single frames only train the second half (the first is cut away). The residual of the upsampler
    feeds different channels to the two halves, so the difference goes into the centre tap.
    """
    with torch.no_grad():
        for block in vae.decoder.up_blocks:
            conv = block.upsamplers[0].conv.conv
            c = conv.in_channels
            w = conv.weight.view(c, 2, 4, c, 3, 3, 3)
            b = conv.bias.view(c, 2, 4)
            w[:, 0], b[:, 0] = w[:, 1], b[:, 1]
            for out in range(c):
                for sub in range(4):
                    base = (out % (c // 8)) * 8 + sub
                    w[out, 0, sub, base + 4, 1, 1, 1] += 1
                    w[out, 0, sub, base, 1, 1, 1] -= 1


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(((a.clamp(-1, 1) - b) / 2).square().mean()))


@torch.no_grad()
def evaluate(vae, judge, count: int = 24, frames: int | None = None) -> str:
    """Round trip of held-out clips: PSNR of everything, PSNR near the object, shape accuracy."""
    rng = random.Random(9)
    batch = world.make_batch(count, rng, held_out=True, frames=frames)
    outs = []
    for video in batch.video.split(8):
        with torch.autocast("cpu", torch.bfloat16):
            outs.append(vae.decoder(vae.encoder(video)[:, :C].float()).float())
    out = torch.cat(outs)
    near = (batch.dist < 3)[:, None].expand_as(out)
    text = f"psnr {psnr(out, batch.video):.2f} object {psnr(out[near], batch.video[near]):.2f}"
    if judge is not None:
        logits, _ = judge(crops(alpha_of(out, batch.cells).flatten(0, 1), batch.path.flatten(0, 1)))
        hits = logits.argmax(1) == labels_of(batch.cells).repeat_interleave(out.shape[2])
        text += f" shape {hits.float().mean():.3f}"
    return text


def train(work: Path, image_seconds: float, seconds: float, seed: int, batch_size: int, compiled: bool) -> None:
    """First single frames, then whole clips; each phase has its own optimiser and cosine."""
    vae = models.make_vae().to(memory_format=CHANNELS_LAST)
    heads, judge = LatentHeads(), load_judge(work)
    named = [(f"vae.{n}", p) for n, p in vae.named_parameters()]
    named += [(f"heads.{n}", p) for n, p in heads.named_parameters()]
    params = [p for _, p in named]
    state = load(work / "vae.pt") or {"finished": []}
    finished = state["finished"]
    if "vae" in state:
        vae.load_state_dict(state["vae"])
        heads.load_state_dict(state["heads"], strict=False)
    step = make_step(vae, compiled)
    for phase, length in (("images", image_seconds), ("clips", seconds)):
        if phase in finished:
            continue
        frames = 1 if phase == "images" else None
        optimizer = Muon([dict(params=named, lr=1e-3, muon=3e-3)])
        average, offset = Average({"vae": vae}, 0.998 if phase == "images" else 0.996), 0.0
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
            average.shadow, average.n = state["average"]
            offset, state = state["spent"], {}
        rng = random.Random(f"{seed}/{phase}/{rank()}/{optimizer.t}")
        random.seed(f"{seed}/{phase}/{rank()}")
        torch.manual_seed(1000 * seed + 100 * optimizer.t + rank())
        clock, shown = Clock(length, offset, params), torch.zeros(5)
        while clock.tick():
            done = clock.done
            batch = world.make_batch(batch_size * (8 if frames else 1), rng, frames=frames)
            noise = torch.randn(len(batch.cells), C, (batch.video.shape[2] + 7) // 8, 4, 4)
            noise *= 0.15 * torch.rand(len(batch.cells), 1, 1, 1, 1)
            corner = choose_windows(batch.path)
            spots = corner[:, :, None] + torch.arange(WINDOW)
            local = cut(batch.dist, corner)
            loss, latent, out = step(batch.video, noise, cut(batch.video, corner), local,
                                     spots[:, 0], spots[:, 1])
            total = loss + 3e-4 * latent.square().mean()
            naming = heads.loss(latent, batch)
            total = total + 0.02 * (1 - 0.7 * done) * naming
            hits = 0.0
            if judge is not None:
                extra, hits = shape_loss(judge, out, local, corner, batch)
                total = total + 0.5 * extra
            for p in params:
                p.grad = None
            total.backward()
            optimizer.step(schedule(done))
            average.update()
            shown += torch.tensor([loss.item(), hits, latent.detach().std().item(), naming.item(), 1])
            if optimizer.t % 50 == 0:
                value = shown / shown[4]
                log(f"{phase} {done:.3f} step {optimizer.t} loss {value[0]:.4f} shape {value[1]:.3f} "
                    f"latent std {value[2]:.2f} heads {value[3]:.2f}")
                shown.zero_()
            if clock.evaluate:
                average.swap()
                if rank() == 0:
                    log(evaluate(vae, judge, frames=frames))
                average.swap()
                save(work / "vae.pt", {"vae": vae.state_dict(), "heads": heads.state_dict(),
                                       "finished": finished, "spent": done * length,
                                       "optimizer": optimizer.state_dict(),
                                       "average": (average.shadow, average.n)})
        average.swap()
        if rank() == 0:
            log(f"end of {phase}: " + evaluate(vae, judge, 48, frames))
        if phase == "images":
            unify_time(vae)
        finished = [*finished, phase]
        save(work / "vae.pt", {"vae": vae.state_dict(), "heads": heads.state_dict(), "finished": finished})


def cache(work: Path, clips: int, seed: int) -> None:
    """Latent means of `clips` training clips, and the per-channel statistics."""
    vae = models.make_vae().to(memory_format=CHANNELS_LAST)
    vae.load_state_dict(load(work / "vae.pt")["vae"])
    rng = random.Random(f"{seed}/cache/{rank()}")
    encode = torch.compile(lambda video: vae.encoder(video)[:, :C].float(), dynamic=False)
    latents, cells, paths = [], [], []
    while len(cells) < clips // world_size():
        batch = world.make_batch(8, rng)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            latents.append(encode(batch.video).half())
        cells += batch.cells
        paths.append(batch.path)
        if len(cells) % 800 == 0:
            log(f"cached {len(cells)} clips on each rank")
    part = work / f"cache.{rank()}.pt"
    torch.save((torch.cat(latents), cells, torch.cat(paths)), part)
    if world_size() > 1:
        torch.distributed.barrier()
    if rank() == 0:
        parts = [torch.load(work / f"cache.{r}.pt", weights_only=False) for r in range(world_size())]
        latent = torch.cat([p[0] for p in parts])
        save(work / "cache.pt", {"latents": latent, "cells": sum((p[1] for p in parts), []),
                                 "paths": torch.cat([p[2] for p in parts])})
        values = latent.float()
        save(work / "stats.pt", {"mean": values.mean((0, 2, 3, 4)), "std": values.std((0, 2, 3, 4))})
        log(f"cached {len(latent)} clips, std {values.std((0, 2, 3, 4)).min():.2f} to "
            f"{values.std((0, 2, 3, 4)).max():.2f}")
