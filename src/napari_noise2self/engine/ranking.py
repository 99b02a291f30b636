"""The rows of a comparison: who is best on the same pixels, and who cannot be told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.scoring import RESAMPLES, Score

# Two rows whose mean difference lies within so many standard errors of 0 are tied.
_TIE = 1.96


@dataclass(frozen=True)
class Row:
    """One denoiser in a comparison.

    Attributes
    ----------
    name : str
        Such as "UNet" or "Non-local means".
    parameters : str
        What was found or set, in words.
    settings : mapping
        What reproduces it, ready for JSON.
    score : Score
        Of its J-invariant prediction at the held-out positions; NaN where it failed.
    seconds : float
        Spent on training or calibration and on the result.
    result : ndarray of float32 or None
        The image as this denoiser puts it out.
    denoiser : object or None
        What made it: a `Denoiser` or a `CalibratedFilter`.
    psnr, ssim : float or None
        Of the result, where a truth was given; at the range of the truth.
    failure : str or None
        Why there is no result.
    errors : tuple of ndarray
        Squared errors at the held-out positions for each channel, in squared
        grey values: what differences are taken of.
    blocks : tuple of ndarray
        Which square of the image each of them lies in.
    """

    name: str
    parameters: str
    settings: Mapping[str, Any]
    score: Score
    seconds: float
    result: NDArray[np.float32] | None = None
    denoiser: Any = None
    psnr: float | None = None
    ssim: float | None = None
    failure: str | None = None
    errors: tuple[NDArray[np.float64], ...] = ()
    blocks: tuple[NDArray[np.int64], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The line of a table; what is not known is None."""
        score = self.score.to_json()
        return {
            "denoiser": self.name,
            "parameters": self.parameters,
            "score": score["loss"],
            "error": score["error"],
            "gain": score["gain"],
            "gain_at_least": score["gain_at_least"],
            "seconds": round(self.seconds, 3),
            "psnr": self.psnr,
            "ssim": self.ssim,
            "failure": self.failure,
            "settings": dict(self.settings),
        }


def difference(one: Row, other: Row) -> tuple[float, float]:
    """How much larger the score of `one` is, and the standard error of that.

    The same positions were predicted by both, and what makes one of them hard makes it hard for
    both, so the error of the difference is far smaller than those of the scores.  Squares
    of the image are drawn as a whole, by bootstrap, as for a score.

    Returns
    -------
    mean, error : float
        In squared grey values; NaN where one of them has no score.
    """
    if not one.errors or not other.errors:
        return math.nan, math.nan
    squares = 1 + max(int(block.max(initial=0)) for block in one.blocks)
    table = np.zeros((squares, 2))
    for block, mine, theirs in zip(one.blocks, one.errors, other.errors, strict=True):
        table[:, 0] += np.bincount(block, minlength=squares)
        table[:, 1] += np.bincount(block, mine - theirs, squares)
    table = table[table[:, 0] > 0]
    counts, sums = table.sum(0)
    times = np.random.default_rng(0).multinomial(
        len(table), np.full(len(table), 1 / len(table)), RESAMPLES
    )
    drawn = times @ table
    return float(sums / counts), float(np.std(drawn[:, 1] / drawn[:, 0]))


@dataclass(frozen=True)
class Ranking:
    """Denoisers of one image, best first; those that failed last.

    Attributes
    ----------
    rows : tuple of Row
    ranks : tuple of int or None
        1 for the best and for whatever cannot be told from it, and so on:
        a row has the rank of the first one that it is tied with.
    """

    rows: tuple[Row, ...]
    ranks: tuple[int | None, ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Ranking:
        """Sort rows by their scores, and find ties by paired differences."""
        finite = [row for row in rows if math.isfinite(row.score.loss)]
        failed = [row for row in rows if not math.isfinite(row.score.loss)]
        ordered = sorted(finite, key=lambda row: row.score.loss)
        ranks: list[int | None] = []
        first = 0  # the row that opened the present rank
        for number, row in enumerate(ordered):
            mean, error = difference(row, ordered[first])
            if number and not mean <= _TIE * error:
                first = number
            ranks.append(first + 1)
        return cls((*ordered, *failed), (*ranks, *[None] * len(failed)))

    @property
    def tied(self) -> tuple[bool, ...]:
        """Whether each row shares its rank with another."""
        return tuple(rank is not None and self.ranks.count(rank) > 1 for rank in self.ranks)

    def to_json(self) -> list[dict[str, Any]]:
        """The table, best first, ready for JSON."""
        return [
            {"rank": rank, "tied": tied, **row.to_json()}
            for rank, tied, row in zip(self.ranks, self.tied, self.rows, strict=True)
        ]
