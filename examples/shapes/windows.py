"""The losses of the VAE stages, computed in a window around the object.

The last stage of the decoder is most of the cost of a step, so it runs only in a window that is cut
out of the 16x16 feature map; everything before sees the whole clip. A quarter of the windows lie
anywhere, which keeps the plain background plain.
"""

from __future__ import annotations

import torch

import world
from judge import alpha_of, crops, labels_of

WINDOW, CELL, MARGIN = 10, 8, 4  # window in cells of the 16x16 stage; pixels per cell; unused border


def window_loss(decoder, latent, target, dist, rows, columns):
    """Decodes [B, C, F, 4, 4] and compares with the target in the window: L1 + 2 L2, with weight on
    the object and most on its outline; every clip counts the same. `rows` and `columns` [B, WINDOW]
    are the cells of the window."""
    with torch.autocast("cpu", torch.bfloat16):
        h = decoder.mid_block(decoder.conv_in(latent), None)
        for block in decoder.up_blocks[:-1]:
            h = block(h, None)
        which = torch.arange(h.shape[0])[:, None, None]
        h = h.permute(0, 3, 4, 1, 2)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 4, 1, 2)
        h = decoder.up_blocks[-1](h, None)
        h = decoder.norm_out(h.movedim(1, -1)).movedim(-1, 1)
        h = decoder.conv_out(decoder.conv_act(h)).float()
    b, _, t, height, width = h.shape
    out = h.view(b, 3, 4, 4, t, height, width).permute(0, 1, 4, 5, 3, 6, 2).reshape(
        b, 3, t, height * 4, width * 4)  # the column sub-index comes before the row sub-index
    weight = 1 + 4 * torch.sigmoid((6 - dist) / 1.5) + 6 * torch.exp(-dist * dist / 3)
    inner = slice(MARGIN, -MARGIN)
    weight = weight[..., inner, inner]
    error = (out - target).abs()[..., inner, inner]
    per_pixel = (error + 2 * error * error).mean(1) * weight
    return (per_pixel.sum((1, 2, 3)) / weight.sum((1, 2, 3))).mean(), out


def choose_windows(path: torch.Tensor) -> torch.Tensor:
    """Top-left cell [B, 2] (row, column) of a window around the object at some random frame."""
    b, t = path.shape[:2]
    centre = path[torch.arange(b), torch.randint(t, (b,)), :2].flip(1)
    centre = torch.where(torch.rand(b, 1) < 0.25, world.SIZE * torch.rand(b, 2), centre)
    corner = (centre / CELL - WINDOW / 2 + torch.empty(b, 2).uniform_(-1, 1)).round().long()
    return corner.clamp(0, world.SIZE // CELL - WINDOW)


def cut(x: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    size = WINDOW * CELL
    return torch.stack([v[..., r * CELL:r * CELL + size, c * CELL:c * CELL + size]
                        for v, (r, c) in zip(x, corner.tolist())])


def shape_loss(net, out, dist, corner, batch: world.Batch, per_clip: int = 4):
    """Feature matching on crops of the frames in which the object lies well inside the window."""
    per_clip = min(per_clip, batch.path.shape[1])
    local = batch.path.clone()
    local[..., :2] -= corner.flip(1)[:, None] * CELL
    off = (local[..., :2] - WINDOW * CELL / 2).abs().amax(-1) + 6 * torch.rand(local.shape[:2])
    pick = off.topk(per_clip, largest=False).indices
    which = torch.arange(len(pick))[:, None]
    path = local[which, pick].flatten(0, 1)
    fake = crops(alpha_of(out, batch.cells)[which, pick].flatten(0, 1), path)
    with torch.no_grad():
        real = crops(world.coverage(dist)[which, pick].flatten(0, 1), path)
        _, wanted = net(real)
    logits, features = net(fake)
    loss = 2 * (fake - real).abs().mean()
    loss = loss + 0.1 * sum((a - b).abs().mean() / (b.abs().mean() + 1e-3) for a, b in zip(features, wanted))
    hits = logits.argmax(1) == labels_of(batch.cells).repeat_interleave(per_clip)
    return loss, hits.float().mean().item()
