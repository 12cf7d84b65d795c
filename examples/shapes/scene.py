"""What a latent token should say about the scene: the target of the encoder's mean.

A renderer knows exactly what it drew, so the latent space need not be found by reconstruction alone.
Every channel of every token gets a meaning (shape, colours, where the object is relative to the token
at three moments, its size and turn, how much of the token it covers), the encoder is taught to read
that off the pixels and the decoder to draw it. The meaning is a target, not a constraint: near the end
of the training reconstruction decides.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

import world

PERIOD = {"circle": 0, "ring": 0, "square": 4, "cross": 4, "triangle": 3, "star": 5, "heart": 1}
CHANNELS = 48
NAMES = slice(18, 25)  # the channels of the shape's name
IMPORTANCE = torch.ones(CHANNELS)
IMPORTANCE[NAMES] = 3


def palette(cells: list[world.Cell]) -> torch.Tensor:
    return torch.stack([torch.cat([world.rgb(world.FOREGROUNDS[c.color]),
                                   world.rgb(world.BACKGROUNDS[c.background])]) for c in cells])


def moments(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The two video frames [F, 3] whose mean is the first, the middle and the last moment of a token."""
    f = torch.arange(frames) * 8
    first, last = (f - 7).clamp(min=0), f
    a = torch.stack([first, (f - 4).clamp(min=0), last], 1)
    b = torch.stack([first, (f - 3).clamp(min=0), last], 1)
    b[0] = 0
    return a, b


def code(batch: world.Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of B clips with F latent frames -> the target [B, 48, F, 4, 4] (every channel of about unit
    size) and the weight of a token [B, 1, F, 4, 4]: largest at the object."""
    path, cells = batch.path, batch.cells
    count, frames = len(cells), (path.shape[1] + 7) // 8
    period = torch.tensor([float(PERIOD[c.shape]) for c in cells])[:, None]
    turned = (period > 0).float()
    angle = path[..., 3] * period
    state = torch.stack([path[..., 0], path[..., 1], path[..., 2],
                         turned * angle.cos(), turned * angle.sin()], -1)
    a, b = moments(frames)
    x, y, r, cos, sin = ((state[:, a] + state[:, b]) / 2).unbind(-1)  # [B, F, 3] each

    def everywhere(v: torch.Tensor) -> torch.Tensor:  # [B, F, K] -> [B, F, 4, 4, K]
        return v[:, :, None, None].expand(-1, -1, 4, 4, -1)

    middle = torch.arange(4) * 32.0 + 16
    dx = (x[:, :, None, None] - middle.view(1, 1, 1, 4, 1)).expand(-1, -1, 4, 4, -1)
    dy = (y[:, :, None, None] - middle.view(1, 1, 4, 1, 1)).expand(-1, -1, 4, 4, -1)
    away = torch.hypot(dx, dy)
    fade = 1.5 * torch.exp(-(away / 48) ** 2)
    parts = [dx / 40, dy / 40]
    for d in (dx, dy):
        phase = d * (2 * math.pi / 64)
        parts += [fade * phase.sin(), fade * phase.cos()]
    shape = torch.tensor([world.SHAPES.index(c.shape) for c in cells])
    named = torch.cat([2.5 * F.one_hot(shape, len(world.SHAPES)).float() - 0.36, 1.3 * palette(cells)], 1)
    parts.append(everywhere(named[:, None].expand(-1, frames, -1)))
    parts.append(everywhere(torch.cat([(r - 20) / 8, cos, sin], -1)))
    ends = torch.stack([a[:, 0], a[:, 2]], 1)
    quarter = F.avg_pool2d(world.coverage(batch.dist)[:, ends].flatten(1, 2), 16)  # quadrants of tokens
    quarter = quarter.view(count, frames, 2, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4, 6).flatten(4)
    parts.append(3 * quarter)
    target = torch.cat(parts, -1).permute(0, 4, 1, 2, 3)
    weight = 0.1 + torch.exp(-((away.amin(-1) - r.amax(-1)[:, :, None, None]).clamp(min=0) / 24) ** 2)
    return target, weight[:, None]
