#!/usr/bin/env python3
"""What eight-bit arithmetic costs in quality: the same prompts and seeds with it and without, on the bundled model.

  python examples/bench/quality.py --build build --output record.json
  python examples/bench/quality.py --build build --large /data/random-2b --output record.json

  velocity  relative L2 error of one prediction, at the start and on the way, from the same latents as the exact run
  latents   relative L2 distance of the finished latents: errors of all steps, as the trajectory carries them on
  psnr      of the decoded frames against the exact run's, 8 bits
With --large also the velocity of the 2B model with random weights, 57x512x512. The exact run is the library with the same dtype.
"""
import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
COLOURS, SHAPES = ("red", "green", "blue", "yellow", "purple", "white"), ("circle", "square", "triangle", "star", "ring")
MOTIONS = ("moving left", "moving right", "moving up", "moving down", "bouncing", "spinning", "growing", "shrinking")
MODES = {"int8": ["--quantization", "int8"], "fp8": ["--quantization", "fp8"], "attention int8": ["--attention", "int8"],
         "fp8, attention int8": ["--quantization", "fp8", "--attention", "int8"]}
STEPS, POINTS = 12, (0, 4, 8)


def captions(count):
    colours, shapes, motions = itertools.cycle(COLOURS), itertools.cycle(SHAPES), itertools.cycle(MOTIONS)
    return [f"a {next(colours)} {next(shapes)} {next(motions)} on a black background" for _ in range(count)]


class Program:
    def __init__(self, path, work):
        self.path, self.work = path, work

    def __call__(self, caption, *options):
        latents, frames = self.work / "latents.safetensors", self.work / "frames.safetensors"
        command = [self.path, "generate", caption, "--quiet", "-o", frames, "--save-latents", latents, *options]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        return load_file(str(latents))["latents"].astype(np.float64), load_file(str(frames))["frames"]


def distance(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def psnr(a, b):
    a, b = (np.rint((np.clip(x, -1, 1) + 1) * 127.5) for x in (a, b))
    return float(10 * np.log10(255**2 / max(np.mean((a - b) ** 2), 1e-6)))


def points(program, caption, seed, work):
    """Latents of the exact trajectory and their noise levels, one Euler step after the other."""
    program(caption, "--seed", seed, "--steps", 1, "--save-noise", work / "noise.safetensors")
    at = load_file(str(work / "noise.safetensors"))["initial"]
    for i in range(max(POINTS) + 1):
        sigma = 1 - i / STEPS
        if i in POINTS:
            yield sigma, at
        at = (at - velocity(program, caption, sigma, at, ["--guidance", 3], work) / STEPS).astype(np.float32)


def velocity(program, caption, sigma, at, options, work):
    """Of a run of one step, which ends at noise level 0."""
    draws = load_file(str(work / "noise.safetensors"))
    start = work / "start.safetensors"
    save_file({**draws, "initial": at}, str(start))
    end, _ = program(caption, "--noise", start, "--sigmas", sigma, *options)
    return (at - end) / sigma


def bundled(program, count, work):
    found = {mode: dict(velocity={}, latents=[], psnr=[]) for mode in MODES}
    for seed, caption in enumerate(captions(count)):
        exact_latents, exact_frames = program(caption, "--seed", seed)
        for sigma, at in points(program, caption, seed, work):
            exact = velocity(program, caption, sigma, at, ["--guidance", 1], work)
            for mode, options in MODES.items():
                error = distance(velocity(program, caption, sigma, at, ["--guidance", 1, *options], work), exact)
                found[mode]["velocity"].setdefault(f"sigma {sigma:.2f}", []).append(error)
        for mode, options in MODES.items():
            latents, frames = program(caption, "--seed", seed, *options)
            found[mode]["latents"].append(distance(latents, exact_latents))
            found[mode]["psnr"].append(psnr(frames, exact_frames))
    return found


def large(program, model, work):
    """One prediction of the 2B model from noise; embeddings from the bundled model's width do not fit, so random ones."""
    rng = np.random.default_rng(3)
    embeds = work / "embeds.safetensors"
    save_file({"prompt_embeds": rng.standard_normal((1, 128, 4096), dtype=np.float32), "prompt_attention_mask": np.ones((1, 128), np.int64)},
              str(embeds))
    at = rng.standard_normal((1, 128, 8, 16, 16), dtype=np.float32)
    start = work / "start.safetensors"
    save_file({"initial": at, "decode": np.zeros_like(at)}, str(start))
    options = ["-m", model, "--prompt-embeds", embeds, "--noise", start, "--sigmas", 1, "--guidance", 1, "--stg-scale", 0, "--width", 512, "--height", 512,
               "--frames", 57, "--dtype", "bf16"]

    def run(*more):
        latents = work / "latents.safetensors"
        command = [program.path, "generate", "--quiet", "-o", work / "x.safetensors", "--save-latents", latents, *options, *more]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        return at - load_file(str(latents))["latents"].astype(np.float64)

    exact = run()
    return {mode: distance(run(*words), exact) for mode, words in MODES.items()}


def summary(values):
    return dict(median=statistics.median(values), min=min(values), max=max(values), count=len(values))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build", help="build folder with bin/ltxv")
    parser.add_argument("--count", type=int, default=24, help="prompts, each with a seed of its own")
    parser.add_argument("--large", type=pathlib.Path, help="what make_random_model.py wrote")
    parser.add_argument("--output", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        program = Program(args.build / "bin" / "ltxv", work)
        record = {"bundled": {}}
        for mode, found in bundled(program, args.count, work).items():
            record["bundled"][mode] = dict(velocity={at: summary(v) for at, v in found["velocity"].items()}, latents=summary(found["latents"]),
                                           psnr=summary(found["psnr"]))
        if args.large:
            record["large_velocity"] = large(program, args.large, work)
    text = json.dumps(record, indent=1)
    if args.output:
        args.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
