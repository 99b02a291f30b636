"""The parts of the *J partition preview* dock: settings, the walk through the subsets, words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_noise2self.widgets.controls import Choice, new_form, selectable
from napari_noise2self.widgets.partition_words import shown_in_words, suggestion_in_words
from napari_noise2self.widgets.settings_view import (
    PARTITIONS,
    TIPS,
    DepthForm,
    block_box,
    grid_box,
    subsets_box,
    useless_for,
)
from napari_noise2self.widgets.words import escaped

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent

    from napari_noise2self.widgets.partition_preview import Preview
    from napari_noise2self.widgets.partition_shown import Shown

# Milliseconds that one subset stays in view while playing.
PACE = 400

_LAYER_TIPS = {
    "subsets": ("Subsets", "A layer with the colour of each pixel's subset."),
    "targets": ("Targets", "A layer with the targets of one subset, and the block around each."),
    "masked": ("Masked", "A layer with what the network is shown in view."),
}


class PartitionForm(DepthForm):
    """The settings of the partition; the same ones as in the *Denoise* dock."""

    def __init__(self) -> None:
        super().__init__(TIPS)
        form = new_form()
        form.setContentsMargins(0, 0, 0, 0)
        self.setLayout(form)
        self.add_choice(form, "layer", "La&yer", self.layer)
        self.add_choice(form, "partition", "Part&ition", Choice(PARTITIONS))
        self.add_number(form, "width", "Mask &grid", grid_box())
        self.add_number(form, "subsets", "Su&bsets", subsets_box())
        self.add_number(form, "extent", "Hidden bloc&k", block_box())
        self.add_depth(form)

    def show_possible(self, kind: str, axes: str, running: bool) -> None:
        """Enable what can be changed now of a layer with these axes."""
        useless = useless_for(kind)
        for name, control in self.controls.items():
            control.setEnabled(not running and name not in useless)
        self.show_depth_of(axes, running)


class SubsetWalk(QWidget):
    """A slider and a play button through the subsets.

    Attributes
    ----------
    chosen : Signal(int)
        The subset to hide, from 0.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.text = QLabel()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setObjectName("subset")
        self.slider.setAccessibleName("Subset")
        self.slider.setToolTip("<qt>Which subset is hidden</qt>")
        self.slider.valueChanged.connect(self.chosen)
        self.play = QPushButton("Pl&ay")
        self.play.setObjectName("play")
        self.play.setCheckable(True)
        self.play.setToolTip("<qt>Hide one subset after the other</qt>")
        self.play.setAccessibleName("Play")
        self.play.toggled.connect(self._play)
        self._timer = QTimer(self)
        self._timer.setInterval(PACE)
        self._timer.timeout.connect(self._step)
        row = QHBoxLayout()
        row.addWidget(self.slider, 1)
        row.addWidget(self.play)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addWidget(self.text)
        rows.addLayout(row)

    def show_shown(self, shown: Shown | None) -> None:
        """Show which subset is hidden."""
        self.setEnabled(shown is not None)
        if shown is None:
            self.play.setChecked(False)
            self.text.setText("No subset")
            return
        count = shown.figures.subsets
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, count - 1)
            self.slider.setPageStep(max(count // 10, 1))
            self.slider.setValue(shown.subset)
        self.text.setText(f"Hidden now: subset {shown.subset + 1} of {count}")

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Nobody looks: stop."""
        self.play.setChecked(False)
        super().hideEvent(event)

    def _play(self, on: bool) -> None:
        self.play.setText("P&ause" if on else "Pl&ay")
        self.play.setAccessibleName("Pause" if on else "Play")
        if on:
            self._timer.start()
        else:
            self._timer.stop()

    def _step(self) -> None:
        last = self.slider.maximum()
        self.slider.setValue(0 if self.slider.value() >= last else self.slider.value() + 1)


class LayerChoice(QWidget):
    """Which layers there are, and the way to where single pixels can be seen.

    Attributes
    ----------
    wanted : Signal(str, bool)
    zoom_requested : Signal()
    """

    wanted = Signal(str, bool)
    zoom_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, QCheckBox] = {}
        boxes = QHBoxLayout()
        for kind, (title, tip) in _LAYER_TIPS.items():
            box = QCheckBox(title)
            box.setObjectName(f"show {kind}")
            box.setAccessibleName(f"Layer: {title.lower()}")
            box.setToolTip(f"<qt>{tip}</qt>")
            box.toggled.connect(lambda on, kind=kind: self.wanted.emit(kind, on))
            boxes.addWidget(box)
            self.boxes[kind] = box
        boxes.addStretch(1)
        self.zoom = QPushButton("Zoom to the pi&xels")
        self.zoom.setObjectName("zoom")
        self.zoom.setAccessibleName("Zoom to the pixels")
        self.zoom.setToolTip("<qt>Zoom in on what is in view until pixels can be told apart</qt>")
        self.zoom.clicked.connect(self.zoom_requested)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(QLabel("Layers over the image:"))
        rows.addLayout(boxes)
        rows.addWidget(self.zoom)

    def show_preview(self, preview: Preview) -> None:
        """Show which layers are there."""
        for kind, box in self.boxes.items():
            with QSignalBlocker(box):
                box.setChecked(preview.layers.wanted[kind])
        self.setEnabled(preview.shown is not None)


class Words(QWidget):
    """The figures, and what the noise estimate suggests.

    Attributes
    ----------
    measure_requested, take_requested : Signal()
    """

    measure_requested = Signal()
    take_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.figures = selectable("figures", "Figures of the partition")
        self.suggestion = selectable("suggestion", "What the noise suggests")
        self.measure = QPushButton("&Estimate the noise")
        self.measure.setObjectName("measure")
        self.measure.setToolTip(
            "<qt>Find out whether the noise of neighbouring pixels is correlated, and which grid "
            "suits it</qt>"
        )
        self.measure.clicked.connect(self.measure_requested)
        self.take = QPushButton("&Use it")
        self.take.setObjectName("take")
        self.take.setToolTip("<qt>Take the suggested grid over into the settings</qt>")
        self.take.clicked.connect(self.take_requested)
        for button in (self.measure, self.take):
            button.setAccessibleName(button.text().replace("&", ""))
        buttons = QHBoxLayout()
        buttons.addWidget(self.measure, 2)
        buttons.addWidget(self.take, 1)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.figures)
        rows.addWidget(self.suggestion)
        rows.addLayout(buttons)

    def show_preview(self, preview: Preview, running: bool) -> None:
        """Say what is known."""
        shown, suggestion = preview.shown, preview.suggestion
        self.figures.setText(escaped(preview.message) if shown is None else shown_in_words(shown))
        if preview.measurement.running:
            said = "Estimating the noise…"
        elif preview.measurement.error:
            said = escaped(preview.measurement.error)
        elif suggestion is not None and shown is not None:
            said = suggestion_in_words(suggestion, shown.scene.layout.ndim)
        else:
            said = "What suits the noise of this layer is not known yet."
        self.suggestion.setText(said)
        self.measure.setEnabled(shown is not None and not preview.measurement.running)
        taken = (
            suggestion is not None
            and shown is not None
            and not shown.automatic
            and shown.partition == suggestion.partition
        )
        self.take.setEnabled(suggestion is not None and not running and not taken)
