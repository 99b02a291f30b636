"""How an array of any axes is read as frames of channels of 2-D or 3-D images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.arrays import read_part
from napari_noise2self.engine.errors import InputError

CHANNEL_AXES = "CS"
# Y and X must hold a few periods of a grid.
MIN_SIDE = 16


@dataclass(frozen=True)
class Layout:
    """The roles of the axes of one array.

    A *frame* is what the network sees at once: an array of shape
    (channels, [Z,] Y, X).  Every axis that is neither spatial nor a channel
    counts frames, in C order.

    Attributes
    ----------
    shape : tuple of int
        Shape of the array.
    axes : str
        One letter per axis: Y and X, Z, C or S (RGB samples) for channels,
        any other letter for frames.
    volume : bool
        Whether there is a third spatial axis instead of one more that counts frames.
    depth : str
        Which axis that is, Z or T.
    """

    shape: tuple[int, ...]
    axes: str
    volume: bool = False
    depth: str = "Z"

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        axes: str | None = None,
        volume: bool = False,
        depth: str = "Z",
    ) -> Layout:
        """The layout of an array of `shape`.

        Parameters
        ----------
        shape : sequence of int
        axes : str, optional
            Letters as in "TCZYX".  None means that the last two axes are YX
            and leading ones count frames (the last of them is Z if `volume`).
        volume : bool
            Denoise ZYX together.
        depth : str
            The axis to take for Z in that, such as "T".

        Raises
        ------
        InputError
            If the letters do not fit the shape or lack Y, X, or Z for a volume.
        """
        shape = tuple(int(n) for n in shape)
        if len(shape) < 2 or math.prod(shape) == 0:
            raise InputError(
                f"The image has the shape {shape}: an image with at least two axes "
                f"and at least one pixel is needed."
            )
        if axes is None:
            lead = len(shape) - 2
            if lead > 10:
                raise InputError(f"The image has {len(shape)} axes: at most 12 can be used.")
            # Letters without a meaning of their own, the last one Z.
            axes = "ABDEFGHIJZ"[10 - lead :] + "YX"
        axes = axes.upper()
        if len(axes) != len(shape):
            raise InputError(
                f"The axes {axes!r} name {len(axes)} axes but the image has the shape {shape}: "
                f"give one letter per axis, such as 'TZYX'."
            )
        if len(set(axes)) != len(axes) or not axes.isalpha():
            raise InputError(f"The axes {axes!r} must be letters, each named once.")
        missing = [letter for letter in (depth + "YX" if volume else "YX") if letter not in axes]
        if missing:
            wish = "to denoise a volume" if volume else "to denoise an image"
            raise InputError(
                f"The axes {axes!r} lack {' and '.join(missing)}, needed {wish}: "
                f"name the axes of the image {shape}, such as 'TZYX'."
            )
        return cls(shape, axes, volume, depth)

    def with_shape(self, shape: Sequence[int]) -> Layout:
        """The layout of an array with the same axes and another shape, such as a part."""
        return replace(self, shape=tuple(int(n) for n in shape))

    @property
    def spatial_axes(self) -> str:
        """The axes of the partition: "ZYX", "TYX" or "YX"."""
        return self.depth + "YX" if self.volume else "YX"

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.spatial_axes)

    def size(self, letter: str) -> int:
        """Length of the axis named `letter`."""
        return self.shape[self.axes.index(letter)]

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape of a frame without its channels, (Z)YX."""
        return tuple(self.size(letter) for letter in self.spatial_axes)

    @property
    def _channel_letters(self) -> str:
        return "".join(letter for letter in self.axes if letter in CHANNEL_AXES)

    @property
    def channels(self) -> int:
        """Channels of a frame."""
        return math.prod(self.size(letter) for letter in self._channel_letters)

    @property
    def frame_axes(self) -> str:
        """The letters of the axes that count frames, in order."""
        return "".join(
            letter
            for letter in self.axes
            if letter not in self.spatial_axes and letter not in CHANNEL_AXES
        )

    @property
    def frames(self) -> int:
        """Number of frames."""
        return math.prod(self.size(letter) for letter in self.frame_axes)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(channels, [Z,] Y, X)."""
        return (self.channels, *self.spatial_shape)

    def index(self, frame: int, region: tuple[slice, ...] | None = None) -> tuple[int | slice, ...]:
        """What to index the array with to get one frame, its axes in the array's order.

        Parameters
        ----------
        frame : int
        region : tuple of slice, optional
            The part of the spatial axes; all of it by default.
        """
        counts = [self.size(letter) for letter in self.frame_axes]
        index: dict[str, int | slice] = dict(zip(self.spatial_axes, region or (), strict=False))
        numbers = np.unravel_index(frame, counts)
        index.update((a, int(i)) for a, i in zip(self.frame_axes, numbers, strict=True))
        return tuple(index.get(letter, slice(None)) for letter in self.axes)

    def frame_at(self, position: Sequence[int]) -> int:
        """The frame that the pixel at `position` (one index per axis) belongs to."""
        counts = [self.size(letter) for letter in self.frame_axes]
        numbers = [
            min(max(int(position[self.axes.index(letter)]), 0), count - 1)
            for letter, count in zip(self.frame_axes, counts, strict=True)
        ]
        return int(np.ravel_multi_index(numbers, counts)) if counts else 0

    def depth_at(self, position: Sequence[int]) -> int | None:
        """The slice of a volume that the pixel at `position` belongs to; None in 2-D."""
        if not self.volume:
            return None
        at = int(position[self.axes.index(self.depth)])
        return min(max(at, 0), self.size(self.depth) - 1)

    def read(self, array: Any, frame: int, region: tuple[slice, ...] | None = None) -> NDArray[Any]:
        """One frame of any array that can be indexed (numpy, dask, zarr).

        Parameters
        ----------
        array : array-like of shape `shape`
        frame : int
        region : tuple of slice, optional
            The part of the spatial axes to read; all of it by default.

        Returns
        -------
        frame : ndarray, shape (channels, [Z,] Y, X), dtype of `array`
        """
        return self.arranged(read_part(array, self.index(frame, region)))

    def arranged(self, part: NDArray[Any]) -> NDArray[Any]:
        """What an array has at `index`, as (channels, [Z,] Y, X)."""
        spatial = part.transpose(self._frame_order())
        return spatial.reshape(self.channels, *spatial.shape[-self.ndim :])

    def write(
        self,
        array: NDArray[Any],
        frame: int,
        values: NDArray[Any],
        region: tuple[slice, ...] | None = None,
    ) -> None:
        """Put a frame of shape (channels, [Z,] Y, X) where `read` would find it."""
        view = array[self.index(frame, region)].transpose(self._frame_order())
        view[...] = values.reshape(view.shape)

    def _frame_order(self) -> list[int]:
        """The axes of an indexed frame, reordered to channels first, then (Z)YX."""
        left = [letter for letter in self.axes if letter not in self.frame_axes]
        return [left.index(letter) for letter in self._channel_letters + self.spatial_axes]
