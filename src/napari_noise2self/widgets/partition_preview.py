"""What the partition preview shows: it follows the settings and the view, and asks the data."""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.engine.inspection import (
    Donut,
    Figures,
    donut,
    figures,
    hidden_in,
    labels_in,
)
from napari_noise2self.engine.partition import Grid, Partition
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.partition_layers import HIDDEN, TARGET, PartitionLayers
from napari_noise2self.widgets.partition_worker import (
    Answer,
    Question,
    Task,
    answers,
    suggestions,
)
from napari_noise2self.widgets.scene import Scene, camera_of, canvas_size

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_noise2self.engine.leakage import Block, Leakage
    from napari_noise2self.engine.noise_report import Suggestion
    from napari_noise2self.widgets.session import Session

logger = logging.getLogger(__name__)

# Milliseconds without a further move of the view before the layers follow.
DEBOUNCE = 80
# A slow read may be under way while a newer one begins; no more than that.
MOST_TASKS = 2
# Milliseconds for the window to draw before PyTorch is imported, which slows it down.
PATIENCE = 500
# "Zoom in" shows about so many pixels across.
PIXELS_ACROSS = 40

# What of a layer moves the preview when it changes.
_OF_LAYER = ("data", "name", "scale", "translate", "rotate", "shear", "affine", "rgb")


@dataclass
class Shown:
    """What is known of the present view.

    Attributes
    ----------
    scene : Scene
    partition : Partition
    automatic : bool
        Whether the settings leave the partition to the noise estimate.
    subset : int
    figures : Figures
    labels : ndarray of int32
        The subset of each pixel, of the shape of the layers.
    hidden : ndarray of bool
        Targets and their blocks, of the same shape.
    donut : Donut or None
    values, masked : ndarray or None
        The image and the masked input; None until they are read.
    leakage : Leakage or None
    error : str
        Why the data in view could not be used.
    """

    scene: Scene
    partition: Partition
    automatic: bool
    subset: int
    figures: Figures
    labels: NDArray[np.int32]
    hidden: NDArray[np.bool_]
    donut: Donut | None
    values: NDArray[Any] | None = None
    masked: NDArray[Any] | None = None
    leakage: Leakage | None = None
    error: str = ""


@dataclass(frozen=True)
class _Measured:
    """A suggestion, and what it is of."""

    layer: weakref.ref[Any]
    volume: bool
    suggestion: Suggestion


@dataclass
class _Memory:
    """What was read and checked last, for the same part of the same data."""

    block_key: Any = None
    block: Block | None = None
    leakage_key: Any = None
    leakage: Leakage | None = None


