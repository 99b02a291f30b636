"""From any array to the numbers a network can be trained on.

Bad pixels are found and filled, grey values are brought to mean 0 and
variance 1 by one linear map per channel and stack, and a large stack is
represented by blocks spread over all of it.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Control
from napari_noise2self.engine.layout import MIN_SIDE, Layout
from napari_noise2self.engine.region import Part
from napari_noise2self.engine.windows import Place, shifted

# More than training ever draws on a CPU, and 256 MB as float32.
MAX_TRAINING_PIXELS = 2**26
# Shapes of the blocks that stand for data larger than that.
BLOCK_SHAPES = {2: (1024, 1024), 3: (32, 256, 256)}
# Where many images share the room, the blocks are smaller, but hold at least one crop.
LEAST_SHAPES = {2: (128, 128), 3: (8, 128, 128)}
# The blocks that tell what counts as hot: few enough to be read from a slow store.
HOT_PIXELS = 2**22
HOT_SHAPES = {2: (256, 256), 3: (16, 64, 64)}
# Threads that read them.
READERS = 8
# So many values are looked at together.
MOST_SAMPLED = 2**18


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
        sides = " and ".join(f"{n} pixels along {a}" for a, n in small.items())
        raise InputError(
            f"The image has only {sides}: at least {MIN_SIDE} are needed to learn from. "
            f"Its shape {layout.shape} is read as {layout.axes}."
        )


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
    return _regions(layout, HOT_PIXELS // layout.channels, HOT_SHAPES)


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


def _regions(
    layout: Layout, most: int, shapes: Mapping[int, Sequence[int]] | None = None
) -> list[tuple[int, tuple[slice, ...]]]:
    """Parts of frames, in blocks spread over all of them, of at most about `most` pixels."""
    shape = layout.spatial_shape
    if layout.frames * math.prod(shape) <= most:
        whole = tuple(slice(0, n) for n in shape)
        return [(frame, whole) for frame in range(layout.frames)]
    sides = [
        min(side, n) for side, n in zip((shapes or BLOCK_SHAPES)[layout.ndim], shape, strict=True)
    ]
    least = LEAST_SHAPES[layout.ndim]
    while math.prod(sides) > most:
        spare = [side / enough for side, enough in zip(sides, least, strict=True)]
        longest = spare.index(max(spare))
        if spare[longest] <= 1:
            break
        sides[longest] = max(sides[longest] // 2, least[longest])
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
        for frame, region in _regions(layout, most // layout.channels):
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
            f"{missing_count} pixels are NaN or infinite: they were not learned from and stay as "
            f"they are in the result."
        )
    if hot_count:
        notices.append(
            f"{hot_count} hot pixels were found: they were not learned from and are replaced by "
            f"what their neighbours predict."
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
