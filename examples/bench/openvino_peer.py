#!/usr/bin/env python3
"""Runs OpenVINO GenAI's video pipeline (C++ behind its Python binding) and libltxv in turn on the same weights, on the CPU.

  pip install openvino==2026.4.1 openvino-genai==2026.4.1.0 openvino-tokenizers==2026.4.1.0 "optimum-intel[openvino]==2.2.0" \\
              diffusers==0.39.0 torch==2.11.0 sentencepiece protobuf numpy safetensors
  python examples/bench/openvino_peer.py make /data/random-2b /data/peer        # a 0.9.0 model with random weights, and its export
  python examples/bench/openvino_peer.py measure /data/peer --build build --output record.json

OpenVINO GenAI runs models of the kind of 0.9.0 only: a VAE without a timestep. `make` takes text encoder and tokenizer from what
make_random_model.py wrote, makes a full-size transformer and VAE, and exports them; the decoder is exported here, since optimum's own
example is so large that it does not fit into 24 GiB. One process at a time, OpenVINO first; a ratio is formed within each pair. Steps are the
times between two calls of the callback, decode is the decoder's own time; both are of the second run in a process.
Are both the same? `measure` first compares one prediction of the exported transformer with the library's.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROMPT = "a red circle moves to the right on a black background"
SIZES = {"fp32": [(25, 256, 256)], "bf16": [(25, 256, 256), (57, 512, 512)]}


def make(source, folder):
    import torch
    from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel

    model, exported = folder / "model", folder / "openvino"
    torch.manual_seed(1)
    transformer = LTXVideoTransformer3DModel().to(torch.bfloat16)
    with torch.no_grad():
        for name, p in transformer.named_parameters():
            if p.dim() > 1 and "scale_shift" not in name:
                p.copy_((torch.randn(p.shape) * p.shape[-1] ** -0.5).to(p.dtype))
    transformer.save_pretrained(model / "transformer")
    del transformer
    AutoencoderKLLTXVideo().to(torch.bfloat16).save_pretrained(model / "vae")
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(source / part, model / part, dirs_exist_ok=True)
    FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024,
                                    max_image_seq_len=4096, shift_terminal=0.1).save_pretrained(model / "scheduler")
    shutil.copy(source / "model_index.json", model / "model_index.json")

    tools = pathlib.Path(sys.executable).parent
    export = subprocess.Popen([tools / "optimum-cli", "export", "openvino", "--model", model, "--task", "text-to-video", "--weight-format", "fp16", exported])
    while export.poll() is None and not (exported / "vae_encoder/openvino_model.bin").exists():
        time.sleep(2)
    time.sleep(10)  # the file is being written
    export.kill()
    decoder(model, exported)
    subprocess.run([tools / "convert_tokenizer", exported / "tokenizer", "-o", exported / "tokenizer"], check=True)


def decoder(model, exported):
    import openvino
    import torch
    from diffusers import AutoencoderKLLTXVideo

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vae = AutoencoderKLLTXVideo.from_pretrained(model / "vae", torch_dtype=torch.float32).eval()

        def forward(self, latent_sample):
            return self.vae.decode(latent_sample, return_dict=False)[0]

    with torch.no_grad():
        converted = openvino.convert_model(Decoder(), example_input={"latent_sample": torch.randn(1, 128, 2, 4, 4)},
                                           input=[("latent_sample", openvino.PartialShape([-1, 128, -1, -1, -1]), openvino.Type.f32)])
    converted.outputs[0].get_tensor().set_names({"sample"})
    openvino.save_model(converted, exported / "vae_decoder/openvino_model.xml", compress_to_fp16=True)


def peer(exported, dtype, threads, frames, height, width, steps):
    """In a process of its own: prints the times of the second run."""
    import openvino_genai

    hint = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[dtype], "INFERENCE_NUM_THREADS": threads}
    pipeline = openvino_genai.Text2VideoPipeline(exported, "CPU", **hint)
    for _ in range(2):
        marks = [time.perf_counter()]

        def mark(step, count, latent):
            marks.append(time.perf_counter())
            return False

        result = pipeline.generate(PROMPT, height=height, width=width, num_frames=frames, num_inference_steps=steps, guidance_scale=1.0,
                                   frame_rate=25.0, max_sequence_length=128, callback=mark)
    lengths = [b - a for a, b in zip(marks[1:], marks[2:])]
    print(json.dumps(dict(step=statistics.median(lengths), decode=result.perf_metrics.get_vae_decoder_infer_duration() / 1000)))


def library(args, dtype, frames, height, width, steps):
    command = [args.build / "bin/ltxv-bench", "generate", "--model", args.folder / "model", "--dtype", dtype, "--threads", args.threads, "--runs", 2,
               "--prompt", PROMPT, "--frames", frames, "--height", height, "--width", width, "--steps", steps, "--guidance", 1, "--stg-scale", 0]
    out = json.loads(subprocess.run([str(w) for w in command], check=True, stdout=subprocess.PIPE, text=True).stdout)
    return dict(step=out["stage_seconds"]["denoise"] / steps, decode=out["stage_seconds"]["decode"])


def agreement(args):
    """Relative distance of one prediction from the library's in fp32; both in both number formats."""
    import numpy as np
    import openvino
    from safetensors.numpy import load_file, save_file

    rng = np.random.default_rng(1)
    noise, embeds = rng.standard_normal((1, 128, 4, 8, 8), dtype=np.float32), 0.1 * rng.standard_normal((1, 128, 4096), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        save_file({"initial": noise}, str(work / "noise.safetensors"))
        save_file({"prompt_embeds": embeds, "prompt_attention_mask": np.ones((1, 128), np.int64)}, str(work / "embeds.safetensors"))

        def ours(dtype):
            subprocess.run([str(w) for w in (args.build / "bin/ltxv", "generate", "--quiet", "-m", args.folder / "model", "--prompt-embeds",
                                             work / "embeds.safetensors", "--noise", work / "noise.safetensors", "--sigmas", 1, "--guidance", 1, "--stg-scale", 0, "--width",
                                             256, "--height", 256, "--frames", 25, "--fps", 25, "--dtype", dtype, "-o", work / "x.safetensors",
                                             "--save-latents", work / "latents.safetensors")], check=True, stdout=subprocess.DEVNULL)
            return noise - load_file(str(work / "latents.safetensors"))["latents"].astype(np.float64)

        def theirs(dtype):
            model = openvino.Core().read_model(args.folder / "openvino/transformer/openvino_model.xml")
            compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[dtype]})
            values = dict(hidden_states=noise.reshape(1, 128, -1).transpose(0, 2, 1).copy(), encoder_hidden_states=embeds,
                          timestep=np.array([[1000.0]], np.float32), encoder_attention_mask=np.ones((1, 128), np.int64), num_frames=np.int64(4),
                          height=np.int64(8), width=np.int64(8), rope_interpolation_scale=np.array([8 / 25, 32, 32], np.float32))
            inputs = {}
            for port in compiled.inputs:
                value = np.asarray(values[port.get_any_name()])
                inputs[port] = value.astype(port.get_element_type().to_dtype())
            out = compiled(inputs)[compiled.outputs[0]]
            return out.transpose(0, 2, 1).reshape(noise.shape).astype(np.float64)

        exact = ours("fp32")
        away = lambda v: float(np.linalg.norm(v - exact) / np.linalg.norm(exact))
        return {"libltxv bf16": away(ours("bf16")), "openvino fp32": away(theirs("fp32")), "openvino bf16": away(theirs("bf16"))}


