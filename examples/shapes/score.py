"""Scores the `shapes` model on captions of held-out cells, from the frames alone.

    python score.py --ltxv path/to/ltxv --model model --count 100 --json result.json
    python score.py --diffusers --model model --count 100
    python score.py --diffusers --model model --count 24 --image      (image-to-video)
    python score.py --diffusers --model model --count 50 --roundtrip  (the VAE alone)

The measurement (measure.py) is untrained; `--check` scores the renderer itself.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import measure
import world


class Binary:
    """Runs `ltxv generate`, one process per clip."""

    def __init__(self, program: str, model: Path, steps: int | None, extra: list[str]):
        self.command = [program, "generate"]
        self.options = ["-m", str(model), *extra]
        if steps:
            self.options += ["--steps", str(steps)]

    def __call__(self, caption: str, seed: int, first: torch.Tensor | None) -> torch.Tensor:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "clip.safetensors"
            call = [*self.command, caption, *self.options, "-o", str(out), "--seed", str(seed)]
            if first is not None:
                image = Path(folder) / "first.png"
                pixels = ((first + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
                Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(image)
                call += ["--image", str(image)]
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
            return load_file(str(out))["frames"][0].float()


class Diffusers:
    """The same model through the classes of diffusers, with the causal coordinates it was trained on."""

    def __init__(self, model: Path, steps: int | None, guidance: float | None):
        from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
        from transformers import T5EncoderModel

        from text import Tokenizer
        f32 = dict(torch_dtype=torch.float32)
        self.vae = AutoencoderKLLTXVideo.from_pretrained(model, subfolder="vae", **f32)
        self.transformer = LTXVideoTransformer3DModel.from_pretrained(model, subfolder="transformer", **f32)
        self.text = T5EncoderModel.from_pretrained(model, subfolder="text_encoder", **f32).float()
        self.tokenizer = Tokenizer(model / "tokenizer")
        preset = json.loads((model / "ltxv.json").read_text())["preset"]
        self.steps = steps or preset["num_inference_steps"]
        self.guidance = guidance or preset["guidance_scale"]

    @torch.no_grad()
    def encode(self, video: torch.Tensor) -> torch.Tensor:
        """[3, T, H, W] -> raw latent means."""
        return self.vae.encode(video[None]).latent_dist.mode()

    @torch.no_grad()
    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(raw).sample[0].float()

    @torch.no_grad()
    def __call__(self, caption: str, seed: int, first: torch.Tensor | None) -> torch.Tensor:
        from denoiser import coordinates
        mean, std = (v.view(1, -1, 1, 1, 1) for v in (self.vae.latents_mean, self.vae.latents_std))
        x = torch.randn(1, self.transformer.config.in_channels, 3, 4, 4,
                        generator=torch.Generator().manual_seed(seed))
        keep = torch.zeros(1, 48)
        if first is not None:
            x[:, :, :1] = (self.encode(first[:, None]) - mean) / std
            keep[:, :16] = 1
        x = x.flatten(2).transpose(1, 2)
        ids, mask = self.tokenizer([caption, ""])
        context = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        coords = coordinates(3, 4, 4, world.FPS)[None].expand(2, -1, -1)
        for i in range(self.steps):
            now = 1 - i / self.steps
            times = (now * 1000 * (1 - keep))[..., None].expand(2, -1, -1)
            v = self.transformer(hidden_states=torch.cat([x, x]), encoder_hidden_states=context,
                                 timestep=times[..., 0], encoder_attention_mask=mask,
                                 video_coords=coords, return_dict=False)[0]
            v = v[1:] + self.guidance * (v[:1] - v[1:])
            x = x - v * (1 - keep)[..., None] / self.steps
        return self.decode(x.transpose(1, 2).unflatten(2, (3, 4, 4)) * std + mean)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(((a.clamp(-1, 1) - b) / 2).square().mean().clamp(min=1e-10)))


def write_sheet(path: Path, clips: list[torch.Tensor]) -> None:
    """A picture with one row per clip, every second frame."""
    rows = [torch.cat(list(c[:, ::2].unbind(1)), dim=2) for c in clips]
    pixels = ((torch.cat(rows, dim=1).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).numpy().astype(np.uint8)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--ltxv", default="ltxv", help="the program to score")
    parser.add_argument("--extra", action="append", default=[], help="further argument for the program")
    parser.add_argument("--diffusers", action="store_true", help="score through diffusers instead")
    parser.add_argument("--check", action="store_true", help="score the renderer instead of a model")
    parser.add_argument("--image", action="store_true", help="image-to-video from a rendered first frame")
    parser.add_argument("--roundtrip", action="store_true", help="encode and decode rendered clips")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float, help="only with --diffusers")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the first clips")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_grad_enabled(False)

    if args.check:
        model = None
    elif args.diffusers or args.roundtrip:
        model = Diffusers(args.model, args.steps, args.guidance)
    else:
        model = Binary(args.ltxv, args.model, args.steps, args.extra)
    rng = random.Random(args.seed)
    rows, clips, began = [], [], time.time()
    for i in range(args.count):
        cell = world.sample_cell(rng, held_out=True)
        caption = world.caption(cell, rng)
        real = world.render_batch([cell], rng).video[0]
        if args.check:
            clip = real
        elif args.roundtrip:
            clip = model.decode(model.encode(real))
        else:
            clip = model(caption, args.seed + i, real[:, 0] if args.image else None)
        got = measure.measure(clip)
        row = {"caption": caption, **{k: getattr(cell, k) for k in ("shape", "color", "background", "motion", "size")},
               "measured": {k: getattr(got, k) for k in ("shape", "color", "background", "motion", "size")},
               "overlap": got.scores[got.shape], "correct": measure.compare(cell, got)}
        if args.roundtrip:
            row["psnr"] = psnr(clip, real)
        if args.image:
            row["first_frame_psnr"] = psnr(clip[:, 0], real[:, 0])
        rows.append(row)
        clips.append(clip)
    keys = ("shape", "color", "background", "size", "motion")
    result = {"count": args.count, "seconds": round(time.time() - began, 1),
              **{k: sum(r["correct"][k] for r in rows) / args.count for k in keys}}
    for k in ("psnr", "first_frame_psnr"):
        if k in rows[0]:
            result[k + "_mean"] = sum(r[k] for r in rows) / args.count
            result[k + "_min"] = min(r[k] for r in rows)
    for k, v in result.items():
        print(f"{k:22s} {v:.3f}" if isinstance(v, float) else f"{k:22s} {v}")
    for r in rows:
        wrong = [f"{k}: {r['measured'][k]}" for k in keys if not r["correct"][k]]
        if wrong:
            print(f"  {r['caption']!r}  ->  {', '.join(wrong)}")
    if args.sheet:
        write_sheet(args.sheet, clips[:16])
    if args.json:
        args.json.write_text(json.dumps({"result": result, "clips": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
