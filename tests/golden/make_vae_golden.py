#!/usr/bin/env python3
"""Golden tensors of the video VAE, computed by diffusers on four small configurations.

    python tests/golden/make_vae_golden.py        # writes golden/vae/<name>.json and golden/vae/<name>.safetensors

Weights and inputs are not stored: both sides compute them from the tensor's name with integers (values below, and
support/made_weights.h). The json holds the diffusers configuration, the same model's original configuration, and the name of every
tensor in both layouts (original names from ltx_video, renamed by diffusers' own converter). Pixels are stored every third row and
column: 3 and the patch size 4 share no factor, so every position inside a patch is there.
"""
import json
import math
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from diffusers.loaders.single_file_utils import convert_ltx_vae_checkpoint_to_diffusers
from diffusers.models.autoencoders import autoencoder_kl_ltx
from ltx_video.models.autoencoders.causal_video_autoencoder import CausalVideoAutoencoder
from safetensors.torch import save_file

HERE = Path(__file__).parent / "vae"
torch.set_grad_enabled(False)
HEIGHT, WIDTH, FRAMES = 64, 32, 9
ORIGINAL = dict(_class_name="CausalVideoAutoencoder", dims=3, in_channels=3, out_channels=3, latent_channels=16, scaling_factor=1.0,
                norm_layer="pixel_norm", patch_size=4, latent_log_var="uniform", use_quant_conv=False, causal_decoder=False,
                encoder_base_channels=16, decoder_base_channels=16)
A_BLOCKS = [["res_x", 2], ["compress_all", 1], ["res_x_y", 1], ["res_x", 1], ["compress_all", 1], ["res_x_y", 1], ["res_x", 1],
            ["compress_all", 1], ["res_x", 1], ["res_x", 2]]
UP = ["compress_all", {"residual": True, "multiplier": 2}]


def res(count, noise=False):
    return ["res_x", {"num_layers": count, "inject_noise": noise}]


# Lists run from pixels to latents; every layer count occurs so that a reversed list is noticed.
CASES = {
    "strided": (
        dict(block_out_channels=(16, 32, 64, 64), decoder_block_out_channels=(16, 32, 64, 64), layers_per_block=(2, 1, 1, 1, 2),
             decoder_layers_per_block=(2, 1, 1, 1, 2)),
        dict(blocks=A_BLOCKS)),
    "noisy": (
        dict(block_out_channels=(16, 32, 64, 64), layers_per_block=(2, 1, 1, 1, 2), decoder_block_out_channels=(32, 64, 128),
             decoder_spatio_temporal_scaling=(True,) * 3, decoder_layers_per_block=(1, 2, 1, 2),
             decoder_inject_noise=(True, True, True, False), upsample_residual=(True,) * 3, upsample_factor=(2,) * 3,
             timestep_conditioning=True),
        dict(encoder_blocks=A_BLOCKS, decoder_blocks=[res(1, True), UP, res(2, True), UP, res(1, True), UP, res(2)],
             timestep_conditioning=True)),
    "folded": (
        dict(block_out_channels=(16, 32, 64, 128, 256), down_block_types=("LTXVideo095DownBlock3D",) * 4,
             downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"), spatio_temporal_scaling=(True,) * 4,
             layers_per_block=(2, 1, 1, 1, 1), decoder_block_out_channels=(32, 64, 128),
             decoder_spatio_temporal_scaling=(True,) * 3, decoder_layers_per_block=(2, 1, 2, 1), decoder_inject_noise=(False,) * 4,
             upsample_residual=(True,) * 3, upsample_factor=(2,) * 3, timestep_conditioning=True, spatial_compression_ratio=32,
             temporal_compression_ratio=8),
        dict(encoder_blocks=[["res_x", {"num_layers": 2}], ["compress_space_res", {"multiplier": 2}], ["res_x", {"num_layers": 1}],
                             ["compress_time_res", {"multiplier": 2}], ["res_x", {"num_layers": 1}],
                             ["compress_all_res", {"multiplier": 2}], ["res_x", {"num_layers": 1}],
                             ["compress_all_res", {"multiplier": 2}], ["res_x", {"num_layers": 1}]],
             decoder_blocks=[res(2), UP, res(1), UP, res(2), UP, res(1)], timestep_conditioning=True)),
    # Widths and factors of no release: the encoder keeps its width twice, the decoder keeps and changes it beside residuals.
    "uneven": (
        dict(block_out_channels=(16, 16, 32, 32, 64), down_block_types=("LTXVideo095DownBlock3D",) * 4,
             downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"), spatio_temporal_scaling=(True,) * 4,
             layers_per_block=(1,) * 5, decoder_block_out_channels=(16, 32, 48), decoder_spatio_temporal_scaling=(True,) * 3,
             decoder_layers_per_block=(1, 2, 1, 1), decoder_inject_noise=(False,) * 4, upsample_residual=(True,) * 3,
             upsample_factor=(1,) * 3, spatial_compression_ratio=32, temporal_compression_ratio=8),
        None),
}


