"""The live plot of training loss and held-out score."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyqtgraph as pg

from napari_noise2self.widgets.figure import BLUE, ORANGE, Figure
from napari_noise2self.widgets.theme import Colours

if TYPE_CHECKING:
    from napari_noise2self.widgets.session import Curve

# Above this ratio between the highest and lowest value the axis is logarithmic.
_LOG_RATIO = 10.0


class LossPlot(Figure):
    """Training loss as a line, held-out score as points, by epoch."""

    def __init__(self) -> None:
        super().__init__(
            "Loss and score",
            "training",
            "The line is the loss on the pixels that are learned from. The points are the same "
            "loss on pixels that are never learned from. Where those are noisy, both contain the "
            "noise itself, and level off above zero.",
            190,
        )
        self.item.addLegend(offset=(-8, 8))
        self._loss = self.item.plot(name="training loss")
        self._score = self.item.plot(name="held-out score", pen=None, symbol="o", symbolSize=7)

    def show_curves(self, loss: Curve, score: Curve) -> None:
        """Draw both curves."""
        values = [value for value in loss.y + score.y if value > 0]
        log = bool(values) and max(values) > _LOG_RATIO * min(values)
        self.item.setLogMode(y=log)
        self._loss.setData(loss.x, loss.y)
        self._score.setData(score.x, score.y)

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self.item.setLabel("left", "squared grey values", color=colours.text)
        self.item.setLabel("bottom", "epoch", color=colours.text)
        super().show_colours(colours)
        self._loss.setPen(pg.mkPen(BLUE[colours.dark], width=2))
        self._score.setSymbolBrush(ORANGE[colours.dark])
        self._score.setSymbolPen(None)

    def table(self) -> dict[str, Sequence[Any]]:
        """One row per epoch that has a value; columns in squared grey values."""
        loss, score = (curve.getOriginalDataset() for curve in (self._loss, self._score))
        by_epoch: dict[float, list[Any]] = {}
        for column, (x, y) in enumerate((loss, score)):
            for epoch, value in itertools.zip_longest(
                () if x is None else x, () if y is None else y
            ):
                by_epoch.setdefault(float(epoch), ["", ""])[column] = float(value)
        epochs = sorted(by_epoch)
        return {
            "epoch": epochs,
            "training loss (squared grey values)": [by_epoch[e][0] for e in epochs],
            "held-out score (squared grey values)": [by_epoch[e][1] for e in epochs],
        }
