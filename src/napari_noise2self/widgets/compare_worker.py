"""What *Compare denoisers* does in a worker thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_noise2self.widgets.job import load_engine

if TYPE_CHECKING:
    from napari_noise2self.engine.comparison import Comparison, ComparisonEvent
    from napari_noise2self.engine.events import Control, Notice
    from napari_noise2self.engine.inspection import Window


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes
    ----------
    data : array
        Of the layer; anything that can be indexed.
    axes : str
    window : tuple of slice
        The part of it to compare on.
    truth : array or None
        Of the same shape.
    denoisers : tuple of str or Path
    volume : bool
    epochs : float or None
    device : str
    seed : int
    truth_name : str or None
    """

    data: Any
    axes: str
    window: Window
    truth: Any
    denoisers: tuple[str | Path, ...]
    volume: bool
    epochs: float | None
    device: str
    seed: int
    truth_name: str | None

    def to_json(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return {
            "denoisers": [str(name) for name in self.denoisers],
            "volume": self.volume,
            "epochs": self.epochs,
            "device": self.device,
            "seed": self.seed,
            "truth": self.truth_name,
        }


def comparison(
    request: Request, control: Control, dropped: Callable[[], bool]
) -> Generator[Notice | ComparisonEvent | Comparison, None, None]:
    """Compare denoisers; what is yielded last is the whole result."""
    engine = load_engine("comparison")
    if dropped():
        return  # while PyTorch was loaded
    image = np.asarray(request.data[request.window])
    truth = None if request.truth is None else np.asarray(request.truth[request.window])
    events = engine.compare_events(
        image,
        request.denoisers,
        axes=request.axes,
        volume=request.volume,
        truth=truth,
        epochs=request.epochs,
        device=request.device,
        seed=request.seed,
        plain=True,
        control=control,
    )
    with contextlib.closing(events):
        yield (yield from events)
