"""What the noise of an image is, and how to denoise it therefore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.arrays import as_array
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.correlation import (
    NEGLIGIBLE,
    WORTH_HIDING,
    AxisCorrelation,
    flat_bins,
    measure_correlation,
)
from napari_noise2self.engine.noise.level import (
    Level,
    choose_step,
    immerkaer,
    immerkaer_energy,
    measure_level,
)
from napari_noise2self.engine.noise.report import (
    KNOWN,
    ChannelNoise,
    NoiseReport,
    Suggestion,
    suggest,
)
from napari_noise2self.engine.noise.sample import Cleaned, Sample, clean, frame_differences
from napari_noise2self.engine.noise.spectrum import has_white_floor, share_at_highest
from napari_noise2self.engine.noise.statistics import (
    block_means,
    patch_region,
    patch_side,
    patch_statistics,
)
from napari_noise2self.engine.preparation import check_image

# Patches with more clipped pixels say nothing about the correlation.
_MOST_CLIPPED = 0.5
# Frames that a fixed pattern shows in.
_FEWEST_FRAMES = 8
# Fewer patches are put into smaller groups, so that there are some of different brightness.
_MANY_PATCHES = 100

__all__ = ["ChannelNoise", "NoiseReport", "Suggestion", "estimate_noise"]


def estimate_noise(
    image: Any, axes: str | None = None, *, volume: bool = False, depth_axis: str = "Z"
) -> NoiseReport:
    """Estimate from one noisy image what its noise is.

    The variance as a function of the signal, the correlation of neighbouring
    pixels, clipped, hot and dead pixels, and the partition, transformation and
    output that fit them.  Everything is measured where the image is flattest
    (see `statistics`, `correlation` and `level`), on a few
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
    depth_axis : str
        The axis to take for Z in that, such as "T".

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
    image = as_array(image)
    layout = Layout.of(image.shape, axes, volume, depth_axis)
    check_image(image, layout)
    sample = Sample.of(image, layout)
    channels = tuple(_channel(sample, number, layout) for number in range(layout.channels))
    suggestion = suggest(layout.spatial_axes, channels, layout.spatial_shape)
    return NoiseReport(layout.axes, layout.spatial_axes, channels, suggestion)


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
    cleaned: Cleaned,
) -> _Analysis | None:
    side = patch_side(planes.shape[1:], planes.shape[0])
    patches = patch_statistics(planes, side, signal, low, high, cleaned.zero)
    if patches is None:
        return None
    correlation = measure_correlation(patches, flat_bins(patches, _MOST_CLIPPED))
    # Differences of frames hold no structure that could be mistaken.
    if (
        signal is None
        and any(a.correlated for a in correlation)
        and has_white_floor(planes, cleaned.step)
    ):
        y, x = (replace(a, correlated=False, extent=1, noise_alone=False) for a in correlation)
        correlation = y, x
    # A line needs more points than a correlation, and each may be less certain.
    size = 20 if patches.mean.size >= _MANY_PATCHES else 12
    bins = flat_bins(patches, _MOST_CLIPPED, size, fewest=8)
    (step_y, gain_y), (step_x, gain_x) = map(choose_step, correlation)
    energies = (
        immerkaer_energy(planes, side, (step_y, step_x)),
        immerkaer_energy(planes, side, (step_y, 0)),
        immerkaer_energy(planes, side, (0, step_x)),
    )
    # Of all of the image, to whose borders no patch reaches.
    whole = planes if signal is None else signal
    height, width = (n // 8 * 8 for n in whole.shape[1:])
    means = block_means(whole[:, :height, :width], 8).ravel() + cleaned.zero
    level = measure_level(
        patches, energies, (gain_y, gain_x), bins, correlation, cleaned.limits, cleaned.step, means
    )
    if level is not None and signal is None and not any(a.correlated for a in correlation):
        level = _without_structure(level, planes, cleaned.zero)
    return _Analysis(level, correlation, float(np.mean(patches.unevenness)))


def _without_structure(level: Level, planes: NDArray[np.float32], zero: float) -> Level:
    """The level where structure hides it: no higher than at the highest frequencies.

    It stays as uncertain as it was.  Where it is known this is not done: noise of
    neighbours that is correlated a little has less power there.
    """
    if level.relative_error <= KNOWN:
        return level
    share = share_at_highest(planes, zero, level.line.variance)
    return level.scaled(share) if share < 1 else level


def _channel(sample: Sample, number: int, layout: Layout) -> ChannelNoise:
    cleaned = clean(sample, number)
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
            correlation[layout.depth] = _between_planes(cleaned, analysis)
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
        points=level.points.scaled(cleaned.unit),
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
        points=None,
        **{name: shares.get(name, nan) for name in names},
    )


def _stack(runs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return runs[0] if len(runs) == 1 else np.concatenate(runs)


def _temporal(cleaned: Cleaned) -> _Analysis | None:
    """The same from the differences of consecutive frames."""
    differences, signal, low, high = frame_differences(cleaned)
    if not differences.any():
        return None
    return _analyse(differences, signal, low, high, cleaned)


def _fixed_pattern(cleaned: Cleaned, noise: _Analysis) -> float | None:
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


def _between_planes(cleaned: Cleaned, analysis: _Analysis) -> AxisCorrelation:
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
