"""Training of the VAE (the encoder alone, the decoder alone) and the latent cache."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import torch

import drawing
import models
import scene
import world
from common import Average, Clock, Muon, autocast, load, log, rank, save, schedule
from measure import compare, measure

C = models.LATENT_CHANNELS
CHANNELS_LAST = torch.channels_last_3d
SINGLE = 0.45  # the part of the decoder's training that draws single frames


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(((a.clamp(-1, 1) - b) / 2).square().mean()))


def read_error(latent: torch.Tensor, meaning: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Squared error of the latent against its meaning; the shape's name counts most."""
    error = ((latent - meaning).square() * scene.IMPORTANCE.view(1, -1, 1, 1, 1)).mean(1, keepdim=True)
    return (error * weight).sum() / weight.sum()


def training_batch(count: int, rng: random.Random, frames: int | None = None) -> world.Batch:
    """Training clips, a quarter of them spinning: turned outlines are the hardest to draw."""
    cells = []
    for _ in range(count):
        cell = world.sample_cell(rng)
        turning = replace(cell, motion="spin")
        cells.append(turning if rng.random() < 0.17 and not turning.held_out else cell)
    return world.render_batch(cells, rng, frames)


def disturbed(meaning: torch.Tensor, most: float) -> torch.Tensor:
    """Noise of a random strength a clip, in proportion to the spread of each channel."""
    spread = meaning.std((0, 2, 3, 4), keepdim=True)
    return meaning + spread * most * torch.rand(len(meaning), 1, 1, 1, 1) * torch.randn_like(meaning)


class Stage:
    """What the two stages share: optimiser, averaged weights, log, checkpoint, and going on from it."""

    def __init__(self, work: Path, name: str, modules: dict, seconds: float, seed: int, begin: float | None):
        self.file, self.name, self.modules, self.seconds = work / f"{name}.pt", name, modules, seconds
        named = [(f"{k}.{n}", p) for k, m in modules.items() for n, p in m.named_parameters()]
        self.params = [p for _, p in named]
        self.optimizer = Muon([dict(params=named, lr=1e-3, muon=3e-3)])
        self.average, spent = Average(modules, 0.998), 0.0
        state = load(self.file)
        self.known = set(state["modules"] if state else modules)
        if state:
            for k, m in modules.items():
                if k in state["modules"]:
                    m.load_state_dict(state["modules"][k])
                    self.average.shadow[k] = state["average"][0][k]
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.n = state["average"][1]
            spent = state["spent"] if begin is None else begin * seconds
        self.rng = random.Random(f"{seed}/{name}/{rank()}/{self.optimizer.t}")
        torch.manual_seed(1000 * seed + 100 * self.optimizer.t + rank())
        self.clock, self.shown = Clock(seconds, spent, self.params, pause=240), []

    def step(self, loss: torch.Tensor, *values: float) -> None:
        for p in self.params:
            p.grad = None
        loss.backward()
        self.optimizer.step(schedule(self.clock.done))
        self.average.update()
        self.shown.append(values)
        if self.optimizer.t % 100 == 0:
            mean = " ".join(f"{sum(v) / len(v):.4f}" for v in zip(*self.shown))
            log(f"{self.name} {self.clock.done:.3f} step {self.optimizer.t}: {mean}")
            self.shown = []

    def pause(self, report) -> None:
        """Every few minutes: the report for the averaged weights, and a checkpoint."""
        if self.clock.evaluate:
            self.end(report, self.clock.done)

    def end(self, report, done: float = 1.0) -> None:
        self.average.swap()
        if rank() == 0:
            log(f"{self.name} {done:.3f} " + report())
        self.average.swap()
        save(self.file, {"modules": {k: m.state_dict() for k, m in self.modules.items() if k in self.known},
                         "optimizer": self.optimizer.state_dict(), "spent": done * self.seconds,
                         "average": (self.average.shadow, self.average.n)})


def averaged(work: Path, name: str, part: str) -> dict | None:
    """The averaged weights of one module of a stage that ran before."""
    state = load(work / f"{name}.pt")
    return state["average"][0][part] if state else None


def train_encoder(work: Path, seconds: float, seed: int, batch_size: int, compiled: bool,
                  begin: float | None = None) -> None:
    """The encoder alone learns to read the scene: single frames first, then clips."""
    vae = models.make_vae().to(memory_format=CHANNELS_LAST)
    stage = Stage(work, "encoder", {"encoder": vae.encoder}, seconds, seed, begin)

    def error(video, meaning, weight):
        with autocast():
            latent = vae.encoder(video)[:, :C].float()
        return read_error(latent, meaning, weight)

    step = torch.compile(error, dynamic=False) if compiled else error
    held = {f: world.make_batch(16, random.Random(9), held_out=True, frames=f) for f in (1, None)}

    def report() -> str:
        with torch.no_grad():
            return " ".join(f"frames {f or 17}: {float(error(b.video, *scene.code(b))):.4f}" for f, b in held.items())

    while stage.clock.tick():
        single = stage.clock.done < 0.35
        batch = training_batch(batch_size * (4 if single else 1), stage.rng, 1 if single else None)
        loss = step(batch.video, *scene.code(batch))
        stage.step(loss, loss.item())
        stage.pause(report)
    stage.end(report)


