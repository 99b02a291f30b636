"""What the noise of an image is, and how to denoise it therefore."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise_correlation import (
    NEGLIGIBLE,
    WORTH_HIDING,
    AxisCorrelation,
    flat_bins,
    measure_correlation,
)
from napari_noise2self.engine.noise_level import (
    Level,
    Limits,
    Line,
    choose_step,
    immerkaer,
    immerkaer_energy,
    measure_level,
)
from napari_noise2self.engine.noise_statistics import (
    Floats,
    block_means,
    patch_region,
    patch_side,
    patch_statistics,
)
from napari_noise2self.engine.partition import Grid
from napari_noise2self.engine.preparation import check_image, fill_bad, find_bad

# The noise of a large image is that of a part of it.
_MOST_PIXELS = 2**21
_BLOCK = 512
# Patches with more clipped pixels say nothing about the correlation.
_MOST_CLIPPED = 0.5
# The variance is called known below this relative error.
KNOWN = 0.25
_FEWEST_FRAMES = 8


@dataclass(frozen=True)
class ChannelNoise:
    """The noise of one channel, in its grey values; NaN or None where it could not be told.

    Attributes
    ----------
    gain : float
        Grey values per photoelectron: the slope of variance against signal.
    gain_error : float
        Its standard error.
    offset : float
        Grey value of darkness, taken to be the darkest local mean; NaN where
        what is dark was clipped.
    read_noise : float
        Standard deviation of the noise at `offset`.
    mean_variance : float
        Variance of the noise, averaged over the image.
    variance_error : float
        Relative standard error of `mean_variance`, with what structure may add to it.
    correlation : dict
        One `AxisCorrelation` for each spatial axis.
    clipped_low, clipped_high : float
        Share of the pixels piled up at the least and at the largest grey value.
    missing : float
        Share of the pixels that are NaN or infinite.
    hot, dead : float
        Share of the pixels that stand alone far above, or far below, all around them.
    fixed_pattern : float or None
        Standard deviation of what differs from pixel to pixel but not from
        frame to frame; 0 if it is not significant, None if it cannot be told.
    from_frames : bool
        Whether this comes from the differences of frames, which hold no structure.
    line : Line or None
        Variance against signal.
    """

    gain: float
    gain_error: float
    offset: float
    read_noise: float
    mean_variance: float
    variance_error: float
    correlation: dict[str, AxisCorrelation]
    clipped_low: float
    clipped_high: float
    missing: float
    hot: float
    dead: float
    fixed_pattern: float | None
    from_frames: bool
    line: Line | None

    @property
    def known(self) -> bool:
        """Whether the variance is known well enough to compute with."""
        return self.variance_error <= KNOWN


@dataclass(frozen=True)
class Suggestion:
    """How to denoise the image.

    Attributes
    ----------
    partition : Grid
    transformation : "none" or "square root"
    output : "single-pass", "mixed" or "j-invariant"
    reasons : tuple of str
        One sentence for each of the three.
    """

    partition: Grid
    transformation: str
    output: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class NoiseReport:
    """What the noise of an image is.

    Attributes
    ----------
    axes : str
        The axes of the image.
    spatial_axes : str
        The axes of the partition, "YX" or "ZYX".
    channels : tuple of ChannelNoise
    suggestion : Suggestion
    """

    axes: str
    spatial_axes: str
    channels: tuple[ChannelNoise, ...]
    suggestion: Suggestion

    @property
    def correlated(self) -> bool:
        """Whether the noise of neighbouring pixels is correlated in any channel."""
        return any(a.correlated for c in self.channels for a in c.correlation.values())

    @property
    def extent(self) -> tuple[int, ...]:
        """Odd width per spatial axis of the block that covers correlated pixels."""
        return tuple(
            max(c.correlation[letter].extent for c in self.channels) for letter in self.spatial_axes
        )

    @property
    def known(self) -> bool:
        """Whether the variance of every channel is known well enough to compute with."""
        return all(channel.known for channel in self.channels)

    @property
    def variance_error(self) -> float:
        """Relative standard error of the mean variance, the largest of the channels."""
        return float(max(channel.variance_error for channel in self.channels))

    def variance(self, signal: ArrayLike, channel: int = 0) -> Floats:
        """The variance of the noise where the mean of the recorded grey values is `signal`.

        Parameters
        ----------
        signal : array_like
        channel : int

        Returns
        -------
        variance : ndarray of float64, shape of `signal`
            In squared grey values, never negative; NaN where it is unknown.
        """
        line = self.channels[channel].line
        if line is None:
            return np.full(np.shape(signal), np.nan)
        return line.variance(signal)

    def lags(self, channel: int = 0) -> list[tuple[float, ...]]:
        """The correlation at 1, 2, … pixels along each spatial axis; empty where there is none.

        Parameters
        ----------
        channel : int

        Returns
        -------
        lags : list of tuple of float, one per axis of `spatial_axes`
        """
        axes = (self.channels[channel].correlation[letter] for letter in self.spatial_axes)
        return [axis.rho if axis.correlated else () for axis in axes]

    def to_json(self) -> dict[str, Any]:
        """The report as numbers, strings, lists and mappings; NaN becomes None."""
        suggestion = self.suggestion
        plain: dict[str, Any] = _plain(
            {
                "axes": self.axes,
                "spatial_axes": self.spatial_axes,
                "correlated": self.correlated,
                "extent": self.extent,
                "variance_error": self.variance_error,
                "channels": [asdict(channel) for channel in self.channels],
                "suggestion": {
                    "partition": {
                        "kind": "grid",
                        "width": suggestion.partition.width,
                        "extent": suggestion.partition.extent,
                    },
                    "transformation": suggestion.transformation,
                    "output": suggestion.output,
                    "reasons": suggestion.reasons,
                },
            }
        )
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def estimate_noise(image: Any, axes: str | None = None, *, volume: bool = False) -> NoiseReport:
    """Estimate from one noisy image what its noise is.

    The variance as a function of the signal, the correlation of neighbouring
    pixels, clipped, hot and dead pixels, and the partition, transformation and
    output that fit them.  Everything is measured where the image is flattest
    (see `noise_statistics`, `noise_correlation` and `noise_level`), on a few
    million pixels spread over a large image.  Where consecutive frames show
    the same, their differences are used instead, which hold no structure.

    A single image tells the line ``variance = a * signal + b``, but not where
    on it darkness lies: the offset is taken to be the darkest local mean, and
    the read noise is what the line says there.  Where nothing is dark the
    offset is too high, and the read noise with it.

    Parameters
    ----------
    image : array_like
        NumPy, dask, or whatever has a shape and a dtype and can be indexed.
    axes : str, optional
        One letter per axis, as in "TCZYX".  None: the last two are YX and
        leading ones count frames (the last of them is Z if `volume`).
    volume : bool
        Whether Z is a spatial axis: its correlation is measured too.

    Returns
    -------
    report : NoiseReport
        With NaN, None and "not correlated" where the image does not tell.

    Raises
    ------
    InputError
        If the image cannot be denoised at all, such as one that is bool.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> report = estimate_noise(50 + rng.normal(0, 5, (256, 256)))
    >>> report.correlated, round(float(report.variance(50)))
    (False, 25)
    """
    if not (hasattr(image, "dtype") and hasattr(image, "shape")):
        image = np.asarray(image)
    layout = Layout.of(image.shape, axes, volume)
    check_image(image, layout)
    sample = _Sample.of(image, layout)
    channels = tuple(_channel(sample, number, layout) for number in range(layout.channels))
    report = NoiseReport(layout.axes, layout.spatial_axes, channels, _NOTHING)
    return NoiseReport(layout.axes, layout.spatial_axes, channels, _suggest(report))


@dataclass(frozen=True)
class _Sample:
    """Parts of an image.

    Attributes
    ----------
    runs : list of ndarray, each of shape (channels, planes, y, x)
        Planes that follow each other in the stack, at one place each.
    """

    runs: list[NDArray[Any]]
    in_time: bool

    @classmethod
    def of(cls, image: Any, layout: Layout) -> _Sample:
        """Read a few blocks, spread over the frames and over each frame."""
        height, width = layout.spatial_shape[-2:]
        depth = layout.spatial_shape[0] if layout.volume else 1
        # Of a single plane all may be read; of a stack, runs of planes at a few places.
        in_time = not layout.volume and layout.frames > 1
        length = min(16, layout.frames if in_time else depth)
        side = _BLOCK if length == 1 else _BLOCK // 2
        sides = (min(side, height), min(side, width))
        per_run = length * math.prod(sides)
        rows, columns = (
            [round(i * (n - s) / max(math.ceil(n / s) - 1, 1)) for i in range(math.ceil(n / s))]
            for n, s in zip((height, width), sides, strict=True)
        )
        places = list(itertools.product(rows, columns))
        groups = max((layout.frames if in_time else depth) // length, 1)
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
            if in_time:
                planes = [layout.read(image, start + i, window) for i in range(length)]
                runs.append(np.stack(planes, axis=1))
            elif layout.volume:
                frame = number * layout.frames // count
                runs.append(layout.read(image, frame, (slice(start, start + length), *window)))
            else:
                runs.append(layout.read(image, 0, window)[:, None])
        return cls(runs, in_time)


@dataclass(frozen=True)
class _Cleaned:
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


def _clean(sample: _Sample, channel: int) -> _Cleaned | None:
    raw = [run[channel : channel + 1] for run in sample.runs]
    pixels = sum(run.size for run in raw)
    filled, counts = [], np.zeros(3)
    masks = []
    for run in raw:
        missing, hot = find_bad(run)
        dead = _dead(run, missing)
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
    return _Cleaned(
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


def _dead(frame: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
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


@dataclass(frozen=True)
class _Analysis:
    level: Level | None
    correlation: tuple[AxisCorrelation, AxisCorrelation]
    unevenness: float


def _analyse(
    planes: NDArray[np.float32],
    signal: NDArray[np.float32] | None,
    low: NDArray[np.bool_],
    high: NDArray[np.bool_],
    cleaned: _Cleaned,
    correlation: tuple[AxisCorrelation, AxisCorrelation] | None = None,
) -> _Analysis | None:
    side = patch_side(planes.shape[1:], planes.shape[0])
    patches = patch_statistics(planes, side, signal, low, high, cleaned.zero)
    if patches is None:
        return None
    if correlation is None:
        correlation = measure_correlation(patches, flat_bins(patches, _MOST_CLIPPED))
    # A line needs more points than a correlation, and each may be less certain.
    bins = flat_bins(patches, _MOST_CLIPPED, size=20, fewest=8)
    (step_y, gain_y), (step_x, gain_x) = map(choose_step, correlation)
    energies = (
        immerkaer_energy(planes, side, (step_y, step_x)),
        immerkaer_energy(planes, side, (step_y, 0)),
        immerkaer_energy(planes, side, (0, step_x)),
    )
    level = measure_level(
        patches, energies, (gain_y, gain_x), bins, correlation, cleaned.limits, cleaned.step
    )
    return _Analysis(level, correlation, float(np.mean(patches.unevenness)))


def _channel(sample: _Sample, number: int, layout: Layout) -> ChannelNoise:
    cleaned = _clean(sample, number)
    if cleaned is None:
        return _unknown(layout)
    planes = _stack(cleaned.runs)
    low, high = _stack(cleaned.low), _stack(cleaned.high)
    analysis = _analyse(planes, None, low, high, cleaned)
    from_frames = False
    fixed: float | None = None
    if sample.in_time and cleaned.runs[0].shape[0] > 1:
        temporal = _temporal(cleaned)
        # What moves doubles in a difference; what stays is gone.  But a fixed pattern is
        # noise as well, and so is what an average of frames before has made alike: where
        # the image itself tells much more variance for sure, that counts.
        if (
            temporal is not None
            and temporal.level is not None
            and (
                analysis is None
                or analysis.level is None
                or (
                    temporal.unevenness < 0.5 * analysis.unevenness
                    and (
                        not _white_alone(analysis.correlation)
                        or temporal.level.mean_variance > 0.5 * analysis.level.mean_variance
                    )
                )
            )
        ):
            analysis, from_frames = temporal, True
        if analysis is not None and analysis.level is not None:
            fixed = _fixed_pattern(cleaned, analysis)
    correlation = dict.fromkeys(layout.spatial_axes, AxisCorrelation())
    level = None
    if analysis is not None:
        correlation["Y"], correlation["X"] = analysis.correlation
        level = analysis.level
        if layout.volume:
            correlation["Z"] = _between_planes(cleaned, analysis)
    shares = {
        "clipped_low": cleaned.clipped[0],
        "clipped_high": cleaned.clipped[1],
        "missing": cleaned.bad[0],
        "hot": cleaned.bad[1],
        "dead": cleaned.bad[2],
    }
    if level is None:
        return _unknown(layout, correlation, **shares)
    line = level.line.scaled(cleaned.unit)
    # What is dark was cut away: nothing is left to see the read noise by.
    dark = cleaned.clipped[0] <= _MOST_CLIPPED
    return ChannelNoise(
        gain=line.slope if math.isfinite(line.slope_error) else math.nan,
        gain_error=line.slope_error,
        offset=line.darkest if dark else math.nan,
        read_noise=math.sqrt(float(line.unclipped(line.darkest))) if dark else math.nan,
        mean_variance=level.mean_variance * cleaned.unit**2,
        variance_error=level.relative_error,
        correlation=correlation,
        fixed_pattern=None if fixed is None else fixed * cleaned.unit,
        from_frames=from_frames,
        line=line,
        **shares,
    )


def _unknown(
    layout: Layout, correlation: dict[str, AxisCorrelation] | None = None, **shares: float
) -> ChannelNoise:
    nan = math.nan
    names = ("clipped_low", "clipped_high", "missing", "hot", "dead")
    return ChannelNoise(
        gain=nan,
        gain_error=nan,
        offset=nan,
        read_noise=nan,
        mean_variance=nan,
        variance_error=math.inf,
        correlation=correlation or dict.fromkeys(layout.spatial_axes, AxisCorrelation()),
        fixed_pattern=None,
        from_frames=False,
        line=None,
        **{name: shares.get(name, nan) for name in names},
    )


def _stack(runs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return runs[0] if len(runs) == 1 else np.concatenate(runs)


def _temporal(cleaned: _Cleaned) -> _Analysis | None:
    """The same from the differences of consecutive frames."""
    pairs = [(run[0 : len(run) - 1 : 2], run[1::2]) for run in cleaned.runs]
    differences = _stack([(b - a) * np.float32(0.5**0.5) for a, b in pairs])
    if not differences.any():
        return None
    signal = _stack([(a + b) * np.float32(0.5) for a, b in pairs])
    low, high = (
        _stack([mask[0 : len(mask) - 1 : 2] | mask[1::2] for mask in masks])
        for masks in (cleaned.low, cleaned.high)
    )
    return _analyse(differences, signal, low, high, cleaned)


def _fixed_pattern(cleaned: _Cleaned, noise: _Analysis) -> float | None:
    """What differs from pixel to pixel but not from frame to frame.

    The mean of F frames keeps 1/F of the variance of the noise, and all of a
    fixed pattern.  Where the mean is flat and shows noise alone, without the
    correlation that the image of anything has, what is above is the pattern.
    """
    frames = min(len(run) for run in cleaned.runs)
    if frames < _FEWEST_FRAMES or noise.level is None:
        return None
    means = np.stack([run.mean(axis=0) for run in cleaned.runs])
    none = np.zeros(means.shape, bool)
    analysis = _analyse(means, None, none, none, cleaned)
    if analysis is None or analysis.level is None:
        return None
    expected = noise.level.mean_variance / frames
    above = analysis.level.mean_variance - expected
    error = math.hypot(
        noise.level.relative_error * expected,
        analysis.level.relative_error * analysis.level.mean_variance,
    )
    if above <= 3 * error:
        return 0.0 if error < expected else None
    return math.sqrt(above) if _white_alone(analysis.correlation) else None


def _white_alone(correlation: tuple[AxisCorrelation, AxisCorrelation]) -> bool:
    """Whether an image shows white noise without structure."""
    return all(
        axis.noise_alone and axis.rho and axis.rho[0] < NEGLIGIBLE / 2 for axis in correlation
    )


def _between_planes(cleaned: _Cleaned, analysis: _Analysis) -> AxisCorrelation:
    """The correlation of the noise along z, from second differences within planes."""
    steps = choose_step(analysis.correlation[0])[0], choose_step(analysis.correlation[1])[0]
    sums: list[NDArray[np.float64]] = []
    for run in cleaned.runs:
        depth = len(run)
        if depth < 4:
            return AxisCorrelation()
        side = patch_side(run.shape[1:], depth)
        patches = patch_statistics(run, side)
        if patches is None:
            return AxisCorrelation()
        residual = immerkaer(run, steps)[(slice(None), *patch_region(run.shape, side))]
        count = depth - 3
        uneven = patches.unevenness.reshape(depth, -1).max(axis=0)
        flat = uneven <= np.quantile(uneven, 0.4)
        first = residual[:count]
        products = np.stack(
            [
                block_means(first * residual[k : k + count], side)
                .reshape(count, -1)[:, flat]
                .sum(0)
                for k in range(4)
            ]
        )
        sums.append(products)
    products = np.concatenate(sums, axis=1)
    products = products[:, products[0] > 0]
    if products.shape[1] < 8:
        return AxisCorrelation()
    total = products[0].sum()
    rho = products[1:].sum(axis=1) / total
    error = np.sqrt(((products[1:] - rho[:, None] * products[0]) ** 2).sum(axis=1)) / total
    halves = products[:, ::2], products[:, 1::2]
    consistent = all(abs(half[1].sum() / half[0].sum()) >= 2 / 3 * NEGLIGIBLE for half in halves)
    noise_alone = all(axis.noise_alone for axis in analysis.correlation)
    correlated = bool(
        noise_alone
        and consistent
        and abs(rho[0]) >= NEGLIGIBLE
        and abs(rho[0]) - 2.5 * error[0] >= 2 / 3 * NEGLIGIBLE
    )
    hidden = (np.abs(rho) >= WORTH_HIDING) & (np.abs(rho) > 3 * error)
    reach = (hidden.size if hidden.all() else int(np.argmin(hidden))) if correlated else 0
    return AxisCorrelation(
        tuple(rho.tolist()), tuple(error.tolist()), correlated, 2 * reach + 1, noise_alone
    )


_NOTHING = Suggestion(Grid(4), "none", "single-pass", ())


def _suggest(report: NoiseReport) -> Suggestion:
    """How to denoise, given the noise."""
    extent = report.extent
    ndim = len(report.spatial_axes)
    if report.correlated:
        width = tuple(
            (e + 2 if e > 1 else (2 if letter == "Z" else 4))
            for e, letter in zip(extent, report.spatial_axes, strict=True)
        )
        # Less is hidden around each target, and fewer passes are needed, than with a wide grid.
        partition = Grid(width, extent)
        block = " × ".join(map(str, extent))
        along = " and ".join(
            letter.lower() for letter, e in zip(report.spatial_axes, extent, strict=True) if e > 1
        )
        why = (
            f"The noise of neighbouring pixels is correlated along {along}: {block} pixels are "
            f"hidden around each target, in a grid just wide enough."
        )
    else:
        partition = Grid(4) if ndim == 2 else Grid((2, 4, 4))
        if any(axis.rho for c in report.channels for axis in c.correlation.values()):
            why = "No correlated noise was found: only the targets themselves are hidden."
        else:
            why = "The correlation of the noise could not be measured; it is taken to be white."
    reasons = [why]

    spans = []
    for channel in report.channels:
        line = channel.line
        if line is None:
            continue
        low = float(line.unclipped(line.darkest))
        spans.append(float(line.unclipped(line.brightest)) / max(low, 1e-300))
    clipped = any(c.clipped_low > 5e-3 for c in report.channels)
    span = min(spans, default=1.0)
    certain = all(c.gain > 4 * c.gain_error for c in report.channels)
    if len(spans) < len(report.channels):
        transformation = "none"
        reasons.append("No transformation: how the noise depends on the signal is unknown.")
    elif clipped and span >= 8:
        transformation = "none"
        reasons.append(
            "No transformation, although shot noise dominates: dark pixels are clipped, and "
            "a square root would stretch them."
        )
    elif span >= 8 and certain:
        transformation = "square root"
        reasons.append(
            f"A square root: the variance of the noise rises {span:.0f}-fold with the signal "
            f"and nothing is clipped."
        )
    else:
        transformation = "none"
        reasons.append("No transformation: the noise varies little with the signal.")

    if not report.correlated:
        output = "single-pass"
        reasons.append(
            "Single pass: with white noise the network may look at every pixel, and does best so."
        )
    elif report.known:
        output = "mixed"
        reasons.append(
            "Mixed: a single pass would keep correlated noise, and the noise is known well "
            "enough to give back what hiding lost."
        )
    else:
        output = "j-invariant"
        reasons.append(
            "J-invariant: a single pass would keep correlated noise, and the noise is not known "
            "well enough to mix."
        )
    return Suggestion(partition, transformation, output, tuple(reasons))
