"""The plots of the noise report: photon transfer, autocorrelation, what is left by band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QRectF
from qtpy.QtGui import QTransform

from napari_noise2self.widgets.figure import BLUE, ORANGE, Figure
from napari_noise2self.widgets.theme import Colours

if TYPE_CHECKING:
    from napari_noise2self.engine.noise.map import Autocorrelation
    from napari_noise2self.engine.noise.report import ChannelNoise
    from napari_noise2self.engine.residual.examine import ChannelResidual

_GREY = "#8c8c8c"
# The scale of a map of weak correlation.
_LEAST_SCALE = 0.2
# Above this ratio between the highest and lowest value the axis is logarithmic.
_LOG_RATIO = 10.0


class TransferFigure(Figure):
    """Variance of the noise against the mean grey value, and the line through it."""

    def __init__(self) -> None:
        super().__init__(
            "Photon transfer",
            "photon-transfer",
            "Each point is a group of flat patches of like brightness. Shot noise makes the "
            "variance rise with the mean; the slope is the gain, the height at darkness the "
            "square of the read noise. Points above the line hold structure.",
            190,
        )
        self.item.addLegend(offset=(4, 1), colCount=2)
        self._bars = pg.ErrorBarItem(beam=0)
        self.item.addItem(self._bars)
        self._points = self.item.plot(name="flat patches", pen=None, symbol="o", symbolSize=6)
        self._line = self.item.plot(name="fit")
        self._channel: ChannelNoise | None = None

    def show_channel(self, channel: ChannelNoise | None) -> None:
        """Draw the points and the line of a channel, as far as they are known."""
        self._channel = channel
        points = channel.points if channel is not None else None
        line = channel.line if channel is not None else None
        if points is None or line is None:
            self._points.setData([], [])
            self._line.setData([], [])
            self._bars.setData(x=np.zeros(0), y=np.zeros(0), height=np.zeros(0))
            return
        mean, variance, error = map(np.array, (points.mean, points.variance, points.error))
        self._points.setData(mean, variance)
        self._bars.setData(x=mean, y=variance, top=error, bottom=np.minimum(error, variance))
        x = np.linspace(line.darkest, line.brightest, 50)
        self._line.setData(x, line.unclipped(x))
        # Room for the legend.
        self.item.setYRange(0, float(1.3 * (variance + error).max()), padding=0)
        self.item.enableAutoRange("x")

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self.item.setLabel("left", "variance (grey values²)", color=colours.text)
        self.item.setLabel("bottom", "mean (grey values)", color=colours.text)
        super().show_colours(colours)
        self._points.setSymbolBrush(BLUE[colours.dark])
        self._points.setSymbolPen(None)
        self._bars.setData(pen=pg.mkPen(BLUE[colours.dark]))
        self._line.setPen(pg.mkPen(ORANGE[colours.dark], width=2))

    def table(self) -> dict[str, Sequence[Any]]:
        """The points, and the line at each of them."""
        channel = self._channel
        if channel is None or channel.points is None or channel.line is None:
            mean: Sequence[float] = ()
            variance: Sequence[float] = ()
            error: Sequence[float] = ()
            fit: Sequence[float] = ()
        else:
            mean, variance = channel.points.mean, channel.points.variance
            error, fit = channel.points.error, channel.line.unclipped(mean).tolist()
        return {
            "mean (grey values)": mean,
            "variance (squared grey values)": variance,
            "standard error": error,
            "fit": fit,
        }


class CorrelationFigure(Figure):
    """The autocorrelation at all lags; dots mark those that are significant.

    Parameters
    ----------
    title, name, tip : str
        As in `Figure`.
    """

    def __init__(self, title: str, name: str, tip: str) -> None:
        super().__init__(
            title,
            name,
            f"{tip} Dots mark lags at which the correlation is neither chance nor negligible.",
            220,
        )
        self._image = pg.ImageItem(axisOrder="row-major")
        self.item.addItem(self._image)
        self.item.setAspectLocked(True)
        self.item.invertY(True)
        self._bar = pg.ColorBarItem(values=(-1, 1), width=12, interactive=False, rounding=0.01)
        self._bar.axis.enableAutoSIPrefix(False)
        self._bar.setImageItem(self._image, insert_in=self.item)
        self._dots = pg.ScatterPlotItem(symbol="o", size=5)
        self.item.addItem(self._dots)
        self._map: Autocorrelation | None = None

    def show_map(self, found: Autocorrelation | None) -> None:
        """Draw a map; none where nothing could be measured."""
        known = found is not None and bool(np.isfinite(found.rho).all())
        self._map = found if known else None
        self._image.setVisible(known)
        self._dots.setVisible(known)
        if self._map is None:
            return
        rho, reach = self._map.rho, self._map.reach
        around = np.delete(rho.ravel(), rho.size // 2)
        scale = max(float(np.abs(around).max()), _LEAST_SCALE)
        self._image.setImage(rho, autoLevels=False)
        self._bar.setLevels((-scale, scale))
        side = 2 * reach + 1
        self._image.setTransform(QTransform.fromTranslate(-reach - 0.5, -reach - 0.5))
        y, x = np.nonzero(self._map.significant)
        self._dots.setData(x - reach, y - reach)
        self.item.getViewBox().setRange(
            QRectF(-reach - 0.5, -reach - 0.5, side, side), padding=0.02
        )

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self.item.setLabel("left", "lag along y (pixels)", color=colours.text)
        self.item.setLabel("bottom", "lag along x (pixels)", color=colours.text)
        super().show_colours(colours)
        middle = "#202020" if colours.dark else "#f7f7f7"
        colour_map = pg.ColorMap([0, 0.5, 1], [BLUE[False], middle, ORANGE[True]])
        self._bar.setColorMap(colour_map)
        self._bar.axis.setPen(colours.text)
        self._bar.axis.setTextPen(colours.text)
        self._bar.axis.setLabel("correlation", color=colours.text)
        self._dots.setBrush(pg.mkBrush("white" if colours.dark else "black"))
        self._dots.setPen(pg.mkPen("black" if colours.dark else "white"))

    def table(self) -> dict[str, Sequence[Any]]:
        """One row per lag."""
        rows: list[tuple[Any, ...]] = []
        if self._map is not None:
            reach = self._map.reach
            found = self._map
            rows = [
                (
                    y - reach,
                    x - reach,
                    float(found.rho[y, x]),
                    float(found.error[y, x]),
                    bool(found.significant[y, x]),
                )
                for y, x in np.ndindex(found.rho.shape)
            ]
        titles = (
            "lag along y (pixels)",
            "lag along x (pixels)",
            "correlation",
            "standard error",
            "significant",
        )
        return {title: [row[i] for row in rows] for i, title in enumerate(titles)}


class BandsFigure(Figure):
    """The energy of the residual over that of the noise, by the width of details."""

    def __init__(self) -> None:
        super().__init__(
            "Residual by width of detail",
            "residual-bands",
            "The residual split by the width of details, compared with what the noise has there. "
            "Above 1 where there is detail, the residual contains the image; below 1 where it is "
            "flat, noise stayed in the denoised layer.",
            200,
        )
        self.item.addLegend(offset=(4, 1), colCount=2)
        self._one = pg.InfiniteLine(1, angle=0)
        self.item.addItem(self._one)
        self._bars = [pg.ErrorBarItem(beam=0.08) for _ in range(2)]
        for bar in self._bars:
            self.item.addItem(bar)
        self._flat = self.item.plot(name="flat", symbol="o", symbolSize=7)
        self._detail = self.item.plot(name="most detail", symbol="t", symbolSize=8)
        self._channel: ChannelResidual | None = None

    def show_channel(self, channel: ChannelResidual | None) -> None:
        """Draw the bands of a channel, as far as they are known."""
        from napari_noise2self.engine.residual.bands import BANDS

        self._channel = channel
        # The widest band says more of brightness than of detail.
        count = len(BANDS) - 1
        ticks = [
            (i, name.replace("finer than", "<").removesuffix(" px")) for i, name in enumerate(BANDS)
        ]
        self.item.getAxis("bottom").setTicks([ticks[:count]])
        self.item.setXRange(-0.4, count - 0.6, padding=0)
        if channel is None or not math.isfinite(channel.ratios[0][0]):
            for curve, bar in zip((self._flat, self._detail), self._bars, strict=True):
                curve.setData([], [])
                bar.setData(x=np.zeros(0), y=np.zeros(0), height=np.zeros(0))
            return
        x = np.arange(count)
        ratios, errors = (np.array(v)[[0, -1], :count] for v in (channel.ratios, channel.errors))
        log = bool(ratios.max() > _LOG_RATIO * max(ratios.min(), 1e-3))
        self.item.setLogMode(y=log)
        low = np.maximum(ratios - errors, 0.5 * ratios)
        high = ratios + errors
        if log:
            floor = 1e-2
            shown, low, high = (np.log10(np.maximum(v, floor)) for v in (ratios, low, high))
            self._one.setValue(0)
        else:
            shown = ratios
            self._one.setValue(1)
        for number, (curve, bar) in enumerate(
            zip((self._flat, self._detail), self._bars, strict=True)
        ):
            at = x + (0.06 if number else -0.06)
            curve.setData(at, np.maximum(ratios[number], 1e-2) if log else ratios[number])
            bar.setData(
                x=at,
                y=shown[number],
                top=high[number] - shown[number],
                bottom=shown[number] - low[number],
            )
        top = max(float(high.max()), 0.0 if log else 1.0)
        bottom = min(float(low.min()), 0.0)
        self.item.setYRange(bottom, top + 0.35 * (top - bottom), padding=0.03)

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self.item.setLabel("left", "energy, residual / noise", color=colours.text)
        self.item.setLabel("bottom", "width of detail (pixels)", color=colours.text)
        super().show_colours(colours)
        self._one.setPen(pg.mkPen(_GREY, style=pg.QtCore.Qt.PenStyle.DashLine))
        for palette, curve, bar in zip(
            (BLUE, ORANGE), (self._flat, self._detail), self._bars, strict=True
        ):
            colour = palette[colours.dark]
            curve.setPen(pg.mkPen(colour, width=1.5))
            curve.setSymbolBrush(colour)
            curve.setSymbolPen(None)
            bar.setData(pen=pg.mkPen(colour))

    def table(self) -> dict[str, Sequence[Any]]:
        """One row per place and band."""
        from napari_noise2self.engine.residual.bands import BANDS, GROUPS

        channel = self._channel
        rows = [
            (f"up to {share:.0%} of detail", band, channel.ratios[g][b], channel.errors[g][b])
            for g, share in enumerate(GROUPS if channel is not None else ())
            for b, band in enumerate(BANDS)
            if channel is not None
        ]
        titles = ("place", "width of detail", "energy over that of the noise", "standard error")
        return {title: [row[i] for row in rows] for i, title in enumerate(titles)}
