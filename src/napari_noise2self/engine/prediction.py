"""Frames denoised one after the other, in windows that fit into memory, as events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.bad_pixels import HotRule
from napari_noise2self.engine.errors import OutOfMemoryError
from napari_noise2self.engine.events import INTERVAL, Control, Notice, PredictionEvent
from napari_noise2self.engine.hardware import fits_in_memory, memory_budget
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.predictor import Part
from napari_noise2self.engine.preparation import Frame, Normalisation
from napari_noise2self.engine.windows import Box, Place, Reach, parted, sides

# Pixels, counted per channel, that are prepared for the network at once.
WINDOW_PIXELS = 2**22
# What they take in memory beside the image and the result, in bytes.
BYTES_PER_PIXEL = 40


@dataclass
class Progress:
    """How much of a prediction is done, told at most every `INTERVAL`.

    Attributes
    ----------
    total, ready : float
        Work there is in all, in any unit, and of that was there before.
    """

    total: float
    ready: float = 0.0

    def __post_init__(self) -> None:
        self.done = self.ready
        self._began = self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last event is long enough ago."""
        return time.monotonic() - self._last >= INTERVAL

    def event(self, part: float = 0.0, frame: int | None = None) -> PredictionEvent:
        """What is done by now, and a part of what is under way."""
        self._last = time.monotonic()
        seconds = self._last - self._began
        done = self.done + part
        own = done - self.ready
        left = seconds * (self.total - done) / own if own > 0 else math.nan
        return PredictionEvent(min(done / self.total, 1.0), seconds, left, frame)


def watched(
    parts: Iterator[Part],
    work: float,
    progress: Progress,
    control: Control,
) -> Generator[Notice | PredictionEvent, None, NDArray[np.float32] | None]:
    """Run what `Predictor.single_pass` yields, and tell how far it is.

    Parameters
    ----------
    parts : iterator
    work : float
        Its share of the work of `progress`.
    progress : Progress
    control : Control

    Yields
    ------
    event : Notice or PredictionEvent

    Returns
    -------
    result : ndarray of float32 or None
        None if it was stopped before.
    """
    fraction = 0.0
    for part in parts:
        while control.paused:
            control.wait_while_paused(INTERVAL)
            yield progress.event(work * fraction)
        if control.stopped:
            return None
        if isinstance(part, np.ndarray):
            progress.done += work
            return part
        if isinstance(part, Notice):
            yield part
            continue
        fraction = part
        if progress.due:
            yield progress.event(work * fraction)
    return None


@dataclass(frozen=True)
class Method:
    """What is done to every frame of a stack.

    Attributes
    ----------
    apply : callable
        Turns a `Frame` into what `Predictor.single_pass` yields.
    normalisation : Normalisation
    reach : Reach or None
        How far `apply` looks; None if it needs whole frames.
    """

    apply: Callable[[Frame], Iterator[Part]]
    normalisation: Normalisation
    reach: Reach | None

    def windows(self, box: Box, layout: Layout) -> list[Place]:
        """The windows that a part of each frame is predicted in.

        Raises
        ------
        OutOfMemoryError
            If the whole frame has to be one, and is too large for that.
        """
        frame = layout.spatial_shape
        if self.reach is None:
            size = math.prod(layout.frame_shape) * BYTES_PER_PIXEL
            if not fits_in_memory(size):
                raise OutOfMemoryError(
                    f"The network has to see whole frames, and one of "
                    f"{'×'.join(map(str, frame))} pixels takes about {size / 2**30:.1f} GB where "
                    f"{memory_budget() / 2**30:.1f} GB may be used: crop the image, or use the "
                    f"network 'unet'."
                )
            return [Place.around(box, frame, None)]
        extent = [part.stop - part.start for part in box]
        most = sides(extent, self.reach.margin, max(WINDOW_PIXELS // layout.channels, 1))
        return [
            Place.around(part, frame, self.reach) for part in parted(box, most, self.reach.step)
        ]


def predict_frames(
    method: Method,
    image: Any,
    layout: Layout,
    control: Control,
    out: NDArray[np.float32] | None = None,
) -> Generator[Notice | PredictionEvent, None, tuple[NDArray[np.float32], bool]]:
    """Denoise the frames of an array one by one, the frame in view first.

    Parameters
    ----------
    method : Method
    image : array of the shape of `layout`
    layout : Layout
    control : Control
    out : ndarray of float32, optional
        Where the frames go; by default a new array, NaN where nothing has
        been written.

    Yields
    ------
    event : Notice or PredictionEvent

    Returns
    -------
    denoised : ndarray of float32
    complete : bool
        False if it was stopped before.
    """
    if out is None:
        out = np.full(layout.shape, np.nan, np.float32)
    progress = Progress(layout.frames * math.prod(layout.spatial_shape))
    # At once, so that who listens knows which phase a stop would end.
    yield progress.event()
    places = method.windows(Place.whole(layout.spatial_shape).read, layout)
    rule = HotRule.of(image, layout, control)
    # The frame in view first.
    order = sorted(range(layout.frames), key=lambda frame: frame != control.preview_frame)
    for number in order:
        for place in places:
            frame = Frame.of(image, layout, method.normalisation, number, rule, place)
            result = yield from watched(method.apply(frame), place.pixels, progress, control)
            if result is None:
                return out, False
            layout.write(out, number, frame.restore(result), place.box)
        yield progress.event(frame=number)
    return out, True
