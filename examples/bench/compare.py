#!/usr/bin/env python3
"""Runs diffusers and libltxv in turn on the same work and reports how many times faster the library is.

  pip install torch==2.11.0 diffusers==0.42.1 transformers==5.23.0 accelerate==1.15.0 sentencepiece==0.2.3 protobuf==7.36.2 \\
              safetensors==0.8.0 av==18.1.0 numpy==2.4.6
  cmake --preset bench -DLTXV_TORCH_ROOT=$(python -c 'import torch; print(torch.__path__[0])') && cmake --build build
  python examples/bench/make_random_model.py /data/random-2b
  python examples/bench/compare.py --build build --large /data/random-2b --output record.json

One process at a time, diffusers first, then the library, then again (A B A B ...). A ratio is formed within each pair, so that a
machine that becomes slower or faster meanwhile hits both; the median of the ratios is reported with the smallest and the largest.
Both sides use the same LibTorch when the library is built against the one of the Python package.

  process  exec to finished mp4, bundled model; the frames of both are compared
  step     warm denoising step of the bundled model (transformer with guidance, and the sampler's step)
  decode   VAE decode at full width, random weights, fp32 and bf16; peak memory
  forward  one transformer forward of the 2B model, random weights, bf16, 2048 tokens; share of the machine's GEMM rate
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROMPT = "a red circle moves to the right on a black background"


class Child:
    """Seconds from start to end, peak resident memory, and what it printed."""

    def __init__(self, command):
        start = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, errors = process.communicate()
        self.seconds = time.perf_counter() - start
        if process.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{errors}")
        lines = [line for line in out.splitlines() if line.startswith("{")]
        self.json = json.loads(lines[-1]) if lines else {}


class Machine:
    def __init__(self, args):
        self.args = args
        self.bench, self.ltxv = args.build / "bin" / "ltxv-bench", args.build / "bin" / "ltxv"

    def wait_until_quiet(self):
        """Other work would be measured along."""
        while os.getloadavg()[0] > self.args.max_load and not self.args.ignore_load:
            print(f"load {os.getloadavg()[0]:.1f} is above {self.args.max_load}: waiting", file=sys.stderr)
            time.sleep(10)

    def diffusers(self, task, **options):
        return Child([sys.executable, HERE / "baseline.py", task] + words(options))

    def library(self, task, **options):
        return Child([self.bench, task, "--threads", self.args.threads] + words(options))


def words(options):
    out = []
    for name, value in options.items():
        out += [f"--{name.replace('_', '-')}", value]
    return out


def spread(values):
    return dict(median=statistics.median(values), min=min(values), max=max(values), all=values)


def pairs(machine, count, run_diffusers, run_library, value):
    """Interleaved runs. `value` picks the seconds out of a Child."""
    a, b, children = [], [], []
    for i in range(count):
        machine.wait_until_quiet()
        one, two = run_diffusers(), run_library()
        a.append(value(one))
        b.append(value(two))
        children.append((one, two))
        print(f"  pair {i + 1} of {count}: diffusers {a[-1]:.4f} s, ltxv {b[-1]:.4f} s, ratio {a[-1] / b[-1]:.2f}", file=sys.stderr)
    return dict(diffusers_seconds=spread(a), ltxv_seconds=spread(b), ratio=spread([x / y for x, y in zip(a, b)]),
                load_average=os.getloadavg()[0]), children


def difference(reference, ours, tensor):
    """Mean and largest absolute difference, and the reference's standard deviation."""
    from safetensors.torch import load_file

    a, b = load_file(reference)[tensor].float(), load_file(ours)[tensor].float()
    return dict(mean=(a - b).abs().mean().item(), max=(a - b).abs().max().item(), reference_std=a.std().item())


def bundled_settings(machine):
    """The preset of the bundled model, as the library resolves it."""
    command = [machine.ltxv, "generate", PROMPT, "--print-request"] + machine_model(machine)
    request = json.loads(subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True, text=True).stdout)
    return request


