"""What long work says while it runs, and how it is asked to stop or wait."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

_log = logging.getLogger(__name__)

# No two events closer than this, in seconds: a GUI gains nothing from more.
INTERVAL = 0.1


@dataclass(frozen=True)
class Notice:
    """A sentence the user should read, such as a fallback that was taken."""

    message: str


@dataclass(frozen=True)
class TrainingEvent:
    """How far training is.

    Attributes
    ----------
    step, steps : int
        Steps done and planned.
    epoch, epochs : float
        The same in epochs (targets drawn over pixels in the data).
    loss : float
        Mean loss on the targets since the event before, in squared grey values.
    score : float or None
        Self-supervised score, in squared grey values, if it was measured
        since the event before: the loss of the J-invariant prediction on
        held-out positions.
    seconds, seconds_left : float
        Time spent, and expected until training ends.
    frame : int or None
        The frame of the output array that was filled with a preview.
    device : str
        Where it runs: "cpu", "cuda" or "mps".
    """

    step: int
    steps: int
    epoch: float
    epochs: float
    loss: float
    score: float | None
    seconds: float
    seconds_left: float
    frame: int | None
    device: str


@dataclass(frozen=True)
class PredictionEvent:
    """How far prediction is.

    Attributes
    ----------
    fraction : float
        Share of the work that is done, 0 to 1.
    seconds, seconds_left : float
        Time spent, and expected until prediction ends.
    frame : int or None
        The frame of the output array that was completed.
    """

    fraction: float
    seconds: float
    seconds_left: float
    frame: int | None


@dataclass(frozen=True)
class WritingEvent:
    """How far the last part of an export is, in which the file gets its final form.

    Attributes
    ----------
    fraction : float
        Share of the work that is done, 0 to 1.
    seconds, seconds_left : float
        Time spent, and expected until the file is whole.
    """

    fraction: float
    seconds: float
    seconds_left: float


Event = Notice | TrainingEvent | PredictionEvent

Said = TypeVar("Said")
Answer = TypeVar("Answer")


def exhaust(
    events: Generator[Said, None, Answer], progress: Callable[[Said], None] | None = None
) -> Answer:
    """Run a generator of events to its end, and return what it returns.

    Where nobody listens, notices are logged as warnings.  Whatever `progress`
    raises, an interrupt too, ends the work.
    """
    try:
        while True:
            event = next(events)
            if progress is not None:
                progress(event)
            elif isinstance(event, Notice):
                _log.warning(event.message)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer
    finally:
        events.close()


class Control:
    """The wishes of whoever listens to long work; safe to use from any thread.

    Attributes
    ----------
    preview_frame : int or None
        The frame that previews are made of; None makes none.
    preview_depth : int or None
        The slice that they are made of where frames are volumes; None is all of them.
    """

    def __init__(self, preview_frame: int | None = None) -> None:
        self.preview_frame = preview_frame
        self.preview_depth: int | None = None
        self._stop = threading.Event()
        self._running = threading.Event()
        self._running.set()

    def stop(self) -> None:
        """Ask the work to end early and keep what there is; ends a pause, too."""
        self._stop.set()
        self._running.set()

    def renew(self) -> None:
        """Take back a `stop` that has been obeyed, so that the next phase can run."""
        self._stop.clear()

    def pause(self) -> None:
        """Ask the work to wait."""
        if not self._stop.is_set():
            self._running.clear()

    def resume(self) -> None:
        """Let the work go on."""
        self._running.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was asked for."""
        return self._stop.is_set()

    @property
    def paused(self) -> bool:
        """Whether `pause` was asked for."""
        return not self._running.is_set()

    def wait_while_paused(self, timeout: float) -> None:
        """Sleep until `resume` or `stop`, or until `timeout` seconds are over."""
        self._running.wait(timeout)
