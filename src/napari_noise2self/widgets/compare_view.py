"""What is to be compared: the layer, the part of it, a truth, and the denoisers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_noise2self.widgets.compare_choices import Choices, candidates
from napari_noise2self.widgets.controls import Choice, Fold, SettingsForm, new_form

if TYPE_CHECKING:
    from napari.layers import Image

_TIPS = {
    "layer": "The noisy image that denoisers are compared on; the layer itself is not changed.",
    "whole": (
        "What is in view: at most 1024×1024 pixels around the centre of the view, of the slice "
        "that is shown, with all channels. The whole layer can be taken up to 16 million pixels."
    ),
    "truth": (
        "A clean image of the same field, if you have one: it adds PSNR, SSIM and the true curve. "
        "Nothing is ranked by it."
    ),
}
_HINTS = {
    "median": "The middle one of the grey values around each pixel: takes single bright and dark "
    "pixels away, and rounds corners off",
    "gaussian": "A mean of the pixels around, near ones more than far ones: blurs all alike",
    "bilateral": "A mean of the pixels around that have similar grey values: edges stay sharp",
    "tv": "Total variation: as few ups and downs as possible; flat areas with sharp edges",
    "nlm": "A mean of patches that look alike: good where structures repeat",
    "wavelet": "Takes weak details away, of each size by itself",
    "dictionary": "Puts every patch together from a few patterns that are learned from the image",
    "jpeg2000": "What a strong compression leaves of the image",
    "bm3d": "Not installed: pip install 'napari-noise2self[bm3d]', for noncommercial use only",
    "unet": "Trained on the part that is compared on",
    "dncnn": "Trained on the part that is compared on; slower",
    "unet-paper": "Trained on the part that is compared on; large, and much slower",
}
_COLUMNS = 2


class CompareForm(SettingsForm):
    """The choice of a layer, shared with the other docks, of a part of it, and of a truth."""

    def __init__(self) -> None:
        super().__init__(_TIPS)
        form = new_form()
        form.setContentsMargins(0, 0, 0, 0)
        self.setLayout(form)
        self.add_choice(form, "layer", "La&yer", self.layer)
        self.region = Choice([("what is in view", False), ("whole layer", True)])
        self.add_choice(form, "whole", "P&art", self.region)
        self.truth = Choice([("none", None)])
        self.add_choice(form, "truth", "T&ruth", self.truth)

    def show_region(self, chosen: bool | None, possible: bool, default: bool) -> None:
        """Show which part is compared on.

        Parameters
        ----------
        chosen : bool or None
            Whether the whole layer was chosen; None: nothing was.
        possible, default : bool
            Whether the whole layer can be taken, and whether it is by default.
        """
        tip = "" if possible else "The layer has more than 16 million pixels"
        self.region.offer(True, possible, tip)
        self.show_value("whole", possible and (default if chosen is None else chosen))

    def show_truths(self, layers: Iterable[Image], chosen: Image | None) -> None:
        """Offer these layers."""
        layers = list(layers)
        with QSignalBlocker(self.truth):
            self.truth.clear()
            self.truth.addItem("none", None)
            for layer in layers:
                self.truth.addItem(layer.name, layer)
            self.truth.set_value(chosen if chosen in layers else None)
        self.truth.setEnabled(bool(layers))


class CandidatesView(QWidget):
    """The denoisers, with a tick for each that takes part.

    Attributes
    ----------
    ticked : Signal(str, bool)
        A name or the path of a model, and whether it takes part.
    model_chosen : Signal(object)
        The path of a saved model to take in.
    boxes : dict of str to QCheckBox
    """

    ticked = Signal(str, bool)
    model_chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, QCheckBox] = {}
        self.fold = Fold("Denoisers", "Denoisers to compare", "Which denoisers are compared")
        body = QWidget()
        self._grid = QGridLayout(body)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        for name, (title, there) in candidates().items():
            box = self._add(name, title)
            box.setEnabled(there)
            box.setToolTip(f"<qt>{_HINTS.get(name, title)}</qt>")
            if there and name == "bm3d":
                box.setToolTip("For nonprofit and noncommercial use only, by its licence")
        self.add_button = QPushButton("Add a saved &model…")
        self.add_button.setObjectName("add model")
        self.add_button.setAccessibleName("Add a saved model")
        self.add_button.setToolTip("<qt>A model that was trained on other images of this kind</qt>")
        self.add_button.clicked.connect(self._ask_for_model)
        self.fold.addWidget(body)
        self.fold.addWidget(self.add_button)
        self.fold.expand(animate=False)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.fold)

    def show_choices(self, choices: Choices, running: bool) -> None:
        """Show what takes part; nothing can be changed while it runs."""
        for path in choices.models:
            if path not in self.boxes:
                self._add(path, Path(path).stem).setToolTip(path)
        for name, box in self.boxes.items():
            with QSignalBlocker(box):
                box.setChecked(name in choices.ticked)
        for part in (self.fold.content(), self.add_button):
            part.setEnabled(not running)
        self.fold.setText(f"Denoisers ({len(choices.ticked)})")

    def _add(self, name: str, title: str) -> QCheckBox:
        box = QCheckBox(title)
        box.setObjectName(name)
        box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        box.toggled.connect(lambda on: self.ticked.emit(name, on))
        place = len(self.boxes)
        self._grid.addWidget(box, place // _COLUMNS, place % _COLUMNS)
        self.boxes[name] = box
        return box

    def _ask_for_model(self) -> None:
        dialog = QFileDialog(self, "Add a saved model")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilter("Noise2Self model (*.safetensors)")
        dialog.fileSelected.connect(lambda path: self.model_chosen.emit(Path(path)))
        dialog.open()