def machine_model(machine):
    return ["-m", machine.args.model] if machine.args.model else []


def baseline_settings(machine):
    r = bundled_settings(machine)
    folder = machine.args.model or machine.args.build / "share/ltxv/models/shapes"
    return dict(model=folder, prompt=PROMPT, width=r["width"], height=r["height"], frames=r["num_frames"], fps=r["frame_rate"],
                steps=r["num_inference_steps"], guidance=r["guidance_scale"], seed=7, max_text_tokens=r["max_text_tokens"])


def process(machine, work):
    import numpy as np
    from safetensors.torch import load_file

    settings = baseline_settings(machine)

    def run_library(output):
        return Child([machine.ltxv, "generate", PROMPT, "--seed", 7, "-o", output, "--quiet", "--threads", machine.args.threads]
                     + machine_model(machine))

    # Unmeasured: both have their files in the page cache after this, and the pictures are compared before the encoder.
    machine.diffusers("generate", output=work / "a.npy", **settings)
    run_library(work / "b.safetensors")
    a = np.load(work / "a.npy").astype(float)
    b = load_file(work / "b.safetensors")["frames"][0].permute(1, 2, 3, 0).clamp(-1, 1).add(1).mul(127.5).round().numpy()
    result, _ = pairs(machine, machine.args.pairs, lambda: machine.diffusers("generate", output=work / "a.mp4", **settings),
                      lambda: run_library(work / "b.mp4"), lambda child: child.seconds)
    result["settings"] = {key: str(value) for key, value in settings.items() if key != "model"}
    result["frames_difference_of_255"] = dict(mean=abs(a - b).mean(), max=abs(a - b).max())
    return {"process": result}


def step(machine, work):
    settings = baseline_settings(machine)
    ours = {key: settings[key] for key in ("prompt", "width", "height", "frames", "steps", "guidance", "seed")}
    if machine.args.model:
        ours["model"] = machine.args.model
    result, children = pairs(machine, machine.args.pairs, lambda: machine.diffusers("step", runs=5, **settings),
                             lambda: machine.library("step", runs=5, dtype="fp32", **ours),
                             lambda child: child.json["step_seconds"]["median"])
    result["steps_measured_each"] = children[0][1].json["step_seconds"]["count"]
    return {"step": result}


def decode(machine, work):
    t, h, w = machine.args.decode_size
    machine.diffusers("inputs", model=machine.args.large, frames=t, height=h, width=w, output=work)
    results = {}
    for dtype in machine.args.decode_types:
        common = dict(model=machine.args.large, input=work / "latents.safetensors", dtype=dtype, runs=machine.args.decode_runs)
        result, children = pairs(machine, machine.args.large_pairs,
                                 lambda: machine.diffusers("decode", output=work / "a.safetensors", **common),
                                 lambda: machine.library("decode", output=work / "b.safetensors", **common),
                                 lambda child: child.json["warm_seconds"]["median"])
        for name, key in (("peak_memory_mib", "peak_memory_first_mib"), ("peak_memory_warm_mib", "peak_memory_mib")):
            a, b = (statistics.median(pair[side].json[key] for pair in children) for side in (0, 1))
            result[name] = dict(diffusers=a, ltxv=b, ratio=a / b)
        result["first_seconds"] = {name: statistics.median(pair[side].json["first_seconds"] for pair in children)
                                   for side, name in enumerate(("diffusers", "ltxv"))}
        result["frames_difference"] = difference(work / "a.safetensors", work / "b.safetensors", "frames")
        results[f"decode {t}x{h}x{w} {dtype}"] = result
    return results


def forward_flops(model, tokens, text_tokens):
    """Of one forward with the prompt's keys and values at hand; a multiply-add counts 2. Linear layers and attention only."""
    config = json.loads((pathlib.Path(model) / "transformer" / "config.json").read_text())
    width, layers = config["num_attention_heads"] * config["attention_head_dim"], config["num_layers"]
    linear = 8 * width**2 + 4 * width**2 + 16 * width**2  # self-attention, cross-attention's q and out, feed-forward
    attention = 4 * tokens * width + 4 * text_tokens * width
    return tokens * (layers * (linear + attention) + 4 * config["in_channels"] * width)


