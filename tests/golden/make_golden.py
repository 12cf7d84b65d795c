#!/usr/bin/env python3
"""Golden tensors for the tests, computed by diffusers, transformers, torch and ltx_video on the tiny model.

    python tests/golden/make_golden.py [names...]      # default: everything; SOURCES.md lists the files

Each function below writes one .safetensors file beside this script. A tensor's name is `case/what`; what starts with `in_` for
inputs. Frames that condition a video are stored as u8 at an eighth of the size and repeated (frame = u8 / 127.5 - 1).
"""
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
warnings.filterwarnings("ignore")

import numpy as np
import torch
from safetensors.torch import save_file

import tiny_model as tiny

HERE = Path(__file__).parent
FPS = 25
HEIGHT, WIDTH = 64, 96  # two latent rows, three columns
GRID = (3, 2, 3)        # 17 frames

torch.set_grad_enabled(False)
torch.set_num_threads(2)


class Model:
    def __init__(self):
        self.tokenizer, self.t5, self.transformer, self.vae = tiny.build(HERE / "tiny_model")

    def embed(self, text, length, masked=True):
        batch = self.tokenizer([text], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        mask = batch.attention_mask
        return self.t5(batch.input_ids, attention_mask=mask.bool() if masked else None)[0], mask, batch.input_ids


def write(name, tensors):
    clean = {}
    for key, value in tensors.items():
        value = torch.as_tensor(value)
        assert not value.is_floating_point() or torch.isfinite(value).all(), f"{name}: {key} is not finite"
        clean[key] = value.detach().contiguous().clone()
    path = HERE / f"{name}.safetensors"
    save_file(dict(sorted(clean.items())), str(path))
    path.chmod(0o644)
    print(f"{path.name}: {len(clean)} tensors, {path.stat().st_size // 1024} KiB", flush=True)


def pack(volume):
    return volume.flatten(2).transpose(1, 2).contiguous()


def unpack(tokens, grid):
    return tokens.transpose(1, 2).unflatten(2, grid).contiguous()


# ------------------------------------------------------------------------------------------------- text, noise, schedules

def t5(m):
    """transformers T5EncoderModel with its padding mask; buckets of T5Attention."""
    from transformers.models.t5.modeling_t5 import T5Attention

    out = {}
    for case, text in (("prompt", tiny.PROMPT), ("negative", tiny.NEGATIVE), ("empty", "")):
        embeds, mask, ids = m.embed(text, 40)
        out |= {f"{case}/in_ids": ids, f"{case}/in_mask": mask, f"{case}/embeds": embeds}
    relative = torch.arange(-300, 301)
    for count, distance in ((32, 128), (8, 20)):
        out[f"buckets_{count}_{distance}/buckets"] = T5Attention._relative_position_bucket(relative, True, count, distance)
    write("t5", out)


def noise(m):
    """torch.randn(generator=torch.Generator("cpu").manual_seed(seed)), two draws in a row; below 16 values torch takes another path."""
    out = {}
    for seed in (0, 7, 171198, 2**32 + 5, 2**63 + 11):
        g = torch.Generator("cpu").manual_seed(seed)
        out[f"{seed}/first"] = torch.randn((1, 8, 2, 2, 3), generator=g)
        out[f"{seed}/short"] = torch.randn((5,), generator=g)
        out[f"{seed}/tokens"] = torch.randn((1, 12, 3), generator=g)
    write("noise", out)


def schedule(m):
    """Sigmas without the final 0: diffusers' LTX pipelines, and ltx_video's for the uniform list."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift
    from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule
    from ltx_video.schedulers.rf import RectifiedFlowScheduler

    out = {}
    for n in (1, 2, 3, 4, 7, 8, 20, 30, 40):
        out[f"linear_quadratic/{n}"] = linear_quadratic_schedule(n).double()
    for tokens in (18, 1024, 5280, 13376, 17556):
        for n in (2, 3, 8, 20, 40):
            s = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024,
                                                max_image_seq_len=4096, shift_terminal=0.1)
            s.set_timesteps(sigmas=np.linspace(1.0, 1 / n, n), mu=calculate_shift(tokens, 1024, 4096, 0.95, 2.05))
            out[f"shifted/{tokens}/{n}"] = s.sigmas[:-1].double()
            official = RectifiedFlowScheduler(shifting="SD3", base_resolution=None, target_shift_terminal=0.1)
            official.set_timesteps(n, samples_shape=(1, tokens, 128), device="cpu")
            assert (s.sigmas[:-1] - official.timesteps).abs().max() < 2e-4  # e^mu in f32: 6e-5 at 17556 tokens
    s = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256,
                                        max_image_seq_len=4096)
    s.set_timesteps(sigmas=np.linspace(1.0, 1 / 6, 6), mu=calculate_shift(777, 256, 4096, 0.5, 1.15))
    out["shifted_without_terminal/777/6"] = s.sigmas[:-1].double()
    for n in (1, 4, 9):
        official = RectifiedFlowScheduler(sampler="Uniform")
        official.set_timesteps(n, samples_shape=(1, 100, 128), device="cpu")
        out[f"uniform/{n}"] = official.timesteps.double()
    for shift in (3.0, 0.5):
        s = FlowMatchEulerDiscreteScheduler(shift=shift)
        s.set_timesteps(sigmas=np.linspace(1.0, 1 / 5, 5))
        out[f"fixed_shift/{shift}/5"] = s.sigmas[:-1].double()
    write("schedule", out)


# ------------------------------------------------------------------------------------------------- transformer

def grid_positions(grid, causal, offset=0):
    """(seconds, pixel row, pixel column) of every token, f32 [1,3,N], the way the pipelines form them."""
    c = torch.stack(torch.meshgrid(*[torch.arange(n) for n in grid], indexing="ij")).flatten(1)
    c = c * torch.tensor([8, 32, 32])[:, None]
    if causal:
        c[0] = (c[0] + 1 - 8).clamp(min=0)
    c[0] += offset
    c = c.float()
    c[0] = c[0] * (1.0 / FPS)
    return c[None]


def rope(m):
    """diffusers LTXVideoRotaryPosEmbed at the tiny width and at the released ones (2048, 4096); one value a pair of channels."""
    from diffusers.models.transformers.transformer_ltx import LTXVideoRotaryPosEmbed

    out = {}
    for width, grid, causal in ((20, GRID, True), (32, GRID, True), (64, GRID, False), (2048, (2, 1, 2), True), (4096, (2, 2, 1), True)):
        positions = grid_positions(grid, causal)
        if width >= 2048:  # far corner of a long, large clip
            positions = positions + torch.tensor([9.0, 1120.0, 640.0])[None, :, None]
        module = LTXVideoRotaryPosEmbed(dim=width, base_num_frames=20, base_height=2048, base_width=2048, patch_size=1, patch_size_t=1,
                                        theta=10000.0)
        cos, sin = module(torch.zeros(1, positions.shape[2], width), video_coords=positions)
        for table in (cos, sin):
            assert torch.equal(table[..., ::2], table[..., 1::2])
        out |= {f"{width}/in_positions": positions[0], f"{width}/cos": cos[0, :, ::2], f"{width}/sin": sin[0, :, ::2]}
    write("rope", out)


def transformer(m):
    """diffusers LTXVideoTransformer3DModel, rows negative and positive prompt, with intermediates; ltx_video for the perturbed pass."""
    from ltx_video.utils.skip_layer_strategy import SkipLayerStrategy

    tr, g = m.transformer, tiny.generator("transformer golden")
    count = GRID[0] * GRID[1] * GRID[2]
    tokens = torch.randn(1, count, tiny.LATENT_CHANNELS, generator=g)
    (negative, negative_mask, _), (positive, positive_mask, _) = m.embed(tiny.NEGATIVE, 32), m.embed(tiny.PROMPT, 32)
    embeds, masks = torch.cat([negative, positive]), torch.cat([negative_mask, positive_mask])
    levels = torch.cat([torch.zeros(6), torch.full((5,), 0.412), torch.full((7,), 0.9)])
    cases = {"plain": (torch.tensor([0.73125]), False), "causal": (torch.tensor([1.0]), True), "per_token": (levels, True)}
    out = {"in_tokens": tokens, "in_embeds": embeds, "in_masks": masks}

    seen = {}
    def keep(name, index=None):
        return lambda module, args, result: seen.__setitem__(name, (result if index is None else result[index]).clone())
    hooks = [tr.proj_in.register_forward_hook(keep("projected")), tr.caption_projection.register_forward_hook(keep("caption")),
             tr.time_embed.register_forward_hook(keep("tables", 0)), tr.time_embed.register_forward_hook(keep("embedded", 1))]
    hooks += [b.register_forward_hook(keep(f"block{i}")) for i, b in enumerate(tr.transformer_blocks)]
    for case, (sigma, causal) in cases.items():
        positions = grid_positions(GRID, causal)
        timestep = (sigma * 1000).expand(2, -1) if sigma.numel() > 1 else (sigma * 1000).expand(2)
        velocity = tr(hidden_states=tokens.expand(2, -1, -1), encoder_hidden_states=embeds, timestep=timestep, encoder_attention_mask=masks,
                      video_coords=positions.expand(2, -1, -1), return_dict=False)[0]
        out |= {f"{case}/in_sigmas": sigma, f"{case}/in_positions": positions[0], f"{case}/velocity": velocity}
        if case != "causal":
            out |= {f"{case}/{k}": v for k, v in seen.items() if k.startswith("block")}
            # One row a level: of the two equal batch rows, the first.
            out |= {f"{case}/{k}": seen[k].unflatten(0, (2, -1))[0] for k in ("tables", "embedded")}
        out |= {"projected": seen["projected"][:1], "caption": seen["caption"]}
    for hook in hooks:
        hook.remove()

    official = official_transformer(m)
    positions = grid_positions(GRID, True)
    rows = torch.tensor([0, 1, 1])
    out["perturbed/in_sigmas"] = torch.tensor([0.6])
    out["perturbed/in_positions"] = positions[0]
    for strategy in SkipLayerStrategy:
        for blocks in ([1], [0, 2]):
            mask = official.create_skip_layer_mask(1, 3, 2, blocks)
            name = {"AttentionValues": "attention_values", "AttentionSkip": "attention_skip", "Residual": "residual",
                    "TransformerBlock": "transformer_block"}[strategy.name]
            out[f"perturbed/{name}_{''.join(map(str, blocks))}"] = official(
                tokens.expand(3, -1, -1), indices_grid=positions.expand(3, -1, -1), encoder_hidden_states=embeds[rows],
                timestep=torch.full((3, 1), 0.6), encoder_attention_mask=masks[rows], skip_layer_mask=mask,
                skip_layer_strategy=strategy, return_dict=False)[0]
    write("transformer", out)


def official_transformer(m):
    """The ltx_video class with the tiny model's weights under its own names."""
    from ltx_video.models.transformers.transformer3d import Transformer3DModel

    c = m.transformer.config
    model = Transformer3DModel.from_config({
        "_class_name": "Transformer3DModel", "activation_fn": "gelu-approximate", "attention_bias": True, "attention_type": "default",
        "num_attention_heads": c.num_attention_heads, "attention_head_dim": c.attention_head_dim, "num_layers": c.num_layers,
        "in_channels": c.in_channels, "out_channels": c.out_channels, "caption_channels": c.caption_channels,
        "cross_attention_dim": c.cross_attention_dim, "norm_elementwise_affine": False, "norm_eps": 1e-6, "qk_norm": "rms_norm",
        "standardization_norm": "rms_norm", "positional_embedding_type": "rope", "positional_embedding_theta": 10000.0,
        "positional_embedding_max_pos": [20, 2048, 2048], "timestep_scale_multiplier": 1000, "causal_temporal_positioning": True,
        "num_embeds_ada_norm": 1000, "double_self_attention": False, "only_cross_attention": False, "upcast_attention": False})
    names = (("proj_in.", "patchify_proj."), ("time_embed.", "adaln_single."), (".norm_q.", ".q_norm."), (".norm_k.", ".k_norm."))
    weights = {}
    for key, value in m.transformer.state_dict().items():
        for theirs, ours in names:
            key = key.replace(theirs, ours)
        weights[key] = value
    model.load_state_dict(weights, strict=True)
    return model.eval()


# ------------------------------------------------------------------------------------------------- sampler, guidance

def sampler(m):
    """ltx_video's denoising step and renoising, token by token, on random tensors; the schedule is descending without its 0."""
    from ltx_video.pipelines.pipeline_ltx_video import LTXVideoPipeline
    from ltx_video.schedulers.rf import RectifiedFlowScheduler

    class Bare:
        denoising_step = LTXVideoPipeline.denoising_step

    g = tiny.generator("sampler golden")
    sigmas = torch.tensor([1.0, 0.9, 0.6, 0.4, 0.25])
    # Every relation between a token's level 1 - strength and the schedule: above, equal, between, never (strength 1), free (0).
    # 0.6 and 0.4 make ties whose result depends on the slack and on f32.
    strength = torch.tensor([0.0, 0.05, 0.1, 0.25, 0.3, 0.4, 0.6, 0.7, 0.75, 0.8, 1.0, 1.0])
    start = torch.randn(1, strength.numel(), 3, generator=g)
    pipe = Bare()
    out = {"in_sigmas": sigmas, "in_strength": strength, "in_start": start}
    for case, mask in (("conditioned", strength[None]), ("free", None)):
        pipe.scheduler = RectifiedFlowScheduler()
        pipe.scheduler.set_timesteps(timesteps=sigmas)
        x = start.clone()
        for i, t in enumerate(pipe.scheduler.timesteps):
            velocity = torch.randn(start.shape, generator=g)
            level = t.expand(1, 1) if mask is None else torch.min(t.expand(1, 1), 1.0 - mask)
            if mask is not None:
                drawn = torch.randn(start.shape, generator=g)
                out[f"{case}/{i}/in_noise"] = drawn
                # add_noise_to_image_conditioning_latents draws for itself; hand it this draw.
                import ltx_video.pipelines.pipeline_ltx_video as module
                real, module.randn_tensor = module.randn_tensor, lambda *a, **k: drawn
                x = LTXVideoPipeline.add_noise_to_image_conditioning_latents(t, start, x, 0.15, mask, None)
                module.randn_tensor = real
                out |= {f"{case}/{i}/renoised": x, f"{case}/{i}/levels": level[0]}
            x = pipe.denoising_step(x, velocity, level, mask, t, {}, stochastic_sampling=False)
            out |= {f"{case}/{i}/in_velocity": velocity, f"{case}/{i}/tokens": x}
    write("sampler", out)


def guidance(m):
    """One step of ltx_video's pipeline for each combination, with the raw predictions of its transformer; diffusers' rescale."""
    from diffusers.pipelines.ltx.pipeline_ltx import rescale_noise_cfg

    g = tiny.generator("guidance golden")
    initial = torch.randn(1, tiny.LATENT_CHANNELS, *GRID, generator=g)
    cases = {"cfg": (3.0, 0.0, 1.0, False), "cfg_star": (6.0, 0.0, 1.0, True), "stg": (1.0, 1.0, 1.0, False),
             "stg_rescale": (1.0, 2.0, 0.7, False), "cfg_stg": (3.0, 1.0, 1.0, False), "cfg_stg_rescale": (3.0, 1.0, 0.7, False),
             "star_stg_rescale": (8.0, 4.0, 0.5, True), "none": (1.0, 0.0, 0.7, True)}
    out = {}
    for case, (scale, stg, rescale, star) in cases.items():
        run = run_official(m, initial, timesteps=[0.9], guidance_scale=scale, stg_scale=stg, rescaling_scale=rescale, cfg_star_rescale=star,
                           skip_block_list=[1])
        out |= {f"{case}/in_settings": torch.tensor([scale, stg, rescale, float(star)], dtype=torch.float64),
                f"{case}/in_predictions": run["predictions"][0], f"{case}/velocity": run["velocities"][0]}
    raw = out["cfg/in_predictions"]
    for amount in (0.3, 0.7, 1.0):
        guided = raw[:1] + 3.0 * (raw[1:] - raw[:1])
        out[f"diffusers_rescale/{amount}"] = rescale_noise_cfg(guided, raw[1:], guidance_rescale=amount)
    write("guidance", out)


def official_pipeline(m):
    """ltx_video's LTXVideoPipeline around the tiny model, and its module."""
    import ltx_video.pipelines.pipeline_ltx_video as module
    from ltx_video.models.autoencoders.causal_video_autoencoder import CausalVideoAutoencoder
    from ltx_video.models.transformers.symmetric_patchifier import SymmetricPatchifier
    from ltx_video.schedulers.rf import RectifiedFlowScheduler

    # The pipeline asks its VAE for the compression only; latents come in and go out.
    vae = CausalVideoAutoencoder.from_config({
        "_class_name": "CausalVideoAutoencoder", "dims": 3, "in_channels": 3, "out_channels": 3, "latent_channels": tiny.LATENT_CHANNELS,
        "norm_layer": "pixel_norm", "patch_size": 4, "latent_log_var": "uniform", "use_quant_conv": False, "causal_decoder": False,
        "encoder_base_channels": 4, "decoder_base_channels": 4,
        "blocks": [["compress_all", 1], ["compress_all", 1], ["compress_all", 1]]})
    pipe = module.LTXVideoPipeline(
        tokenizer=m.tokenizer, text_encoder=m.t5, vae=vae, transformer=official_transformer(m),
        scheduler=RectifiedFlowScheduler(sampler="LinearQuadratic"), patchifier=SymmetricPatchifier(patch_size=1),
        prompt_enhancer_image_caption_model=None, prompt_enhancer_image_caption_processor=None, prompt_enhancer_llm_model=None,
        prompt_enhancer_llm_tokenizer=None, allowed_inference_steps=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe, module


def run_official(m, initial, **settings):
    """The official pipeline on given initial noise: predictions and guided velocity of every step, step tokens, latents."""
    from ltx_video.utils.skip_layer_strategy import SkipLayerStrategy

    pipe, module = official_pipeline(m)
    run = {"predictions": [], "velocities": [], "tokens": []}
    pipe.transformer.register_forward_hook(lambda module, args, result: run["predictions"].append(result[0].clone()))
    step = pipe.denoising_step

    def denoising_step(latents, velocity, *args, **kwargs):
        result = step(latents, velocity, *args, **kwargs)
        run["velocities"].append(velocity.clone())
        run["tokens"].append(result.clone())
        return result
    pipe.denoising_step = denoising_step
    run["fresh"], real_like = [], torch.randn_like

    def randn_like(*args, **kwargs):
        run["fresh"].append(real_like(*args, **kwargs))
        return run["fresh"][-1]
    torch.manual_seed(tiny.SEED)
    torch.randn_like = randn_like
    real, module.randn_tensor = module.randn_tensor, lambda *a, **k: pack(initial)
    try:
        run["latents"] = pipe(height=HEIGHT, width=WIDTH, num_frames=(initial.shape[2] - 1) * 8 + 1, frame_rate=FPS, is_video=True,
                              vae_per_channel_normalize=True, prompt=tiny.PROMPT, negative_prompt=tiny.NEGATIVE, output_type="latent",
                              text_encoder_max_tokens=tiny.CAPTION_LENGTH, skip_layer_strategy=SkipLayerStrategy.AttentionValues,
                              generator=torch.Generator().manual_seed(0), **settings).images
    finally:
        module.randn_tensor, torch.randn_like = real, real_like
    return run


def official_loop(m):
    """Whole runs of ltx_video: both guidances; guidance that changes with the level; fresh noise after every step."""
    initial = torch.randn(1, tiny.LATENT_CHANNELS, *GRID, generator=tiny.generator("official golden"))
    out = {"in_initial": initial}
    jobs = {"": dict(num_inference_steps=4, guidance_scale=3.0, stg_scale=1.0, rescaling_scale=0.7, skip_block_list=[1]),
            "lists/": dict(num_inference_steps=8, skip_final_inference_steps=2, guidance_scale=[3, 6, 8, 1], stg_scale=[0, 4, 4, 1],
                           rescaling_scale=[1, 0.5, 1, 1], guidance_timesteps=[1.0, 0.99, 0.98, 0.9], cfg_star_rescale=True,
                           skip_block_list=[[], [0, 2], [1], [2]]),
            "stochastic/": dict(timesteps=[1.0, 0.9937, 0.725, 0.4219], guidance_scale=1.0, stg_scale=0.0, rescaling_scale=1.0,
                                stochastic_sampling=True)}
    for case, settings in jobs.items():
        run = run_official(m, initial, **settings)
        out |= {f"{case}step_tokens": torch.stack(run["tokens"]), f"{case}latents": run["latents"]}
        out |= {f"{case}in_stochastic_{i:02d}": draw for i, draw in enumerate(run["fresh"])}
    for name, text in (("positive", tiny.PROMPT), ("negative", tiny.NEGATIVE)):
        embeds, mask, _ = m.embed(text, 32)  # the mask keeps the padding out: 32 gives what 256 gives
        out |= {f"in_{name}_embeds": embeds, f"in_{name}_mask": mask}
    write("official_loop", out)


# ------------------------------------------------------------------------------------------------- whole pipelines

def small_frames(label, count):
    """u8 [3,T,8,12]: what is stored of a conditioning clip; full_frames() makes the clip of it."""
    g = tiny.generator(label)
    coarse = torch.randn(1, 3, max(2, count // 4), 4, 6, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, size=(count, HEIGHT // 8, WIDTH // 8), mode="trilinear") * 60 + 128
    return smooth[0].round().clamp(0, 255).to(torch.uint8)


def full_frames(small):
    return small.repeat_interleave(8, 2).repeat_interleave(8, 3)


def to_pil(small):
    from PIL import Image
    return [Image.fromarray(frame) for frame in full_frames(small).permute(1, 2, 3, 0).numpy()]


class Draws:
    """Names every random tensor that a diffusers pipeline draws, in the names of the program's --noise files."""

    def __init__(self, module, latent_shape):
        self.module, self.latent_shape, self.named, self.counts = module, list(latent_shape), {}, {"condition": 0, "image_step": 0}

    def __enter__(self):
        self.real = self.module.randn_tensor
        self.module.randn_tensor = self.draw
        return self

    def __exit__(self, *error):
        self.module.randn_tensor = self.real

    def draw(self, *args, **kwargs):
        value = self.real(*args, **kwargs)
        if list(value.shape) == self.latent_shape:
            name = "decode" if "initial" in self.named else "initial"
        else:
            kind = "condition" if value.ndim == 5 else "image_step"
            name = f"{kind}_{self.counts[kind]:02d}"
            self.counts[kind] += 1
        self.named[name] = value.clone()
        return value


def run_diffusers(m, pipe, module, frames, decode=False, **settings):
    """Final latents, step tokens, named draws, and the VAE's output before clamping when decoding."""
    pipe.set_progress_bar_config(disable=True)
    grid = ((frames - 1) // 8 + 1, HEIGHT // 32, WIDTH // 32)
    tokens, pixels, real = [], [], m.vae.decode

    def on_step(pipeline, i, t, values):
        tokens.append(values["latents"].clone())
        return {}

    def vae_decode(z, timestep=None, return_dict=True):
        result = real(z, timestep, return_dict=return_dict)
        pixels.append(result[0].clone())
        return result
    m.vae.decode = vae_decode
    try:
        with Draws(module, (1, tiny.LATENT_CHANNELS, *grid)) as draws:
            pipe(prompt=tiny.PROMPT, negative_prompt=tiny.NEGATIVE, height=HEIGHT, width=WIDTH, num_frames=frames, frame_rate=FPS,
                 callback_on_step_end=on_step, output_type="np" if decode else "latent", generator=torch.Generator().manual_seed(11),
                 decode_timestep=0.05, decode_noise_scale=0.025, **settings)
    finally:
        m.vae.decode = real
    extra = tokens[-1].shape[1] - grid[0] * grid[1] * grid[2]
    out = {f"noise/{k}": v for k, v in draws.named.items()}
    out |= {"step_tokens": torch.stack(tokens), "latents": unpack(tokens[-1][:, extra:], grid)}
    if decode:  # every 5th row and 7th column of all frames: enough to see any mistake
        out["pixels"] = pixels[0][..., ::5, ::7]
    return out


def pipelines(m):
    """diffusers LTXConditionPipeline end to end with every random draw."""
    import diffusers.pipelines.ltx.pipeline_ltx_condition as module
    from diffusers import FlowMatchEulerDiscreteScheduler, LTXConditionPipeline

    image, second = small_frames("image", 1), small_frames("second", 1)
    clip9, clip17 = small_frames("clip9", 9), small_frames("clip17", 17)
    jobs = {
        "t2v": dict(frames=17, num_inference_steps=4, decode=True),
        "t2v_rescale": dict(frames=17, num_inference_steps=3, guidance_rescale=0.7),
        "t2v_distilled": dict(frames=9, timesteps=[1000.0, 993.7, 725.0, 421.9], guidance_scale=1.0, decode=True),
        "i2v": dict(frames=17, num_inference_steps=4, conditions=[(image, 0, 1.0)]),
        "i2v_noise": dict(frames=17, num_inference_steps=4, image_cond_noise_scale=0.15, conditions=[(image, 0, 1.0)], decode=True),
        "i2v_soft": dict(frames=17, num_inference_steps=5, image_cond_noise_scale=0.15, conditions=[(image, 0, 0.6)]),
        "keyframes": dict(frames=17, num_inference_steps=4, image_cond_noise_scale=0.15, conditions=[(image, 0, 1.0), (second, 13, 0.8)]),
        "late_only": dict(frames=17, num_inference_steps=3, conditions=[(second, 9, 1.0), (image, 16, 0.5)]),
        "clip_prefix": dict(frames=25, num_inference_steps=3, conditions=[(clip9, 0, 1.0)]),
        "v2v": dict(frames=17, num_inference_steps=6, denoise_strength=0.5,
                    latents=torch.randn(1, tiny.LATENT_CHANNELS, *GRID, generator=tiny.generator("v2v golden"))),
        "clip_middle": dict(frames=33, num_inference_steps=3, image_cond_noise_scale=0.15, conditions=[(clip17, 8, 1.0)]),
    }
    out = {}
    for case, job in jobs.items():
        items = job.pop("conditions", [])
        conditions = [module.LTXVideoCondition(image=to_pil(f)[0], frame_index=n, strength=a) if f.shape[1] == 1 else
                      module.LTXVideoCondition(video=to_pil(f), frame_index=n, strength=a) for f, n, a in items] or None
        pipe = LTXConditionPipeline(scheduler=FlowMatchEulerDiscreteScheduler(**tiny.SCHEDULER), vae=m.vae, text_encoder=m.t5,
                                    tokenizer=m.tokenizer, transformer=m.transformer)
        settings = {"guidance_scale": 3.0, "image_cond_noise_scale": 0.0, **job}
        if "latents" in job:
            out[f"{case}/in_latents"] = job["latents"].clone()
        result = run_diffusers(m, pipe, module, conditions=conditions, max_sequence_length=tiny.CAPTION_LENGTH, **settings)
        for i, (frames, index, strength) in enumerate(items):
            out[f"{case}/in_frames_{i}"] = frames
            out[f"{case}/in_condition_{i}"] = torch.tensor([index, strength], dtype=torch.float64)
            pixels = full_frames(frames).float()[None] / 127.5 - 1
            raw = m.vae._encode(pixels)[:, :tiny.LATENT_CHANNELS]
            mean, std = (v.view(1, -1, 1, 1, 1) for v in (m.vae.latents_mean, m.vae.latents_std))
            out[f"{case}/condition_latents_{i}"] = (raw - mean) / std
        out |= {f"{case}/{k}": v for k, v in result.items()}
    write("pipelines", out)


def plain_pipeline(m):
    """diffusers LTXPipeline: shifted schedule, plain coordinates, text without the padding mask in T5 (embeddings are stored)."""
    import diffusers.pipelines.ltx.pipeline_ltx as module
    from diffusers import FlowMatchEulerDiscreteScheduler, LTXPipeline

    scheduler = dict(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05,
                     base_image_seq_len=1024, max_image_seq_len=4096, shift_terminal=0.1)
    out = {}
    for case, settings in {"t2v": dict(num_inference_steps=4, decode=True), "rescale": dict(num_inference_steps=3, guidance_rescale=0.7)}.items():
        pipe = LTXPipeline(scheduler=FlowMatchEulerDiscreteScheduler(**scheduler), vae=m.vae, text_encoder=m.t5, tokenizer=m.tokenizer,
                           transformer=m.transformer)
        # LTXPipeline draws its initial noise in the same [1,C,T,H,W] and packs it.
        result = run_diffusers(m, pipe, module, frames=17, guidance_scale=3.0, max_sequence_length=128, **settings)
        out |= {f"{case}/{k}": v for k, v in result.items()}
    for name, text in (("positive", tiny.PROMPT), ("negative", tiny.NEGATIVE)):
        embeds, mask, _ = m.embed(text, 128, masked=False)
        real = int(mask.sum())
        out |= {f"in_{name}_embeds": embeds[:, :real], f"in_{name}_mask": mask[:, :real]}
    write("plain_pipeline", out)


def lora_factors(m, label, rank, modules):
    """{module: (down [rank,in], up [out,rank])}, scaled so that up @ down is about a third of a weight of the tiny model."""
    g, factors = tiny.generator(label), {}
    for name in modules:
        out, into = m.transformer.get_submodule(name).weight.shape
        factors[name] = (torch.randn(rank, into, generator=g) / into ** 0.5, torch.randn(out, rank, generator=g) / (3 * rank) ** 0.5)
    return factors


def lora(m):
    """diffusers LTXConditionPipeline with weights changed by the formula of LoRA files, W + strength * alpha / rank * up @ down; and a
    run with a reference clip: the loop of LTX-Video-Trainer's ltxv_pipeline.py, tokens [reference, video], on ltx_video's scheduler."""
    import diffusers.pipelines.ltx.pipeline_ltx_condition as module
    from diffusers import FlowMatchEulerDiscreteScheduler, LTXConditionPipeline
    from ltx_video.schedulers.rf import RectifiedFlowScheduler

    blocks = [f"transformer_blocks.{i}.{part}" for i in range(3) for part in
              [f"attn{a}.{p}" for a in (1, 2) for p in ("to_q", "to_k", "to_v", "to_out.0")] + ["ff.net.0.proj", "ff.net.2"]]
    outer = ["proj_in", "proj_out", "time_embed.linear", "time_embed.emb.timestep_embedder.linear_1", "caption_projection.linear_2"]
    first, second = lora_factors(m, "first lora", 2, blocks), lora_factors(m, "second lora", 3, [*blocks[:4], *outer])
    g = tiny.generator("lora differences")
    differences = {"transformer_blocks.1.attn1.norm_q.weight": 0.3 * torch.randn(20, generator=g),
                   "transformer_blocks.2.ff.net.2.bias": 0.3 * torch.randn(20, generator=g),
                   "scale_shift_table": 0.3 * torch.randn(2, 20, generator=g)}
    out = {f"{case}/{part}/{name}": value for case, factors in (("first", first), ("second", second)) for name, pair in factors.items()
           for part, value in zip(("down", "up"), pair)}
    out |= {f"second/difference/{name}": value for name, value in differences.items()}

    weights = {k: v.clone() for k, v in m.transformer.state_dict().items()}
    def run(*changes):
        """Each change: factors, the factor of their products, differences, the factor of these."""
        changed = {k: v.clone() for k, v in weights.items()}
        for factors, scale, full, strength in changes:
            for name, (down, up) in factors.items():
                changed[name + ".weight"] += scale * (up @ down)
            for name, value in full.items():
                changed[name] += strength * value
        m.transformer.load_state_dict(changed)
        pipe = LTXConditionPipeline(scheduler=FlowMatchEulerDiscreteScheduler(**tiny.SCHEDULER), vae=m.vae, text_encoder=m.t5,
                                    tokenizer=m.tokenizer, transformer=m.transformer)
        result = run_diffusers(m, pipe, module, frames=9, num_inference_steps=3, guidance_scale=3.0, image_cond_noise_scale=0.0,
                               max_sequence_length=tiny.CAPTION_LENGTH)
        m.transformer.load_state_dict(weights)
        return result
    runs = {"plain": run(), "first_0.8": run((first, 0.8, {}, 0)), "second_1": run((second, 4.5 / 3, differences, 1)),
            "both": run((first, -0.4, {}, 0), (second, 0.7 * 4.5 / 3, differences, 0.7))}
    out["in_alpha"] = torch.tensor(4.5)  # of the second, for all its modules
    out["noise/initial"] = runs["plain"]["noise/initial"]
    out |= {f"{case}/latents": result["latents"] for case, result in runs.items()}

    clip, grid, levels = small_frames("control", 9), (2, HEIGHT // 32, WIDTH // 32), [1.0, 0.9812, 0.725, 0.4219]
    mean, std = (v.view(1, -1, 1, 1, 1) for v in (m.vae.latents_mean, m.vae.latents_std))
    reference = pack((m.vae._encode(full_frames(clip).float()[None] / 127.5 - 1)[:, :tiny.LATENT_CHANNELS] - mean) / std)
    initial = torch.randn(1, tiny.LATENT_CHANNELS, *grid, generator=tiny.generator("control noise"))
    (negative, negative_mask, _), (positive, positive_mask, _) = m.embed(tiny.NEGATIVE, 32), m.embed(tiny.PROMPT, 32)
    embeds, masks = torch.cat([negative, positive]), torch.cat([negative_mask, positive_mask])
    positions = grid_positions(grid, True).repeat(2, 1, 2)
    frozen = torch.cat([torch.ones(1, reference.shape[1]), torch.zeros(1, reference.shape[1])], 1)
    scheduler, x = RectifiedFlowScheduler(), torch.cat([reference, pack(initial)], 1)
    scheduler.set_timesteps(timesteps=torch.tensor(levels))
    for t in scheduler.timesteps:
        level = torch.minimum(t.expand(1, 1), 1 - frozen)
        v = m.transformer(hidden_states=x.repeat(2, 1, 1), encoder_hidden_states=embeds, timestep=level.repeat(2, 1) * 1000,
                          encoder_attention_mask=masks, video_coords=positions, return_dict=False)[0]
        v = v[:1] + 3.0 * (v[1:] - v[:1])
        x = torch.where((t - 1e-6 < 1 - frozen)[..., None], scheduler.step(v, level, x, return_dict=False)[0], x)
    out |= {"control/in_frames": clip, "control/in_initial": initial, "control/in_sigmas": torch.tensor(levels, dtype=torch.float64),
            "control/latents": unpack(x[:, reference.shape[1]:], grid)}
    write("lora", out)


JOBS = {f.__name__: f for f in (t5, noise, schedule, rope, transformer, sampler, guidance, official_loop, pipelines, plain_pipeline, lora)}

if __name__ == "__main__":
    model = Model()
    for job in sys.argv[1:] or JOBS:
        JOBS[job](model)
