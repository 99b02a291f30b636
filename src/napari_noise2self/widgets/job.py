"""The worker thread around the engine's generator."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari import current_viewer
from napari.qt.threading import GeneratorWorker, create_worker
from psygnal import Signal

from napari_noise2self.engine.errors import (
    DeviceError,
    EngineError,
    Noise2SelfError,
    OutOfMemoryError,
)
from napari_noise2self.engine.events import INTERVAL, PredictionEvent
from napari_noise2self.stacks.growing import Growing
from napari_noise2self.stacks.suits import remember

if TYPE_CHECKING:
    import napari

    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.events import Control, Event
    from napari_noise2self.engine.pipeline import Result
    from napari_noise2self.stacks.stack import Stack

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Destination:
    """A file for a result that does not fit into memory.

    Attributes
    ----------
    path : Path
    overwrite : bool
        Whether what is there may be replaced.
    source : Path or None
        The file that the source was read from.
    """

    path: Path
    overwrite: bool
    source: Path | None


@dataclass(frozen=True)
class Request:
    """What to denoise and how.

    Attributes
    ----------
    stack : Stack
        Its data can be indexed like a NumPy array.
    config : TrainingConfig
    target : array, optional
        What to learn from, of the shape of the stack.
    destination : Destination, optional
        None where the result goes into memory.
    region : dict of str to slice, optional
        What is learned from; None is all.
    """

    stack: Stack
    config: TrainingConfig
    target: Any = None
    destination: Destination | None = None
    region: dict[str, slice] | None = None


class _Reins:
    """How the main thread steers a run; holds none of its memory."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.abandoned = threading.Event()

    def abandon(self) -> None:
        self.abandoned.set()
        self.control.stop()


Canvas = np.ndarray[Any, np.dtype[np.float32]] | Growing


@dataclass
class _Canvas:
    """Where the engine writes; filled in the worker, because gigabytes take a second."""

    out: Canvas | None = None


def denoise_layer(
    request: Request, reins: _Reins, canvas: _Canvas
) -> Generator[Event, None, Result | None]:
    """Run the engine; called in the worker thread.

    A generator worker swallows a `RuntimeError`, so none may leave.
    """
    try:
        return (yield from _guarded(request, reins, canvas))
    except Noise2SelfError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            "There is not enough memory: crop the layer, or close other programs."
        ) from error
    except RuntimeError as error:
        raise EngineError(f"PyTorch failed: {error}") from error


def _guarded(
    request: Request, reins: _Reins, canvas: _Canvas
) -> Generator[Event, None, Result | None]:
    pipeline = load_engine("pipeline")
    if reins.abandoned.is_set():
        return None
    if request.destination is None:
        canvas.out = np.full(request.stack.shape, np.nan, np.float32)
        events = pipeline.denoise_events(
            request.stack.data,
            axes=request.stack.axes,
            config=request.config,
            target=request.target,
            region=request.region,
            control=reins.control,
            out=canvas.out,
        )
    else:
        events = _into_file(request, request.destination, reins.control, canvas)
    last = -math.inf
    with contextlib.closing(events):
        while not reins.abandoned.is_set():
            try:
                event = next(events)
            except StopIteration as end:
                result: Result | None = end.value
                if result is not None:
                    remember(result.denoiser, [request.stack])
                return result
            if isinstance(event, PredictionEvent):
                # Small frames can be done faster than a window can show them.
                if time.monotonic() - last < INTERVAL:
                    continue
                last = time.monotonic()
            yield event
    return None


def _into_file(
    request: Request, to: Destination, control: Control, canvas: _Canvas
) -> Generator[Any, None, Result | None]:
    """The same, region by region into a file; the result can be looked at all the time."""
    from napari_noise2self.engine.pipeline import Result
    from napari_noise2self.stacks.denoise_file import streamed_events

    config = request.config
    canvas.out = growing = Growing(
        request.stack, to.path, layout=config.layout(request.stack.shape, request.stack.axes)
    )
    events = streamed_events(
        request.stack,
        to.path,
        config,
        goal=request.target,
        region=request.region,
        out=growing.slate,
        control=control,
        overwrite=to.overwrite,
        source=to.source,
    )
    with contextlib.closing(events):
        made = yield from events
    if made is None:
        return None
    written, info = made.written, dict(made.info)
    if written is not None:
        info |= {"file": str(written.path), "dtype": written.dtype, "clipped": written.clipped}
        if written.complete:
            growing.finish()
    # What is not written was a preview, and no result.
    growing.slate.clear()
    complete = written is not None and written.complete
    return Result(growing, made.denoiser, complete, info, made.error)  # type: ignore[arg-type]


