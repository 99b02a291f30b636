"""The line of variance against signal, and what clipping makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from napari_noise2self.engine.noise.statistics import Floats


@dataclass(frozen=True)
class Limits:
    """Where the grey values pile up because they were clipped.

    Attributes
    ----------
    low, high : float or None
        The grey values, in those of the image; None where nothing is clipped.
    """

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """Variance against signal.

    Attributes
    ----------
    slope, intercept : float
        ``variance = slope * signal + intercept``.
    slope_error : float
        Standard error of the slope; NaN where it could not be measured and is 0.
    limits : Limits
        What lies beyond was clipped, and varies less.
    """

    slope: float
    intercept: float
    slope_error: float
    darkest: float
    brightest: float
    limits: Limits = Limits()

    def scaled(self, unit: float) -> Line:
        """The same line for grey values `unit` times as large."""
        low, high = (None if v is None else v * unit for v in (self.limits.low, self.limits.high))
        return Line(
            self.slope * unit,
            self.intercept * unit**2,
            self.slope_error * unit,
            self.darkest * unit,
            self.brightest * unit,
            Limits(low, high),
        )

    def unclipped(self, signal: ArrayLike) -> Floats:
        """The line itself, kept from falling below its value at the darkest signal."""
        signal = np.maximum(np.asarray(signal, np.float64), self.darkest)
        return np.maximum(self.slope * signal + self.intercept, 0.0)

    def variance(self, signal: ArrayLike) -> Floats:
        """The variance of the recorded noise where the recorded mean is `signal`."""
        if self.limits == Limits():
            return self.unclipped(signal)
        _, mean, variance = self._clipped()
        asked = np.asarray(signal, np.float64)
        result = np.interp(asked, mean, variance)
        return np.asarray(np.where(self._beyond(asked, mean), self.unclipped(asked), result))

    def before_clipping(self, signal: ArrayLike) -> Floats:
        """The mean of the values before they were clipped, where the recorded mean is `signal`."""
        asked = np.asarray(signal, np.float64)
        if self.limits == Limits():
            return asked
        before, mean, _ = self._clipped()
        return np.asarray(
            np.where(self._beyond(asked, mean), asked, np.interp(asked, mean, before))
        )

    def _clipped(self) -> tuple[Floats, Floats, Floats]:
        """The mean before clipping, with the mean and the variance that clipping leaves."""
        low = -np.inf if self.limits.low is None else self.limits.low
        high = np.inf if self.limits.high is None else self.limits.high
        widest = 5 * math.sqrt(float(self.unclipped(self.brightest)))
        start = self.darkest if self.limits.low is None else low - widest
        stop = self.brightest if self.limits.high is None else high + widest
        before = np.linspace(start, max(stop, start), 2048)
        mean, variance = clipped_moments(before, np.sqrt(self.unclipped(before)), low, high)
        # Far beyond a limit the mean is constant to the last digit; interpolation needs a rise.
        rising = np.flatnonzero(np.diff(mean, prepend=-np.inf) > 0)
        return before[rising], mean[rising], variance[rising]

    def _beyond(self, signal: Floats, mean: Floats) -> NDArray[np.bool_]:
        """Where a signal lies outside of `mean` on a side that was not clipped."""
        above = (signal > mean[-1]) if self.limits.high is None else np.zeros(signal.shape, bool)
        below = (signal < mean[0]) if self.limits.low is None else np.zeros(signal.shape, bool)
        result: NDArray[np.bool_] = above | below
        return result


@dataclass(frozen=True)
class Points:
    """What a line was fitted to: the flat patches, grouped by their brightness.

    Attributes
    ----------
    mean : tuple of float
        Mean grey value of each group.
    variance : tuple of float
        Variance of the noise there, in squared grey values.
    error : tuple of float
        Its standard error, with what structure may add.
    """

    mean: tuple[float, ...]
    variance: tuple[float, ...]
    error: tuple[float, ...]

    def scaled(self, unit: float) -> Points:
        """The same for grey values `unit` times as large."""
        return Points(
            tuple(v * unit for v in self.mean),
            tuple(v * unit**2 for v in self.variance),
            tuple(v * unit**2 for v in self.error),
        )


def clipped_moments(
    mean: Floats, deviation: Floats, low: float, high: float
) -> tuple[Floats, Floats]:
    """Mean and variance of normal deviates that are clipped to [low, high]."""
    safe = np.maximum(deviation, 1e-12)
    a, b = (low - mean) / safe, (high - mean) / safe

    def density(z: Floats) -> Floats:
        return np.asarray(np.exp(-(np.clip(z, -38, 38) ** 2) / 2) / math.sqrt(2 * math.pi))

    finite_a, finite_b = np.clip(a, -38, 38), np.clip(b, -38, 38)
    below, above = ndtr(finite_a), ndtr(-finite_b)
    inside = np.maximum(1 - below - above, 0.0)
    first = density(a) - density(b) + finite_a * below + finite_b * above
    second = (
        inside
        + finite_a * density(a)
        - finite_b * density(b)
        + finite_a**2 * below
        + finite_b**2 * above
    )
    return mean + safe * first, safe**2 * np.maximum(second - first**2, 0.0)
