"""Pairs of an estimate of the image with noise drawn anew, and the estimate itself.

A network that has learned from hidden pixels makes too little use of the pixel
itself.  But what it makes of the image is an image of the same kind whose truth
is known.  With noise drawn as that of the image is told, it can go on learning
as from the truth.  Half of the crops stay masked ones of the image itself,
which hold the estimate to what was measured.

Held-out positions are no targets of pairs either, but the estimate has seen them:
no effect of that on the score was found (docs/explanation/scores.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_noise2self.engine.noise.estimate import NoiseReport
from napari_noise2self.engine.preparation import Normalisation
from napari_noise2self.engine.recorruption import FIELDS, drawn_fields


class Redrawing:
    """Draws pairs from estimates of the training data.

    Parameters
    ----------
    estimates : sequence of ndarray of float32, shape (channels, [Z,] Y, X)
        One for each block of the data, normalised.
    normalisation : Normalisation
    noise : NoiseReport
        Known in every channel.
    crop : sequence of int
        Spatial shape of the crops.
    device : torch.device
    seed : int
    """

    def __init__(
        self,
        estimates: Sequence[NDArray[np.float32]],
        normalisation: Normalisation,
        noise: NoiseReport,
        crop: Sequence[int],
        device: torch.device,
        seed: int,
    ) -> None:
        self._estimates = [torch.from_numpy(estimate).to(device) for estimate in estimates]
        # Noise as it was before it was clipped has to be added to what was there before.
        before, deviations = zip(
            *(_before_clipping(estimate, normalisation, noise) for estimate in estimates),
            strict=True,
        )
        self._before = [torch.from_numpy(values).to(device) for values in before]
        self._deviations = [torch.from_numpy(values).to(device) for values in deviations]
        self._limits = [
            torch.tensor(limits, dtype=torch.float32, device=device).reshape(-1, *[1] * len(crop))
            for limits in _limits(normalisation, noise)
        ]
        self._fields = drawn_fields(noise, crop, device, seed) if noise.correlated else None
        self._generator = torch.Generator(device)

    def pair(
        self, crop: Tensor, block: int, window: tuple[slice, ...], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """The estimate of a crop with noise, and without.

        Parameters
        ----------
        crop : Tensor, shape (channels, [Z,] Y, X)
            The crop of the image; of it only the shape matters.
        block : int
            Which block it was cut from.
        window : tuple of slice
            Where in the block.
        rng : Generator

        Returns
        -------
        input, target : Tensor, shape of `crop`
        """
        where = (slice(None), *window)
        noisy = torch.addcmul(
            self._before[block][where], self._deviations[block][where], self._noise(crop, rng)
        )
        return noisy.clamp(*self._limits), self._estimates[block][where]

    def _noise(self, crop: Tensor, rng: np.random.Generator) -> Tensor:
        if self._fields is None:
            self._generator.manual_seed(int(rng.integers(2**63)))
            return torch.randn(crop.shape, generator=self._generator, device=crop.device)
        field = self._fields[int(rng.integers(FIELDS))]
        shifts = [int(rng.integers(n)) for n in crop.shape[1:]]
        field = field.roll(shifts, tuple(range(1, crop.ndim)))
        return field if rng.integers(2) else -field


def _before_clipping(
    estimate: NDArray[np.float32], normalisation: Normalisation, noise: NoiseReport
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The estimate and the deviation of the noise as they were before clipping, normalised."""
    before, deviation = np.empty_like(estimate), np.empty_like(estimate)
    for channel, plane in enumerate(estimate):
        offset, scale = normalisation.offset[channel], normalisation.scale[channel]
        line = noise.channels[channel].line
        assert line is not None  # or it would not be known
        signal = line.before_clipping(plane * scale + offset)
        before[channel] = (signal - offset) / scale
        deviation[channel] = np.sqrt(line.unclipped(signal)) / scale
    return before, deviation


def _limits(normalisation: Normalisation, noise: NoiseReport) -> tuple[list[float], list[float]]:
    """The normalised values at which each channel was clipped, infinite where it was not."""
    low, high = [], []
    for channel, offset, scale in zip(
        noise.channels, normalisation.offset, normalisation.scale, strict=True
    ):
        assert channel.line is not None
        limits = channel.line.limits
        low.append(-np.inf if limits.low is None else (limits.low - offset) / scale)
        high.append(np.inf if limits.high is None else (limits.high - offset) / scale)
    return low, high