def load_engine(module: str) -> Any:
    """Import a module of the engine that needs PyTorch; called in a worker thread.

    Parameters
    ----------
    module : str
        Its name within the engine, such as "pipeline".

    Raises
    ------
    DeviceError
        If PyTorch cannot be loaded.
    """
    try:
        if sys.platform == "win32" and "torch" not in sys.modules:
            _preload_c10()
        with _patient_threads():
            return importlib.import_module(f"napari_noise2self.engine.{module}")
    except (ImportError, OSError) as error:
        hint = (
            "install the Microsoft Visual C++ Redistributable, or start napari from Python "
            "after 'import torch'"
            if sys.platform == "win32"
            else "install it again with 'pip install --force-reinstall torch'"
        )
        raise DeviceError(f"PyTorch cannot be loaded ({error}): {hint}.") from error


@contextlib.contextmanager
def _patient_threads() -> Iterator[None]:
    """Let PyTorch's threads sleep while they wait for each other.

    By default they spin, which is faster on idle processors only.  Here they
    share them with a window: where that takes one of two, spinning makes
    training several times slower.  The choice is read once, when PyTorch's
    OpenMP is loaded, and a user's own choice stands.
    """
    name = "OMP_WAIT_POLICY"
    if name in os.environ:
        yield
        return
    os.environ[name] = "PASSIVE"
    try:
        yield
    finally:
        del os.environ[name]


def _preload_c10() -> None:
    # On Windows PyTorch >= 2.9 finds the wrong runtime once Qt is loaded,
    # unless this library comes first (pytorch/pytorch#166628).
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return
    library = Path(spec.origin).parent / "lib" / "c10.dll"
    if library.exists():
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(library))


class _Worker(GeneratorWorker):  # type: ignore[misc]
    """A worker whose `quit` lets the generator end by itself.

    The `quit` it inherits leaves a suspended generator behind, and with it
    the network and the memory on the device.
    """

    def __init__(self, func: Any, request: Request, reins: _Reins, canvas: _Canvas) -> None:
        super().__init__(func, request, reins, canvas)
        # napari keeps workers that have ended: hold nothing large here.
        self._reins = reins

    def quit(self) -> None:
        """End the work as soon as possible."""
        self._reins.abandon()


class Job:
    """One run in a worker thread, heard and steered from the main thread.

    Parameters
    ----------
    request : Request
    control : Control

    Attributes
    ----------
    reported : Signal(Event)
    finished : Signal(Result or None)
    failed : Signal(Exception)
        Either `finished` or `failed` is emitted once, unless the job is abandoned.
    """

    reported = Signal(object)
    finished = Signal(object)
    failed = Signal(Exception)

    def __init__(self, request: Request, control: Control) -> None:
        self.control = control
        self._request = request
        self._reins = _Reins(control)
        self._canvas = _Canvas()

    @property
    def out(self) -> Canvas | None:
        """What the engine writes into; None before its first event."""
        return self._canvas.out

    def start(self, viewer: napari.Viewer) -> None:
        """Start the worker; once per job."""
        connect = {
            "yielded": self._on_yielded,
            "returned": self._on_returned,
            "errored": self._on_errored,
            "warned": self._on_warned,
        }
        work = (denoise_layer, self._request, self._reins, self._canvas)
        if current_viewer() is viewer:
            create_worker(*work, _worker_class=_Worker, _connect=connect)
            return
        # `create_worker` ties the worker to the viewer that has the focus,
        # and another viewer must not end this work when it closes.
        worker = _Worker(*work)
        for name, slot in connect.items():
            getattr(worker, name).connect(slot)
        worker.start()

    def abandon(self) -> None:
        """End the work as soon as possible, free its memory and say nothing more."""
        for signal in (self.reported, self.finished, self.failed):
            signal.disconnect()
        self._reins.abandon()

    def _on_yielded(self, event: Event) -> None:
        self.reported.emit(event)

    def _on_returned(self, result: Result | None) -> None:
        self.finished.emit(result)

    def _on_errored(self, error: Exception) -> None:
        self.failed.emit(error)

    def _on_warned(self, warning: tuple[Any, ...]) -> None:
        # (message, category, filename, line, ...): of use to developers only.
        logger.warning("%s: %s", warning[1].__name__, warning[0])
