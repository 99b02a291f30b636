"""What filters are compared on: the same pixels for all of them, and what is said there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.filters.blind import Channel
from napari_noise2self.engine.noise.report import NoiseReport
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.scoring import HeldOut, Score, self_supervised_score, squares_of


@dataclass(frozen=True)
class Unit:
    """How each channel is brought to noise of standard deviation 1.

    Attributes
    ----------
    offset, scale : tuple of float
        Of each channel, in grey values; the scale is the deviation of its noise.
    common : float
        Root of the mean variance of the channels: losses are those of
        channels in units of their noise, times its square, so that no
        channel outweighs the others.
    known : bool
        Whether the noise could be told, or is only guessed.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]
    common: float
    known: bool


@dataclass(frozen=True)
class Window:
    """A piece of a frame.

    Attributes
    ----------
    origin : tuple of int
        Where it starts in its frame.
    channels : list of Channel
    labels : ndarray of int32, shape ([Z,] Y, X)
    scored : list of ndarray of int64
        Flat indices of the pixels that are compared, for each channel,
        ordered by subset.
    masked : dict
        The input with one subset hidden, by channel and subset.
    truth : list of ndarray, optional
        In the same units, one for each channel.
    """

    origin: tuple[int, ...]
    channels: list[Channel]
    labels: NDArray[np.int32]
    scored: list[NDArray[np.int64]]
    masked: dict[tuple[int, int], NDArray[np.float32]]
    truth: list[NDArray[np.float64]] | None


@dataclass(frozen=True)
class Pixels:
    """What all filters are compared on.

    Attributes
    ----------
    windows : list of Window
    subsets : tuple of int
        Those that are hidden, one at a time.
    unit : Unit
    partition : Partition
    noise : NoiseReport
    mapped : bool
        Whether the truth was of other exposure, and was mapped to the image.
    """

    windows: list[Window]
    subsets: tuple[int, ...]
    unit: Unit
    partition: Partition
    noise: NoiseReport
    mapped: bool = False

    @property
    def count(self) -> int:
        """Pixels that are compared, in all channels together."""
        return sum(scored.size for window in self.windows for scored in window.scored)

    @property
    def noise_variance(self) -> float | None:
        """Mean variance of the noise in the units of the losses; None where it is not known."""
        return self.unit.common**2 if self.noise.known else None

    def positions(self, outputs: Sequence[Sequence[NDArray[Any]]]) -> list[HeldOut]:
        """What was predicted at the compared pixels, for each channel.

        Parameters
        ----------
        outputs : sequence of sequence of ndarray
            For each window and channel, the values at its compared pixels.
        """
        found = []
        for number in range(len(self.unit.scale)):
            pieces = []
            for window, output in zip(self.windows, outputs, strict=True):
                scored = window.scored[number]
                channel = window.channels[number]
                pieces.append(
                    HeldOut(
                        output[number].astype(np.float64),
                        channel.values.ravel()[scored].astype(np.float64),
                        squares_of(channel.values.shape).ravel()[scored],
                    )
                )
            found.append(HeldOut.join(pieces))
        return found

    def held_out(self, positions: Sequence[HeldOut]) -> list[HeldOut]:
        """Of what `positions` returns, the held-out positions of the partition alone."""
        kept = []
        for number, place in enumerate(positions):
            chosen = np.concatenate(
                [
                    self.partition.held_out(window.labels.shape, window.origin).ravel()[
                        window.scored[number]
                    ]
                    for window in self.windows
                ]
            )
            kept.append(
                HeldOut(place.predicted[chosen], place.observed[chosen], place.block[chosen])
            )
        return kept

    def variance(self, signal: NDArray[np.float64], channel: int) -> NDArray[np.float64]:
        """The variance of the noise at a signal, both in units of the channel's noise."""
        offset, scale = self.unit.offset[channel], self.unit.scale[channel]
        return self.noise.variance(signal * scale + offset, channel) / scale**2

    def score(self, positions: Sequence[HeldOut], *, gain: bool = True) -> Score:
        """The score; with an estimated gain where the noise is known and it is asked for."""
        common = [self.unit.common] * len(positions)
        if not (gain and self.noise.known):
            return self_supervised_score(positions, common)
        variance = [
            self.variance(place.predicted, channel) * self.unit.common**2
            for channel, place in enumerate(positions)
        ]
        return self_supervised_score(positions, common, variance, self.noise.variance_error)

    def true_error(self, outputs: Sequence[Sequence[NDArray[Any]]]) -> float | None:
        """Mean squared difference from the truth at the compared pixels, if there is one."""
        total = 0.0
        for window, output in zip(self.windows, outputs, strict=True):
            if window.truth is None:
                return None
            for number, scored in enumerate(window.scored):
                difference = output[number] - window.truth[number].ravel()[scored]
                total += float(np.sum(difference.astype(np.float64) ** 2))
        return total / self.count * self.unit.common**2
