#!/usr/bin/env python3
"""Golden tensors of the latent upsamplers and of runs with two passes, computed by diffusers and ltx_video.

    python tests/golden/make_upscale_golden.py        # writes golden/upscale.safetensors

Weights and inputs of the upsamplers are not stored: both sides compute them from the tensor's name (make_vae_golden.py, made, and
tests/support/made_weights.h). `<case>/in_config` holds channels, width, blocks, dimensions, spatial, temporal.
"""
import torch
from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
from ltx_video.models.autoencoders.latent_upsampler import LatentUpsampler
from ltx_video.pipelines.pipeline_ltx_video import ConditioningItem, LTXMultiScalePipeline, LTXVideoPipeline, adain_filter_latent
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


# Of the conditions below: an image that is kept and one that guides, at the size asked for.
STILLS = (("first", 0, 1.0), ("last", 8, 0.8))


def multi_scale(model):
    """LTXMultiScalePipeline on the tiny model, the module whose draws can be replaced, and what passes by between the passes."""
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
    return both, module, seen


def run_multi_scale(model, draw, **settings):
    """Towards 128x160 pixels: 64x96, then 128x192. Only latents: the tiny model's VAE encodes, nothing is decoded."""
    both, module, seen = multi_scale(model)

    def encode(media, *args, **kwargs):
        mean, std = (getattr(model.vae, f"latents_{k}").float().view(1, -1, 1, 1, 1) for k in ("mean", "std"))
        return (model.vae.encode(media).latent_dist.mean - mean) * model.vae.config.scaling_factor / std
    real = module.randn_tensor, module.vae_encode
    module.randn_tensor, module.vae_encode = lambda shape, *a, **k: draw(shape), encode
    try:
        seen["latents"] = both(
            downscale_factor=0.6666666, height=128, width=160, num_frames=9, frame_rate=golden.FPS, is_video=True,
            vae_per_channel_normalize=True, prompt=tiny.PROMPT, negative_prompt=tiny.NEGATIVE, output_type="latent",
            text_encoder_max_tokens=tiny.CAPTION_LENGTH, skip_layer_strategy=SkipLayerStrategy.AttentionValues,
            generator=torch.Generator().manual_seed(0), **settings).images
    finally:
        module.randn_tensor, module.vae_encode = real
    return seen


def two_passes(out):
    draws = {"initial": torch.randn(1, 8, 2, 2, 3, generator=tiny.generator("two passes, first")),
             "pass2_initial": torch.randn(1, 8, 2, 4, 6, generator=tiny.generator("two passes, second"))}
    queue = [golden.pack(v) for v in draws.values()]
    seen = run_multi_scale(
        golden.Model(), lambda shape: queue.pop(0),
        first_pass=dict(timesteps=[1.0, 0.9937, 0.725], guidance_scale=1, stg_scale=0, rescaling_scale=1),
        second_pass=dict(num_inference_steps=10, skip_initial_inference_steps=6, guidance_scale=3, stg_scale=1, rescaling_scale=0.7,
                         skip_block_list=[1]))
    assert not queue
    out |= {f"two_passes/noise/{k}": v for k, v in draws.items()} | {f"two_passes/{k}": v for k, v in seen.items()}


def two_passes_with_stills(out):
    """Conditions in both passes, with noise on the kept one. Names of draws: docs/cli.md."""
    first, second = [1.0, 0.9937, 0.725], [0.9094, 0.725]
    names = [prefix + name for prefix, steps in (("", first), ("pass2_", second))
             for name in ["initial", "condition_00", *(f"image_step_{i:02d}" for i in range(len(steps)))]]
    generator, draws = tiny.generator("two passes, stills"), {}

    def draw(shape):
        draws[names[len(draws)]] = torch.randn(tuple(shape), generator=generator)
        return draws[names[len(draws) - 1]].clone()
    plain = dict(guidance_scale=1, stg_scale=0, rescaling_scale=1)
    seen = run_multi_scale(
        golden.Model(), draw, first_pass=dict(timesteps=first, **plain), second_pass=dict(timesteps=second, **plain),
        conditioning_items=[ConditioningItem(made(f"still {name}", (1, 3, 1, 128, 160), 0.5), frame, strength)
                            for name, frame, strength in STILLS], image_cond_noise_scale=0.15)
    assert list(draws) == names
    out |= {f"stills/noise/{k}": v for k, v in draws.items()} | {"stills/latents": seen["latents"]}


if __name__ == "__main__":
    tensors = {}
    networks(tensors)
    filters(tensors)
    two_passes(tensors)
    two_passes_with_stills(tensors)
    golden.write("upscale", tensors)
