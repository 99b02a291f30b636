"""The parts of the *Apply and export* dock: the model, the images, the files to be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_noise2self.widgets.controls import (
    AUTOMATIC,
    AXES_TIP,
    Choice,
    LineOfAxes,
    SettingsForm,
    being_typed,
    new_form,
    selectable,
)
from napari_noise2self.widgets.export_choices import FORMATS, is_folder
from napari_noise2self.widgets.export_judge import MOST_JUDGED
from napari_noise2self.widgets.export_words import in_words
from napari_noise2self.widgets.layers import axes_note, known_axes
from napari_noise2self.widgets.progress_view import shortened
from napari_noise2self.widgets.settings_view import TIPS
from napari_noise2self.widgets.target_dialog import MODELS, file_dialog

if TYPE_CHECKING:
    from napari_noise2self.widgets.export_plan import Plan

_TIPS = {
    "images": (
        "What is denoised: the layers that are selected in the layer list, or files that need not "
        "be open. Files and folders can also be dropped here."
    ),
    "axes": AXES_TIP,
    "in_view": "All frames, or only the one in view, to try it out.",
    "output": TIPS["output"],
    "dtype": (
        "The type of the pixels in the file. That of the source is rounded and clipped to its "
        "range, and you are told how many pixels were clipped. float32 keeps all, and takes two to "
        "four times the room."
    ),
    "format": (
        "OME-TIFF is read by Fiji, OMERO and napari. ImageJ opens its own TIFFs fastest. OME-Zarr "
        "has smaller images inside, and is for large ones."
    ),
    "where": "The file to be; for several images, the folder.",
}


class ModelView(QWidget):
    """The choice of a model, what it was trained on, and whether it suits.

    Attributes
    ----------
    chosen : Signal(object)
        A `Model`.
    load_requested : Signal(object)
        The path of a file.
    save_requested, tune_requested : Signal()
    """

    chosen = Signal(object)
    load_requested = Signal(object)
    save_requested = Signal()
    tune_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        label = QLabel("&Model")
        self.box = Choice()
        self.box.setObjectName("model")
        self.box.setAccessibleName("Model")
        self.box.setToolTip("<qt>What was trained in this window, and what was loaded.</qt>")
        self.box.currentIndexChanged.connect(lambda i: self.chosen.emit(self.box.itemData(i)))
        label.setBuddy(self.box)
        self.load = _button("Loa&d…", "load", "Load a model", "Load a model from a file")
        self.load.clicked.connect(self._ask_for_model)
        self.about = selectable("about", "What the model was trained on", plain=True)
        self.doubts = selectable("doubts", "Whether the model suits", plain=True)
        self.tune = _button(
            "F&ine-tune",
            "tune",
            "Fine-tune",
            "Train the model a little more on the first of the selected layers: a quarter of the "
            "time that a new one takes. The model itself stays as it is.",
        )
        self.tune.clicked.connect(self.tune_requested)
        self.save = _button("&Save model…", "save", "Save model", "Keep the model in a file")
        self.save.clicked.connect(self.save_requested)
        top, bottom = QHBoxLayout(), QHBoxLayout()
        top.addWidget(label)
        top.addWidget(self.box, 1)
        top.addWidget(self.load)
        bottom.addWidget(self.tune)
        bottom.addWidget(self.save)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addLayout(top)
        rows.addWidget(self.about)
        rows.addWidget(self.doubts)
        rows.addLayout(bottom)

    def show_plan(self, plan: Plan, idle: bool) -> None:
        """Show the models and what is known of the chosen one."""
        model = plan.model
        with QSignalBlocker(self.box):
            self.box.clear()
            for known in plan.models:
                self.box.addItem(shortened(known.name), known)
            self.box.set_value(model)
        self.box.setEnabled(idle and bool(plan.models))
        self.load.setEnabled(idle)
        self.about.setText(
            "Train one in the dock Denoise, or load or drop one that was saved."
            if model is None
            else in_words(model)
        )
        self.doubts.setVisible(model is not None and plan.doubts is not None)
        self.doubts.setText(self._judgement(plan))
        self.tune.setVisible(model is not None and not plan.choices.images)
        self.tune.setEnabled(idle and bool(plan.layers))
        self.save.setVisible(model is not None and model.path is None)
        self.save.setEnabled(idle)

    @staticmethod
    def _judgement(plan: Plan) -> str:
        doubts = plan.doubts
        if doubts is None:
            return ""
        if not doubts:
            count = len(plan.layers)
            what = "the selected layers" if count > 1 else "the selected layer"
            if plan.choices.images:
                what = "the first of the images"
            elif count > MOST_JUDGED:
                what = f"the first {MOST_JUDGED} of the selected layers"
            return f"✓ It suits {what}: grey values, noise and axes are alike."
        return "\n".join(f"⚠ {doubt}" for doubt in doubts)

    def _ask_for_model(self) -> None:
        dialog = file_dialog(self, "Load a model")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilter(MODELS)
        dialog.fileSelected.connect(lambda path: self.load_requested.emit(Path(path)))
        dialog.open()


class ExportForm(SettingsForm):
    """What is denoised, and what it becomes.

    Attributes
    ----------
    files_chosen : Signal(object)
        A list of paths; an empty one stands for the selected layers.
    where_requested : Signal()
    """

    files_chosen = Signal(object)
    where_requested = Signal()

    def __init__(self) -> None:
        super().__init__(_TIPS)
        form = new_form()
        form.setContentsMargins(0, 0, 0, 0)
        self.setLayout(form)
        self.images = Choice(
            [("selected layers", "layers"), ("files…", "files"), ("a folder…", "folder")]
        )
        self._row(form, "images", "Denoise", self.images, self.images.set_value)
        # Also where the same entry is chosen again, to name other files.
        self.images.activated.connect(lambda i: self._ask_for(self.images.itemData(i)))
        self.names = selectable("names", "The images", plain=True)
        form.addRow(self.names)
        self.axes = LineOfAxes()
        self.add_axes(form, self.axes)
        self.frames = Choice([("all", False), ("the one in view", True)])
        self.add_choice(form, "in_view", "F&rames", self.frames)
        outputs = [
            (AUTOMATIC, "auto"),
            ("single-pass", "single-pass"),
            ("J-invariant", "j-invariant"),
            ("mixed", "mixed"),
        ]
        self.add_choice(form, "output", "&Output", Choice(outputs))
        types = [("that of the source", "source"), ("float32", "float32")]
        self.add_choice(form, "dtype", "Type", Choice(types))
        formats = Choice((entry.title, key) for key, entry in FORMATS.items())
        self.add_choice(form, "format", "Form&at", formats)
        self.where = QLineEdit()
        self.where.setPlaceholderText("asked when you export")
        self.where.editingFinished.connect(self._say_where)
        self.browse = _button("…", "browse", "Choose the file", "Choose the file or the folder")
        self.browse.setMaximumWidth(32)
        self.browse.clicked.connect(self.where_requested)
        row = QWidget()
        inside = QHBoxLayout(row)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.where, 1)
        inside.addWidget(self.browse)
        label = QLabel("Where")
        label.setBuddy(self.where)
        label.setToolTip(f"<qt>{_TIPS['where']}</qt>")
        form.addRow(label, row)
        self.register("where", "Where", self.where, self._show_where)

    def show_plan(self, plan: Plan, idle: bool) -> None:
        """Show what is chosen."""
        choices, files = plan.choices, plan.choices.images
        for name in ("in_view", "output", "dtype", "format"):
            self.show_value(name, getattr(choices, name))
        kind = "layers"
        if files:
            kind = "folder" if is_folder(files[0]) else "files"
        self.show_value("images", kind)
        self.names.setText(_names(plan))
        self._show_axes(plan)
        work = plan.known_work()
        target: Path | None = choices.folder
        if not plan.takes_folder:
            target = work.targets[0] if work is not None else None
        self.show_value("where", target)
        for control in (*self.controls.values(), self.browse):
            control.setEnabled(idle)
        self.frames.setEnabled(idle and not files)

    def _show_axes(self, plan: Plan) -> None:
        if plan.choices.images:
            note = "" if plan.choices.axes else "as each file says"
            self.axes.show_axes(plan.choices.axes, note)
            return
        known = [known_axes(layer) for layer in plan.layers]
        letters = list(dict.fromkeys(axes.letters for axes in known))
        if len(letters) == 1:
            self.axes.show_axes(letters[0], axes_note(known[0]))
        else:
            self.axes.show_axes("", " and ".join(letters))

    def _show_where(self, path: Path | None) -> None:
        text = "" if path is None else str(path)
        if being_typed(self.where):
            return
        if text != self.where.text():
            self.where.setText(text)
        self.where.setToolTip(f"<qt>{text or _TIPS['where']}</qt>")

    def _say_where(self) -> None:
        if self.where.isModified() and self.where.text().strip():
            self.where.setModified(False)
            self.edited.emit("where", Path(self.where.text().strip()).expanduser())

    def _ask_for(self, kind: str) -> None:
        if kind == "layers":
            self.files_chosen.emit([])
            return
        dialog = file_dialog(self, "Denoise files" if kind == "files" else "Denoise a folder")
        if kind == "files":
            dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        else:
            # An OME-Zarr is a folder, too.
            dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.filesSelected.connect(lambda paths: self.files_chosen.emit([*map(Path, paths)]))
        # The box must not go on showing what was not chosen.
        dialog.rejected.connect(lambda: self.edited.emit("images", None))
        dialog.open()


def _names(plan: Plan) -> str:
    files: Sequence[Path] = plan.choices.images
    if not files:
        names = [shortened(layer.name, 30) for layer in plan.layers]
        return _some(names) if names else "No image layer is selected."
    work = plan.known_work()
    if len(files) == 1 and not is_folder(files[0]):
        return shortened(files[0].name)
    if work is None:
        return shortened(files[0].name) if len(files) == 1 else f"{len(files)} files"
    count = "1 image" if len(work.jobs) == 1 else f"{len(work.jobs)} images"
    place = f" in {shortened(files[0].name)}" if len(files) == 1 else ""
    return f"{count}{place}{_parts(len(work.parts))}{_left_out(len(work.left_out))}"


def _parts(count: int) -> str:
    if not count:
        return ""
    return f"; {'1 file is' if count == 1 else f'{count} files are'} read as part of another"


def _left_out(count: int) -> str:
    if not count:
        return ""
    return "; 1 other file is left out" if count == 1 else f"; {count} other files are left out"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _button(text: str, name: str, title: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setAccessibleName(title)
    button.setToolTip(f"<qt>{tip}</qt>")
    return button
