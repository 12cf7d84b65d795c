"""Reads a model folder back into checkpoints, to go on training where the checkpoints themselves are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

import models
from common import Average, log, save


def fill(module: torch.nn.Module, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    missing, unknown = module.load_state_dict(weights, strict=False)
    tied = {"encoder.embed_tokens.weight"}  # stored once, as `shared.weight`
    if set(missing) - tied or unknown:
        raise SystemExit(f"{type(module).__name__}: missing {missing}, unknown {unknown}")
    return module


def restart(folder: Path, work: Path) -> None:
    """Writes encoder.pt, decoder.pt, text.pt, transformer.pt, stats.pt and the tokenizer into `work`, as the stages
    write them but without the optimiser's memory and the decoder's read-outs; `--begin` tells a stage where it stands."""
    read = lambda name: {k: v.float() for k, v in load_file(folder / name).items()}
    vae = read("vae/diffusion_pytorch_model.safetensors")
    optimizer, made = {"state": {}, "t": 0}, models.make_vae()
    for part, module in (("encoder", made.encoder), ("decoder", made.decoder)):
        fill(module, {k[len(part) + 1:]: v for k, v in vae.items() if k.startswith(part + ".")})
        average = Average({part: module}, 0.998)
        save(work / f"{part}.pt", {"modules": {part: module.state_dict()}, "optimizer": optimizer, "spent": 0.0,
                                   "average": (average.shadow, average.n)})
    save(work / "stats.pt", {"mean": vae["latents_mean"], "std": vae["latents_std"]})

    text = fill(models.make_text_encoder(), read("text_encoder/model.safetensors"))
    transformer = fill(models.make_transformer(), read("transformer/diffusion_pytorch_model.safetensors"))
    average = Average({"transformer": transformer, "text": text}, 0.998)
    save(work / "text.pt", {"model": text.state_dict()})
    save(work / "transformer.pt", {"transformer": transformer.state_dict(), "text": text.state_dict(), "optimizer": optimizer,
                                   "average": average.shadow, "n": 0, "spent": 0.0})
    shutil.copytree(folder / "tokenizer", work / "tokenizer", dirs_exist_ok=True)
    log(f"wrote the checkpoints of {folder} to {work}")
