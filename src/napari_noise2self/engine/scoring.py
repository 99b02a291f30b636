"""How good a result is: the self-supervised score; with a ground truth, PSNR and SSIM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_noise2self.engine.errors import InputError

if TYPE_CHECKING:
    from napari_noise2self.engine.prediction import Predictor


def held_out_errors(
    predictor: Predictor,
    scale: Sequence[float],
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    origin: Sequence[int] | None = None,
) -> tuple[float, int]:
    """The squared errors of the J-invariant prediction at the held-out positions.

    Their mean is the self-supervised score.

    Parameters
    ----------
    predictor : Predictor
    scale : sequence of float
        Grey values per unit of `values`, for each channel.
    values : ndarray of float32, shape (channels, [Z,] Y, X)
        Normalised.
    valid : ndarray of bool, same shape
        Where there is a grey value to compare with.
    origin : sequence of int, optional
        Where `values` starts in the coordinates of the partition.

    Returns
    -------
    total : float
        Sum over the positions, in squared grey values.
    count : int
        Number of positions, counted per channel.
    """
    partition = predictor.partition
    predicted = predictor.subset(values, partition.held_out_subset(values.ndim - 1), valid, origin)
    chosen = partition.held_out(values.shape[1:], origin) & valid
    total = 0.0
    for channel, factor in enumerate(scale):
        where = chosen[channel]
        error = (predicted[channel][where] - values[channel][where]).astype(np.float64)
        total += float(np.dot(error, error)) * factor**2
    return total, int(chosen.sum())


def _pair(truth: ArrayLike, image: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b = np.asarray(truth, np.float64), np.asarray(image, np.float64)
    if a.shape != b.shape:
        raise InputError(
            f"The truth has the shape {a.shape} and the image {b.shape}: they must be equal."
        )
    return a, b


def psnr(truth: ArrayLike, image: ArrayLike, *, data_range: float) -> float:
    """Peak signal-to-noise ratio, 10 log10(data_range² / MSE).

    Parameters
    ----------
    truth, image : array_like, same shape
        Compared as they are, without rescaling or rounding.
    data_range : float
        The peak: 255 by convention for 8-bit images.

    Returns
    -------
    psnr : float
        In dB; infinite for equal images.

    Raises
    ------
    InputError
        If the shapes differ or the range is not positive.
    """
    a, b = _pair(truth, image)
    if not data_range > 0:
        raise InputError(f"The data range was {data_range}: give a positive number.")
    mse = float(np.mean((a - b) ** 2))
    return float("inf") if mse == 0 else float(10 * np.log10(data_range**2 / mse))


def scale_invariant_psnr(truth: ArrayLike, image: ArrayLike) -> float:
    """PSNR after the best linear map of the grey values of `image` onto `truth`.

    ``a * image + b`` is fitted to the truth by least squares, and the peak is
    the span from the 0.1th to the 99.9th percentile of the truth.  For pairs
    that differ in exposure or drift in brightness; it flatters very noisy
    images.

    Parameters
    ----------
    truth, image : array_like, same shape

    Returns
    -------
    psnr : float
        In dB.

    Raises
    ------
    InputError
        If the shapes differ or the truth is constant.

    References
    ----------
    M. Weigert et al., "Content-aware image restoration", Nature Methods 2018.
    """
    a, b = _pair(truth, image)
    low, high = np.percentile(a, [0.1, 99.9])
    if high == low:
        raise InputError("The truth is constant, so it has no peak to compare with.")
    centred = b - b.mean()
    power = float(np.mean(centred**2))
    slope = float(np.mean(centred * (a - a.mean()))) / power if power else 0.0
    return psnr(a, slope * centred + a.mean(), data_range=float(high - low))


def ssim(truth: ArrayLike, image: ArrayLike, *, data_range: float) -> float:
    """Structural similarity of Wang et al. (2004): Gaussian window, σ = 1.5 pixels.

    Parameters
    ----------
    truth, image : array_like, same shape
        2-D or 3-D, one channel; every axis at least 11 pixels long.
    data_range : float
        The span of the grey values.

    Returns
    -------
    ssim : float
        At most 1.

    Raises
    ------
    InputError
        If the shapes differ or are too small.
    """
    from skimage.metrics import structural_similarity

    a, b = _pair(truth, image)
    if min(a.shape, default=0) < 11:
        raise InputError(f"The images have the shape {a.shape}: SSIM needs 11 pixels per axis.")
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            a,
            b,
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
