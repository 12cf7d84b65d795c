"""Decoder-only training with the encoder frozen: the latent cache and the transformer stay valid.

The latents come from the cache, with noise. With a trained transformer at hand, half of them are
ones that it repaired: noised part of the way, then denoised by a few sampling steps, so that the
decoder learns its small errors away.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

import models
import world
from common import Average, Clock, Muon, load, log, rank, save, schedule
from denoiser import ROWS, coordinates, pack, predict, rope_table
from judge import load_judge
from text import Tokenizer, load_text_encoder
from vae import CHANNELS_LAST, evaluate
from windows import WINDOW, choose_windows, cut, shape_loss, window_loss

@torch.no_grad()
def repaired(model, text, tokenizer, clean, cells, rng, rope) -> torch.Tensor:
    """Normalised latents [B, N, C] noised to a level of 0.2 to 0.7 and denoised again."""
    b = len(cells)
    steps, level = rng.choice((2, 3, 4)), rng.uniform(0.2, 0.7)
    x = (1 - level) * clean + level * torch.randn_like(clean)
    ids, mask = tokenizer([world.caption(c, rng) for c in cells] + [""] * b)
    context = text(input_ids=ids, attention_mask=mask).last_hidden_state
    for i in range(steps):
        now, after = level * (1 - i / steps), level * (1 - (i + 1) / steps)
        times = torch.full((2 * b, 2), now * 1000)
        v = predict(model, torch.cat([x, x]), times, context, mask, *rope).float()
        x = x + (after - now) * (v[b:] + 3 * (v[:b] - v[b:]))
    return x


def train(work: Path, seconds: float, seed: int, batch_size: int, compiled: bool) -> None:
    cache, stats, judge = load(work / "cache.pt"), load(work / "stats.pt"), load_judge(work)
    vae = models.make_vae().to(memory_format=CHANNELS_LAST)
    vae.load_state_dict((load(work / "decoder.pt") or load(work / "vae.pt"))["vae"])
    vae.encoder.requires_grad_(False)
    tokenizer, text, model = Tokenizer(work / "tokenizer"), load_text_encoder(work), models.make_transformer()
    rope = rope_table(model, coordinates(3, ROWS, ROWS, world.FPS)[None])
    trained, seen = None, 0.0

    def newest_transformer():
        """A transformer that is still in training is picked up again and again."""
        nonlocal trained, seen
        file = work / "transformer.pt"
        if file.exists() and file.stat().st_mtime != seen:
            seen, trained = file.stat().st_mtime, load(file)
            model.load_state_dict(trained["average"]["transformer"], strict=False)
            text.load_state_dict(trained["average"]["text"], strict=False)
            log(f"repairing with the transformer after {trained['spent']:.0f} s of its training")

    mean, std = stats["mean"].view(1, -1, 1, 1, 1), stats["std"].view(1, -1, 1, 1, 1)
    named = list(vae.decoder.named_parameters())
    params = [p for _, p in named]
    optimizer = Muon([dict(params=named, lr=6e-4, muon=2e-3)])
    average = Average({"decoder": vae.decoder}, 0.995)
    rng = random.Random(f"{seed}/decoder/{rank()}")
    torch.manual_seed(seed + rank())
    step = torch.compile(window_loss, dynamic=False) if compiled else window_loss
    clock, shown = Clock(seconds, 0.0, params), torch.zeros(3)
    while clock.tick():
        done = clock.done
        pick = torch.randint(len(cache["cells"]), (batch_size,))
        cells, path = [cache["cells"][i] for i in pick.tolist()], cache["paths"][pick]
        dist = torch.stack([world.distance(c.shape, p) for c, p in zip(cells, path)])
        video = torch.stack([world.compose(c, world.coverage(d)) for c, d in zip(cells, dist)])
        batch = world.Batch(cells, video, dist, path)
        latent = (cache["latents"][pick].float() - mean) / std
        if optimizer.t % 50 == 0 and done > 0.3:
            newest_transformer()
        if trained is not None and done > 0.3:
            half = batch_size // 2
            fixed = repaired(model, text, tokenizer, pack(latent[:half]), cells[:half], rng, rope)
            latent[:half] = fixed.transpose(1, 2).unflatten(2, (3, ROWS, ROWS))
        latent = latent + 0.15 * torch.rand(batch_size, 1, 1, 1, 1) * torch.randn_like(latent)
        corner = choose_windows(path)
        cells_of = corner[:, :, None] + torch.arange(WINDOW)
        local_dist = cut(dist, corner)
        loss, out = step(vae.decoder, latent * std + mean, cut(video, corner), local_dist,
                         cells_of[:, 0], cells_of[:, 1])
        total, hits = loss, 0.0
        if judge is not None:
            extra, hits = shape_loss(judge, out, local_dist, corner, batch)
            total = total + 0.5 * extra
        for p in params:
            p.grad = None
        total.backward()
        optimizer.step(schedule(done))
        average.update()
        shown += torch.tensor([loss.item(), hits, 1])
        if optimizer.t % 50 == 0:
            log(f"decoder {done:.3f} step {optimizer.t} loss {shown[0] / shown[2]:.4f} "
                f"shape {shown[1] / shown[2]:.3f}")
            shown.zero_()
        if clock.evaluate:
            average.swap()
            if rank() == 0:
                log(evaluate(vae, judge))
            save(work / "decoder.pt", {"vae": vae.state_dict()})
            average.swap()
    average.swap()
    save(work / "decoder.pt", {"vae": vae.state_dict()})
    if rank() == 0:
        log("end of decoder: " + evaluate(vae, judge, 48))
