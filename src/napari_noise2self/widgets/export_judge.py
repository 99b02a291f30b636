"""Whether a model suits the images it is to be applied to: asked in a thread, after each choice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.widgets.export_worker import judge
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from napari_noise2self.stacks.stack import Stack
    from napari_noise2self.widgets.export_words import Model

# The time after which a new choice is looked at, in milliseconds.
_DEBOUNCE = 200
# So many images are looked at.
MOST_JUDGED = 4


class Judge:
    """Finds out what speaks against a model, some time after the last choice.

    Parameters
    ----------
    chosen : callable
        Gives the model and what reads the images, or None if there is
        nothing to be asked now.

    Attributes
    ----------
    changed : Signal()
        The doubts are there.
    doubts : list of str or None
        None as long as nobody has looked.
    """

    changed = Signal()

    def __init__(
        self, chosen: Callable[[], tuple[Model, list[Callable[[], Stack]]] | None]
    ) -> None:
        self.doubts: list[str] | None = None
        self._chosen = chosen
        self._task: Task | None = None
        # Dropped, but their threads still run.
        self._ending: set[Task] = set()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DEBOUNCE)
        self._timer.timeout.connect(self._ask)

    @property
    def asking(self) -> bool:
        """Whether somebody is looking now."""
        return self._task is not None

    def ask(self) -> None:
        """Look before long, unless that was done or is under way."""
        if self.doubts is None and not self.asking:
            self._timer.start()

    def ask_again(self) -> None:
        """The choice has changed: what was found out is out of date."""
        self.close()
        self._timer.start()

    def close(self) -> None:
        """Forget what was found out, and look no further."""
        self.doubts = None
        self._timer.stop()
        if self._task is not None:
            self._task.drop()
            self._ending.add(self._task)
            self._task = None

    def _ask(self) -> None:
        try:
            chosen = self._chosen()
        except Noise2SelfError:
            return  # it is said when it is tried
        if chosen is None:
            return
        self._task = Task(
            judge,
            *chosen,
            on_result=self._take,
            on_error=lambda error: self._take([str(error)]),
            on_end=self._end,
        )

    def _take(self, doubts: list[str]) -> None:
        self.doubts = doubts
        self.changed.emit()

    def _end(self, task: Task) -> None:
        self._ending.discard(task)
        if task is self._task:
            self._task = None


def stacks_of(
    paths: Sequence[Path], axes: str, layers: Sequence[Image]
) -> list[Callable[[], Stack]]:
    """What reads the first of the images: of the files if there are any, or else of the layers.

    Raises
    ------
    InputError
        If nothing can be read there.
    """
    if paths:
        from napari_noise2self.stacks.many import find_images
        from napari_noise2self.stacks.reading import read

        first = find_images(paths).inputs[0]
        return [partial(read, first.path, axes or None)]
    stacks = [Source.of(layer).stack() for layer in layers[:MOST_JUDGED]]
    return [partial(_itself, stack) for stack in stacks]


def _itself(stack: Stack) -> Stack:
    return stack
