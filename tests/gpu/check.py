#!/usr/bin/env python3
"""Runs the steps of tests/gpu/check.sh and writes one record, gpu-check.json. Needs Python 3.8 and the standard library; reference cases
also need torch and safetensors, generated checkpoints numpy.

    check.py --pack FOLDER --out FOLDER [--budget 520] [--jobs 8] [--only correctness,...]

Steps that check run side by side, --jobs processes at a time; steps that measure run alone, afterwards.
"""
import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SKIPPED = 77
LEFT_OUT = "left out by --only"
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")


class DeviceMemory:
    """The most memory of the device that was in use while a step ran, in MiB, contexts included; None without nvidia-smi."""

    def __enter__(self):
        self.most, self.watcher = None, None
        if shutil.which("nvidia-smi"):
            self.watcher = subprocess.Popen(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "20"],
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self

    def __exit__(self, *ignored):
        if not self.watcher:
            return
        self.watcher.terminate()
        readings = [int(line) for line in self.watcher.communicate()[0].split("\n") if line.strip().isdigit()]
        self.most = max(readings, default=None)


class Check:
    def __init__(self, options):
        self.options, self.pack, self.out = options, options.pack, options.out
        self.start = time.monotonic()
        self.record = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                       "commit": (self.pack / "commit").read_text().split("\n")[0], "commit_note": " ".join((self.pack / "commit").read_text().split("\n")[1:]),
                       "arch": 0, "kernels": [], "steps": [], "checks": [], "benches": []}
        self.all_kernels, self.verdicts = [], {}

    def left(self):
        return self.options.budget - (time.monotonic() - self.start)

    def wants(self, name):
        return not self.options.only or name in self.options.only.split(",")

    def program(self, name):
        return str(self.pack / "bin" / name)

    def run(self, name, words, limit, env=None):
        """(exit status, stdout); None for a step that could not start. The output goes to a file beside the record."""
        limit = min(limit, self.left())
        if limit < 5:
            return None, "no time left"
        try:
            done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit,
                                  env={**os.environ, **(env or {})})
            text, status = done.stdout.decode(errors="replace"), done.returncode
        except subprocess.TimeoutExpired as late:
            text, status = (late.stdout or b"").decode(errors="replace") + f"\nstopped after {limit:.0f} s", 124
        except OSError as problem:
            return None, str(problem)
        (self.out / f"{name}.log").write_text(text)
        return status, text

    def note(self, step, state, seconds=0.0, why=""):
        assert state in ("passed", "failed", "not run")
        self.record["steps"].append({"step": step, "state": state, "seconds": round(seconds, 1), "note": why})
        print(f"{state:8} {step} {why}".rstrip(), flush=True)

    def step(self, name, words, limit, env=None, read=None):
        """Runs one step, hands its output to `read`, notes the result. True where it passed."""
        begin = time.monotonic()
        status, text = self.run(name, words, limit, env)
        seconds = time.monotonic() - begin
        if status is None or status == SKIPPED:
            self.note(name, "not run", seconds, text.strip().split("\n")[-1][:300])
            return False
        why = "" if status == 0 else f"exit {status}: " + text.strip().split("\n")[-1][:300]
        if read:
            try:
                why = "; ".join(filter(None, (why, read(text))))
            except (ValueError, KeyError) as problem:
                why = why or f"its output cannot be read: {problem}"
        self.note(name, "passed" if status == 0 and not why else "failed", seconds, why)
        return status == 0 and not why

    @staticmethod
    def lines(text):
        for line in text.split("\n"):
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:
                    pass

    # ------------------------------------------------------------------------------------------------ steps

    def list(self):
        def read(text):
            for line in self.lines(text):
                if line["event"] == "device":
                    self.record.update(gpu=line["name"], arch=line["arch"], memory_bytes=line["memory_bytes"], versions=line["versions"])
                elif line["event"] == "kernel":
                    self.all_kernels.append(line)
            return "" if self.record["arch"] else "no device line"
        if shutil.which("nvidia-smi"):
            status, text = self.run("nvidia-smi", ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"], 20)
            self.record["driver"] = text.strip() if status == 0 else ""
        return self.step("list", [self.program("gpu_kernel_checks"), "list"], 60, read=read)

    def kernels_here(self):
        return sorted({(k["op"], k["variant"]) for k in self.all_kernels if k["arch"] == self.record["arch"]})

    def correctness(self):
        """One process a kernel: what a bad launch leaves behind must not touch the next."""
        if not self.kernels_here():
            self.note("correctness", "not run", 0, "no kernel has machine code for this device")
        for op, variant in self.kernels_here():
            yield lambda op=op, variant=variant: self.correctness_of(op, variant)

    def correctness_of(self, op, variant):
        def read(text):
            checks = [line for line in self.lines(text) if line["event"] == "check"]
            self.record["checks"] += checks
            bad = [c for c in checks if not c["good"]]
            return f"{len(bad)} of {len(checks)} cases failed, first {bad[0]['case']}: {bad[0]['note']}" if bad else "" if checks else "no case ran"
        name = f"correctness-{op}-{variant}"
        self.verdicts["correctness", op, variant] = self.step(name, [self.program("gpu_kernel_checks"), "check", op, variant], 120, read=read)

    def good_kernels(self):
        """Kernels that passed everything there is to pass."""
        return [pair for pair in self.kernels_here() if all(self.verdicts.get((kind, *pair)) for kind in ("correctness", *SANITIZERS))]

    def pins(self):
        """Makes what is measured what a build would choose that has this run's record."""
        chosen = {op: variant for op, variant in sorted(self.good_kernels())}  # cuda_wgmma comes behind cuda_mma
        return {"LTXV_KERNELS": ",".join(f"{op}={variant}" for op, variant in chosen.items())} if chosen else {}

    def sanitizer(self):
        tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
        if not tool:
            for kind in SANITIZERS:
                self.note(f"sanitizer-{kind}", "not run", 0, "compute-sanitizer is not on this machine: no kernel is recorded as checked")
            return
        for kind in SANITIZERS:
            yield lambda kind=kind: self.sanitizer_of(kind, [tool, "--tool", kind, "--error-exitcode", "9"])

    def sanitizer_of(self, kind, tool):
        """All kernels in one process; only where that fails, a process a kernel tells which it was."""
        # The program itself, not the script in front of it that sets its libraries.
        real = self.pack / "real/gpu_kernel_checks"
        words = [*tool, real if real.exists() else self.program("gpu_kernel_checks"), "small"]
        libraries = {"LD_LIBRARY_PATH": os.environ.get("LTXV_CHECK_LIBRARIES", os.environ.get("LD_LIBRARY_PATH", ""))}
        status, _ = self.run(f"sanitizer-{kind}", words, 150, libraries)
        for op, variant in self.kernels_here():
            name = f"sanitizer-{kind}-{op}-{variant}"
            if status == 0:
                self.note(name, "passed", 0, "in one process with the others")
            self.verdicts[kind, op, variant] = status == 0 or self.step(name, [*words, op, variant], 60, libraries)

    def engine(self):
        """The tiny model on the device against the CPU, in both number formats, with and without graphs."""
        model = self.pack / "tests/golden/tiny_model"
        words = [self.program("ltxv"), "generate", "A red circle moves slowly to the right.", "-m", model, "--width", "96", "--height", "64",
                 "--frames", "17", "--steps", "4", "--seed", "3", "--guidance", "3"]

        def run():
            made = {}
            for name, more in (("cpu", ["--device", "cpu", "--dtype", "fp32"]), ("cuda-fp32", ["--device", "cuda", "--dtype", "fp32"]),
                               ("cuda-bf16", ["--device", "cuda", "--dtype", "bf16"]),
                               ("cuda-graphs", ["--device", "cuda", "--dtype", "fp32", "--cuda-graphs"]),
                               ("cuda-again", ["--device", "cuda", "--dtype", "fp32"])):
                latents = self.out / f"latents-{name}.safetensors"
                if self.step(f"generate-{name}", [*words, *more, "-o", self.out / f"{name}.safetensors", "--save-latents", latents], 60):
                    made[name] = latents
            self.compare_latents(made)
        yield run

    def compare_latents(self, made):
        try:
            from safetensors.torch import load_file
        except ImportError as problem:
            self.note("generate-compare", "not run", 0, str(problem))
            return
        if "cpu" not in made:
            return
        load = lambda name: load_file(str(made[name]))["latents"].double()
        expected = load("cpu")
        for name, bound in (("cuda-fp32", 1e-3), ("cuda-graphs", 1e-3), ("cuda-bf16", 0.1)):
            if name in made:
                error = ((load(name) - expected).norm() / expected.norm()).item()
                self.record["checks"].append(dict(event="check", op="generate", variant=name, case="tiny_model", good=error <= bound, error=error, tolerance=bound))
                self.note(f"compare-{name}", "passed" if error <= bound else "failed", 0, f"relative error {error:.2e}, allowed {bound:g}")
        if "cuda-fp32" in made and "cuda-again" in made:
            same = made["cuda-fp32"].read_bytes() == made["cuda-again"].read_bytes()
            self.note("compare-repeat", "passed" if same else "failed", 0, "" if same else "the same run gave other bytes")

    def oracle(self):
        if not (self.pack / "cases").is_dir():
            self.note("oracle", "not run", 0, "no cases in this pack")
            return
        for dtype, tolerance in (("fp32", 1e-4), ("bf16", 0.2)):
            words = [sys.executable, self.pack / "tests/oracle_check.py", "--ltxv", self.program("ltxv"), "--cases", self.pack / "cases", "--device", "cuda",
                     "--dtype", dtype, "--tolerance", tolerance, "--jobs", "4", "--match", "pipelines" if dtype == "bf16" else ""]
            yield lambda dtype=dtype, words=words: self.step(f"oracle-{dtype}", words, 150)

    def benches(self):
        def read(text):
            found = [line for line in self.lines(text) if line["event"] in ("bench", "check")]
            self.record["benches"] += [line for line in found if line["event"] == "bench"]
            self.record["checks"] += [line for line in found if line["event"] == "check"]
            return "" if found else "nothing was measured"
        for name in ("attention", "rows", "forward", "quantised", "ranks"):
            if self.wants(name):
                self.step(f"bench-{name}", [self.program("gpu_kernel_checks"), "bench", name], 120, self.pins(), read=read)
            else:
                self.note(f"bench-{name}", "not run", 0, LEFT_OUT)
        self.whole_models() if self.wants("models") else self.note("bench-model", "not run", 0, LEFT_OUT)

    def whole_models(self):
        """Steps, decodes and runs of a full-size random checkpoint through the public API, and diffusers on the same files where it is here."""
        if not Path(self.program("ltxv-bench")).exists():
            self.note("bench-model", "not run", 0, "no ltxv-bench in this pack")
            return
        folder = Path(self.options.scratch or self.out)
        if shutil.disk_usage(folder).free < 12 << 30:
            self.note("bench-model", "not run", 0, "less than 12 GB free for a checkpoint")
            return
        status, text = self.run("diffusers", [sys.executable, "-c", "import diffusers; print(diffusers.__version__)"], 60)
        self.record["diffusers"] = text.strip().split("\n")[-1] if status == 0 else None
        model = folder / ("bench-2b" if self.record["diffusers"] else "bench-2b.safetensors")
        make = ([self.pack / "examples/bench/make_random_model.py", model, "--device", "cuda"] if self.record["diffusers"] else
                [self.pack / "tests/full_size/make_checkpoint.py", "2b-0.9.8", model])
        if not self.step("bench-model", [sys.executable, *make], 90):
            return
        embeds = self.prompt_file(folder)
        base = ["--model", model, "--dtype", "bf16", "--device", "cuda"]
        headline = ["--width", "768", "--height", "512", "--frames", "121"]
        prompt = ["--prompt-embeds", embeds, "--negative-prompt-embeds", embeds, "--stg-scale", "0"]
        jobs = {"decode-headline": ["decode", *base, "--shape", "16,16,24", "--runs", "6"]}
        if embeds:
            jobs.update({"generate-8-steps": ["generate", *base, *prompt, *headline, "--steps", "8", "--guidance", "1", "--runs", "4"],
                         "generate-20-steps-cfg": ["generate", *base, *prompt, *headline, "--steps", "20", "--guidance", "3", "--runs", "3"],
                         "generate-8-steps-fp8": ["generate", *base, *prompt, *headline, "--steps", "8", "--guidance", "1", "--runs", "3",
                                                  "--quantization", "fp8"],
                         "generate-20-steps-cfg-fp8": ["generate", *base, *prompt, *headline, "--steps", "20", "--guidance", "3", "--runs", "2",
                                                       "--quantization", "fp8"],
                         "generate-20-steps-cfg-graphs": ["generate", *base, *prompt, *headline, "--steps", "20", "--guidance", "3", "--runs", "2",
                                                          "--cuda-graphs", "1"],
                         "generate-8-steps-in-8-gib": ["generate", *base, *prompt, *headline, "--steps", "8", "--guidance", "1", "--runs", "2",
                                                       "--device-memory", "8"],
                         "step-headline": ["step", *base, *prompt, *headline, "--steps", "8", "--guidance", "1", "--runs", "2"],
                         "step-preview-graphs": ["step", *base, *prompt, "--width", "512", "--height", "320", "--frames", "25", "--steps", "30",
                                                 "--guidance", "1", "--runs", "2", "--cuda-graphs", "1"]})
        jobs["decode-long"] = ["decode", *base, "--shape", "121,16,24", "--runs", "2"]
        if embeds and self.record["diffusers"]:
            self.diffusers(model, embeds, base)
        for name, words in jobs.items():
            with DeviceMemory() as memory:
                self.step(f"bench-{name}", [self.program("ltxv-bench"), *words], 60, self.pins(), read=self.reader_of(name))
            if self.record["benches"]:
                self.record["benches"][-1]["peak_device_mib"] = memory.most
        if embeds and self.record["diffusers"]:
            self.processes(model, embeds, [*headline, "--steps", "8"])
            self.diffusers(model, embeds, base, compiled=True)
        shutil.rmtree(model) if model.is_dir() else model.unlink()

    def reader_of(self, name):
        def read(text):
            found = next(self.lines(text), None)
            if found is None:
                return text.strip().split("\n")[-1][:300]
            keep = ("open_seconds", "first_step_seconds", "step_seconds", "first_seconds", "warm_seconds", "first_run_seconds", "stage_seconds",
                    "peak_memory_mib", "latents")
            self.record["benches"].append({"event": "bench", "bench": f"ltxv-bench {name}", **{k: found[k] for k in keep if k in found}})
        return read

    def diffusers(self, model, embeds, base, compiled=False):
        """diffusers' own times, and whether both sides agree on a short sampling and a short decode of the same weights in bf16."""
        def read(text):
            found = [line for line in self.lines(text) if line["event"] == "bench"]
            self.record["benches"] += found
            return "" if found else "nothing was measured"
        words = [sys.executable, self.pack / "tests/gpu/diffusers_bench.py", model, "--embeds", embeds]
        if compiled:
            self.step("bench-diffusers-compile", [*words, "--compile"], 120, read=read)
            return
        self.step("bench-diffusers", [*words, "--save", self.out], 100, read=read)
        ours = {"sampling": ["step", *base, "--prompt-embeds", embeds, "--width", "512", "--height", "512", "--frames", "57", "--sigmas",
                             "1,0.75,0.5,0.25", "--guidance", "1", "--stg-scale", "0", "--seed", "7", "--runs", "1", "--save-latents", self.out / "ltxv_sampling.safetensors"],
                "frames": ["decode", *base, "--input", self.out / "short_latents.safetensors", "--runs", "1", "--output",
                           self.out / "ltxv_frames.safetensors"]}
        for what, words in ours.items():
            if (self.out / f"diffusers_{what}.safetensors").exists() and self.step(f"same-{what}", [self.program("ltxv-bench"), *words], 60, self.pins()):
                self.agree(what, "latents" if what == "sampling" else "frames", 0.1)

    def processes(self, model, embeds, settings):
        """From exec to finished frames of a run of eight steps, in turn, files in the page cache."""
        ours = [self.program("ltxv"), "generate", "-m", model, "--prompt-embeds", embeds, "--guidance", "1", "--stg-scale", "0", "--dtype", "bf16",
                "--device", "cuda", "--seed", "1", *settings, "-o", self.out / "process.safetensors"]
        theirs = [sys.executable, self.pack / "tests/gpu/diffusers_bench.py", model, "--embeds", embeds, "--once"]
        seconds = {"libltxv": [], "diffusers": []}
        for _ in range(2):
            for name, words in (("diffusers", theirs), ("libltxv", ours)):
                begin = time.monotonic()
                if self.step(f"process-{name}", words, 60, self.pins()):
                    seconds[name].append(1000 * (time.monotonic() - begin))
        for name, times in seconds.items():
            if times:
                self.record["benches"].append(dict(event="bench", bench="process-8-steps", name=name, median_ms=statistics.median(times),
                                                   min_ms=min(times), max_ms=max(times)))

    def agree(self, what, tensor, bound):
        from safetensors.torch import load_file
        theirs, ours = (load_file(str(self.out / f"{side}_{what}.safetensors"))[tensor].double() for side in ("diffusers", "ltxv"))
        error = ((ours - theirs).norm() / theirs.norm()).item() if ours.shape == theirs.shape else float("inf")
        self.record["checks"].append(dict(event="check", op=what, variant="diffusers", case="2b_bf16", good=error <= bound, error=error, tolerance=bound))
        self.note(f"agree-{what}", "passed" if error <= bound else "failed", 0, f"relative difference {error:.2e}, allowed {bound:g}")

    def prompt_file(self, folder):
        try:
            import torch
            from safetensors.torch import save_file
        except ImportError as problem:
            self.note("bench-prompt", "not run", 0, f"{problem}: steps and runs of whole models are left out")
            return None
        path = folder / "prompt.safetensors"
        save_file({"prompt_embeds": torch.randn(1, 128, 4096) * 0.1, "prompt_attention_mask": torch.ones(1, 128, dtype=torch.long)}, str(path))
        return path

    # ------------------------------------------------------------------------------------------------ all

    def all(self):
        if not self.list():
            self.write()
            return SKIPPED if self.record["steps"][-1]["state"] == "not run" else 1
        jobs = []
        for name in ("correctness", "sanitizer", "engine", "oracle"):
            if self.wants(name):
                jobs += getattr(self, name)()
            else:
                self.note(name, "not run", 0, LEFT_OUT)
        with ThreadPoolExecutor(self.options.jobs) as pool:
            for job in [pool.submit(job) for job in jobs]:
                job.result()
        self.benches()
        # What the dispatcher may choose from now on: code that passed everything there is to pass.
        hashes = {(k["op"], k["variant"]): k["hash"] for k in self.all_kernels if k["arch"] == self.record["arch"]}
        self.record["kernels"] = [dict(op=op, variant=variant, hash=hashes[op, variant]) for op, variant in self.good_kernels()]
        # All code that was there, passed or not.
        self.record["code"] = [{k: kernel[k] for k in ("op", "variant", "arch", "hash")} for kernel in self.all_kernels]
        self.write()
        failed = [s["step"] for s in self.record["steps"] if s["state"] == "failed"]
        print(f"{len(self.record['steps'])} steps, {len(failed)} failed {' '.join(failed)}")
        return 1 if failed else 0

    def write(self):
        self.record["seconds"] = round(time.monotonic() - self.start, 1)
        (self.out / "gpu-check.json").write_text(json.dumps(self.record, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=520, help="seconds for everything")
    parser.add_argument("--jobs", type=int, default=8, help="checks at a time")
    parser.add_argument("--scratch", default="", help="folder for a 6.3 GB checkpoint (default: the output folder)")
    parser.add_argument("--only", default="", help="comma list: correctness, sanitizer, engine, oracle; attention, rows, forward, quantised, ranks, models")
    sys.exit(Check(parser.parse_args()).all())
