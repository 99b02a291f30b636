"""Questions to the data in view: one is answered at a time, late answers are never heard."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_noise2self.widgets.partition_worker import Answer, Question, answers
from napari_noise2self.widgets.task import Task

if TYPE_CHECKING:
    from napari_noise2self.engine.leakage import Block, Leakage
    from napari_noise2self.engine.partition import Partition
    from napari_noise2self.widgets.scene import Scene

# A slow read may be under way while a newer one begins; no more than that.
MOST_TASKS = 2
# Milliseconds for the window to draw before PyTorch is imported, which slows it down.
PATIENCE = 500


class Inquiry:
    """Asks in worker threads; what was read and checked last is remembered.

    Parameters
    ----------
    on_answer : callable
        Called in the main thread with each `Answer` to the newest question.
    on_error : callable
        Called in the main thread with an exception instead.

    Attributes
    ----------
    block : Block or None
        The data of the newest question, if they have been read.
    leakage : Leakage or None
        What the check found, if it has been made for them.
    """

    def __init__(
        self, on_answer: Callable[[Answer], None], on_error: Callable[[Exception], None]
    ) -> None:
        self._on_answer, self._on_error = on_answer, on_error
        self.block: Block | None = None
        self.leakage: Leakage | None = None
        self._block_key: Any = None
        self._leakage_key: Any = None
        self._tasks: list[Task] = []
        self._waiting: Question | None = None
        self._patient = False
        self._later = QTimer()
        self._later.setSingleShot(True)
        self._later.setInterval(PATIENCE)
        self._later.timeout.connect(self._start_waiting)

    @property
    def busy(self) -> bool:
        """Whether a thread is at it, for whatever question."""
        return bool(self._tasks)

    def close(self) -> None:
        """Hear nothing more, and forget everything."""
        self._later.stop()
        self.drop()
        self.forget()

    def drop(self) -> None:
        """Hear no answer to any question asked so far."""
        self._waiting = None
        for task in self._tasks:
            task.drop()

    def forget(self) -> None:
        """Read and check anew the next time: the data have changed."""
        self.block = self.leakage = self._block_key = self._leakage_key = None

    def ask(self, scene: Scene, partition: Partition, subset: int) -> None:
        """Ask what the masked input is, and whether anything leaks into it.

        Parameters
        ----------
        scene : Scene
        partition : Partition
        subset : int
        """
        self.drop()
        block_key = (scene.region, scene.layout, partition.extents(len(scene.window)))
        leakage_key = (scene.region, scene.layout, partition)
        if self._block_key != block_key:
            self._block_key, self.block = block_key, None
        if self._leakage_key != leakage_key:
            self._leakage_key, self.leakage = leakage_key, None
        self._start(Question(scene, partition, subset, self.block, self.leakage is None))

    def _start(self, question: Question) -> None:
        if "torch" not in sys.modules and not self._patient:
            self._patient = True
            self._later.start()
        if self._later.isActive() or len(self._tasks) >= MOST_TASKS:
            self._waiting = question  # the newest only
            return
        self._tasks.append(
            Task(
                answers,
                question,
                on_result=self._answered,
                on_error=self._on_error,
                on_end=self._ended,
            )
        )

    def _start_waiting(self) -> None:
        question, self._waiting = self._waiting, None
        if question is not None:
            self._start(question)

    def _answered(self, answer: Answer) -> None:
        self.block = answer.block
        if answer.leakage is not None:
            self.leakage = answer.leakage
        self._on_answer(answer)

    def _ended(self, task: Task) -> None:
        self._tasks.remove(task)
        self._start_waiting()
