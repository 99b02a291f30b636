"""What a partition does to a part of an image: targets, hidden blocks, donut, figures.

Nothing here looks at grey values, so it is as fast as drawing it; what
happens to the data is in `leakage`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.partition import Grid, Partition, RandomPartition, replacement_reach

# One slice per spatial axis, with a start and a stop within the image.
Window = tuple[slice, ...]


def grown(window: Window, margins: Sequence[int], shape: Sequence[int]) -> Window:
    """A window with margins, as far as the image reaches.

    Parameters
    ----------
    window : tuple of slice
        One per axis, with start and stop.
    margins : sequence of int
        Pixels to add at both ends, per axis.
    shape : sequence of int
        Of the image.

    Returns
    -------
    window : tuple of slice
    """
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(window, margins, shape, strict=True)
    )


def within(window: Window, outer: Window) -> Window:
    """Where `window` lies in an array that holds `outer`."""
    return tuple(
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(window, outer, strict=True)
    )


def labels_in(partition: Partition, window: Window) -> NDArray[np.int32]:
    """The subset of each pixel of a window.

    Parameters
    ----------
    partition : Partition
    window : tuple of slice
        One per spatial axis (Z)YX, in the coordinates of the image.

    Returns
    -------
    labels : ndarray of int32, shape of the window
    """
    shape = [part.stop - part.start for part in window]
    return partition.labels(shape, [part.start for part in window])


def spread(targets: NDArray[np.bool_], extents: Sequence[int]) -> NDArray[np.bool_]:
    """The blocks of full width `extents` around targets.

    Parameters
    ----------
    targets : ndarray of bool, shape (Z)YX
    extents : sequence of int
        Odd, per axis.

    Returns
    -------
    hidden : ndarray of bool, shape of `targets`
    """
    hidden = targets
    for axis, extent in enumerate(extents):
        lines = np.moveaxis(hidden, axis, 0)
        grown_lines = lines.copy()
        for step in range(1, extent // 2 + 1):
            grown_lines[step:] |= lines[:-step]
            grown_lines[:-step] |= lines[step:]
        hidden = np.moveaxis(grown_lines, 0, axis)
    return hidden


def hidden_in(
    partition: Partition, shape: Sequence[int], window: Window, subset: int
) -> NDArray[np.bool_]:
    """The pixels of a window that are hidden when a subset is: targets and their blocks.

    Parameters
    ----------
    partition : Partition
    shape : sequence of int
        Spatial shape (Z)YX of the image.
    window : tuple of slice
        In the image.
    subset : int

    Returns
    -------
    hidden : ndarray of bool, shape of the window
        With the blocks of targets outside of the window that reach into it.
    """
    extents = partition.extents(len(window))
    around = grown(window, [extent // 2 for extent in extents], shape)
    return spread(labels_in(partition, around) == subset, extents)[within(window, around)]


@dataclass(frozen=True)
class Donut:
    """What one target is replaced with, by the replacement "mean".

    Attributes
    ----------
    weights : ndarray of float64
        The weight of each pixel around the target, which is in the middle; 0
        where hidden.  They add up to 1, or to 0 where every pixel is hidden
        and the replacement comes from further away.
    hidden : ndarray of bool, shape of `weights`
        Which pixels are hidden; outside of the image none is.
    target : tuple of int
        Where the target lies in the image.
    """

    weights: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    target: tuple[int, ...]


def donut(partition: Partition, shape: Sequence[int], window: Window, subset: int) -> Donut | None:
    """The donut around the target nearest to the middle of a window.

    Parameters
    ----------
    partition : Partition
    shape : sequence of int
        Spatial shape (Z)YX of the image.
    window : tuple of slice
        In the image.
    subset : int

    Returns
    -------
    donut : Donut or None
        None if no pixel of the window is a target.
    """
    targets = np.argwhere(labels_in(partition, window) == subset)
    if not len(targets):
        return None
    middle = [(part.stop - part.start - 1) / 2 for part in window]
    nearest = targets[((targets - middle) ** 2).sum(1).argmin()]
    target = tuple(int(n) + part.start for n, part in zip(nearest, window, strict=True))
    reach = replacement_reach(partition.extents(len(window)))
    box = grown(tuple(slice(n, n + 1) for n in target), reach, shape)
    hidden_box = hidden_in(partition, shape, box, subset)
    # Borders are reflected: a pixel there may count twice.
    lines = [
        _reflected(np.arange(n - r, n + r + 1), size)
        for n, r, size in zip(target, reach, shape, strict=True)
    ]
    sides = [2 * r + 1 for r in reach]
    weights, hidden = np.zeros(sides), np.zeros(sides, bool)
    place = np.ix_(*(line - part.start for line, part in zip(lines, box, strict=True)))
    visible = ~hidden_box[place]
    around = np.ix_(*(line - n + r for line, n, r in zip(lines, target, reach, strict=True)))
    np.add.at(weights, around, visible / max(int(visible.sum()), 1))
    starts = [part.start - n + r for part, n, r in zip(box, target, reach, strict=True)]
    inside = tuple(
        slice(start, start + size) for start, size in zip(starts, hidden_box.shape, strict=True)
    )
    hidden[inside] = hidden_box
    return Donut(weights, hidden, target)


def _reflected(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices into an axis that is continued by reflection."""
    index = index % max(2 * size - 2, 1)
    return np.where(index < size, index, 2 * size - 2 - index)


