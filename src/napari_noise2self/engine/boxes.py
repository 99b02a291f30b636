"""Sums and means over boxes, axis by axis.

PyTorch's average pooling adds up all pixels of a box, and takes a path that is up to fifty times
slower for one channel in the memory order `channels_last`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def box_sum(x: Tensor, widths: Sequence[int]) -> Tensor:
    """Sums over all boxes that lie inside of an image.

    Each pixel is added up in the same order wherever it lies, so a part of an
    image gives the same bits as the whole.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, [Z,] Y, X)
    widths : sequence of int
        Sides of the box per spatial axis.

    Returns
    -------
    sums : Tensor
        Shorter by ``width - 1`` along each axis.
    """
    for axis, width in enumerate(widths, start=2):
        length = x.shape[axis] - width + 1
        parts = [x.narrow(axis, start, length) for start in range(width)]
        if width > 1:
            x = parts[0] + parts[1]
            for part in parts[2:]:
                x += part
    return x


def box_mean(x: Tensor, widths: Sequence[int]) -> Tensor:
    """Means over the box around each pixel, at the border over what of it is inside.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, [Z,] Y, X)
    widths : sequence of int
        Odd sides of the box per spatial axis.

    Returns
    -------
    means : Tensor, shape of `x`
    """
    around = [width // 2 for width in reversed(widths) for _ in range(2)]
    inside = torch.ones_like(x[:1, :1])
    return box_sum(F.pad(x, around), widths) / box_sum(F.pad(inside, around), widths)
