"""The world of the `shapes` model: one coloured shape, one plain background, one motion.

A clip is 17 frames of 128x128 at 8 fps. This file holds the palette, the captions, the split into
training and held-out cells and an anti-aliased renderer (signed distances, one sample per pixel).
"""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import dataclass

import torch

SIZE, FRAMES, FPS = 128, 17, 8

FOREGROUNDS = {
    "red": (228, 38, 38), "green": (40, 190, 60), "blue": (50, 90, 245), "yellow": (250, 225, 40),
    "orange": (250, 135, 20), "purple": (150, 50, 200), "cyan": (40, 220, 225),
    "pink": (250, 130, 190), "white": (250, 250, 250),
}
BACKGROUNDS = {
    "black": (8, 8, 8), "white": (245, 245, 245), "gray": (128, 128, 128), "navy": (18, 22, 92),
    "maroon": (96, 12, 28), "teal": (12, 104, 104), "beige": (228, 212, 176),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "heart", "cross")
SIZES = {"small": 14.0, "medium": 20.0, "big": 28.0}
MOTIONS = ("left", "right", "up", "down", "bounce", "spin", "grow", "shrink", "orbit", "still")
EXCLUDED = {("white", "white"), ("white", "beige"), ("yellow", "beige")}
COLOR_PAIRS = [(f, b) for f in FOREGROUNDS for b in BACKGROUNDS if (f, b) not in EXCLUDED]

COLOR_WORDS = {
    "red": ["red", "red", "crimson", "scarlet"], "green": ["green", "green", "emerald"],
    "blue": ["blue", "blue", "azure"], "yellow": ["yellow", "yellow", "golden"],
    "orange": ["orange"], "purple": ["purple", "purple", "violet"],
    "cyan": ["cyan", "cyan", "turquoise", "aqua"], "pink": ["pink", "pink", "rose"],
    "white": ["white"],
}
BACKGROUND_WORDS = {
    "black": ["black", "black", "pitch black"], "white": ["white", "white", "plain white"],
    "gray": ["gray", "grey"], "navy": ["navy", "navy blue", "dark blue"],
    "maroon": ["maroon", "dark red"], "teal": ["teal", "teal", "dark teal"],
    "beige": ["beige", "cream"],
}
SHAPE_WORDS = {
    "circle": ["circle", "circle", "disc", "ball", "dot"], "square": ["square", "square", "box"],
    "triangle": ["triangle"], "star": ["star"], "ring": ["ring", "ring", "hoop", "donut"],
    "heart": ["heart"], "cross": ["cross", "cross", "plus sign", "plus"],
}
SIZE_WORDS = {
    "small": ["small", "small", "little", "tiny"], "medium": ["", "", "medium", "medium-sized"],
    "big": ["big", "big", "large", "huge"],
}
MOTION_WORDS = {
    "left": ["moving left", "moving to the left", "sliding left", "going left", "drifting to the left",
             "sliding leftward", "drifting leftward", "traveling from right to left", "moves left",
             "moves to the left", "slides to the left", "goes left", "drifts left",
             "travels from right to left"],
    "right": ["moving right", "moving to the right", "sliding right", "going right",
              "drifting to the right", "sliding rightward", "drifting rightward",
              "traveling from left to right", "moves right", "moves to the right",
              "slides to the right", "goes right", "drifts right", "travels from left to right"],
    "up": ["moving up", "moving upward", "rising", "floating up", "going up", "sliding upward",
           "drifting upward", "moves up", "moves upward", "rises", "floats up", "goes up"],
    "down": ["moving down", "moving downward", "falling", "sinking down", "going down",
             "sliding downward", "drifting downward", "falling down", "moves down",
             "moves downward", "falls", "sinks down", "goes down"],
    "bounce": ["bouncing", "hopping", "bouncing up and down", "hopping up and down", "bounces",
               "hops up and down"],
    "spin": ["spinning", "rotating", "spinning in place", "turning around", "spins", "rotates",
             "rotating in place"],
    "grow": ["growing", "getting bigger", "expanding", "growing larger", "grows", "gets bigger",
             "expands"],
    "shrink": ["shrinking", "getting smaller", "contracting", "shrinks", "gets smaller",
               "contracts"],
    "orbit": ["orbiting", "moving in a circle", "going around in a circle", "orbits",
              "moves in a circle", "circling around"],
    "still": ["staying still", "resting motionless", "standing still", "not moving",
              "stays still", "rests motionless"],
}
TEMPLATES = (
    "a {a} {m} on a {b} background", "a {a} {m} on a {b} background",
    "a {a} {m} on a {b} background", "on a {b} background, a {a} {m}",
    "a clip of a {a} {m} on a {b} background", "a video of a {a} {m} on a {b} background",
    "a {a} {m}, {b} background", "{a} {m}, {b} background", "{b} background, a {a} {m}",
    "a {a} is {m} on a {b} background", "a {a} on a {b} background, {m}",
    "a {a} {m} over a {b} background", "a {a} {m} against a {b} backdrop",
    "the {a} is {m} on a {b} background", "there is a {a} {m} on a {b} background",
)


