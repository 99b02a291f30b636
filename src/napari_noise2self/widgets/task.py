"""Work in a thread that can be dropped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from typing import Any

from napari.qt.threading import GeneratorWorker

from napari_noise2self.engine.errors import EngineError, Noise2SelfError, OutOfMemoryError
from napari_noise2self.widgets.words import without_options

logger = logging.getLogger(__name__)

# Those whose threads still run, also of docks that have dropped them and are gone.
_running: set[Task] = set()


class Task:
    """Work in a thread, of which nothing more is heard once it is dropped.

    Parameters
    ----------
    function : callable
        A generator function of `arguments`, and of a callable that says
        whether to end; what it yields is handed on.
    arguments
        Passed to `function`.
    on_result, on_error : callable
        Called in the main thread with what is yielded, and with an exception.
    on_end : callable
        Called in the main thread when the thread is free again, dropped or not.
        The task keeps itself until then.
    """

    def __init__(
        self,
        function: Callable[..., Generator[Any, None, None]],
        *arguments: Any,
        on_result: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_end: Callable[[Task], None],
    ) -> None:
        self._on_result, self._on_error, self._on_end = on_result, on_error, on_end
        self._dropped = threading.Event()
        self._worker = GeneratorWorker(_guarded, function, arguments, self._dropped)
        self._worker.yielded.connect(self._say)
        self._worker.errored.connect(self._fail)
        self._worker.finished.connect(self._end)
        _running.add(self)
        self._worker.start()

    def drop(self) -> None:
        """Say nothing more, and end at the next chance."""
        self._dropped.set()

    def _say(self, result: Any) -> None:
        if not self._dropped.is_set():
            self._on_result(result)

    def _fail(self, error: Exception) -> None:
        if not self._dropped.is_set():
            self._on_error(error)

    def _end(self) -> None:
        _running.discard(self)
        self._on_end(self)


def sentence(error: Exception, doing: str) -> str:
    """What an error says to the user; one that nobody has thought of is logged.

    Parameters
    ----------
    error : Exception
    doing : str
        What was done, for the log.
    """
    if isinstance(error, Noise2SelfError):
        return without_options(str(error))
    logger.error("unexpected error while %s", doing, exc_info=error)
    return f"{type(error).__name__}: {error}"


def _guarded(
    function: Callable[..., Generator[Any, None, None]],
    arguments: tuple[Any, ...],
    dropped: threading.Event,
) -> Generator[Any, None, None]:
    """Run it until it is dropped; a worker swallows a `RuntimeError`, so none may leave."""
    try:
        for result in function(*arguments, dropped.is_set):
            if dropped.is_set():
                return
            yield result
    except Exception as error:
        if dropped.is_set():
            return  # nobody would hear it
        if isinstance(error, MemoryError):
            raise OutOfMemoryError(
                "There is not enough memory: take less of the layer, or close other programs."
            ) from error
        if isinstance(error, RuntimeError):
            raise EngineError(f"The work failed: {error}") from error
        raise
