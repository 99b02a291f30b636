"""What the demo and the pictures of the README share: a screen, a window, a click on Train."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import napari
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_noise2self.stacks.stack import Stack
    from napari_noise2self.widgets.denoise import DenoiseWidget

SIZE = (1280, 800)


def has_display() -> bool:
    """Whether there is a screen for a window."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def virtual_screen() -> Iterator[None]:
    """A screen in memory, for a window that nobody sees."""
    read, write = os.pipe()
    size = f"{SIZE[0]}x{SIZE[1]}x24"
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", size, "-nolisten", "tcp"]
    try:
        screen = subprocess.Popen(
            command, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        sys.exit("There is no display and no virtual one: install Xvfb (on Debian: xvfb).")
    finally:
        os.close(write)
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        if not number:
            sys.exit("The virtual screen did not start.")
        os.environ["DISPLAY"] = f":{number}"
        os.environ["QT_QPA_PLATFORM"] = "xcb"
        yield
    finally:
        screen.terminate()
        screen.wait()


def open_window(stack: Stack, *, hidden: bool) -> tuple[napari.Viewer, DenoiseWidget]:
    """Open a stack in napari and dock *Denoise* beside it.

    Parameters
    ----------
    stack : Stack
    hidden : bool
        Nobody looks: leave the user's preferences of napari alone.
    """
    if hidden:
        os.environ["NAPARI_CONFIG"] = ""
    import napari

    from napari_noise2self.widgets.layers import layer_data

    viewer = napari.Viewer(title="napari-noise2self")
    if hidden:
        viewer.window.resize(*SIZE)
    data, looks, _ = layer_data(stack)
    viewer.add_image(data, **looks)
    _, dock = viewer.window.add_plugin_dock_widget("napari-noise2self", "Denoise")
    return viewer, dock


def click_train(dock: DenoiseWidget) -> None:
    """Click the button as a person would."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    QTest.mouseClick(dock.train_button, Qt.MouseButton.LeftButton)


def when_over(dock: DenoiseWidget, call: Callable[[], Any]) -> None:
    """Call once the run has ended, from the event loop."""
    from qtpy.QtCore import QTimer

    session = dock.session

    def listen() -> None:
        if not session.state.running:
            session.events.state.disconnect(listen)
            QTimer.singleShot(0, call)

    session.events.state.connect(listen)


def settle(seconds: float = 2.0) -> None:
    """Let napari draw: its canvas and its pictures of layers come late."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def photograph(viewer: napari.Viewer, path: Path) -> None:
    """Save a picture of the whole window, when it has drawn itself."""
    from PIL import Image

    settle()
    picture = viewer.screenshot(canvas_only=False, flash=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # All colours: fewer would take those of the thin lines, or steps into the greys.
    Image.fromarray(picture[..., :3]).save(path, optimize=True)


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    """Let napari work until something is so."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        settle(0.05)


def in_view(viewer: napari.Viewer, layer: Image) -> NDArray[Any]:
    """The slice of a layer that the viewer shows."""
    shown = viewer.dims.displayed
    steps = viewer.dims.current_step
    index = tuple(slice(None) if axis in shown else steps[axis] for axis in range(layer.ndim))
    return np.asarray(layer.data[index])


def save_side_by_side(path: Path, pictures: dict[str, NDArray[Any]]) -> None:
    """Write pictures of one size next to each other, in the contrast of the last one."""
    from qtpy.QtCore import QRect, Qt
    from qtpy.QtGui import QColor, QFont, QImage, QPainter

    last = list(pictures.values())[-1]
    low, high = np.nanpercentile(last, (0.2, 99.9))
    height, width = last.shape[:2]
    gap, strip = 8, max(height // 16, 18)
    canvas = QImage(
        len(pictures) * (width + gap) - gap, height + strip, QImage.Format.Format_RGB888
    )
    canvas.fill(QColor("black"))
    painter = QPainter(canvas)
    font = QFont()
    font.setPixelSize(int(strip * 0.65))
    painter.setFont(font)
    painter.setPen(QColor("white"))
    for number, (title, picture) in enumerate(pictures.items()):
        left = number * (width + gap)
        grey = (np.nan_to_num(picture) - low) / max(high - low, 1e-9)
        pixels = (grey.clip(0, 1) * 255).astype(np.uint8)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        pixels = np.ascontiguousarray(pixels[..., :3])
        image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        painter.drawImage(left, strip, image)
        place = QRect(left, 0, width, strip)
        painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), title)
    painter.end()
    canvas.save(str(path))
