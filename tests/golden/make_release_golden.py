#!/usr/bin/env python3
"""Names and shapes of the tensors in the published checkpoints, from the official code built on torch's meta device.

    python tests/golden/make_release_golden.py        # writes golden/releases.json

The configurations are those of src/pipeline/specs; that they are the published ones is checked by the parameter counts, which
equal the sizes of the published files, and by diffusers' own configurations of the same models. Of the blocks of a transformer
only the first is listed.
"""
import json
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from ltx_video.models.autoencoders.causal_video_autoencoder import CausalVideoAutoencoder
from ltx_video.models.transformers.transformer3d import Transformer3DModel

HERE = Path(__file__).parent
SPECS = HERE.parent.parent / "src" / "pipeline" / "specs"
# diffusers' configurations of the 0.9.0, 0.9.1 and 0.9.5 autoencoders.
OLD = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=(4, 3, 3, 3, 4))
TIMED = dict(decoder_block_out_channels=(256, 512, 1024), decoder_spatio_temporal_scaling=(True,) * 3, upsample_residual=(True,) * 3,
             upsample_factor=(2,) * 3, timestep_conditioning=True)
DIFFUSERS = {
    "ltxv-0.9.0": dict(OLD),
    "ltxv-0.9.1": dict(OLD, **TIMED, decoder_layers_per_block=(5, 6, 7, 8), decoder_inject_noise=(True, True, True, False)),
    "ltxv-0.9.5": dict(TIMED, block_out_channels=(128, 256, 512, 1024, 2048), down_block_types=("LTXVideo095DownBlock3D",) * 4,
                       layers_per_block=(4, 6, 6, 2, 2), spatio_temporal_scaling=(True,) * 4,
                       downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
                       decoder_layers_per_block=(5, 5, 5, 5), decoder_inject_noise=(False,) * 4),
}
MILLIONS = {"ltxv-0.9.0": 419, "ltxv-0.9.1": 935, "ltxv-0.9.5": 1247, "ltxv-2b-0.9.5": 1923, "ltxv-13b-0.9.8-dev": 13043}


def main():
    out = {}
    with torch.device("meta"):
        for name, config in DIFFUSERS.items():
            spec = json.loads((SPECS / f"{name}.json").read_text())
            vae = CausalVideoAutoencoder.from_config(spec["vae"])
            shapes = {k: list(v.shape) for k, v in vae.state_dict().items()}
            other = AutoencoderKLLTXVideo(latent_channels=128, patch_size=4, **config)
            count = sum(p.numel() for p in vae.parameters())
            assert count == sum(p.numel() for p in other.parameters()), name
            assert round(count / 1e6) == MILLIONS[name], (name, count)
            out[name] = shapes
        for name in ("ltxv-2b-0.9.5", "ltxv-13b-0.9.8-dev"):
            config = json.loads((SPECS / f"{name}.json").read_text())["transformer"]
            model = Transformer3DModel.from_config(config)
            shapes, count = {k: list(p.shape) for k, p in model.named_parameters()}, sum(p.numel() for p in model.parameters())
            other = LTXVideoTransformer3DModel(num_layers=config["num_layers"], attention_head_dim=config["attention_head_dim"],
                                               cross_attention_dim=config["cross_attention_dim"])
            assert count == sum(p.numel() for p in other.parameters()), name
            assert round(count / 1e6) == MILLIONS[name], (name, count)
            out[name] = {k: v for k, v in shapes.items() if not k.startswith("transformer_blocks.") or ".0." in k[:21]}
    text = json.dumps(out).replace('}, "ltxv', '},\n"ltxv').replace('], "', '],\n "')
    (HERE / "releases.json").write_text(text + "\n")
    print({k: len(v) for k, v in out.items()}, len(text))


main()