@dataclass(frozen=True)
class Cell:
    """What a caption says. `size` is a key of SIZES; the held-out split ignores it."""

    shape: str
    color: str
    background: str
    motion: str
    size: str = "medium"

    @property
    def held_out(self) -> bool:
        key = f"{self.shape}/{self.color}/{self.background}/{self.motion}"
        return zlib.crc32(key.encode()) % 10 == 0


def sample_cell(rng: random.Random, held_out: bool = False) -> Cell:
    """A uniformly drawn cell from the training split (or from the held-out split)."""
    while True:
        color, background = rng.choice(COLOR_PAIRS)
        cell = Cell(rng.choice(SHAPES), color, background, rng.choice(MOTIONS),
                    rng.choice(tuple(SIZES)))
        if cell.held_out == held_out:
            return cell


def caption(cell: Cell, rng: random.Random) -> str:
    """A random wording of the cell."""
    size = rng.choice(SIZE_WORDS[cell.size])
    if rng.random() < 0.08:
        size = ""
    words = [w for w in (size, rng.choice(COLOR_WORDS[cell.color]),
                         rng.choice(SHAPE_WORDS[cell.shape])) if w]
    if len(words) == 3 and rng.random() < 0.1:
        words[0] += ","
    motion = rng.choice(MOTION_WORDS[cell.motion])
    template = rng.choice(TEMPLATES)
    if "is {m}" in template or template.endswith(", {m}"):
        while not motion.split()[0].endswith("ing"):
            motion = rng.choice([*MOTION_WORDS[cell.motion], "not moving"]
                                if cell.motion == "still" else MOTION_WORDS[cell.motion])
    text = template.format(a=" ".join(words), m=motion, b=rng.choice(BACKGROUND_WORDS[cell.background]))
    text = text.replace("a orange", "an orange").replace("a emerald", "an emerald")
    text = text.replace("a azure", "an azure").replace("a aqua", "an aqua")
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.4:
        text += "."
    return text


# ---------------------------------------------------------------------------------------------
# motion


EXTENT = 1.15  # the furthest point of any shape, in radii
SPIN = math.radians(90)
ORBIT_RADIUS, ORBIT_ANGLE = 18.0, math.radians(280)


def trajectory(cell: Cell, rng: random.Random, frames: int = FRAMES) -> torch.Tensor:
    """[frames, 4]: centre x, centre y, radius, clockwise rotation. The shape stays in the frame."""
    radius = SIZES[cell.size]
    t = torch.linspace(0, 1, frames)
    zero, one = torch.zeros(frames), torch.ones(frames)
    dx, dy, r, angle = zero, zero, one * radius, zero
    margin = EXTENT * radius + 2
    if cell.motion in ("left", "right", "up", "down"):
        way = rng.uniform(48, min(54.0, SIZE - 2 * margin))
        sign = -1.0 if cell.motion in ("left", "up") else 1.0
        if cell.motion in ("left", "right"):
            dx = sign * way * t
        else:
            dy = sign * way * t
    elif cell.motion == "bounce":
        dy = -rng.uniform(26, 32) * torch.sin(math.pi * t)
    elif cell.motion == "spin":
        angle = SPIN * t
    elif cell.motion == "grow":
        r = radius * (0.45 + 0.85 * t)
    elif cell.motion == "shrink":
        r = radius * (1.3 - 0.85 * t)
    elif cell.motion == "orbit":
        phase = rng.randrange(4) * math.pi / 2 + ORBIT_ANGLE * t
        dx, dy = ORBIT_RADIUS * phase.cos(), ORBIT_RADIUS * phase.sin()
    margin = EXTENT * float(r.max()) + 2

    def place(offset: torch.Tensor) -> torch.Tensor:
        low, high = margin - float(offset.min()), SIZE - margin - float(offset.max())
        middle = (low + high) / 2
        reach = max(0.0, min(high - middle, 30.0))
        return offset + rng.uniform(middle - reach, middle + reach)

    return torch.stack([place(dx), place(dy), r, angle], dim=1)


# ---------------------------------------------------------------------------------------------
# renderer: signed distances in units of the radius, x right, y down


def _polygon_fold(x: torch.Tensor, y: torch.Tensor, n: int, outer: float, inner: float) -> torch.Tensor:
    """Star polygon with n points, the first one up."""
    step = math.pi / n
    a = torch.atan2(x, -y)
    a = (a + step) % (2 * step) - step
    rho = torch.sqrt(x * x + y * y)
    px, py = rho * torch.sin(a.abs()), rho * torch.cos(a)
    # edge from the outer vertex (0, outer) to the inner vertex at angle `step`
    ex, ey = inner * math.sin(step), inner * math.cos(step) - outer
    length = math.hypot(ex, ey)
    qx, qy = px, py - outer
    s = ((qx * ex + qy * ey) / length**2).clamp(0, 1)
    d = torch.sqrt((qx - s * ex) ** 2 + (qy - s * ey) ** 2)
    side = qx * ey - qy * ex  # positive inside for this winding
    return torch.where(side > 0, -d, d)


