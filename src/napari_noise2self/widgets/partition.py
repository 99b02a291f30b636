"""The *J partition preview* dock: what is hidden from the network, and what it is shown."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_noise2self.widgets.controller import controller_of
from napari_noise2self.widgets.controls import VerticalScrollArea
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

    from napari_noise2self.widgets.session import Session

# The settings and two of the pictures.
_LEAST_HEIGHT = 360
# What lives as long as the dock is docked: at most one preview, and its connections.
_Links = list[tuple[Any, Callable[..., None]]]


class PartitionWidget(QWidget):
    """See the partition J of a layer, subset by subset.

    The settings are those of the *Denoise* dock of the same viewer.  The
    layers that it adds go when it is closed.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        viewer: napari.Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._viewer = weakref.ref(viewer)
        self.session: Session = controller_of(viewer).session
        self._previews: list[Preview] = []
        self._links: _Links = []
        # The widget may die with its window, without a word to Python code.
        self.destroyed.connect(partial(_close, self._previews, self._links))
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
        self._lay_out()
        self._attach()

    @property
    def preview(self) -> Preview | None:
        """What is shown; None once the dock is closed."""
        return self._previews[0] if self._previews else None

    # -- construction --------------------------------------------------------

    def _lay_out(self) -> None:
        content = QWidget()
        inner = QVBoxLayout(content)
        inner.setContentsMargins(6, 6, 6, 6)
        parts = (self.form, self.walk, self.pictures, self.layer_choice, self.words)
        for part in parts:
            inner.addWidget(part)
        inner.addStretch(1)
        area = VerticalScrollArea(_LEAST_HEIGHT)
        area.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)

    def _link(self, signal: Any, slot: Callable[..., None]) -> None:
        signal.connect(slot)
        self._links.append((signal, slot))

    def _attach(self) -> None:
        viewer = self._viewer()
        if self._previews or viewer is None:
            return
        preview = Preview(viewer, self.session)
        self._previews.append(preview)
        for name in ("inserted", "removed", "reordered", "renamed"):
            self._link(getattr(viewer.layers.events, name), self._show_layers)
        for name in self.form.controls:
            event = getattr(self.session.settings.events, name)
            self._link(event, partial(self._show_setting, name))
        self._link(self.session.events.state, self._show_possible)
        self._link(self.session.events.has_z, self._show_possible)
        self._link(preview.changed, self._show)
        self._show_layers()
        for name in self.form.controls:
            self._show_setting(name)
        self._show()

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Notice when napari takes the widget out of its dock, or docks it again."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is None:
                _close(self._previews, self._links)
                self.form.show_layers([], None)  # hold no layer any longer
                self.walk.show_shown(None)
            else:
                self._attach()

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
        self.form.show_possible(session.settings.partition, session.has_z, session.state.running)
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


def _close(previews: list[Preview], links: _Links, _: object = None) -> None:
    """Let go of everything the dock listens to, also after Qt has deleted it."""
    for signal, slot in links:
        try:
            signal.disconnect(slot)
        except (ValueError, RuntimeError, KeyError):  # pragma: no cover - gone already
            continue
    links.clear()
    while previews:
        previews.pop().close()
