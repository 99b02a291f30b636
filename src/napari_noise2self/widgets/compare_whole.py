"""A whole layer denoised with what a comparison found: a calibrated filter or a saved model."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_noise2self.engine.layout import Layout
from napari_noise2self.widgets.compare_worker import Applied, application
from napari_noise2self.widgets.result_layer import ResultLayer
from napari_noise2self.widgets.task import Task

if TYPE_CHECKING:
    import napari

    from napari_noise2self.engine.events import Control
    from napari_noise2self.engine.ranking import Row
    from napari_noise2self.widgets.layers import Source


class Whole:
    """One denoising of a whole layer.

    Parameters
    ----------
    viewer : napari.Viewer
    source : Source
    row : Row
        Of a calibrated filter or a saved model.
    control : Control

    Attributes
    ----------
    progressed : Signal(str, float, float)
        What is done, the share that is done, the seconds left.
    ended : Signal(str)
        What came out.
    failed : Signal(Exception)
    """

    progressed = Signal(str, float, float)
    ended = Signal(str)
    failed = Signal(Exception)

    def __init__(self, viewer: napari.Viewer, source: Source, row: Row, control: Control) -> None:
        self._source, self._row, self._control = source, row, control
        maker = row.denoiser
        config = getattr(maker, "config", maker)
        self._volume: bool = config.volume
        layout = Layout.of(source.data.shape, source.axes, self._volume)
        self._target = ResultLayer(viewer, source, layout)
        self._task: Task | None = None

    def start(self) -> None:
        """Start the worker."""
        source = self._source
        try:
            source.check_memory()
        except Exception as error:  # whatever it is, the button must not stay dead
            self.failed.emit(error)
            return
        self._task = Task(
            application,
            self._row.denoiser,
            source.data,
            source.axes,
            self._volume,
            self._control,
            on_result=self._take,
            on_error=self._fail,
            on_end=self._end,
        )

    def abandon(self) -> None:
        """End the work and take away what is unfinished."""
        self._control.stop()
        if self._task is not None:
            self._task.drop()
        self._target.discard()

    def _take(self, applied: Applied) -> None:
        event = applied.event
        if event is not None:
            if event.frame is not None:
                self._target.show(applied.out, event.frame)
            doing = f"Denoising with {self._row.name}"
            self.progressed.emit(doing, event.fraction, event.seconds_left)
            return
        maker, row = self._row.denoiser, self._row
        output = maker.resolved_output() if hasattr(maker, "resolved_output") else "single-pass"
        info = {
            "version": version("napari-noise2self"),
            "denoiser": row.name,
            "parameters": row.parameters,
            "settings": dict(row.settings),
            "output": output,
            "axes": self._source.axes,
            "seconds": round(applied.seconds, 3),
            "complete": applied.complete,
        }
        try:
            self._target.complete(applied.out, info)
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        made = f"{self._target.name} was made with {row.name}"
        self.ended.emit(f"{made}." if applied.complete else f"Stopped: {made}, not all of it.")

    def _fail(self, error: Exception) -> None:
        self._target.discard()
        self.failed.emit(error)

    def _end(self, task: Task) -> None:
        self._task = None
