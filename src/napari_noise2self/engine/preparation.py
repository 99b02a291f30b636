"""From any array to the numbers a network can be trained on.

Bad pixels are found and filled, grey values are brought to mean 0 and
variance 1 by one linear map per channel and stack, and a large stack is
represented by blocks spread over all of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Control
from napari_noise2self.engine.layout import Layout

# More than training ever draws on a CPU, and 256 MB as float32.
MAX_TRAINING_PIXELS = 2**26
# Shapes of the blocks that stand for data larger than that.
BLOCK_SHAPES = {2: (1024, 1024), 3: (32, 256, 256)}
# Y and X must hold a few periods of a grid.
MIN_SIDE = 16


@dataclass(frozen=True)
class Normalisation:
    """The linear map of each channel to mean 0 and variance 1.

    Attributes
    ----------
    offset, scale : tuple of float
        One number per channel, in grey values.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def apply(self, frame: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise a frame of shape (channels, [Z,] Y, X)."""
        result = np.empty(frame.shape, np.float32)
        for plane, out, offset, scale in zip(frame, result, self.offset, self.scale, strict=True):
            # In double precision: a large offset would eat the digits of float32.
            np.subtract(plane, offset, out=out, dtype=np.float64, casting="unsafe")
            out /= scale
        return result

    def invert(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Back to grey values."""
        result = np.empty(frame.shape, np.float32)
        for plane, out, offset, scale in zip(frame, result, self.offset, self.scale, strict=True):
            np.multiply(plane, scale, out=out)
            out += offset
        return result


@dataclass(frozen=True)
class Block:
    """A piece of one frame to train on.

    Attributes
    ----------
    values : ndarray of float32, shape (channels, [Z,] Y, X)
        Normalised, bad pixels filled.
    valid : ndarray of bool, same shape
        False where a pixel was bad and must not be a target.
    origin : tuple of int
        Where the block starts in its frame, in the coordinates of the partition.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    origin: tuple[int, ...]


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained on.

    Attributes
    ----------
    blocks : list of Block
    normalisation : Normalisation
    pixels : int
        Pixels of the whole data, also of what the blocks leave out.
    notices : list of str
        What the user should know about the data.
    """

    blocks: list[Block]
    normalisation: Normalisation
    pixels: int
    notices: list[str]


def check_image(image: Any, layout: Layout) -> None:
    """Refuse what cannot be denoised.

    Raises
    ------
    InputError
        For a dtype that is not a number of grey, and for too small an image.
    """
    dtype = np.dtype(image.dtype)
    if dtype.kind == "b":
        raise InputError(
            "The image is bool, a mask without noise statistics: give the grey values it was "
            "made from."
        )
    if dtype.kind not in "uif":
        raise InputError(
            f"The image has the type {dtype}: whole or floating-point grey values are needed"
            + (", such as its magnitude." if dtype.kind == "c" else ".")
        )
    small = {a: layout.size(a) for a in "YX" if layout.size(a) < MIN_SIDE}
    if small:
        sides = " and ".join(f"{n} pixels along {a}" for a, n in small.items())
        raise InputError(
            f"The image has only {sides}: at least {MIN_SIDE} are needed to learn from. "
            f"Its shape {layout.shape} is read as {layout.axes}."
        )


def find_bad(frame: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels that carry no grey value, and the hot ones.

    A hot pixel stands alone, far above everything: more than six times as
    far above the median as the 99.9th percentile, and five times as far as
    each of its eight neighbours.  The image of a point is wider than that.

    Parameters
    ----------
    frame : ndarray, shape (channels, [Z,] Y, X)

    Returns
    -------
    missing, hot : ndarray of bool, shape of `frame`
        NaN or infinite; hot.
    """
    missing = ~np.isfinite(frame) if frame.dtype.kind == "f" else np.zeros(frame.shape, bool)
    hot = np.zeros(frame.shape, bool)
    for channel, plane in enumerate(frame):
        present = plane[~missing[channel]] if missing[channel].any() else plane.ravel()
        if present.size == 0:
            continue
        sample = present[:: max(present.size // 2**18, 1)].astype(np.float64)
        middle, high = np.percentile(sample, [50, 99.9])
        if high == middle:
            continue  # sparse counts: every one of them would stand out
        threshold = middle + 6 * (high - middle)
        for index in np.argwhere(plane > threshold):
            if missing[(channel, *index)]:
                continue
            y, x = index[-2:]
            around = plane[(*index[:-2], slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2))]
            others = np.sort(around[np.isfinite(around)].astype(np.float64), axis=None)[:-1]
            value = float(plane[tuple(index)])
            if others.size and others[-1] - middle < 0.2 * (value - middle):
                hot[(channel, *index)] = True
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
    filled = np.where(bad, 0.0, frame.astype(np.float64))
    for plane, holes in zip(filled, bad, strict=True):
        if not holes.any():
            continue
        size = (1,) * (plane.ndim - 2) + (3, 3)
        share = ndimage.uniform_filter((~holes).astype(np.float64), size, mode="reflect")
        around = ndimage.uniform_filter(plane, size, mode="reflect")
        mean = float(plane[~holes].mean()) if not holes.all() else 0.0
        plane[holes] = np.where(share > 1e-6, around / np.maximum(share, 1e-6), mean)[holes]
    return filled


def _regions(layout: Layout, most: int) -> list[tuple[int, tuple[slice, ...]]]:
    """Which parts of which frames to train on, at most about `most` pixels."""
    shape = layout.spatial_shape
    if layout.frames * math.prod(shape) <= most:
        whole = tuple(slice(0, n) for n in shape)
        return [(frame, whole) for frame in range(layout.frames)]
    sides = [min(side, n) for side, n in zip(BLOCK_SHAPES[layout.ndim], shape, strict=True)]
    starts = [
        [min(start, n - side) for start in range(0, n, side)]
        for n, side in zip(shape, sides, strict=True)
    ]
    places = list(itertools.product(*starts))
    count = min(max(most // math.prod(sides), 1), layout.frames * len(places))
    # Frames evenly, places by chance: in step with each other they would miss most places.
    order = np.random.default_rng(0).permutation(len(places))
    regions = []
    for number in range(count):
        place = places[order[number % len(places)]]
        region = tuple(slice(s, s + side) for s, side in zip(place, sides, strict=True))
        regions.append((number * layout.frames // count, region))
    return regions


def prepare(
    images: Sequence[tuple[Any, Layout]], control: Control | None = None
) -> TrainingData | None:
    """Read, clean and normalise what to train on.

    Parameters
    ----------
    images : sequence of (array, Layout)
        With the same number of channels and spatial axes.
    control : Control, optional

    Returns
    -------
    data : TrainingData or None
        None if it was stopped.

    Raises
    ------
    InputError
        If an image cannot be used or all of them are constant.
    """
    raw: list[tuple[NDArray[Any], NDArray[np.bool_], tuple[int, ...]]] = []
    missing_count = hot_count = 0
    most = MAX_TRAINING_PIXELS // len(images)
    for image, layout in images:
        check_image(image, layout)
        for frame, region in _regions(layout, most // layout.channels):
            if control is not None and control.stopped:
                return None
            values = layout.read(image, frame, region)
            missing, hot = find_bad(values)
            missing_count += int(missing.sum())
            hot_count += int(hot.sum())
            bad = missing | hot
            raw.append((fill_bad(values, bad), ~bad, tuple(part.start for part in region)))
    if control is not None and control.stopped:
        return None
    normalisation = _normalisation(raw)
    pixels = sum(layout.frames * math.prod(layout.spatial_shape) for _, layout in images)
    notices = []
    if missing_count:
        notices.append(
            f"{missing_count} pixels are NaN or infinite: they were not learned from and stay as "
            f"they are in the result."
        )
    if hot_count:
        notices.append(
            f"{hot_count} hot pixels were found: they were not learned from and are replaced by "
            f"what their neighbours predict."
        )
    blocks = [Block(normalisation.apply(values), valid, origin) for values, valid, origin in raw]
    return TrainingData(blocks, normalisation, pixels, notices)


def _normalisation(
    raw: Sequence[tuple[NDArray[Any], NDArray[np.bool_], tuple[int, ...]]],
) -> Normalisation:
    channels = raw[0][0].shape[0]
    count = np.zeros(channels)
    total = np.zeros(channels)
    for values, valid, _ in raw:
        for c in range(channels):
            good = valid[c]
            count[c] += good.sum()
            total[c] += values[c].sum(dtype=np.float64, where=good)
    if not count.any():
        raise InputError(
            "Every pixel of the image is NaN or infinite: there is nothing to learn from."
        )
    offset = total / np.maximum(count, 1)
    squares = np.zeros(channels)
    for values, valid, _ in raw:
        for c in range(channels):
            deviation = values[c][valid[c]].astype(np.float64) - offset[c]
            with np.errstate(over="ignore"):  # refused below
                squares[c] += np.dot(deviation, deviation)
    scale = np.sqrt(squares / np.maximum(count, 1))
    if not np.all(np.isfinite(scale)):
        raise InputError(
            "The grey values are too large to compute with: divide them by a constant first."
        )
    constant = scale <= 1e-12 * np.abs(offset)
    if constant.all():
        raise InputError(
            f"The image is constant (every pixel is {offset[0]:g}): there is no noise to remove."
        )
    scale[constant] = 1.0
    return Normalisation(tuple(offset.tolist()), tuple(scale.tolist()))


@dataclass(frozen=True)
class Frame:
    """One frame of an array, ready for a network.

    Attributes
    ----------
    values : ndarray of float32, shape (channels, [Z,] Y, X)
        Normalised, bad pixels filled.
    valid : ndarray of bool, same shape
        False where a pixel was missing or hot.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    _raw: NDArray[Any]
    _missing: NDArray[np.bool_]
    _normalisation: Normalisation

    @classmethod
    def of(cls, image: Any, layout: Layout, normalisation: Normalisation, frame: int) -> Frame:
        """Read, clean and normalise the frame with the number `frame`."""
        raw = layout.read(image, frame)
        missing, hot = find_bad(raw)
        bad = missing | hot
        values = normalisation.apply(fill_bad(raw, bad))
        return cls(values, ~bad, raw, missing, normalisation)

    def restore(self, prediction: NDArray[np.float32]) -> NDArray[np.float32]:
        """A prediction in grey values; what was NaN or infinite is so again."""
        result = self._normalisation.invert(prediction)
        result[self._missing] = self._raw[self._missing]
        return result
