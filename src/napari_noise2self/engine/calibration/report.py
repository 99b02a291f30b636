"""What a calibration says while it runs, and what it has found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.scoring import HeldOut, Score

if TYPE_CHECKING:
    from napari_noise2self.engine.calibration.calibrated import CalibratedFilter


@dataclass(frozen=True)
class Point:
    """One evaluation of a filter, on the pixels that all filters are compared on.

    All numbers are in squared grey values, as means over the channels, each
    in units of its noise (see `Unit`).

    Attributes
    ----------
    filter : str
        Its name.
    parameters : mapping
    loss : float
        Self-supervised loss of the J-invariant version.
    error : float
        Its standard error, by block bootstrap.  The errors of two points
        have most of their causes in common, so that they differ by less.
    plain_loss : float or None
        Mean squared difference of the plain filter from the noisy image:
        the less it denoises the smaller, so its minimum means nothing.
    mse, plain_mse : float or None
        True mean squared error of both, if a truth was given.
    """

    filter: str
    parameters: Mapping[str, Any]
    loss: float
    error: float
    plain_loss: float | None = None
    mse: float | None = None
    plain_mse: float | None = None


@dataclass(frozen=True)
class CalibrationEvent:
    """How far a calibration is.

    Attributes
    ----------
    points : tuple of Point
        What was evaluated since the event before.
    fraction : float
        Share of the work that is done, 0 to 1.
    seconds, seconds_left : float
        Time spent, and expected until the end.
    noise_variance : float or None
        Mean variance of the noise in the units of the losses, which the loss
        of a perfect filter would be; None where it is not known.
    """

    points: tuple[Point, ...]
    fraction: float
    seconds: float
    seconds_left: float
    noise_variance: float | None


@dataclass(frozen=True)
class Curve:
    """What was found out about one filter.

    Attributes
    ----------
    filter : str
        Its name.
    title : str
        Its name in a sentence.
    family : str
    points : tuple of Point
        All evaluations, sorted by their parameters.
    best : CalibratedFilter or None
        The filter with the best parameters; None if nothing could be evaluated.
    score : Score
        Of the J-invariant version with them; NaN where there is none.
    mse : float or None
        Its true error, if a truth was given.
    held_out : list of HeldOut
        Its predictions at the held-out positions of the partition, in units
        of the deviation of each channel's noise.
    seconds : float
        Time spent in the filter, summed over what ran at the same time.
    at_end : tuple of str
        Parameters whose best value lies at the end of what was searched.
    failure : str or None
        Why it could not be calibrated, or not to the end.
    """

    filter: str
    title: str
    family: str
    points: tuple[Point, ...]
    best: CalibratedFilter | None
    score: Score
    mse: float | None
    held_out: list[HeldOut]
    seconds: float
    at_end: tuple[str, ...]
    failure: str | None

    @property
    def row(self) -> dict[str, Any]:
        """The line of a table, ready for JSON; what is not known is None."""
        score = self.score.to_json()
        return {
            "filter": self.filter,
            "parameters": {} if self.best is None else dict(self.best.parameters),
            "loss": score["loss"],
            "error": score["error"],
            "gain": score["gain"],
            "gain_at_least": score["gain_at_least"],
            "mixed_gain": score["mixed_gain"],
            "mse": self.mse,
            "evaluations": len(self.points),
            "seconds": self.seconds,
            "at_end": list(self.at_end),
            "failure": self.failure,
        }


@dataclass(frozen=True)
class Calibration:
    """Filters, each with its best parameters, compared on the same pixels.

    Attributes
    ----------
    curves : tuple of Curve
        Best first; those that failed last.
    noise_variance : float or None
        Mean variance of the noise in the units of the losses: the gap
        between a self-supervised loss and the true error.
    partition : mapping
        What `partition_from` reads.
    subsets : int
        How many of its subsets were hidden.
    pixels : int
        Pixels that were compared, counted per channel.
    scale : tuple of float
        Standard deviation of the noise of each channel, in grey values.
    notices : tuple of str
    stopped : bool
        Whether it was asked to stop before its end.
    seconds : float
    """

    curves: tuple[Curve, ...]
    noise_variance: float | None
    partition: Mapping[str, Any]
    subsets: int
    pixels: int
    scale: tuple[float, ...]
    notices: tuple[str, ...]
    stopped: bool
    seconds: float

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One mapping for each filter, best first."""
        return [curve.row for curve in self.curves]

    @property
    def best(self) -> CalibratedFilter | None:
        """The best filter; None only if the calibration was stopped before any result."""
        return next((c.best for c in self.curves if c.best is not None), None)

    def __getitem__(self, name: str) -> Curve:
        """The curve of the filter with this name."""
        return {curve.filter: curve for curve in self.curves}[name]

    def to_json(self) -> dict[str, Any]:
        """The rows and what they are based on, ready for JSON."""
        return {
            "rows": self.rows,
            "noise_variance": self.noise_variance,
            "partition": dict(self.partition),
            "subsets": self.subsets,
            "pixels": self.pixels,
            "noise_deviation": list(self.scale),
            "notices": list(self.notices),
            "stopped": self.stopped,
            "seconds": self.seconds,
        }


def by_loss(curve: Curve) -> tuple[bool, float]:
    """What curves are sorted by: those without a loss come last."""
    loss = curve.score.loss
    return (curve.best is None or not math.isfinite(loss), loss if math.isfinite(loss) else 0.0)
