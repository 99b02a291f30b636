"""The calibration curve: loss against the parameter of a filter, as it is found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyqtgraph as pg

from napari_noise2self.widgets.figure import BLUE, ORANGE, Figure, ValueAxis

if TYPE_CHECKING:
    from napari_noise2self.widgets.compare_curves import CurveData
    from napari_noise2self.widgets.theme import Colours

# Also of Okabe and Ito's colours.
_GREEN = {True: "#2fc79c", False: "#00795a"}
# Above this ratio between the ends the parameter has a logarithmic axis.
_LOG_RATIO = 5.0
# Losses above so many times the smallest one would flatten what matters.
_HIGHEST = 2.5
# The legend lies above the curves.
_HEADROOM = 1.7


class CurveFigure(Figure):
    """The donut curve of one filter."""

    def __init__(self) -> None:
        super().__init__(
            "Calibration curve",
            "calibration",
            "Each point is one setting of the filter. The J-invariant filter does not see the "
            "pixels that it is compared with, so its loss has its minimum where the true error "
            "has it, higher by the variance of the noise (dashed). The loss of the plain filter "
            "is the smaller the less it denoises, and says nothing.",
            250,
        )
        self.plot.setAxisItems({"bottom": ValueAxis("bottom")})
        self.item = self.plot.getPlotItem()
        self.item.getAxis("bottom").enableAutoSIPrefix(False)
        self.item.addLegend(offset=(4, 2), colCount=2, verSpacing=-8)
        self._blind = self.item.plot(name="J-invariant", symbol="o", symbolSize=7)
        self._plain = self.item.plot(name="plain (misleading)", symbol="t", symbolSize=8)
        self._true = self.item.plot(name="true error", symbol="s", symbolSize=7)
        self._noise = self.item.plot(name="noise variance")
        self._best = self.item.plot(name="minimum", pen=None, symbol="star", symbolSize=17)
        self._data: CurveData | None = None
        self._text = ""

    def show_curve(self, data: CurveData | None) -> None:
        """Draw a curve, as far as it is known."""
        self._data = data
        if data is None:
            for curve in (self._blind, self._plain, self._true, self._noise, self._best):
                curve.setData([], [])
            return
        points = data.through
        x = [float(p.parameters[data.parameter]) for p in points]
        log = min(x) > 0 and max(x) > _LOG_RATIO * min(x)
        self.item.setLogMode(x=log)
        self._blind.setData(x, [p.loss for p in points])
        self._plain.setData(*_known(x, [p.plain_loss for p in points]))
        self._true.setData(*_known(x, [p.mse for p in points]))
        best = data.best
        self._best.setData([float(best.parameters[data.parameter])], [best.loss])
        gap = data.noise_variance
        self._noise.setData(
            [] if gap is None else [min(x), max(x)], [] if gap is None else [gap] * 2
        )
        self._name_what_is_drawn()
        seen = [v for p in points for v in (p.loss, p.plain_loss, p.mse, gap) if v is not None]
        top = min(max(seen), _HIGHEST * best.loss)
        self.item.setYRange(0, _HEADROOM * top, padding=0)
        low, high = (math.log10(v) if log else v for v in (min(x), max(x)))
        margin = 0.05 * (high - low) or 0.1
        self.item.setXRange(low - margin, high + margin, padding=0)
        self._label()

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self._text = colours.text
        self._label()
        super().show_colours(colours)
        dark = colours.dark
        for curve, colour in (
            (self._blind, BLUE[dark]),
            (self._plain, ORANGE[dark]),
            (self._true, _GREEN[dark]),
        ):
            curve.setPen(pg.mkPen(colour, width=2))
            curve.setSymbolBrush(colour)
            curve.setSymbolPen(None)
        self._noise.setPen(pg.mkPen(colours.text, width=1.5, style=pg.QtCore.Qt.PenStyle.DashLine))
        self._best.setSymbolBrush(None)
        self._best.setSymbolPen(pg.mkPen(colours.text, width=1.5))

    def table(self) -> dict[str, Sequence[Any]]:
        """One row per setting that was evaluated."""
        data = self._data
        points = () if data is None else data.points
        columns: dict[str, Sequence[Any]] = {"filter": [p.filter for p in points]}
        for name in points[0].parameters if points else ():
            columns[name] = [p.parameters[name] for p in points]
        unit = "(squared grey values)"
        return columns | {
            f"J-invariant loss {unit}": [p.loss for p in points],
            f"standard error {unit}": [p.error for p in points],
            f"plain loss {unit}": ["" if p.plain_loss is None else p.plain_loss for p in points],
            f"true error {unit}": ["" if p.mse is None else p.mse for p in points],
            f"noise variance {unit}": [
                "" if data is None or data.noise_variance is None else data.noise_variance
                for _ in points
            ],
        }

    def _name_what_is_drawn(self) -> None:
        """No truth, no noise: no entry in the legend."""
        legend = self.item.legend
        curves = (self._blind, self._plain, self._true, self._noise, self._best)
        xs = [curve.getOriginalDataset()[0] for curve in curves]
        drawn = [c for c, x in zip(curves, xs, strict=True) if x is not None and len(x)]
        if [sample.item for sample, _ in legend.items] != drawn:
            legend.clear()
            for curve in drawn:
                legend.addItem(curve, curve.name())

    def _label(self) -> None:
        label = "parameter" if self._data is None else self._data.label
        self.item.setLabel("bottom", label, color=self._text)
        self.item.setLabel("left", "loss (squared grey values)", color=self._text)
        # A label of another length keeps its place otherwise.
        self.item.getAxis("bottom").resizeEvent()


def _known(x: Sequence[float], y: Sequence[float | None]) -> tuple[list[float], list[float]]:
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    return [a for a, _ in pairs], [b for _, b in pairs]
