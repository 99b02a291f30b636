"""Pairs of noisy images made from one, for correlated noise that is known.

A pixel whose neighbours carry the same noise has to be predicted from far
away, and much is lost.  But noise b of the same covariance as that of the
image x can be drawn, and ``x + a b`` and ``x - b / a`` have independent noise
(Pang et al. 2021): a network that predicts the second from the first learns
to denoise as from two exposures, and sees every pixel.

References
----------
T. Pang, H. Zheng, Y. Quan, H. Ji, "Recorrupted-to-Recorrupted: Unsupervised
Deep Learning for Image Denoising", CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_noise2self.engine.noise.estimate import NoiseReport
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.preparation import Block, Normalisation
from napari_noise2self.engine.sure import probe

# How much noise the input is given; the target gets the inverse.
STRENGTH = 1.25
# Fields of noise that are drawn once and used again, with either sign.
FIELDS = 16


def can_recorrupt(noise: NoiseReport, partition: Partition) -> bool:
    """Whether the noise is correlated, known, and hidden as wide as `partition` hides."""
    return noise.correlated and noise.known and noise.covered_by(partition)


def drawn_fields(
    noise: NoiseReport, crop: Sequence[int], device: torch.device, seed: int
) -> Tensor:
    """Noise of variance 1, correlated as that of the image is.

    Parameters
    ----------
    noise : NoiseReport
    crop : sequence of int
        Spatial shape.
    device : torch.device
    seed : int

    Returns
    -------
    fields : Tensor, shape (FIELDS, channels, *crop)
        Each goes on at its other end.
    """
    rng = np.random.default_rng(seed)
    fields = [
        [probe(crop, noise.lags(channel), rng) for channel in range(len(noise.channels))]
        for _ in range(FIELDS)
    ]
    return torch.from_numpy(np.asarray(fields, np.float32)).to(device)


class Recorruption:
    """Draws pairs from crops of the training data.

    Parameters
    ----------
    blocks : sequence of Block
    normalisation : Normalisation
    noise : NoiseReport
    crop : sequence of int
        Spatial shape of the crops.
    device : torch.device
    seed : int
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        normalisation: Normalisation,
        noise: NoiseReport,
        crop: Sequence[int],
        device: torch.device,
        seed: int,
    ) -> None:
        self._fields = drawn_fields(noise, crop, device, seed)
        self._deviations = [
            torch.from_numpy(deviation_map(block, normalisation, noise)).to(device)
            for block in blocks
        ]

    def pair(
        self, crop: Tensor, block: int, window: tuple[slice, ...], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Two versions of a crop with independent noise.

        Parameters
        ----------
        crop : Tensor, shape (channels, [Z,] Y, X)
        block : int
            Which block it was cut from.
        window : tuple of slice
            Where in the block.
        rng : Generator

        Returns
        -------
        input, target : Tensor, shape of `crop`
        """
        field = self._fields[int(rng.integers(FIELDS))]
        sign = 1.0 if rng.integers(2) else -1.0
        added = sign * field * self._deviations[block][(slice(None), *window)]
        return crop + STRENGTH * added, crop - added / STRENGTH


def deviation_map(
    block: Block, normalisation: Normalisation, noise: NoiseReport
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The standard deviation of the noise at every pixel of a block, normalised.

    Parameters
    ----------
    block : Block
    normalisation : Normalisation
    noise : NoiseReport
    """
    deviation = np.empty_like(block.values)
    for channel, plane in enumerate(block.values):
        offset, scale = normalisation.offset[channel], normalisation.scale[channel]
        # Taken at the signal, for which a blurred image has to stand.
        signal = ndimage.gaussian_filter(plane, [0] * (plane.ndim - 2) + [2, 2])
        variance = noise.variance(signal * scale + offset, channel)
        deviation[channel] = np.sqrt(np.maximum(variance, 0)) / scale
    return deviation