def signed_distance(shape: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if shape == "circle":
        return torch.sqrt(x * x + y * y) - 1
    if shape == "ring":
        return (torch.sqrt(x * x + y * y) - 0.75).abs() - 0.25
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.81
    if shape == "cross":
        ax, ay = x.abs(), y.abs()
        w = 0.36
        return torch.minimum(torch.maximum(ax - 1, ay - w), torch.maximum(ax - w, ay - 1))
    if shape == "triangle":
        h = 1.15 / 2  # inradius of the triangle whose corners lie at 1.15
        return torch.maximum(y, (x.abs() * math.sqrt(3) - y) / 2) - h
    if shape == "star":
        return _polygon_fold(x, y, 5, 1.12, 0.54)
    if shape == "heart":
        k = 1.75
        px, py = x.abs() / k, 0.55 - y / k
        lobe = torch.sqrt((px - 0.25) ** 2 + (py - 0.75) ** 2) - math.sqrt(2) / 4
        m = (px + py).clamp(min=0) / 2
        d2 = torch.minimum(px**2 + (py - 1) ** 2, (px - m) ** 2 + (py - m) ** 2)
        body = torch.sqrt(d2) * torch.sign(px - py)
        return torch.where(px + py > 1, lobe, body) * k
    raise ValueError(shape)


def distance(shape: str, path: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """Path [..., 4] (x, y, radius, rotation) -> signed distance in pixels [..., size, size]."""
    grid = torch.arange(size, dtype=torch.float32) + 0.5
    cx, cy, r, a = (v[..., None, None] for v in path.unbind(-1))
    x, y = (grid[None, :] - cx) / r, (grid[:, None] - cy) / r
    if bool((path[..., 3] != 0).any()):
        cos, sin = torch.cos(a), torch.sin(a)
        x, y = x * cos + y * sin, y * cos - x * sin
    return signed_distance(shape, x, y) * r


def coverage(dist: torch.Tensor) -> torch.Tensor:
    """Signed distance in pixels -> anti-aliased coverage in 0..1."""
    return (0.5 - dist).clamp(0, 1)


def rgb(value: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float32) / 127.5 - 1


def compose(cell: Cell, alpha: torch.Tensor) -> torch.Tensor:
    """Coverage [T, H, W] -> video [3, T, H, W] in [-1, 1]."""
    fg, bg = (rgb(c)[:, None, None, None]
              for c in (FOREGROUNDS[cell.color], BACKGROUNDS[cell.background]))
    return bg + (fg - bg) * alpha[None]


@dataclass
class Batch:
    cells: list[Cell]
    video: torch.Tensor  # [B, 3, T, H, W]
    dist: torch.Tensor   # [B, T, H, W], signed distance to the outline in pixels
    path: torch.Tensor   # [B, T, 4], as `trajectory` returns it


def make_batch(count: int, rng: random.Random, held_out: bool = False,
               frames: int | None = None) -> Batch:
    """`frames` cuts a random stretch of that length out of every clip."""
    cells = [sample_cell(rng, held_out) for _ in range(count)]
    return render_batch(cells, rng, frames)


def render_batch(cells: list[Cell], rng: random.Random, frames: int | None = None) -> Batch:
    videos, dists, paths = [], [], []
    for cell in cells:
        path = trajectory(cell, rng)
        if frames is not None:
            k = rng.randrange(FRAMES - frames + 1)
            path = path[k:k + frames]
        dist = distance(cell.shape, path)
        videos.append(compose(cell, coverage(dist)))
        dists.append(dist)
        paths.append(path)
    return Batch(cells, torch.stack(videos), torch.stack(dists), torch.stack(paths))


def main() -> None:
    import argparse

    import numpy as np
    from PIL import Image

    parser = argparse.ArgumentParser(description="Write a contact sheet: one row per clip.")
    parser.add_argument("output")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    rows = []
    for i in range(14):
        pair = rng.choice(COLOR_PAIRS)
        cell = Cell(SHAPES[i % 7], *pair, MOTIONS[i % 10], rng.choice(tuple(SIZES)))
        print(f"{i:2d} {caption(cell, rng)}")
        video = render_batch([cell], rng).video[0, :, ::2]
        rows.append(torch.cat(list(video.unbind(1)), dim=2))
    sheet = torch.cat(rows, dim=1).permute(1, 2, 0)
    Image.fromarray(((sheet + 1) * 127.5).round().to(torch.uint8).numpy().astype(np.uint8)).save(args.output)


if __name__ == "__main__":
    main()
