"""What the docks share: they scroll, and let go of everything when they are taken away."""

from __future__ import annotations

import contextlib
import operator
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QLayout, QVBoxLayout, QWidget

from napari_noise2self.widgets.controller import controller_of
from napari_noise2self.widgets.controls import VerticalScrollArea

if TYPE_CHECKING:
    import napari

    from napari_noise2self.widgets.session import Session

Links = list[tuple[Any, Callable[..., None]]]


class Model(Protocol):
    """What a dock shows, as long as it is docked."""

    def close(self) -> None:
        """Drop what is under way and let go of everything."""


class Dock(QWidget):
    """A widget that napari docks, takes out of its dock, and docks again.

    A subclass makes its parts, calls `lay_out` and `attach`, and says what is
    to happen in `opened`, `connected` and `emptied`.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Held weakly.

    Attributes
    ----------
    session : Session
        Shared by all docks of the viewer.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        viewer: napari.Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._viewer = weakref.ref(viewer)
        self.session: Session = controller_of(viewer).session
        self._models: list[Model] = []
        self._links: Links = []
        # The widget may die with its window, without a word to Python code.
        self.destroyed.connect(partial(_close, self._models, self._links))

    # -- what a subclass says ------------------------------------------------

    def opened(self, viewer: napari.Viewer) -> Model:
        """What is shown from now on."""
        raise NotImplementedError

    def connected(self, viewer: napari.Viewer) -> None:
        """Listen to it with `link`, and show what it says now."""
        raise NotImplementedError

    def emptied(self) -> None:
        """Hold no layer and no result any longer; it was closed."""

    # -- what it uses --------------------------------------------------------

    def lay_out(self, *parts: QWidget | QLayout, least: int = 100) -> None:
        """Put parts below each other, which scroll.

        Parameters
        ----------
        *parts : QWidget or QLayout
        least : int
            The smallest height in pixels, below another dock.
        """
        content = QWidget()
        inner = QVBoxLayout(content)
        inner.setContentsMargins(6, 6, 6, 6)
        for part in parts:
            if isinstance(part, QLayout):
                inner.addLayout(part)
            else:
                inner.addWidget(part)
        inner.addStretch(1)
        area = VerticalScrollArea(least)
        area.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)

    def attach(self) -> None:
        """Open, unless it is open or the viewer is gone."""
        viewer = self._viewer()
        if self._models or viewer is None:
            return
        self._models.append(self.opened(viewer))
        self.connected(viewer)

    def ask(self, wish: str) -> Callable[..., None]:
        """A slot that calls a method of the model by its name, as long as the dock is open."""

        def slot(*arguments: Any) -> None:
            if self._models:
                operator.attrgetter(wish)(self._models[0])(*arguments)

        return slot

    def link(self, signal: Any, slot: Callable[..., None]) -> None:
        """Listen to a signal as long as the dock is open."""
        signal.connect(slot)
        self._links.append((signal, slot))

    def link_layers(self, viewer: napari.Viewer, slot: Callable[..., None]) -> None:
        """Listen to whatever happens to the layer list."""
        for name in ("inserted", "removed", "reordered", "renamed"):
            self.link(getattr(viewer.layers.events, name), slot)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Notice when napari takes the widget out of its dock, or docks it again."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is None:
                _close(self._models, self._links)
                self.emptied()
            else:
                self.attach()


def unlink(links: Links) -> None:
    """Listen to none of these any longer."""
    for signal, slot in links:
        with contextlib.suppress(ValueError, RuntimeError, KeyError):  # gone already
            signal.disconnect(slot)
    links.clear()


def _close(models: list[Model], links: Links, _: object = None) -> None:
    """Let go of everything, also after Qt has deleted the widget."""
    unlink(links)
    while models:
        models.pop().close()
