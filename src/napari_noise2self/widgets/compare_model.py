"""What *Compare denoisers* of one viewer knows, and the work in threads that finds it out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.engine.events import Notice
from napari_noise2self.widgets.application import Application
from napari_noise2self.widgets.compare_choices import Choices, asked
from napari_noise2self.widgets.compare_curves import Curves
from napari_noise2self.widgets.compare_layers import Gallery, grid_of
from napari_noise2self.widgets.compare_region import Region, fits, is_small
from napari_noise2self.widgets.compare_words import versions
from napari_noise2self.widgets.compare_worker import Request, comparison
from napari_noise2self.widgets.layers import Source, images_in, of_same_shape
from napari_noise2self.widgets.runner import Runner, Stage

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_noise2self.engine.comparison import Comparison, ComparisonEvent
    from napari_noise2self.engine.ranking import Ranking, Row
    from napari_noise2self.widgets.controller import Controller


class Comparer(Runner):
    """Compares denoisers on the chosen layer of a viewer when it is asked to.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    controller : Controller
        Of the viewer: its settings are shared, and it trains networks on whole layers.

    Attributes
    ----------
    progressed : Signal()
        The progress has changed, or the curves.
    choices : Choices
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

    title, logged_as = "Compare", "comparing"

    def __init__(self, viewer: napari.Viewer, controller: Controller) -> None:
        super().__init__(viewer, controller)
        self.choices = Choices()
        self.region: Region | None = None
        self.ranking: Ranking | None = None
        self.comparison: Comparison | None = None
        self.chosen: Row | None = None
        self.curves = Curves()
        self.gallery: Gallery | None = None
        self._request: Request | None = None
        self._link(viewer.layers.events.removed, self._follow_layers)
        self._link(grid_of(viewer).events.enabled, self._follow_grid)

    def close(self) -> None:
        """Drop what is under way and let go of everything."""
        super().close()
        if self.gallery is not None:
            self.gallery.untile()
        self.gallery = self.region = self.ranking = self.comparison = self.chosen = None
        self._request = None
        self.choices = Choices()
        self.curves = Curves()

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
        if viewer is None or not self.idle:
            return
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
        self._begin(Stage.COMPARING, "Preparing")
        self._start(comparison, request, self._control, on_result=self._take_result)

    def stop(self) -> None:
        """End what is under way, also in *Denoise*, and keep what is complete."""
        if self.stage is Stage.IDLE:
            self.controller.stop()
        super().stop()

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
        if self.gallery is not None:
            self.gallery.untile()
        if "network" in row.settings:
            self._train(row, region)
            return
        self._begin(Stage.APPLYING, f"Denoising with {row.name}")
        info = {
            "denoiser": row.name,
            "parameters": row.parameters,
            "settings": dict(row.settings),
        }
        application = partial(
            Application, viewer, region.source, row.denoiser, row.name, info, self._control
        )
        self._apply([application])

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
        return self.idle and self.favourite is not None and self.source_there

    @property
    def source_there(self) -> bool:
        """Whether the layer that was compared on is still in the viewer."""
        viewer, region = self._viewer(), self.region
        return viewer is not None and region is not None and region.source.layer in viewer.layers

    def truths(self) -> list[Image]:
        """The layers that can be the truth of the chosen one."""
        viewer, layer = self._viewer(), self.session.settings.layer
        if viewer is None or layer is None:
            return []
        return of_same_shape(layer, images_in(viewer))

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
        self.changed.emit()

    def _train(self, row: Row, region: Region) -> None:
        """Train the network of a row on the whole layer, the way *Denoise* does."""
        from napari_noise2self.engine.partition import Grid, partition_from

        self.message = ""
        chosen, settings = self.session.settings, row.settings
        partition = partition_from(settings["partition"])
        assert isinstance(partition, Grid)  # all that noise reports suggest
        chosen.layer = region.source.layer
        chosen.take(partition)
        for name in ("network", "epochs", "output", "volume", "seed"):
            setattr(chosen, name, settings[name])
        # What was compared is a network that sees no neighbours, leaves the channels to the engine,
        # and learns from the image alone; here from all of it.
        chosen.context, chosen.channel_use = 0, "auto"
        chosen.region, chosen.target = "all", None
        self.controller.train()
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
