"""How the decoder learns to draw: what its inner stages should know, and the loss of the pixels.

The last stage is most of the cost and only has to turn "how far is the outline from here" into pixels,
so it runs in a window of space and time cut out of the 16x16 features; everything before sees the whole
clip. Linear read-outs of the features of the 8x8 and 16x16 stages are taught the signed distance to the
outline, which brings the geometry into place long before the pixels could.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import models
import world

WINDOW, CELL = 8, 8      # side of a window in cells of the 16x16 stage; pixels a cell
SLOTS = 5                # length of a window in time slots of the 16x16 stage (two frames a slot)
MARGIN = 4               # unused border of a window in pixels, except at the border of the picture
STAGES = ((8, 5), (16, 9))  # cells along a side and time slots of the stages with a read-out


class Readouts(nn.ModuleList):
    """Signed distance at the 2x2 quarters of a cell, at the first and the last frame of a time slot."""

    def __init__(self):
        widths = models.VAE["decoder_block_out_channels"][::-1]
        super().__init__(nn.Conv3d(width, 8, 1) for width in widths[:2])


def readout_targets(dist: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Distances [B, T, 128, 128] -> for each stage, target and weight [B, 8, slots, cells, cells]."""
    frames, result = dist.shape[1], []
    for cells, slots in STAGES:
        slots = slots if frames > 1 else 1
        length = (frames - 1) // max(1, slots - 1)
        last = torch.arange(slots) * length
        first = torch.where(last > 0, last - length + 1, last)
        size = world.SIZE // cells
        d = F.avg_pool2d(dist[:, torch.stack([first, last], 1)].flatten(1, 2), size // 2)
        d = d.view(-1, slots, 2, cells, 2, cells, 2).permute(0, 2, 4, 6, 1, 3, 5).flatten(1, 3)
        result.append((torch.tanh(d / (0.75 * size)), 0.2 + torch.exp(-(d / size) ** 2)))
    return result


def draw(decoder, readouts, latent, known, rows, columns, slots):
    """Latent [B, C, F, 4, 4] -> the pixels of the windows [B, 3, T', 64, 64], the error of the read-outs."""
    wrong = 0.0
    h = decoder.mid_block(decoder.conv_in(latent), None)
    for block, readout, (target, weight) in zip(decoder.up_blocks, readouts, known):
        h = block(h, None)
        wrong = wrong + ((readout(h).float() - target).abs() * weight).sum() / weight.sum()
    which = torch.arange(h.shape[0])[:, None, None, None]
    h = h.permute(0, 2, 3, 4, 1)[which, slots[:, :, None, None], rows[:, None, :, None], columns[:, None, None]]
    h = decoder.up_blocks[-1](h.permute(0, 4, 1, 2, 3), None)
    h = decoder.norm_out(h.movedim(1, -1)).movedim(-1, 1)
    h = decoder.conv_out(decoder.conv_act(h)).float()
    b, _, t, height, width = h.shape
    out = h.view(b, 3, 4, 4, t, height, width).permute(0, 1, 4, 5, 3, 6, 2)
    return out.reshape(b, 3, t, height * 4, width * 4), wrong  # the column sub-index comes first


def pixel_loss(out, target, dist, complete):
    """L1 + 2 L2 with weight on the object and most on its outline; every clip counts the same. The
    border of a window saw less context than in a whole clip and is left out: `complete` [B, T', 64, 64]."""
    weight = 1 + 4 * torch.sigmoid((6 - dist) / 1.5) + 6 * torch.exp(-dist * dist / 3)
    weight = weight * complete
    error = (out - target).abs()
    per_pixel = (error + 2 * error * error).mean(1) * weight
    return (per_pixel.sum((1, 2, 3)) / weight.sum((1, 2, 3))).mean()


def choose_windows(batch: world.Batch):
    """Windows around the object (a quarter of them anywhere, which keeps the background plain): row,
    column and slot indices, and the pixels, distances and complete frames they show."""
    b, frames = batch.path.shape[:2]
    start = torch.randint((frames - 1) // 2 - SLOTS + 2, (b,)) if frames > 1 else torch.zeros(b, dtype=torch.long)
    slots = start[:, None] + torch.arange(SLOTS if frames > 1 else 1)
    centre = batch.path[torch.arange(b), 2 * start + (SLOTS - 1 if frames > 1 else 0), :2].flip(1)
    centre = torch.where(torch.rand(b, 1) < 0.25, world.SIZE * torch.rand(b, 2), centre)
    corner = (centre / CELL - WINDOW / 2 + torch.empty(b, 2).uniform_(-1.5, 1.5)).round().long()
    corner = corner.clamp(0, world.SIZE // CELL - WINDOW)
    cells = corner[:, :, None] + torch.arange(WINDOW)
    size, length = WINDOW * CELL, 2 * slots.shape[1] - 1
    complete = torch.ones(b, length, size, size)
    complete[start > 0, 0] = 0
    complete[2 * start + length < frames, -1] = 0
    row, column = corner.unbind(1)
    complete[row > 0, :, :MARGIN] = 0
    complete[row < world.SIZE // CELL - WINDOW, :, -MARGIN:] = 0
    complete[column > 0, :, :, :MARGIN] = 0
    complete[column < world.SIZE // CELL - WINDOW, :, :, -MARGIN:] = 0

    def cut(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([v[..., 2 * s:2 * s + length, r * CELL:r * CELL + size, c * CELL:c * CELL + size]
                            for v, s, (r, c) in zip(x, start.tolist(), corner.tolist())])

    return (cells[:, 0], cells[:, 1], slots), (cut(batch.video), cut(batch.dist), complete)
