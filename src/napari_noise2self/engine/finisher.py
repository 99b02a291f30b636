"""A network as training leaves it made a denoiser, after each of its cycles."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.errors import OutOfMemoryError
from napari_noise2self.engine.events import Control, Notice
from napari_noise2self.engine.hardware import engine_errors
from napari_noise2self.engine.noise.estimate import NoiseReport
from napari_noise2self.engine.preparation import TrainingData
from napari_noise2self.engine.redrawing import Redrawing
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.scoring import HeldOut
from napari_noise2self.engine.trained import Trained, best_output, scoring_pieces

# Of more than this the estimate would take long and much memory: 0.7 GB while it is made.
REDRAWN_PIXELS = 2**24


@dataclass(frozen=True)
class Finisher:
    """Makes denoisers of a network, and the pairs that it goes on learning from.

    Attributes
    ----------
    data : TrainingData
    config : TrainingConfig
    sampler : Sampler
    noise : NoiseReport
    alike : bool
        Whether that is the noise of all images.
    averaging : int
        As for `Trained.predictor`.
    """

    data: TrainingData
    config: TrainingConfig
    sampler: Sampler
    noise: NoiseReport
    alike: bool
    averaging: int

    @property
    def can_redraw(self) -> bool:
        """Whether an estimate of the data with noise drawn anew is like the data, and is small.

        For that the noise has to be known, and must not be in the estimate, as it is where less
        is hidden than correlates.
        """
        kept = self.noise.correlated and self.sampler.pairing is None
        pixels = sum(block.values.size for block in self.data.blocks)
        return (
            self.sampler.masks
            and self.sampler.batch_size > 1
            and self.config.recipe == "default"
            and self.noise.known
            and self.alike
            and not kept
            and pixels <= REDRAWN_PIXELS
        )

    def untested(self, network: nn.Module) -> Trained:
        """The denoiser with the output that suits most images."""
        return Trained(
            network,
            self.data.normalisation,
            self.sampler.partition,
            self.config.replacement,
            self.sampler.ndim,
            self.sampler.turn,
            self.noise,
            best_output(self.sampler),
        )

    def with_best_output(self, trained: Trained, positions: Sequence[HeldOut]) -> Trained:
        """The denoiser with the output that suits each channel, told by held-out positions."""
        trained = trained.with_mixing(positions)
        gains = trained.gains_of_mixing(positions) if self.alike else [None] * len(positions)
        best = [best_output(self.sampler, gain) for gain in gains]
        # One name says it where the channels are alike.
        together = best[0] if len(set(best)) == 1 else ", ".join(best)
        return dataclasses.replace(trained, best_output=together)

    def redraw(
        self, network: nn.Module, control: Control
    ) -> Generator[Notice | None, None, Redrawing | None]:
        """Pairs of what the denoiser makes of the data by now.

        Yields
        ------
        notice : Notice or None
            None now and then, so that who trains can say that work goes on.

        Returns
        -------
        pairs : Redrawing or None
            None if it was stopped, or the memory is too small.
        """
        try:
            with engine_errors():
                return (yield from self._redraw(network, control))
        except OutOfMemoryError as error:
            yield Notice(f"Training ends before its time, with what was learned. {error}")
            return None

    def _redraw(
        self, network: nn.Module, control: Control
    ) -> Generator[Notice | None, None, Redrawing | None]:
        trained = self.untested(network)
        found = []
        for piece in scoring_pieces(self.data.blocks, trained.ndim):
            if control.stopped:
                return None
            found.append(trained.held_out_positions([piece], self.averaging))
            yield None
        positions = [HeldOut.join(channel) for channel in zip(*found, strict=True)]
        trained = self.with_best_output(trained, positions)
        # More than two flips take longer and gain nothing here.
        predictor = trained.predictor(min(self.averaging, 2))
        estimates = []
        for block in self.data.blocks:
            for part in trained.output(trained.best_output, predictor, block.values, block.valid):
                if control.stopped:
                    return None
                yield part if isinstance(part, Notice) else None
                if isinstance(part, np.ndarray):
                    estimates.append(part)
        return Redrawing(
            estimates,
            self.data.normalisation,
            self.noise,
            self.sampler.crop,
            self.sampler.device,
            self.config.seed,
        )