def name_of(partition: Partition, ndim: int) -> str:
    """A partition in a few words, such as "grid of width 4×6, hidden block 1×3".

    Parameters
    ----------
    partition : Partition
    ndim : int
        Number of spatial axes.

    Returns
    -------
    name : str
    """
    extent = _sizes(partition.extents(ndim))
    block = "" if extent == "1" else f", hidden block {extent}"
    if isinstance(partition, Grid):
        return f"grid of width {_sizes(partition.widths(ndim))}{block}"
    if isinstance(partition, RandomPartition):
        return f"random partition into {partition.subsets} subsets{block}"
    return partition.kind


def _sizes(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "×".join(map(str, numbers))


@dataclass(frozen=True)
class Figures:
    """A partition of one image in numbers.

    Attributes
    ----------
    subsets : int
    empty : int
        Subsets without a pixel, where the image is narrower than the grid.
    fewest, most : int
        Pixels of the smallest and of the largest subset that is not empty; of a
        random partition what is expected.
    exact : bool
        Whether these are counts, not expectations.
    targets, hidden : float
        Share of the pixels that are targets at a time, and that are hidden.
    """

    subsets: int
    empty: int
    fewest: int
    most: int
    exact: bool
    targets: float
    hidden: float


def figures(partition: Partition, shape: Sequence[int]) -> Figures:
    """Count, without drawing the partition.

    Parameters
    ----------
    partition : Partition
    shape : sequence of int
        Spatial shape (Z)YX of the image.

    Returns
    -------
    figures : Figures
    """
    ndim, pixels = len(shape), math.prod(shape)
    subsets = partition.subset_count(ndim)
    block = math.prod(partition.extents(ndim))
    if isinstance(partition, Grid):
        sizes = list(zip(shape, partition.widths(ndim), strict=True))
        filled = math.prod(min(size, width) for size, width in sizes)
        fewest = math.prod(max(size // width, 1) for size, width in sizes)
        most = math.prod(-(-size // width) for size, width in sizes)
        hidden = min(block / subsets, 1.0)
        return Figures(subsets, subsets - filled, fewest, most, True, 1 / subsets, hidden)
    if isinstance(partition, RandomPartition):
        expected = round(pixels / subsets)
        hidden = 1 - (1 - 1 / subsets) ** block
        return Figures(subsets, 0, expected, expected, False, 1 / subsets, hidden)
    fewest, most = pixels // subsets, -(-pixels // subsets)
    empty = subsets - min(pixels, subsets)
    return Figures(subsets, empty, max(fewest, 1), most, True, 1 / subsets, 1 / subsets)
