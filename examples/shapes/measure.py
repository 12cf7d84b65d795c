"""Reads shape, colours, size and motion off the frames of a clip, by plain image measurement.

Nothing here is trained and nothing looks at the model: colours are the nearest palette entries,
motion comes from the centroid and the area over time, the shape from matching the object against
area-normalised templates of all seven shapes over rotation, scale and offset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

import world

CROP, REACH = 40, 1.15  # template size in pixels; half width in units of sqrt(area)


@dataclass
class Measured:
    color: str
    background: str
    shape: str
    motion: str
    size: str
    scores: dict[str, float] = field(default_factory=dict)
    track: list[tuple[float, float, float]] = field(default_factory=list)


def nearest(color: torch.Tensor, palette: dict[str, tuple[int, int, int]]) -> str:
    return min(palette, key=lambda k: float((world.rgb(palette[k]) - color).square().sum()))


def coverage_of(video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[3, T, H, W] -> coverage [T, H, W], foreground colour, background colour."""
    border = torch.cat([video[:, :, :2].flatten(1), video[:, :, -2:].flatten(1),
                        video[:, :, :, :2].flatten(1), video[:, :, :, -2:].flatten(1)], dim=1)
    background = border.median(dim=1).values
    distance = (video - background[:, None, None, None]).square().sum(0).sqrt()
    top = distance.flatten().kthvalue(int(distance.numel() * 0.998)).values
    inside = distance > 0.75 * top
    foreground = video[:, inside].median(dim=1).values
    axis = foreground - background
    alpha = torch.einsum("c,cthw->thw", axis, video - background[:, None, None, None])
    return (alpha / axis.square().sum().clamp(min=1e-4)).clamp(0, 1), foreground, background


def largest_blob(alpha: torch.Tensor) -> torch.Tensor:
    """Removes faint haze so that it does not move the centroid."""
    return torch.where(alpha > 0.2, alpha, torch.zeros(()))


def moments(alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[T, H, W] -> centroid x, centroid y, area, each [T]."""
    grid = torch.arange(alpha.shape[-1], dtype=torch.float32) + 0.5
    area = alpha.sum((1, 2)).clamp(min=1e-3)
    return (alpha.sum(1) * grid).sum(1) / area, (alpha.sum(2) * grid).sum(1) / area, area


def normalized_crop(alpha: torch.Tensor, x: torch.Tensor, y: torch.Tensor, area: torch.Tensor) -> torch.Tensor:
    """Object-centred crops [N, CROP * CROP] in which every object has the same area."""
    size, n = alpha.shape[-1], alpha.shape[0]
    line = torch.linspace(-REACH, REACH, CROP)[None] * area.sqrt()[:, None]
    gx = ((x[:, None] + line) / size * 2 - 1)[:, None, :].expand(n, CROP, CROP)
    gy = ((y[:, None] + line) / size * 2 - 1)[:, :, None].expand(n, CROP, CROP)
    return F.grid_sample(alpha[:, None], torch.stack([gx, gy], -1), align_corners=False).flatten(1)


_bank: tuple[torch.Tensor, list[str]] | None = None
PERIOD = {"circle": 0, "ring": 0, "square": 90, "cross": 90, "triangle": 120, "star": 72, "heart": 360}


def template_bank() -> tuple[torch.Tensor, list[str]]:
    global _bank
    if _bank is None:
        rows, names = [], []
        for shape in world.SHAPES:
            angles = range(0, PERIOD[shape], 8) if PERIOD[shape] else [0]
            path = torch.tensor([[64.0, 64.0, 30.0, math.radians(a)] for a in angles])
            alpha = world.coverage(world.distance(shape, path))
            x, y, area = moments(alpha)
            for scale in (0.94, 1.0, 1.06):
                for ox in (-0.05, 0, 0.05):
                    for oy in (-0.05, 0, 0.05):
                        root = area.sqrt()
                        rows.append(normalized_crop(alpha, x + ox * root, y + oy * root, area * scale**2))
                        names += [shape] * len(rows[-1])
        _bank = torch.cat(rows), names
    return _bank


def match_shapes(crops: torch.Tensor) -> dict[str, float]:
    """Mean over the crops of the best soft overlap with each shape's templates."""
    bank, names = template_bank()
    dot = crops @ bank.T
    overlap = dot / (crops.square().sum(1)[:, None] + bank.square().sum(1)[None] - dot)
    index = {s: torch.tensor([i for i, n in enumerate(names) if n == s]) for s in world.SHAPES}
    return {s: float(overlap[:, i].max(1).values.mean()) for s, i in index.items()}


def classify_motion(alpha: torch.Tensor, x: torch.Tensor, y: torch.Tensor, area: torch.Tensor,
                    symmetric: bool) -> str:
    scale = alpha.shape[-1] / world.SIZE
    ends = lambda v: (float(v[:2].mean()), float(v[-2:].mean()))
    (x0, x1), (y0, y1), (a0, a1) = ends(x), ends(y), ends(area)
    if a1 > 2 * a0:
        return "grow"
    if a0 > 2 * a1:
        return "shrink"
    dx, dy = (x1 - x0) / scale, (y1 - y0) / scale
    rx, ry = (float(v.max() - v.min()) / scale for v in (x, y))
    if rx > 25 and ry > 25:
        return "orbit"
    if max(abs(dx), abs(dy)) > 28:
        if abs(dx) > abs(dy):
            return "right" if dx > 0 else "left"
        return "down" if dy > 0 else "up"
    if ry > 16 and rx < 14:
        return "bounce"
    if max(rx, ry) < 8:
        crops = normalized_crop(alpha, x, y, area)
        change = (crops - crops[:1]).abs().sum(1).max() / crops[:1].sum()
        # a turning circle or ring looks the same as a resting one
        return "spin" if change > 0.3 and not symmetric else "still"
    return "unclear"


def measure(video: torch.Tensor) -> Measured:
    """Video [3, T, H, W] in [-1, 1]."""
    video = video.float().clamp(-1, 1)
    alpha, foreground, background = coverage_of(video)
    alpha = largest_blob(alpha)
    x, y, area = moments(alpha)
    pick = area.argsort(descending=True)[: max(5, len(area) // 2)]
    scores = match_shapes(normalized_crop(alpha[pick], x[pick], y[pick], area[pick]))
    shape = max(scores, key=scores.get)
    unit = float(world.coverage(world.distance(shape, torch.tensor([[64.0, 64.0, 20.0, 0.0]]))).sum()) / 400
    radius = math.sqrt(float(area.median()) / unit) * world.SIZE / video.shape[-1]
    motion = classify_motion(alpha, x, y, area, shape in ("circle", "ring"))
    if motion in ("grow", "shrink"):
        radius = radius / 0.875
    size = min(world.SIZES, key=lambda k: abs(math.log(world.SIZES[k] / max(radius, 1e-3))))
    track = [(round(float(a), 1), round(float(b), 1), round(float(c), 1)) for a, b, c in zip(x, y, area)]
    return Measured(nearest(foreground, world.FOREGROUNDS), nearest(background, world.BACKGROUNDS),
                    shape, motion, size, {k: round(v, 4) for k, v in scores.items()}, track)


def compare(cell: world.Cell, got: Measured) -> dict[str, bool]:
    motion = got.motion == cell.motion or (
        cell.shape in ("circle", "ring") and cell.motion == "spin" and got.motion == "still")
    return {"shape": got.shape == cell.shape, "color": got.color == cell.color,
            "background": got.background == cell.background, "size": got.size == cell.size,
            "motion": motion}
