"""Real napari windows on a virtual screen, and an engine that does what a test says."""

from __future__ import annotations

import os

# Before napari reads it: the preferences of whoever runs the tests stay untouched.
os.environ["NAPARI_CONFIG"] = ""

import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from napari.qt.threading import GeneratorWorker
from napari.utils import progress
from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtWidgets import QPushButton, QWidget

from napari_noise2self.engine import pipeline, streaming
from napari_noise2self.engine.events import PredictionEvent, TrainingEvent
from napari_noise2self.stacks import writing_zarr
from napari_noise2self.stacks.store import PartialStore
from napari_noise2self.widgets import activity
from napari_noise2self.widgets.denoise import DenoiseWidget
from napari_noise2self.widgets.session import Session, State

TIMEOUT = 20_000  # milliseconds


@pytest.fixture(autouse=True)
def no_thread_left(qtbot: Any) -> Iterator[None]:
    """Fail when a test leaves a worker behind, however it ended."""
    yield
    pool = QThreadPool.globalInstance()
    qtbot.waitUntil(lambda: pool.activeThreadCount() == 0, timeout=TIMEOUT)
    qtbot.waitUntil(lambda: not GeneratorWorker._worker_set, timeout=TIMEOUT)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Leave a core to the window: threads that wait for each other crawl on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def notifications() -> Iterator[list[Notification]]:
    """What the user was told."""
    told: list[Notification] = []
    notification_manager.notification_ready.connect(told.append)
    yield told
    notification_manager.notification_ready.disconnect(told.append)


@pytest.fixture
def viewer(make_napari_viewer: Any, no_thread_left: None) -> Any:
    """A napari window."""
    return make_napari_viewer(show=True)


def noisy(shape: tuple[int, ...] = (64, 64), seed: int = 0) -> np.ndarray[Any, Any]:
    """A smooth image under noise, 16 bit."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    clean = 300 + 100 * np.sin(y / 9.0) * np.cos(x / 7.0)
    return (clean + rng.normal(0, 30, shape)).round().astype(np.uint16)


def open_dock(viewer: Any) -> DenoiseWidget:
    """Open the dock the way the menu does."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-noise2self", "Denoise")
    return widget


@pytest.fixture
def dock(viewer: Any) -> DenoiseWidget:
    """The dock of a window with one noisy layer, set to learn briefly."""
    viewer.add_image(noisy(), name="cells")
    widget = open_dock(viewer)
    widget.settings.controls["epochs"].setValue(2)
    return widget


@pytest.fixture
def click(qtbot: Any) -> Callable[[DenoiseWidget, str], None]:
    """Click the button with this name as a person would: only if it can be clicked."""

    def press(widget: QWidget, name: str) -> None:
        button = widget.findChild(QPushButton, name)
        assert button.isEnabled(), f"{name} is greyed out"
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    return press


@pytest.fixture
def wait_for(qtbot: Any) -> Callable[..., None]:
    """Wait until a dock's session is in one of some states."""

    def wait(widget: DenoiseWidget, *states: State) -> None:
        session = session_of(widget)
        qtbot.waitUntil(
            lambda: session.state in states or not session.state.running, timeout=TIMEOUT
        )
        assert session.state in states, session.message

    return wait


def session_of(widget: DenoiseWidget) -> Session:
    """The session that a dock shows."""
    return widget.session


class FakeDenoiser:
    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}

    def save(self, path: Any) -> None:
        path.write_text("model")


class Engine:
    """Stands in for the engine; a test scripts it and watches it.

    Attributes
    ----------
    script : callable
        Generator function of this engine and the arguments of `denoise_events`.
    go : threading.Event
        What `train_until_told` waits for.
    closed : threading.Event
        Set when the generator has ended, for whatever reason.
    """

    def __init__(self) -> None:
        self.script: Callable[..., Generator[Any, None, Any]] = train_until_told
        self.go = threading.Event()
        self.closed = threading.Event()
        self.arguments: dict[str, Any] = {}
        self.out: Callable[[], Any] = lambda: None

    def denoise_events(self, image: Any, **arguments: Any) -> Generator[Any, None, Any]:
        self.closed.clear()
        self.out = weakref.ref(arguments["out"])
        self.arguments = {k: v for k, v in arguments.items() if k != "out"}
        try:
            return (yield from self.script(self, image, **arguments))
        finally:
            self.closed.set()


def training(step: int, frame: int | None = None, score: float | None = None) -> TrainingEvent:
    return TrainingEvent(step, 10, step / 10, 1.0, 100.0, score, 1.0, 1.0, frame, "cpu")


def train_until_told(
    engine: Engine,
    image: Any,
    *,
    axes: str,
    config: Any,
    control: Any,
    out: Any,
    target: Any,
    region: Any,
) -> Generator[Any, None, Any]:
    """Train until stopped or told to go on, then predict frame by frame."""
    layout = config.layout(image.shape, axes)
    step = 0
    while not control.stopped and not engine.go.is_set():
        step = min(step + 1, 10)
        frame = control.preview_frame
        if frame is not None:
            out[layout.index(frame)] = 1
        yield training(step, frame, score=90.0)
        engine.go.wait(0.05)
    control.renew()
    for frame in range(layout.frames):
        out[layout.index(frame)] = 2
        yield PredictionEvent((frame + 1) / layout.frames, 1.0, 1.0, frame)
    return result_of(out)


def result_of(out: Any, *, complete: bool = True) -> Any:
    info = {"score": 90.0, "seconds": 3.2, "output": "single-pass"}
    return pipeline.Result(out, FakeDenoiser(), complete, info)  # type: ignore[arg-type]


@pytest.fixture
def frame_by_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small frames are denoised and written one by one, as large ones are."""
    monkeypatch.setattr(streaming, "REGION_PIXELS", 64 * 64)
    monkeypatch.setattr(writing_zarr, "_FILE_PIXELS", 64 * 64)


class SlowDisk:
    """Waits after every region that it has written, until it is told to go on.

    Attributes
    ----------
    wrote, go : threading.Event
    """

    def __init__(self) -> None:
        self.wrote, self.go = threading.Event(), threading.Event()
        self._write = PartialStore.write

    def write(self, store: PartialStore, region: Any, values: Any) -> None:
        self._write(store, region, values)
        self.wrote.set()
        self.go.wait(TIMEOUT / 1000)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch, frame_by_frame: None) -> SlowDisk:
    """A disk that a test is faster than."""
    disk = SlowDisk()
    monkeypatch.setattr(
        PartialStore, "write", lambda store, region, values: disk.write(store, region, values)
    )
    return disk


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that does what the test says."""
    fake = Engine()
    monkeypatch.setattr(pipeline, "denoise_events", fake.denoise_events)
    return fake


@pytest.fixture
def activities(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has begun in napari's activity dock."""
    begun: list[str] = []

    class Bar(progress):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            begun.append(settings["desc"])
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(activity, "progress", Bar)
    return begun
