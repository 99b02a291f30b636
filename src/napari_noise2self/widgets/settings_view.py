"""The controls of the *Denoise* dock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QFormLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_noise2self.engine.config import NETWORK_TITLES
from napari_noise2self.widgets.controls import (
    AUTOMATIC,
    AXES_TIP,
    Choice,
    Epochs,
    Fold,
    LineOfAxes,
    PerAxisNumber,
    SettingsForm,
    WholeNumber,
    new_form,
    selectable,
)
from napari_noise2self.widgets.layers import possible_targets
from napari_noise2self.widgets.learning_region import REGIONS
from napari_noise2self.widgets.preferences import possible_devices
from napari_noise2self.widgets.session import Target, depth_of

if TYPE_CHECKING:
    from napari.layers import Image

DEVICES = {"auto": AUTOMATIC, "cuda": "CUDA GPU", "mps": "Apple GPU (MPS)", "cpu": "CPU"}

TIPS = {
    "layer": "The noisy image. It is learned from and denoised; the layer itself is not changed.",
    "target": (
        "The layer itself is enough. A second noisy image of the same scene, such as the next "
        "exposure, teaches a little more, and a clean image the most. It must show the same "
        "pixels in the same grey values. Nothing is hidden then, and the mask grid only "
        "serves the score."
    ),
    "width": (
        "Every so many pixels along each axis one pixel is hidden, and the network learns to "
        "predict it from its neighbours. A narrow grid hides more at once and learns faster, a "
        "wide one leaves more of the surroundings to predict from. Automatic takes "
        "what suits the noise."
    ),
    "epochs": (
        "How long to learn: in one epoch as many pixels are hidden and predicted as the layer "
        "has. Automatic plans the length from the size of the layer and the device; progress "
        "tells how many epochs it is. A few times as many give a slightly better result."
    ),
    "network": (
        "UNet sees far and is fast: take it first. DnCNN looks at a smaller neighbourhood at "
        "full resolution; it is slower and can do better on fine, repetitive texture. The UNet of "
        "the paper is for comparison: it is large and takes many times as long."
    ),
    "device": (
        "Where to compute. Automatic takes a CUDA or Apple graphics card if PyTorch finds one, "
        "otherwise the processor."
    ),
    "output": (
        "Single-pass shows the network the whole image at the end: usually the better picture. "
        "J-invariant predicts every pixel without looking at it; mixed adds the share of the pixel "
        "itself that makes the error smallest. Automatic chooses."
    ),
    "axes": AXES_TIP,
    "volume": (
        "A stack is denoised slice by slice. With neighbours, the slices above and below are seen "
        "beside each slice: the noise of all of them has to be independent. As a volume, all is "
        "learned in three dimensions; that takes longest. Both pay where slices show the same "
        "structures. Of a movie without Z, frames are the slices."
    ),
    "channel_use": (
        "Together, one network sees all channels, and what one shows helps the others; but it can "
        "bleed into them. One network for all sees each channel by itself; apart, each has a "
        "network, which takes as many times as long. Automatic keeps up to five channels apart, "
        "and takes more of them together."
    ),
    "region": (
        "What is learned from; all of the layer is denoised. A part is quicker where the layer is "
        "large, and leaves out what is unlike the rest. It should show all that there is."
    ),
    "ranges": (
        "The part to learn on, written as in the terminal: where it starts and where it stops "
        "along an axis, as in T=0:10,Y=0:512. Axes that are not named are taken whole, and so are "
        "all channels."
    ),
    "extent": (
        "Width of the block of pixels hidden around each predicted one, for noise that comes in "
        "blotches or lines; 1×3 hides three pixels along x. With 1 and an automatic mask grid, "
        "correlated noise is looked for and hidden as wide as it needs."
    ),
    "partition": (
        "Which pixels are hidden together: a regular grid, pixels by chance, or one colour of a "
        "checkerboard. The grid is the one to take; the others are for comparison."
    ),
    "subsets": (
        "Into how many subsets chance deals the pixels of a random partition: one in so many is "
        "hidden at a time."
    ),
    "seed": (
        "Number that chance starts from. The same seed on the same device gives the same result; "
        "another one shows how much of the result is luck."
    ),
    "preview": (
        "Show the slice in view as it gets better during training. Costs about a tenth of the time."
    ),
}


# What is learned from by default.
_ITSELF = ("itself", None)
# Kinds of partition and their names.
PARTITIONS = [("grid", "grid"), ("random", "random"), ("checkerboard", "checkerboard")]
# Whether slices are denoised together, and how many neighbours on either side are seen.
DEPTHS = [
    ("slice by slice", (False, 0)),
    ("with neighbours", (False, 1)),
    ("as a volume", (True, 0)),
]
CHANNEL_USES = [
    (AUTOMATIC, "auto"),
    ("together", "together"),
    ("one network for all", "shared"),
    ("apart", "apart"),
]


def grid_box() -> PerAxisNumber:
    """The control of the grid width."""
    return PerAxisNumber(2, 64, automatic=True)


def block_box() -> PerAxisNumber:
    """The control of the extent."""
    return PerAxisNumber(1, 31, step=2, odd=True)


def subsets_box() -> WholeNumber:
    """The control of the number of subsets of a random partition."""
    return WholeNumber(2, 1000)


class DepthForm(SettingsForm):
    """A form that asks what is done with Z, or with T where there is no Z.

    Attributes
    ----------
    volume : Choice
    """

    def add_depth(self, form: QFormLayout) -> None:
        """Add the row that asks."""
        self._depth = (False, 0)
        self.volume = Choice(DEPTHS)
        self.volume.currentIndexChanged.connect(self._choose_depth)
        self._row(form, "volume", "Denoise &Z", self.volume, self._show_volume)
        self.controls["context"] = self.volume
        self._setters["context"] = self._show_context
        self._depth_label = form.labelForField(self.volume)

    def show_depth_of(self, axes: str, running: bool) -> None:
        """Name the axis that a layer has, and enable the row if it has one."""
        depth = depth_of(axes)
        if isinstance(self._depth_label, QLabel):
            self._depth_label.setText("Denoise T" if depth == "T" else "Denoise &Z")
        self.volume.setAccessibleName(f"Denoise {depth or 'Z'}")
        self.volume.setEnabled(bool(depth) and not running)

    def _choose_depth(self, index: int) -> None:
        self._depth = self.volume.itemData(index)
        for name, value in zip(("volume", "context"), self._depth, strict=True):
            self.edited.emit(name, value)

    def _show_volume(self, volume: bool) -> None:
        self._show_depth((volume, self._depth[1]))

    def _show_context(self, context: int) -> None:
        self._show_depth((self._depth[0], context))

    def _show_depth(self, depth: tuple[bool, int]) -> None:
        self._depth = depth
        volume, context = depth
        # A volume shows all neighbours, and how many of them is asked for elsewhere.
        self.volume.set_value((True, 0) if volume else (False, min(context, 1)))


class SettingsView(DepthForm):
    """Shows the settings and says what the user changes.

    Attributes
    ----------
    edited : Signal(str, object)
        Name of a setting and its new value.
    """

    def __init__(self) -> None:
        super().__init__(TIPS)
        self._running = False
        self._letters = ""
        self._kind = "grid"
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)

        main = new_form()
        self.add_choice(main, "layer", "La&yer", self.layer)
        self._setters["layer"] = self._show_layer
        self._target: Target | None = None
        self.target = Choice([_ITSELF])
        self.add_choice(main, "target", "Le&arn from", self.target)
        self._setters["target"] = self._show_target
        self._target_label = main.labelForField(self.target)
        self._offer_targets()
        self.add_number(main, "width", "Mask &grid", grid_box())
        self.add_number(main, "epochs", "&Epochs", Epochs())
        networks = [(title, name) for name, title in NETWORK_TITLES.items()]
        self.add_choice(main, "network", "&Network", Choice(networks))
        self.device = Choice((DEVICES[name], name) for name in possible_devices())
        self.add_choice(main, "device", "&Device", self.device)
        outer.addLayout(main)

        self.advanced = Fold("Advanced", "Advanced settings", "Settings that seldom need a change")
        body = QWidget()
        folded = new_form()
        folded.setContentsMargins(0, 0, 0, 0)
        body.setLayout(folded)
        outputs = [
            (AUTOMATIC, "auto"),
            ("single-pass", "single-pass"),
            ("J-invariant", "j-invariant"),
            ("mixed", "mixed"),
        ]
        self.add_choice(folded, "output", "&Output", Choice(outputs))
        self.axes = LineOfAxes()
        self.add_axes(folded, self.axes)
        self.add_depth(folded)
        self.channels = Choice(CHANNEL_USES)
        self.add_choice(folded, "channel_use", "&Channels", self.channels)
        self._channels_label = folded.labelForField(self.channels)
        self.region = Choice(REGIONS)
        self.add_choice(folded, "region", "Learn on", self.region)
        self._setters["region"] = self._show_region
        self.ranges = QLineEdit()
        self.ranges.textEdited.connect(lambda text: self.edited.emit("ranges", text))
        self._row(folded, "ranges", "Ranges", self.ranges, self._show_ranges)
        self._ranges_label = folded.labelForField(self.ranges)
        self.ranges_note = selectable("ranges note", "What is wrong with the ranges")
        # It may hold what was typed, which must not make the dock wider.
        self.ranges_note.setTextFormat(Qt.TextFormat.PlainText)
        self.ranges_note.setMinimumWidth(1)
        folded.addRow(self.ranges_note)
        kind = Choice(PARTITIONS)
        self.add_choice(folded, "partition", "Part&ition", kind)
        self._setters["partition"] = self._show_kind
        self.add_number(folded, "subsets", "Su&bsets", subsets_box())
        self.add_number(folded, "extent", "Hidden bloc&k", block_box())
        self.add_number(folded, "seed", "&Seed", WholeNumber(0, 2**31 - 1))
        preview = QCheckBox("Live p&review")
        preview.toggled.connect(lambda on: self.edited.emit("preview", on))
        self.register("preview", "Live preview", preview, preview.setChecked)
        folded.addRow(preview)
        self.advanced.addWidget(body)
        outer.addWidget(self.advanced)

    def show_devices(self, devices: dict[str, str] | None) -> None:
        """Grey out what this computer does not have; None while that is not known."""
        if devices is None:
            return
        for name in ("cuda", "mps", "cpu"):
            self.device.offer(name, name in devices, devices.get(name, "PyTorch finds none here"))

    def show_possible(self, axes: str) -> None:
        """Offer what a layer with these axes can be asked for."""
        self._letters = axes
        for part in (self._channels_label, self.channels):
            if part is not None:
                part.setVisible("C" in axes)
        self.show_running(self._running)

    def show_ranges(self, whole: str, error: str) -> None:
        """Say what can be typed as the part to learn on, and what is wrong with what was typed."""
        self.ranges.setPlaceholderText(whole)
        # Lines are broken at spaces alone, and ranges can be read with them, too.
        self.ranges_note.setText(re.sub(r",(?=\S)", ", ", error))
        self.ranges_note.setVisible(bool(error))

    def show_running(self, running: bool) -> None:
        """Enable what can be changed now."""
        self._running = running
        useless = useless_for(self._kind)
        for name, control in self.controls.items():
            control.setEnabled(name == "preview" or (not running and name not in useless))
        self.show_depth_of(self._letters, running)
        self.channels.setEnabled("C" in self._letters and not running)
        self.ranges.setEnabled(self.region.currentData() == "ranges" and not running)
        self.target.setEnabled(self.target.count() > 1 and not running)

    def show_layers(self, layers: Iterable[Image], chosen: Image | None) -> None:
        """Offer these layers, and those of them that can be learned from."""
        super().show_layers(layers, chosen)
        self._offer_targets()

    def _show_layer(self, layer: Image | None) -> None:
        self.layer.set_value(layer)
        self._offer_targets()

    def _show_target(self, target: Target | None) -> None:
        self._target = target
        self.target.set_value(target)

    def _offer_targets(self) -> None:
        """Offer what can be learned from; nothing is asked where there is nothing."""
        layers = [self.layer.itemData(i) for i in range(self.layer.count())]
        others = possible_targets(self.layer.currentData(), layers)
        with QSignalBlocker(self.target):
            self.target.clear()
            self.target.addItem(*_ITSELF)
            # What it is comes first: names of layers are longer than the box.
            for layer in others:
                self.target.addItem(f"noisy: {layer.name}", Target(layer, "n2n"))
                self.target.addItem(f"clean: {layer.name}", Target(layer, "n2t"))
            self.target.set_value(self._target)
        self.target.setEnabled(bool(others) and not self._running)
        for part in (self._target_label, self.target):
            if part is not None:
                part.setVisible(bool(others))

    def _show_region(self, kind: str) -> None:
        self.region.set_value(kind)
        for part in (self._ranges_label, self.ranges):
            if part is not None:
                part.setVisible(kind == "ranges")
        self.show_running(self._running)

    def _show_ranges(self, ranges: str) -> None:
        # Setting what is there already would move the cursor of who types.
        if ranges != self.ranges.text():
            self.ranges.setText(ranges)

    def _show_kind(self, kind: str) -> None:
        box = self.controls["partition"]
        assert isinstance(box, Choice)
        box.set_value(kind)
        self._kind = kind
        self.show_running(self._running)


def useless_for(kind: str) -> set[str]:
    """The settings that a kind of partition does not have."""
    return {
        "grid": {"subsets"},
        "random": {"width"},
        "checkerboard": {"width", "subsets", "extent"},
    }[kind]
