"""Writes the trained parts as a diffusers folder (fp16) with the preset the `ltxv` library reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

import models
from common import load, log
from vae import best

PRESET = {
    "name": "shapes",
    "preset": {
        "width": 128, "height": 128, "num_frames": 17, "frame_rate": 8,
        "num_inference_steps": 12, "guidance_scale": 3.0, "max_text_tokens": models.MAX_TEXT_TOKENS,
        "negative_prompt": "", "decode_timestep": 0.05, "decode_noise_scale": 0.025,
    },
}
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.32.0",
    "base_image_seq_len": 1024, "base_shift": 0.95, "invert_sigmas": False,
    "max_image_seq_len": 4096, "max_shift": 2.05, "num_train_timesteps": 1000,
    "shift": 1.0, "shift_terminal": None, "use_beta_sigmas": False, "use_dynamic_shifting": False,
    "use_exponential_sigmas": False, "use_karras_sigmas": False,
}
INDEX = {
    "_class_name": "LTXPipeline", "_diffusers_version": "0.32.0",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5Tokenizer"],
    "transformer": ["diffusers", "LTXVideoTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLLTXVideo"],
}


def write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_weights(path: Path, state: dict[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keep = {"latents_mean", "latents_std", "decoder.timestep_scale_multiplier"}
    save_file({k: (v.float() if k in keep else v.to(torch.float16)).contiguous().clone()
               for k, v in state.items()}, str(path), metadata={"format": "pt"})


def export(work: Path, output: Path) -> None:
    """Uses whatever stages exist; missing ones are written with their initial weights."""
    torch.manual_seed(0)
    vae, transformer, text = best(work), models.make_transformer(), models.make_text_encoder()
    state = load(work / "text.pt")
    if state:
        text.load_state_dict(state["model"])
    state = load(work / "transformer.pt")
    if state:
        transformer.load_state_dict(state["average"]["transformer"])
        text.load_state_dict(state["average"]["text"], strict=False)  # the embedding is stored once

    write_json(output / "model_index.json", INDEX)
    write_json(output / "scheduler/scheduler_config.json", SCHEDULER)
    write_json(output / "ltxv.json", PRESET)
    shutil.copytree(work / "tokenizer", output / "tokenizer", dirs_exist_ok=True)
    write_json(output / "text_encoder/config.json",
               {"architectures": ["T5EncoderModel"], "model_type": "t5", **models.TEXT,
                "dense_act_fn": "gelu_new", "is_gated_act": True, "initializer_factor": 1.0,
                "layer_norm_epsilon": 1e-6, "relative_attention_max_distance": 128,
                "relative_attention_num_buckets": 32, "torch_dtype": "float16"})
    weights = {k: v for k, v in text.state_dict().items() if k != "encoder.embed_tokens.weight"}
    write_weights(output / "text_encoder/model.safetensors", weights)
    write_json(output / "transformer/config.json",
               {"_class_name": "LTXVideoTransformer3DModel", "_diffusers_version": "0.32.0",
                **models.TRANSFORMER, "activation_fn": "gelu-approximate", "attention_bias": True,
                "attention_out_bias": True, "norm_elementwise_affine": False, "norm_eps": 1e-6,
                "causal_temporal_positioning": True})
    write_weights(output / "transformer/diffusion_pytorch_model.safetensors", transformer.state_dict())
    write_json(output / "vae/config.json",
               {"_class_name": "AutoencoderKLLTXVideo", "_diffusers_version": "0.32.0", **models.VAE,
                "resnet_norm_eps": 1e-6, "scaling_factor": 1.0})
    write_weights(output / "vae/diffusion_pytorch_model.safetensors", vae.state_dict())
    size = sum(f.stat().st_size for f in output.rglob("*.safetensors"))
    log(f"wrote {output}, {size / 1e6:.2f} MB of weights")
