#!/usr/bin/env python3
"""Writes a checkpoint of full size with the tensor names, shapes, types and metadata of a published one, and random values.

    python tests/full_size/make_checkpoint.py 2b-0.9.8 /data/2b.safetensors         # 6.3 GB
    python tests/full_size/make_checkpoint.py t5-xxl /data/t5                       # a folder, 9.5 GB; -fp16, and -fp32 of 19 GB

Names and shapes of the single files are those of tests/golden/releases.json (the official classes on torch's meta device), the
metadata is put together from src/pipeline/specs. T5's follow from its configuration. Values are cut from one block of normal numbers
(seed, and the tensor's name), scaled to 1/sqrt(fan in): memory stays flat, and the disk sets the pace. Needs numpy only.
"""

import argparse
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np

TOP = Path(__file__).resolve().parents[2]
BLOCK = 1 << 22  # normal numbers, used again and again from changing places
# Kind: transformer and VAE in releases.json, spec, blocks, element types (matrices of blocks, everything else).
KINDS = {
    "2b-0.9.0": ("ltxv-2b-0.9.5", "ltxv-0.9.0", "ltxv-2b-0.9.0", 28, "F32", "F32"),
    "2b-0.9.8": ("ltxv-2b-0.9.5", "ltxv-0.9.5", "ltxv-2b-0.9.8-distilled", 28, "BF16", "BF16"),
    "13b-0.9.8-fp8": ("ltxv-13b-0.9.8-dev", "ltxv-0.9.5", "ltxv-13b-0.9.8-dev", 48, "F8_E4M3", "BF16"),
}
T5 = dict(vocab_size=32128, d_model=4096, d_kv=64, num_heads=64, d_ff=10240, num_layers=24, feed_forward_proj="gated-gelu",
          dropout_rate=0.1, is_encoder_decoder=True, use_cache=True, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
          layer_norm_epsilon=1e-6, relative_attention_max_distance=128, relative_attention_num_buckets=32, tie_word_embeddings=False)
T5_KINDS = {"t5-xxl": "BF16", "t5-xxl-fp16": "F16", "t5-xxl-fp32": "F32"}
STATISTICS = ("channel", "mean-of-means", "mean-of-stds", "mean-of-stds_over_std-of-means", "std-of-means")
BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1}


def spec_of(name: str) -> dict:
    """A built-in description, completed from its bases."""
    specs = {s["name"]: s for s in map(json.loads, (p.read_text() for p in (TOP / "src/pipeline/specs").glob("*.json")))}
    spec = specs[name]
    while "base" in spec:
        base = specs[spec["base"]]
        spec = {**base, **{k: v for k, v in spec.items() if k != "base"}, **({"base": base["base"]} if "base" in base else {})}
    return spec


def single_file(kind: str) -> tuple[list, dict]:
    """[(name, shape, type)], metadata."""
    transformer, vae, release, blocks, matrix_type, other_type = KINDS[kind]
    published = json.loads((TOP / "tests/golden/releases.json").read_text())
    tensors = []
    for name, shape in published[transformer].items():
        first = "transformer_blocks.0."
        copies = [first.replace("0", str(i)) + name[len(first):] for i in range(blocks)] if name.startswith(first) else [name]
        matrix = name.startswith(first) and len(shape) == 2 and name.endswith(".weight")
        tensors += [("model.diffusion_model." + n, shape, matrix_type if matrix else other_type) for n in copies]
    tensors += [("vae." + name, shape, other_type) for name, shape in published[vae].items()]
    # Published files carry five statistics of each latent channel; the class gets them from outside.
    tensors += [("vae.per_channel_statistics." + name, [128], other_type) for name in STATISTICS]
    spec = spec_of(release)
    config = {part: spec[part] for part in ("transformer", "vae", "scheduler")}
    sigmas = spec["presets"]["default"].get("sigmas")
    if sigmas:
        config["allowed_inference_steps"] = sigmas
    return tensors, {"config": json.dumps(config)}


