"""What is reported about the noise of an image, and the way to denoise it that follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from napari_noise2self.engine.noise.correlation import AxisCorrelation
from napari_noise2self.engine.noise.line import Line, Points
from napari_noise2self.engine.noise.statistics import Floats
from napari_noise2self.engine.partition import Grid, Partition

# The variance is called known below this relative error.
KNOWN = 0.25
# Where more is clipped, or the error is larger, nothing can be said of how wrong a variance is.
_MOST_CLIPPED = 0.02
_MOST_UNSURE = 2.0
# A fixed pattern of a smaller share of the variance is not worth a word.
PATTERNED = 0.02


@dataclass(frozen=True)
class ChannelNoise:
    """The noise of one channel, in its grey values; NaN or None where it could not be told.

    Attributes
    ----------
    gain : float
        Grey values per photoelectron: the slope of variance against signal.
    gain_error : float
        Its standard error.
    offset : float
        Grey value of darkness, taken to be the darkest local mean; NaN where
        what is dark was clipped.
    read_noise : float
        Standard deviation of the noise at `offset`.
    mean_variance : float
        Variance of the noise, averaged over the image.
    variance_error : float
        Relative standard error of `mean_variance`, with what structure may add to it.
    correlation : dict
        One `AxisCorrelation` for each spatial axis.
    clipped_low, clipped_high : float
        Share of the pixels piled up at the least and at the largest grey value.
    missing : float
        Share of the pixels that are NaN or infinite.
    hot, dead : float
        Share of the pixels that stand alone far above, or far below, all around them.
    fixed_pattern : float or None
        Standard deviation of what differs from pixel to pixel but not from
        frame to frame; 0 if it is not significant, None if it cannot be told.
    from_frames : bool
        Whether this comes from the differences of frames, which hold no structure.
    line : Line or None
        Variance against signal.
    points : Points or None
        What the line was fitted to: the photon-transfer plot.
    """

    gain: float
    gain_error: float
    offset: float
    read_noise: float
    mean_variance: float
    variance_error: float
    correlation: dict[str, AxisCorrelation]
    clipped_low: float
    clipped_high: float
    missing: float
    hot: float
    dead: float
    fixed_pattern: float | None
    from_frames: bool
    line: Line | None
    points: Points | None

    @property
    def known(self) -> bool:
        """Whether the variance is known well enough to compute with."""
        return self.variance_error <= KNOWN

    @property
    def doubt(self) -> float:
        """By how much more than it is told the variance can be, relative: its error, if that holds.

        Infinite where the variance is not known and much is clipped, for then the line through
        what is not can be far too low.  0 where structure looks like noise, for then it is rather
        too high.
        """
        error = self.variance_error
        if self.known:
            return error
        if self.clipped_low + self.clipped_high > _MOST_CLIPPED or _MOST_UNSURE < error < math.inf:
            return math.inf
        return error if math.isfinite(error) else 0.0


@dataclass(frozen=True)
class Suggestion:
    """How to denoise the image.

    Attributes
    ----------
    partition : Grid
    transformation : "none" or "square root"
    output : "single-pass" or "j-invariant"
    reasons : tuple of str
        One sentence for each of the three.
    """

    partition: Grid
    transformation: Literal["none", "square root"]
    output: Literal["single-pass", "j-invariant"]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class NoiseReport:
    """What the noise of an image is.

    Attributes
    ----------
    axes : str
        The axes of the image.
    spatial_axes : str
        The axes of the partition, "YX", "ZYX" or "TYX".
    channels : tuple of ChannelNoise
    suggestion : Suggestion
    """

    axes: str
    spatial_axes: str
    channels: tuple[ChannelNoise, ...]
    suggestion: Suggestion

    @property
    def correlated(self) -> bool:
        """Whether the noise of neighbouring pixels is correlated in any channel."""
        return any(a.correlated for c in self.channels for a in c.correlation.values())

    @property
    def extent(self) -> tuple[int, ...]:
        """Odd width per spatial axis of the block that covers correlated pixels."""
        return _extent(self.spatial_axes, self.channels)

    @property
    def comparison_partition(self) -> Grid:
        """The partition to calibrate and to compare denoisers with.

        A network learns fastest from a narrow grid.  But denoisers are to be compared on
        predictions that miss few of the pixels they will have in the end, and a wider grid
        hides fewer at a time.
        """
        return self.suggestion.partition if self.correlated else Grid.for_extent(self.extent)

    @property
    def known(self) -> bool:
        """Whether the variance of every channel is known well enough to compute with."""
        return all(channel.known for channel in self.channels)

    @property
    def estimated(self) -> bool:
        """Whether the variance of every channel could be estimated at all, however well."""
        return all(channel.line is not None for channel in self.channels)

    @property
    def patterned(self) -> bool:
        """Whether much of the noise of a channel stays from frame to frame."""
        return any(
            c.fixed_pattern is not None and c.fixed_pattern**2 > PATTERNED * c.mean_variance
            for c in self.channels
        )

    @property
    def variance_error(self) -> float:
        """Relative standard error of the mean variance, the largest of the channels."""
        return float(max(channel.variance_error for channel in self.channels))

    @property
    def doubt(self) -> float:
        """By how much more than it is told the variance can be, the largest of the channels."""
        return max(channel.doubt for channel in self.channels)

    def variance(self, signal: ArrayLike, channel: int = 0) -> Floats:
        """The variance of the noise where the mean of the recorded grey values is `signal`.

        Parameters
        ----------
        signal : array_like
        channel : int

        Returns
        -------
        variance : ndarray of float64, shape of `signal`
            In squared grey values, never negative; NaN where it is unknown.
        """
        line = self.channels[channel].line
        if line is None:
            return np.full(np.shape(signal), np.nan)
        return line.variance(signal)

    def covered_by(self, partition: Partition) -> bool:
        """Whether `partition` hides as much around each target as correlates with it."""
        hidden = partition.extents(len(self.spatial_axes))
        return all(have >= need for have, need in zip(hidden, self.extent, strict=True))

    def notice(self, partition: Partition, automatic: bool) -> str | None:
        """What who denoises with `partition` should read of correlated noise, if anything.

        Parameters
        ----------
        partition : Partition
        automatic : bool
            Whether it is the suggested one.

        Returns
        -------
        notice : str or None
            A sentence or two; None if there is nothing to say.
        """
        if not self.correlated:
            return None
        if automatic:
            return self.suggestion.reasons[0]
        if self.covered_by(partition):
            return None
        needed = "×".join(map(str, self.extent))
        return (
            f"The noise of neighbouring pixels is correlated, and the partition hides less than "
            f"the {needed} pixels that would cover it: some of the noise will stay. Leave the "
            f"partition on automatic, or use an extent of {needed}."
        )

    def lags(self, channel: int = 0) -> list[tuple[float, ...]]:
        """The correlation at 1, 2, … pixels along each spatial axis; empty where there is none.

        Parameters
        ----------
        channel : int

        Returns
        -------
        lags : list of tuple of float, one per axis of `spatial_axes`
        """
        axes = (self.channels[channel].correlation[letter] for letter in self.spatial_axes)
        return [axis.rho if axis.correlated else () for axis in axes]

    def to_json(self) -> dict[str, Any]:
        """The report as numbers, strings, lists and mappings; NaN becomes None."""
        suggestion = self.suggestion
        found: dict[str, Any] = plain(
            {
                "axes": self.axes,
                "spatial_axes": self.spatial_axes,
                "correlated": self.correlated,
                "extent": self.extent,
                "variance_error": self.variance_error,
                "channels": [asdict(channel) for channel in self.channels],
                "suggestion": {
                    "partition": {
                        "kind": "grid",
                        "width": suggestion.partition.width,
                        "extent": suggestion.partition.extent,
                    },
                    "transformation": suggestion.transformation,
                    "output": suggestion.output,
                    "reasons": suggestion.reasons,
                },
            }
        )
        return found


def plain(value: Any) -> Any:
    """A value as JSON takes it: tuples stay sequences, NaN and infinities become None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _extent(spatial_axes: str, channels: tuple[ChannelNoise, ...]) -> tuple[int, ...]:
    return tuple(max(c.correlation[letter].extent for c in channels) for letter in spatial_axes)


