"""s(x): what hidden pixels are replaced with, never looking at a hidden pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def reflect_pad(x: Tensor, reach: Sequence[int]) -> Tensor:
    """Pad the spatial axes by reflection, however short they are."""
    if all(r < n for r, n in zip(reach, x.shape[2:], strict=True)):
        return F.pad(x, [r for n in reversed(reach) for r in (n, n)], mode="reflect")
    for axis, r in enumerate(reach, start=2):
        n = x.shape[axis]
        period = max(2 * n - 2, 1)
        index = torch.arange(-r, n + r, device=x.device).remainder(period)
        x = x.index_select(axis, torch.where(index < n, index, period - index))
    return x


def _box_sum(x: Tensor, reach: Sequence[int]) -> Tensor:
    """Sum over the box of half width `reach` around each pixel, borders reflected."""
    kernel = [2 * r + 1 for r in reach]
    pool = F.avg_pool3d if len(kernel) == 3 else F.avg_pool2d
    summed: Tensor = pool(reflect_pad(x, reach), kernel, stride=1, divisor_override=1)
    return summed


def dilate(targets: Tensor, extents: Sequence[int]) -> Tensor:
    """The pixels hidden for `targets`: their blocks of full width `extents`.

    Parameters
    ----------
    targets : Tensor of bool, shape (batch, 1, [Z,] Y, X)
    extents : sequence of int
        Odd full width per spatial axis.

    Returns
    -------
    hidden : Tensor of bool, shape of `targets`
    """
    if all(extent == 1 for extent in extents):
        return targets
    pool = F.max_pool3d if len(extents) == 3 else F.max_pool2d
    reach = [extent // 2 for extent in extents]
    grown: Tensor = pool(targets.float(), list(extents), stride=1, padding=reach)
    return grown > 0


def replace_with_mean(x: Tensor, hidden: Tensor, extents: Sequence[int]) -> Tensor:
    """Replace hidden pixels by the mean of the visible pixels around them.

    The mean is taken over the smallest box that reaches beyond the hidden
    block, 3x3 for an extent of 1, with borders reflected and channels apart.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, [Z,] Y, X)
    hidden : Tensor of bool, shape (batch, 1 or channels, [Z,] Y, X)
    extents : sequence of int
        Odd full width of the hidden blocks per spatial axis.

    Returns
    -------
    masked : Tensor, shape of `x`
        Equal to `x` where visible; independent of the values of `x` where hidden.
    """
    reach = [extent // 2 + 1 for extent in extents]
    # where, not a product: a hidden NaN or infinity must not survive as NaN.
    seen = torch.where(hidden, 0.0, x)
    weight = _box_sum((~hidden).to(x.dtype), reach)
    mean = _box_sum(seen, reach) / weight.clamp(min=1)
    return torch.where(hidden, mean, x)