def t5_encoder(kind: str) -> list:
    width, inner, ff = T5["d_model"], T5["d_kv"] * T5["num_heads"], T5["d_ff"]
    tensors = [("shared.weight", [T5["vocab_size"], width]), ("encoder.final_layer_norm.weight", [width])]
    for i in range(T5["num_layers"]):
        attention, dense = f"encoder.block.{i}.layer.0.", f"encoder.block.{i}.layer.1."
        tensors += [(attention + f"SelfAttention.{m}.weight", [inner, width]) for m in "qkv"]
        tensors += [(attention + "SelfAttention.o.weight", [width, inner]), (attention + "layer_norm.weight", [width]),
                    (dense + "DenseReluDense.wi_0.weight", [ff, width]), (dense + "DenseReluDense.wi_1.weight", [ff, width]),
                    (dense + "DenseReluDense.wo.weight", [width, ff]), (dense + "layer_norm.weight", [width])]
    tensors.append(("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                    [T5["relative_attention_num_buckets"], T5["num_heads"]]))
    return [(name, shape, kind) for name, shape in tensors]


def e4m3_values() -> np.ndarray:
    """The 127 finite values of codes 0x00 to 0x7e."""
    codes = np.arange(127)
    exponent, mantissa = codes >> 3, codes & 7
    return np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))


class Noise:
    def __init__(self, seed: int):
        self.seed = seed
        self.normal = np.random.Generator(np.random.Philox(seed)).standard_normal(BLOCK, dtype=np.float32)
        self.stored: dict = {}  # the block, by scale, shift and type

    def block(self, scale: float, shift: float, kind: str) -> np.ndarray:
        key = (scale, shift, kind)
        if key not in self.stored:
            values = self.normal * np.float32(scale) + np.float32(shift)
            if kind == "BF16":
                bits = values.view(np.uint32)
                values = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
            elif kind == "F16":
                values = values.astype(np.float16)
            elif kind == "F8_E4M3":
                table = e4m3_values()
                nearest = np.searchsorted((table[1:] + table[:-1]) / 2, np.abs(values)).astype(np.uint8)
                values = nearest | (np.signbit(values).astype(np.uint8) << 7)
            if len(self.stored) >= 24:
                self.stored.clear()
            self.stored[key] = np.concatenate([values, values])  # any stretch of BLOCK numbers is one piece
        return self.stored[key]

    def write(self, file, name: str, shape: list, kind: str) -> None:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        scale, shift = fan_in**-0.5, 0.0
        if "norm" in name and name.endswith("weight"):
            scale, shift = 0.0, 1.0
        elif name.endswith("std-of-means"):
            scale, shift = 0.05, 1.0
        elif name.endswith("timestep_scale_multiplier"):
            scale, shift = 0.0, 1000.0
        elif len(shape) < 2:
            scale = 0.02
        elif name == "shared.weight":
            scale = 1.0
        elif name.endswith("SelfAttention.q.weight"):  # T5 does not divide its scores by sqrt(d_kv)
            scale *= T5["d_kv"] ** -0.5
        block = self.block(scale, shift, kind)
        left, at = int(np.prod(shape)), zlib.crc32(name.encode()) ^ self.seed
        while left > 0:
            at = at * 2654435761 % BLOCK
            count = min(left, BLOCK)
            file.write(block[at:at + count].data)
            left, at = left - count, at + 1


def write_file(path: Path, tensors: list, metadata: dict, noise: Noise) -> int:
    header, at = {"__metadata__": metadata}, 0
    for name, shape, kind in tensors:
        size = int(np.prod(shape)) * BYTES[kind]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape, kind in tensors:
            noise.write(file, name, shape, kind)
    return 8 + len(text) + at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[*KINDS, *T5_KINDS])
    parser.add_argument("output", type=Path, help="a file; for T5 a folder, which also gets a small tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    noise = Noise(args.seed)
    if args.kind in T5_KINDS:
        encoder, tokenizer = args.output / "text_encoder", args.output / "tokenizer"
        encoder.mkdir(parents=True, exist_ok=True)
        tokenizer.mkdir(exist_ok=True)
        size = write_file(encoder / "model.safetensors", t5_encoder(T5_KINDS[args.kind]), {"format": "pt"}, noise)
        config = {"architectures": ["T5EncoderModel"], "model_type": "t5", **T5}
        (encoder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        for file in (TOP / "examples/shapes/model/tokenizer").iterdir():
            shutil.copy(file, tokenizer)
    else:
        size = write_file(args.output, *single_file(args.kind), noise)
    print(f"{args.output}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
