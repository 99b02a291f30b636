"""What *Compare denoisers* does in a worker thread: compare, and denoise the whole layer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import PredictionEvent
from napari_noise2self.engine.layout import Layout
from napari_noise2self.widgets.job import load_engine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_noise2self.engine.comparison import Comparison, ComparisonEvent
    from napari_noise2self.engine.events import Control, Notice
    from napari_noise2self.engine.inspection import Window


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes
    ----------
    data : array
        Of the layer; anything that can be indexed.
    axes : str
    window : tuple of slice
        The part of it to compare on.
    truth : array or None
        Of the same shape.
    denoisers : tuple of str or Path
    volume : bool
    epochs : float or None
    device : str
    seed : int
    truth_name : str or None
    """

    data: Any
    axes: str
    window: Window
    truth: Any
    denoisers: tuple[str | Path, ...]
    volume: bool
    epochs: float | None
    device: str
    seed: int
    truth_name: str | None

    def to_json(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return {
            "denoisers": [str(name) for name in self.denoisers],
            "volume": self.volume,
            "epochs": self.epochs,
            "device": self.device,
            "seed": self.seed,
            "truth": self.truth_name,
        }


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


def comparison(
    request: Request, control: Control, dropped: Callable[[], bool]
) -> Generator[Notice | ComparisonEvent | Comparison, None, None]:
    """Compare denoisers; what is yielded last is the whole result."""
    engine = load_engine("comparison")
    if dropped():
        return  # while PyTorch was loaded
    image = np.asarray(request.data[request.window])
    truth = None if request.truth is None else np.asarray(request.truth[request.window])
    events = engine.compare_events(
        image,
        request.denoisers,
        axes=request.axes,
        volume=request.volume,
        truth=truth,
        epochs=request.epochs,
        device=request.device,
        seed=request.seed,
        plain=True,
        control=control,
    )
    with contextlib.closing(events):
        yield (yield from events)


def application(
    denoiser: Any,
    data: Any,
    axes: str,
    volume: bool,
    control: Control,
    dropped: Callable[[], bool],
) -> Generator[Applied, None, None]:
    """Denoise all frames with a calibrated filter or a trained model.

    Parameters
    ----------
    denoiser : CalibratedFilter or Denoiser
    data : array
        Anything that can be indexed.
    axes : str
    volume : bool
        Whether the denoiser takes Z as a spatial axis.
    control : Control
        `stop` leaves the frames that are not done as NaN.
    dropped : callable
        Whether nobody listens any more.

    Yields
    ------
    applied : Applied
    """
    began = time.monotonic()
    layout = Layout.of(data.shape, axes, volume)
    out = np.full(layout.shape, np.nan, np.float32)
    events = (
        denoiser.predict_events(data, axes, control=control, out=out)
        if hasattr(denoiser, "predict_events")
        else _filtered(denoiser, data, layout, control, out)
    )
    done = 0
    with contextlib.closing(events):
        for event in events:
            if isinstance(event, PredictionEvent):
                done += event.frame is not None
                yield Applied(out, event, False, time.monotonic() - began)
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
