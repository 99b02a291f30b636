"""The *Apply and export* dock: a model applied to layers and files, into layers and files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtWidgets import QHBoxLayout, QPushButton

from napari_noise2self.stacks.unfinished import unfinished
from napari_noise2self.widgets.controller import controller_of
from napari_noise2self.widgets.controls import selectable
from napari_noise2self.widgets.dock import Dock
from napari_noise2self.widgets.export_choices import FORMATS, Work
from napari_noise2self.widgets.export_model import Exporter
from napari_noise2self.widgets.export_view import ExportForm, ModelView
from napari_noise2self.widgets.progress_view import WorkView
from napari_noise2self.widgets.runner import Stage
from napari_noise2self.widgets.target_dialog import (
    ask_for_folder,
    ask_for_model_file,
    ask_for_target,
    suggested,
    when_free,
)

if TYPE_CHECKING:
    import napari
    from qtpy.QtGui import QDragEnterEvent, QDropEvent


class ExportWidget(Dock):
    """Apply a model to the selected layers or to files, and write the results.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.setAcceptDrops(True)
        self.model = ModelView()
        self.model.chosen.connect(self.ask("plan.choose"))
        self.model.load_requested.connect(self.ask("load"))
        self.model.tune_requested.connect(self.ask("tune"))
        self.model.save_requested.connect(self._ask_where_to_save)
        self.form = ExportForm()
        self.form.edited.connect(self._edit)
        self.form.files_chosen.connect(self.ask("plan.take_files"))
        self.form.where_requested.connect(self._ask_where)
        self.apply = self._button("Appl&y", "apply", self.ask("apply"))
        self.export = self._button("&Export", "export", self._export)
        self.resume = self._button("Res&ume", "resume", self._resume)
        self.stop = self._button("S&top", "stop", self.ask("stop"))
        self.apply.setToolTip("<qt>Denoise each selected layer into a new layer.</qt>")
        self.resume.setToolTip(
            "<qt>Go on with the unfinished result that is there. Of one image, model, output and "
            "type stay those that it was begun with.</qt>"
        )
        self.work = WorkView()
        self.message = selectable("message", "Message", plain=True)
        self.open = self._button("Ope&n the result", "open", self.ask("open_written"))
        self.open.setToolTip("<qt>Add what was written as layers, as their files have them.</qt>")
        buttons = QHBoxLayout()
        for button in (self.apply, self.export, self.resume, self.stop):
            buttons.addWidget(button)
        self.lay_out(self.model, self.form, buttons, self.work, self.message, self.open)
        self.attach()

    @property
    def exporter(self) -> Exporter | None:
        """What is known; None once the dock is closed."""
        return cast("Exporter", self._models[0]) if self._models else None

    # -- construction --------------------------------------------------------

    def _button(self, text: str, name: str, slot: Callable[..., None]) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(name)
        button.setAccessibleName(text.replace("&", ""))
        button.clicked.connect(lambda: slot())
        return button

    def opened(self, viewer: napari.Viewer) -> Exporter:
        """What is known from now on."""
        return Exporter(viewer, controller_of(viewer))

    def connected(self, viewer: napari.Viewer) -> None:
        """Listen to the exporter."""
        exporter = self.exporter
        assert exporter is not None
        self.link(exporter.changed, self._show)
        self.link(exporter.progressed, self._show_progress)
        self._show()

    def emptied(self) -> None:
        """Hold no model any longer."""
        self.model.box.clear()

    # -- what the user does --------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802
        """Take models, images and folders."""
        exporter = self.exporter
        if event is not None and _paths(event) and exporter is not None and exporter.idle:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802
        """Load a model that is dropped; take anything else as images."""
        exporter, paths = self.exporter, [] if event is None else _paths(event)
        if event is None or exporter is None or not paths:
            return
        event.acceptProposedAction()
        models = [path for path in paths if path.suffix.lower() == ".safetensors"]
        images = [path for path in paths if path not in models]
        if images:
            exporter.plan.take_files(images)
        if models:
            exporter.load(models[0])

    def _edit(self, name: str, value: Any) -> None:
        exporter = self.exporter
        if exporter is None:
            return
        if name == "axes":
            exporter.plan.name_axes(value)
        elif name == "where":
            exporter.plan.name_target(value)
        elif name == "images":
            self._show()  # nothing was chosen
        else:
            exporter.plan.set(name, value)

    def _ask_where(self, then: Callable[[], None] | None = None) -> None:
        """Ask for the file to be, or the folder, and go on."""
        exporter = self.exporter
        if exporter is None:
            return

        def chosen(path: Path) -> None:
            exporter.plan.name_target(path)
            if then is not None:
                then()

        plan = exporter.plan
        if plan.takes_folder:
            ask_for_folder(self, "The folder for the results", chosen)
            return
        kind = FORMATS[plan.choices.format].kind
        work = plan.known_work()
        if work is not None:
            suggestion = work.targets[0]
        elif plan.layers and not plan.choices.images:
            suggestion = suggested(plan.layers[0], kind)
        else:
            suggestion = Path("denoised")
        kinds = list(dict.fromkeys((kind, *(entry.kind for entry in FORMATS.values()))))
        ask_for_target(self, "The file for the result", suggestion, kinds, chosen)

    def _export(self) -> None:
        exporter = self.exporter
        if exporter is None:
            return
        plan = exporter.plan
        if plan.choices.folder is None and (plan.layers or plan.choices.images):
            self._ask_where(self._export)
            return
        exporter.look(self._export_when_free)

    def _export_when_free(self, work: Work) -> None:
        """Ask what to do with what is there already, and export."""
        exporter = self.exporter
        if exporter is None:
            return
        when_free(
            self,
            work.targets,
            lambda overwrite: exporter.export(work, overwrite=overwrite),
            # Of many those that exist are kept; of one it is known that it is to be replaced.
            lambda: exporter.export(work, resume=True, overwrite=len(work.targets) == 1),
        )

    def _resume(self) -> None:
        exporter = self.exporter
        work = None if exporter is None else exporter.plan.known_work()
        if exporter is None or work is None:
            return
        # What is unfinished beside a file that exists was begun to replace it.
        exporter.export(
            work,
            resume=True,
            overwrite=any(target.exists() and unfinished(target) for target in work.targets),
        )

    def _ask_where_to_save(self) -> None:
        exporter = self.exporter
        if exporter is None or exporter.plan.model is None:
            return
        ask_for_model_file(self, exporter.plan.model.name, exporter.save_model)

    # -- what it says --------------------------------------------------------

    def _show(self, _: Any = None) -> None:
        exporter = self.exporter
        if exporter is None:
            return
        idle, plan = exporter.idle, exporter.plan
        self.model.show_plan(plan, idle)
        self.form.show_plan(plan, idle)
        files = bool(plan.choices.images)
        ready = idle and plan.model is not None
        some = files or bool(plan.layers)
        self.apply.setVisible(not files)
        self.apply.setEnabled(ready and some and not files)
        self.export.setEnabled(ready and some)
        tip = "Choose a model first." if plan.model is None else "Denoise into files."
        self.export.setToolTip(f"<qt>{tip}</qt>")
        work = plan.known_work() if idle else None
        self.resume.setVisible(work is not None and work.can_go_on)
        busy = exporter.stage is not Stage.IDLE
        self.stop.setVisible(busy)
        stopping = exporter.stage is Stage.STOPPING
        self.stop.setText("Stopping…" if stopping else "S&top")
        self.stop.setEnabled(busy and not stopping and exporter.stage is not Stage.LOADING)
        self.message.setText(exporter.message)
        self.message.setVisible(bool(exporter.message))
        self.open.setVisible(idle and bool(exporter.written))
        self._show_progress()

    def _show_progress(self, _: Any = None) -> None:
        exporter = self.exporter
        if exporter is None:
            return
        if exporter.stage is not Stage.IDLE:
            self.work.show_work(exporter.doing, exporter.fraction, exporter.seconds_left)
        else:
            self.work.show_work("", math.nan)


def _paths(event: QDragEnterEvent | QDropEvent) -> list[Path]:
    data = event.mimeData()
    urls = [] if data is None else data.urls()
    return [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