class Preview:
    """The partition of the chosen layer, as layers and as something to show beside them.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    session : Session
        Shared with the other docks of the viewer.

    Attributes
    ----------
    shown : Shown or None
        What can be seen now; None where there is nothing to show.
    message : str
        Why there is nothing to show.
    subset : int
        The subset that is hidden.
    changed : Signal()
        `shown` or `message` has changed.
    measured : Signal()
        The noise estimate has begun, ended or failed.
    """

    changed = Signal()
    measured = Signal()

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        self._viewer = weakref.ref(viewer)
        self._session = session
        self.shown: Shown | None = None
        self.message = ""
        self.subset = 0
        self.measuring = False
        self.measure_error = ""
        self._measured: _Measured | None = None
        self._measurement: Task | None = None
        self._memory = _Memory()
        self._tasks: list[Task] = []
        self._patient = False
        self._waiting: Question | None = None
        self._links: list[tuple[Any, Callable[..., None]]] = []
        self._layer_links: list[tuple[Any, Callable[..., None]]] = []
        self.layers = PartitionLayers(viewer, self._layers_changed)
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE)
        self._timer.timeout.connect(self.update)
        settings = session.settings
        self._later = QTimer()
        self._later.setSingleShot(True)
        self._later.setInterval(PATIENCE)
        self._later.timeout.connect(self._start_waiting)
        # At once, but only once where several settings change together.
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.update)
        for name in ("partition", "width", "subsets", "extent", "volume", "seed"):
            self._link(getattr(settings.events, name), self._update_soon)
        self._link(settings.events.layer, self._follow_layer)
        camera = camera_of(viewer)
        for event in (camera.events.center, camera.events.zoom):
            self._link(event, self._schedule)
        for event in (viewer.dims.events.point, viewer.dims.events.order):
            self._link(event, self._schedule)
        self._link(viewer.dims.events.ndisplay, self._schedule)
        self._follow_layer()

    def close(self) -> None:
        """Take the layers away and listen to nothing any longer."""
        for timer in (self._timer, self._soon, self._later):
            timer.stop()
        for links in (self._links, self._layer_links):
            _unlink(links)
        self._drop_tasks()
        if self._measurement is not None:
            self._measurement.drop()
        self._waiting = None
        self.layers.close()
        self.shown = None
        self._memory = _Memory()

    # -- what the user does --------------------------------------------------

    def choose(self, subset: int) -> None:
        """Hide this subset."""
        if subset != self.subset:
            self.subset = subset
            self.update()

    def want(self, kind: str, wanted: bool) -> None:
        """Show or hide one of the layers."""
        if self.layers.wanted[kind] != wanted:
            self.layers.wanted[kind] = wanted
            self._draw()
            self.changed.emit()

    def zoom_in(self) -> None:
        """Zoom until single pixels can be seen."""
        viewer, shown = self._viewer(), self.shown
        if viewer is None or shown is None:
            return
        camera = camera_of(viewer)
        centre = list(camera.center)
        place = shown.scene.centre()
        lead = viewer.dims.ndim - len(place)
        for number, axis in enumerate(viewer.dims.displayed[-2:]):
            if axis >= lead:
                centre[number - 2] = place[axis - lead]
        camera.center = tuple(centre)
        across = shown.scene.pixel_size() * PIXELS_ACROSS
        camera.zoom = min(canvas_size(viewer)) / across

    def measure(self) -> None:
        """Estimate the noise of the layer, in a worker."""
        if self.measuring or self.shown is None:
            return
        source, volume = self.shown.scene.source, self.shown.scene.layout.volume
        layer = weakref.ref(source.layer)

        def keep(suggestion: Suggestion) -> None:
            self._measured = _Measured(layer, volume, suggestion)

        self.measuring, self.measure_error = True, ""
        self._measurement = Task(
            suggestions,
            source.data,
            source.axes,
            volume,
            on_result=keep,
            on_error=self._measure_failed,
            on_end=self._measure_ended,
        )
        self.measured.emit()

    def take_suggestion(self) -> None:
        """Use the suggested grid."""
        if self.suggestion is not None and not self._session.state.running:
            self._session.settings.take(self.suggestion.partition)

    @property
    def suggestion(self) -> Suggestion | None:
        """What the noise of the present layer suggests, if it was estimated."""
        known = self._measured
        if known is None or self.shown is None:
            return None
        scene = self.shown.scene
        fits = known.layer() is scene.source.layer and known.volume == scene.layout.volume
        return known.suggestion if fits else None

    # -- what moves it -------------------------------------------------------

    def _link(self, signal: Any, slot: Callable[..., None]) -> None:
        signal.connect(slot)
        self._links.append((signal, slot))

    def _schedule(self, _: Any = None) -> None:
        self._timer.start()

    def _update_soon(self, _: Any = None) -> None:
        self._soon.start()

    def _follow_layer(self, _: Any = None) -> None:
        layer = self._session.settings.layer
        _unlink(self._layer_links)
        self.layers.clear()
        self._memory = _Memory()
        if self._measurement is not None:
            self._measurement.drop()
        self.measuring = False
        if layer is not None:
            for name in _OF_LAYER:
                event = getattr(layer.events, name, None)
                if event is not None:
                    event.connect(self._layer_edited)
                    self._layer_links.append((event, self._layer_edited))
        self.measured.emit()
        self.update()

    def _layer_edited(self, event: Any = None) -> None:
        if getattr(event, "type", "") == "data":
            self._memory = _Memory()
            self._measured = None
        self._schedule()

    def _layers_changed(self) -> None:
        if self.shown is not None:
            self._draw()
        self.changed.emit()

    def update(self, _: Any = None) -> None:
        """Show the present view with the present settings; the data answer later."""
        self._timer.stop()
        self._soon.stop()
        viewer = self._viewer()
        if viewer is None:
            return
        self._drop_tasks()
        self._waiting = None
        try:
            self.shown = self._look(viewer)
            self.message = ""
        except Noise2SelfError as error:
            self.shown, self.message = None, str(error)
        except Exception as error:  # whatever it is, the dock must stay alive
            logger.error("unexpected error in the partition preview", exc_info=error)
            self.shown, self.message = None, f"{type(error).__name__}: {error}"
        if self.shown is None:
            self.layers.clear()
        else:
            self._draw()
            self._ask(self.shown)
        self.changed.emit()

    def _look(self, viewer: napari.Viewer) -> Shown:
        settings = self._session.settings
        source = Source.of(settings.layer)
        scene = Scene.of(viewer, source, settings.volume)
        chosen = settings.chosen_partition()
        layout = scene.layout
        partition: Partition
        if chosen is not None:
            partition = chosen
        elif (suggestion := self._suggestion_for(scene)) is not None:
            partition = suggestion.partition
        else:
            partition = Grid.for_white_noise()
        numbers = figures(partition, layout.spatial_shape)
        self.subset = min(self.subset, numbers.subsets - 1)
        window, shape = scene.window, layout.spatial_shape
        return Shown(
            scene=scene,
            partition=partition,
            automatic=chosen is None,
            subset=self.subset,
            figures=numbers,
            labels=scene.laid_out(labels_in(partition, window)),
            hidden=scene.laid_out(hidden_in(partition, shape, window, self.subset)),
            donut=donut(partition, shape, window, self.subset),
        )

    def _suggestion_for(self, scene: Scene) -> Suggestion | None:
        known = self._measured
        if known is None or known.layer() is not scene.source.layer:
            return None
        return known.suggestion if known.volume == scene.layout.volume else None

    def _draw(self) -> None:
        """Bring the layers up to date with what is known."""
        shown = self.shown
        if shown is None:
            return
        targets = np.where(shown.hidden, HIDDEN, 0).astype(np.uint8)
        targets[shown.labels == shown.subset] = TARGET
        self.layers.show("subsets", shown.labels + 1, shown.scene)
        self.layers.show("targets", targets, shown.scene)
        self.layers.colour_targets(shown.subset)
        if shown.masked is not None:
            self.layers.show("masked", shown.masked, shown.scene)

    # -- what the data say ---------------------------------------------------

    def _ask(self, shown: Shown) -> None:
        scene, memory = shown.scene, self._memory
        extents = shown.partition.extents(len(scene.window))
        block_key = (scene.region, scene.layout, extents)
        leakage_key = (scene.region, scene.layout, shown.partition)
        if memory.block_key != block_key:
            memory.block_key, memory.block = block_key, None
        if memory.leakage_key != leakage_key:
            memory.leakage_key, memory.leakage = leakage_key, None
        shown.leakage = memory.leakage
        if memory.block is not None:
            shown.values = self._values(memory.block, scene)
        self._start(
            Question(scene, shown.partition, shown.subset, memory.block, memory.leakage is None)
        )

    def _start(self, question: Question) -> None:
        if len(self._tasks) >= MOST_TASKS:
            self._waiting = question  # the newest only
            return
        if "torch" not in sys.modules and not self._patient:
            self._patient, self._waiting = True, question
            self._later.start()
            return
        if self._later.isActive():
            self._waiting = question
            return
        task = Task(
            answers,
            question,
            on_result=self._answered,
            on_error=self._failed,
            on_end=self._ended,
        )
        self._tasks.append(task)

    def _drop_tasks(self) -> None:
        for task in self._tasks:
            task.drop()

    def _answered(self, answer: Answer) -> None:
        shown, memory = self.shown, self._memory
        if shown is None or answer.question.scene is not shown.scene:
            return
        memory.block = answer.block
        shown.values = self._values(answer.block, shown.scene)
        shown.masked = answer.masked
        if answer.leakage is not None:
            memory.leakage = shown.leakage = answer.leakage
        else:
            self.layers.show("masked", answer.masked, shown.scene)
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, Noise2SelfError):
            logger.error("the data in view could not be read", exc_info=error)
        if self.shown is not None:
            known = isinstance(error, Noise2SelfError)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            self.shown.error = reason if known else f"The data in view could not be read: {reason}"
            self.changed.emit()

    def _ended(self, task: Task) -> None:
        if task in self._tasks:
            self._tasks.remove(task)
        self._start_waiting()

    def _start_waiting(self) -> None:
        question, self._waiting = self._waiting, None
        if question is not None:
            self._start(question)

    @staticmethod
    def _values(block: Block, scene: Scene) -> NDArray[Any]:
        """The pixels of the scene, without their surroundings."""
        inner = tuple(
            slice(part.start - outer.start, part.stop - outer.start)
            for part, outer in zip(block.window, block.outer, strict=True)
        )
        return scene.restored(block.values[(slice(None), *inner)])

    def _measure_failed(self, error: Exception) -> None:
        known = isinstance(error, Noise2SelfError)
        if not known:
            logger.error("the noise estimate failed", exc_info=error)
        self.measure_error = str(error) if known else f"{type(error).__name__}: {error}"

    def _measure_ended(self, task: Task) -> None:
        if task is not self._measurement:
            return
        self._measurement = None
        if self.measuring:
            self.measuring = False
            self.measured.emit()
            self.update()


def _unlink(links: list[tuple[Any, Callable[..., None]]]) -> None:
    for signal, slot in links:
        try:
            signal.disconnect(slot)
        except (ValueError, RuntimeError, KeyError):  # pragma: no cover - gone already
            continue
    links.clear()
