"""What moves the session of a viewer: the layer list, the buttons and the worker."""

from __future__ import annotations

import math
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.engine.events import (
    Control,
    Event,
    Notice,
    PredictionEvent,
    TrainingEvent,
    WritingEvent,
)
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.growing import Growing
from napari_noise2self.widgets.activity import Activity
from napari_noise2self.widgets.job import Destination, Job, Request
from napari_noise2self.widgets.layers import (
    Source,
    axes_note,
    images_in,
    known_axes,
    name_axes,
    possible_targets,
    room_note,
)
from napari_noise2self.widgets.learning_region import region_to_learn, typed_region, whole_ranges
from napari_noise2self.widgets.preferences import preferences
from napari_noise2self.widgets.result_layer import ResultLayer
from napari_noise2self.widgets.session import Outcome, Progress, Session, State
from napari_noise2self.widgets.task import sentence

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_noise2self.engine.pipeline import Result


class Controller:
    """Runs the denoising of one viewer.

    Get it from `controller_of`, so that all docks of a viewer share it.  It
    holds the viewer weakly.

    Attributes
    ----------
    session : Session
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self.session = Session()
        self._viewer = weakref.ref(viewer)
        self._docks: set[int] = set()
        self._job: Job | None = None
        self._source: Source | None = None
        self._layout: Layout | None = None
        self._target: ResultLayer | None = None
        self._followed: Image | None = None
        events = self.session.events
        self._activity = Activity(self._doing, events.state, events.progress)
        self._prediction_began = False
        self._taught_by: str | None = None
        viewer.layers.events.inserted.connect(self._follow_layers)
        viewer.layers.events.removed.connect(self._follow_layers)
        for event in (
            viewer.dims.events.point,
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
        ):
            event.connect(self._follow_position)
        self.session.settings.events.preview.connect(self._follow_position)
        self.session.settings.events.layer.connect(self._follow_layer)
        for name in ("region", "ranges"):
            getattr(self.session.settings.events, name).connect(self._check_ranges)
        self._follow_layers()

    # -- docks ---------------------------------------------------------------

    def attach(self, dock: int) -> None:
        """Say that the dock with this number is open."""
        if not self._docks and not self.session.state.running:
            self._take_preferences()
            self._find_devices()
        self._docks.add(dock)

    def detach(self, dock: int) -> None:
        """Say that it was closed; without any dock, nothing goes on."""
        self._docks.discard(dock)
        if not self._docks:
            self.abandon()

    # -- what the user can do ------------------------------------------------

    def select_active(self) -> None:
        """Choose the active layer of the viewer, if it is an image."""
        viewer = self._viewer()
        active = viewer.layers.selection.active if viewer is not None else None
        if viewer is None or self.session.state.running:
            return
        if active in images_in(viewer):
            self.session.settings.layer = active

    def name_axes(self, text: str) -> None:
        """Say what the axes of the chosen layer mean; empty: take that back."""
        layer = self.session.settings.layer
        if layer is None or self.session.state.running:
            return
        try:
            name_axes(layer, text)
        except Noise2SelfError as error:
            show_error(str(error))

    def needs_file(self) -> bool:
        """Whether a file is to be named first: the result of the layer does not fit into memory."""
        self._check_room()
        # Nobody is asked for a file for what is refused anyway.
        return bool(self.session.room) and not self.session.ranges_error

    def train(self, file: Path | None = None, *, overwrite: bool = False) -> None:
        """Start a run with the present settings.

        Parameters
        ----------
        file : Path, optional
            The file to be of a result that does not fit into memory.
        overwrite : bool
            Whether what is there may be replaced.
        """
        session, viewer = self.session, self._viewer()
        if session.state.running or viewer is None:
            return
        if session.ranges_error:
            # Before the last run is forgotten, with a model that may not be saved.
            show_error(session.ranges_error)
            return
        session.begin()
        settings = session.settings
        try:
            source = Source.of(settings.layer)
            config = settings.config(source.axes)
            layout = config.layout(source.data.shape, source.axes)
            stack = source.stack()
            destination = None
            if file is not None:
                destination = Destination(file, overwrite, source.file)
            else:
                source.check_memory()
            target = None if settings.target is None else Source.of(settings.target.layer)
            region = region_to_learn(settings.region, viewer, source, layout, settings.ranges)
        except Exception as error:  # whatever it is, the button must not stay dead
            self._on_failed(error)
            return
        self._source, self._layout = source, layout
        self._target = ResultLayer(viewer, source, layout)
        self._prediction_began = False
        self._taught_by = target.name if target is not None else None
        learned_from = target.data if target is not None else None
        self._job = Job(Request(stack, config, learned_from, destination, region), Control())
        self._job.reported.connect(self._on_event)
        self._job.finished.connect(self._on_finished)
        self._job.failed.connect(self._on_failed)
        self._follow_position()
        self._job.start(viewer)

    def stop(self) -> None:
        """End the present phase and keep what there is."""
        if self._job is not None and self.session.state.can_stop:
            self.session.state = State.STOPPING
            self._job.control.stop()

    def pause(self) -> None:
        """Let the work wait."""
        pausable = (State.TRAINING, State.PREDICTING)
        if self._job is not None and self.session.state in pausable:
            self.session.state = State.PAUSED
            self._job.control.pause()

    def resume(self) -> None:
        """Let the work go on."""
        if self._job is not None and self.session.state is State.PAUSED:
            predicting = self._prediction_began
            self.session.state = State.PREDICTING if predicting else State.TRAINING
            self._job.control.resume()

    def abandon(self) -> None:
        """Drop a run and whatever it has not finished."""
        if self._job is None:
            return
        self._job.abandon()
        if self._target is not None:
            self._target.discard()
        self._release()
        self.session.end(State.IDLE, "")

    def save_model(self, path: Path) -> None:
        """Write the trained model to a file."""
        outcome = self.session.outcome
        if outcome is None:
            return
        try:
            outcome.denoiser.save(path)
        except (Noise2SelfError, OSError) as error:
            show_error(sentence(error, "saving a model"))
        else:
            show_info(f"The model was saved as {path.name}.")

    # -- what the worker says ------------------------------------------------

    def _on_event(self, event: Event | WritingEvent) -> None:
        session = self.session
        if session.devices is None:
            self._find_devices()
        if isinstance(event, Notice):
            show_info(event.message)
            return
        if isinstance(event, TrainingEvent):
            self._on_training(event)
        else:
            self._on_prediction(event)
        out = self._job.out if self._job is not None else None
        if self._target is None or out is None:
            return
        frame = getattr(event, "frame", None)
        # A frame that is too large for memory is written, and shown, in parts.
        if frame is not None or (isinstance(event, PredictionEvent) and isinstance(out, Growing)):
            self._target.show(out, frame)

    def _on_training(self, event: TrainingEvent) -> None:
        session = self.session
        if session.state is State.PREPARING:
            session.state = State.TRAINING
        loss = event.loss
        if math.isfinite(loss):
            session.loss.append(event.epoch, loss)
        elif session.progress is not None:
            loss = session.progress.loss
        if event.score is not None:
            session.score.append(event.epoch, event.score)
        session.progress = Progress(
            fraction=event.step / event.steps,
            seconds_left=event.seconds_left,
            epoch=event.epoch,
            epochs=event.epochs,
            loss=loss,
        )
        session.points += 1

    def _on_prediction(self, event: PredictionEvent | WritingEvent) -> None:
        if not self._prediction_began:
            # Also out of STOPPING: that stop ended the training.
            self._prediction_began = True
            if self.session.state is not State.PAUSED:
                self.session.state = State.PREDICTING
        self.session.progress = Progress(event.fraction, event.seconds_left)

    def _on_finished(self, result: Result | None) -> None:
        target = self._target
        self._release()
        if target is None:
            return
        if result is None:
            target.discard()
            self.session.end(State.IDLE, "Stopped before anything was learned.")
            return
        info = result.info
        if self._taught_by is not None:
            info = info | {"target": {"layer": self._taught_by, **info.get("target", {})}}
        lost = isinstance(result.image, Growing) and not result.image.begun
        try:
            if lost:
                target.discard()
            else:
                target.complete(result.image, info)
        except Exception as error:  # whatever it is, the button must not stay dead
            self._target = target
            self._on_failed(error)
            return
        outcome = Outcome(target.name, result.denoiser, info, result.complete)
        message = "" if result.complete else "Stopped: part of the layer is not denoised."
        if lost:
            message = "Stopped before anything was written; what was learned is kept."
        elif isinstance(result.image, Growing) and not result.complete:
            message += " Go on with it in the dock Apply and export."
        if result.error is not None:
            message = f"Part of the layer is not denoised. {result.error}"
            show_error(message)
        self.session.end(State.DONE, message, outcome)

    def _on_failed(self, error: Exception) -> None:
        if self._target is not None:
            self._target.discard()
        self._release()
        message = sentence(error, "denoising")
        self.session.end(State.FAILED, message)
        show_error(message)

    def _release(self) -> None:
        """Let go of everything that belongs to one run."""
        self._job = self._source = self._layout = self._target = None

    # -- what the viewer says ------------------------------------------------

    def _follow_layers(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        settings = self.session.settings
        images = images_in(viewer)
        if settings.layer not in images:
            active = viewer.layers.selection.active
            settings.layer = active if active in images else next(reversed(images), None)
        self._check_target(images)

    def _check_target(self, images: list[Image]) -> None:
        """Learn from the layer itself again where the target is gone or does not fit."""
        settings = self.session.settings
        target = settings.target
        if target is not None and target.layer not in possible_targets(settings.layer, images):
            settings.target = None

    def _follow_layer(self, layer: Image | None) -> None:
        for followed, change in ((self._followed, "disconnect"), (layer, "connect")):
            if followed is not None:
                for name in ("axis_labels", "data", "metadata"):
                    getattr(getattr(followed.events, name), change)(self._follow_axes)
        self._followed = layer
        self._follow_axes()
        viewer = self._viewer()
        if viewer is not None:
            self._check_target(images_in(viewer))

    def _follow_axes(self, event: Any = None) -> None:
        session, layer = self.session, self._followed
        axes = None if layer is None else known_axes(layer)
        session.axes_note = "" if axes is None else axes_note(axes)
        self._check_room()
        self._check_ranges()
        session.axes = "" if axes is None else axes.letters

    def _check_room(self) -> None:
        try:
            self.session.room = room_note(Source.of(self._followed))
        except Noise2SelfError:  # it is said when it is tried
            self.session.room = ""

    def _check_ranges(self, _: Any = None) -> None:
        session, settings = self.session, self.session.settings
        whole = wrong = ""
        try:
            source = Source.of(self._followed)
            whole = whole_ranges(source)
            if settings.region == "ranges":
                typed_region(settings.ranges, source)
        except Noise2SelfError as error:
            # What is wrong with the layer itself is said when it is tried.
            wrong = str(error) if whole else ""
        session.whole_ranges, session.ranges_error = whole, wrong

    def _follow_position(self, event: Any = None) -> None:
        """Make previews of what is in view."""
        viewer = self._viewer()
        if self._job is None or self._source is None or self._layout is None or viewer is None:
            return
        frame = depth = None
        if self.session.settings.preview:
            position = self._source.position(viewer.dims.point)
            frame = self._layout.frame_at(position)
            if not self._source.shows(self._layout.depth, viewer.dims):
                depth = self._layout.depth_at(position)
        self._job.control.preview_depth = depth
        self._job.control.preview_frame = frame

    # -- the surroundings ----------------------------------------------------

    def _doing(self) -> tuple[str, float] | None:
        """What the activity dock says."""
        now = self.session.progress
        return None if now is None else (f"Denoise: {self.session.state.value}", now.fraction)

    def _take_preferences(self) -> None:
        preferred = preferences()
        self.session.settings.device = preferred.device
        self.session.settings.preview = preferred.live_preview

    def _find_devices(self) -> None:
        """Look at what is there, unless that would import PyTorch."""
        torch = sys.modules.get("torch")
        if torch is None or getattr(torch.__spec__, "_initializing", False):
            return
        from napari_noise2self.engine.hardware import describe_devices

        self.session.devices = {
            str(row["name"]): str(row["description"])
            for row in describe_devices()
            if row["available"]
        }


_controllers: weakref.WeakKeyDictionary[napari.Viewer, Controller] = weakref.WeakKeyDictionary()


def controller_of(viewer: napari.Viewer) -> Controller:
    """The controller of a viewer, the same one for all of its docks."""
    # A viewer that napari hands to a command is wrapped.
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _controllers:
        _controllers[viewer] = Controller(viewer)
    return _controllers[viewer]
