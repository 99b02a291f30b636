"""What the partition preview does in a worker thread: read, mask, check, estimate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorker

from napari_noise2self.engine.errors import EngineError, OutOfMemoryError
from napari_noise2self.widgets.job import load_engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_noise2self.engine.leakage import Block, Leakage
    from napari_noise2self.engine.noise_report import Suggestion
    from napari_noise2self.engine.partition import Partition
    from napari_noise2self.widgets.scene import Scene


@dataclass(frozen=True)
class Question:
    """What the data in view have to be asked.

    Attributes
    ----------
    scene : Scene
    partition : Partition
    subset : int
    block : Block or None
        The data, if they were read before.
    check : bool
        Whether to look for leaks, too.
    """

    scene: Scene
    partition: Partition
    subset: int
    block: Block | None
    check: bool


@dataclass(frozen=True)
class Answer:
    """What is known by now.

    Attributes
    ----------
    question : Question
    block : Block
    masked : ndarray
        The masked input, for a layer.
    leakage : Leakage or None
        None if it was not, or not yet, looked for.
    """

    question: Question
    block: Block
    masked: NDArray[np.floating[Any]]
    leakage: Leakage | None = None


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
        self._on_end(self)


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
                "There is not enough memory: zoom in, or close other programs."
            ) from error
        if isinstance(error, RuntimeError):
            raise EngineError(f"The data in view could not be used: {error}") from error
        raise


def answers(question: Question, stopped: Callable[[], bool]) -> Generator[Answer, None, None]:
    """Read what is in view, mask it, and see whether anything leaks."""
    leakage = load_engine("leakage")
    if stopped():
        return
    scene, partition, block = question.scene, question.partition, question.block
    if block is None:
        outer = leakage.surroundings(partition, scene.window, scene.layout.spatial_shape)
        block = leakage.Block(scene.read(outer), outer, scene.window)
    masked = scene.restored(block.masked(partition, question.subset))
    yield Answer(question, block, masked)
    if question.check:
        found = block.check(partition, question.subset, stopped)
        yield Answer(question, block, masked, found)


def suggestions(
    data: Any, axes: str, volume: bool, stopped: Callable[[], bool]
) -> Generator[Suggestion, None, None]:
    """Estimate the noise of a layer, and what suits it."""
    noise = load_engine("noise")
    if not stopped():
        yield noise.estimate_noise(data, axes, volume=volume).suggestion
