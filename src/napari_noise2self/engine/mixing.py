"""The mixed output: what the J-invariant prediction leaves out, given back.

A J-invariant prediction f(x) of a pixel knows nothing of the pixel's own
value, whose noise is therefore independent of its error.  With U the variance
of the noise and V that of the error, λ f(x) + (1 - λ) x has the smallest error
for λ = U / (U + V), and U + V is the self-supervised loss (Batson & Royer
2019, section 3).  Both depend on the signal, and are taken at f(x): at x they
would depend on the noise.  The noise may be correlated as long as the extent
covers the correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Variance of the noise, for signals and the number of their channel.
Variance = Callable[[NDArray[np.float64], int], NDArray[np.float64]]

# Levels of the signal at which the loss is measured, and positions that each must have.
MAX_LEVELS = 8
MIN_POSITIONS = 1000


def share_of_prediction(variance: ArrayLike, loss: ArrayLike) -> NDArray[np.float64]:
    """λ, the share of the J-invariant prediction in the best mixture.

    Parameters
    ----------
    variance : array_like
        Variance of the noise.
    loss : array_like
        Self-supervised loss: the variance of the noise plus the mean squared
        error of the prediction.

    Returns
    -------
    share : ndarray of float64
        ``variance / loss``, between 0 and 1.
    """
    variance, loss = np.asarray(variance, np.float64), np.asarray(loss, np.float64)
    return np.where(loss > 0, np.clip(variance / np.where(loss > 0, loss, 1), 0, 1), 1.0)


def gain_of_mixing(
    predicted: Sequence[NDArray[np.float64]],
    observed: Sequence[NDArray[np.float64]],
    variance: Variance,
    doubt: float = 0.0,
) -> float | None:
    """By how many dB the mixture is better than the J-invariant prediction, as far as is told.

    The errors are V without and U V / (U + V) with mixing, and the loss is U + V.

    Parameters
    ----------
    predicted, observed, variance
        As for `Mixing.measure`.
    doubt : float
        Standard error of the variance, relative.

    Returns
    -------
    gain : float or None
        Less one standard error of what it is told from; None where there is no loss or no noise.
    """
    losses = [np.square(f - x) for f, x in zip(predicted, observed, strict=True)]
    loss = sum(float(channel.sum()) for channel in losses)
    noise = sum(float(np.sum(variance(f, channel))) for channel, f in enumerate(predicted))
    if not (loss > 0 and noise > 0):
        return None
    spread = math.sqrt(sum(channel.size * float(channel.var()) for channel in losses)) / loss
    ratio = loss / noise / (1 + math.hypot(spread, doubt))
    return 10 * math.log10(ratio) if ratio > 0 else -math.inf


@dataclass(frozen=True)
class Mixing:
    """How much of the prediction the mixed output takes, by the predicted signal.

    Attributes
    ----------
    levels : tuple of tuple of float
        Levels of the predicted signal for each channel, rising.
    shares : tuple of tuple of float
        λ at these levels; linear between them.
    """

    levels: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]

    @classmethod
    def measure(
        cls,
        predicted: Sequence[NDArray[np.float64]],
        observed: Sequence[NDArray[np.float64]],
        variance: Variance,
    ) -> Mixing:
        """Measure the loss at held-out positions, and from it the shares.

        Parameters
        ----------
        predicted, observed : sequence of ndarray, one per channel
            The J-invariant prediction and the noisy value at positions that
            were never targets.
        variance : callable
            Variance of the noise for an array of signals and the number of
            their channel, in the squared units of `predicted`.

        Returns
        -------
        mixing : Mixing
        """
        levels, shares = [], []
        for channel, (f, x) in enumerate(zip(predicted, observed, strict=True)):
            order = np.argsort(f)
            groups = np.array_split(order, min(max(f.size // MIN_POSITIONS, 1), MAX_LEVELS))
            groups = [group for group in groups if group.size]
            noise = variance(f, channel)
            levels.append(tuple(float(f[g].mean()) for g in groups) or (0.0,))
            shares.append(
                tuple(
                    float(share_of_prediction(noise[g].mean(), np.mean((f[g] - x[g]) ** 2)))
                    for g in groups
                )
                or (1.0,)
            )
        return cls(tuple(levels), tuple(shares))

    def apply(
        self,
        predicted: NDArray[np.float32],
        observed: NDArray[np.float32],
        valid: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """The mixture.

        Parameters
        ----------
        predicted, observed : ndarray of float32, shape (channels, [Z,] Y, X)
            The J-invariant prediction and the noisy frame.
        valid : ndarray of bool, same shape
            Where the noisy frame holds what was measured; elsewhere the
            mixture is the prediction.

        Returns
        -------
        mixed : ndarray of float32, same shape
        """
        mixed = np.empty_like(predicted)
        for channel, (levels, shares) in enumerate(zip(self.levels, self.shares, strict=True)):
            f, x = predicted[channel], observed[channel]
            share = np.interp(f, levels, shares).astype(np.float32)
            mixed[channel] = np.where(valid[channel], share * f + (1 - share) * x, f)
        return mixed

    def to_json(self) -> dict[str, Any]:
        """As a mapping that `from_json` reads."""
        return {"levels": self.levels, "shares": self.shares}

    @classmethod
    def from_json(cls, mapping: dict[str, Any]) -> Mixing:
        """From what `to_json` has made."""
        levels, shares = (
            tuple(tuple(float(v) for v in line) for line in mapping[key])
            for key in ("levels", "shares")
        )
        return cls(levels, shares)
