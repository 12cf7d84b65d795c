#!/usr/bin/env python3
"""Runs every command of docs/conditioning.md and makes its pictures again: python examples/conditioning_pictures.py

The commands run in a fresh folder, in the order of the page, with build/bin/ltxv and the bundled model. A picture is a strip of
frames of the results, one row a clip, in few colours. Needs Pillow.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

TOP = Path(__file__).resolve().parent.parent
# Picture: the clips it shows, above each other.
PICTURES = {"i2v": ["clip", "i2v"], "suggestion": ["clip", "suggestion"], "keyframes": ["keyframes"], "extension": ["longer"],
            "before": ["before"], "between": ["between"], "v2v": ["clip", "blue"], "inpainting": ["heart", "star"],
            "outpainting": ["wide"], "long": ["long"], "long_edit": ["source", "edited"]}
FRAMES, HEIGHT, GAP, COLOURS, MOST_BYTES = 8, 72, 2, 96, 60_000


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("ltxv ")]


def row(program: str, folder: Path, clip: str) -> list[Image.Image]:
    """Frames spread evenly over the clip, made again by replay as pictures."""
    subprocess.run([program, "replay", f"{clip}.mp4", "-o", f"{clip}-%04d.png", "--quiet"], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    files = sorted(folder.glob(f"{clip}-[0-9][0-9][0-9][0-9].png"))
    chosen = [files[round(i * (len(files) - 1) / (FRAMES - 1))] for i in range(FRAMES)]
    frames = [Image.open(f).convert("RGB") for f in chosen]
    return [f.resize((f.width * HEIGHT // f.height, HEIGHT), Image.Resampling.LANCZOS) for f in frames]


def strip(rows: list[list[Image.Image]]) -> Image.Image:
    width = max(sum(f.width + GAP for f in r) for r in rows) - GAP
    sheet = Image.new("RGB", (width, len(rows) * (HEIGHT + GAP) - GAP), "white")
    for i, r in enumerate(rows):
        for k, frame in enumerate(r):
            sheet.paste(frame, (k * (frame.width + GAP), i * (HEIGHT + GAP)))
    return sheet.quantize(COLOURS, dither=Image.Dither.NONE)


def main() -> None:
    program = str(TOP / "build/bin/ltxv")
    images = TOP / "docs/images"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(images / "mask.png", folder)
        for words in commands(TOP / "docs/conditioning.md"):
            print(shlex.join(words), flush=True)
            subprocess.run([program, *words[1:], "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for picture, clips in PICTURES.items():
            path = images / f"{picture}.png"
            strip([row(program, folder, clip) for clip in clips]).save(path, optimize=True)
            size = path.stat().st_size
            print(f"{path.relative_to(TOP)}: {size} bytes")
            if size > MOST_BYTES:
                sys.exit(f"{path} is larger than {MOST_BYTES} bytes")


if __name__ == "__main__":
    main()
