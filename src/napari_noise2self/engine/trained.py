"""A trained network with all that is needed to apply and to score it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_noise2self.engine.bad_pixels import HotRule
from napari_noise2self.engine.config import Replacement, TrainingConfig
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Notice
from napari_noise2self.engine.hardware import fast_dtype
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.mixing import Mixing, gain_of_mixing
from napari_noise2self.engine.noise.estimate import NoiseReport
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.prediction import Method
from napari_noise2self.engine.predictor import Part, Predictor
from napari_noise2self.engine.preparation import Block, Frame, Normalisation
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.scoring import HeldOut, Score, held_out, self_supervised_score
from napari_noise2self.engine.sure import MOST_CLIPPED, Risk, sure
from napari_noise2self.engine.windows import Place

# Up to this size a prediction is averaged over all flips and rotations.
FULL_AVERAGING_PIXELS = 2**23
# By so many dB the single pass is better than the J-invariant output; where the mixed one is better
# by more, it is taken (benchmarks/outputs.py).  Values that hidden pixels do not usually have make
# a network less sure of what it is shown.
MIXED_FROM = {"mean": 0.5, "median": 0.5, "neighbor": 0.25, "uniform": 0.25, "zero": 0.25}
# The same beside the J-invariant output, where blocks are hidden and the noise is not known.
MIXED_FROM_UNKNOWN = 2.0
# The score after training is taken on as many pixels of the data as this, at most.
FINAL_SCORE_PIXELS = 2**22
SCORE_SHAPES = {2: (512, 512), 3: (32, 128, 128)}

# Values of a piece of an image, which of them are valid, and its origin.
Piece = tuple[NDArray[np.float32], NDArray[np.bool_], Sequence[int] | None]


@dataclass(frozen=True)
class Trained:
    """A network as training has left it.

    Attributes
    ----------
    network : Module
        In `eval` mode, on its device.
    normalisation : Normalisation
    partition : Partition
    replacement : str
        What hidden pixels were replaced with.
    ndim : {2, 3}
    turn : bool
        Whether it was trained on crops with Y and X exchanged.
    noise : NoiseReport
        The noise of the image it was trained on.
    best_output : str
        What the output "auto" stands for: one name, or where channels differ one
        for each, joined by ", ".
    mixing : Mixing, optional
        The shares of the mixed output; None where the noise could not be estimated.
    in_slice : bool
        Whether replacements in volumes came from the slice of the pixel alone, as
        they do now.
    """

    network: nn.Module
    normalisation: Normalisation
    partition: Partition
    replacement: Replacement
    ndim: int
    turn: bool
    noise: NoiseReport
    best_output: str
    mixing: Mixing | None = None
    in_slice: bool = True

    def predictor(self, averaging: int = 1, *, exact: bool = False) -> Predictor:
        """What applies the network, averaged over so many flips and rotations.

        In the fast precision of the device, or in full precision if `exact`.
        """
        device = next(self.network.parameters()).device
        return Predictor(
            self.network,
            self.partition,
            device,
            replacement=self.replacement,
            in_slice=self.in_slice,
            turn=self.turn,
            averaging=averaging,
            dtype=None if exact else fast_dtype(device),
        )

    def kinds(self, output: str) -> list[str]:
        """The output of each channel, of one name for all or of one for each."""
        names = output.split(", ")
        return names * len(self.normalisation.offset) if len(names) == 1 else names

    def output(
        self,
        output: str,
        predictor: Predictor,
        values: NDArray[np.float32],
        valid: NDArray[np.bool_],
        place: Place | None = None,
    ) -> Iterator[Part]:
        """One output of a window of a frame, as `Predictor.single_pass` yields it.

        Parameters
        ----------
        output : str
            As `best_output`.
        predictor : Predictor
        values, valid : ndarray, shape (channels, [Z,] Y, X)
            As those of a `Frame`.
        place : Place, optional
            That of the window; by default they are a whole frame.
        """
        kinds = self.kinds(output)
        seen = [kind == "single-pass" for kind in kinds]
        single, done = None, 0.0
        if any(seen):
            if not all(seen):
                # The other outputs apply the network to each subset by itself.
                done = 1 / (1 + self.partition.subset_count(self.ndim))
            for part in predictor.single_pass(values, place):
                if all(seen) or isinstance(part, Notice):
                    yield part
                elif isinstance(part, np.ndarray):
                    single = part
                else:
                    yield done * part
            if all(seen):
                return
        wanted = (slice(None), *place.keep) if place else (slice(None),)
        for part in predictor.j_invariant(values, valid, place):
            if isinstance(part, np.ndarray):
                found = part
                if "mixed" in kinds:
                    assert self.mixing is not None  # or it would have been refused
                    mixed = self.mixing.apply(part, values[wanted], valid[wanted])
                    found = _chosen(mixed, part, [kind == "mixed" for kind in kinds])
                yield found if single is None else _chosen(single, found, seen)
            else:
                yield part if isinstance(part, Notice) else done + (1 - done) * part

    def method(self, output: str, frame: Sequence[int], averaging: int = 1) -> Method:
        """How frames of a spatial shape are turned into one output."""
        predictor = self.predictor(averaging)

        def apply(source: Frame) -> Iterator[Part]:
            return self.output(output, predictor, source.values, source.valid, source.place)

        masked = set(self.kinds(output)) != {"single-pass"}
        return Method(apply, self.normalisation, predictor.reach(frame, masked))

    # ------------------------------------------------------------------ scores

    def held_out_positions(self, pieces: Iterable[Piece], averaging: int = 1) -> list[HeldOut]:
        """The prediction where nothing was ever a target, for each channel."""
        predictor = self.predictor(averaging)
        found = [held_out(predictor, *piece) for piece in pieces]
        return [HeldOut.join(channel) for channel in zip(*found, strict=True)]

    def variance(self, signal: NDArray[np.float64], channel: int) -> NDArray[np.float64]:
        """The variance of the noise, in normalised units, at a normalised signal."""
        offset, scale = self.normalisation.offset[channel], self.normalisation.scale[channel]
        return self.noise.variance(signal * scale + offset, channel) / scale**2

    def score(self, positions: Sequence[HeldOut]) -> Score:
        """What the held-out positions tell, with an estimated error if the noise is known."""
        scale = self.normalisation.scale
        if not self.noise.known:
            return self_supervised_score(positions, scale)
        variance = [
            self.variance(place.predicted, channel) * scale[channel] ** 2
            for channel, place in enumerate(positions)
        ]
        return self_supervised_score(positions, scale, variance, self.noise.variance_error)

    def with_mixing(self, positions: Sequence[HeldOut]) -> Trained:
        """With the shares of the mixed output measured, if the noise could be estimated.

        However roughly: where there is little noise the prediction is so much worse than the
        pixel that a share which is wrong by half still mends most of that.
        """
        if not self.noise.estimated:
            return self
        mixing = Mixing.measure(
            [place.predicted for place in positions],
            [place.observed for place in positions],
            self.variance,
        )
        return dataclasses.replace(self, mixing=mixing)

    def gains_of_mixing(self, positions: Sequence[HeldOut]) -> list[float | None]:
        """By how many dB the mixed output of each channel beats the J-invariant one, at least.

        None where the noise could not be estimated.
        """
        if self.mixing is None:
            return [None] * len(positions)
        return [self._gain_of_mixing(place, channel) for channel, place in enumerate(positions)]

    def _gain_of_mixing(self, place: HeldOut, channel: int) -> float | None:
        return gain_of_mixing(
            [place.predicted],
            [place.observed],
            lambda signal, _: self.variance(signal, channel),
            self.noise.channels[channel].doubt,
        )


def _chosen(
    first: NDArray[np.float32], second: NDArray[np.float32], take_first: Sequence[bool]
) -> NDArray[np.float32]:
    """Some channels of one result, and the others of another one."""
    where = np.reshape(take_first, (-1, *[1] * (first.ndim - 1)))
    return np.where(where, first, second)


def averaging_of(config: TrainingConfig, layout: Layout) -> int:
    """How many flips and rotations to average over: most of the gain comes from two."""
    if not config.averaging or config.recipe == "plain":
        return 1
    pixels = layout.frames * math.prod(layout.spatial_shape)
    return 8 if pixels <= FULL_AVERAGING_PIXELS else 2


def best_output(sampler: Sampler, gain_of_mixing: float | None = None) -> str:
    """The output that suits a channel of a network trained from `sampler`.

    The single pass, as long as it has not learned from noise that it would
    keep: that of single hidden pixels is like no other, that of pairs is
    known, and that of a target is another one.  A network that has only seen
    blocks hidden takes the correlated noise inside them for structure.

    But a network that has learned to predict hidden pixels from others makes
    little use of the pixel itself, even where it is shown.  Where there is less
    noise than detail that cannot be predicted, that costs more than the noise,
    and the mixed output is better.
    """
    if not sampler.masks:
        return "single-pass"
    gain = -math.inf if gain_of_mixing is None else gain_of_mixing
    if set(sampler.extents) == {1}:
        return "mixed" if gain >= MIXED_FROM[sampler.replacement] else "single-pass"
    if sampler.pairing:
        return "single-pass"
    return "mixed" if sampler.noise_known or gain >= MIXED_FROM_UNKNOWN else "j-invariant"


def risk_of_output(
    trained: Trained,
    image: Any,
    layout: Layout,
    noise: NoiseReport,
    output: str,
    averaging: int,
) -> Risk:
    """Stein's estimate of the error of an output, as the mean over the frames.

    Raises
    ------
    InputError
        If the noise is not known or is clipped.
    """
    if not noise.known:
        raise InputError(
            "The noise of the image could not be told, which Stein's risk estimate needs: use the "
            "method 'self-supervised'."
        )
    clipped = max(channel.clipped_low + channel.clipped_high for channel in noise.channels)
    if clipped > MOST_CLIPPED:
        raise InputError(
            f"{clipped:.1%} of the pixels are clipped, and Stein's risk estimate does not hold for "
            f"clipped noise: use the method 'self-supervised'."
        )
    predictor = trained.predictor(averaging, exact=True)
    normalisation = trained.normalisation
    results = []
    rule = HotRule.of(image, layout)
    for number in range(layout.frames):
        frame = Frame.of(image, layout, normalisation, number, rule)

        def denoise(values: NDArray[np.float64], frame: Frame = frame) -> NDArray[np.float64]:
            changed = normalisation.apply(values)
            *_, last = trained.output(output, predictor, changed, frame.valid, frame.place)
            assert isinstance(last, np.ndarray)
            return normalisation.invert(last).astype(np.float64)

        def variance(signal: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack([noise.variance(plane, c) for c, plane in enumerate(signal)])

        grey = normalisation.invert(frame.values).astype(np.float64)
        lags = [noise.lags(channel) for channel in range(layout.channels)]
        results.append(sure(denoise, grey, variance, lags, seed=number, valid=frame.valid))
    mse, error, variance_ = (float(np.mean(column)) for column in zip(*results, strict=True))
    return Risk(
        mse=mse,
        error=error / math.sqrt(len(results)),
        output=output,
        gain=10 * math.log10(variance_ / mse) if mse > 0 and variance_ > 0 else None,
    )


def scoring_pieces(blocks: Sequence[Block], ndim: int) -> Iterator[Piece]:
    """Blocks of an image, or windows spread over them if they are large."""
    windows = []
    for block in blocks:
        shape = block.values.shape[1:]
        sides = [min(n, side) for n, side in zip(shape, SCORE_SHAPES[ndim], strict=True)]
        starts = (range(0, n, side) for n, side in zip(shape, sides, strict=True))
        for start in itertools.product(*starts):
            region = (
                slice(None),
                *(slice(s, s + side) for s, side in zip(start, sides, strict=True)),
            )
            origin = [o + s for o, s in zip(block.origin, start, strict=True)]
            windows.append((block.values[region], block.valid[region], origin))
    most = max(FINAL_SCORE_PIXELS // math.prod(SCORE_SHAPES[ndim]), 1)
    chosen = np.random.default_rng(0).permutation(len(windows))[:most]
    return (windows[i] for i in sorted(chosen))
