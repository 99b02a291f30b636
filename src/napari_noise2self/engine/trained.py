"""A trained network with all that is needed to apply and to score it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.prediction import Predictor
from napari_noise2self.engine.preparation import Block, Normalisation
from napari_noise2self.engine.scoring import held_out_errors

# The score after training is taken on as many pixels of the data as this, at most.
FINAL_SCORE_PIXELS = 2**22
SCORE_SHAPES = {2: (512, 512), 3: (32, 128, 128)}


@dataclass(frozen=True)
class Trained:
    """A network as training has left it.

    Attributes
    ----------
    network : Module
        In `eval` mode, on its device.
    normalisation : Normalisation
    partition : Partition
    replacement : {"mean", "median", "neighbor", "uniform", "zero"}
        What hidden pixels were replaced with.
    ndim : {2, 3}
    turn : bool
        Whether it was trained on crops with Y and X exchanged.
    """

    network: nn.Module
    normalisation: Normalisation
    partition: Partition
    replacement: Replacement
    ndim: int
    turn: bool

    def predictor(self, averaging: int = 1) -> Predictor:
        """What applies the network, averaged over so many flips and rotations."""
        device = next(self.network.parameters()).device
        return Predictor(
            self.network,
            self.partition,
            device,
            turn=self.turn,
            averaging=averaging,
            replacement=self.replacement,
        )

    def score_on(self, blocks: Sequence[Block]) -> float:
        """The score on blocks of an image, or on windows spread over them."""
        windows = []
        for block in blocks:
            shape = block.values.shape[1:]
            sides = [min(n, side) for n, side in zip(shape, SCORE_SHAPES[self.ndim], strict=True)]
            starts = (range(0, n, side) for n, side in zip(shape, sides, strict=True))
            for start in itertools.product(*starts):
                region = (
                    slice(None),
                    *(slice(s, s + side) for s, side in zip(start, sides, strict=True)),
                )
                origin = [o + s for o, s in zip(block.origin, start, strict=True)]
                windows.append((block.values[region], block.valid[region], origin))
        most = max(FINAL_SCORE_PIXELS // math.prod(SCORE_SHAPES[self.ndim]), 1)
        chosen = np.random.default_rng(0).permutation(len(windows))[:most]
        return self.score(windows[i] for i in sorted(chosen))

    def score(
        self,
        pieces: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_], Sequence[int] | None]],
    ) -> float:
        """The score on pieces of images: their values, which are valid, and their origins."""
        predictor = self.predictor()
        sums = [held_out_errors(predictor, self.normalisation.scale, *piece) for piece in pieces]
        total, count = (sum(column) for column in zip(*sums, strict=True))
        return total / count if count else math.nan
