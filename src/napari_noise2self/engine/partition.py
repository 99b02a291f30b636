"""J: which pixels are targets together.

Noise2Self [1]_ splits the pixels into a partition J, hides one subset and
predicts it from the rest.  A partition lives in the coordinates of the whole
image, so that a tile of an image carries the same labels as the image.

References
----------
.. [1] J. Batson, L. Royer, "Noise2Self: Blind Denoising by
   Self-Supervision", ICML 2019, section 2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError

PerAxis = int | tuple[int, ...]

# The held-out positions of a run are at most this share of the pixels.
HELD_OUT_SHARE = 1 / 16


def _per_axis(value: PerAxis, ndim: int, what: str) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * ndim
    if len(value) != ndim:
        raise InputError(
            f"The {what} {value} has {len(value)} numbers but the image has {ndim} spatial axes: "
            f"give one number, or one per axis."
        )
    return value


def _checked(value: Any, what: str, minimum: int, *, odd: bool = False) -> PerAxis:
    """An integer, or a tuple of integers, each at least `minimum`."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    good = bool(numbers) and all(
        isinstance(n, (int, np.integer))
        and not isinstance(n, bool)
        and n >= minimum
        and (n % 2 == 1 or not odd)
        for n in numbers
    )
    if not good:
        kind = "odd whole numbers" if odd else "whole numbers"
        raise InputError(
            f"The {what} was {value!r}: give one number for all axes or one per axis, "
            f"{kind} of at least {minimum}."
        )
    plain = tuple(int(n) for n in numbers)
    return plain if isinstance(value, (tuple, list)) else plain[0]


@dataclass(frozen=True)
class Grid:
    """A partition into regular lattices.

    Two pixels belong to the same subset when their coordinates agree modulo
    the grid width on every axis, so a width of 4 makes 16 subsets in 2-D and
    64 in 3-D.

    Parameters
    ----------
    width : int or tuple of int
        Distance between two targets of one subset, in pixels, for all axes
        or per spatial axis (Z)YX.
    extent : int or tuple of int
        Odd full width of the block that is hidden around each target, for
        all axes or per axis.  1 hides the target alone; wider extents keep
        spatially correlated noise from leaking into the input.

    Raises
    ------
    InputError
        If a width is not larger than the extent on its axis.

    Examples
    --------
    >>> Grid(2).labels((2, 4))
    array([[0, 1, 0, 1],
           [2, 3, 2, 3]], dtype=int32)
    """

    width: PerAxis = 4
    extent: PerAxis = 1

    def __post_init__(self) -> None:
        # Frozen: lists (from JSON) and numpy integers become plain tuples and ints.
        object.__setattr__(self, "width", _checked(self.width, "grid width", 2))
        object.__setattr__(self, "extent", _checked(self.extent, "extent", 1, odd=True))
        sizes = [len(v) for v in (self.width, self.extent) if isinstance(v, tuple)]
        if len(set(sizes)) > 1:
            raise InputError(
                f"The grid width {self.width} and the extent {self.extent} name different "
                f"numbers of axes: give both for the same axes."
            )
        ndim = sizes[0] if sizes else 1
        for width, extent in zip(self.widths(ndim), self.extents(ndim), strict=True):
            if width < extent + 1:
                raise InputError(
                    f"A grid of width {width} hides everything with an extent of {extent}: "
                    f"use a width of at least {extent + 1}, or a smaller extent."
                )

    def widths(self, ndim: int) -> tuple[int, ...]:
        """The grid width per axis of an image with `ndim` spatial axes."""
        return _per_axis(self.width, ndim, "grid width")

    def extents(self, ndim: int) -> tuple[int, ...]:
        """The extent per axis of an image with `ndim` spatial axes."""
        return _per_axis(self.extent, ndim, "extent")

    def subsets(self, ndim: int) -> int:
        """How many subsets an image with `ndim` spatial axes is split into."""
        return math.prod(self.widths(ndim))

    def labels(
        self, shape: Sequence[int], origin: Sequence[int] | None = None
    ) -> NDArray[np.int32]:
        """The subset that each pixel belongs to.

        Parameters
        ----------
        shape : sequence of int
            Spatial shape (Z)YX of the image, or of a tile of it.
        origin : sequence of int, optional
            Where the tile starts in the whole image; its first pixel by default.

        Returns
        -------
        labels : ndarray of int32, shape `shape`
            Numbers from 0 to ``subsets(len(shape)) - 1``.
        """
        ndim = len(shape)
        start = (0,) * ndim if origin is None else tuple(origin)
        labels = np.zeros(tuple(shape), np.int32)
        for axis, (size, first, width) in enumerate(
            zip(shape, start, self.widths(ndim), strict=True)
        ):
            phase = (np.arange(first, first + size) % width).astype(np.int32)
            labels = labels * width + phase.reshape([-1 if a == axis else 1 for a in range(ndim)])
        return labels

    def masks(self, shape: Sequence[int]) -> Iterator[NDArray[np.bool_]]:
        """The targets of each subset; together they cover every pixel exactly once.

        Parameters
        ----------
        shape : sequence of int
            Spatial shape (Z)YX.

        Yields
        ------
        mask : ndarray of bool, shape `shape`
        """
        labels = self.labels(shape)
        for subset in range(self.subsets(len(shape))):
            yield labels == subset

    def held_out_subset(self, ndim: int) -> int:
        """The subset that the held-out positions are taken from."""
        return self.subsets(ndim) // 2

    def held_out(
        self, shape: Sequence[int], origin: Sequence[int] | None = None
    ) -> NDArray[np.bool_]:
        """The positions that are never targets, at most 1/16 of the pixels.

        They are one whole subset, thinned out to a coarser lattice where a
        subset is larger than that.

        Parameters
        ----------
        shape, origin
            As for `labels`.

        Returns
        -------
        mask : ndarray of bool, shape `shape`
        """
        ndim = len(shape)
        start = (0,) * ndim if origin is None else tuple(origin)
        widths = self.widths(ndim)
        strides = list(widths)
        for axis in itertools.cycle(reversed(range(ndim))):
            if math.prod(strides) * HELD_OUT_SHARE >= 1:
                break
            strides[axis] += widths[axis]
        phases = np.unravel_index(self.held_out_subset(ndim), widths)
        mask = np.ones(tuple(shape), bool)
        for axis, (size, first, stride, phase) in enumerate(
            zip(shape, start, strides, phases, strict=True)
        ):
            line = np.arange(first, first + size) % stride == phase
            mask &= line.reshape([-1 if a == axis else 1 for a in range(ndim)])
        return mask
