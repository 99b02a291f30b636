"""How good a result is: the self-supervised score; with a ground truth, PSNR and SSIM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_noise2self.engine.errors import InputError

if TYPE_CHECKING:
    from napari_noise2self.engine.predictor import Predictor

# Squares that are drawn as one in the bootstrap: wider than the errors of a
# network are alike; smaller ones on small images, which would have too few.
BLOCK_SIDE = 32
MIN_BLOCKS_PER_SIDE = 8
RESAMPLES = 1000


@dataclass(frozen=True)
class HeldOut:
    """The J-invariant prediction of one channel where nothing was ever a target.

    Attributes
    ----------
    predicted, observed : ndarray of float64, shape (n,)
        Normalised, unless it is said that they are in grey values.
    block : ndarray of int64, shape (n,)
        Which square of the image each position lies in.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    block: NDArray[np.int64]

    def in_grey(self, offset: float, scale: float) -> HeldOut:
        """The same in grey values, which are ``normalised * scale + offset``."""
        return HeldOut(self.predicted * scale + offset, self.observed * scale + offset, self.block)

    @classmethod
    def join(cls, pieces: Sequence[HeldOut]) -> HeldOut:
        """The positions of several pieces of images, their squares kept apart."""
        blocks, first = [], 0
        for piece in pieces:
            blocks.append(piece.block + first)
            first += int(piece.block.max(initial=-1)) + 1
        return cls(
            np.concatenate([piece.predicted for piece in pieces]),
            np.concatenate([piece.observed for piece in pieces]),
            np.concatenate(blocks),
        )


def held_out(
    predictor: Predictor,
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    origin: Sequence[int] | None = None,
) -> list[HeldOut]:
    """Predict the held-out positions of a piece of an image, J-invariantly.

    Parameters
    ----------
    predictor : Predictor
    values : ndarray of float32, shape (channels, [Z,] Y, X)
        Normalised.
    valid : ndarray of bool, same shape
        Where there is a grey value to compare with.
    origin : sequence of int, optional
        Where `values` starts in the coordinates of the partition.

    Returns
    -------
    positions : list of HeldOut, one per channel
    """
    partition = predictor.partition
    shape = values.shape[1:]
    predicted = predictor.subset(values, partition.held_out_subset(len(shape)), valid, origin)
    places = partition.held_out(shape, origin)
    squares = squares_of(shape)
    result = []
    for channel in range(values.shape[0]):
        chosen = places & valid[channel]
        result.append(
            HeldOut(
                predicted[channel][chosen].astype(np.float64),
                values[channel][chosen].astype(np.float64),
                squares[chosen],
            )
        )
    return result


def squares_of(shape: Sequence[int]) -> NDArray[np.int64]:
    """The number of the square in Y and X that each pixel lies in."""
    side = max(min(BLOCK_SIDE, min(shape[-2:]) // MIN_BLOCKS_PER_SIDE), 1)
    rows, columns = (np.arange(n) // side for n in shape[-2:])
    squares = rows[:, None] * (columns[-1] + 1) + columns
    return np.broadcast_to(squares, tuple(shape)).astype(np.int64)


@dataclass(frozen=True)
class Score:
    """What the held-out positions tell about the J-invariant prediction.

    It speaks of that prediction alone, not of the single pass.  All values
    are means over the channels, in squared grey values.

    Attributes
    ----------
    loss : float
        The self-supervised score: the mean squared difference between the
        prediction and the noisy image.  For noise that is independent of
        what the prediction sees, it is the mean squared error of the
        prediction plus the variance of the noise (Proposition 1 of the
        paper).
    error : float
        Its standard error, by block bootstrap.
    positions : int
        Held-out positions it was taken on, counted per channel.
    noise_variance : float or None
        Mean variance of the noise there; None where it is not known.
    mse : float or None
        Mean squared error of the prediction, ``loss - noise_variance``.
    mse_interval : tuple of float or None
        95 % interval of `mse`, from the bootstrap and the uncertainty of the
        variance of the noise.
    gain : float or None
        Estimated gain in PSNR of the prediction over the noisy image, in dB;
        None where the interval of `mse` reaches down to 0.
    gain_at_least : float or None
        The gain at the upper end of that interval.
    mixed_gain : float or None
        The same for the mixed output, by the theory of mixing.
    """

    loss: float
    error: float
    positions: int
    noise_variance: float | None = None
    mse: float | None = None
    mse_interval: tuple[float, float] | None = None
    gain: float | None = None
    gain_at_least: float | None = None
    mixed_gain: float | None = None

    def __float__(self) -> float:
        return self.loss

    @classmethod
    def unknown(cls) -> Score:
        """Where no held-out position could be predicted."""
        return cls(math.nan, math.nan, 0)

    def to_json(self) -> dict[str, Any]:
        """As a mapping of numbers, ready for JSON; what is not known is None."""
        plain = asdict(self)
        for name, value in plain.items():
            if isinstance(value, tuple):
                plain[name] = list(value)
            elif isinstance(value, float) and not math.isfinite(value):
                plain[name] = None
        return plain


def self_supervised_score(
    positions: Sequence[HeldOut],
    scale: Sequence[float],
    variance: Sequence[NDArray[np.float64]] | None = None,
    variance_error: float = 0.0,
) -> Score:
    """The score of a prediction from its held-out positions.

    Parameters
    ----------
    positions : sequence of HeldOut, one per channel
    scale : sequence of float
        Grey values per unit of the normalised data, for each channel.
    variance : sequence of ndarray, optional
        Variance of the noise at each position, in squared grey values.
    variance_error : float
        Relative standard error of the mean variance of the noise.

    Returns
    -------
    score : Score
        With a loss of NaN where there are no positions.
    """
    count = sum(p.predicted.size for p in positions)
    if count == 0:
        return Score.unknown()
    squares = 1 + max(int(p.block.max(initial=0)) for p in positions)
    # Per square: positions, squared errors, variance of the noise.
    table = np.zeros((squares, 3))
    for channel, (place, factor) in enumerate(zip(positions, scale, strict=True)):
        errors = (place.predicted - place.observed) ** 2 * factor**2
        table[:, 0] += np.bincount(place.block, minlength=squares)
        table[:, 1] += np.bincount(place.block, errors, squares)
        if variance is not None:
            table[:, 2] += np.bincount(place.block, variance[channel], squares)
    table = table[table[:, 0] > 0]
    total, losses, noises = (float(column) for column in table.sum(0))
    loss, noise = losses / total, noises / total
    times = np.random.default_rng(0).multinomial(
        len(table), np.full(len(table), 1 / len(table)), RESAMPLES
    )
    drawn = times @ table
    error = float(np.std(drawn[:, 1] / drawn[:, 0]))
    if variance is None:
        return Score(loss, error, count)
    mse = loss - noise
    sampling = float(np.std((drawn[:, 1] - drawn[:, 2]) / drawn[:, 0]))
    spread = 1.96 * math.hypot(sampling, variance_error * noise)
    low, high = max(mse - spread, 0.0), max(mse + spread, 0.0)
    told = low > 0 and noise > 0
    return Score(
        loss,
        error,
        count,
        noise_variance=noise,
        mse=mse,
        mse_interval=(low, high),
        gain=10 * math.log10(noise / mse) if told else None,
        gain_at_least=10 * math.log10(noise / high) if high > 0 and noise > 0 else None,
        # The mixture has the error U V / (U + V).
        mixed_gain=10 * math.log10((noise + mse) / mse) if told else None,
    )


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
