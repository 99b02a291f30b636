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

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.coordinates import coordinates, hashed, lattice
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.per_axis import PerAxis, checked, checked_number, per_axis

# One number per spatial axis.
Axes = Sequence[int]

# The held-out positions of a run are at most this share of the pixels.
HELD_OUT_SHARE = 1 / 16
# Positions held out by chance: rarer, so that chance does not lift them above that share.
RANDOM_HELD_OUT_SHARE = 1 / 20
# A random partition leaves at least this share of the pixels visible, on average.
MIN_VISIBLE_SHARE = 0.1


class Partition(ABC):
    """A partition J of the pixels of images of any size, in 2-D or 3-D.

    `Grid`, `RandomPartition` and `Checkerboard` are the kinds there are.

    Attributes
    ----------
    kind : str
        Its name in settings, files and the terminal.
    crowded : bool
        Whether a hidden pixel may have hidden pixels only around it, so that
        its replacement has to come from further away.
    """

    kind: ClassVar[str]
    crowded: ClassVar[bool] = False

    @abstractmethod
    def subset_count(self, ndim: int) -> int:
        """How many subsets an image with `ndim` spatial axes is split into."""

    @abstractmethod
    def extents(self, ndim: int) -> tuple[int, ...]:
        """The extent per axis of an image with `ndim` spatial axes."""

    @abstractmethod
    def labels(self, shape: Axes, origin: Axes | None = None) -> NDArray[np.int32]:
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
            Numbers from 0 to ``subset_count(len(shape)) - 1``.

        Raises
        ------
        InputError
            If the partition is made for another number of axes.
        """

    @abstractmethod
    def held_out(self, shape: Axes, origin: Axes | None = None) -> NDArray[np.bool_]:
        """The positions that are never targets, at most 1/16 of the pixels.

        They belong to one subset: all of it, or some where a subset is larger
        than that.

        Parameters
        ----------
        shape, origin
            As for `labels`.

        Returns
        -------
        mask : ndarray of bool, shape `shape`
        """

    def held_out_subset(self, ndim: int) -> int:
        """The subset that the held-out positions are taken from."""
        return self.subset_count(ndim) // 2

    def masks(self, shape: Axes) -> Iterator[NDArray[np.bool_]]:
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
        for subset in range(self.subset_count(len(shape))):
            yield labels == subset

    def description(self, ndim: int | None = None) -> dict[str, Any]:
        """The kind and the settings, ready for JSON; `partition_from` reads it.

        Parameters
        ----------
        ndim : int, optional
            Spell out what is given per axis, for so many spatial axes.

        Returns
        -------
        description : dict
        """
        settings = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        if ndim is not None:
            for name in settings.keys() & {"width", "extent"}:
                settings[name] = list(per_axis(settings[name], ndim, name))
        return {"kind": self.kind, **settings}


@dataclass(frozen=True)
class Grid(Partition):
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
    kind: ClassVar[str] = "grid"

    def __post_init__(self) -> None:
        # Frozen: lists (from JSON) and numpy integers become plain tuples and ints.
        object.__setattr__(self, "width", checked(self.width, "grid width", 2))
        object.__setattr__(self, "extent", checked(self.extent, "extent", 1, odd=True))
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

    @classmethod
    def for_extent(cls, extent: PerAxis) -> Grid:
        """The grid that suits an extent: three rows of visible pixels lie between hidden blocks.

        Parameters
        ----------
        extent : int or tuple of int
            Odd full width of the hidden blocks.

        Returns
        -------
        grid : Grid
            Its widths are 3 more than the extents; along Z, where three axes
            are named, 1 more, because stacks are thin there.
        """
        extent = checked(extent, "extent", 1, odd=True)
        if isinstance(extent, int):
            return cls(extent + 3, extent)
        beyond = (1, 3, 3) if len(extent) == 3 else (3,) * len(extent)
        return cls(tuple(e + b for e, b in zip(extent, beyond, strict=True)), extent)

    def beside(self, neighbours: int, slices: int) -> Grid:
        """The same grid in slices that are seen with so many neighbours on either side.

        Parameters
        ----------
        neighbours, slices : int
            Of the latter there are so many.

        Returns
        -------
        grid : Grid
            Of three axes.  Along the first it is so wide that nothing is hidden
            in the neighbours of a target but what its extent hides; one number
            for all axes is meant for Y and X.
        """
        thick = isinstance(self.width, tuple) and len(self.width) == 3
        thick |= isinstance(self.extent, tuple) and len(self.extent) == 3
        widths, extents = (
            (self.widths(3), self.extents(3))
            if thick
            else (
                (2, *self.widths(2)),
                (1, *self.extents(2)),
            )
        )
        wanted = min(neighbours + extents[0] // 2 + 1, slices)
        first = max(widths[0], wanted)
        return Grid((first, *widths[1:]), extents)

    @classmethod
    def for_white_noise(cls) -> Grid:
        """The grid that suits noise without correlation."""
        return cls(2)

    def widths(self, ndim: int) -> tuple[int, ...]:
        """The grid width per axis of an image with `ndim` spatial axes."""
        return per_axis(self.width, ndim, "grid width")

    def extents(self, ndim: int) -> tuple[int, ...]:
        """The extent per axis of an image with `ndim` spatial axes."""
        return per_axis(self.extent, ndim, "extent")

    def subset_count(self, ndim: int) -> int:
        """How many subsets there are: the product of the widths."""
        return math.prod(self.widths(ndim))

    def labels(self, shape: Axes, origin: Axes | None = None) -> NDArray[np.int32]:
        """The subset that each pixel belongs to: see `Partition.labels`."""
        widths = self.widths(len(shape))
        labels = np.zeros(tuple(shape), np.int32)
        for line, width in zip(coordinates(shape, origin), widths, strict=True):
            labels = labels * width + (line % width).astype(np.int32)
        return labels

    def held_out(self, shape: Axes, origin: Axes | None = None) -> NDArray[np.bool_]:
        """One subset, or a coarser lattice within it: see `Partition.held_out`."""
        widths = self.widths(len(shape))
        phases = np.unravel_index(self.held_out_subset(len(shape)), widths)
        return lattice(coordinates(shape, origin), widths, [int(p) for p in phases], HELD_OUT_SHARE)


@dataclass(frozen=True)
class Checkerboard(Partition):
    """A partition into the two colours of a checkerboard.

    Half of the pixels are targets together.  It takes no extent: every
    neighbour along an axis has the other colour.

    Examples
    --------
    >>> Checkerboard().labels((2, 4))
    array([[0, 1, 0, 1],
           [1, 0, 1, 0]], dtype=int32)
    """

    kind: ClassVar[str] = "checkerboard"

    def subset_count(self, ndim: int) -> int:
        """Two."""
        return 2

    def extents(self, ndim: int) -> tuple[int, ...]:
        """Ones: only the targets are hidden."""
        return (1,) * ndim

    def labels(self, shape: Axes, origin: Axes | None = None) -> NDArray[np.int32]:
        """The colour of each pixel: see `Partition.labels`."""
        labels = np.zeros(tuple(shape), np.int32)
        for line in coordinates(shape, origin):
            labels ^= (line % 2).astype(np.int32)
        return labels

    def held_out(self, shape: Axes, origin: Axes | None = None) -> NDArray[np.bool_]:
        """A lattice of one colour: see `Partition.held_out`."""
        ndim = len(shape)
        # Every stride of the lattice is even, so the first position's colour is that of all.
        phases = [0] * (ndim - 1) + [self.held_out_subset(ndim)]
        return lattice(coordinates(shape, origin), (2,) * ndim, phases, HELD_OUT_SHARE)


@dataclass(frozen=True)
class RandomPartition(Partition):
    """A partition by chance: every pixel belongs to any subset with the same probability.

    The subset of a pixel is computed from its coordinates and the seed alone.

    Parameters
    ----------
    subsets : int
        How many subsets there are; one of them is hidden at a time.
    extent : int or tuple of int
        Odd full width of the block that is hidden around each target, for
        all axes or per spatial axis (Z)YX.
    seed : int

    Raises
    ------
    InputError
        If less than a tenth of the pixels would stay visible on average.

    Examples
    --------
    >>> RandomPartition(9).labels((2, 4))
    array([[0, 1, 4, 5],
           [8, 3, 2, 2]], dtype=int32)
    """

    subsets: int = 25
    extent: PerAxis = 1
    seed: int = 0
    kind: ClassVar[str] = "random"
    crowded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        subsets = checked_number(self.subsets, "number of subsets", 2, 2**31 - 1)
        seed = checked_number(self.seed, "seed of the partition", 0, 2**63 - 1)
        object.__setattr__(self, "subsets", subsets)
        object.__setattr__(self, "seed", seed)
        object.__setattr__(self, "extent", checked(self.extent, "extent", 1, odd=True))
        self.extents(len(self.extent) if isinstance(self.extent, tuple) else 2)

    def extents(self, ndim: int) -> tuple[int, ...]:
        """The extent per axis of an image with `ndim` spatial axes.

        Raises
        ------
        InputError
            If less than a tenth of the pixels would stay visible on average.
        """
        extents = per_axis(self.extent, ndim, "extent")
        block = math.prod(extents)
        visible = (1 - 1 / self.subsets) ** block
        if visible < MIN_VISIBLE_SHARE:
            enough = math.ceil(1 / (1 - MIN_VISIBLE_SHARE ** (1 / block)))
            raise InputError(
                f"A random partition into {self.subsets} subsets with an extent of {self.extent} "
                f"hides {1 - visible:.1%} of the pixels of an image with {ndim} spatial axes: use "
                f"at least {enough} subsets, or a smaller extent."
            )
        return extents

    def subset_count(self, ndim: int) -> int:
        """How many subsets there are, in any number of axes."""
        return self.subsets

    def labels(self, shape: Axes, origin: Axes | None = None) -> NDArray[np.int32]:
        """The subset that each pixel belongs to: see `Partition.labels`."""
        self.extents(len(shape))
        return hashed(coordinates(shape, origin), self.seed, 0, self.subsets)

    def held_out(self, shape: Axes, origin: Axes | None = None) -> NDArray[np.bool_]:
        """One subset, or a random part of it: see `Partition.held_out`.

        Of fewer than 20 subsets a twentieth of all pixels is held out, so
        that chance does not make it more than a sixteenth of an image.
        """
        mask: NDArray[np.bool_] = self.labels(shape, origin) == self.held_out_subset(len(shape))
        keep = RANDOM_HELD_OUT_SHARE * self.subsets
        if keep < 1:
            steps = 2**16
            numbers = hashed(coordinates(shape, origin), self.seed, 1, steps)
            mask = mask & (numbers < keep * steps)
        return mask


KINDS: dict[str, type[Grid | RandomPartition | Checkerboard]] = {
    kind.kind: kind for kind in (Grid, RandomPartition, Checkerboard)
}


def replacement_reach(extents: Axes, *, in_slice: bool = True) -> tuple[int, ...]:
    """How far around a target the pixels lie that its replacement is made of.

    In a volume these are pixels of its own slice, whatever the step in Z: a
    mean of three slices is so smooth that a network takes it for the truth,
    and believes the noisy pixel just as much where that is shown instead.

    Parameters
    ----------
    extents : sequence of int
        Odd full width of the hidden block per spatial axis.
    in_slice : bool
        False for the slices beside it as well, as it was in earlier versions.

    Returns
    -------
    reach : tuple of int
        Pixels to either side per spatial axis, one beyond the hidden block.
    """
    reach = [extent // 2 + 1 for extent in extents]
    if in_slice and len(reach) == 3:
        reach[0] = 0
    return tuple(reach)


def partition_from(description: Mapping[str, Any]) -> Partition:
    """The partition that `Partition.description` describes.

    Parameters
    ----------
    description : mapping
        "kind" and the settings of that kind.

    Returns
    -------
    partition : Partition

    Raises
    ------
    InputError
        If there is no such kind, or a setting is unknown or out of range.
    """
    settings = dict(description)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"The kind of partition was {kind!r}: use one of {', '.join(KINDS)}.")
    known = [field.name for field in fields(KINDS[kind])]
    for name in settings:
        if name not in known:
            raise InputError(
                f"A partition of the kind {kind!r} has no setting {name!r}: "
                + (f"use {', '.join(known)}." if known else "leave it out.")
            )
    return KINDS[kind](**settings)
