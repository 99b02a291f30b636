"""Work that a dock has done in threads, one piece at a time, and how far it is."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Generator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from napari.utils.notifications import show_info
from psygnal import Signal

from napari_noise2self.engine.events import Control
from napari_noise2self.widgets.activity import Activity
from napari_noise2self.widgets.dock import Links, unlink
from napari_noise2self.widgets.task import Task, sentence

if TYPE_CHECKING:
    import napari

    from napari_noise2self.widgets.application import Application
    from napari_noise2self.widgets.controller import Controller


class Stage(Enum):
    """What is going on; the only thing that decides what can be clicked."""

    IDLE = "idle"
    LOADING = "loading"
    TUNING = "tuning"
    COMPARING = "comparing"
    APPLYING = "applying"
    EXPORTING = "exporting"
    STOPPING = "stopping"


class Runner:
    """Has work done in threads, one piece at a time, and knows how far it is.

    A subclass calls `_begin`, and then `_start` with what runs in a thread, or
    `_apply` with what makes layers.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    controller : Controller
        Of the viewer: nothing is begun while it trains.

    Attributes
    ----------
    changed : Signal()
        Anything has changed but the progress.
    progressed : Signal()
        The progress has.
    stage : Stage
    message : str
        What the user should know: a result, a notice or an error.
    doing : str
        What is being done.
    fraction, seconds_left : float
        Of the work; NaN where it is not known.
    """

    changed = Signal()
    progressed = Signal()

    # What napari's activity dock calls all that is done here, and what the log does.
    title: ClassVar[str]
    logged_as: ClassVar[str]

    def __init__(self, viewer: napari.Viewer, controller: Controller) -> None:
        self._viewer = weakref.ref(viewer)
        self.controller = controller
        self.session = controller.session
        self.stage = Stage.IDLE
        self.message = self.doing = ""
        self.fraction = self.seconds_left = math.nan
        self._control = Control()
        self._task: Task | None = None
        self._application: Application | None = None
        # What makes the applications that follow this one.
        self._waiting: list[Callable[[], Application]] = []
        self._activity = Activity(self._activity_now, self.changed, self.progressed)
        self._links: Links = []
        controller.attach(id(self))

    def close(self) -> None:
        """Drop what is under way and let go of everything; what is on the disk stays."""
        unlink(self._links)
        self._drop()
        self._activity.close()
        self.controller.detach(id(self))

    @property
    def idle(self) -> bool:
        """Whether something can be begun."""
        return self.stage is Stage.IDLE and not self.session.state.running

    def stop(self) -> None:
        """End what is under way and keep what is complete."""
        if self.stage not in (Stage.IDLE, Stage.STOPPING):
            self.stage = Stage.STOPPING
            self._control.stop()
            self.changed.emit()

    # -- what a subclass uses ------------------------------------------------

    def _link(self, signal: Any, slot: Callable[..., None]) -> None:
        """Listen to a signal until this is closed."""
        signal.connect(slot)
        self._links.append((signal, slot))

    def _begin(self, stage: Stage, doing: str) -> None:
        self.message = ""
        self._control = Control()
        self.stage, self.doing = stage, doing
        self.fraction = self.seconds_left = math.nan

    def _start(
        self,
        work: Callable[..., Generator[Any, None, None]],
        *arguments: Any,
        on_result: Callable[[Any], None],
    ) -> None:
        """Have work done in a thread, as in `Task`."""
        self._task = Task(
            work, *arguments, on_result=on_result, on_error=self._fail, on_end=self._end
        )
        self.changed.emit()

    def _apply(self, applications: Sequence[Callable[[], Application]]) -> None:
        """Denoise whole layers into new ones, one after the other.

        Parameters
        ----------
        applications : sequence of callable
            Each makes an application when it is its turn.
        """
        self._waiting = list(applications)
        self._apply_next()

    def _show_progress(self, doing: str, fraction: float, seconds_left: float) -> None:
        self.doing, self.fraction, self.seconds_left = doing, fraction, seconds_left
        self.progressed.emit()

    def _drop(self) -> None:
        """End what is under way, and hear no more of it."""
        self._control.stop()
        if self._task is not None:
            self._task.drop()
        if self._application is not None:
            self._application.abandon()
        self._release()

    # -- how it ends: a subclass may have more to say --------------------------

    def _fail(self, error: Exception) -> None:
        self.message = sentence(error, self.logged_as)
        self._finish()

    def _finish(self) -> None:
        self._release()
        self.changed.emit()

    def _release(self) -> None:
        """Let go of everything that belongs to one piece of work."""
        self._task = self._application = None
        self._waiting = []
        self.stage = Stage.IDLE

    # -- what threads say ------------------------------------------------------

    def _end(self, task: Task) -> None:
        # One that has failed, or was dropped, is followed by another one at times.
        if task is self._task:
            self._finish()

    def _apply_next(self) -> None:
        if not self._waiting:
            self._finish()
            return
        try:
            application = self._waiting.pop(0)()
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        self._application = application
        application.progressed.connect(self._show_progress)
        application.ended.connect(self._applied)
        application.failed.connect(self._fail)
        application.start()
        self.changed.emit()

    def _applied(self, message: str, complete: bool) -> None:
        self._application = None
        # Of several layers, each has its sentence.
        self.message = f"{self.message} {message}".strip()
        if not complete or self.stage is Stage.STOPPING:
            self._waiting = []
        show_info(message)
        self._apply_next()

    def _activity_now(self) -> tuple[str, float] | None:
        return None if self.stage is Stage.IDLE else (f"{self.title}: {self.doing}", self.fraction)
