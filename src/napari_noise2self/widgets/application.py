"""A whole layer denoised in memory with what is there already: a filter or a trained model."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import INTERVAL, PredictionEvent
from napari_noise2self.engine.layout import Layout
from napari_noise2self.widgets.result_layer import ResultLayer
from napari_noise2self.widgets.task import Task

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_noise2self.engine.events import Control
    from napari_noise2self.widgets.layers import Source


class Application:
    """One denoising of a whole layer, which becomes a new layer.

    Parameters
    ----------
    viewer : napari.Viewer
    source : Source
    denoiser : CalibratedFilter or Denoiser
    name : str
        What the denoiser is called.
    info : mapping
        What the result says of how it was made, besides what is known here.
    control : Control
    output : str
        As for `Denoiser.predict`.

    Attributes
    ----------
    progressed : Signal(str, float, float)
        What is done, the share that is done, the seconds left.
    ended : Signal(str, bool)
        What came out, and whether it is complete.
    failed : Signal(Exception)
    """

    progressed = Signal(str, float, float)
    ended = Signal(str, bool)
    failed = Signal(Exception)

    def __init__(
        self,
        viewer: napari.Viewer,
        source: Source,
        denoiser: Any,
        name: str,
        info: Mapping[str, Any],
        control: Control,
        output: str = "auto",
    ) -> None:
        self._source, self._denoiser, self._name = source, denoiser, name
        self._info, self._control, self._output = info, control, output
        shape, axes = source.data.shape, source.axes
        self._layout: Layout = (
            denoiser.config.layout(shape, axes)
            if hasattr(denoiser, "config")
            else Layout.of(shape, axes, denoiser.volume)
        )
        self._target = ResultLayer(viewer, source, self._layout)
        self._task: Task | None = None

    def start(self) -> None:
        """Start the worker."""
        source = self._source
        try:
            source.check_memory()
        except Exception as error:  # whatever it is, the button must not stay dead
            self.failed.emit(error)
            return
        self._task = Task(
            apply_to_all,
            self._denoiser,
            source.data,
            self._layout,
            self._output,
            self._control,
            on_result=self._take,
            on_error=self._fail,
            on_end=self._end,
        )

    def abandon(self) -> None:
        """End the work and take away what is unfinished."""
        self._control.stop()
        if self._task is not None:
            self._task.drop()
        self._target.discard()

    def _take(self, applied: Applied) -> None:
        event = applied.event
        if event is not None:
            if event.frame is not None:
                self._target.show(applied.out, event.frame)
            doing = f"Denoising with {self._name}"
            self.progressed.emit(doing, event.fraction, event.seconds_left)
            return
        resolved = getattr(self._denoiser, "resolved_output", None)
        info = {
            "version": version("napari-noise2self"),
            **self._info,
            "output": "single-pass" if resolved is None else resolved(self._output),
            "axes": self._source.axes,
            "seconds": round(applied.seconds, 3),
            "complete": applied.complete,
        }
        try:
            self._target.complete(applied.out, info)
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        made = f"{self._target.name} was made with {self._name}"
        said = f"{made}." if applied.complete else f"Stopped: {made}, not all of it."
        self.ended.emit(said, applied.complete)

    def _fail(self, error: Exception) -> None:
        self._target.discard()
        self.failed.emit(error)

    def _end(self, task: Task) -> None:
        self._task = None


@dataclass(frozen=True)
class Applied:
    """How far the denoising of a whole layer is.

    Attributes
    ----------
    out : ndarray of float32
        Filled frame by frame.
    event : PredictionEvent or None
    complete : bool
        Whether all frames are done.
    seconds : float
    """

    out: NDArray[np.float32]
    event: PredictionEvent | None
    complete: bool
    seconds: float


def apply_to_all(
    denoiser: Any,
    data: Any,
    layout: Layout,
    output: str,
    control: Control,
    dropped: Callable[[], bool],
) -> Generator[Applied, None, None]:
    """Denoise all frames with a calibrated filter or a trained model; in a worker thread.

    Parameters
    ----------
    denoiser : CalibratedFilter or Denoiser
    data : array
        Anything that can be indexed.
    layout : Layout
        Of the array, as the denoiser reads it.
    output : str
        Of a model.
    control : Control
        `stop` leaves the frames that are not done as NaN.
    dropped : callable
        Whether nobody listens any more.

    Yields
    ------
    applied : Applied
    """
    began = time.monotonic()
    out = np.full(layout.shape, np.nan, np.float32)
    events = (
        denoiser.predict_events(data, layout.axes, output, control=control, out=out)
        if hasattr(denoiser, "predict_events")
        else _filtered(denoiser, data, layout, control, out)
    )
    done, told = 0, -math.inf
    with contextlib.closing(events):
        for event in events:
            if not isinstance(event, PredictionEvent):
                continue
            done += event.frame is not None
            # Small frames can be done faster than a window can show them.
            if time.monotonic() - told >= INTERVAL:
                told = time.monotonic()
                yield Applied(out, event, False, told - began)
    if not done and not dropped():
        raise InputError("Stopped before any frame was denoised.")
    yield Applied(out, None, done >= layout.frames, time.monotonic() - began)


def _filtered(
    denoiser: Any, data: Any, layout: Layout, control: Control, out: NDArray[np.float32]
) -> Generator[PredictionEvent, None, None]:
    """A filter, frame by frame."""
    began = time.monotonic()
    kept = "".join(letter for letter in layout.axes if letter not in layout.frame_axes)
    for frame in range(layout.frames):
        if control.stopped:
            return
        index = layout.index(frame)
        out[index] = denoiser(np.asarray(data[index]), kept)
        spent = time.monotonic() - began
        fraction = (frame + 1) / layout.frames
        yield PredictionEvent(fraction, spent, spent * (1 / fraction - 1), frame)
