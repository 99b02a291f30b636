"""The *Denoise* dock: views on the left hand, the controller of the viewer on the right."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QLabel

from napari_noise2self.widgets.controller import Controller, controller_of
from napari_noise2self.widgets.controls import SwitchButton
from napari_noise2self.widgets.dock import Dock
from napari_noise2self.widgets.layers import images_in
from napari_noise2self.widgets.progress_view import OutcomeView, ProgressView
from napari_noise2self.widgets.session import State
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


class DenoiseWidget(Dock):
    """Denoise a layer of the viewer without a clean image.

    All docks of one viewer show the same session.  When the last one is
    closed, the work ends and its memory is freed.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.settings = SettingsView()
        self.settings.edited.connect(self._edit)
        self.room = QLabel()
        self.room.setObjectName("room")
        self.room.setAccessibleName("Where the result goes")
        self.room.setWordWrap(True)
        self.progress = ProgressView()
        self.outcome = OutcomeView()
        self.outcome.save_requested.connect(self._ask_where_to_save)
        self.train_button = SwitchButton()
        self.train_button.setObjectName("train")
        self.train_button.clicked.connect(self._train_or_stop)
        self.pause_button = SwitchButton()
        self.pause_button.setObjectName("pause")
        self.pause_button.clicked.connect(self._pause_or_resume)
        buttons = QHBoxLayout()
        buttons.addWidget(self.train_button, 2)
        buttons.addWidget(self.pause_button, 1)
        self.lay_out(self.settings, self.room, buttons, self.progress, self.outcome)
        self.attach()

    # -- construction --------------------------------------------------------

    def opened(self, viewer: napari.Viewer) -> _Attachment:
        """Take part in what the controller of the viewer does."""
        self._controller = controller_of(viewer)
        return _Attachment(self._controller)

    def connected(self, viewer: napari.Viewer) -> None:
        """Listen to the layers and the session."""
        session = self.session
        self.link_layers(viewer, self._show_layers)
        self.link(viewer.events.theme, self._show_theme)
        for name in self._settings():
            self.link(getattr(session.settings.events, name), partial(self._show_setting, name))
        self.link(session.events.state, self._show_state)
        self.link(session.events.axes, self._show_axes)
        self.link(session.events.room, self._show_room)
        self.link(session.events.axes_note, self._show_axes)
        self.link(session.events.whole_ranges, self._show_ranges)
        self.link(session.events.ranges_error, self._show_ranges)
        self.link(session.events.message, self._show_state)
        self.link(session.events.outcome, self._show_state)
        self.link(session.events.progress, self._show_progress)
        self.link(session.events.points, self._show_curves)
        self.link(session.events.devices, self.settings.show_devices)
        self._show_layers()
        for name in self._settings():
            self._show_setting(name)
        self._show_axes()
        self._show_ranges()
        self._show_room()
        self.settings.show_devices(session.devices)
        self._show_theme()
        self._show_state()
        self._show_progress()
        self._show_curves()

    def emptied(self) -> None:
        """Hold no layer any longer."""
        self.settings.show_value("target", None)
        self.settings.show_layers([], None)

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

    def _show_ranges(self, _: Any = None) -> None:
        session = self.session
        error = session.ranges_error
        # As long as nothing was typed, it says what to type.
        if error and session.settings.ranges.strip():
            error = f"⚠ {error}"
        self.settings.show_ranges(session.whole_ranges, error)

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


class _Attachment:
    """One of the docks of a controller, which ends its work when the last one is closed."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._number = next(_numbers)
        controller.attach(self._number)

    def close(self) -> None:
        self._controller.detach(self._number)
