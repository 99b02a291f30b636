"""Denoising from one store into another, region by region."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.events import INTERVAL, Control, Event, PredictionEvent
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.preparation import Frame, Normalisation


class Sink(Protocol):
    """Where a denoised array goes, region by region.

    Attributes
    ----------
    chunks : tuple of int
        Per axis of the array, the size of what is written at once.  Regions
        are unions of whole chunks, cut at the end of the array.
    """

    @property
    def chunks(self) -> tuple[int, ...]:
        """Per axis of the array, the size of what is written at once."""

    def has(self, region: tuple[slice, ...]) -> bool:
        """Whether all of a region was written in an earlier run."""

    def write(self, region: tuple[slice, ...], values: NDArray[np.float32]) -> None:
        """Keep the values of a region; called from one thread at a time."""


def stream(
    apply: Callable[[Frame], Iterator[float | NDArray[np.float32]]],
    image: Any,
    layout: Layout,
    normalisation: Normalisation,
    sink: Sink,
    control: Control,
) -> Generator[Event, None, bool]:
    """Denoise an array into a sink; whether it is complete."""
    lines = [
        [slice(start, min(start + size, n)) for start in range(0, n, size)]
        for n, size in zip(
            layout.shape,
            (
                chunk if letter in layout.frame_axes else n
                for n, chunk, letter in zip(layout.shape, sink.chunks, layout.axes, strict=True)
            ),
            strict=True,
        )
    ]
    regions = list(itertools.product(*lines))
    began = last = time.monotonic()
    for number, region in enumerate(regions):
        if sink.has(region):
            continue
        part = np.asarray(image[region])
        inner = Layout.of(part.shape, layout.axes, layout.volume)
        result = np.empty(part.shape, np.float32)
        for index in range(inner.frames):
            frame = Frame.of(part, inner, normalisation, index)
            for values in apply(frame):
                while control.paused:
                    control.wait_while_paused(INTERVAL)
                if control.stopped:
                    return False
                if isinstance(values, np.ndarray):
                    inner.write(result, index, frame.restore(values))
        sink.write(region, result)
        if time.monotonic() - last >= INTERVAL:
            last = time.monotonic()
            fraction = (number + 1) / len(regions)
            left = (last - began) * (1 - fraction) / fraction
            yield PredictionEvent(fraction, last - began, left, None)
    yield PredictionEvent(1.0, time.monotonic() - began, math.nan, None)
    return True