def suggest(
    spatial_axes: str, channels: tuple[ChannelNoise, ...], shape: Sequence[int]
) -> Suggestion:
    """How to denoise an image.

    Parameters
    ----------
    spatial_axes : str
        "YX", or with another letter before.
    channels : tuple of ChannelNoise
    shape : sequence of int
        Pixels along each of the spatial axes: no grid is wider.

    Returns
    -------
    suggestion : Suggestion
    """
    extent = _extent(spatial_axes, channels)
    correlated = any(e > 1 for e in extent)
    if correlated:
        width = tuple(
            min(e + 2 if e > 1 else (4 if letter in "YX" else 2), max(size, 2))
            for e, letter, size in zip(extent, spatial_axes, shape, strict=True)
        )
        # A stack can have fewer slices than the noise reaches over: one of them stays visible.
        hidden = tuple(min(e, (w - 2) // 2 * 2 + 1) for e, w in zip(extent, width, strict=True))
        # Less is hidden around each target, and fewer passes are needed, than with a wide grid.
        partition = Grid(width, hidden)
        block = " × ".join(map(str, hidden))
        along = " and ".join(
            letter.lower() for letter, e in zip(spatial_axes, extent, strict=True) if e > 1
        )
        why = (
            f"The noise of neighbouring pixels is correlated along {along}: {block} pixels are "
            f"hidden around each target, "
        )
        if hidden == extent:
            why += "in a grid just wide enough."
        else:
            needed = " × ".join(map(str, extent))
            why += (
                f"which is all that fits into so thin an image. {needed} would cover it, so some "
                f"of the noise can stay: denoise slice by slice if it does."
            )
    else:
        partition = Grid.for_white_noise()
        if any(axis.rho for c in channels for axis in c.correlation.values()):
            why = "No correlated noise was found: only the targets themselves are hidden."
        else:
            why = "The correlation of the noise could not be measured; it is taken to be white."
    reasons = [why]

    transformation: Literal["none", "square root"]
    spans = []
    for channel in channels:
        line = channel.line
        if line is None:
            continue
        low = float(line.unclipped(line.darkest))
        spans.append(float(line.unclipped(line.brightest)) / max(low, 1e-300))
    clipped = any(c.clipped_low > 5e-3 for c in channels)
    span = min(spans, default=1.0)
    certain = all(c.gain > 4 * c.gain_error for c in channels)
    if len(spans) < len(channels):
        transformation = "none"
        reasons.append("No transformation: how the noise depends on the signal is unknown.")
    elif clipped and span >= 8:
        transformation = "none"
        reasons.append(
            "No transformation, although shot noise dominates: dark pixels are clipped, and "
            "a square root would stretch them."
        )
    elif span >= 8 and certain:
        transformation = "square root"
        reasons.append(
            f"A square root for filters that expect the same noise everywhere: its variance rises "
            f"{span:.0f}-fold with the signal and nothing is clipped. The networks need none."
        )
    else:
        transformation = "none"
        reasons.append("No transformation: the noise varies little with the signal.")

    output: Literal["single-pass", "j-invariant"]
    if not correlated:
        output = "single-pass"
        reasons.append(
            "Single pass: with white noise the network may look at every pixel, and does best so."
        )
    elif all(channel.known for channel in channels):
        output = "single-pass"
        reasons.append(
            "Single pass: the noise is known well enough to show the network what it looks like, "
            "in pairs of images made with noise of the same kind."
        )
    else:
        output = "j-invariant"
        reasons.append(
            "J-invariant: a single pass would keep correlated noise, and the noise is not known "
            "well enough to show it to the network."
        )
    return Suggestion(partition, transformation, output, tuple(reasons))
