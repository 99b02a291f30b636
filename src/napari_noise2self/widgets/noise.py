"""The *Noise report* dock: what the noise of a layer is, and what a denoiser left of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QFrame, QVBoxLayout, QWidget

from napari_noise2self.widgets.controller import controller_of
from napari_noise2self.widgets.controls import VerticalScrollArea
from napari_noise2self.widgets.layers import images_in
from napari_noise2self.widgets.noise_inspector import Inspector
from napari_noise2self.widgets.noise_view import NoiseForm, NoiseView, ResidualView
from napari_noise2self.widgets.theme import Colours

if TYPE_CHECKING:
    import napari

    from napari_noise2self.widgets.session import Session

# Below another dock it gets no more than this.
_LEAST_HEIGHT = 320

# What lives as long as the dock is docked: at most one inspector, and its connections.
_Links = list[tuple[Any, Callable[..., None]]]


class NoiseWidget(QWidget):
    """Learn what the noise of a layer is, and whether denoising took away nothing else.

    The chosen layer is that of the other docks of the same viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        viewer: napari.Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._viewer = weakref.ref(viewer)
        self.session: Session = controller_of(viewer).session
        self._inspectors: list[Inspector] = []
        self._links: _Links = []
        self._channel = 0
        # The widget may die with its window, without a word to Python code.
        self.destroyed.connect(partial(_close, self._inspectors, self._links))
        self.form = NoiseForm()
        self.form.edited.connect(self._edit)
        self.noise = NoiseView()
        self.noise.measure_requested.connect(self._ask("measure"))
        self.noise.cancel_requested.connect(self._ask("cancel"))
        self.noise.defects_requested.connect(self._ask("look_for_defects"))
        self.noise.take_requested.connect(self._ask("take_suggestion"))
        self.residual = ResidualView()
        self.residual.examine_requested.connect(self._examine)
        self.residual.cancel_requested.connect(self._ask("cancel"))
        self.residual.map_requested.connect(self._ask("show_map"))
        self._lay_out()
        self._attach()

    @property
    def inspector(self) -> Inspector | None:
        """What is known; None once the dock is closed."""
        return self._inspectors[0] if self._inspectors else None

    # -- construction --------------------------------------------------------

    def _lay_out(self) -> None:
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        content = QWidget()
        inner = QVBoxLayout(content)
        inner.setContentsMargins(6, 6, 6, 6)
        for part in (self.form, self.noise, line, self.residual):
            inner.addWidget(part)
        inner.addStretch(1)
        area = VerticalScrollArea()
        area.setWidget(content)
        area.setMinimumHeight(_LEAST_HEIGHT)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)

    def _link(self, signal: Any, slot: Callable[..., None]) -> None:
        signal.connect(slot)
        self._links.append((signal, slot))

    def _attach(self) -> None:
        viewer = self._viewer()
        if self._inspectors or viewer is None:
            return
        inspector = Inspector(viewer, self.session)
        self._inspectors.append(inspector)
        for name in ("inserted", "removed", "reordered", "renamed"):
            self._link(getattr(viewer.layers.events, name), self._show_layers)
        settings = self.session.settings.events
        self._link(settings.layer, self._show_layers)
        for name in ("partition", "width", "extent"):
            self._link(getattr(settings, name), self._show)
        self._link(self.session.events.state, self._show)
        self._link(viewer.events.theme, self._show_colours)
        self._link(inspector.changed, self._show)
        self._show_layers()
        self._show_colours()

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Notice when napari takes the widget out of its dock, or docks it again."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is None:
                _close(self._inspectors, self._links)
                self.form.show_layers([], None)  # hold no layer any longer
                self.residual.show_candidates([])
            else:
                self._attach()

    # -- what the user does --------------------------------------------------

    def _edit(self, name: str, value: Any) -> None:
        if name == "channel":
            self._channel = value or 0
            self._show()
        else:
            setattr(self.session.settings, name, value)

    def _ask(self, wish: str) -> Callable[..., None]:
        def ask(*_: Any) -> None:
            if self.inspector is not None:
                getattr(self.inspector, wish)()

        return ask

    def _examine(self, denoised: Any) -> None:
        if self.inspector is not None:
            self.inspector.examine(denoised)

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


def _close(inspectors: list[Inspector], links: _Links, _: object = None) -> None:
    """Let go of everything the dock listens to, also after Qt has deleted it."""
    for signal, slot in links:
        try:
            signal.disconnect(slot)
        except (ValueError, RuntimeError, KeyError):  # pragma: no cover - gone already
            continue
    links.clear()
    while inspectors:
        inspectors.pop().close()
