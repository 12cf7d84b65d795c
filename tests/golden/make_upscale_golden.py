#!/usr/bin/env python3
"""Golden tensors of the latent upsamplers and of runs with two passes, computed by diffusers and ltx_video.

    python tests/golden/make_upscale_golden.py        # writes golden/upscale.safetensors

Weights and inputs of the upsamplers are not stored: both sides compute them from the tensor's name (make_vae_golden.py, made, and
tests/support/made_weights.h). `<case>/in_config` holds channels, width, blocks, dimensions, spatial, temporal.
"""
import torch
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
from ltx_video.models.autoencoders.latent_upsampler import LatentUpsampler
from ltx_video.pipelines.pipeline_ltx_video import LTXMultiScalePipeline, LTXVideoPipeline, adain_filter_latent
from ltx_video.utils.skip_layer_strategy import SkipLayerStrategy

import make_golden as golden
import tiny_model as tiny
from make_vae_golden import made, weight

CASES = {"spatial": (8, 32, 2, 3, True, False), "temporal": (8, 64, 1, 3, False, True), "both": (8, 32, 1, 3, True, True),
         "plane": (8, 64, 1, 2, True, False)}


def numbers(case):
    return dict(zip(("in_channels", "mid_channels", "num_blocks_per_stage", "dims", "spatial_upsample", "temporal_upsample"), CASES[case]))


def filled(model):
    return {k: weight(k, tuple(v.shape)) for k, v in model.state_dict().items()}


def networks(out):
    for case in CASES:
        model = LTXLatentUpsamplerModel(**numbers(case)).eval()
        model.load_state_dict(filled(model))
        latents = made("latents", (1, 8, 3, 3, 5), 2.0)
        official = LatentUpsampler.from_config({"_class_name": "LatentUpsampler", **numbers(case)}).eval()
        official.load_state_dict(model.state_dict())  # the same names in both
        result = model(latents)
        assert (result - official(latents)).abs().max() < 1e-5
        out |= {f"{case}/in_config": torch.tensor([float(n) for n in CASES[case]]), f"{case}/out": result}


def filters(out):
    latents, reference = made("latents", (1, 8, 3, 3, 5), 2.0), made("reference", (1, 8, 2, 3, 4), 0.5, 1.0)
    for factor in (1.0, 0.25):
        out[f"match/{factor}"] = adain_filter_latent(latents, reference, factor)
    for compression in (0.0, 0.6, 1.0):
        out[f"tones/{compression}"] = LTXVideoPipeline.tone_map_latents(latents, compression)


def two_passes(out):
    """LTXMultiScalePipeline on the tiny model, towards 128x160 pixels: 64x96, then 128x192. Only latents: they need no VAE."""
    model = golden.Model()
    draws = {"initial": torch.randn(1, 8, 2, 2, 3, generator=tiny.generator("two passes, first")),
             "pass2_initial": torch.randn(1, 8, 2, 4, 6, generator=tiny.generator("two passes, second"))}
    upsampler = LatentUpsampler.from_config({"_class_name": "LatentUpsampler", **numbers("spatial")}).eval()
    upsampler.load_state_dict(filled(upsampler))
    pipe, module = golden.official_pipeline(model)
    pipe.vae.mean_of_means, pipe.vae.std_of_means = model.vae.latents_mean.float(), model.vae.latents_std.float()
    both = LTXMultiScalePipeline(pipe, upsampler)
    seen, upsample = {}, both._upsample_latents

    def tapped(network, latents):
        seen["first_latents"], seen["upsampled"] = latents.clone(), upsample(network, latents)
        return seen["upsampled"].clone()
    both._upsample_latents = tapped
    queue = [golden.pack(v) for v in draws.values()]
    real, module.randn_tensor = module.randn_tensor, lambda *a, **k: queue.pop(0)
    try:
        seen["latents"] = both(
            downscale_factor=0.6666666,
            first_pass=dict(timesteps=[1.0, 0.9937, 0.725], guidance_scale=1, stg_scale=0, rescaling_scale=1),
            second_pass=dict(num_inference_steps=10, skip_initial_inference_steps=6, guidance_scale=3, stg_scale=1, rescaling_scale=0.7,
                             skip_block_list=[1]),
            height=128, width=160, num_frames=9, frame_rate=golden.FPS, is_video=True, vae_per_channel_normalize=True, prompt=tiny.PROMPT,
            negative_prompt=tiny.NEGATIVE, output_type="latent", text_encoder_max_tokens=tiny.CAPTION_LENGTH,
            skip_layer_strategy=SkipLayerStrategy.AttentionValues, generator=torch.Generator().manual_seed(0)).images
    finally:
        module.randn_tensor = real
    assert not queue
    out |= {f"two_passes/noise/{k}": v for k, v in draws.items()} | {f"two_passes/{k}": v for k, v in seen.items()}


if __name__ == "__main__":
    tensors = {}
    networks(tensors)
    filters(tensors)
    two_passes(tensors)
    golden.write("upscale", tensors)
