"""What threads find out of the choices: what many files become, and whether a model suits."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.widgets.export_choices import Choices, Work, work_on_files
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.task import Task
from napari_noise2self.widgets.words import without_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from napari_noise2self.stacks.stack import Stack

# The time after which a new choice is looked at, in milliseconds.
_DEBOUNCE = 200
# So many images are looked at.
MOST_JUDGED = 4


class LateAnswer:
    """What a thread finds out, some time after the last choice.

    Parameters
    ----------
    work : callable
        A generator function, as for `Task`, that yields the answer.
    asked : callable
        Gives its arguments, or None if there is nothing to be asked now.
    instead : callable
        Gives the answer in place of an error.

    Attributes
    ----------
    changed : Signal()
        The answer is there.
    value : object
        None as long as nobody has looked.
    """

    changed = Signal()

    def __init__(
        self,
        work: Callable[..., Generator[Any, None, None]],
        asked: Callable[[], tuple[Any, ...] | None],
        instead: Callable[[Exception], Any],
    ) -> None:
        self.value: Any = None
        self._work, self._asked, self._instead = work, asked, instead
        self._task: Task | None = None
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
        if self.value is None and not self.asking:
            self._timer.start()

    def ask_again(self) -> None:
        """The choice has changed: what was found out is out of date."""
        self.close()
        self._timer.start()

    def close(self) -> None:
        """Forget what was found out, and look no further."""
        self.value = None
        self._timer.stop()
        if self._task is not None:
            self._task.drop()
            self._task = None

    def _ask(self) -> None:
        try:
            arguments = self._asked()
        except (Noise2SelfError, OSError) as error:
            self._fail(error)
            return
        if arguments is None:
            return
        self._task = Task(
            self._work,
            *arguments,
            on_result=self._take,
            on_error=self._fail,
            on_end=self._end,
        )

    def _take(self, value: Any) -> None:
        self.value = value
        self.changed.emit()

    def _fail(self, error: Exception) -> None:
        self._take(self._instead(error))

    def _end(self, task: Task) -> None:
        if task is self._task:
            self._task = None


def survey(choices: Choices, dropped: Callable[[], bool]) -> Generator[Work, None, None]:
    """Find out what files become: there may be thousands of them, on a slow share."""
    work = work_on_files(choices)
    # It is remembered: nobody looks at the disk for it again.
    _ = work.can_go_on
    yield work


def unread(error: Exception) -> list[str]:
    """Why nobody knows whether a model suits, as a doubt."""
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{error.filename} could not be read: {error.strerror}."]
    return [without_options(str(error))]


def stacks_of(
    paths: Sequence[Path], axes: str, layers: Sequence[Image]
) -> list[Callable[[], Stack]]:
    """What reads the first of the images: of the files if there are any, or else of the layers.

    Raises
    ------
    InputError
        If a layer cannot be described.
    """
    if paths:
        return [partial(_first_of, tuple(paths), axes)]
    stacks = [Source.of(layer).stack() for layer in layers[:MOST_JUDGED]]
    return [partial(_itself, stack) for stack in stacks]


def _first_of(paths: tuple[Path, ...], axes: str) -> Stack:
    from napari_noise2self.stacks.many import find_images
    from napari_noise2self.stacks.reading import read

    return read(find_images(paths).inputs[0].path, axes or None)


def _itself(stack: Stack) -> Stack:
    return stack
