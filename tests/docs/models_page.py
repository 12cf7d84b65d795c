"""Runs every command of docs/models.md: models_page.py PROGRAM TOP

The page names files as people have them. Files of the same kinds and names are made of the tests' tiny model, by the program itself where
it can and by hand for a LoRA and an upsampler. A line that
fails, or that names a file nobody made, fails the test.
"""

import json
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

SMALL = ["--steps", "1", "--guidance", "1", "--width", "96", "--height", "64", "--frames", "9"]


def tensors(path, shapes, metadata=None):
    """A safetensors file of small f32 values that depend on their place."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, shape in shapes.items():
        count = 1
        for size in shape:
            count *= size
        values = struct.pack(f"<{count}f", *(0.02 * ((i * 7 + len(name)) % 11 - 5) / 5 + (1.0 if "norm" in name and "weight" in name else 0.0)
                                             for i in range(count)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def lora(width):
    shapes = {}
    for layer in ("to_q", "to_k", "to_v", "to_out.0"):
        stem = f"transformer.transformer_blocks.0.attn1.{layer}"
        shapes |= {f"{stem}.lora_A.weight": [4, width], f"{stem}.lora_B.weight": [width, 4]}
    return shapes


def upsampler(channels, width=32):
    def conv(name, inside, outside, axes):
        return {f"{name}.weight": [outside, inside] + [3] * axes, f"{name}.bias": [outside]}

    def norm(name):
        return {f"{name}.weight": [width], f"{name}.bias": [width]}

    shapes = conv("initial_conv", channels, width, 3) | norm("initial_norm")
    for stage in ("res_blocks.0", "post_upsample_res_blocks.0"):
        for part in "12":
            shapes |= conv(f"{stage}.conv{part}", width, width, 3) | norm(f"{stage}.norm{part}")
    return shapes | conv("upsampler.0", width, 4 * width, 2) | conv("final_conv", width, channels, 3)


def commands(page):
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("ltxv ")]


def main():
    program, top = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(words):
            done = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"{shlex.join(['ltxv', *words])}\nends with {done.returncode}: {done.stderr.strip()}")
            return done.stdout

        model = (top / "tests/golden/tiny_model").resolve()
        about = json.loads(run(["info", str(model), "--json"]).splitlines()[-1])
        width = json.loads((model / "transformer/config.json").read_text())
        width = width["num_attention_heads"] * width["attention_head_dim"]
        shutil.copytree(model, folder / "LTX-Video-0.9.5")
        shutil.copy(model / "tokenizer/spiece.model", folder)
        for target, source, dtype in [("ltxv-2b-0.9.8-distilled.safetensors", [str(model)], "bf16"),
                                      ("ltxv-2b-0.9.6-distilled.safetensors", [str(model / "transformer")], "bf16"),
                                      ("ltxv-13b-0.9.8-distilled-Q4_K_M.gguf", [str(model)], "q8_0"),
                                      ("ltxv-13b-0.9.8-vae.safetensors", [str(model / "vae")], "bf16"),
                                      ("t5xxl_fp16.safetensors", [str(model / "text_encoder")], "fp16"),
                                      ("t5-v1_1-xxl-encoder-Q8_0.gguf", [str(model / "text_encoder")], "q8_0")]:
            run(["convert", *source, "-o", target, "--dtype", dtype, "--quiet"])
        for target in ("style.safetensors", "depth.safetensors"):
            tensors(folder / target, lora(width))
        tensors(folder / "ltxv-spatial-upscaler-0.9.8.safetensors", upsampler(about["latent_channels"]))
        run(["generate", "a red circle", "-m", str(model), "-o", "depth.mp4", *SMALL, "--quiet"])
        for words in commands(top / "docs/models.md"):
            small = SMALL if words[1] == "generate" else []
            run([*words[1:], *small, "--quiet"])
            print(shlex.join(words))


if __name__ == "__main__":
    main()
