"""The pixels that filters are calibrated on, taken from an image.

Up to a megapixel the whole image is filtered, of more a few windows that are
spread over it.  In them some subsets of the partition are hidden, one at a
time: as many as it takes for some ten thousand pixels to compare, which the
subset of the held-out positions always belongs to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.bad_pixels import fill_bad, find_bad
from napari_noise2self.engine.calibration.pixels import Pixels, Unit, Window
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.filters.blind import Channel
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.report import NoiseReport
from napari_noise2self.engine.partition import Partition

# Pixels that are filtered in one go, and the windows that make them up in a larger image.
MOST_PIXELS = 2**20
WINDOWS = {2: (512, 512), 3: (16, 128, 128)}
# Pixels that are compared: a few hundredths of a percent of the loss lie between settings.
ENOUGH_COMPARED = 2**14
MOST_SUBSETS = 8
# A truth of other exposure differs so many times more from the image than mapped to it.
_OTHER_EXPOSURE = 1.5


def unit_of(frames: Sequence[NDArray[Any]], noise: NoiseReport) -> Unit:
    """How to bring the channels of frames to noise of standard deviation 1.

    Parameters
    ----------
    frames : sequence of ndarray, each of shape (channels, [Z,] Y, X)
        In grey values, bad pixels filled.
    noise : NoiseReport

    Raises
    ------
    InputError
        If every channel is constant.
    """
    offsets, scales = [], []
    known = True
    for number, channel in enumerate(noise.channels):
        planes = [frame[number].astype(np.float64) for frame in frames]
        offset = float(np.mean([plane.mean() for plane in planes]))
        spread = math.sqrt(float(np.mean([np.mean((p - offset) ** 2) for p in planes])))
        scale = math.sqrt(channel.mean_variance) if channel.mean_variance > 0 else math.nan
        if spread <= 1e-12 * abs(offset):
            scale = 0.0
        elif not math.isfinite(scale):
            scale, known = _guessed_deviation(planes) or spread / 4, False
        offsets.append(offset)
        scales.append(scale)
    if not any(scales):
        raise InputError(
            f"The image is constant (every pixel is {offsets[0]:g}): there is no noise to remove."
        )
    common = math.sqrt(float(np.mean([s**2 for s in scales if s])))
    return Unit(tuple(offsets), tuple(s or 1.0 for s in scales), common, known)


def _guessed_deviation(planes: Sequence[NDArray[np.float64]]) -> float:
    """From second differences along x, most of which show noise alone."""
    pieces = [(p[..., 2:] - 2 * p[..., 1:-1] + p[..., :-2]).ravel() for p in planes]
    return float(np.median(np.abs(np.concatenate(pieces)))) / 0.6745 / math.sqrt(6)


def places(layout: Layout) -> list[tuple[int, tuple[slice, ...]]]:
    """Which parts of which frames to calibrate on."""
    shape = layout.spatial_shape
    most = MOST_PIXELS // layout.channels
    if layout.frames * math.prod(shape) <= most:
        whole = tuple(slice(0, n) for n in shape)
        return [(frame, whole) for frame in range(layout.frames)]
    sides = [min(side, n) for side, n in zip(WINDOWS[layout.ndim], shape, strict=True)]
    starts = [
        [round(i * (n - s) / max(-(-n // s) - 1, 1)) for i in range(-(-n // s))]
        for n, s in zip(shape, sides, strict=True)
    ]
    corners = list(itertools.product(*starts))
    count = min(max(most // math.prod(sides), 1), layout.frames * len(corners))
    # Frames evenly, corners by chance: in step with each other they would miss most places.
    order = np.random.default_rng(0).permutation(len(corners))
    return [
        (
            number * layout.frames // count,
            tuple(
                slice(s, s + side)
                for s, side in zip(corners[order[number % len(corners)]], sides, strict=True)
            ),
        )
        for number in range(count)
    ]


def chosen_subsets(
    partition: Partition, ndim: int, pixels: int, wish: int | str | None, donuts: bool
) -> tuple[int, ...]:
    """The subsets to hide: that of the held-out positions, then others spread over the rest.

    Parameters
    ----------
    partition : Partition
    ndim : int
        Number of spatial axes.
    pixels : int
        How many there are in all windows together.
    wish : int, "all" or None
        None: all if all filters predict every pixel at once (`donuts`),
        otherwise so many that enough pixels are compared.

    Raises
    ------
    InputError
        If there are not so many subsets.
    """
    total = partition.subset_count(ndim)
    if wish == "all" or (wish is None and donuts):
        count = total
    elif wish is None:
        count = min(math.ceil(ENOUGH_COMPARED * total / pixels), MOST_SUBSETS, total)
    elif isinstance(wish, (int, np.integer)) and not isinstance(wish, bool) and 1 <= wish <= total:
        count = int(wish)
    else:
        raise InputError(
            f"The number of subsets to compare on was {wish!r}: give 1 to {total}, as many as the "
            f"partition has, or 'all'."
        )
    first = partition.held_out_subset(ndim)
    return tuple(sorted((first + i * total // count) % total for i in range(count)))


def collect(
    image: Any,
    layout: Layout,
    partition: Partition,
    noise: NoiseReport,
    *,
    truth: Any = None,
    subsets: int | str | None = None,
    donuts: bool = False,
) -> Pixels:
    """Read the windows of an image and lay the masks.

    Parameters
    ----------
    image : array of the shape of `layout`
    layout : Layout
    partition : Partition
    noise : NoiseReport
    truth : array of the same shape, optional
    subsets, donuts
        As for `chosen_subsets`; with `donuts` no masked inputs are made
        where they are not needed.

    Raises
    ------
    InputError
        If the image is constant or has no finite pixel, or too few subsets.
    """
    raw: list[Raw] = []
    for frame, region in places(layout):
        values = layout.read(image, frame, region)
        missing, hot = find_bad(values)
        bad = missing | hot
        true = None if truth is None else layout.read(truth, frame, region)
        origin = tuple(part.start for part in region)
        raw.append((fill_bad(values, bad), ~bad, origin, true))
    if not any(valid.any() for _, valid, _, _ in raw):
        raise InputError(
            "Every pixel of the image is NaN or infinite: there is nothing to compare with."
        )
    raw, mapped = _at_brightness(raw)
    unit = unit_of([values for values, *_ in raw], noise)
    size = sum(math.prod(values.shape[1:]) for values, *_ in raw)
    hidden = chosen_subsets(partition, layout.ndim, size, subsets, donuts)
    windows = [
        _window(values, valid, origin, true, unit, partition, hidden, donuts)
        for values, valid, origin, true in raw
    ]
    pixels = Pixels(windows, hidden, unit, partition, noise, mapped)
    if not pixels.count:
        raise InputError("No pixel of the image can be hidden with this partition: use another.")
    return pixels


Raw = tuple[NDArray[Any], NDArray[np.bool_], tuple[int, ...], NDArray[Any] | None]


def _at_brightness(raw: list[Raw]) -> tuple[list[Raw], bool]:
    """The windows, their truths mapped linearly to the image where they are of other exposure."""
    mapped = False
    for channel in range(raw[0][0].shape[0]):
        pairs = [
            (values[channel][good].astype(np.float64), truth[channel][good].astype(np.float64))
            for values, valid, _, truth in raw
            if truth is not None
            for good in [valid[channel] & np.isfinite(truth[channel])]
        ]
        if not pairs:
            break
        x, t = (np.concatenate(part) for part in zip(*pairs, strict=True))
        if t.size == 0 or np.ptp(t) == 0:
            continue
        slope, offset = np.polyfit(t, x, 1)
        # Noise alone leaves about as much as is left after the map.
        if np.mean((t - x) ** 2) > _OTHER_EXPOSURE * np.mean((slope * t + offset - x) ** 2):
            mapped = True
            for number, (values, valid, origin, truth) in enumerate(raw):
                assert truth is not None
                truth = truth.astype(np.float64)
                truth[channel] = slope * truth[channel] + offset
                raw[number] = (values, valid, origin, truth)
    return raw, mapped


def _window(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    origin: tuple[int, ...],
    truth: NDArray[Any] | None,
    unit: Unit,
    partition: Partition,
    subsets: Sequence[int],
    donuts: bool,
) -> Window:
    labels = partition.labels(values.shape[1:], origin)
    channels, scored, masked = [], [], {}
    true: list[NDArray[np.float64]] | None = None if truth is None else []
    for number, (offset, scale) in enumerate(zip(unit.offset, unit.scale, strict=True)):
        channel = Channel.of(values[number], valid[number], offset, scale)
        channels.append(channel)
        good = valid[number]
        if true is not None and truth is not None:
            shown = (truth[number].astype(np.float64) - offset) / scale
            good = good & np.isfinite(shown)
            true.append(shown)
        flat = [np.flatnonzero((labels == subset) & good) for subset in subsets]
        scored.append(np.concatenate(flat))
        if not (donuts and channel.valid.all()):
            for subset in subsets:
                masked[number, subset] = channel.masked(labels == subset, partition)
    return Window(origin, channels, labels, scored, masked, true)
