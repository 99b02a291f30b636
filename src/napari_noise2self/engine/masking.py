"""s(x): what hidden pixels are replaced with, never looking at a hidden pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_noise2self.engine.boxes import box_sum
from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.partition import Partition, replacement_reach

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
    numbers: Tensor | None = None,
    span: tuple[float, float] | None = NORMALISED_SPAN,
    furthest: Sequence[int] | None = None,
    in_slice: bool = True,
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
    numbers, furthest, in_slice
        As for `replace`.
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
    return replace(
        x,
        hidden,
        extents,
        replacement,
        crowded=crowded,
        generator=generator,
        numbers=numbers,
        span=span,
        furthest=furthest,
        in_slice=in_slice,
    )


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
    numbers: Tensor | None = None,
    span: tuple[float, float] | None = None,
    furthest: Sequence[int] | None = None,
    in_slice: bool = True,
) -> Tensor:
    """Replace hidden pixels by what can be said without looking at any of them.

    Around a pixel is the smallest box of its slice that reaches beyond its hidden
    block, 3x3 for an extent of 1, with borders reflected and channels apart.  Where
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
    numbers : Tensor, shape and type of `x`, optional
        Numbers from 0 to below 1 to take instead of those of the generator.
    span : (float, float), optional
        Lowest and highest value of "uniform"; by default those of the visible
        pixels of each image and channel.
    furthest : sequence of int, optional
        The sides of the largest block that is looked at where no pixel around
        is visible, powers of two per spatial axis; no limit by default.  With
        a limit, a part of `x` that begins and ends at multiples of it is
        replaced as it is in the whole.
    in_slice : bool
        As for `replacement_reach`.

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
        return replace_with_mean(
            x, hidden, extents, crowded=crowded, furthest=furthest, in_slice=in_slice
        )
    if replacement == "zero":
        return torch.where(hidden, 0.0, x)
    if numbers is None and needs_generator(replacement):
        if generator is None:
            generator = torch.Generator(x.device).manual_seed(0)
        numbers = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    if replacement == "uniform":
        assert numbers is not None
        return _replace_uniformly(x, hidden, numbers, span)
    reach = replacement_reach(extents, in_slice=in_slice)
    return _replace_from_around(
        x, hidden, reach, crowded, numbers if replacement == "neighbor" else None, furthest
    )


def reflect_pad(x: Tensor, reach: Sequence[int], after: Sequence[int] | None = None) -> Tensor:
    """Pad the spatial axes by reflection, however short they are.

    `reach` pixels on either side of each axis, or only before if others are
    given for after.
    """
    after = reach if after is None else after
    lines = list(zip(reach, after, x.shape[2:], strict=True))
    if all(max(line[:2]) < line[2] for line in lines):
        return F.pad(x, [r for b, a, _ in reversed(lines) for r in (b, a)], mode="reflect")
    for axis, (b, a, n) in enumerate(lines, start=2):
        index = torch.arange(-b, n + a, device=x.device)
        x = x.index_select(axis, _reflected(index, n))
    return x


def _reflected(index: Tensor, n: int) -> Tensor:
    """Indices into an axis of `n` pixels that is continued by reflection."""
    index = index.remainder(max(2 * n - 2, 1))
    return torch.where(index < n, index, 2 * n - 2 - index)


def _box_sum(x: Tensor, reach: Sequence[int]) -> Tensor:
    """Sum over the box of half width `reach` around each pixel, borders reflected."""
    return box_sum(reflect_pad(x, reach), [2 * r + 1 for r in reach])


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
    x: Tensor,
    hidden: Tensor,
    extents: Sequence[int],
    *,
    crowded: bool = False,
    furthest: Sequence[int] | None = None,
    in_slice: bool = True,
) -> Tensor:
    """Replace hidden pixels by the mean of the visible pixels around them.

    Parameters
    ----------
    x, hidden, extents, crowded, furthest, in_slice
        As for `replace`.

    Returns
    -------
    masked : Tensor, shape of `x`
    """
    reach = replacement_reach(extents, in_slice=in_slice)
    # where, not a product: a hidden NaN or infinity must not survive as NaN.
    seen = torch.where(hidden, 0.0, x)
    weight = _box_sum((~hidden).to(x.dtype), reach)
    mean = _box_sum(seen, reach) / weight.clamp(min=1)
    if crowded:
        mean = torch.where(weight > 0, mean, _mean_further_away(seen, hidden, furthest))
    return torch.where(hidden, mean, x)


def _mean_further_away(seen: Tensor, hidden: Tensor, furthest: Sequence[int] | None) -> Tensor:
    """For each pixel, the mean of the smallest block of 2, 4, 8... pixels with a visible one.

    The blocks of one size lie side by side, so all sizes together cost little
    more than the first, and nothing waits for the device.
    """
    weight = (~hidden).to(seen.dtype)
    levels = [(seen, weight)]
    side = 2
    while True:
        kernel = [min(n, 2) for n in levels[-1][1].shape[2:]]
        if furthest is not None:
            kernel = [k if side <= most else 1 for k, most in zip(kernel, furthest, strict=True)]
        if max(kernel) == 1:
            break
        levels.append((_halved(levels[-1][0], kernel), _halved(levels[-1][1], kernel)))
        side *= 2
    mean = torch.zeros_like(levels[-1][0])
    for total, weight in reversed(levels):
        for axis, n in enumerate(total.shape[2:], start=2):
            if mean.shape[axis] < n:
                mean = mean.repeat_interleave(2, axis).narrow(axis, 0, n)
        mean = torch.where(weight > 0, total / weight.clamp(min=1), mean)
    return mean


def _halved(x: Tensor, kernel: list[int]) -> Tensor:
    """Sums over blocks of one or two pixels along the axes, the last one maybe narrower."""
    pool = F.avg_pool3d if len(kernel) == 3 else F.avg_pool2d
    halved: Tensor = pool(x, kernel, stride=kernel, ceil_mode=True, divisor_override=1)
    return halved


def _replace_uniformly(
    x: Tensor, hidden: Tensor, numbers: Tensor, span: tuple[float, float] | None
) -> Tensor:
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
    reach: Sequence[int],
    crowded: bool,
    numbers: Tensor | None,
    furthest: Sequence[int] | None,
) -> Tensor:
    """Replace hidden pixels by the median of those around, or by one of them by chance."""
    hidden = hidden.expand_as(x)
    result = x.clone()
    flat = result.view(-1)
    further = None
    if crowded:
        further = _mean_further_away(torch.where(hidden, 0.0, x), hidden, furthest).view(-1)
    for where, values, visible in _around(x, hidden, reach):
        if numbers is None:
            chosen = _median(values, visible)
        else:
            # Which one it is depends on no value.
            count = visible.sum(1)
            rank = (numbers.reshape(-1)[where] * count).long().minimum(count - 1)
            place = (visible.cumsum(1) > rank[:, None]).to(torch.uint8).argmax(1, keepdim=True)
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
