"""What the partition preview does in a worker thread: read, mask, check, estimate."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_noise2self.widgets.job import load_engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_noise2self.engine.layout import Layout
    from napari_noise2self.engine.leakage import Block, Leakage
    from napari_noise2self.engine.noise.report import Suggestion
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
    data: Any, layout: Layout, stopped: Callable[[], bool]
) -> Generator[Suggestion, None, None]:
    """Estimate the noise of a layer, and what suits it."""
    noise = load_engine("noise.estimate")
    if not stopped():
        report = noise.estimate_noise(
            data, layout.axes, volume=layout.volume, depth_axis=layout.depth
        )
        yield report.suggestion
