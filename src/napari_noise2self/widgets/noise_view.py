"""The parts of the *Noise report* dock: the noise, and what is left in the residual."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QLabel,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_noise2self.widgets.controls import (
    Choice,
    SettingsForm,
    new_button,
    new_form,
    selectable,
)
from napari_noise2self.widgets.noise_inspector import EXAMINING, LOOKING, MEASURING, Inspector
from napari_noise2self.widgets.noise_words import (
    channel_table,
    residual_numbers,
    residual_text,
    suggestion_text,
)
from napari_noise2self.widgets.words import escaped

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_noise2self.widgets.noise_figures import (
        BandsFigure,
        CorrelationFigure,
        TransferFigure,
    )
    from napari_noise2self.widgets.theme import Colours

_TIPS = {
    "layer": "The noisy image whose noise is measured; the layer itself is not changed.",
    "channel": "The channel that is shown. All of them are measured.",
    "denoised": "The denoised layer whose residual, noisy less denoised, is examined.",
}
_MAP_TIP = (
    "A layer over the frame in view: orange where the residual holds image, blue where noise "
    "stayed in the denoised layer"
)
_NO_MAP_TIP = "A frame of this layer is too large to be mapped: crop the layer"


class NoiseForm(SettingsForm):
    """The choice of a layer, shared with the other docks, and of the channel to show."""

    def __init__(self) -> None:
        super().__init__(_TIPS)
        self._form = form = new_form()
        form.setContentsMargins(0, 0, 0, 0)
        self.setLayout(form)
        self.add_choice(form, "layer", "La&yer", self.layer)
        self.channel = Choice([("1", 0)])
        self.add_choice(form, "channel", "&Channel", self.channel)

    def show_channels(self, count: int) -> None:
        """Offer that many channels; a single one is no choice."""
        if self.channel.count() != count:
            chosen = self.channel.currentData() or 0
            with QSignalBlocker(self.channel):
                self.channel.clear()
                for index in range(count):
                    self.channel.addItem(str(index + 1), index)
                self.channel.set_value(min(chosen, count - 1))
        for part in (self._form.labelForField(self.channel), self.channel):
            if part is not None:
                part.setVisible(count > 1)


class NoiseView(QWidget):
    """What the noise of the layer is, and what is suggested.

    Attributes
    ----------
    measure_requested, cancel_requested, defects_requested, take_requested : Signal()
    """

    measure_requested = Signal()
    cancel_requested = Signal()
    defects_requested = Signal()
    take_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._busy = False
        self.measure = new_button(
            "measure", "&Measure", "Measure the noise on a few million pixels of the layer"
        )
        self.measure.clicked.connect(self._measure_or_cancel)
        self.bar = _busy_bar()
        self.message = selectable("message", "Message")
        self.table = selectable("table", "The noise in figures")
        self.defects = new_button(
            "defects",
            "Show ho&t pixels",
            "Mark the hot and dead pixels of the frame in view, in a layer of points",
        )
        self.defects.clicked.connect(self.defects_requested)
        self.suggestion = selectable("suggestion", "What is suggested")
        self.take = new_button(
            "take", "&Use it", "Take the suggested mask grid and hidden block over into Denoise"
        )
        self.take.clicked.connect(self.take_requested)
        self.transfer: TransferFigure | None = None
        self.correlation: CorrelationFigure | None = None
        self._colours: Colours | None = None
        self._rows = _rows(self)
        for part in (self.measure, self.bar, self.message, self.suggestion, self.take, self.table):
            self._rows.addWidget(part)
        self._rows.addWidget(self.defects)

    def show_inspector(self, inspector: Inspector, channel: int, running: bool) -> None:
        """Show what is known."""
        measured = inspector.measured
        self._busy = inspector.busy in (MEASURING, LOOKING)
        self.measure.setText(
            "C&ancel" if self._busy else "&Measure" if measured is None else "&Measure again"
        )
        self.measure.setAccessibleName(self.measure.text().replace("&", ""))
        self.bar.setVisible(self._busy)
        self.message.setText(escaped(inspector.message))
        self.message.setVisible(bool(inspector.message))
        for part in (self.table, self.defects, self.suggestion, self.take):
            part.setVisible(measured is not None)
        self.defects.setEnabled(not inspector.busy)
        self.take.setEnabled(not running and not inspector.taken)
        self.take.setText("In use" if inspector.taken else "&Use it")
        if measured is not None:
            channel = min(channel, len(measured.maps) - 1)
            self.table.setText(channel_table(measured.report.channels[channel]))
            self.suggestion.setText(suggestion_text(measured.report))
            self._draw()
        if self.transfer is not None and self.correlation is not None:
            for figure in (self.transfer, self.correlation):
                figure.setVisible(measured is not None)
            self.transfer.show_channel(
                None if measured is None else measured.report.channels[channel]
            )
            self.correlation.show_map(None if measured is None else measured.maps[channel])

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self._colours = colours
        for figure in (self.transfer, self.correlation):
            if figure is not None:
                figure.show_colours(colours)

    def _draw(self) -> None:
        if self.transfer is not None:
            return
        # Importing the plotting library takes longer than opening the dock.
        from napari_noise2self.widgets.noise_figures import CorrelationFigure, TransferFigure

        self.transfer = TransferFigure()
        self.correlation = CorrelationFigure(
            "Noise: autocorrelation",
            "noise-autocorrelation",
            "How much the noise of two pixels has in common, by how far they are apart. Only the "
            "middle stands out where the noise is independent.",
        )
        for figure in (self.transfer, self.correlation):
            self._rows.addWidget(figure)
        if self._colours is not None:
            self.show_colours(self._colours)

    def _measure_or_cancel(self) -> None:
        if self._busy:
            self.cancel_requested.emit()
        else:
            self.measure_requested.emit()


class ResidualView(QWidget):
    """What is left in the residual of a denoised layer.

    Attributes
    ----------
    examine_requested : Signal(object)
        The denoised layer, or None.
    cancel_requested, map_requested : Signal()
    """

    examine_requested = Signal(object)
    cancel_requested = Signal()
    map_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._busy = False
        form = new_form()
        form.setContentsMargins(0, 0, 0, 0)
        self.denoised = Choice()
        self.denoised.setObjectName("denoised")
        self.denoised.setAccessibleName("Denoised layer")
        self.denoised.setToolTip(f"<qt>{_TIPS['denoised']}</qt>")
        form.addRow("D&enoised", self.denoised)
        self.examine = new_button(
            "examine",
            "E&xamine the residual",
            "See whether noisy less denoised is noise alone, or image was taken away or noise left",
        )
        self.examine.clicked.connect(self._examine_or_cancel)
        self.bar = _busy_bar()
        self.text = selectable("residual", "What is left in the residual")
        self.numbers = selectable("residual numbers", "The residual in figures")
        self.map = new_button("map", "Sh&ow where", _MAP_TIP)
        self.map.clicked.connect(self.map_requested)
        self.bands: BandsFigure | None = None
        self.correlation: CorrelationFigure | None = None
        self._colours: Colours | None = None
        self._rows = _rows(self)
        title = QLabel("<b>After denoising: the residual</b>")
        self._rows.addWidget(title)
        self._rows.addLayout(form)
        for part in (self.examine, self.bar, self.text, self.map, self.numbers):
            self._rows.addWidget(part)

    def show_candidates(self, layers: Iterable[Image]) -> None:
        """Offer these layers."""
        layers = list(layers)
        chosen = self.denoised.currentData()
        with QSignalBlocker(self.denoised):
            self.denoised.clear()
            for layer in layers:
                self.denoised.addItem(layer.name, layer)
            if layers:
                self.denoised.set_value(chosen if chosen in layers else layers[0])
        self.denoised.setEnabled(bool(layers))

    def show_inspector(self, inspector: Inspector, channel: int) -> None:
        """Show what is known."""
        report = inspector.residual
        self._busy = inspector.busy == EXAMINING
        self.examine.setText("C&ancel" if self._busy else "E&xamine the residual")
        self.examine.setAccessibleName(self.examine.text().replace("&", ""))
        self.bar.setVisible(self._busy)
        said = escaped(inspector.residual_message)
        if not said and report is not None:
            said = residual_text(report)
        self.text.setText(said)
        self.text.setVisible(bool(said))
        self.numbers.setVisible(report is not None)
        self.map.setVisible(report is not None)
        mapped = report is not None and report.map is not None
        self.map.setEnabled(mapped)
        self.map.setToolTip(f"<qt>{_MAP_TIP if mapped else _NO_MAP_TIP}</qt>")
        if report is not None:
            channel = min(channel, len(report.channels) - 1)
            self.numbers.setText(residual_numbers(report.channels[channel]))
            self._draw()
        if self.bands is not None and self.correlation is not None:
            for figure in (self.bands, self.correlation):
                figure.setVisible(report is not None)
            one = None if report is None else report.channels[channel]
            self.bands.show_channel(one)
            self.correlation.show_map(None if one is None else one.correlation)

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self._colours = colours
        for figure in (self.bands, self.correlation):
            if figure is not None:
                figure.show_colours(colours)

    def _draw(self) -> None:
        if self.bands is not None:
            return
        from napari_noise2self.widgets.noise_figures import BandsFigure, CorrelationFigure

        self.bands = BandsFigure()
        self.correlation = CorrelationFigure(
            "Residual: autocorrelation",
            "residual-autocorrelation",
            "As above, of what was taken away, where the denoised layer is flat. It should look "
            "like that of the noise.",
        )
        for figure in (self.bands, self.correlation):
            self._rows.addWidget(figure)
        if self._colours is not None:
            self.show_colours(self._colours)

    def _examine_or_cancel(self) -> None:
        if self._busy:
            self.cancel_requested.emit()
        else:
            self.examine_requested.emit(self.denoised.currentData())


def _rows(widget: QWidget) -> QVBoxLayout:
    rows = QVBoxLayout(widget)
    rows.setContentsMargins(0, 0, 0, 0)
    return rows


def _busy_bar() -> QProgressBar:
    bar = QProgressBar()
    bar.setRange(0, 0)
    bar.setFormat("Measuring…")
    bar.setAccessibleName("Measuring…")
    return bar
