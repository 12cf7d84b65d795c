#!/usr/bin/env python3
"""Golden tensors of narrow weights: what the gguf package and torch make of every stored form, and two small models in such files.

    python tests/golden/make_narrow_golden.py        # writes golden/narrow/*

`blocks.safetensors`: random bytes of every block type and their values by gguf.quants; all 256 patterns of both fp8 types by torch.
`transformer.gguf`, `t5.gguf`, `transformer_fp8.safetensors`, `t5_scaled.safetensors`: models with random weights as other tools
write them; `models.safetensors`: what diffusers and transformers compute with the same weights widened to f32.
"""
import math
import os
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from safetensors.torch import save_file

HERE = Path(__file__).parent / "narrow"
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208]}  # where the blocks hold f16 scales
WIDTH, CAPTION, CHANNELS = 32, 32, 8
torch.set_grad_enabled(False)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def fill(module, seed):
    """Matrices by fan-in, biases 0.1, norms around 1, tables 0.35."""
    g = generator(seed)
    for name, p in sorted(module.named_parameters()):
        noise = torch.randn(p.shape, generator=g)
        leaf = name.split(".")[-1]
        scale = 0.35 if leaf == "scale_shift_table" else 0.1 if leaf == "bias" else 1 / math.sqrt(p.shape[-1])
        if "shared" in name or "relative_attention_bias" in name:
            scale = 1
        p.data.copy_(1 + 0.2 * noise if p.ndim == 1 and leaf == "weight" else scale * noise)
    return module.eval()


