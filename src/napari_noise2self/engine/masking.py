"""s(x): what hidden pixels are replaced with, never looking at a hidden pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.partition import Partition

# "uniform" in normalised data, which has mean 0 and variance 1: so have these numbers.
NORMALISED_SPAN = (-math.sqrt(3), math.sqrt(3))
# So many neighbours are looked at together.
NEIGHBOURS_AT_ONCE = 2**22


def masked_input(
    x: Tensor,
    targets: Tensor,
    partition: Partition,
    replacement: Replacement = "mean",
    *,
    invalid: Tensor | None = None,
    generator: torch.Generator | None = None,
    span: tuple[float, float] | None = NORMALISED_SPAN,
) -> Tensor:
    """Hide targets with the blocks around them, and put replacements there.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, [Z,] Y, X)
    targets : Tensor of bool, shape (batch, 1, [Z,] Y, X)
        Pixels of one subset of `partition` per image.
    partition : Partition
    replacement : {"mean", "median", "neighbor", "uniform", "zero"}
        As for `replace`.
    invalid : Tensor of bool, shape (batch, 1 or channels, [Z,] Y, X), optional
        Pixels that are hidden too.
    generator : torch.Generator, optional
        On the device of `x`, for "neighbor" and "uniform".
    span : (float, float), optional
        As for `replace`; by default for normalised data.

    Returns
    -------
    masked : Tensor, shape and type of `x`
        Independent of the values of `x` at the targets dilated by the extent
        of the partition, and at `invalid`.
    """
    extents = partition.extents(x.ndim - 2)
    hidden = dilate(targets, extents)
    crowded = partition.crowded
    if invalid is not None:
        hidden, crowded = hidden | invalid, True
    return replace(x, hidden, extents, replacement, crowded=crowded, generator=generator, span=span)


def needs_generator(replacement: Replacement) -> bool:
    """Whether a replacement is drawn by chance."""
    return replacement in ("neighbor", "uniform")


def replace(
    x: Tensor,
    hidden: Tensor,
    extents: Sequence[int],
    replacement: Replacement = "mean",
    *,
    crowded: bool = True,
    generator: torch.Generator | None = None,
    span: tuple[float, float] | None = None,
) -> Tensor:
    """Replace hidden pixels by what can be said without looking at any of them.

    Around a pixel is the smallest box that reaches beyond its hidden block,
    3x3 for an extent of 1, with borders reflected and channels apart.  Where
    no pixel of it is visible, the mean of the visible pixels in a larger block
    is taken instead; where none is visible at all, 0.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, [Z,] Y, X)
    hidden : Tensor of bool, shape (batch, 1 or channels, [Z,] Y, X)
    extents : sequence of int
        Odd full width of the hidden blocks per spatial axis.
    replacement : {"mean", "median", "neighbor", "uniform", "zero"}
        The mean of the visible pixels around, their median, one of them by
        chance, a random number from `span`, or 0.
    crowded : bool
        Whether there may be pixels with no visible one around.
    generator : torch.Generator, optional
        On the device of `x`, for "neighbor" and "uniform"; one with the seed
        0 by default.
    span : (float, float), optional
        Lowest and highest value of "uniform"; by default those of the visible
        pixels of each image and channel.

    Returns
    -------
    masked : Tensor, shape and type of `x`
        Equal to `x` where visible; independent of the values of `x` where hidden.

    Notes
    -----
    On a GPU, "median" and "neighbor" wait for the number of hidden pixels; the
    others never wait for the device.
    """
    if replacement == "mean":
        return replace_with_mean(x, hidden, extents, crowded=crowded)
    if replacement == "zero":
        return torch.where(hidden, 0.0, x)
    if generator is None:
        generator = torch.Generator(x.device).manual_seed(0)
    if replacement == "uniform":
        return _replace_uniformly(x, hidden, generator, span)
    return _replace_from_around(
        x, hidden, extents, crowded, generator if replacement == "neighbor" else None
    )


def reflect_pad(x: Tensor, reach: Sequence[int]) -> Tensor:
    """Pad the spatial axes by reflection, however short they are."""
    if all(r < n for r, n in zip(reach, x.shape[2:], strict=True)):
        return F.pad(x, [r for n in reversed(reach) for r in (n, n)], mode="reflect")
    for axis, r in enumerate(reach, start=2):
        n = x.shape[axis]
        index = torch.arange(-r, n + r, device=x.device)
        x = x.index_select(axis, _reflected(index, n))
    return x


def _reflected(index: Tensor, n: int) -> Tensor:
    """Indices into an axis of `n` pixels that is continued by reflection."""
    index = index.remainder(max(2 * n - 2, 1))
    return torch.where(index < n, index, 2 * n - 2 - index)


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


def replace_with_mean(
    x: Tensor, hidden: Tensor, extents: Sequence[int], *, crowded: bool = False
) -> Tensor:
    """Replace hidden pixels by the mean of the visible pixels around them.

    Parameters
    ----------
    x, hidden, extents, crowded
        As for `replace`.

    Returns
    -------
    masked : Tensor, shape of `x`
    """
    reach = [extent // 2 + 1 for extent in extents]
    # where, not a product: a hidden NaN or infinity must not survive as NaN.
    seen = torch.where(hidden, 0.0, x)
    weight = _box_sum((~hidden).to(x.dtype), reach)
    mean = _box_sum(seen, reach) / weight.clamp(min=1)
    if crowded:
        mean = torch.where(weight > 0, mean, _mean_further_away(seen, hidden))
    return torch.where(hidden, mean, x)


def _mean_further_away(seen: Tensor, hidden: Tensor) -> Tensor:
    """For each pixel, the mean of the smallest block of 2, 4, 8... pixels with a visible one.

    The blocks of one size lie side by side, so all sizes together cost little
    more than the first, and nothing waits for the device.
    """
    weight = (~hidden).to(seen.dtype)
    levels = [(seen, weight)]
    while max(levels[-1][1].shape[2:]) > 1:
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1])))
    mean = torch.zeros_like(levels[-1][0])
    for total, weight in reversed(levels):
        for axis, n in enumerate(total.shape[2:], start=2):
            if mean.shape[axis] < n:
                mean = mean.repeat_interleave(2, axis).narrow(axis, 0, n)
        mean = torch.where(weight > 0, total / weight.clamp(min=1), mean)
    return mean


def _halved(x: Tensor) -> Tensor:
    """Sums over blocks of two pixels along every spatial axis, the last one maybe narrower."""
    kernel = [min(n, 2) for n in x.shape[2:]]
    pool = F.avg_pool3d if len(kernel) == 3 else F.avg_pool2d
    halved: Tensor = pool(x, kernel, stride=kernel, ceil_mode=True, divisor_override=1)
    return halved


def _replace_uniformly(
    x: Tensor, hidden: Tensor, generator: torch.Generator, span: tuple[float, float] | None
) -> Tensor:
    numbers = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    if span is not None:
        low, high = span
        return torch.where(hidden, low + (high - low) * numbers, x)
    axes = list(range(2, x.ndim))
    lowest = torch.where(hidden, torch.inf, x).amin(axes, keepdim=True)
    highest = torch.where(hidden, -torch.inf, x).amax(axes, keepdim=True)
    # Nothing is visible: lowest is infinite.
    values = torch.where(highest >= lowest, lowest + (highest - lowest) * numbers, 0.0)
    return torch.where(hidden, values, x)


def _replace_from_around(
    x: Tensor,
    hidden: Tensor,
    extents: Sequence[int],
    crowded: bool,
    generator: torch.Generator | None,
) -> Tensor:
    """Replace hidden pixels by the median of those around, or with a generator by one of them."""
    hidden = hidden.expand_as(x)
    result = x.clone()
    flat = result.view(-1)
    further = None
    if crowded:
        further = _mean_further_away(torch.where(hidden, 0.0, x), hidden).view(-1)
    for where, values, visible in _around(x, hidden, [extent // 2 + 1 for extent in extents]):
        if generator is None:
            chosen = _median(values, visible)
        else:
            # The largest of random keys: which one it is depends on no value.
            keys = torch.rand(values.shape, generator=generator, device=x.device)
            place = keys.masked_fill(~visible, -1).argmax(1, keepdim=True)
            chosen = values.gather(1, place)[:, 0]
        otherwise = torch.zeros_like(chosen) if further is None else further[where]
        flat[where] = torch.where(visible.any(1), chosen, otherwise)
    return result


def _around(
    x: Tensor, hidden: Tensor, reach: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Hidden pixels (flat indices), the values in the boxes around them, which are visible."""
    shape = x.shape[2:]
    offsets = torch.cartesian_prod(*(torch.arange(-r, r + 1, device=x.device) for r in reach))
    values, shown = x.reshape(-1), ~hidden.reshape(-1)
    everywhere = torch.nonzero(hidden.reshape(-1))[:, 0]
    for where in torch.split(everywhere, max(NEIGHBOURS_AT_ONCE // len(offsets), 1)):
        rest, index = where[:, None], torch.zeros((), dtype=torch.long, device=x.device)
        stride = 1
        for axis in reversed(range(len(shape))):
            n = shape[axis]
            index = index + stride * _reflected(rest % n + offsets[:, axis], n)
            rest, stride = rest // n, stride * n
        index = index + stride * rest
        yield where, values[index], shown[index]


def _median(values: Tensor, visible: Tensor) -> Tensor:
    """The median of the visible values of each row, of an even number the mean of both."""
    ordered = values.masked_fill(~visible, torch.inf).sort(1).values
    count = visible.sum(1, keepdim=True)
    lower = ordered.gather(1, (count - 1).clamp(min=0) // 2)
    upper = ordered.gather(1, count // 2)
    # Halved first: the sum of two large numbers may be too large.
    return (lower / 2 + upper / 2)[:, 0]
