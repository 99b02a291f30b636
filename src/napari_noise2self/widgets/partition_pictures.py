"""Close-ups of what is in view: subsets, masked input, targets and the donut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QImage, QPainter, QPaintEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_noise2self.engine.inspection import Donut
from napari_noise2self.engine.palette import distinct_colours
from napari_noise2self.widgets.partition_layers import SHADE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_noise2self.widgets.partition_shown import Shown

# Pixels across a close-up: three periods of a narrow grid, fewer of a wide one.
_FEWEST, _MOST = 15, 48
# How much of a subset's colour lies over the image.
_TINT = 0.6
_EMPTY = 110.0
# Weights are written where a pixel is at least so wide on the screen.
_ROOM_FOR_TEXT = 20

_TITLES = {
    "subsets": ("Subsets", "Every subset of J has a colour of its own."),
    "masked": (
        "Masked input",
        "What the network is shown: the image, with each hidden pixel replaced by the mean of "
        "the visible ones around it.",
    ),
    "targets": (
        "Targets",
        "The pixels that are predicted in this step, in the colour of their subset; its darker "
        "shade is what is hidden around them.",
    ),
    "donut": (
        "Donut",
        "What one target is replaced with: the weights of the pixels around it. The target and "
        "what is hidden have none.",
    ),
}


class PixelView(QWidget):
    """A few pixels, drawn large and sharp, some with a text."""

    def __init__(self) -> None:
        super().__init__()
        self._image = QImage()
        self._texts: dict[tuple[int, int], str] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802
        """A square that fits twice beside each other into a dock."""
        return QSize(120, 120)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Never smaller than its size."""
        return self.sizeHint()

    def show_pixels(
        self, pixels: NDArray[Any], texts: dict[tuple[int, int], str] | None = None
    ) -> None:
        """Draw an array of colours, shape (rows, columns, 3), 0 to 255."""
        drawn = np.ascontiguousarray(np.clip(pixels, 0, 255).astype(np.uint8))
        height, width = drawn.shape[:2]
        shared = QImage(drawn.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        self._image = shared.copy()  # the bytes go, the picture stays
        self._texts = texts or {}
        self.update()

    def clear(self) -> None:
        """Draw nothing."""
        self._image, self._texts = QImage(), {}
        self.update()

    @property
    def image(self) -> QImage:
        """What is drawn, one pixel for each of the data."""
        return self._image

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Scale without smoothing, as squares, in the middle."""
        if self._image.isNull():
            return
        rows, columns = self._image.height(), self._image.width()
        size = min(self.width() / columns, self.height() / rows)
        left = (self.width() - size * columns) / 2
        top = (self.height() - size * rows) / 2
        painter = QPainter(self)
        painter.drawImage(QRectF(left, top, size * columns, size * rows), self._image)
        if size >= _ROOM_FOR_TEXT:
            font = QFont(painter.font())
            font.setPixelSize(max(int(size * 0.36), 8))
            painter.setFont(font)
            for (row, column), text in self._texts.items():
                bright = self._image.pixelColor(column, row).lightness() > 120
                painter.setPen(QColor("black" if bright else "white"))
                place = QRectF(left + column * size, top + row * size, size, size)
                painter.drawText(place, Qt.AlignmentFlag.AlignCenter, text)
        painter.end()


class Pictures(QWidget):
    """Four close-ups of the middle of what is in view."""

    def __init__(self) -> None:
        super().__init__()
        self.views: dict[str, PixelView] = {}
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for number, (name, (title, tip)) in enumerate(_TITLES.items()):
            view = PixelView()
            view.setObjectName(f"{name} picture")
            view.setAccessibleName(title)
            view.setAccessibleDescription(tip)
            caption = QLabel(title)
            caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
            for widget in (view, caption):
                widget.setToolTip(f"<qt>{tip}</qt>")
            cell = QVBoxLayout()
            cell.setSpacing(2)
            cell.addWidget(view)
            cell.addWidget(caption)
            layout.addLayout(cell, *divmod(number, 2))
            self.views[name] = view

    def show_shown(self, shown: Shown | None) -> None:
        """Draw what is known."""
        if shown is None:
            for view in self.views.values():
                view.clear()
            return
        scene = shown.scene
        labels = scene.on_screen(shown.labels)
        part = _middle(labels.shape, shown)
        labels = labels[part]
        hidden = scene.on_screen(shown.hidden)[part]
        targets = labels == shown.subset
        grey = np.full((*labels.shape, 3), _EMPTY)
        values = (
            grey if shown.values is None else _drawn(scene.on_screen(shown.values)[part], shown)
        )
        colours = distinct_colours(shown.figures.subsets).astype(float)
        own = colours[shown.subset]

        tinted = (1 - _TINT) * values + _TINT * colours[labels]
        self.views["subsets"].show_pixels(tinted)
        marked = np.where(hidden[..., None], SHADE * own, values)
        self.views["targets"].show_pixels(np.where(targets[..., None], own, marked))
        if shown.masked is None:
            self.views["masked"].clear()
        else:
            self.views["masked"].show_pixels(_drawn(scene.on_screen(shown.masked)[part], shown))
        if shown.donut is None:
            self.views["donut"].clear()
        else:
            self.views["donut"].show_pixels(*_donut(shown.donut, shown, own))


def _middle(shape: tuple[int, ...], shown: Shown) -> tuple[slice, slice]:
    """The middle of the view, a few periods of the partition wide."""
    extents = shown.partition.extents(shown.scene.layout.ndim)
    widths = getattr(shown.partition, "widths", None)
    period = max(widths(shown.scene.layout.ndim) if widths else extents)
    side = min(max(2 * period + 1, 3 * max(extents), _FEWEST), _MOST)
    parts = []
    for size in shape[:2]:
        start = max((size - side) // 2, 0)
        parts.append(slice(start, min(start + side, size)))
    return parts[0], parts[1]


def _drawn(values: NDArray[Any], shown: Shown) -> NDArray[np.float64]:
    """Grey values as colours from 0 to 255, in the contrast of the layer."""
    if values.ndim == 3:
        top = 255 if values.dtype.kind == "f" else 255 / np.iinfo(values.dtype).max
        return np.asarray(values * float(top), float)
    low, high = shown.scene.source.looks["contrast_limits"]
    grey = np.clip((np.nan_to_num(values.astype(float)) - low) / max(high - low, 1e-300), 0, 1)
    grey = 255 * grey ** shown.scene.source.looks["gamma"]
    return np.repeat(grey[..., None], 3, axis=-1)


def _donut(
    ring: Donut, shown: Shown, own: NDArray[np.float64]
) -> tuple[NDArray[np.float64], dict[tuple[int, int], str]]:
    """The plane of the screen through the target: brighter is heavier."""
    letters = shown.scene.layout.spatial_axes
    on_screen = [shown.scene.layout.axes[axis] for axis in shown.scene.screen]
    weights, hidden = ring.weights, ring.hidden
    middle = tuple(n // 2 for n in weights.shape)
    index = tuple(
        slice(None) if letter in on_screen else at
        for letter, at in zip(letters, middle, strict=True)
    )
    plane, holes = np.atleast_2d(weights[index]), np.atleast_2d(hidden[index])
    shown_axes = [letter for letter in letters if letter in on_screen]
    if len(shown_axes) == 2 and shown_axes != on_screen:
        plane, holes = plane.T, holes.T
    heaviest = max(float(weights.max()), 1e-300)
    grey = 70 + 185 * plane / heaviest
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    pixels[holes] = SHADE * own
    row, column = (n // 2 for n in plane.shape)
    pixels[row, column] = own
    texts = {(int(r), int(c)): f"1/{round(1 / plane[r, c])}" for r, c in np.argwhere(plane > 0)}
    texts[row, column] = "0"
    return pixels, texts
