"""Public images on their way into a viewer, whose window stays alive meanwhile."""

from __future__ import annotations

import contextlib
import contextvars
import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from napari.layers import Layer
from napari.utils.notifications import show_error, show_info
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_noise2self.stacks import public
from napari_noise2self.widgets.activity import Activity
from napari_noise2self.widgets.task import Task, sentence

if TYPE_CHECKING:
    import napari

    from napari_noise2self.stacks.public import Fetched
    from napari_noise2self.widgets.layers import LayerData

# How often the main thread looks how much has arrived, in milliseconds.
_INTERVAL = 100
# Nobody else holds them.
_under_way: set[Fetching] = set()


def fetch_into(
    viewer: napari.Viewer, key: str, describe: Callable[[Fetched], list[LayerData]]
) -> None:
    """Fetch a public image in a thread, and add its layers to a viewer when it is here.

    The activity dock shows how much has arrived, an error becomes a
    notification, and after the viewer was closed nothing happens any more.

    Parameters
    ----------
    viewer : napari.Viewer
        With a window.
    key : str
        One of `napari_noise2self.stacks.public.IMAGES`.
    describe : callable
        Makes layers of what has arrived; called in the main thread.
    """
    if any(fetching.brings(key, viewer) for fetching in _under_way):
        show_info(f"{public.IMAGES[key].title} is being fetched already.")
        return
    _under_way.add(Fetching(viewer, key, describe))


class _Unwanted(Exception):  # noqa: N818 -- no error
    """Nobody waits any longer for what is being fetched."""


class _Download(Task):
    """A task that knows when napari quits: it asks its workers to end, and waits until they do."""

    @property
    def quitting(self) -> bool:
        """Whether it was asked."""
        return bool(self._worker.abort_requested)


class _Arrival:
    """What the worker thread and the main thread know of each other.

    Attributes
    ----------
    share : float or None
        How much has arrived; None as long as nothing had to be fetched.
    task : _Download or None
        Whose thread it is.
    """

    share: float | None = None
    task: _Download | None = None


class Fetching:
    """One public image on its way into a viewer, as in `fetch_into`.

    Attributes
    ----------
    moved : Signal()
        More of it may have arrived.
    """

    moved = Signal()

    def __init__(
        self, viewer: napari.Viewer, key: str, describe: Callable[[Fetched], list[LayerData]]
    ) -> None:
        self._viewer = weakref.ref(viewer)
        self._key, self._describe = key, describe
        self._about = public.IMAGES[key]
        # Here napari says from which sample the layers come that are made.
        self._context = contextvars.copy_context()
        self._arrival = _Arrival()
        self._told = False
        self._activity = Activity(self._doing, self.moved)
        # The thread cannot say anything while it waits for the network: it is looked after.
        self._timer = QTimer()
        self._timer.setInterval(_INTERVAL)
        self._timer.timeout.connect(self._look)
        self._timer.start()
        viewer.window._qt_window.destroyed.connect(self._drop)
        self._task = self._arrival.task = _Download(
            _fetch,
            key,
            self._arrival,
            on_result=self._add,
            on_error=self._fail,
            on_end=self._end,
        )

    def brings(self, key: str, viewer: napari.Viewer) -> bool:
        """Whether it is this image, for this viewer."""
        return key == self._key and viewer is self._viewer()

    def _doing(self) -> tuple[str, float] | None:
        share = self._arrival.share
        if share is None or not self._timer.isActive():
            return None
        return f"Fetching {self._about.title}", share

    def _look(self) -> None:
        if self._arrival.share is not None and not self._told:
            self._told = True
            size = sum(file.megabytes for file in self._about.files)
            show_info(
                f"{self._about.title} ({size:g} MB) is being fetched and opens when it is here."
            )
        self.moved.emit()

    def _add(self, fetched: Fetched) -> None:
        viewer = self._viewer()
        if viewer is None or not hasattr(viewer.window, "_qt_window"):
            return  # closed a moment ago, and the window not yet gone
        self._close()
        self._context.run(_add_layers, viewer, self._describe(fetched))

    def _fail(self, error: Exception) -> None:
        self._close()
        show_error(sentence(error, "fetching a public image"))

    def _drop(self) -> None:
        self._task.drop()
        self._close()

    def _close(self) -> None:
        self._timer.stop()
        self._activity.close()

    def _end(self, task: Task) -> None:
        self._close()
        _under_way.discard(self)


def _fetch(
    key: str, arrival: _Arrival, dropped: Callable[[], bool]
) -> Generator[Fetched, None, None]:
    """Fetch it; called in the worker thread."""

    def progress(share: float) -> None:
        if dropped() or (arrival.task is not None and arrival.task.quitting):
            raise _Unwanted
        arrival.share = share

    with contextlib.suppress(_Unwanted):
        yield public.fetch(key, progress)


def _add_layers(viewer: napari.Viewer, layers: list[LayerData]) -> None:
    for data in layers:
        viewer.add_layer(Layer.create(*data))