def unify_time(decoder) -> None:
    """After training on single frames: make every upsampler treat both time halves alike.

    Single frames only train the second half (the first is cut away). The residual of the upsampler
    feeds different channels to the two halves, so the difference goes into the centre tap.
    """
    with torch.no_grad():
        for block in decoder.up_blocks:
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


def train_decoder(work: Path, seconds: float, seed: int, batch_size: int, compiled: bool,
                  begin: float | None = None) -> None:
    """The decoder alone learns to draw a scene from its meaning: single frames first, then clips, some of
    them as the trained encoder reads them."""
    vae, readouts = best(work), drawing.Readouts()
    encoder, decoder = vae.encoder.requires_grad_(False), vae.decoder
    stage = Stage(work, "decoder", {"decoder": decoder, "readouts": readouts}, seconds, seed, begin)

    def draw(latent, known, rows, columns, slots, target, dist, complete):
        with autocast():
            out, wrong = drawing.draw(decoder, readouts, latent, known, rows, columns, slots)
        return drawing.pixel_loss(out, target, dist, complete), wrong

    step = torch.compile(draw, dynamic=False) if compiled else draw
    taught = 0.5 if "readouts" in stage.known else 0.0  # fresh read-outs would pull a trained decoder about
    held = {f: world.make_batch(24, random.Random(9), held_out=True, frames=f) for f in (1, None)}

    def report() -> str:
        b = held[1 if stage.clock.done < SINGLE else None]
        return quality(draw_all(decoder, scene.code(b)[0]), b)

    single = stage.clock.done < SINGLE
    while stage.clock.tick():
        done = stage.clock.done
        if single and done >= SINGLE:
            single = False
            unify_time(decoder)
            stage.average = Average(stage.modules, 0.998)
        batch = training_batch(batch_size * (4 if single else 1), stage.rng, 1 if single else None)
        latent = scene.code(batch)[0]
        if not single and stage.rng.random() < 0.4:
            latent = read_all(encoder, batch.video)
        where, shown = drawing.choose_windows(batch)
        loss, wrong = step(disturbed(latent, 0.08 * done), drawing.readout_targets(batch.dist), *where, *shown)
        stage.step(loss + taught * (1 - 0.8 * done) * wrong, loss.item(), wrong.item())
        stage.pause(report)
    stage.end(report)


@torch.no_grad()
def read_all(encoder, video: torch.Tensor) -> torch.Tensor:
    with autocast():
        return torch.cat([encoder(part)[:, :C].float() for part in video.split(8)])


@torch.no_grad()
def draw_all(decoder, latent: torch.Tensor) -> torch.Tensor:
    with autocast():
        return torch.cat([decoder(part).float() for part in latent.split(8)])


def quality(out: torch.Tensor, batch: world.Batch) -> str:
    """PSNR of everything, PSNR near the object, and what the scorer reads off the clips."""
    near = (batch.dist < 3)[:, None].expand_as(out)
    hits = [compare(c, measure(v)) for c, v in zip(batch.cells, out)]
    return (f"psnr {psnr(out, batch.video):.2f} object {psnr(out[near], batch.video[near]):.2f} "
            + " ".join(f"{k} {sum(h[k] for h in hits) / len(hits):.2f}" for k in hits[0]))


def best(work: Path):
    """The VAE as far as it is trained, averaged weights, with the statistics of the latents."""
    vae, stats = models.make_vae().to(memory_format=CHANNELS_LAST), load(work / "stats.pt")
    for part, module in (("encoder", vae.encoder), ("decoder", vae.decoder)):
        weights = averaged(work, part, part)
        if weights:
            module.load_state_dict(weights, strict=False)
    if stats:
        vae.latents_mean.copy_(stats["mean"])
        vae.latents_std.copy_(stats["std"])
    return vae.eval()


def cache(work: Path, clips: int, seed: int) -> None:
    """The meaning of `clips` training clips, and the per-channel statistics.

    The encoder was taught exactly this, so the transformer need not wait for it.
    """
    rng = random.Random(f"{seed}/cache/{rank()}")
    latents, cells = [], []
    while len(cells) < clips:
        batch = world.make_batch(64, rng)
        latents.append(scene.code(batch)[0].half())
        cells += batch.cells
    latent = torch.cat(latents)
    save(work / "cache.pt", {"latents": latent, "cells": cells})
    values = latent.float()
    save(work / "stats.pt", {"mean": values.mean((0, 2, 3, 4)), "std": values.std((0, 2, 3, 4))})
    log(f"cached {len(latent)} clips, std {values.std((0, 2, 3, 4)).min():.2f} to {values.std((0, 2, 3, 4)).max():.2f}")
