"""Where a result is to be written: asked for, and never in place of something unasked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.history import (
    get_open_history,
    get_save_history,
    update_save_history,
)
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox, QPushButton, QWidget

from napari_noise2self.stacks.many import SUFFIXES
from napari_noise2self.stacks.targets import partial_of
from napari_noise2self.stacks.unfinished import unfinished

if TYPE_CHECKING:
    from napari.layers import Image

# What the formats are called.
FORMATS = {
    "ome-tiff": "OME-TIFF",
    "imagej": "TIFF for ImageJ",
    "ome-zarr": "OME-Zarr",
}
MODELS = "Noise2Self model (*.safetensors)"
_ENDINGS = {
    "ome-tiff": (".ome.tif", ".ome.tiff"),
    "imagej": (".tif", ".tiff"),
    "ome-zarr": (".ome.zarr", ".zarr"),
}
# What some system does not take in the name of a file.
_STRANGE = re.compile(r'[\\/:*?"<>|\x00-\x1f]+')


def with_ending(path: Path, kind: str) -> Path:
    """The path with an ending that stands for a format.

    Parameters
    ----------
    path : Path
    kind : str
        A key of `FORMATS`.
    """
    name = path.name
    # The longest first: .ome.tif ends in .tif, too.
    for ending in sorted((e for all_ in _ENDINGS.values() for e in all_), key=len, reverse=True):
        if name.lower().endswith(ending) and name.lower() != ending:
            if ending in _ENDINGS[kind]:
                return path
            name = name[: -len(ending)]
            break
    return path.with_name(name + SUFFIXES[kind])


def file_name(name: str) -> str:
    """A name of a layer as the name of a file."""
    return _STRANGE.sub("_", name).strip(" .") or "image"


def result_name(name: str) -> str:
    """The name of the file for the result of a layer, without its ending."""
    # What napari leaves of .ome.tif is no part of a name.
    return file_name(f"{name.removesuffix('.ome')} denoised")


def suggested(layer: Image, kind: str, folder: Path | None = None) -> Path:
    """A file for the result of a layer, beside the file that the layer was read from.

    Parameters
    ----------
    layer : Image
    kind : str
        A key of `FORMATS`.
    folder : Path, optional
        Another folder.
    """
    file = layer.source.path
    if folder is None and file:
        folder = Path(file).parent
    return (folder or Path()) / (result_name(layer.name) + SUFFIXES[kind])


def ask_for_target(
    parent: QWidget,
    title: str,
    suggestion: Path,
    kinds: Sequence[str],
    on_chosen: Callable[[Path], None],
) -> None:
    """Open a dialog for the file to be.

    Parameters
    ----------
    parent : QWidget
    title : str
    suggestion : Path
        With a folder, or the bare name of a file: then the last folder is shown.
    kinds : sequence of str
        The formats to choose from, keys of `FORMATS`.
    on_chosen : callable
        Called with the path, which has the ending of the format.
    """
    filters = {f"{FORMATS[kind]} (*{SUFFIXES[kind]})": kind for kind in kinds}
    folder = str(suggestion.parent) if suggestion.is_absolute() else get_save_history()[0]
    dialog = file_dialog(parent, title, folder)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    # `when_free` asks, as it knows what a folder means here.
    dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
    dialog.setNameFilters(list(filters))
    dialog.selectFile(suggestion.name)

    def chosen(path: str) -> None:
        update_save_history(path)
        on_chosen(with_ending(Path(path), filters[dialog.selectedNameFilter()]))

    dialog.fileSelected.connect(chosen)
    dialog.open()


def ask_for_model_file(parent: QWidget, name: str, on_chosen: Callable[[Path], None]) -> None:
    """Open a dialog for the file that a model is saved to."""
    dialog = file_dialog(parent, "Save model", get_save_history()[0])
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilter(MODELS)
    # The suffix is added before the dialog asks whether to overwrite.
    dialog.setDefaultSuffix("safetensors")
    dialog.selectFile(f"{file_name(name)}.safetensors")

    def chosen(path: str) -> None:
        update_save_history(path)
        on_chosen(Path(path))

    dialog.fileSelected.connect(chosen)
    dialog.open()


def ask_for_folder(parent: QWidget, title: str, on_chosen: Callable[[Path], None]) -> None:
    """Open a dialog for the folder of many files."""
    dialog = file_dialog(parent, title, get_save_history()[0])
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)

    def chosen(path: str) -> None:
        update_save_history(str(Path(path) / "of it"))
        on_chosen(Path(path))

    dialog.fileSelected.connect(chosen)
    dialog.open()


def file_dialog(parent: QWidget, title: str, folder: str | None = None) -> QFileDialog:
    """A dialog for files, which is gone when it is closed.

    Parameters
    ----------
    parent : QWidget
    title : str
    folder : str, optional
        By default the one that was last opened from.
    """
    dialog = QFileDialog(parent, title, folder or get_open_history()[0])
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    return dialog


def when_free(
    parent: QWidget,
    targets: Sequence[Path],
    on_begin: Callable[[bool], None],
    on_resume: Callable[[], None] | None = None,
) -> None:
    """Ask what to do with what is there already, if anything is.

    Parameters
    ----------
    parent : QWidget
    targets : sequence of Path
        The files to be.
    on_begin : callable
        Called with whether what is there may be replaced.
    on_resume : callable, optional
        Called to go on with unfinished results and, of many files, to keep
        those that exist; not offered by default.
    """
    there = [path for path in targets if path.exists()]
    begun = [partial_of(path) for path in targets if unfinished(path)]
    if not (there or begun):
        on_begin(False)
        return
    box = QMessageBox(parent)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Replace?" if there else "Go on?")
    box.setText(" ".join(_said(there, "exists", "exist") + _unfinished(begun)))
    many = len(targets) > 1
    roles = QMessageBox.ButtonRole
    resume = None
    if (begun or many) and on_resume is not None:
        text = "&Keep and do the rest" if many else "&Go on with it"
        resume = _button(box, text, roles.AcceptRole, "resume")
    text = "&Replace" if there else "&Begin anew"
    replace = _button(box, text, roles.DestructiveRole, "replace")
    cancel = box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(cancel)

    def clicked(button: object) -> None:
        if button is replace:
            on_begin(True)
        elif resume is not None and button is resume and on_resume is not None:
            on_resume()

    box.buttonClicked.connect(clicked)
    box.open()


def _button(box: QMessageBox, text: str, role: QMessageBox.ButtonRole, name: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    box.addButton(button, role)
    return button


def _said(paths: Sequence[Path], one: str, many: str) -> list[str]:
    if not paths:
        return []
    if len(paths) == 1:
        return [f"{paths[0]} {one}."]
    return [f"{len(paths)} files {many} in {paths[0].parent}, such as {paths[0].name}."]


def _unfinished(folders: Sequence[Path]) -> list[str]:
    if not folders:
        return []
    if len(folders) == 1:
        return [f"An unfinished result lies in {folders[0]}."]
    return [f"{len(folders)} unfinished results lie in {folders[0].parent}."]
