"""From any array to the numbers a network can be trained on.

Bad pixels are found and filled, grey values are brought to mean 0 and
variance 1 by one linear map per channel and stack, and a large stack is
represented by blocks spread over all of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.bad_pixels import HotRule, fill, find_bad
from napari_noise2self.engine.errors import InputError, counted
from napari_noise2self.engine.events import Control
from napari_noise2self.engine.layout import MIN_SIDE, Layout
from napari_noise2self.engine.region import Part
from napari_noise2self.engine.spread import LEAST_SHAPES, spread_blocks
from napari_noise2self.engine.windows import Place, shifted

# More than training ever draws on a CPU, and 256 MB as float32.
MAX_TRAINING_PIXELS = 2**26


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

    def apply(
        self, frame: NDArray[Any], bad: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Normalise a frame of shape (channels, [Z,] Y, X).

        Where it is `bad`, the mean of the good pixels around is put, or that
        of the stack where there is none.
        """
        result = np.empty(frame.shape, np.float32)
        with np.errstate(over="ignore"):  # of bad pixels: others were refused
            for plane, out, offset, scale in zip(
                frame, result, self.offset, self.scale, strict=True
            ):
                # In double precision: a large offset would eat the digits of float32.
                np.subtract(plane, offset, out=out, dtype=np.float64, casting="unsafe")
                out /= scale
        if bad is not None and bad.any():
            fill(result, bad, [0.0] * len(result))
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
        sides = " and ".join(f"{counted(n, 'pixel')} along {a}" for a, n in small.items())
        raise InputError(
            f"The image has only {sides}: at least {MIN_SIDE} are needed to learn from. "
            f"Its shape {layout.shape} is read as {layout.axes}."
        )


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
    raw: list[tuple[NDArray[Any], NDArray[np.bool_]]] = []
    origins = []
    missing_count = hot_count = 0
    pixels = sum(layout.frames * math.prod(layout.spatial_shape) for _, layout in images)
    for image, layout in images:
        check_image(image, layout)
    _, first = images[0]
    fits = MAX_TRAINING_PIXELS // (math.prod(LEAST_SHAPES[first.ndim]) * first.channels)
    # Of more images than blocks fit, every second or third one, and so on, is seen.
    images = images[:: -(-len(images) // max(fits, 1))]
    most = MAX_TRAINING_PIXELS // len(images)
    for image, layout in images:
        parts = []
        for frame, region in spread_blocks(layout, most // layout.channels):
            if control is not None and control.stopped:
                return None
            parts.append(layout.read(image, frame, region))
            origins.append(_origin(image, layout, region))
        rule = HotRule.from_parts(parts)
        for values in parts:
            missing, hot = find_bad(values, rule)
            missing_count += int(missing.sum())
            hot_count += int(hot.sum())
            raw.append((values, missing | hot))
    if control is not None and control.stopped:
        return None
    normalisation = _normalisation(raw)
    notices = []
    if missing_count:
        notices.append(
            "1 pixel is NaN or infinite: it was not learned from and stays as it is in the result."
            if missing_count == 1
            else f"{missing_count:,} pixels are NaN or infinite: they were not learned from and "
            f"stay as they are in the result."
        )
    if hot_count:
        notices.append(
            "1 hot pixel was found: it was not learned from and is replaced by what its neighbours "
            "predict."
            if hot_count == 1
            else f"{hot_count:,} hot pixels were found: they were not learned from and are "
            f"replaced by what their neighbours predict."
        )
    blocks = [
        Block(normalisation.apply(values, bad), ~bad, origin)
        for (values, bad), origin in zip(raw, origins, strict=True)
    ]
    return TrainingData(blocks, normalisation, pixels, notices)


def _origin(image: Any, layout: Layout, region: Sequence[slice]) -> tuple[int, ...]:
    """Where a block begins in the frames that the partition is laid on: those of all the image."""
    start = [part.start for part in region]
    if not isinstance(image, Part):
        return tuple(start)
    places = (layout.axes.index(letter) for letter in layout.spatial_axes)
    return tuple(s + image.start[axis] for s, axis in zip(start, places, strict=True))


def _normalisation(
    raw: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]],
) -> Normalisation:
    channels = raw[0][0].shape[0]
    count = np.zeros(channels)
    total = np.zeros(channels)
    for values, bad in raw:
        for c in range(channels):
            good = ~bad[c]
            count[c] += good.sum()
            total[c] += values[c].sum(dtype=np.float64, where=good)
    if not count.any():
        raise InputError(
            "Every pixel of the image is NaN or infinite: there is nothing to learn from."
        )
    offset = total / np.maximum(count, 1)
    squares = np.zeros(channels)
    for values, bad in raw:
        for c in range(channels):
            deviation = values[c][~bad[c]].astype(np.float64) - offset[c]
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
    """One frame of an array, or a window of one, ready for a network.

    Attributes
    ----------
    values : ndarray of float32, shape (channels, [Z,] Y, X)
        Normalised, bad pixels filled.
    valid : ndarray of bool, same shape
        False where a pixel was missing or hot.
    place : Place
        Where they lie in the frame, and which of them are to be predicted.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    place: Place
    _missing: NDArray[np.bool_]
    _lost: NDArray[Any]
    _normalisation: Normalisation

    @classmethod
    def of(
        cls,
        image: Any,
        layout: Layout,
        normalisation: Normalisation,
        frame: int,
        rule: HotRule | None = None,
        place: Place | None = None,
        start: Sequence[int] | None = None,
    ) -> Frame:
        """Read, clean and normalise the frame with the number `frame`.

        Parameters
        ----------
        image : array of the shape of `layout`
        layout : Layout
        normalisation : Normalisation
        frame : int
        rule : HotRule, optional
            That of the stack; by default it is made from `image`.
        place : Place, optional
            The window to read; by default the whole frame.
        start : sequence of int, optional
            Where the frames of `image` begin in those of the stack, if it is
            a part of it that holds the window.
        """
        place = place or Place.whole(layout.spatial_shape)
        region = place.read if start is None else shifted(place.read, [-s for s in start])
        raw = layout.read(image, frame, region)
        missing, hot = find_bad(raw, rule or HotRule.of(image, layout))
        bad = missing | hot
        values = normalisation.apply(raw, bad)
        kept = (slice(None), *place.keep)
        missing = missing[kept]
        return cls(values, ~bad, place, missing, raw[kept][missing], normalisation)

    def restore(self, prediction: NDArray[np.float32]) -> NDArray[np.float32]:
        """A prediction in grey values; what was NaN or infinite is so again."""
        result = self._normalisation.invert(prediction)
        if self._lost.size:
            result[self._missing] = self._lost
        return result
