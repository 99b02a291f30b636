"""The variance of the noise as a function of the signal, told from one image.

Photon transfer: a camera's noise has the variance ``gain * (signal - offset) +
read_noise^2``, a line that patches of different brightness lie on.  The
variance of a patch comes from the operator of Immerkaer, second differences
along both axes, which leaves nothing of what is smooth along either; with
correlated noise the differences step over the correlated pixels, and what is
left of the correlation is divided out.

References
----------
J. R. Janesick, "Photon Transfer", SPIE Press 2007.
J. Immerkaer, "Fast noise variance estimation", Computer Vision and Image
Understanding 64, 1996.
A. Foi, M. Trimeche, V. Katkovnik, K. Egiazarian, "Practical
Poissonian-Gaussian noise modeling and fitting for single-image raw-data",
IEEE Transactions on Image Processing 17, 2008; section IV for clipped data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv, ndtri

from napari_noise2self.engine.noise.correlation import NEGLIGIBLE, AxisCorrelation
from napari_noise2self.engine.noise.line import Limits, Line, Points, clipped_moments
from napari_noise2self.engine.noise.statistics import Floats, Patches, block_means, patch_region

# A difference must keep at least this share of the variance of the noise.
_LEAST_GAIN = 0.75
_STEPS = (1, 2, 3, 4, 5, 6, 8)
# Clipped shares from which the noise before clipping can be inferred.
_INFERABLE = (0.01, 0.6)
# Up to so many bins, their line is not trusted beyond the brightest.
_FEW_BINS = 4


def difference_gain(rho: Sequence[float], step: int) -> float:
    """Variance of second differences of that step, relative to that of white noise."""

    def at(lag: int) -> float:
        return rho[lag - 1] if lag <= len(rho) else 0.0

    return (6 - 8 * at(step) + 2 * at(2 * step)) / 6


def choose_step(axis: AxisCorrelation) -> tuple[int, float]:
    """The smallest step that keeps most of the noise, and the share of it."""
    if not axis.correlated:
        # Weak correlation that noise alone shows is divided out; structure is not.
        rho = axis.rho[0] if axis.rho and axis.noise_alone else 0.0
        return 1, difference_gain([min(max(rho, -0.15), 0.15)], 1)
    gains = [(step, difference_gain(axis.rho, step)) for step in _STEPS]
    return next((pair for pair in gains if pair[1] >= _LEAST_GAIN), max(gains, key=lambda p: p[1]))


def immerkaer(planes: NDArray[np.float32], steps: tuple[int, int]) -> NDArray[np.float32]:
    """Second differences of planes (n, y, x) along both axes, of those steps.

    White noise keeps its variance; along an axis of step 0 nothing is done.
    """
    values = planes
    for axis, step in zip((1, 2), steps, strict=True):
        if step == 0:
            continue
        around = [(step, step) if a == axis else (0, 0) for a in range(3)]
        padded = np.moveaxis(np.pad(values, around, mode="reflect"), axis, 0)
        size = values.shape[axis]
        before, here, after = (padded[s : s + size] for s in (0, step, 2 * step))
        values = np.moveaxis((before - 2 * here + after) * np.float32(6**-0.5), 0, axis)
    return values


def immerkaer_energy(planes: NDArray[np.float32], side: int, steps: tuple[int, int]) -> Floats:
    """Mean square of those differences in each of the patches of `patch_statistics`."""
    inside = (slice(None), *patch_region(planes.shape, side))
    squares = np.ascontiguousarray(np.square(immerkaer(planes, steps)[inside]))
    return block_means(squares, side).ravel()


@dataclass(frozen=True)
class Level:
    """The noise of one channel.

    Attributes
    ----------
    line : Line
    mean_variance : float
        Averaged over the image.
    relative_error : float
        Standard error of it, relative, with what structure may add.
    points : Points
    """

    line: Line
    mean_variance: float
    relative_error: float
    points: Points

    def scaled(self, share: float) -> Level:
        """The same with so many times the variance at every signal."""
        line = replace(
            self.line,
            slope=self.line.slope * share,
            intercept=self.line.intercept * share,
            slope_error=self.line.slope_error * share,
        )
        return replace(self, line=line, mean_variance=self.mean_variance * share)


def _middle_mean(values: Floats) -> float:
    """The mean without the lowest and the highest fifth."""
    ordered = np.sort(values)
    cut = ordered.size // 5
    return float(ordered[cut : ordered.size - cut].mean())


def _middle_of_gamma(variance: float) -> float:
    """The same of a gamma distribution with the mean 1, as the energies of noise have.

    Lower than 1: it leaves out more of the long tail above.
    """
    shape = 1 / variance
    low, high = gammainc(shape + 1, gammaincinv(shape, np.array([0.2, 0.8])))
    return float((high - low) / 0.6)


def measure_level(
    patches: Patches,
    energies: tuple[Floats, Floats, Floats],
    gains: tuple[float, float],
    bins: Sequence[NDArray[np.intp]],
    correlation: tuple[AxisCorrelation, AxisCorrelation],
    limits: Limits,
    step: float,
    means: Floats,
) -> Level | None:
    """Fit the line through the flat patches of every bin.

    Parameters
    ----------
    patches : Patches
    energies : tuple of ndarray
        From `immerkaer_energy`: differences along both axes, along y, along x.
    gains : tuple of float
        Share of the variance of the noise that differences along y and x keep.
    bins : sequence of ndarray
        From `flat_bins`.
    correlation : tuple of AxisCorrelation
    limits : Limits
    step : float
        Distance of neighbouring grey values, 0 if they are continuous.
    means : ndarray
        Grey values of small blocks of all of the image.

    Returns
    -------
    level : Level or None
        None where nothing can be measured.
    """
    if not bins:
        return None
    dependence = 2.0
    for axis in correlation:
        if axis.correlated:
            dependence *= 1 + 2 * float(np.sum(np.square(axis.rho)))
    energy = energies[0] / (gains[0] * gains[1])
    rough = 0.5 * (energies[1] / gains[0] + energies[2] / gains[1])
    rows = []
    for index in bins:
        mean = float(patches.mean[index].mean())
        value = _middle_mean(energy[index])
        structure = max(_middle_mean(rough[index]) / max(value, 1e-300) - 1, 0.0)
        fourth = 0.0
        for product, powers in zip(patches.products, patches.fourth, strict=True):
            squares = float((product[0][index] ** 2).sum())
            fourth += float(powers[index].sum()) / squares if squares > 0 else 3.0
        kurtosis = max(fourth / 2 - 3, 0.0)
        single = (2 + kurtosis) * dependence / patches.side**2
        value /= _middle_of_gamma(single)
        statistical = math.sqrt(single / index.size)
        clipped = float(patches.low[index].mean()), float(patches.high[index].mean())
        weight = 1.0
        for share, limit, sign in (
            (clipped[0], limits.low, 1),
            (clipped[1], limits.high, -1),
        ):
            if limit is None or share < _INFERABLE[0]:
                continue
            if share > _INFERABLE[1]:
                weight = 0.0
                continue
            z = ndtri(np.array([share]))
            shift, kept = clipped_moments(np.zeros(1), np.ones(1), float(z[0]), np.inf)
            value /= float(kept[0])
            mean -= sign * math.sqrt(value) * float(shift[0])
            statistical = math.hypot(statistical, 0.5 * share)
        rows.append((mean, value, statistical, structure, weight))
    mean, value, statistical, structure, weight = np.array(rows).T
    if not weight.any() or not (value > 0).any():
        return None
    usable = np.flatnonzero((weight > 0) & (value > 0))
    usable = usable[np.argsort(mean[usable], kind="stable")]
    mean, value, statistical, structure = (v[usable] for v in (mean, value, statistical, structure))
    relative = np.hypot(np.maximum(statistical, 0.01), 0.5 * structure)
    slope, intercept, covariance = _fit(mean, value, relative)
    darkest = float(mean.min())
    # One level of brightness says nothing about the slope.
    slope_error = math.sqrt(max(covariance[0, 0], 0.0)) if mean.size >= 3 else math.nan
    line = Line(slope, intercept, slope_error, darkest, float(mean.max()), limits)
    variances = line.variance(means)
    average = float(variances.mean())
    if not average > 0:
        return None
    centre = float(means.mean())
    form = np.array([centre, 1.0])
    random = math.sqrt(max(float(form @ covariance @ form), 0.0)) / average
    # How far the bins are from the line, each with the variance of the patches it stands for.
    edges = np.concatenate([[-np.inf], (mean[1:] + mean[:-1]) / 2, [np.inf]])
    fitted = np.maximum(line.unclipped(mean), 1e-6 * average)
    parts: Floats = np.histogram(means, bins=edges)[0] * fitted
    parts /= parts.sum()
    distance = np.clip(value / fitted - 1, -1, 10)
    misfit = math.sqrt(float(np.sum(parts * distance**2)))
    # With few bins most of the light may lie beyond the brightest of them, where the line has to be
    # believed.  Steeper it can be, at most as if the darkest held less light than its own noise.
    steeper = max(math.sqrt(float(fitted.min())) - slope, 0.0) if mean.size <= _FEW_BINS else 0.0
    beyond = float(np.maximum(means - mean.max(), 0).mean())
    evidence = {
        "beyond": beyond * steeper / average,
        "random": random,
        "structure": float(np.sum(parts * structure)),
        "misfit": misfit,
        "clipped": float(
            (patches.low * (limits.low is not None)).mean()
            + (patches.high * (limits.high is not None)).mean()
        ),
        "quantised": min(step**2 / 12 / average, 0.25),
        "correlation": max(
            (
                axis.rho[0] + axis.error[0]
                for axis in correlation
                if axis.rho and not axis.correlated
            ),
            default=0.0,
        ),
        "kept": gains[0] * gains[1],
        "recognised": float(any(axis.correlated for axis in correlation)),
    }
    points = Points(*(tuple(v.tolist()) for v in (mean, value, relative * value)))
    return Level(line, average, _relative_error(evidence), points)


def _relative_error(evidence: dict[str, float]) -> float:
    """How far off the mean variance may be: one standard error, relative.

    Beside chance: twice what light beyond the brightest bin may add, half of
    the variance that differences along one axis find more than those along
    both (structure), half of the misfit of the line, and what rounding and
    clipping took part in.  A correlation that was not taken
    for that of noise is that of structure; structure has a correlation of about
    0.4, and so two and a half times its share of the variance is expected.
    Much of it leaves the variance unknown, for it may be that of the noise.
    Correlation that is divided out is itself an estimate.
    """
    if evidence["correlation"] > 2 * NEGLIGIBLE:
        return math.inf
    divided = 1 - min(evidence["kept"], 1.0)
    parts = (
        0.02,
        2 * evidence["beyond"],
        evidence["random"],
        0.5 * evidence["structure"],
        0.5 * evidence["misfit"],
        evidence["quantised"],
        0.5 * evidence["clipped"],
        1.5 * max(evidence["correlation"], 0.0),
        0.15 * evidence["recognised"],
        0.25 * divided,
    )
    return math.sqrt(sum(part**2 for part in parts))


def _fit(mean: Floats, value: Floats, relative: Floats) -> tuple[float, float, NDArray[np.float64]]:
    """A line through the bins, whose slope and least value are not negative.

    Outliers lose their weight, those above the line more: structure adds
    variance and never takes any away.
    """
    centre = float(mean.mean())
    x = mean - centre
    level = float(np.median(value))
    fitted = np.full(mean.size, level)
    slope, intercept, covariance = 0.0, level, np.zeros((2, 2))
    for _ in range(15):
        # The error goes with the model, or bins that came out low would weigh too much.
        error = relative * np.maximum(fitted, 1e-3 * level)
        residual = (value - fitted) / error
        robust = 1 / (1 + (residual / np.where(residual > 0, 1.5, 3.0)) ** 2)
        w = robust / error**2
        sums = w.sum(), (w * x).sum(), (w * x * x).sum()
        determinant = sums[0] * sums[2] - sums[1] ** 2
        if mean.size < 2 or determinant <= 1e-9 * sums[0] * sums[2]:
            slope, intercept = 0.0, float((w * value).sum() / sums[0])
            covariance = np.array([[0.0, 0.0], [0.0, 1 / sums[0]]])
        else:
            slope = float(
                (sums[0] * (w * x * value).sum() - sums[1] * (w * value).sum()) / determinant
            )
            intercept = float(
                (sums[2] * (w * value).sum() - sums[1] * (w * x * value).sum()) / determinant
            )
            covariance = np.array([[sums[0], -sums[1]], [-sums[1], sums[2]]]) / determinant
            if slope < 0:
                slope, intercept = 0.0, float((w * value).sum() / sums[0])
            else:
                lowest = x.min()
                if slope * lowest + intercept < 0:  # no noise without light
                    rise = x - lowest
                    slope = float((w * rise * value).sum() / (w * rise * rise).sum())
                    intercept = -slope * lowest
        fitted = slope * x + intercept
    spread = float(np.sum(robust * residual**2) / max(robust.sum(), 1e-300))
    shift = np.array([[1.0, 0.0], [-centre, 1.0]])
    return slope, intercept - slope * centre, shift @ covariance @ shift.T * max(spread, 1.0)
