"""What the noise report of one viewer knows, and the work in threads that finds it out."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_noise2self.engine.layout import Layout
from napari_noise2self.widgets.layers import Source, images_in, of_same_shape
from napari_noise2self.widgets.noise_layers import show_defects, show_map
from napari_noise2self.widgets.noise_worker import (
    Defects,
    Measured,
    examine,
    find_defects,
    measure,
)
from napari_noise2self.widgets.task import Task, sentence

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_noise2self.engine.residual.examine import ResidualReport
    from napari_noise2self.widgets.session import Session

# What is under way, by its name.
MEASURING, EXAMINING, LOOKING = "measuring", "examining", "looking"
# The settings that say which axes the noise is looked at along.
_OF_DEPTH = ("volume", "context")


class Inspector:
    """Measures the chosen layer of a viewer when it is asked to.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    session : Session
        Shared with the other docks of the viewer.

    Attributes
    ----------
    changed : Signal()
        Anything below has changed.
    busy : str
        What is under way: `MEASURING`, `EXAMINING`, `LOOKING`, or nothing.
    message, residual_message : str
        What the user should know: an error, or what was found.
    measured : Measured or None
        The noise of the chosen layer; None until it was measured.
    residual : ResidualReport or None
        Of the chosen layer and the last denoised one that was examined.
    """

    changed = Signal()

    def __init__(self, viewer: napari.Viewer, session: Session) -> None:
        self._viewer = weakref.ref(viewer)
        self._session = session
        self._task: Task | None = None
        self._layer: Image | None = None
        self._source: Source | None = None
        self.busy = ""
        self.message = ""
        self.residual_message = ""
        self.measured: Measured | None = None
        self.residual: ResidualReport | None = None
        session.settings.events.layer.connect(self._follow_layer)
        for name in _OF_DEPTH:
            getattr(session.settings.events, name).connect(self._forget)
        session.events.axes.connect(self._forget)
        self._follow_layer(session.settings.layer)

    def close(self) -> None:
        """Drop what is under way and let go of the layer."""
        self._session.settings.events.layer.disconnect(self._follow_layer)
        for name in _OF_DEPTH:
            getattr(self._session.settings.events, name).disconnect(self._forget)
        self._session.events.axes.disconnect(self._forget)
        self._follow_layer(None)

    # -- what the user can do ------------------------------------------------

    def measure(self) -> None:
        """Estimate the noise of the chosen layer."""
        self.message = ""
        self._begin(MEASURING, self._measure_source)

    def examine(self, denoised: Image | None) -> None:
        """Examine what a denoised layer lacks of the chosen one."""
        self.residual_message = ""
        if denoised is None:
            self.residual_message = "There is no other layer of the same shape: denoise first."
            self.changed.emit()
            return
        self._begin(EXAMINING, lambda source: self._examine_source(source, denoised))

    def look_for_defects(self) -> None:
        """Mark the hot and dead pixels of the frame in view."""
        self.message = ""
        self._begin(
            LOOKING,
            lambda s: (find_defects, s.data, s.axes, self._frame_in_view(s)),
        )

    def cancel(self) -> None:
        """Drop what is under way."""
        if self._task is not None:
            self._task.drop()
        self._task, self.busy = None, ""
        self.changed.emit()

    def show_map(self) -> None:
        """Show where the residual is not noise alone, as a layer."""
        viewer, residual, source = self._viewer(), self.residual, self._source
        if viewer is None or residual is None or residual.map is None or source is None:
            return
        show_map(viewer, source, residual.map)

    def take_suggestion(self) -> None:
        """Take the suggested partition over into the settings of the viewer."""
        if self.measured is not None and not self._session.state.running:
            self._session.settings.take(self.measured.report.suggestion.partition)
            self.changed.emit()

    @property
    def taken(self) -> bool:
        """Whether the settings are those that are suggested."""
        if self.measured is None:
            return False
        settings, grid = self._session.settings, self.measured.report.suggestion.partition
        return (settings.partition, settings.width, settings.extent) == (
            "grid",
            grid.width,
            grid.extent,
        )

    def candidates(self) -> list[Image]:
        """Layers of the shape of the chosen one, those that were denoised here first."""
        viewer, chosen = self._viewer(), self._layer
        if viewer is None or chosen is None:
            return []
        ours = f"{chosen.name} denoised"
        # A result says how it was made once it is finished.
        return sorted(
            of_same_shape(chosen, images_in(viewer)),
            key=lambda x: (not x.name.startswith(ours), "noise2self" not in x.metadata),
        )

    # -- the work ------------------------------------------------------------

    def _begin(self, what: str, work: Any) -> None:
        self.cancel()
        try:
            source = Source.of(self._session.settings.layer)
            function, *arguments = work(source)
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(what, error)
            return
        self._source = source
        self.busy = what
        self._task = Task(
            function,
            *arguments,
            on_result=self._take_result,
            on_error=lambda error: self._fail(what, error),
            on_end=self._end,
        )
        self.changed.emit()

    def _measure_source(self, source: Source) -> tuple[Any, ...]:
        return measure, source.data, self._layout(source)

    def _examine_source(self, source: Source, denoised: Image) -> tuple[Any, ...]:
        other = Source.of(denoised)
        return (
            examine,
            source.data,
            other.data,
            self._layout(source),
            self._frame_in_view(source),
            self.measured,
        )

    def _layout(self, source: Source) -> Layout:
        """How the layer is read with the present settings."""
        config = self._session.settings.config(source.axes)
        return config.layout(source.data.shape, source.axes)

    def _frame_in_view(self, source: Source) -> int:
        viewer = self._viewer()
        layout = Layout.of(source.data.shape, source.axes)
        return 0 if viewer is None else layout.frame_at(source.position(viewer.dims.point))

    def _take_result(self, result: Any) -> None:
        if isinstance(result, Measured):
            self.measured = result
        elif isinstance(result, Defects):
            self._take_defects(result)
        else:
            self.residual = result
        self.changed.emit()

    def _take_defects(self, found: Defects) -> None:
        viewer = self._viewer()
        hot, dead = len(found.hot), len(found.dead)
        if viewer is None or self._source is None:
            return
        if hot or dead:
            show_defects(viewer, self._source, found)
        self.message = f"In the frame in view: {hot} hot and {dead} dead pixels."

    def _fail(self, what: str, error: Exception) -> None:
        said = sentence(error, "measuring the noise")
        if what == EXAMINING:
            self.residual_message = said
        else:
            self.message = said
        self.busy = ""
        self.changed.emit()

    def _end(self, task: Task) -> None:
        if task is self._task:
            self._task, self.busy = None, ""
            self.changed.emit()

    # -- what the viewer says ------------------------------------------------

    def _follow_layer(self, layer: Image | None) -> None:
        if self._layer is not None:
            self._layer.events.data.disconnect(self._notice_new_data)
        self._layer = layer
        if layer is not None:
            layer.events.data.connect(self._notice_new_data)
        self._forget()

    def _notice_new_data(self, event: Any = None) -> None:
        known = self.measured is not None or self.residual is not None
        self._forget()
        if known:
            self.message = "The layer has changed: measure again."
            self.changed.emit()

    def _forget(self, _: Any = None) -> None:
        self.measured = self.residual = self._source = None
        self.message = self.residual_message = ""
        self.cancel()
