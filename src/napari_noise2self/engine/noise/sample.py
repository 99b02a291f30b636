"""The parts of an image that its noise is estimated from, without bad and clipped pixels."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_noise2self.engine.bad_pixels import fill_bad, find_bad
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.line import Limits

# The noise of a large image is that of a part of it.
_MOST_PIXELS = 2**21
_BLOCK = 512


@dataclass(frozen=True)
class Sample:
    """Parts of an image.

    Attributes
    ----------
    runs : list of ndarray, each of shape (channels, planes, y, x)
        Planes that follow each other in the stack, at one place each.
    """

    runs: list[NDArray[Any]]
    in_time: bool

    @classmethod
    def of(cls, image: Any, layout: Layout) -> Sample:
        """Read a few blocks, spread over the frames and over each frame."""
        height, width = layout.spatial_shape[-2:]
        depth = layout.spatial_shape[0] if layout.volume else 1
        # Of a single plane all may be read; of a stack, runs of planes at a few places.
        as_frames = not layout.volume and layout.frames > 1
        in_time = as_frames or (layout.volume and layout.depth == "T")
        length = min(16, layout.frames if as_frames else depth)
        side = _BLOCK if length == 1 else _BLOCK // 2
        sides = (min(side, height), min(side, width))
        per_run = length * math.prod(sides)
        rows, columns = (
            [round(i * (n - s) / max(math.ceil(n / s) - 1, 1)) for i in range(math.ceil(n / s))]
            for n, s in zip((height, width), sides, strict=True)
        )
        places = list(itertools.product(rows, columns))
        groups = max((layout.frames if as_frames else depth) // length, 1)
        count = max(1, min(_MOST_PIXELS // (per_run * layout.channels), len(places) * groups))
        if count >= len(places) * groups and groups == 1:
            chosen = [(place, 0) for place in places]
        else:
            order = np.random.default_rng(0).permutation(len(places))
            chosen = [(places[order[i % len(places)]], i * groups // count) for i in range(count)]
        runs = []
        for number, ((y, x), group) in enumerate(chosen):
            window = slice(y, y + sides[0]), slice(x, x + sides[1])
            start = group * length
            if as_frames:
                planes = [layout.read(image, start + i, window) for i in range(length)]
                runs.append(np.stack(planes, axis=1))
            elif layout.volume:
                frame = number * layout.frames // count
                runs.append(layout.read(image, frame, (slice(start, start + length), *window)))
            else:
                runs.append(layout.read(image, 0, window)[:, None])
        return cls(runs, in_time)


@dataclass(frozen=True)
class Cleaned:
    """One channel of a sample: float32 planes around zero, bad pixels filled.

    Everything is in multiples of `unit`.
    """

    runs: list[NDArray[np.float32]]
    low: list[NDArray[np.bool_]]
    high: list[NDArray[np.bool_]]
    zero: float
    limits: Limits
    step: float
    unit: float
    clipped: tuple[float, float]
    bad: tuple[float, float, float]


def clean(sample: Sample, channel: int) -> Cleaned | None:
    """One channel of a sample, its bad pixels filled and its limits found.

    None where every pixel is the same, or none is a number that can be squared.
    """
    raw = [run[channel : channel + 1] for run in sample.runs]
    pixels = sum(run.size for run in raw)
    filled, counts = [], np.zeros(3)
    masks = []
    for run in raw:
        missing, hot = find_bad(run)
        dead = find_dead(run, missing)
        counts += missing.sum(), hot.sum(), dead.sum()
        bad = missing | hot | dead
        masks.append(bad[0])
        filled.append(fill_bad(run, bad)[0])
    good = [run[~bad] for run, bad in zip(filled, masks, strict=True)]
    values = np.concatenate(good)
    if values.size == 0:
        return None
    least, most = float(values.min()), float(values.max())
    with np.errstate(over="ignore"):
        spread = float(values.std(dtype=np.float64))
    if not 0 < spread < 1e150:
        return None
    # Fourth powers must fit into float32; a power of two changes no digit.
    unit = 1.0 if 1e-3 < spread < 1e6 else 2.0 ** round(math.log2(spread))
    step = _grey_step(values) if raw[0].dtype.kind in "ui" else 0.0
    zero = float(np.median(values[:: max(values.size // 2**18, 1)]))
    low_share, high_share = (_piled(values, v, step, sign) for v, sign in ((least, 1), (most, -1)))
    # The image of a few photons has many zeros without being clipped: then the values
    # beside it are few and lie far apart.
    beside = values[values > least]
    beside = beside[beside <= np.quantile(beside[:: max(beside.size // 2**18, 1)], 0.75)]
    if step and float(beside.std()) < step:
        low_share = 0.0
    limits = Limits(least if low_share > 5e-4 else None, most if high_share > 5e-4 else None)
    none = [np.zeros(run.shape, bool) for run in filled]
    low = none if limits.low is None else [run == least for run in filled]
    high = none if limits.high is None else [run == most for run in filled]
    return Cleaned(
        [((run - zero) / unit).astype(np.float32) for run in filled],
        low,
        high,
        zero / unit,
        Limits(*(None if v is None else v / unit for v in (limits.low, limits.high))),
        step / unit,
        unit,
        (low_share, high_share),
        (counts[0] / pixels, counts[1] / pixels, counts[2] / pixels),
    )


def frame_differences(
    cleaned: Cleaned,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Differences of consecutive frames, which hold noise of the same variance and no structure.

    Parameters
    ----------
    cleaned : Cleaned
        Whose runs are frames that follow each other.

    Returns
    -------
    differences, signal, low, high : ndarray of shape (pairs, y, x)
        `signal` is the mean of the two frames; `low` and `high` say where either is clipped.
    """
    pairs = [(run[0 : len(run) - 1 : 2], run[1::2]) for run in cleaned.runs]
    low, high = (
        np.concatenate([mask[0 : len(mask) - 1 : 2] | mask[1::2] for mask in masks])
        for masks in (cleaned.low, cleaned.high)
    )
    return (
        np.concatenate([(b - a) * np.float32(0.5**0.5) for a, b in pairs]),
        np.concatenate([(a + b) * np.float32(0.5) for a, b in pairs]),
        low,
        high,
    )


