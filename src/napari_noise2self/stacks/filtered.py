"""A stack as a calibrated filter makes it, frame by frame where it is indexed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.lazy import LazyArray, Region
from napari_noise2self.stacks.stack import Stack

if TYPE_CHECKING:
    from napari_noise2self.engine.calibration.calibrated import CalibratedFilter


class Filtered(LazyArray):
    """The result of a filter, of which one frame is in memory at a time.

    Parameters
    ----------
    best : CalibratedFilter
    stack : Stack
        What it was calibrated on, or another one with as many channels.
    output : {"auto", "single-pass", "j-invariant", "mixed"}
        As for calling the filter.
    progress : callable, optional
        Called with the share of the frames that have been filtered.
    """

    def __init__(
        self,
        best: CalibratedFilter,
        stack: Stack,
        output: str = "auto",
        progress: Callable[[float], None] | None = None,
    ) -> None:
        layout = Layout.of(stack.shape, stack.axes, best.volume)
        frames = [letter in layout.frame_axes for letter in layout.axes]
        chunks = [1 if frame else n for frame, n in zip(frames, stack.shape, strict=True)]
        super().__init__(stack.shape, np.float32, stack.name, chunks)
        self._best = best
        self._stack = stack
        self._output = output
        self._progress = progress
        self._layout = layout
        self._is_frame = frames
        self._last: tuple[tuple[int, ...], NDArray[np.float32]] | None = None
        self._count = 0

    def _read(self, region: Region) -> NDArray[Any]:
        part = np.empty([len(places) for places in region], np.float32)
        lead = [places for places, frame in zip(region, self._is_frame, strict=True) if frame]
        inner = tuple(
            slice(places.start, places.stop, places.step)
            for places, frame in zip(region, self._is_frame, strict=True)
            if not frame
        )
        for at in np.ndindex(*[len(places) for places in lead]):
            position = tuple(places[i] for places, i in zip(lead, at, strict=True))
            part[self._index(at)] = self._frame(position)[inner]
        return part

    def _index(self, position: tuple[int, ...]) -> tuple[int | slice, ...]:
        """What to index an array of all axes with to get one frame."""
        numbers = iter(position)
        return tuple(next(numbers) if frame else slice(None) for frame in self._is_frame)

    def _frame(self, position: tuple[int, ...]) -> NDArray[np.float32]:
        # A file may take a frame in several parts, one after the other.
        if self._last is None or self._last[0] != position:
            values = np.asarray(self._stack.data[self._index(position)])
            axes = "".join(a for a in self._layout.axes if a not in self._layout.frame_axes)
            self._last = position, self._best(values, axes, output=self._output)
            self._count += 1
            if self._progress is not None:
                self._progress(min(self._count / self._layout.frames, 1.0))
        return self._last[1]