def forward(machine, work):
    t, h, w = machine.args.forward_size
    machine.diffusers("inputs", model=machine.args.large, frames=t, height=h, width=w, output=work)
    sigmas = ",".join(f"{1 - i / machine.args.forward_steps:.4f}" for i in range(machine.args.forward_steps))
    common = dict(model=machine.args.large, dtype="bf16", frames=t, height=h, width=w, sigmas=sigmas, seed=7)
    quantised = []

    def run_library(latents, **more):
        return machine.library("step", prompt_embeds=work / "embeds.safetensors", guidance=1, stg_scale=0, runs=1,
                               save_latents=work / latents, **common, **more)

    def run_both():
        child = run_library("b.safetensors")
        if machine.args.quantization:  # in turn with the other two
            quantised.append(run_library("c.safetensors", quantization=machine.args.quantization).json)
        return child

    result, children = pairs(
        machine, machine.args.large_pairs,
        lambda: machine.diffusers("forward", input=work / "embeds.safetensors", fps=30, output=work / "a.safetensors",
                                  gemm_size=machine.args.gemm_size, **common),
        run_both, lambda child: child.json["step_seconds"]["median"])
    theirs = [pair[0].json for pair in children]
    flops = forward_flops(machine.args.large, theirs[0]["tokens"], theirs[0]["text_tokens"])
    rate = statistics.median(run["gemm_flops_per_second"] for run in theirs)
    result.update(tokens=theirs[0]["tokens"], flops=flops, gemm_flops_per_second=rate,
                  gemm_size=machine.args.gemm_size,
                  share_of_gemm_rate={side: flops / result[f"{side}_seconds"]["median"] / rate for side in ("diffusers", "ltxv")},
                  peak_memory_mib={name: statistics.median(pair[side].json["peak_memory_mib"] for pair in children)
                                   for side, name in enumerate(("diffusers", "ltxv"))},
                  latents_difference=difference(work / "a.safetensors", work / "b.safetensors", "latents"))
    results = {f"forward {t}x{h}x{w} bf16": result}
    if quantised:
        seconds = [run["step_seconds"]["median"] for run in quantised]
        of_own = [a / b for a, b in zip(result["ltxv_seconds"]["all"], seconds)]
        of_theirs = [a / b for a, b in zip(result["diffusers_seconds"]["all"], seconds)]
        results[f"forward {t}x{h}x{w} {machine.args.quantization}"] = dict(
            diffusers_seconds=result["diffusers_seconds"], ltxv_seconds=spread(seconds), ratio=spread(of_theirs), ratio_to_own_bf16=spread(of_own),
            peak_memory_mib=dict(diffusers=result["peak_memory_mib"]["diffusers"], ltxv=statistics.median(run["peak_memory_mib"] for run in quantised)),
            latents_difference=difference(work / "b.safetensors", work / "c.safetensors", "latents"), load_average=os.getloadavg()[0])
    return results


def cpu_name():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")


def describe(machine):
    library = json.loads(subprocess.run([str(machine.ltxv), "info", "--json"], stdout=subprocess.PIPE, text=True).stdout or "{}")
    library.get("cuda", {}).pop("plugin", None)  # a path of this machine says nothing to others
    commit = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    with open("/proc/meminfo") as memory:
        kib = int(memory.readline().split()[1])
    return dict(cpu=cpu_name(), cores=len(os.sched_getaffinity(0)), memory_gib=round(kib / 2**20, 1), system=platform.platform(),
                commit=commit, library=library, python_stack=machine.diffusers("versions").json,
                date=time.strftime("%Y-%m-%d", time.gmtime()))


