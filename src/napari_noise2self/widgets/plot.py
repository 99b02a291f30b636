"""The live plot of training loss and held-out score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pyqtgraph as pg
from qtpy.QtWidgets import QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_noise2self.widgets.session import Curve

# Okabe and Ito's colours, which colour-blind people can tell apart, in the
# shades that stand out from a dark and from a light background.
_LOSS = {True: "#56b4e9", False: "#0072b2"}
_SCORE = {True: "#e69f00", False: "#d55e00"}
# Above this ratio between the highest and lowest value the axis is logarithmic.
_LOG_RATIO = 10.0


class _ValueAxis(pg.AxisItem):  # type: ignore[misc]
    """An axis that writes plain numbers, and few of them, also when it is logarithmic."""

    def logTickValues(  # noqa: N802
        self, low: float, high: float, size: float, ticks: Any
    ) -> list[tuple[float | None, list[float]]]:
        decades = range(math.floor(low), math.ceil(high) + 1)
        between = [d + math.log10(m) for d in decades for m in (2, 5)]
        levels = [(1.0, [float(d) for d in decades]), (None, between)]
        return [(step, [v for v in level if low <= v <= high]) for step, level in levels]

    def logTickStrings(self, values: Any, scale: float, spacing: float) -> list[str]:  # noqa: N802
        return [f"{10**value * scale:.3g}" for value in values]


class LossPlot(QWidget):
    """Training loss as a line, held-out score as points, by epoch."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Loss and score during training")
        self.setToolTip(
            "<qt>The line is the loss on the hidden pixels that are learned from. The points are "
            "the self-supervised score: the same loss on pixels that are never learned from. "
            "Both contain the noise itself, so they level off above zero.</qt>"
        )
        self._axis = _ValueAxis("left")
        self._plot = pg.PlotWidget(axisItems={"left": self._axis})
        item = self._plot.getPlotItem()
        item.setMenuEnabled(False)
        item.setMouseEnabled(False, False)
        item.hideButtons()
        item.layout.setContentsMargins(0, 2, 4, 6)
        for side in ("left", "bottom"):
            item.getAxis(side).enableAutoSIPrefix(False)
        self._legend = item.addLegend(offset=(-8, 8))
        self._loss = item.plot(name="training loss")
        self._score = item.plot(name="held-out score", pen=None, symbol="o", symbolSize=7)
        self.setFixedHeight(190)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)

    def show_curves(self, loss: Curve, score: Curve) -> None:
        """Draw both curves."""
        values = [value for value in loss.y + score.y if value > 0]
        log = bool(values) and max(values) > _LOG_RATIO * min(values)
        self._plot.getPlotItem().setLogMode(y=log)
        self._loss.setData(loss.x, loss.y)
        self._score.setData(score.x, score.y)

    def show_theme(self, background: str, text: str, *, dark: bool) -> None:
        """Use the colours of the viewer."""
        self._plot.setBackground(background)
        item = self._plot.getPlotItem()
        item.setLabel("left", "squared grey values", color=text)
        item.setLabel("bottom", "epoch", color=text)
        for side in ("left", "bottom"):
            item.getAxis(side).setPen(text)
            item.getAxis(side).setTextPen(text)
        self._legend.setLabelTextColor(text)
        for curve, label in zip((self._loss, self._score), self._legend.items, strict=True):
            label[1].setText(curve.name(), color=text)
        self._loss.setPen(pg.mkPen(_LOSS[dark], width=2))
        self._score.setSymbolBrush(_SCORE[dark])
        self._score.setSymbolPen(None)
