"""Training of the transformer (with the text encoder) on cached latents, and a small sampler."""

from __future__ import annotations

import random
from pathlib import Path

import torch
import torch.nn.functional as F

import models
import world
from common import Average, Clock, Muon, autocast, load, log, rank, save, schedule
from text import Tokenizer, load_text_encoder
from vae import C, best

LENGTH = 40  # text tokens in training; no caption is longer
ROWS = world.SIZE // 32
PER_FRAME = ROWS * ROWS


def coordinates(frames: int, rows: int, columns: int, fps: float, causal: bool = True) -> torch.Tensor:
    """[3, tokens]: seconds, y and x of the latent grid, in pixels of the full-size video."""
    f = torch.arange(frames, dtype=torch.float32) * 8
    if causal:
        f = (f - 7).clamp(min=0)
    grid = torch.meshgrid(f / fps, torch.arange(rows) * 32.0, torch.arange(columns) * 32.0, indexing="ij")
    return torch.stack([g.flatten() for g in grid])


def rope_table(model, coords: torch.Tensor, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = model.rope(torch.zeros(coords.shape[0], 1, 1), video_coords=coords)
    return cos.to(dtype), sin.to(dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-b, a], -1).flatten(-2)
    return x * cos + turned * sin


def attend(attn, x, context, rope=None, bias=None):
    """Attention of one LTX block as plain batched products (faster than SDPA for 48 tokens)."""
    q, k, v = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(context)), attn.to_v(context)
    if rope is not None:
        q, k = rotate(q.float(), *rope).to(v.dtype), rotate(k.float(), *rope).to(v.dtype)
    q, k, v = (t.to(v.dtype).unflatten(2, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v))
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias[:, None]
    out = scores.softmax(-1).to(v.dtype) @ v
    return attn.to_out[0](out.transpose(1, 2).flatten(2))


def predict(model, x, times, context, mask, cos, sin):
    """The diffusers forward with two timesteps per clip: `times` [B, 2] for the first latent frame
    and for the rest, so that the modulation is computed twice per clip and not once per token."""
    b, n, _ = x.shape
    head = PER_FRAME

    def spread(v):  # [B, 2, ...] -> [B, N, ...]
        return torch.cat([v[:, :1].expand(-1, head, *v.shape[2:]),
                          v[:, 1:].expand(-1, n - head, *v.shape[2:])], 1)

    bias = ((1 - mask.float()) * -10000.0)[:, None]
    h = model.proj_in(x)
    temb, emb = model.time_embed(times.flatten(), batch_size=b, hidden_dtype=h.dtype)
    temb, emb = temb.view(b, 2, 6, -1), emb.view(b, 2, 1, -1)
    context = model.caption_projection(context)
    for block in model.transformer_blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            spread(v) for v in (block.scale_shift_table + temb).unbind(2))
        y = block.norm1(h) * (1 + scale1) + shift1
        h = h + attend(block.attn1, y, y, (cos, sin)) * gate1
        h = h + attend(block.attn2, h, context, bias=bias)
        y = block.norm2(h) * (1 + scale2) + shift2
        h = h + block.ff(y) * gate2
    shift, scale = (spread(v) for v in (model.scale_shift_table + emb).unbind(2))
    return model.proj_out(model.norm_out(h) * (1 + scale) + shift)


def pack(latent: torch.Tensor) -> torch.Tensor:
    return latent.flatten(2).transpose(1, 2)


def make_loss(model, text, compiled: bool):
    def step(clean, noise, times, ids, mask, t5_mask, cos, sin):
        with autocast():
            context = text(input_ids=ids, attention_mask=t5_mask).last_hidden_state
            sigma = torch.cat([times[:, :1].expand(-1, PER_FRAME),
                               times[:, 1:].expand(-1, clean.shape[1] - PER_FRAME)], 1)[..., None]
            x = (1 - sigma) * clean + sigma * noise
            v = predict(model, x, times * 1000, context, mask, cos, sin).float()
        active = (sigma > 0).float()
        error = (v - (noise - clean)).square().mean(-1, keepdim=True) * active
        per_clip = error.sum((1, 2)) / active.sum((1, 2))
        return per_clip.mean(), per_clip, x - sigma * v

    return torch.compile(step, dynamic=False) if compiled else step


@torch.no_grad()
def sample(model, text, tokenizer, captions: list[str], seed: int, steps: int, guidance: float,
           first: torch.Tensor | None = None, frames: int = 3, fps: float = world.FPS) -> torch.Tensor:
    """Normalised latents [B, C, F, 4, 4]; `first` are clean first latent frames [B, C, 1, 4, 4]."""
    b = len(captions)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(b, frames * PER_FRAME, C, generator=generator)
    if first is not None:
        x[:, :PER_FRAME] = pack(first)
    ids, mask = tokenizer(captions + [""] * b)
    context = text(input_ids=ids, attention_mask=mask).last_hidden_state
    rope = rope_table(model, coordinates(frames, ROWS, ROWS, fps)[None])
    sigmas = [1 - i / steps for i in range(steps)] + [0.0]
    for now, after in zip(sigmas, sigmas[1:]):
        times = torch.full((2 * b, 2), now * 1000)
        if first is not None:
            times[:, 0] = 0
        with autocast():
            v = predict(model, torch.cat([x, x]), times, context, mask, *rope).float()
        v = v[b:] + guidance * (v[:b] - v[b:])
        if first is not None:
            v[:, :PER_FRAME] = 0
        x = x + (after - now) * v
    return x.transpose(1, 2).unflatten(2, (frames, ROWS, ROWS))


