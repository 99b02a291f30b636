"""The *J partition preview* dock: what is hidden from the network, and what it is shown."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from napari_noise2self.widgets.dock import Dock
from napari_noise2self.widgets.layers import images_in
from napari_noise2self.widgets.partition_pictures import Pictures
from napari_noise2self.widgets.partition_preview import Preview
from napari_noise2self.widgets.partition_view import (
    LayerChoice,
    PartitionForm,
    SubsetWalk,
    Words,
)

if TYPE_CHECKING:
    import napari


# The settings and two of the pictures.
_LEAST_HEIGHT = 360


class PartitionWidget(Dock):
    """See the partition J of a layer, subset by subset.

    The settings are those of the *Denoise* dock of the same viewer.  The
    layers that it adds go when it is closed.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.form = PartitionForm()
        self.form.edited.connect(self._edit)
        self.walk = SubsetWalk()
        self.walk.chosen.connect(self._choose)
        self.pictures = Pictures()
        self.layer_choice = LayerChoice()
        self.layer_choice.wanted.connect(self._want)
        self.layer_choice.zoom_requested.connect(self._zoom)
        self.words = Words()
        self.words.measure_requested.connect(self._measure)
        self.words.take_requested.connect(self._take)
        parts = (self.form, self.walk, self.pictures, self.layer_choice, self.words)
        self.lay_out(*parts, least=_LEAST_HEIGHT)
        self.attach()

    @property
    def preview(self) -> Preview | None:
        """What is shown; None once the dock is closed."""
        return cast("Preview", self._models[0]) if self._models else None

    # -- construction --------------------------------------------------------

    def opened(self, viewer: napari.Viewer) -> Preview:
        """What is shown from now on."""
        return Preview(viewer, self.session)

    def connected(self, viewer: napari.Viewer) -> None:
        """Listen to the layers, the settings and the preview."""
        preview = self.preview
        assert preview is not None
        self.link_layers(viewer, self._show_layers)
        for name in self.form.controls:
            event = getattr(self.session.settings.events, name)
            self.link(event, partial(self._show_setting, name))
        self.link(self.session.events.state, self._show_possible)
        self.link(self.session.events.axes, self._show_possible)
        self.link(preview.changed, self._show)
        self._show_layers()
        for name in self.form.controls:
            self._show_setting(name)
        self._show()

    def emptied(self) -> None:
        """Hold no layer any longer."""
        self.form.show_layers([], None)
        self.walk.show_shown(None)

    # -- what the user does --------------------------------------------------

    def _edit(self, name: str, value: Any) -> None:
        setattr(self.session.settings, name, value)

    def _choose(self, subset: int) -> None:
        if self.preview is not None:
            self.preview.choose(subset)

    def _want(self, kind: str, wanted: bool) -> None:
        if self.preview is not None:
            self.preview.want(kind, wanted)

    def _zoom(self) -> None:
        if self.preview is not None:
            self.preview.zoom_in()

    def _measure(self) -> None:
        if self.preview is not None:
            self.preview.measure()

    def _take(self) -> None:
        if self.preview is not None:
            self.preview.take_suggestion()

    # -- what it says --------------------------------------------------------

    def _show_layers(self, _: Any = None) -> None:
        viewer = self._viewer()
        if viewer is not None:
            self.form.show_layers(images_in(viewer), self.session.settings.layer)

    def _show_setting(self, name: str, _: Any = None) -> None:
        self.form.show_value(name, getattr(self.session.settings, name))
        self._show_possible()

    def _show_possible(self, _: Any = None) -> None:
        session = self.session
        self.form.show_possible(session.settings.partition, session.axes, session.state.running)
        self._show_words()

    def _show_words(self, _: Any = None) -> None:
        if self.preview is not None:
            self.words.show_preview(self.preview, self.session.state.running)

    def _show(self, _: Any = None) -> None:
        preview = self.preview
        if preview is None:
            return
        self.walk.show_shown(preview.shown)
        self.pictures.show_shown(preview.shown)
        self.layer_choice.show_preview(preview)
        self._show_words()
