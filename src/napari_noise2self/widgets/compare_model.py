"""What *Compare denoisers* of one viewer knows, and the work in threads that finds it out."""

from __future__ import annotations

import math
import weakref
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from psygnal import Signal

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.engine.events import Control, Notice
from napari_noise2self.widgets.activity import Activity
from napari_noise2self.widgets.compare_choices import Choices, asked, truths_of
from napari_noise2self.widgets.compare_curves import Curves
from napari_noise2self.widgets.compare_layers import Gallery, grid_of
from napari_noise2self.widgets.compare_region import Region, fits, is_small
from napari_noise2self.widgets.compare_whole import whole
from napari_noise2self.widgets.compare_words import versions
from napari_noise2self.widgets.compare_worker import Request, comparison
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.task import Task, sentence

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_noise2self.engine.comparison import Comparison, ComparisonEvent
    from napari_noise2self.engine.ranking import Ranking, Row
    from napari_noise2self.widgets.application import Application
    from napari_noise2self.widgets.controller import Controller


class Stage(Enum):
    """What is going on; the only thing that decides what can be clicked."""

    IDLE = "idle"
    COMPARING = "comparing"
    DENOISING = "denoising"
    STOPPING = "stopping"


class Comparer:
    """Compares denoisers on the chosen layer of a viewer when it is asked to.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    controller : Controller
        Of the viewer: its settings are shared, and it trains networks on whole layers.

    Attributes
    ----------
    changed : Signal()
        Anything below has changed but the progress.
    progressed : Signal()
        The progress has, or the curves.
    stage : Stage
    message : str
        What the user should know: a notice or an error.
    doing : str
        What is being done.
    fraction, seconds_left : float
        Of the work; NaN where it is not known.
    region : Region or None
        What the rows speak of.
    ranking : Ranking or None
        The rows so far.
    comparison : Comparison or None
        The whole of it, once it has ended.
    chosen : Row or None
        The row that was clicked.
    curves : Curves
    """

    changed = Signal()
    progressed = Signal()

    def __init__(self, viewer: napari.Viewer, controller: Controller) -> None:
        self._viewer = weakref.ref(viewer)
        self.controller = controller
        self.session = controller.session
        self.choices = Choices()
        self.stage = Stage.IDLE
        self.message = self.doing = ""
        self.fraction = self.seconds_left = math.nan
        self.region: Region | None = None
        self.ranking: Ranking | None = None
        self.comparison: Comparison | None = None
        self.chosen: Row | None = None
        self.curves = Curves()
        self.gallery: Gallery | None = None
        self._request: Request | None = None
        self._control = Control()
        self._task: Task | None = None
        self._whole: Application | None = None
        self._activity = Activity(self._doing, self.changed, self.progressed)
        viewer.layers.events.removed.connect(self._follow_layers)
        grid_of(viewer).events.enabled.connect(self._follow_grid)
        controller.attach(id(self))

    def close(self) -> None:
        """Drop what is under way and let go of everything."""
        viewer = self._viewer()
        if viewer is not None:
            viewer.layers.events.removed.disconnect(self._follow_layers)
            grid_of(viewer).events.enabled.disconnect(self._follow_grid)
        self._drop()
        self._activity.close()
        if self.gallery is not None:
            self.gallery.untile()
        self.gallery = self.region = self.ranking = self.comparison = self.chosen = None
        self._request = None
        self.choices = Choices()
        self.curves = Curves()
        self.controller.detach(id(self))

    # -- what the user can do ------------------------------------------------

    def tick(self, name: str, on: bool) -> None:
        """Take a denoiser in, or leave it out."""
        (self.choices.ticked.add if on else self.choices.ticked.discard)(name)
        self.changed.emit()

    def add_model(self, path: Path) -> None:
        """Take a saved model in."""
        name = str(path)
        if name not in self.choices.models:
            self.choices.models.append(name)
        self.tick(name, True)

    def compare(self) -> None:
        """Compare the chosen denoisers on the chosen layer."""
        viewer = self._viewer()
        if viewer is None or self.stage is not Stage.IDLE or self.session.state.running:
            return
        self.message = ""
        try:
            region, request = asked(viewer, self.session.settings, self.choices)
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        if self.gallery is not None:
            self.gallery.untile()
        self.region, self._request = region, request
        self.gallery = Gallery(viewer, region)
        self.ranking = self.comparison = self.chosen = None
        self.curves = Curves()
        self._control = Control()
        self._begin(Stage.COMPARING, "Preparing")
        self._task = Task(
            comparison,
            request,
            self._control,
            on_result=self._take_result,
            on_error=self._fail,
            on_end=self._end,
        )
        self.changed.emit()

    def stop(self) -> None:
        """End what is under way and keep what is complete."""
        if self.stage in (Stage.COMPARING, Stage.DENOISING):
            self.stage = Stage.STOPPING
            self._control.stop()
            self.changed.emit()
        elif self.stage is Stage.IDLE:
            self.controller.stop()

    def choose(self, row: Row) -> None:
        """Show a row as a layer, and let the other buttons speak of it."""
        self.chosen = row
        if self.gallery is not None:
            self.gallery.show(row)
        self.changed.emit()

    def tile(self, on: bool) -> None:
        """Show source and candidates side by side, or go back."""
        if self.gallery is not None and self.ranking is not None:
            if on:
                self.gallery.tile(self.ranking.rows)
            else:
                self.gallery.untile()
        self.changed.emit()

    def denoise_whole(self) -> None:
        """Denoise the whole layer with the chosen row, or with the best one."""
        row, region, viewer = self.favourite, self.region, self._viewer()
        if row is None or region is None or viewer is None or not self.can_denoise:
            return
        self.message = ""
        if self.gallery is not None:
            self.gallery.untile()
        if "network" in row.settings:
            self._train(row, region)
            return
        self._control = Control()
        self._begin(Stage.DENOISING, f"Denoising with {row.name}")
        self._whole = whole(viewer, region.source, row, self._control)
        self._whole.progressed.connect(self._show_progress)
        self._whole.ended.connect(self._whole_ended)
        self._whole.failed.connect(self._fail)
        self._whole.start()
        self.changed.emit()

    # -- what is known -------------------------------------------------------

    @property
    def favourite(self) -> Row | None:
        """The chosen row, or the best one where none with a result is chosen."""
        if self.chosen is not None and self.chosen.result is not None:
            return self.chosen
        rows = () if self.ranking is None else self.ranking.rows
        return next((row for row in rows if row.result is not None), None)

    @property
    def can_denoise(self) -> bool:
        """Whether the whole layer can be denoised now."""
        return (
            self.stage is Stage.IDLE
            and not self.session.state.running
            and self.favourite is not None
            and self.source_there
        )

    @property
    def source_there(self) -> bool:
        """Whether the layer that was compared on is still in the viewer."""
        viewer, region = self._viewer(), self.region
        return viewer is not None and region is not None and region.source.layer in viewer.layers

    def truths(self) -> list[Image]:
        """The layers that can be the truth of the chosen one."""
        viewer, layer = self._viewer(), self.session.settings.layer
        return [] if viewer is None or layer is None else truths_of(viewer, layer)

    def may_be_whole(self) -> tuple[bool, bool]:
        """Whether all of the chosen layer can be compared on, and whether it is by default."""
        try:
            source = Source.of(self.session.settings.layer)
        except Noise2SelfError:
            return False, False
        return fits(source), is_small(source)

    def to_json(self) -> dict[str, Any]:
        """The table with all that reproduces it."""
        assert self.comparison is not None
        assert self.region is not None
        assert self._request is not None
        return {
            "image": self.region.to_json(),
            "settings": self._request.to_json(),
            **self.comparison.to_json(),
            "versions": versions(),
        }

    # -- the work ------------------------------------------------------------

    def _begin(self, stage: Stage, doing: str) -> None:
        self.stage, self.doing = stage, doing
        self.fraction = self.seconds_left = math.nan

    def _doing(self) -> tuple[str, float] | None:
        """What napari's activity dock says."""
        return None if self.stage is Stage.IDLE else (f"Compare: {self.doing}", self.fraction)

    def _take_result(self, result: Any) -> None:
        if isinstance(result, Notice):
            self.message = result.message
            self.changed.emit()
        elif hasattr(result, "positions"):
            self._take_comparison(result)
        else:
            self._take_event(result)

    def _take_event(self, event: ComparisonEvent) -> None:
        if event.calibration is not None:
            self.curves.take(event.calibration)
        self._show_progress(event.doing, event.fraction, event.seconds_left)
        if event.ranking is not None:
            self.ranking = event.ranking
            self.changed.emit()

    def _take_comparison(self, found: Comparison) -> None:
        self.ranking, self.comparison = found.ranking, found
        if found.stopped:
            complete = any(row.result is not None for row in found.ranking.rows)
            self.message = (
                "Stopped: the rows that were complete are kept."
                if complete
                else "Stopped before any denoiser was done."
            )
        self.stage = Stage.IDLE
        self.changed.emit()

    def _show_progress(self, doing: str, fraction: float, seconds_left: float) -> None:
        self.doing, self.fraction, self.seconds_left = doing, fraction, seconds_left
        self.progressed.emit()

    def _train(self, row: Row, region: Region) -> None:
        """Train the network of a row on the whole layer, the way *Denoise* does."""
        from napari_noise2self.engine.partition import Grid, partition_from

        chosen, settings = self.session.settings, row.settings
        partition = partition_from(settings["partition"])
        assert isinstance(partition, Grid)  # all that noise reports suggest
        chosen.layer = region.source.layer
        chosen.take(partition)
        for name in ("network", "epochs", "output", "volume", "seed"):
            setattr(chosen, name, settings[name])
        # What was compared is a network that sees all channels and no neighbours, and learns from
        # the image alone; here from all of it.
        chosen.context, chosen.channel_use = 0, "together"
        chosen.region, chosen.target = "all", None
        self.controller.train()
        self.changed.emit()

    def _whole_ended(self, message: str, complete: bool) -> None:
        self._whole = None
        self.message = message
        self.stage = Stage.IDLE
        show_info(message)
        self.changed.emit()

    def _fail(self, error: Exception) -> None:
        self.message = sentence(error, "comparing")
        self._whole = None
        self.stage = Stage.IDLE
        self.changed.emit()

    def _drop(self) -> None:
        """End what is under way, and hear no more of it."""
        self._control.stop()
        if self._task is not None:
            self._task.drop()
            self._task = None
        if self._whole is not None:
            self._whole.abandon()
            self._whole = None
        self.stage = Stage.IDLE

    def _end(self, task: Task) -> None:
        if task is self._task:
            self._task = None
            if self._whole is None:
                self.stage = Stage.IDLE
            self.changed.emit()

    def _follow_layers(self, event: Any = None) -> None:
        """The layer is gone: nobody waits for what is computed of it."""
        if self.stage is not Stage.IDLE and not self.source_there:
            self._drop()
            self.message = "The layer was removed; the rows that were complete are kept."
        self.changed.emit()

    def _follow_grid(self, event: Any = None) -> None:
        """The user left the tiles by napari's own button."""
        if self.gallery is not None and not self.gallery.tiled:
            self.gallery.untile()
            self.changed.emit()
