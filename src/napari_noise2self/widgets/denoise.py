"""The *Denoise* dock: views on the left hand, the controller of the viewer on the right."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_noise2self.widgets.controller import Controller, controller_of
from napari_noise2self.widgets.controls import VerticalScrollArea
from napari_noise2self.widgets.layers import images_in
from napari_noise2self.widgets.progress_view import OutcomeView, ProgressView
from napari_noise2self.widgets.session import Session, State
from napari_noise2self.widgets.settings_view import SettingsView
from napari_noise2self.widgets.target_dialog import (
    ask_for_model_file,
    ask_for_target,
    suggested,
    when_free,
)
from napari_noise2self.widgets.theme import Colours

if TYPE_CHECKING:
    import napari

_numbers = itertools.count()


class DenoiseWidget(QWidget):
    """Denoise a layer of the viewer without a clean image.

    All docks of one viewer show the same session.  When the last one is
    closed, the work ends and its memory is freed.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        viewer: napari.Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._viewer = weakref.ref(viewer)
        self._controller = controller_of(viewer)
        self._number = next(_numbers)
        self._links: list[tuple[Any, Callable[..., None]]] = []
        # The widget may die with its window, without a word to Python code.
        self.destroyed.connect(partial(_close, self._controller, self._number, self._links))

        self.settings = SettingsView()
        self.settings.edited.connect(self._edit)
        self.room = QLabel()
        self.room.setObjectName("room")
        self.room.setAccessibleName("Where the result goes")
        self.room.setWordWrap(True)
        self.progress = ProgressView()
        self.outcome = OutcomeView()
        self.outcome.save_requested.connect(self._ask_where_to_save)
        self.train_button = QPushButton()
        self.train_button.setObjectName("train")
        self.train_button.clicked.connect(self._train_or_stop)
        self.pause_button = QPushButton()
        self.pause_button.setObjectName("pause")
        self.pause_button.clicked.connect(self._pause_or_resume)
        self._lay_out()
        self._attach()

    @property
    def session(self) -> Session:
        """The session that this dock shows."""
        return self._controller.session

    # -- construction --------------------------------------------------------

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.train_button, 2)
        buttons.addWidget(self.pause_button, 1)
        content = QWidget()
        inner = QVBoxLayout(content)
        inner.setContentsMargins(6, 6, 6, 6)
        inner.addWidget(self.settings)
        inner.addWidget(self.room)
        inner.addLayout(buttons)
        inner.addWidget(self.progress)
        inner.addWidget(self.outcome)
        inner.addStretch(1)
        area = VerticalScrollArea()
        area.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)

    def _link(self, signal: Any, slot: Callable[..., None]) -> None:
        signal.connect(slot)
        self._links.append((signal, slot))

    def _attach(self) -> None:
        viewer = self._viewer()
        if self._links or viewer is None:
            return
        self._controller.attach(self._number)
        session = self.session
        for signal in viewer.layers.events.inserted, viewer.layers.events.removed:
            self._link(signal, self._show_layers)
        self._link(viewer.layers.events.reordered, self._show_layers)
        self._link(viewer.layers.events.renamed, self._show_layers)
        self._link(viewer.events.theme, self._show_theme)
        for name in self._settings():
            self._link(getattr(session.settings.events, name), partial(self._show_setting, name))
        self._link(session.events.state, self._show_state)
        self._link(session.events.has_z, self._show_state)
        self._link(session.events.axes, self._show_axes)
        self._link(session.events.room, self._show_room)
        self._link(session.events.axes_note, self._show_axes)
        self._link(session.events.message, self._show_state)
        self._link(session.events.outcome, self._show_state)
        self._link(session.events.progress, self._show_progress)
        self._link(session.events.points, self._show_curves)
        self._link(session.events.devices, self.settings.show_devices)
        self._show_layers()
        for name in self._settings():
            self._show_setting(name)
        self._show_axes()
        self._show_room()
        self.settings.show_devices(session.devices)
        self._show_theme()
        self._show_state()
        self._show_progress()
        self._show_curves()

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Notice when napari takes the widget out of its dock, or docks it again."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is None:
                _close(self._controller, self._number, self._links)
                self.settings.show_layers([], None)  # hold no layer any longer
            else:
                self._attach()

    # -- what the user does --------------------------------------------------

    def _edit(self, name: str, value: Any) -> None:
        if name == "axes":
            # They belong to the layer, and are not a setting.
            self._controller.name_axes(value)
            self._show_axes()
        else:
            setattr(self.session.settings, name, value)

    def _train_or_stop(self) -> None:
        if self.session.state.running:
            self._controller.stop()
        elif self._controller.needs_file():
            self._ask_where_to_write()
        else:
            self._controller.train()

    def _pause_or_resume(self) -> None:
        if self.session.state is State.PAUSED:
            self._controller.resume()
        else:
            self._controller.pause()

    def _ask_where_to_write(self) -> None:
        layer = self.session.settings.layer
        assert layer is not None  # or there would be nothing to write
        ask_for_target(
            self,
            "Write the denoised layer to",
            suggested(layer, "ome-zarr"),
            ("ome-zarr", "ome-tiff"),
            lambda path: when_free(self, [path], partial(self._write_to, path)),
        )

    def _write_to(self, path: Path, overwrite: bool) -> None:
        self._controller.train(path, overwrite=overwrite)

    def _ask_where_to_save(self) -> None:
        outcome = self.session.outcome
        if outcome is None:
            return
        ask_for_model_file(self, outcome.name, self._controller.save_model)

    # -- what the session says -----------------------------------------------

    def _show_layers(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        self.settings.show_layers(images_in(viewer), self.session.settings.layer)

    def _show_setting(self, name: str, value: Any = None) -> None:
        self.settings.show_value(name, getattr(self.session.settings, name))

    def _settings(self) -> list[str]:
        return [name for name in self.settings.controls if name != "axes"]

    def _show_axes(self, _: Any = None) -> None:
        self.settings.axes.show_axes(self.session.axes, self.session.axes_note)
        self.settings.show_possible(self.session.axes)

    def _show_room(self, _: Any = None) -> None:
        self.room.setText(self.session.room)
        self.room.setVisible(bool(self.session.room))

    def _show_state(self, _: Any = None) -> None:
        session = self.session
        state = session.state
        self.settings.show_running(state.running)
        if state is State.STOPPING:
            text, tip = "Stopping…", "What was learned so far is kept"
        elif state is State.PREDICTING:
            text, tip = "S&top", "End now and keep the frames that are done"
        elif state.running:
            text, tip = "S&top", "End the training and denoise with what was learned so far"
        else:
            text, tip = "&Train", "Learn from the layer and denoise it"
        self.train_button.setText(text)
        self.train_button.setToolTip(tip)
        self.train_button.setAccessibleName(text.replace("&", ""))
        self.train_button.setEnabled(state.can_stop or not state.running)
        paused = state is State.PAUSED
        self.pause_button.setText("Res&ume" if paused else "Pa&use")
        self.pause_button.setToolTip("Go on" if paused else "Leave the computer to something else")
        self.pause_button.setAccessibleName("Resume" if paused else "Pause")
        self.pause_button.setEnabled(state.can_pause)
        self.progress.show_session(session)
        self.outcome.show_session(session)

    def _show_progress(self, _: Any = None) -> None:
        self.progress.show_session(self.session)

    def _show_curves(self, _: Any = None) -> None:
        self.progress.show_curves(self.session)

    def _show_theme(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is not None:
            self.progress.show_colours(Colours.of(viewer))


def _close(
    controller: Controller,
    number: int,
    links: list[tuple[Any, Callable[..., None]]],
    _: object = None,
) -> None:
    """Let go of everything a dock listens to, also after Qt has deleted it."""
    for signal, slot in links:
        try:
            signal.disconnect(slot)
        except (ValueError, RuntimeError, KeyError):  # pragma: no cover - gone already
            continue
    links.clear()
    controller.detach(number)
