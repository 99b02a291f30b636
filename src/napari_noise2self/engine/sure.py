"""Stein's unbiased risk estimate, for outputs that see the pixel they predict.

For noise of covariance Σ, E‖f(x) - y‖² = E‖f(x) - x‖² - tr Σ + 2 tr(Σ ∂f/∂x).
The last term is taken by Monte Carlo: with a probe b of covariance Σ it is the
mean of 2 b·(f(x + εb) - f(x)) / ε.  The noise of a camera is taken as Gaussian
with the variance that belongs to the denoised signal.

The estimate takes f as fixed.  A network that was trained on x depends on it
through its weights, too, so that its risk is underestimated.

References
----------
C. Stein, "Estimation of the mean of a multivariate normal distribution",
Annals of Statistics 1981.
S. Ramani, T. Blu, M. Unser, "Monte-Carlo SURE", IEEE Transactions on Image
Processing 2008.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Length of the step along a probe, in standard deviations of the noise: short
# against what a network bends over, long against the rounding of float32.
STEP = 0.1
PROBES = 4
# It is refused where more pixels than this are clipped.
MOST_CLIPPED = 0.01


@dataclass(frozen=True)
class Risk:
    """The estimated error of an output.

    Attributes
    ----------
    mse : float
        Estimated mean squared error, in squared grey values.
    error : float
        Its standard error over the probes.
    output : str
        The output that was judged: "single-pass", "j-invariant" or "mixed".
    gain : float or None
        Estimated gain in PSNR over the noisy image, in dB.
    """

    mse: float
    error: float
    output: str
    gain: float | None

    def __float__(self) -> float:
        return self.mse


def probe(
    shape: Sequence[int], correlation: Sequence[Sequence[float]], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Gaussian noise of variance 1 with a given correlation along each axis.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape (Z)YX.
    correlation : sequence of sequence of float
        For each axis the correlation at distances 1, 2, … pixels; nothing for
        white noise.  Along several axes it is their product.
    rng : Generator

    Returns
    -------
    noise : ndarray of float64, shape `shape`
    """
    white = rng.standard_normal(tuple(shape))
    for axis, (n, lags) in enumerate(zip(shape, correlation, strict=True)):
        if not lags:
            continue
        kernel = np.zeros(n)
        kernel[0] = 1
        for lag, value in enumerate(lags[: (n - 1) // 2], start=1):
            kernel[lag] += value
            kernel[-lag] += value
        power = np.maximum(np.fft.rfft(kernel).real, 0)
        filter_ = np.sqrt(power).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        white = np.fft.irfft(np.fft.rfft(white, axis=axis) * filter_, n, axis=axis)
    return white


def sure(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    image: NDArray[np.float64],
    variance: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    correlation: Sequence[Sequence[Sequence[float]]],
    seed: int = 0,
    valid: NDArray[np.bool_] | None = None,
) -> tuple[float, float, float]:
    """The estimated mean squared error of ``function(image)``.

    Parameters
    ----------
    function : callable
        Maps an array of the shape of `image` to its denoised version.
    image : ndarray of float64, shape (channels, [Z,] Y, X)
        In grey values.
    variance : callable
        The variance of the noise of a signal, both of the shape of `image`.
    correlation : sequence, one per channel
        Each as for `probe`.
    seed : int
    valid : ndarray of bool, shape of `image`, optional
        Where `image` was measured; values that were made up have no noise and
        do not count.

    Returns
    -------
    mse : float
        Mean over all pixels and channels that count, in squared grey values.
    error : float
        Standard error over the probes.
    noise_variance : float
        Mean variance of the noise.
    """
    denoised = function(image)
    noise = variance(denoised)
    deviation = np.sqrt(noise)
    rng = np.random.default_rng(seed)
    counted = slice(None) if valid is None or not valid.any() else valid
    terms = []
    for _ in range(PROBES):
        b = deviation * np.stack([probe(image.shape[1:], lags, rng) for lags in correlation])
        change = b * (function(image + STEP * b) - denoised)
        terms.append(2 * float(np.mean(change[counted])) / STEP)
    level = float(noise[counted].mean())
    base = float(np.mean(((denoised - image) ** 2)[counted])) - level
    spread = float(np.std(terms, ddof=1)) / math.sqrt(PROBES)
    return base + float(np.mean(terms)), spread, level
