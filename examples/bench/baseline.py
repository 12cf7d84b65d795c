#!/usr/bin/env python3
"""The diffusers side of compare.py: the same work as `ltxv` and `ltxv-bench`, written as a diffusers user would write it.

  baseline.py generate MODEL OUT.mp4 ...     load, generate, write: one process from start to finished file
  baseline.py step MODEL ...                 warm denoising steps of the pipeline
  baseline.py decode MODEL ...               VAE decode
  baseline.py forward MODEL ...              the transformer alone at a given number of tokens, and the machine's GEMM rate

Every task but `generate` prints one JSON object. Imports stand inside the tasks, so that none pays for another's.

Where diffusers and the library differ in meaning, the library's meaning is used here too, since that is what the models were trained
with: LTXPipeline gives T5 no padding mask and places latent frame f at pixel frame 8f, the original code passes the mask and, for
models with causal_temporal_positioning, uses max(0, 8f - 7). `SameMeaning` changes these two places and nothing else; their cost is
that of the originals.
"""
import argparse
import json
import statistics
import sys
import time


def summary(seconds):
    return dict(count=len(seconds), median=statistics.median(seconds), min=min(seconds), max=max(seconds), all=seconds)


def peak_memory_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def reset_peak_memory():
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")


def causal_grid(batch_size, num_frames, height, width, rope_interpolation_scale, device):
    """In place of LTXVideoRotaryPosEmbed._prepare_video_coords."""
    import torch

    seconds_per_frame = rope_interpolation_scale[0] / 8
    frames = (torch.arange(num_frames, dtype=torch.float32) * 8 - 7).clamp(min=0) * seconds_per_frame
    rows = torch.arange(height, dtype=torch.float32) * rope_interpolation_scale[1]
    columns = torch.arange(width, dtype=torch.float32) * rope_interpolation_scale[2]
    grid = torch.stack(torch.meshgrid(frames / 20, rows / 2048, columns / 2048, indexing="ij"))
    return grid.flatten(1).t().expand(batch_size, -1, -1)


def use_trained_positions(transformer, model):
    """Causal ones where the configuration says so, or where the VAE is that of 0.9.5 or later, as those releases were trained."""
    with open(f"{model}/transformer/config.json") as config:
        causal = json.load(config).get("causal_temporal_positioning")
    if causal is None:
        with open(f"{model}/vae/config.json") as config:
            causal = "LTXVideo095DownBlock3D" in json.load(config).get("down_block_types", [])
    if causal:
        transformer.rope._prepare_video_coords = causal_grid


def load_pipeline(model):
    import torch
    from diffusers import LTXPipeline

    class SameMeaning(LTXPipeline):
        def _get_t5_prompt_embeds(self, prompt=None, num_videos_per_prompt=1, max_sequence_length=128, device=None, dtype=None):
            prompt = [prompt] if isinstance(prompt, str) else prompt
            text = self.tokenizer(prompt, padding="max_length", max_length=max_sequence_length, truncation=True, return_tensors="pt")
            embeds = self.text_encoder(text.input_ids, attention_mask=text.attention_mask)[0]
            return embeds.to(dtype or self.text_encoder.dtype), text.attention_mask.bool()

    pipe = SameMeaning.from_pretrained(model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)

    use_trained_positions(pipe.transformer, model)
    return pipe


def pipeline_arguments(args):
    import torch

    return dict(prompt=args.prompt, negative_prompt="", width=args.width, height=args.height, num_frames=args.frames,
                frame_rate=args.fps, num_inference_steps=args.steps, guidance_scale=args.guidance, decode_timestep=0.05,
                decode_noise_scale=0.025, max_sequence_length=args.max_text_tokens, generator=torch.Generator().manual_seed(args.seed))


def write_mp4(path, frames, frames_per_second):
    """u8 [T,H,W,3]; x264 as the library sets it."""
    import fractions

    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=fractions.Fraction(frames_per_second).limit_denominator(65535))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "medium", "crf": "18", "x264-params": "cpu-independent=1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def generate(args):
    import numpy as np

    video = load_pipeline(args.model)(**pipeline_arguments(args), output_type="np").frames[0]
    frames = (video * 255).round().astype(np.uint8)
    if args.output.endswith(".npy"):
        np.save(args.output, frames)
    else:
        write_mp4(args.output, frames, args.fps)


def step(args):
    pipe = load_pipeline(args.model)
    first, warm = [], []
    for _ in range(args.runs):
        marks = [time.perf_counter()]

        def mark(pipe, index, t, kwargs):
            marks.append(time.perf_counter())
            return kwargs

        pipe(**pipeline_arguments(args), output_type="latent", callback_on_step_end=mark)
        first.append(marks[1] - marks[0])  # with prompt encoding; not compared
        warm += [after - before for before, after in zip(marks[1:], marks[2:])]
    return dict(step_seconds=summary(warm), peak_memory_mib=peak_memory_mib())


def torch_type(name):
    import torch

    return dict(bf16=torch.bfloat16, fp32=torch.float32)[name]


