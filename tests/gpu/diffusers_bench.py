#!/usr/bin/env python3
"""diffusers on the GPU, on the same files as ltxv-bench: one JSON object a line, in the form of `gpu_kernel_checks bench`.

    diffusers_bench.py MODEL --embeds FILE [--save FOLDER] [--compile | --once]

MODEL   a folder in diffusers' layout, as examples/bench/make_random_model.py writes it
--save  writes what ltxv-bench is compared with: latents of a short sampling, the frames of a short decode and its input
Device times are medians of ten after three, by CUDA events; whole runs are wall clock, to 8-bit frames in host memory.
Needs torch, diffusers and a GPU.
"""
import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXPipeline, LTXVideoTransformer3DModel
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "bench"))
from baseline import use_trained_positions  # noqa: E402

WARM, TIMED, FPS = 3, 10, 30
SIGMAS = (1.0, 0.75, 0.5, 0.25)
GRIDS = {640: (4, 10, 16), 6144: (16, 16, 24), 13376: (11, 32, 38)}  # latent frames, rows, columns


def report(bench, name, milliseconds, **more):
    print(json.dumps(dict(event="bench", bench=bench, name=name, median_ms=statistics.median(milliseconds), min_ms=min(milliseconds),
                          max_ms=max(milliseconds), **more)), flush=True)


def device_times(work, count=TIMED):
    times = []
    for i in range(WARM + count):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        if i >= WARM:
            times.append(begin.elapsed_time(end))
    return times


def prediction(transformer, tokens, prompt, grid, sigma):
    passes = tokens.shape[0]
    return transformer(hidden_states=tokens, encoder_hidden_states=prompt["embeds"].expand(passes, -1, -1),
                       timestep=torch.full((passes,), sigma * 1000.0, device="cuda"),
                       encoder_attention_mask=prompt["mask"].expand(passes, -1), num_frames=grid[0], height=grid[1], width=grid[2],
                       rope_interpolation_scale=(8 / FPS, 32, 32), return_dict=False)[0]


def forwards(transformer, prompt, name, cases):
    for tokens, passes in cases:
        x = torch.randn(passes, tokens, transformer.config.in_channels, device="cuda", dtype=torch.bfloat16)
        report(f"forward_2b_{tokens}_passes{passes}", name, device_times(lambda: prediction(transformer, x, prompt, GRIDS[tokens], 0.7)))


def save_sampling(transformer, prompt, folder):
    """Four Euler steps from the seeded noise that ltxv-bench draws for --seed 7."""
    grid = (8, 16, 16)
    noise = torch.randn((1, transformer.config.in_channels, *grid), generator=torch.Generator().manual_seed(7))
    tokens = noise.flatten(2).transpose(1, 2).cuda()
    for sigma, following in zip(SIGMAS, (*SIGMAS[1:], 0.0)):
        tokens = tokens + (following - sigma) * prediction(transformer, tokens.bfloat16(), prompt, grid, sigma).float()
    save_file({"latents": tokens.transpose(1, 2).unflatten(2, grid).contiguous().cpu()}, f"{folder}/diffusers_sampling.safetensors")


def decoded(vae, latents):
    statistic = lambda values: values.view(1, -1, 1, 1, 1)
    raw = latents * statistic(vae.latents_std.float()) + statistic(vae.latents_mean.float())
    return vae.decode(raw.bfloat16(), torch.tensor([0.05], device="cuda", dtype=torch.bfloat16), return_dict=False)[0]


def decodes(vae, folder):
    draw = lambda *grid: torch.randn((1, 128, *grid), generator=torch.Generator().manual_seed(11)).cuda()
    latents = draw(16, 16, 24)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    times = device_times(lambda: decoded(vae, latents), 5)
    report("decode_121x512x768", "diffusers_eager", times, peak_above_weights_mib=(torch.cuda.max_memory_allocated() - before) / 2**20)
    if folder:
        short = draw(4, 8, 12)
        save_file({"latents": short.cpu()}, f"{folder}/short_latents.safetensors")
        save_file({"frames": decoded(vae, short).float().cpu()}, f"{folder}/diffusers_frames.safetensors")


def runs(pipe, prompt):
    pipe.set_progress_bar_config(disable=True)
    embeds = dict(prompt_embeds=prompt["embeds"], prompt_attention_mask=prompt["mask"], negative_prompt_embeds=prompt["embeds"],
                  negative_prompt_attention_mask=prompt["mask"])
    for name, steps, guidance, count in (("generate-8-steps", 8, 1.0, 3), ("generate-20-steps-cfg", 20, 3.0, 2)):
        times = []
        for _ in range(1 + count):
            begin = time.perf_counter()
            frames = pipe(**embeds, width=768, height=512, num_frames=121, frame_rate=FPS, num_inference_steps=steps, guidance_scale=guidance,
                          decode_timestep=0.05, decode_noise_scale=0.025, output_type="pt", generator=torch.Generator("cuda").manual_seed(1)).frames
            (frames * 255).round().to(torch.uint8).cpu()
            times.append((time.perf_counter() - begin) * 1000)
        report(name, "diffusers_eager", times[1:])


def once(pipe, prompt):
    """One run of eight steps to 8-bit frames in host memory: what a script does that is started for one video."""
    pipe.set_progress_bar_config(disable=True)
    frames = pipe(prompt_embeds=prompt["embeds"], prompt_attention_mask=prompt["mask"], width=768, height=512, num_frames=121, frame_rate=FPS,
                  num_inference_steps=8, guidance_scale=1.0, decode_timestep=0.05, decode_noise_scale=0.025, output_type="pt",
                  generator=torch.Generator("cuda").manual_seed(1)).frames
    print((frames * 255).round().to(torch.uint8).cpu().shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--embeds", required=True)
    parser.add_argument("--save", default="")
    parser.add_argument("--compile", action="store_true", help="nothing but predictions with torch.compile of the repeated blocks")
    parser.add_argument("--once", action="store_true", help="nothing but one run of eight steps")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    given = load_file(args.embeds)
    prompt = dict(embeds=given["prompt_embeds"].bfloat16().cuda(), mask=given["prompt_attention_mask"].cuda())
    transformer = LTXVideoTransformer3DModel.from_pretrained(f"{args.model}/transformer", torch_dtype=torch.bfloat16).cuda()
    use_trained_positions(transformer, args.model)
    original = transformer.rope._prepare_video_coords
    transformer.rope._prepare_video_coords = lambda *a, **k: original(*a, **k).cuda()
    vae = AutoencoderKLLTXVideo.from_pretrained(f"{args.model}/vae", torch_dtype=torch.bfloat16).cuda()
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(f"{args.model}/scheduler")
    pipe = LTXPipeline(scheduler=scheduler, vae=vae, text_encoder=None, tokenizer=None, transformer=transformer)
    if args.once:
        once(pipe, prompt)
        return
    if args.compile:
        transformer.compile_repeated_blocks(fullgraph=True)
        forwards(transformer, prompt, "diffusers_compile", [(6144, 1), (6144, 2), (640, 1)])
        return
    forwards(transformer, prompt, "diffusers_eager", [(640, 1), (640, 2), (6144, 1), (6144, 2), (13376, 1)])
    if args.save:
        save_sampling(transformer, prompt, args.save)
    decodes(vae, args.save)
    runs(pipe, prompt)


if __name__ == "__main__":
    main()