def number(seconds):
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def table(record):
    lines = ["| what | ratio (smallest to largest of the pairs) | diffusers | ltxv | also |", "|---|---|---|---|---|"]
    for name, r in record["results"].items():
        also = []
        if "frames_difference_of_255" in r:
            also.append(f"pictures differ by {r['frames_difference_of_255']['mean']:.4f} of 255 on average")
        for key, text in (("peak_memory_mib", "peak memory of the process"), ("peak_memory_warm_mib", "of a warm call")):
            if key in r:
                also.append(f"{text} {r[key]['diffusers']:.0f} against {r[key]['ltxv']:.0f} MiB")
        if "share_of_gemm_rate" in r:
            also.append(f"{r['share_of_gemm_rate']['ltxv']:.0%} of the {r['gemm_flops_per_second'] / 1e9:.0f} GFLOP/s of a "
                        f"{r['gemm_size']} GEMM (diffusers {r['share_of_gemm_rate']['diffusers']:.0%})")
        if "ratio_to_own_bf16" in r:
            also.append("{median:.2f} ({min:.2f} to {max:.2f}) of libltxv's own bf16".format(**r["ratio_to_own_bf16"]))
        for key in ("frames_difference", "latents_difference"):
            if key in r:
                also.append(f"results differ by {r[key]['mean']:.2g} on average at std {r[key]['reference_std']:.2g}")
        ratio = r["ratio"]
        lines.append(f"| {name} | **{ratio['median']:.2f}** ({ratio['min']:.2f} to {ratio['max']:.2f}) | "
                     f"{number(r['diffusers_seconds']['median'])} | {number(r['ltxv_seconds']['median'])} | {'; '.join(also)} |")
    return "\n".join(lines)


def main():
    goals = dict(process=process, step=step, decode=decode, forward=forward)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build", help="build folder with bin/ltxv and bin/ltxv-bench")
    parser.add_argument("--model", type=pathlib.Path, help="folder to use instead of the bundled model")
    parser.add_argument("--large", type=pathlib.Path, help="what make_random_model.py wrote; needed by decode and forward")
    parser.add_argument("--only", nargs="+", choices=goals, default=list(goals))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of the library; the default is what torch takes")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--large-pairs", type=int, default=3)
    parser.add_argument("--decode-runs", type=int, default=3, help="calls in a process; the first is not counted")
    parser.add_argument("--decode-size", type=int, nargs=3, default=(25, 256, 256), metavar=("T", "H", "W"))
    parser.add_argument("--decode-types", nargs="+", choices=("fp32", "bf16"), default=("fp32", "bf16"),
                        help="without bf16 instructions diffusers takes most of an hour for the bf16 decode of the default size")
    parser.add_argument("--forward-size", type=int, nargs=3, default=(57, 512, 512), metavar=("T", "H", "W"))
    parser.add_argument("--forward-steps", type=int, default=4, help="forwards in a process; the first is not counted")
    parser.add_argument("--quantization", choices=("int8", "fp8"), help="measure this too, in turn with the forwards in bf16")
    parser.add_argument("--gemm-size", type=int, default=4096)
    parser.add_argument("--max-load", type=float, default=1.5, help="wait until the machine's load average is below this")
    parser.add_argument("--ignore-load", action="store_true")
    parser.add_argument("--output", type=pathlib.Path, help="JSON record; written after every goal, earlier results in it are kept")
    args = parser.parse_args()
    if args.large is None and {"decode", "forward"} & set(args.only):
        parser.error("--large is needed by decode and forward (make_random_model.py writes it), or choose others with --only")

    machine = Machine(args)
    record = dict(machine=describe(machine), results={})
    if args.output and args.output.exists():
        record["results"] = json.loads(args.output.read_text())["results"]
    for goal in args.only:
        print(goal, file=sys.stderr)
        with tempfile.TemporaryDirectory() as work:
            record["results"].update(goals[goal](machine, pathlib.Path(work)))
        if args.output:
            args.output.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
