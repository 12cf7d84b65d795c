#!/usr/bin/env python3
"""Golden tensors for long videos and for the preparation of pictures.

    python tests/golden/make_conditioning_golden.py

long_video.safetensors: the parts of diffusers' LTXI2VLongMultiPromptPipeline and two runs of it on the tiny model, with every draw.
image_prep.safetensors, image_prep.png: a picture of an odd size as Pillow, diffusers and ltx_video bring it to other sizes.
"""
import tempfile

import numpy as np
import torch

from make_golden import FPS, HEIGHT, HERE, WIDTH, full_frames, small_frames, to_pil, write
import tiny_model as tiny

PROMPTS = f"{tiny.PROMPT} | {tiny.PROMPT_2}"


def parts():
    import diffusers.pipelines.ltx.pipeline_ltx_i2v_long_multi_prompt as module
    from diffusers import LTXEulerAncestralRFScheduler

    g = tiny.generator("long parts")
    out = {}
    for length, size, overlap in ((9, 5, 2), (8, 5, 3), (5, 5, 1), (3, 10, 3), (40, 10, 3), (6, 3, 2)):
        out[f"windows/{length}_{size}_{overlap}"] = torch.tensor(module.split_into_temporal_windows(length, size, overlap, 8))
    for name, (frames, overlap, guide, reference) in {"first": (6, 0, 0, 1), "later": (8, 2, 0, 1), "guided": (12, 2, 4, 1), "bare": (4, 0, 0, 0)}.items():
        latents = torch.zeros(1, 8, frames, 2, 3)
        out[f"positions/{name}"] = module.build_video_coords_for_window(latents, overlap, guide, reference, (8, 32, 32), FPS)[0]
    a, b = torch.randn(1, 8, 4, 2, 3, generator=g), 2 * torch.randn(1, 8, 5, 2, 3, generator=g) + 1
    out |= {"in_a": a, "in_b": b, "match": module.adain_normalize_latents(a, b, 0.25)}
    for overlap in (1, 2, 3):
        out[f"join/{overlap}"] = module.linear_overlap_fuse(a, b, overlap)
    x, v, noise = (torch.randn(1, 6, 8, generator=g) for _ in range(3))
    out |= {"in_x": x, "in_v": v, "in_noise": noise}
    import diffusers.schedulers.scheduling_ltx_euler_ancestral_rf as schedulers
    real = schedulers.randn_tensor
    schedulers.randn_tensor = lambda *a, **k: noise.clone()
    for eta in (0.0, 0.5, 1.0):
        scheduler = LTXEulerAncestralRFScheduler(eta=eta)
        scheduler.set_timesteps(sigmas=torch.tensor([1.0, 0.725, 0.25, 0.0]))
        for i, t in enumerate(scheduler.timesteps[:-1]):
            out[f"step/{eta}_{i}"] = scheduler.step(v, t, x, return_dict=False)[0]
    schedulers.randn_tensor = real
    return out


def run(model, **settings):
    """Final latents and the draws of every window in the program's names."""
    import diffusers.pipelines.ltx.pipeline_ltx_i2v_long_multi_prompt as module
    import diffusers.schedulers.scheduling_ltx_euler_ancestral_rf as schedulers
    from diffusers import LTXEulerAncestralRFScheduler

    tokenizer, t5, transformer, vae = model
    pipe = module.LTXI2VLongMultiPromptPipeline(scheduler=LTXEulerAncestralRFScheduler(), vae=vae, text_encoder=t5, tokenizer=tokenizer,
                                                transformer=transformer)
    pipe.set_progress_bar_config(disable=True)
    draws, state = {}, {"window": -1, "step": 0}
    real = module.randn_tensor

    def initial(*args, **kwargs):
        state["window"], state["step"] = state["window"] + 1, 0
        draws[f"window_{state['window']:02d}_initial"] = value = real(*args, **kwargs)
        return value.clone()

    def fresh(*args, **kwargs):
        draws[f"window_{state['window']:02d}_stochastic_{state['step']:02d}"] = value = real(*args, **kwargs)
        state["step"] += 1
        return value.clone()
    module.randn_tensor, schedulers.randn_tensor = initial, fresh
    try:
        latents = pipe(prompt=PROMPTS, negative_prompt=tiny.NEGATIVE, height=HEIGHT, width=WIDTH, frame_rate=FPS, seed=5,
                       sigmas=[1.0, 0.725, 0.4219, 0.0], output_type="latent", max_sequence_length=64, **settings).frames
    finally:
        module.randn_tensor = schedulers.randn_tensor = real
    return {"latents": latents} | {f"noise/{k}": v for k, v in draws.items()}


def long_video(model):
    image = small_frames("long image", 1)
    out = parts()
    jobs = {"image": dict(num_frames=57, guidance_scale=3.0, cond_image=to_pil(image)[0], cond_strength=0.5, temporal_tile_size=40,
                          temporal_overlap=24),
            "text": dict(num_frames=33, temporal_tile_size=24, temporal_overlap=16, adain_factor=0.5, temporal_overlap_cond_strength=0.8)}
    for name, job in jobs.items():
        out |= {f"{name}/{k}": v for k, v in run(model, **job).items()}
    out["image/in_frames"] = image
    write("long_video", out)


def image_prep():
    import diffusers.image_processor
    import ltx_video.inference as inference
    import ltx_video.pipelines.crf_compressor as codec
    from ltx_video.pipelines.pipeline_ltx_video import LTXVideoPipeline
    from PIL import Image

    g = tiny.generator("image prep")
    coarse = torch.nn.functional.interpolate(torch.randn(1, 3, 7, 9, generator=g), size=(61, 83), mode="bicubic") * 60 + 128
    pixels = (coarse[0] + 6 * torch.randn(3, 61, 83, generator=g)).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    image = Image.fromarray(pixels.numpy())
    image.save(HERE / "image_prep.png", optimize=True)
    out = {}
    for name, kind in (("bicubic", Image.BICUBIC), ("lanczos", Image.LANCZOS)):
        for height, width in ((100, 50), (17, 120), (20, 29), (61, 40)):
            out[f"{name}/{height}_{width}"] = torch.from_numpy(np.array(image.resize((width, height), kind)))
    out["diffusers"] = diffusers.image_processor.VaeImageProcessor(vae_scale_factor=32).preprocess(image, 64, 96)[:, :, None]
    # 50x70 asked, 64x96 computed.
    asked, computed = (50, 70), (64, 96)
    padding = inference.calculate_padding(*asked, *computed)
    real = codec.compress
    for name, compress in (("plain", lambda picture, crf=29: picture), ("codec", real)):
        inference.crf_compressor.compress = compress
        condition = inference.load_media_file(str(HERE / "image_prep.png"), *asked, 1, padding, just_crop=True)
        out[f"official_{name}/condition"] = LTXVideoPipeline.resize_tensor(condition, *computed)
        out[f"official_{name}/input"] = inference.load_media_file(str(HERE / "image_prep.png"), *asked, 1, padding)
    inference.crf_compressor.compress = real
    write("image_prep", out)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    image_prep()
    with tempfile.TemporaryDirectory() as folder:
        long_video(tiny.build(folder))
