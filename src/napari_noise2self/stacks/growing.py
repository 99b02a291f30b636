"""A result that can be looked at while it is written, and afterwards, without being in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.file_image import DtypeChoice, FileImage, cast, reordered
from napari_noise2self.stacks.lazy import LazyArray, Region, as_slices
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.targets import format_of, partial_of
from napari_noise2self.stacks.unfinished import read_state

logger = logging.getLogger(__name__)


class Slate:
    """Holds one frame, in place of an array that would not fit into memory.

    Training writes its previews into it as into an array of the whole shape;
    the frame before is forgotten then.

    Parameters
    ----------
    layout : Layout
        Of the whole array.
    """

    def __init__(self, layout: Layout) -> None:
        self.shape = layout.shape
        self._frame: tuple[tuple[int, ...], NDArray[np.float32]] | None = None

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[np.float32]:
        """A part of one frame, to be written into."""
        place, parts = _split(index)
        frame = self._frame
        if frame is None or frame[0] != place:
            lengths = [n for n, i in zip(self.shape, index, strict=True) if isinstance(i, slice)]
            frame = self._frame = (place, np.zeros(lengths, np.float32))
        return frame[1][parts]

    def part(self, index: Sequence[int | slice]) -> NDArray[np.float32] | None:
        """A part of the frame that was written last; None of another one."""
        place, parts = _split(index)
        frame = self._frame
        return frame[1][parts] if frame is not None and frame[0] == place else None

    def clear(self) -> None:
        """Forget the frame."""
        self._frame = None


def _split(index: Sequence[int | slice]) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    return (
        tuple(i for i in index if not isinstance(i, slice)),
        tuple(i for i in index if isinstance(i, slice)),
    )


class Growing(LazyArray):
    """The result of an export, in the shape of its source.

    While ``OUT.partial`` is written it is what lies there, and 0 where there
    is nothing yet; once `finish` was called it is what lies in ``OUT``.

    Parameters
    ----------
    like : Stack
        The source.
    target : path
        ``OUT``.
    dtype : {"source", "float32"}
        As for the export.
    layout : Layout, optional
        What a frame is; by default what Y and X span.

    Attributes
    ----------
    target : Path
    slate : Slate
        The frame that it holds stands in for what is not written yet.
    """

    def __init__(
        self,
        like: Stack,
        target: str | Path,
        dtype: DtypeChoice = "source",
        layout: Layout | None = None,
    ) -> None:
        self.target = Path(target)
        self._layout = layout or Layout.of(like.shape, like.axes)
        self._image = FileImage.of(like, format_of(target), dtype)
        super().__init__(like.shape, self._image.dtype, str(target))
        self.slate = Slate(self._layout)
        self._written: Any = None
        self._finished = False

    def finish(self) -> None:
        """Read from ``OUT`` from now on, which is whole.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        self._written = self._reordered(_content(self.target, self._image))
        self._finished = True
        self.slate.clear()

    @property
    def begun(self) -> bool:
        """Whether any of its pixels are on the disk."""
        if self._finished:
            return True
        try:
            return bool(read_state(partial_of(self.target)).get("done"))
        except InputError:
            return False

    def _read(self, region: Region) -> NDArray[Any]:
        if self._finished:
            return np.asarray(self._written[as_slices(region)])
        part = self._partial(region)
        if part is None or not part.any():
            preview = self._preview(region)
            if preview is not None:
                return preview
        return np.zeros([len(r) for r in region], self.dtype) if part is None else part

    def _partial(self, region: Region) -> NDArray[Any] | None:
        """What there is in ``OUT.partial``; None if that is nothing."""
        level = partial_of(self.target) / "0"
        try:
            if self._written is None and level.is_dir():
                from napari_noise2self.stacks.writing_zarr import open_array

                self._written = self._reordered(open_array(level, "r"))
            return None if self._written is None else np.asarray(self._written[as_slices(region)])
        except Exception as error:  # whatever a chunk raises that is being written
            logger.debug("%s cannot be read now: %s", level, error)
            return None

    def _preview(self, region: Region) -> NDArray[Any] | None:
        if any(
            len(places) > 1
            for places, letter in zip(region, self._layout.axes, strict=True)
            if letter in self._layout.frame_axes
        ):
            return None
        found = self.slate.part(
            [
                places.start if letter in self._layout.frame_axes else part
                for places, part, letter in zip(
                    region, as_slices(region), self._layout.axes, strict=True
                )
            ]
        )
        if found is None:
            return None
        values, _ = cast(np.nan_to_num(found), self.dtype)
        return values.reshape([len(places) for places in region])

    def _reordered(self, array: Any) -> Any:
        return reordered(array, self._image.to_source(range(len(self._image.order))))


def _content(path: Path, image: FileImage) -> Any:
    """The pixels of a file that was written, in the order of `image`."""
    if format_of(path) == "ome-zarr":
        from napari_noise2self.stacks.writing_zarr import open_array

        return open_array(path / "0", "r")
    from napari_noise2self.stacks.reading import read

    found = read(path).data
    return found if tuple(found.shape) == image.shape else _Expanded(found, image.shape)


class _Expanded(LazyArray):
    """An array with axes of length 1 more: TIFFs do not keep them."""

    def __init__(self, array: Any, shape: Sequence[int]) -> None:
        self._array = array
        lengths = list(array.shape)
        self._kept = []
        for axis, n in enumerate(shape):
            if lengths and lengths[0] == n and n != 1:
                lengths.pop(0)
                self._kept.append(axis)
        super().__init__(shape, array.dtype, getattr(array, "source", "The image"))

    def _read(self, region: Region) -> NDArray[Any]:
        parts = as_slices(region)
        found = np.asarray(self._array[tuple(parts[axis] for axis in self._kept)])
        return found.reshape([len(places) for places in region])