def made(name, shape, scale, offset=0.0):
    """Values in offset + scale * [-1, 1), exact in f32 for scales that are powers of two; made_weights.h has the same."""
    seed = 2166136261
    for byte in name.encode():
        seed = (seed ^ byte) * 16777619 & 0xFFFFFFFF
    with np.errstate(over="ignore"):
        h = np.arange(math.prod(shape), dtype=np.uint32) * np.uint32(2654435761) + np.uint32(seed)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        h = h ^ (h >> np.uint32(16))
    unit = (h >> np.uint32(8)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return torch.from_numpy(unit * np.float32(scale) + np.float32(offset)).reshape(shape)


def weight(name, shape):
    if name.endswith("timestep_scale_multiplier"):
        return torch.tensor(1000.0)
    if name == "latents_std" or name.endswith("norm3.weight"):
        return made(name, shape, 0.25, 1.0)
    if name.endswith(".weight"):
        return made(name, shape, 2.0 ** round(math.log2(math.sqrt(3 / math.prod(shape[1:])))))
    return made(name, shape, 0.25)


def main():
    HERE.mkdir(exist_ok=True)
    for case, (config, original) in CASES.items():
        vae = AutoencoderKLLTXVideo(latent_channels=16, **config).eval()
        vae.load_state_dict({k: weight(k, tuple(v.shape)) for k, v in vae.state_dict().items()})
        shape = lambda t: list(t.shape)
        info = {"diffusers": {k: v for k, v in vae.config.items() if not k.startswith("_")},
                "tensors": {k: shape(v) for k, v in vae.state_dict().items()}}
        if original:
            official = CausalVideoAutoencoder.from_config(dict(ORIGINAL, **original))
            names = ["vae." + k for k in official.state_dict()]
            probe = {k: k for k in names}
            # The converter tells releases apart by one width; only names pass through it here.
            probe["vae.encoder.conv_out.conv.weight"] = torch.empty(1, 2048 if case == "folded" else 1)
            kept = dict(probe)
            renamed = convert_ltx_vae_checkpoint_to_diffusers(dict(probe))
            identity = {id(v): k for k, v in kept.items()}
            back = {identity[id(v)]: k for k, v in renamed.items()}
            back |= {"vae.per_channel_statistics.mean-of-means": "latents_mean", "vae.per_channel_statistics.std-of-means": "latents_std"}
            assert set(back.values()) == set(vae.state_dict()), set(back.values()) ^ set(vae.state_dict())
            info["original"] = dict(ORIGINAL, **original)
            info["original_names"] = back
        batch = 2 if case == "uneven" else 1
        pixels = made("pixels", (batch, 3, FRAMES, HEIGHT, WIDTH), 1.0)
        latents = made("latents", (batch, 16, (FRAMES - 1) // 8 + 1, HEIGHT // 32, WIDTH // 32), 2.0)
        mean, std = (t.view(1, -1, 1, 1, 1) for t in (vae.latents_mean, vae.latents_std))
        draws = []

        def randn(size, **_):
            draws.append(list(size))
            return made(f"decoder_{len(draws) - 1:02}", tuple(size), 1.0)

        real, torch.randn = torch.randn, randn
        time = torch.full((batch,), 0.05) if config.get("timestep_conditioning") else None
        decoded = vae.decode(latents * std + mean, time, return_dict=False)[0]
        torch.randn = real
        encoded = (vae.encode(pixels).latent_dist.mean - mean) / std
        info["injected_noise"] = draws
        (HERE / f"{case}.json").write_text(json.dumps(info, separators=(",", ":"), sort_keys=True) + "\n")
        tensors = {"encoded": encoded.contiguous(), "decoded_thirds": decoded[..., ::3, ::3].contiguous()}
        path = HERE / f"{case}.safetensors"
        save_file(tensors, str(path))
        path.chmod(0o644)
        print(case, {k: (shape(v), round(float(v.std()), 3)) for k, v in tensors.items()}, len(draws), "draws")


if __name__ == "__main__":
    main()
