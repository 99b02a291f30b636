"""The *Noise report* dock: what the noise of a layer is, and what a denoiser left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from qtpy.QtWidgets import QFrame

from napari_noise2self.widgets.dock import Dock
from napari_noise2self.widgets.layers import images_in
from napari_noise2self.widgets.noise_inspector import Inspector
from napari_noise2self.widgets.noise_view import NoiseForm, NoiseView, ResidualView
from napari_noise2self.widgets.theme import Colours

if TYPE_CHECKING:
    import napari


# Below another dock it gets no more than this.
_LEAST_HEIGHT = 320


class NoiseWidget(Dock):
    """Learn what the noise of a layer is, and whether denoising took away nothing else.

    The chosen layer is that of the other docks of the same viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self._channel = 0
        self.form = NoiseForm()
        self.form.edited.connect(self._edit)
        self.noise = NoiseView()
        self.noise.measure_requested.connect(self.ask("measure"))
        self.noise.cancel_requested.connect(self.ask("cancel"))
        self.noise.defects_requested.connect(self.ask("look_for_defects"))
        self.noise.take_requested.connect(self.ask("take_suggestion"))
        self.residual = ResidualView()
        self.residual.examine_requested.connect(self.ask("examine"))
        self.residual.cancel_requested.connect(self.ask("cancel"))
        self.residual.map_requested.connect(self.ask("show_map"))
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        self.lay_out(self.form, self.noise, line, self.residual, least=_LEAST_HEIGHT)
        self.attach()

    @property
    def inspector(self) -> Inspector | None:
        """What is known; None once the dock is closed."""
        return cast("Inspector", self._models[0]) if self._models else None

    # -- construction --------------------------------------------------------

    def opened(self, viewer: napari.Viewer) -> Inspector:
        """What is known from now on."""
        return Inspector(viewer, self.session)

    def connected(self, viewer: napari.Viewer) -> None:
        """Listen to the layers, the settings and the inspector."""
        inspector = self.inspector
        assert inspector is not None
        self.link_layers(viewer, self._show_layers)
        settings = self.session.settings.events
        self.link(settings.layer, self._show_layers)
        for name in ("partition", "width", "extent"):
            self.link(getattr(settings, name), self._show)
        self.link(self.session.events.state, self._show)
        self.link(viewer.events.theme, self._show_colours)
        self.link(inspector.changed, self._show)
        self._show_layers()
        self._show_colours()

    def emptied(self) -> None:
        """Hold no layer any longer."""
        self.form.show_layers([], None)
        self.residual.show_candidates([])

    # -- what the user does --------------------------------------------------

    def _edit(self, name: str, value: Any) -> None:
        if name == "channel":
            self._channel = value or 0
            self._show()
        else:
            setattr(self.session.settings, name, value)

    # -- what it says --------------------------------------------------------

    def _show_layers(self, _: Any = None) -> None:
        viewer, inspector = self._viewer(), self.inspector
        if viewer is None or inspector is None:
            return
        self.form.show_layers(images_in(viewer), self.session.settings.layer)
        self.residual.show_candidates(inspector.candidates())
        self._show()

    def _show(self, _: Any = None) -> None:
        inspector = self.inspector
        if inspector is None:
            return
        measured = inspector.measured
        count = 1 if measured is None else len(measured.maps)
        self.form.show_channels(count)
        channel = min(self._channel, count - 1)
        self.noise.show_inspector(inspector, channel, self.session.state.running)
        self.residual.show_inspector(inspector, channel)

    def _show_colours(self, _: Any = None) -> None:
        viewer = self._viewer()
        if viewer is not None:
            colours = Colours.of(viewer)
            self.noise.show_colours(colours)
            self.residual.show_colours(colours)
