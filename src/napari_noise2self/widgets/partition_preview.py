"""What the partition preview shows: it follows the settings and the view, and asks the data."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.engine.inspection import (
    donut,
    figures,
    hidden_in,
    labels_in,
    within,
)
from napari_noise2self.engine.partition import Grid
from napari_noise2self.widgets.dock import Links, unlink
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.partition_inquiry import Inquiry
from napari_noise2self.widgets.partition_layers import HIDDEN, TARGET, PartitionLayers
from napari_noise2self.widgets.partition_measurement import Measurement
from napari_noise2self.widgets.partition_shown import Shown
from napari_noise2self.widgets.scene import Scene, camera_of, canvas_size
from napari_noise2self.widgets.words import without_options

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_noise2self.engine.leakage import Block
    from napari_noise2self.engine.noise.report import Suggestion
    from napari_noise2self.widgets.partition_worker import Answer
    from napari_noise2self.widgets.session import Session

logger = logging.getLogger(__name__)

# Milliseconds without a further move of the view before the layers follow.
DEBOUNCE = 80
# "Zoom in" shows about so many pixels across.
PIXELS_ACROSS = 40

# What of a layer moves the preview when it changes.
_OF_LAYER = ("data", "name", "scale", "translate", "rotate", "shear", "affine", "units")


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
    measurement : Measurement
        The noise estimate.
    inquiry : Inquiry
    layers : PartitionLayers
    changed : Signal()
        Any of this has changed.
    """

    changed = Signal()

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        self._viewer = weakref.ref(viewer)
        self._session = session
        self.shown: Shown | None = None
        self.message = ""
        self.subset = 0
        self.inquiry = Inquiry(self._answered, self._failed)
        self.measurement = Measurement()
        self.measurement.changed.connect(self._measured)
        self._links: Links = []
        self._layer_links: Links = []
        self.layers = PartitionLayers(viewer, self._layers_changed)
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE)
        self._timer.timeout.connect(self.update)
        settings = session.settings
        # At once, but only once where several settings change together.
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.update)
        for name in ("partition", "width", "subsets", "extent", "volume", "context", "seed"):
            self._link(getattr(settings.events, name), self._update_soon)
        self._link(settings.events.layer, self._follow_layer)
        self._link(session.events.axes, self._axes_named)
        camera = camera_of(viewer)
        for event in (camera.events.center, camera.events.zoom):
            self._link(event, self._schedule)
        canvas = getattr(viewer, "canvas", None)  # napari < 0.9 has none
        if canvas is not None:
            self._link(canvas.events.size, self._schedule)
        for event in (viewer.dims.events.point, viewer.dims.events.order):
            self._link(event, self._schedule)
        self._link(viewer.dims.events.ndisplay, self._schedule)
        self._follow_layer()

    def close(self) -> None:
        """Take the layers away and listen to nothing any longer."""
        self._timer.stop()
        self._soon.stop()
        for links in (self._links, self._layer_links):
            unlink(links)
        self.inquiry.close()
        self.measurement.forget()
        self.layers.close()
        self.shown = None

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
        if self.shown is not None:
            self.measurement.start(self.shown.scene)

    def take_suggestion(self) -> None:
        """Use the suggested grid."""
        if self.suggestion is not None and not self._session.state.running:
            self._session.settings.take(self.suggestion.partition)

    @property
    def suggestion(self) -> Suggestion | None:
        """What the noise of the present layer suggests, if it was estimated."""
        return None if self.shown is None else self.measurement.suggestion(self.shown.scene)

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
        unlink(self._layer_links)
        self.inquiry.forget()
        self.measurement.drop()
        if layer is None:
            self.layers.clear()
            self.layers.start_over()
        else:
            for name in _OF_LAYER:
                event = getattr(layer.events, name, None)
                if event is not None:
                    event.connect(self._layer_edited)
                    self._layer_links.append((event, self._layer_edited))
        self.update()

    def _layer_edited(self, event: Any = None) -> None:
        if getattr(event, "type", "") == "data":
            self.inquiry.forget()
            self.measurement.forget()
        self._schedule()

    def _axes_named(self, _: Any = None) -> None:
        self.inquiry.forget()
        self.measurement.forget()
        self._update_soon()

    def _measured(self) -> None:
        if self.measurement.running:
            self.changed.emit()
        else:
            self.update()

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
        self.inquiry.drop()
        try:
            self.shown = self._look(viewer)
            self.message = ""
        except Noise2SelfError as error:
            self.shown, self.message = None, without_options(str(error))
        except Exception as error:  # whatever it is, the dock must stay alive
            logger.error("unexpected error in the partition preview", exc_info=error)
            self.shown, self.message = None, f"{type(error).__name__}: {error}"
        if self.shown is None:
            self.layers.hide()
        else:
            self._draw()
            self._ask(self.shown)
        self.changed.emit()

    def _look(self, viewer: napari.Viewer) -> Shown:
        settings = self._session.settings
        source = Source.of(settings.layer)
        config = settings.config(source.axes)
        layout = config.layout(source.data.shape, source.axes)
        scene = Scene.of(viewer, source, layout)
        chosen = settings.chosen_partition()
        suggestion = self.measurement.suggestion(scene)
        suggested = Grid.for_white_noise() if suggestion is None else suggestion.partition
        partition = suggested if chosen is None else chosen
        if config.context and isinstance(partition, Grid):
            # As training does: nothing is hidden in the neighbours of a target.
            partition = partition.beside(config.context, layout.spatial_shape[0])
        numbers = figures(partition, layout.spatial_shape)
        self.subset = min(self.subset, numbers.subsets - 1)
        window, shape = scene.window, layout.spatial_shape
        return Shown(
            scene=scene,
            partition=partition,
            automatic=chosen is None,
            measured=suggestion is not None,
            subset=self.subset,
            figures=numbers,
            labels=scene.laid_out(labels_in(partition, window)),
            hidden=scene.laid_out(hidden_in(partition, shape, window, self.subset)),
            donut=donut(partition, shape, window, self.subset),
        )

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
        inquiry = self.inquiry
        inquiry.ask(shown.scene, shown.partition, shown.subset)
        shown.leakage = inquiry.leakage
        if inquiry.block is not None:
            shown.values = self._values(inquiry.block, shown.scene)

    def _answered(self, answer: Answer) -> None:
        shown = self.shown
        if shown is None or answer.question.scene is not shown.scene:
            return
        shown.values = self._values(answer.block, shown.scene)
        shown.masked = answer.masked
        if answer.leakage is not None:
            shown.leakage = answer.leakage
        else:
            self.layers.show("masked", answer.masked, shown.scene)
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, Noise2SelfError):
            logger.error("the data in view could not be read", exc_info=error)
        if self.shown is not None:
            known = isinstance(error, Noise2SelfError)
            reason = without_options(str(error)) if known else f"{type(error).__name__}: {error}"
            self.shown.error = reason if known else f"The data in view could not be read: {reason}"
            self.layers.hide("masked")  # it shows something else
            self.changed.emit()

    @staticmethod
    def _values(block: Block, scene: Scene) -> NDArray[Any]:
        """The pixels of the scene, without their surroundings."""
        inner = within(block.window, block.outer)
        return scene.restored(block.values[(slice(None), *inner)])