def spread(values):
    return dict(median=statistics.median(values), min=min(values), max=max(values), all=values)


def measure(args):
    import openvino_genai
    from compare import cpu_name

    record = dict(cpu=cpu_name(), threads=args.threads, openvino_genai=openvino_genai.__version__, date=time.strftime("%Y-%m-%d", time.gmtime()),
                  distance_of_a_prediction=agreement(args), results={})
    for dtype in args.dtypes:
        for size in SIZES[dtype]:
            pairs = []
            for _ in range(args.pairs):
                words = [sys.executable, __file__, "peer", args.folder / "openvino", dtype, args.threads, *size, args.steps]
                theirs = json.loads(subprocess.run([str(w) for w in words], check=True, stdout=subprocess.PIPE, text=True).stdout.strip().split("\n")[-1])
                ours = library(args, dtype, *size, args.steps)
                pairs.append((theirs, ours))
                print(dtype, size, theirs, ours, f"load {os.getloadavg()[0]:.1f}", file=sys.stderr)
            label = "x".join(map(str, size)) + " " + dtype
            for what in ("step", "decode"):
                a, b = [pair[0][what] for pair in pairs], [pair[1][what] for pair in pairs]
                record["results"][f"{what} {label}"] = dict(openvino_seconds=spread(a), ltxv_seconds=spread(b), ratio=spread([x / y for x, y in zip(a, b)]))
            if args.output:
                args.output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("make")
    task.add_argument("source", type=pathlib.Path)
    task.add_argument("folder", type=pathlib.Path)
    task = tasks.add_parser("measure")
    task.add_argument("folder", type=pathlib.Path)
    task.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build")
    task.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    task.add_argument("--pairs", type=int, default=2)
    task.add_argument("--steps", type=int, default=4)
    task.add_argument("--dtypes", nargs="+", choices=SIZES, default=list(SIZES))
    task.add_argument("--output", type=pathlib.Path)
    task = tasks.add_parser("peer", help=argparse.SUPPRESS)
    task.add_argument("folder")
    task.add_argument("dtype")
    task.add_argument("numbers", type=int, nargs=5)
    args = parser.parse_args()
    if args.task == "make":
        make(args.source, args.folder)
    elif args.task == "peer":
        threads, *rest = args.numbers
        peer(args.folder, args.dtype, threads, *rest)
    else:
        measure(args)


if __name__ == "__main__":
    main()
