"""Pixels without a grey value, or far above all around them, and what takes their place."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.events import Control
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.spread import spread_blocks

# The blocks that tell what counts as hot: few enough to be read from a slow store.
HOT_PIXELS = 2**22
HOT_SHAPES = {2: (256, 256), 3: (16, 64, 64)}
# Threads that read them.
READERS = 8
# So many values are looked at together.
MOST_SAMPLED = 2**18


@dataclass(frozen=True)
class HotRule:
    """From which grey value on a lone pixel counts as hot, one rule for a whole stack.

    Attributes
    ----------
    middle, threshold : tuple of float
        One number per channel, in grey values: the median, and six times as
        far above it as the 99.9th percentile.
    """

    middle: tuple[float, ...]
    threshold: tuple[float, ...]

    @classmethod
    def of(cls, image: Any, layout: Layout, control: Control | None = None) -> HotRule:
        """The rule for an array, from parts spread over all of it.

        It depends on the values and the layout alone, so that it is the same
        however the array is read later.
        """
        parts: list[NDArray[Any]] = []
        # Where images lie far away, the reads wait beside each other.
        readers = 1 if isinstance(image, np.ndarray) else READERS
        ahead: deque[Future[NDArray[Any]]] = deque()
        with ThreadPoolExecutor(readers) as threads:
            for place in hot_samples(layout):
                ahead.append(threads.submit(layout.read, image, *place))
                if len(ahead) == readers:
                    parts.append(ahead.popleft().result())
                    if control is not None and control.stopped:
                        break
            parts += [part.result() for part in ahead]
        return cls.from_parts(parts)

    @classmethod
    def from_parts(cls, parts: Sequence[NDArray[Any]]) -> HotRule:
        """The rule for parts of shape (channels, [Z,] Y, X)."""
        step = max(sum(part[0].size for part in parts) // MOST_SAMPLED, 1)
        middles, thresholds = [], []
        for channel in range(parts[0].shape[0]):
            values = np.concatenate([part[channel].ravel()[::step] for part in parts])
            values = values[np.isfinite(values)].astype(np.float64)
            middle, high = np.percentile(values, [50, 99.9]) if values.size else (0.0, 0.0)
            # Sparse counts have the same: every one of them would stand out.
            threshold = middle + 6 * (high - middle) if high > middle else math.inf
            middles.append(float(middle))
            thresholds.append(float(threshold))
        return cls(tuple(middles), tuple(thresholds))


def hot_samples(layout: Layout) -> list[tuple[int, tuple[slice, ...]]]:
    """Which parts of which frames a `HotRule` is made from."""
    return spread_blocks(layout, HOT_PIXELS // layout.channels, HOT_SHAPES)


def find_bad(
    frame: NDArray[Any], rule: HotRule | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels that carry no grey value, and the hot ones.

    A hot pixel stands alone, far above everything: more than six times as
    far above the median as the 99.9th percentile, and five times as far as
    each of its eight neighbours.  The image of a point is wider than that.

    Parameters
    ----------
    frame : ndarray, shape (channels, [Z,] Y, X)
    rule : HotRule, optional
        That of the stack; by default that of the frame by itself.

    Returns
    -------
    missing, hot : ndarray of bool, shape of `frame`
        NaN or infinite; hot.
    """
    missing = ~np.isfinite(frame) if frame.dtype.kind == "f" else np.zeros(frame.shape, bool)
    hot = np.zeros(frame.shape, bool)
    rule = rule or HotRule.from_parts([frame])
    for channel, plane in enumerate(frame):
        middle, threshold = rule.middle[channel], rule.threshold[channel]
        bright = plane > threshold
        if not bright.any():
            continue
        for index in _places(bright & ~missing[channel]):
            around, inside = _around(plane, index)
            highest = np.where(inside & np.isfinite(around), around, -math.inf).max(1)
            value = plane[index].astype(np.float64)
            alone = (highest > -math.inf) & (highest - middle < 0.2 * (value - middle))
            hot[channel][index] = alone
    return missing, hot


def fill_bad(frame: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[Any]:
    """Replace bad pixels by the mean of the good ones around them.

    Parameters
    ----------
    frame : ndarray, shape (channels, [Z,] Y, X)
    bad : ndarray of bool, same shape

    Returns
    -------
    filled : ndarray, shape of `frame`
        `frame` itself where nothing is bad; otherwise float64.
    """
    if not bad.any():
        return frame
    filled = frame.astype(np.float64)
    otherwise = [
        0.0 if holes.all() else float(plane[~holes].mean())
        for plane, holes in zip(filled, bad, strict=True)
    ]
    fill(filled, bad, otherwise)
    return filled


def fill(values: NDArray[Any], bad: NDArray[np.bool_], otherwise: Sequence[float]) -> None:
    """Replace bad pixels by the mean of the good ones around them, in place.

    Parameters
    ----------
    values : ndarray of float, shape (channels, [Z,] Y, X)
    bad : ndarray of bool, same shape
    otherwise : sequence of float
        Per channel, what to put where no pixel around is good.
    """
    for plane, holes, alone in zip(values, bad, otherwise, strict=True):
        for index in _places(holes):
            around, inside = _around(plane, index)
            good = inside & ~_around(holes, index)[0]
            count = good.sum(1)
            total = np.where(good, around, 0.0).sum(1)
            plane[index] = np.where(count > 0, total / np.maximum(count, 1), alone)


def _places(mask: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], ...]]:
    """Where a mask is true, as indices of bounded length."""
    found = np.nonzero(mask)
    for start in range(0, found[0].size, MOST_SAMPLED):
        yield tuple(axis[start : start + MOST_SAMPLED] for axis in found)


def _around(
    plane: NDArray[Any], index: tuple[NDArray[np.intp], ...]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The eight neighbours in Y and X of each indexed pixel, and which of them exist."""
    *front, y, x = index
    height, width = plane.shape[-2:]
    values, inside = [], []
    for down, right in itertools.product((-1, 0, 1), repeat=2):
        if down or right:
            row, column = y + down, x + right
            inside.append((row >= 0) & (row < height) & (column >= 0) & (column < width))
            values.append(plane[(*front, row.clip(0, height - 1), column.clip(0, width - 1))])
    around = np.stack(values, 1)
    # Differences of whole numbers without a sign would overflow.
    return around if around.dtype == bool else around.astype(np.float64), np.stack(inside, 1)