def blocks():
    random = np.random.default_rng(5)
    out = {}
    for name, offsets in HALVES.items():
        elements, size = GGML_QUANT_SIZES[Type[name]]
        count = 512 // elements * 3  # 3 rows of 512 elements
        raw = random.integers(0, 256, (count, size), dtype=np.uint8)
        for offset in offsets:
            halves = (random.standard_normal(count) * 0.02).astype(np.float16)
            halves[0] = np.float16(3e-6)  # a subnormal scale
            raw[:, offset:offset + 2] = halves.view(np.uint8).reshape(count, 2)
        raw = raw.reshape(3, -1)
        out[f"{name}/in_bytes"] = torch.from_numpy(raw.copy())
        out[f"{name}/values"] = torch.from_numpy(dequantize(raw, Type[name]).astype(np.float32).reshape(3, 512))
    patterns = torch.arange(256, dtype=torch.uint8)
    for name, dtype in (("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)):
        values = patterns.view(dtype).float()
        finite = torch.isfinite(values)
        out[f"{name}/in_bytes"], out[f"{name}/values"] = patterns[finite], values[finite]
    save("blocks", out)


def make_transformer():
    from diffusers import LTXVideoTransformer3DModel

    return fill(LTXVideoTransformer3DModel(
        in_channels=CHANNELS, out_channels=CHANNELS, patch_size=1, patch_size_t=1, num_attention_heads=2, attention_head_dim=16,
        cross_attention_dim=WIDTH, num_layers=2, activation_fn="gelu-approximate", qk_norm="rms_norm_across_heads",
        norm_elementwise_affine=False, norm_eps=1e-6, caption_channels=CAPTION, attention_bias=True, attention_out_bias=True), 1)


def make_t5():
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=64, d_model=32, d_kv=8, num_heads=4, d_ff=64, num_layers=2, feed_forward_proj="gated-gelu",
                      layer_norm_epsilon=1e-6, relative_attention_num_buckets=32, relative_attention_max_distance=128)
    return fill(T5EncoderModel(config), 2)


def original_name(name):
    for a, b in (("proj_in", "patchify_proj"), ("time_embed", "adaln_single"), ("norm_q", "q_norm"), ("norm_k", "k_norm")):
        name = name.replace(a, b)
    return name


def llama_name(name):
    for a, b in (("encoder.final_layer_norm", "enc.output_norm"), ("encoder.block.", "enc.blk."), ("shared", "token_embd"),
                 ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"), ("layer.0.SelfAttention.", "attn_"),
                 ("layer.0.layer_norm", "attn_norm"), ("layer.1.layer_norm", "ffn_norm"), ("layer.1.DenseReluDense.wi_0", "ffn_gate"),
                 ("layer.1.DenseReluDense.wi_1", "ffn_up"), ("layer.1.DenseReluDense.wo", "ffn_down")):
        name = name.replace(a, b)
    return name


# The types real files mix: matrices quantised, the head in bf16 or f16, tables, norms and biases in f32.
TYPES = {"to_q": "Q8_0", "to_k": "Q4_0", "to_v": "Q5_0", "to_out": "Q5_1", "net.0.proj": "Q4_1", "net.2": "Q8_0", "caption": "Q8_0",
         "time_embed": "BF16", "SelfAttention.q": "Q4_1", "SelfAttention.k": "Q5_0", "SelfAttention.v": "Q8_0", "SelfAttention.o": "Q4_0",
         "wi_0": "Q5_1", "wi_1": "Q8_0", "wo": "Q4_0", "shared": "Q8_0"}


def write_gguf(path, architecture, module, rename):
    """Quantises the module in place and writes it."""
    writer = GGUFWriter(str(path), architecture)
    writer.add_string("general.name", "tiny")
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc", ""])
    writer.add_float32("tiny.epsilon", 1e-6)
    seen = set()
    for name, p in sorted(module.named_parameters()):
        if p.data_ptr() in seen:
            continue
        seen.add(p.data_ptr())
        kind = next((t for part, t in TYPES.items() if part in name), "F16") if name.endswith("weight") and p.ndim == 2 else "F32"
        if "relative_attention_bias" in name:
            kind = "F16"
        if kind.startswith("Q"):
            raw = quantize(p.numpy(), Type[kind])
            p.data.copy_(torch.from_numpy(dequantize(raw, Type[kind]).reshape(p.shape)))
            writer.add_tensor(rename(name), raw, raw_dtype=Type[kind])
        elif kind == "BF16":
            p.data.copy_(p.bfloat16().float())
            writer.add_tensor(rename(name), p.bfloat16().contiguous().view(torch.uint8).numpy(), raw_dtype=Type.BF16)
        else:
            data = p.numpy().astype(np.float16 if kind == "F16" else np.float32)
            p.data.copy_(torch.from_numpy(data.astype(np.float32)))
            writer.add_tensor(rename(name), data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.chmod(0o644)


def write_fp8(name, module, rename, scaled):
    """fp8 as uploads have it: plain (every matrix, the rest bf16) or with a scale a layer."""
    out = {"scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)} if scaled else {}
    seen = set()
    for key, p in sorted(module.named_parameters()):
        if p.data_ptr() in seen:
            continue
        seen.add(p.data_ptr())
        if p.ndim != 2 or not key.endswith("weight") or "relative" in key or (scaled and "shared" in key):
            out[rename(key)] = p.bfloat16()
            p.data.copy_(p.bfloat16().float())
            continue
        scale = p.abs().max() / 448 if scaled else torch.tensor(1.0)
        narrow = (p / scale).to(torch.float8_e4m3fn)
        out[rename(key)] = narrow
        if scaled:
            out[rename(key).replace(".weight", ".scale_weight")] = scale.clone()
            out[rename(key).replace(".weight", ".scale_input")] = torch.tensor(1.0)
        p.data.copy_(narrow.float() * scale)
    save(name, out)


def save(name, tensors):
    path = HERE / f"{name}.safetensors"
    save_file({k: v.detach().contiguous().clone() for k, v in sorted(tensors.items())}, str(path))
    path.chmod(0o644)
    print(path.name, path.stat().st_size)


def models():
    g = generator(3)
    tokens, embeds = torch.randn(1, 12, CHANNELS, generator=g), torch.randn(1, 5, CAPTION, generator=g)
    grid = torch.stack(torch.meshgrid(torch.arange(2.0), torch.arange(2.0), torch.arange(3.0), indexing="ij")).flatten(1)
    positions = grid * torch.tensor([8 / 25, 32.0, 32.0])[:, None]
    ids = torch.tensor([[7, 33, 2, 60, 19, 1]])
    out = {"in_tokens": tokens, "in_embeds": embeds, "in_positions": positions, "in_sigmas": torch.tensor([0.7]), "in_ids": ids}

    def velocity(model):
        return model(hidden_states=tokens, encoder_hidden_states=embeds, timestep=torch.tensor([700.0]),
                     encoder_attention_mask=torch.ones(1, 5), video_coords=positions[None], return_dict=False)[0]

    def embeddings(model):
        return model(ids)[0]

    transformer, t5 = make_transformer(), make_t5()
    out["plain/velocity"], out["plain/embeds"] = velocity(transformer), embeddings(t5)
    write_gguf(HERE / "transformer.gguf", "ltxv", transformer, original_name)
    write_gguf(HERE / "t5.gguf", "t5encoder", t5, llama_name)
    out["gguf/velocity"], out["gguf/embeds"] = velocity(transformer), embeddings(t5)
    transformer, t5 = make_transformer(), make_t5()
    write_fp8("transformer_fp8", transformer, lambda n: "model.diffusion_model." + original_name(n), scaled=False)
    write_fp8("t5_scaled", t5, lambda n: n, scaled=True)
    out["fp8/velocity"], out["scaled/embeds"] = velocity(transformer), embeddings(t5)
    for name in ("gguf/velocity", "gguf/embeds", "fp8/velocity", "scaled/embeds"):
        plain = out["plain/" + name.split("/")[1]]
        print(name, "differs from f32 weights by", float((out[name] - plain).std() / plain.std()))
    save("models", out)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    blocks()
    models()