def find_dead(frame: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels far below all eight neighbours, which are like each other.

    The mirror image of a hot pixel: further below the least of its neighbours
    than four times their span, and not just the darkest of a noisy background.
    """
    kind = np.float64 if frame.dtype == np.float64 else np.float32
    values = np.where(missing, 0, frame).astype(kind, copy=False)
    ring = np.ones((1,) * (values.ndim - 2) + (3, 3), bool)
    ring[..., 1, 1] = False
    least = ndimage.minimum_filter(values, footprint=ring, mode="reflect")
    candidates = values < least
    if not candidates.any():
        return np.zeros(values.shape, bool)
    where = np.nonzero(candidates)
    drop = least[where] - values[where]
    typical = 6 * float(np.median(drop))
    keep = drop > typical
    found = np.zeros(values.shape, bool)
    where = tuple(index[keep] for index in where)
    if where[0].size == 0:
        return found
    most = ndimage.maximum_filter(values, footprint=ring, mode="reflect")[where]
    drop = drop[keep]
    alone = drop > 4 * (most - least[where])
    found[tuple(index[alone] for index in where)] = True
    return np.asarray(found & ~missing)


def _grey_step(values: NDArray[Any]) -> float:
    """Distance of neighbouring grey values that occur."""
    levels = np.unique(values[:: max(values.size // 2**16, 1)])
    return float(np.median(np.diff(levels))) if levels.size > 1 else 1.0


def _piled(values: NDArray[Any], limit: float, step: float, sign: int) -> float:
    """Share of the values at a limit, if they are many more than those right beside it."""
    at = int(np.count_nonzero(values == limit))
    if at < 3:
        return 0.0
    width = 1.01 * step if step else 1e-3 * float(np.ptp(values))
    if sign > 0:
        beside = np.count_nonzero((values > limit) & (values <= limit + width))
    else:
        beside = np.count_nonzero((values < limit) & (values >= limit - width))
    return at / values.size if at > 2 * int(beside) else 0.0
