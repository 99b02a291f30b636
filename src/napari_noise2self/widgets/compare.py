"""The *Compare denoisers* dock: a ranking for one image, without ground truth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from napari_noise2self.widgets.compare_model import Comparer
from napari_noise2self.widgets.compare_results import CurvesView, ResultsView
from napari_noise2self.widgets.compare_view import CandidatesView, CompareForm
from napari_noise2self.widgets.controller import controller_of
from napari_noise2self.widgets.controls import SwitchButton, selectable
from napari_noise2self.widgets.dock import Dock
from napari_noise2self.widgets.layers import images_in
from napari_noise2self.widgets.progress_view import WorkView, describe
from napari_noise2self.widgets.runner import Stage
from napari_noise2self.widgets.session import State
from napari_noise2self.widgets.theme import Colours
from napari_noise2self.widgets.words import escaped

if TYPE_CHECKING:
    import napari


class CompareWidget(Dock):
    """Rank denoisers on a layer, look at their results, and take one for the whole layer.

    The chosen layer is that of the other docks of the same viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.form = CompareForm()
        self.form.edited.connect(self._edit)
        self.candidates = CandidatesView()
        self.candidates.ticked.connect(self.ask("tick"))
        self.candidates.model_chosen.connect(self.ask("add_model"))
        self.compare = SwitchButton()
        self.compare.setObjectName("compare")
        self.compare.clicked.connect(self._compare_or_stop)
        self.work = WorkView()
        self.message = selectable("message", "Message")
        self.results = ResultsView()
        self.results.chosen.connect(self.ask("choose"))
        self.results.tile_requested.connect(self.ask("tile"))
        self.results.whole_requested.connect(self.ask("denoise_whole"))
        self.curves = CurvesView()
        parts = (self.form, self.candidates, self.compare, self.work, self.message)
        self.lay_out(*parts, self.results, self.curves)
        self.attach()

    @property
    def comparer(self) -> Comparer | None:
        """What is known; None once the dock is closed."""
        return cast("Comparer", self._models[0]) if self._models else None

    # -- construction --------------------------------------------------------

    def opened(self, viewer: napari.Viewer) -> Comparer:
        """What is known from now on."""
        return Comparer(viewer, controller_of(viewer))

    def connected(self, viewer: napari.Viewer) -> None:
        """Listen to the layers, the session and the comparer."""
        comparer = self.comparer
        assert comparer is not None
        self.link_layers(viewer, self._show_layers)
        self.link(self.session.settings.events.layer, self._show_layers)
        for name in ("state", "message"):
            self.link(getattr(self.session.events, name), self._show)
        self.link(self.session.events.progress, self._show_progress)
        self.link(viewer.events.theme, self._show_colours)
        self.link(comparer.changed, self._show)
        self.link(comparer.progressed, self._show_progress)
        self._show_layers()
        self._show_colours()

    def emptied(self) -> None:
        """Hold no layer and no result any longer."""
        self.form.show_layers([], None)
        self.form.show_truths([], None)
        self.results.table.show_ranking(None, None)

    # -- what the user does --------------------------------------------------

    def _edit(self, name: str, value: Any) -> None:
        comparer = self.comparer
        if comparer is None:
            return
        if name == "layer":
            self.session.settings.layer = value
        else:
            setattr(comparer.choices, name, value)

    def _compare_or_stop(self) -> None:
        comparer = self.comparer
        if comparer is None:
            return
        if not comparer.idle:
            comparer.stop()
            return
        comparer.compare()
        if comparer.stage is not Stage.IDLE:
            # Room for the table and the curve.
            self.candidates.fold.collapse(animate=False)

    # -- what it says --------------------------------------------------------

    def _show_layers(self, _: Any = None) -> None:
        viewer, comparer = self._viewer(), self.comparer
        if viewer is None or comparer is None:
            return
        self.form.show_layers(images_in(viewer), self.session.settings.layer)
        self.form.show_region(comparer.choices.whole, *comparer.may_be_whole())
        self.form.show_truths(comparer.truths(), comparer.choices.truth)
        self._show()

    def _show(self, _: Any = None) -> None:
        comparer, state = self.comparer, self.session.state
        if comparer is None:
            return
        busy = comparer.stage is not Stage.IDLE
        running = busy or state.running
        for name, control in self.form.controls.items():
            control.setEnabled(not running and (name != "truth" or self.form.truth.count() > 1))
        self.candidates.show_choices(comparer.choices, running)
        if comparer.stage is Stage.STOPPING or (not busy and state is State.STOPPING):
            text, tip = "Stopping…", "What is complete is kept"
        elif running:
            text, tip = "S&top", "End the present work and keep what is complete"
        else:
            text, tip = "&Compare", "Rank the ticked denoisers on this layer"
        self.compare.setText(text)
        self.compare.setAccessibleName(text.replace("&", ""))
        self.compare.setToolTip(f"<qt>{tip}</qt>")
        self.compare.setEnabled(text != "Stopping…")
        said = comparer.message or ("" if busy else self.session.message)
        self.message.setText(escaped(said))
        self.message.setVisible(bool(said))
        self.results.show_comparer(comparer)
        self._show_progress()

    def _show_progress(self, _: Any = None) -> None:
        comparer, progress = self.comparer, self.session.progress
        if comparer is None:
            return
        if comparer.stage is not Stage.IDLE:
            self.work.show_work(comparer.doing, comparer.fraction, comparer.seconds_left)
        elif progress is not None:
            self.work.show_work(f"Denoise: {describe(progress)}", progress.fraction)
        else:
            self.work.show_work("", math.nan)
        self.curves.show_comparer(comparer)

    def _show_colours(self, _: Any = None) -> None:
        viewer = self._viewer()
        if viewer is not None:
            self.curves.show_colours(Colours.of(viewer))