def decode(vae, latent: torch.Tensor) -> torch.Tensor:
    shape = (1, -1, 1, 1, 1)
    raw = latent * vae.latents_std.view(shape) + vae.latents_mean.view(shape)
    with torch.no_grad(), autocast():
        return torch.cat([vae.decoder(part).float() for part in raw.split(8)])


def evaluate(model, text, tokenizer, vae, count: int, steps: int = 12, guidance: float = 3.0) -> str:
    from measure import compare, measure
    rng = random.Random(77)
    cells = [world.sample_cell(rng, held_out=True) for _ in range(count)]
    captions = [world.caption(c, rng) for c in cells]
    latent = sample(model, text, tokenizer, captions, 5, steps, guidance)
    hits = [compare(c, measure(v)) for c, v in zip(cells, decode(vae, latent))]
    return "held-out " + " ".join(f"{k} {sum(h[k] for h in hits) / count:.3f}" for k in hits[0])


def train(work: Path, seconds: float, seed: int, batch_size: int, compiled: bool = True) -> None:
    cache, stats = load(work / "cache.pt"), load(work / "stats.pt")
    tokenizer = Tokenizer(work / "tokenizer")
    text, model = load_text_encoder(work), models.make_transformer()
    latents = ((cache["latents"].float() - stats["mean"].view(1, -1, 1, 1, 1)) / stats["std"].view(1, -1, 1, 1, 1))
    latents = latents.flatten(2).transpose(1, 2).contiguous()
    cells = cache["cells"]
    modules = {"transformer": model, "text": text}
    groups = [dict(params=[(f"{k}.{n}", p) for n, p in m.named_parameters()], lr=lr, muon=muon)
              for (k, m), lr, muon in zip(modules.items(), (1e-3, 2e-4), (2.5e-3, 0))]
    params = [p for g in groups for _, p in g["params"]]
    optimizer, average, spent = Muon(groups), Average(modules, 0.998), 0.0
    state = load(work / "transformer.pt")
    if state:
        model.load_state_dict(state["transformer"])
        text.load_state_dict(state["text"])
        optimizer.load_state_dict(state["optimizer"])
        average.shadow, average.n, spent = state["average"], state["n"], state["spent"]
    torch.manual_seed(1000 * seed + 100 * optimizer.t + rank())
    rng = random.Random(f"{seed}/{rank()}/{optimizer.t}")
    loss_of = make_loss(model, text, compiled)
    tables = [rope_table(model, coordinates(3, ROWS, ROWS, f, causal)[None])
              for f in (8, 10, 12, 15, 20, 24, 25, 30) for causal in (True, False)]

    clock, shown = Clock(seconds, spent, params, pause=450), []
    while clock.tick():
        done = clock.done
        pick = torch.randint(len(cells), (batch_size,))
        clean = latents[pick]
        texts = ["" if rng.random() < 0.1 else world.caption(cells[i], rng) for i in pick.tolist()]
        ids, mask = tokenizer(texts, LENGTH)
        t5_mask = mask.clone()
        if rng.random() < 0.1:
            t5_mask.fill_(1)  # diffusers' plain LTXPipeline shows the padding to T5
        sigma = torch.sigmoid(0.2 + 1.1 * torch.randn(batch_size))
        uniform = torch.rand(batch_size)
        sigma = torch.where(uniform < 0.12, torch.rand(batch_size), sigma).clamp(1e-3, 1)
        times = sigma[:, None].repeat(1, 2)
        given = torch.rand(batch_size) < 0.3
        times[given, 0] = 0  # image-to-video: the first latent frame is clean, as well as an encoder reads it
        misread = 0.15 * torch.rand(batch_size, 1, 1) * given[:, None, None]
        clean[:, :PER_FRAME] += misread * torch.randn_like(clean[:, :PER_FRAME])
        table = 0 if rng.random() < 0.6 else rng.randrange(len(tables))
        loss, _, _ = loss_of(clean, torch.randn_like(clean), times, ids, mask, t5_mask, *tables[table])
        for p in params:
            p.grad = None
        loss.backward()
        optimizer.step(schedule(done))
        average.update()
        shown.append(loss.item())
        if optimizer.t % 100 == 0:
            log(f"transformer {done:.3f} step {optimizer.t} loss {sum(shown) / len(shown):.4f}")
            shown = []
        if clock.evaluate:
            average.swap()
            if rank() == 0:
                log(evaluate(model, text, tokenizer, best(work), 30))
            average.swap()
            keep(work, model, text, optimizer, average, done * seconds)
    keep(work, model, text, optimizer, average, seconds)
    average.swap()
    if rank() == 0:
        log(evaluate(model, text, tokenizer, best(work), 60))


def keep(work: Path, model, text, optimizer, average, spent: float) -> None:
    save(work / "transformer.pt", {"transformer": model.state_dict(), "text": text.state_dict(),
                                   "optimizer": optimizer.state_dict(), "average": average.shadow,
                                   "n": average.n, "spent": spent})
