"""The noise estimate of the layer in view, and the grid that it suggests."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_noise2self.widgets.partition_worker import suggestions
from napari_noise2self.widgets.task import Task, sentence

if TYPE_CHECKING:
    from napari_noise2self.engine.layout import Layout
    from napari_noise2self.engine.noise.report import Suggestion
    from napari_noise2self.widgets.scene import Scene


class Measurement:
    """Estimates in a worker thread what suits the noise of a layer.

    Attributes
    ----------
    running : bool
    error : str
        Why the last one failed.
    changed : Signal()
        It has begun, ended or failed.
    """

    changed = Signal()

    def __init__(self) -> None:
        self.running = False
        self.error = ""
        self._task: Task | None = None
        self._known: tuple[weakref.ref[Any], Layout, Suggestion] | None = None

    def start(self, scene: Scene) -> None:
        """Estimate the noise of the layer of a scene."""
        if self.running:
            return
        source, layout = scene.source, scene.layout
        layer = weakref.ref(source.layer)

        def keep(suggestion: Suggestion) -> None:
            self._known = (layer, layout, suggestion)

        self.running, self.error = True, ""
        self._task = Task(
            suggestions,
            source.data,
            layout,
            on_result=keep,
            on_error=self._failed,
            on_end=self._ended,
        )
        self.changed.emit()

    def drop(self) -> None:
        """Hear nothing more of the estimate under way."""
        if self._task is not None:
            self._task.drop()
            self._task = None
        self.running, self.error = False, ""

    def forget(self) -> None:
        """What is known is of other data."""
        self.drop()
        self._known = None

    def suggestion(self, scene: Scene) -> Suggestion | None:
        """What was suggested for the layer of a scene, if it was estimated."""
        if self._known is None:
            return None
        layer, layout, suggestion = self._known
        fits = layer() is scene.source.layer and layout == scene.layout
        return suggestion if fits else None

    def _failed(self, error: Exception) -> None:
        self.error = sentence(error, "estimating the noise")

    def _ended(self, task: Task) -> None:
        if task is self._task:
            self._task, self.running = None, False
            self.changed.emit()
