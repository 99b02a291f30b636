"""The house's figure: a plot in the colours of the viewer; it and its numbers can be saved."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyqtgraph as pg
import pyqtgraph.exporters
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QBuffer, QByteArray, QIODevice, QRectF, Qt
from qtpy.QtGui import QAction, QColor, QImage, QPainter  # type: ignore[attr-defined]
from qtpy.QtSvg import QSvgGenerator, QSvgRenderer
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_noise2self.widgets.theme import Colours

# Okabe and Ito's colours, which colour-blind people can tell apart, in the
# shades that stand out from a dark and from a light background.
BLUE = {True: "#56b4e9", False: "#0072b2"}
ORANGE = {True: "#e69f00", False: "#d55e00"}

# Formats that a figure is saved in: their suffixes, and what they are called.
FORMATS = {
    ".png": "Picture (*.png)",
    ".svg": "Drawing (*.svg)",
    ".csv": "Numbers (*.csv)",
}
# Pixels across a saved picture, enough for a slide.
_PICTURE_WIDTH = 1600
_LEAST_WIDTH = 260


class ValueAxis(pg.AxisItem):  # type: ignore[misc]
    """An axis that writes plain numbers, and few of them, also when it is logarithmic."""

    def logTickValues(  # noqa: N802
        self, low: float, high: float, size: float, ticks: Any
    ) -> list[tuple[float | None, list[float]]]:
        """Powers of ten, and twice and five times as much."""
        decades = range(math.floor(low), math.ceil(high) + 1)
        between = [d + math.log10(m) for d in decades for m in (2, 5)]
        levels = [(1.0, [float(d) for d in decades]), (None, between)]
        return [(step, [v for v in level if low <= v <= high]) for step, level in levels]

    def logTickStrings(self, values: Any, scale: float, spacing: float) -> list[str]:  # noqa: N802
        """Numbers, not exponents."""
        return [f"{10**value * scale:.3g}" for value in values]


class Figure(QWidget):
    """A plot under its title, with a button that saves it.

    Subclasses draw into `item`, follow `show_colours`, and give their numbers
    in `table`.

    Parameters
    ----------
    title : str
    name : str
        What files are called by default.
    tip : str
        What can be seen, in plain words.
    height : int
        In pixels.

    Attributes
    ----------
    plot : PlotWidget
    item : PlotItem
    save_button : QToolButton
    """

    def __init__(
        self,
        title: str,
        name: str,
        tip: str,
        height: int,
    ) -> None:
        super().__init__()
        self._name = name
        self.setAccessibleName(title)
        self.setAccessibleDescription(tip)
        self.setToolTip(f"<qt>{tip}</qt>")
        self.plot = pg.PlotWidget(axisItems={"left": ValueAxis("left")})
        self.plot.setFixedHeight(height)
        self.plot.setMinimumWidth(_LEAST_WIDTH)
        self.item = self.plot.getPlotItem()
        self.item.setMenuEnabled(False)
        self.item.setMouseEnabled(False, False)
        self.item.hideButtons()
        self.item.layout.setContentsMargins(0, 8, 6, 6)
        for side in ("left", "bottom"):
            self.item.getAxis(side).enableAutoSIPrefix(False)
        self.save_button = QToolButton()
        self.save_button.setText("Save…")
        # The three dots say enough; an arrow would lie over them.
        self.save_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.save_button.setObjectName(f"save {name}")
        self.save_button.setAccessibleName(f"Save: {title}")
        self.save_button.setToolTip("<qt>Save the plot as PNG or SVG, or its numbers as CSV</qt>")
        self.save_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.save_button.setMenu(self._menu())
        self.plot.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.plot.customContextMenuRequested.connect(
            lambda at: self._menu().popup(self.plot.mapToGlobal(at))
        )
        label = QLabel(title)
        label.setWordWrap(True)
        header = QHBoxLayout()
        header.addWidget(label, 1)
        header.addWidget(self.save_button)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addLayout(header)
        rows.addWidget(self.plot)

    def table(self) -> dict[str, Sequence[Any]]:
        """The numbers that are drawn: columns by their titles, which name the units."""
        raise NotImplementedError

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self.plot.setBackground(colours.background)
        for side in ("left", "bottom"):
            axis = self.item.getAxis(side)
            axis.setPen(colours.text)
            axis.setTextPen(colours.text)
        legend = self.item.legend
        if legend is not None:
            legend.setLabelTextColor(colours.text)
            background = QColor(colours.background)
            background.setAlpha(200)
            legend.setBrush(pg.mkBrush(background))
            for _, label in legend.items:
                label.setText(label.text, color=colours.text)

    def save(self, path: Path) -> None:
        """Write the plot, or its numbers, in the format that the suffix names.

        Parameters
        ----------
        path : Path
            Ends in one of `FORMATS`.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if path.suffix == ".csv":
            columns = self.table()
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))
            return
        drawing = self._drawing()
        if path.suffix == ".svg":
            path.write_bytes(drawing.data())
            return
        # pyqtgraph's exporter of pictures enlarges some parts and not others.
        renderer = QSvgRenderer(drawing)
        size = renderer.defaultSize()
        height = round(_PICTURE_WIDTH * size.height() / max(size.width(), 1))
        image = QImage(_PICTURE_WIDTH, height, QImage.Format.Format_RGB32)
        painter = QPainter(image)
        renderer.render(painter)
        painter.end()
        # Qt itself would not say why a file cannot be written.
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        if not image.save(buffer, "PNG"):
            raise OSError("Qt could not make a picture of it")
        path.write_bytes(buffer.data().data())

    def _drawing(self) -> QByteArray:
        """The plot as SVG, by Qt: pyqtgraph's exporter cannot read what Qt 6 writes."""
        exporter = pg.exporters.ImageExporter(self.item)
        area = exporter.getSourceRect()
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        generator = QSvgGenerator()
        generator.setOutputDevice(buffer)
        generator.setResolution(self.plot.logicalDpiX())
        generator.setSize(area.size().toSize())
        generator.setViewBox(QRectF(0, 0, area.width(), area.height()))
        generator.setTitle(self.accessibleName())
        painter = QPainter(generator)
        options = {"antialias": True, "background": None, "painter": painter}
        try:
            # Symbols as shapes instead of pixels.
            exporter.setExportMode(True, {**options, "resolutionScale": 1})
            painter.fillRect(QRectF(0, 0, area.width(), area.height()), self.plot.backgroundBrush())
            exporter.getScene().render(painter, QRectF(), area)
        finally:
            exporter.setExportMode(False)
            painter.end()
        buffer.close()
        return buffer.data()

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        for suffix, kind in FORMATS.items():
            action = QAction(f"{kind.partition(' ')[0]} ({suffix[1:].upper()})…", menu)
            action.triggered.connect(lambda _=False, suffix=suffix: self._ask_where(suffix))
            menu.addAction(action)
        return menu

    def _ask_where(self, suffix: str) -> None:
        dialog = QFileDialog(self, "Save")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilter(FORMATS[suffix])
        # The suffix is added before the dialog asks whether to overwrite.
        dialog.setDefaultSuffix(suffix[1:])
        dialog.selectFile(f"{self._name}{suffix}")
        dialog.fileSelected.connect(lambda path: self._save_and_tell(Path(path)))
        dialog.open()

    def _save_and_tell(self, path: Path) -> None:
        try:
            self.save(path)
        except OSError as error:
            show_error(f"{path.name} could not be written: {error.strerror or error}.")
        else:
            show_info(f"Saved as {path.name}.")
