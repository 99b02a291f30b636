"""What the noise report does in a worker thread: measure, examine, look for single pixels."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.errors import EngineError, Noise2SelfError, OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from napari_noise2self.engine.layout import Layout
    from napari_noise2self.engine.noise.map import Autocorrelation
    from napari_noise2self.engine.noise.report import NoiseReport
    from napari_noise2self.engine.residual.examine import ResidualReport


@dataclass(frozen=True)
class Measured:
    """The noise of a layer.

    Attributes
    ----------
    report : NoiseReport
    maps : tuple of Autocorrelation
        One per channel.
    """

    report: NoiseReport
    maps: tuple[Autocorrelation, ...]


@dataclass(frozen=True)
class Defects:
    """Single pixels of one frame that stand out, as indices into the layer's array."""

    hot: NDArray[np.intp]
    dead: NDArray[np.intp]


def _wanted() -> bool:
    """Of work that nobody can drop."""
    return False


def measure(
    data: Any, layout: Layout, dropped: Callable[[], bool] = _wanted
) -> Generator[Measured, None, None]:
    """Estimate the noise of a layer."""
    with _in_words("The noise could not be measured"):
        from napari_noise2self.engine.noise.estimate import estimate_noise
        from napari_noise2self.engine.noise.map import noise_autocorrelation

        report = estimate_noise(data, layout.axes, volume=layout.volume, depth_axis=layout.depth)
        if dropped():
            return
        yield Measured(report, noise_autocorrelation(data, report))


def examine(
    noisy: Any,
    denoised: Any,
    layout: Layout,
    frame: int,
    measured: Measured | None,
    dropped: Callable[[], bool] = _wanted,
) -> Generator[Measured | ResidualReport, None, None]:
    """Examine a residual; first the noise, where it was not measured before."""
    with _in_words("The residual could not be examined"):
        from napari_noise2self.engine.residual.examine import examine_residual

        if measured is None:
            for measured in measure(noisy, layout, dropped):
                yield measured
        if dropped():
            return
        report = None if measured is None else measured.report
        yield examine_residual(noisy, denoised, layout.axes, report, frame=frame)


def find_defects(
    data: Any, axes: str, frame: int, dropped: Callable[[], bool] = _wanted
) -> Generator[Defects, None, None]:
    """Look for hot and dead pixels in a frame."""
    with _in_words("Hot pixels could not be looked for"):
        from napari_noise2self.engine.noise.defects import defects

        if not dropped():
            yield Defects(*defects(data, axes, frame=frame))


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Turn whatever goes wrong into a sentence; a worker would swallow a `RuntimeError`."""
    try:
        yield
    except Noise2SelfError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{what}: there is not enough memory. Crop the layer or close other programs."
        ) from error
    except Exception as error:  # whatever a reader of files or a foreign array raises
        raise EngineError(f"{what}: {error or type(error).__name__}") from error