def decode(args):
    import torch
    from diffusers import AutoencoderKLLTXVideo
    from safetensors.torch import load_file, save_file

    dtype = torch_type(args.dtype)
    vae = AutoencoderKLLTXVideo.from_pretrained(f"{args.model}/vae", dtype=dtype)
    vae.encoder = None  # its weights are not part of a decode; the process's peak includes them, the warm peak does not
    statistic = lambda values: values.view(1, -1, 1, 1, 1).float()
    latents = load_file(args.input)["latents"] * statistic(vae.latents_std) + statistic(vae.latents_mean)
    timestep = torch.tensor([0.05], dtype=dtype) if vae.config.timestep_conditioning else None
    seconds, first_peak = [], None
    with torch.inference_mode():
        for run in range(args.runs):
            if run == 1:
                first_peak = peak_memory_mib()
                reset_peak_memory()
            start = time.perf_counter()
            frames = vae.decode(latents.to(dtype), timestep, return_dict=False)[0].float()
            seconds.append(time.perf_counter() - start)
    if args.output:
        save_file({"frames": frames.contiguous()}, args.output)
    return dict(first_seconds=seconds[0], warm_seconds=summary(seconds[1:]), peak_memory_first_mib=first_peak,
                peak_memory_mib=peak_memory_mib(), finite=bool(frames.isfinite().all()))


def forward(args):
    import torch
    from diffusers import LTXVideoTransformer3DModel
    from safetensors.torch import load_file, save_file

    dtype = torch_type(args.dtype)
    transformer = LTXVideoTransformer3DModel.from_pretrained(f"{args.model}/transformer", dtype=dtype)
    use_trained_positions(transformer, args.model)
    prompt = load_file(args.input)
    embeds, mask = prompt["prompt_embeds"].to(dtype), prompt["prompt_attention_mask"]
    t, h, w = (args.frames - 1) // 8 + 1, args.height // 32, args.width // 32
    channels = transformer.config.in_channels
    noise = torch.randn((1, channels, t, h, w), generator=torch.Generator().manual_seed(args.seed))
    tokens = noise.flatten(2).transpose(1, 2).contiguous()
    sigmas = [float(sigma) for sigma in args.sigmas.split(",")] + [0.0]
    seconds = []
    with torch.inference_mode():
        for sigma, following in zip(sigmas, sigmas[1:]):
            start = time.perf_counter()
            velocity = transformer(hidden_states=tokens.to(dtype), encoder_hidden_states=embeds,
                                   timestep=torch.tensor([sigma * 1000.0]), encoder_attention_mask=mask, num_frames=t, height=h,
                                   width=w, rope_interpolation_scale=(8 / args.fps, 32, 32), return_dict=False)[0]
            tokens = tokens + (following - sigma) * velocity.float()
            seconds.append(time.perf_counter() - start)
        rate = gemm_rate(dtype, args.gemm_size)
    if args.output:
        save_file({"latents": tokens.transpose(1, 2).unflatten(2, (t, h, w)).contiguous()}, args.output)
    return dict(first_step_seconds=seconds[0], step_seconds=summary(seconds[1:]), peak_memory_mib=peak_memory_mib(),
                gemm_flops_per_second=rate, tokens=tokens.shape[1], text_tokens=int(mask.sum()))


def gemm_rate(dtype, size):
    """Best of five products of square matrices: what this machine can do. Units: FLOP/s."""
    import torch

    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds[1:])


def inputs(args):
    """Seeded latents and prompt embeddings that both sides read."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(args.seed)
    with open(f"{args.model}/vae/config.json") as config:
        channels = json.load(config)["latent_channels"]
    with open(f"{args.model}/transformer/config.json") as config:
        caption_width = json.load(config)["caption_channels"]
    t, h, w = (args.frames - 1) // 8 + 1, args.height // 32, args.width // 32
    save_file({"latents": torch.randn((1, channels, t, h, w), generator=generator)}, f"{args.output}/latents.safetensors")
    save_file({"prompt_embeds": torch.randn((1, 128, caption_width), generator=generator) * 0.3,
               "prompt_attention_mask": torch.ones(1, 128, dtype=torch.int64)}, f"{args.output}/embeds.safetensors")


def versions(args):
    import platform

    import diffusers
    import torch
    import transformers

    return dict(python=platform.python_version(), torch=torch.__version__, diffusers=diffusers.__version__,
                transformers=transformers.__version__, threads=torch.get_num_threads())


def main():
    tasks = dict(generate=generate, step=step, decode=decode, forward=forward, inputs=inputs, versions=versions)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=tasks)
    parser.add_argument("--model")
    parser.add_argument("--output", default="")
    parser.add_argument("--input", default="")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--sigmas", default="1,0.75,0.5,0.25")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--fps", type=float, default=25)
    for name, value in dict(width=128, height=128, frames=17, steps=12, seed=7, runs=3, max_text_tokens=64, gemm_size=4096).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    args = parser.parse_args()
    result = tasks[args.task](args)
    if result is not None:
        json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
