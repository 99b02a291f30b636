"""A stack as a file has it: axes that the format can name, in the format's order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.axes import UNNAMED
from napari_noise2self.stacks.lazy import LazyArray, Region, View, as_slices
from napari_noise2self.stacks.stack import Stack

Kind = Literal["tiff", "ome-tiff", "ome-zarr"]
DtypeChoice = Literal["source", "float32"]

_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
_RGB = ("red", "green", "blue", "alpha")
_RGB_COLOURS = ("#ff0000", "#00ff00", "#0000ff", "#ffffff")


@dataclass(frozen=True)
class FileImage:
    """What a file says about an image.

    Attributes
    ----------
    axes : str
        One letter per axis of the file, in the order of the file.
    shape : tuple of int
    dtype : numpy.dtype
        Type of the pixels in the file.
    order : tuple of int
        Which axis of the source each axis of the file is.
    scale, units, translate : tuple
        One per axis of the file; None where it is unknown.
    name : str
    channel_names, channel_colors : tuple of str or None
        One per channel.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: tuple[int, ...]
    scale: tuple[float | None, ...]
    units: tuple[str | None, ...]
    translate: tuple[float | None, ...]
    name: str
    channel_names: tuple[str, ...] | None
    channel_colors: tuple[str, ...] | None

    @classmethod
    def of(cls, stack: Stack, kind: Kind, dtype: DtypeChoice = "source") -> FileImage:
        """Describe the file that a stack becomes.

        Axes without a name become T, and a second such axis Z.

        Parameters
        ----------
        stack : Stack
            The source.
        kind : {"tiff", "ome-tiff", "ome-zarr"}
        dtype : {"source", "float32"}
            Whether to keep the type of the source; one that the readers of
            these files do not know (64-bit integers, 16-bit floats) becomes
            float32.

        Raises
        ------
        InputError
            If the format cannot hold the axes.
        """
        axes = _named(stack, kind)
        names, colours = stack.channel_names, stack.channel_colors
        if ("C" in axes) != ("C" in stack.axes):
            names = colours = None
        if kind == "ome-zarr" and "S" in axes:
            count = stack.shape[axes.index("S")]
            axes, names, colours = axes.replace("S", "C"), _RGB[:count], _RGB_COLOURS[:count]
        # TIFF keeps the order of the source, but for the planes; OME-Zarr demands its own.
        wanted = "TCZYX" if kind == "ome-zarr" else "YXS"
        order = tuple(sorted(range(len(axes)), key=lambda axis: wanted.find(axes[axis])))
        unknown = (None,) * len(axes)
        return cls(
            axes="".join(axes[axis] for axis in order),
            shape=tuple(stack.shape[axis] for axis in order),
            dtype=_file_dtype(stack.dtype, dtype),
            order=order,
            scale=tuple((stack.scale or unknown)[axis] for axis in order),
            units=tuple((stack.units or unknown)[axis] for axis in order),
            translate=tuple((stack.translate or unknown)[axis] for axis in order),
            name=stack.name,
            channel_names=names,
            channel_colors=colours,
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that is known, ready for JSON."""
        return {**asdict(self), "dtype": str(self.dtype)}

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> FileImage:
        """The same from what `to_json` returned."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in entries.items()
        }
        plain["dtype"] = np.dtype(str(entries["dtype"]))
        return cls(**plain)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels, uncompressed."""
        return self.pixels * self.dtype.itemsize

    def length(self, letter: str) -> int:
        """Pixels along an axis, 1 if there is none."""
        return self.shape[self.axes.index(letter)] if letter in self.axes else 1

    def size(self, letter: str) -> tuple[float, str | None]:
        """Distance between two pixels along an axis, 0 if it is unknown, and its unit."""
        if letter not in self.axes:
            return 0.0, None
        axis = self.axes.index(letter)
        return self.scale[axis] or 0.0, self.units[axis]

    def origin(self, letter: str) -> float:
        """Where the first pixel lies along an axis; 0 if nobody said."""
        return (self.translate[self.axes.index(letter)] or 0.0) if letter in self.axes else 0.0

    def to_file(self, region: Sequence[slice]) -> tuple[slice, ...]:
        """A region of the source, as a region of the file."""
        return tuple(region[axis] for axis in self.order)

    def to_source(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """One thing per axis of the file, in the order of the source."""
        return tuple(values[self.order.index(axis)] for axis in range(len(self.order)))


def _named(stack: Stack, kind: Kind) -> str:
    """The letters of a stack, those that the format has not replaced by some that it has."""
    axes = stack.axes
    if "S" in axes and "C" not in axes and stack.shape[axes.index("S")] not in (3, 4):
        axes = axes.replace("S", "C")
    unnamed = [letter for letter in axes if letter in UNNAMED]
    free = [letter for letter in "TZ" if letter not in axes]
    file = "An OME-Zarr" if kind == "ome-zarr" else "A TIFF"
    if len(unnamed) > len(free) or set(axes) - set("TZCYXS" + UNNAMED):
        raise InputError(
            f"{file} cannot hold the axes {stack.axes!r}: name them with letters of TZCYX."
        )
    if kind == "ome-zarr" and "S" in axes and "C" in axes:
        raise InputError(
            f"An OME-Zarr cannot hold the axes {stack.axes!r}, which have both channels and "
            f"colours: write an OME-TIFF (.ome.tif)."
        )
    for old, new in zip(unnamed, free, strict=False):
        axes = axes.replace(old, new)
    return axes


def _file_dtype(source: DTypeLike, choice: DtypeChoice) -> np.dtype[Any]:
    source = np.dtype(source)
    kept = choice == "source" and source.name in _TYPES
    return source.newbyteorder("=") if kept else np.dtype("float32")


def cast(values: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], int]:
    """Round and clip to a type.

    Parameters
    ----------
    values : ndarray
    dtype : numpy.dtype

    Returns
    -------
    values : ndarray of `dtype`
    clipped : int
        How many did not fit and became the lowest or highest value.
    """
    if dtype.kind == "f" or values.dtype == dtype:
        return values.astype(dtype, copy=False), 0
    limits = np.iinfo(dtype)
    rounded = np.rint(values, dtype=np.float64 if dtype.itemsize > 2 else None)
    clipped = int(np.count_nonzero((rounded < limits.min) | (rounded > limits.max)))
    return np.clip(rounded, limits.min, limits.max).astype(dtype), clipped


class Reordered(LazyArray):
    """An array with its axes in another order, read where it is indexed.

    Parameters
    ----------
    array : array-like
        Anything that is indexed with slices.
    order : sequence of int
        Which axis of `array` each axis is.
    source : str
        What errors name it.
    """

    def __init__(self, array: Any, order: Sequence[int], source: str = "The image") -> None:
        self._array = array
        self._order = tuple(order)
        cut = chunk_lengths(array)
        super().__init__(
            [array.shape[axis] for axis in self._order],
            array.dtype,
            getattr(array, "source", source),
            None if cut is None else [cut[axis] for axis in self._order],
        )

    def _read(self, region: Region) -> NDArray[Any]:
        there = [slice(None)] * self.ndim
        for axis, part in zip(self._order, as_slices(region), strict=True):
            there[axis] = part
        return np.asarray(self._array[tuple(there)]).transpose(self._order)


def chunk_lengths(array: Any) -> tuple[int, ...] | None:
    """What an array reads at once, per axis; None if it does not say."""
    chunks = getattr(array, "chunks", None)
    if chunks is None:
        return None
    return tuple(max(c) if isinstance(c, tuple) else int(c) for c in chunks)


def reordered(array: Any, order: Sequence[int]) -> Any:
    """An array with its axes in another order, lazily unless it is in memory."""
    if isinstance(array, np.ndarray):
        return array.transpose(tuple(order))
    return array if list(order) == list(range(len(order))) else Reordered(array, order)


def arranged_like(stack: Stack, like: Stack) -> Any:
    """The array of a stack with its axes in the order of another one of the same image.

    Files change the order of axes, add axes of one pixel, and call the
    samples of RGB channels.

    Parameters
    ----------
    stack, like : Stack

    Raises
    ------
    InputError
        If their axes cannot be the same.
    """
    if stack.axes == like.axes:
        return stack.data
    letters, wanted = stack.axes, like.axes
    for one, other in ("SC", "CS"):
        if one in wanted and one not in letters and other not in wanted:
            letters = letters.replace(other, one)
    rest = [axis for axis, letter in enumerate(letters) if letter not in wanted]
    lacking = [letter for letter in wanted if letter not in letters]
    if any(stack.shape[axis] > 1 for axis in rest) or any(
        like.shape[wanted.index(letter)] > 1 for letter in lacking
    ):
        if stack.shape == like.shape:
            return stack.data  # axes without a name were given one
        raise InputError(
            f"{stack.name} has the axes {stack.axes} and the shape {stack.shape}, {like.name} has "
            f"{like.axes} and {like.shape}: both must be the same pixels."
        )
    index = tuple(0 if axis in rest else slice(None) for axis in range(len(letters)))
    data = stack.data
    if rest:
        data = View(data, index) if isinstance(data, LazyArray) else data[index]
    left = [letter for letter in letters if letter in wanted]
    if not lacking:
        return reordered(data, [left.index(letter) for letter in wanted])
    order = [left.index(letter) for letter in wanted if letter not in lacking]
    places = [axis for axis, letter in enumerate(wanted) if letter in lacking]
    return np.expand_dims(np.asarray(data).transpose(order), tuple(places))


def regions(shape: Sequence[int], step: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """The blocks of an array, in C order, cut at its end."""
    lines = [
        [slice(start, min(start + length, n)) for start in range(0, n, length)]
        for n, length in zip(shape, step, strict=True)
    ]
    yield from itertools.product(*lines)
