"""Training by Stein's unbiased risk estimate, for noise of known variance.

The network g sees the whole image x, and what is minimised is

    mean (g(x) - x)² - σ² + b σ (g(x + ε σ b) - g(x - ε σ b)) / ε

with a random probe b of variance 1 at each pixel.  Its expectation is the mean
squared error of g(x), as `sure` tells; the last term is what keeps g from
copying x.  Where the noise is correlated, b is drawn with its correlation.

The estimate is as good as the variance: what is missed of the noise stays in
the image, what is added to it is taken from the structure.

References
----------
S. Soltanayev, S. Y. Chun, "Training deep learning based denoisers without
ground truth data", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from napari_noise2self.engine.errors import InputError, counted
from napari_noise2self.engine.noise.estimate import NoiseReport
from napari_noise2self.engine.preparation import Block, Normalisation
from napari_noise2self.engine.recorruption import deviation_map
from napari_noise2self.engine.sure import MOST_CLIPPED, probe

# Half the distance between the two perturbed inputs, in standard deviations of the noise.
STEP = 0.3
# Fields of correlated noise that are drawn once, and used at any shift.
FIELDS = 16

Deviation = float | tuple[float, ...] | None


def check_noise(noise: NoiseReport, stated: Deviation) -> str | None:
    """Make sure that the noise allows training by SURE.

    Parameters
    ----------
    noise : NoiseReport
    stated : float, tuple of float or None
        Its standard deviation, if somebody knows it.

    Returns
    -------
    notice : str or None
        What the user should know.

    Raises
    ------
    InputError
        If it is not known, or clipped, or stated for other channels.
    """
    channels = len(noise.channels)
    if isinstance(stated, tuple) and len(stated) != channels:
        raise InputError(
            f"The standard deviation of the noise was stated for "
            f"{counted(len(stated), 'channel')}, but the image has {channels}: give one number, "
            f"or one for each channel."
        )
    clipped = max(channel.clipped_low + channel.clipped_high for channel in noise.channels)
    if clipped > MOST_CLIPPED:
        raise InputError(
            f"{clipped:.1%} of the pixels are clipped, and Stein's risk estimate does not hold for "
            f"clipped noise: use the objective 'n2s'."
        )
    if stated is None and not noise.known:
        raise InputError(
            "The noise of the image could not be told, which the objective 'sure' needs: state its "
            "standard deviation as `noise_sd`, or use the objective 'n2s'."
        )
    if not noise.correlated:
        return None
    return "The noise of neighbouring pixels is correlated: " + (
        "training by SURE takes it to be white, as stated, and will keep some of it."
        if stated is not None
        else "training by SURE relies on how much, and keeps what was missed."
    )


class Probes:
    """The deviation of the noise in crops of the training data, and random probes of it.

    Parameters
    ----------
    blocks : sequence of Block
    normalisation : Normalisation
    noise : NoiseReport
    stated : float, tuple of float or None
        The standard deviation of the noise in grey values; then it is white.
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
        stated: Deviation,
        crop: Sequence[int],
        device: torch.device,
        seed: int,
    ) -> None:
        self._ndim = len(crop)
        self._fields: Tensor | None = None
        self._deviations: list[Tensor] = []
        if stated is not None:
            channels = len(normalisation.scale)
            each = stated if isinstance(stated, tuple) else (stated,) * channels
            deviation = torch.tensor(
                [sd / scale for sd, scale in zip(each, normalisation.scale, strict=True)]
            ).to(device)
            column = deviation.reshape(-1, *[1] * self._ndim)
            self._deviations = [column.expand(block.values.shape) for block in blocks]
            return
        for block in blocks:
            self._deviations.append(
                torch.from_numpy(deviation_map(block, normalisation, noise)).to(device)
            )
        lags = [noise.lags(channel) for channel in range(len(noise.channels))]
        if any(any(axis) for axis in (line for channel in lags for line in channel)):
            rng = np.random.default_rng(seed)
            fields = [[probe(crop, line, rng) for line in lags] for _ in range(FIELDS)]
            self._fields = torch.from_numpy(np.asarray(fields, np.float32)).to(device)

    @property
    def white(self) -> bool:
        """Whether the probes have no direction, so that Y and X may be exchanged."""
        return self._fields is None

    def deviation(self, block: int, window: tuple[slice, ...]) -> Tensor:
        """The standard deviation of the noise in a window of a block, per channel."""
        return self._deviations[block][(slice(None), *window)]

    def probe(self, deviation: Tensor, rng: np.random.Generator, chance: torch.Generator) -> Tensor:
        """Random numbers of that deviation, with the correlation of the noise.

        Parameters
        ----------
        deviation : Tensor, shape (channels, [Z,] Y, X)
        rng : Generator
            Chooses a field of correlated noise.
        chance : torch.Generator
            On the device, for white noise.
        """
        if self._fields is None:
            # Plus or minus one: the estimate varies least so.
            signs = torch.randint(0, 2, deviation.shape, generator=chance, device=chance.device)
            return deviation * (2 * signs - 1)
        field = self._fields[int(rng.integers(FIELDS))]
        axes = list(range(1, field.ndim))
        # The fields go on at their borders as they begin.
        return deviation * field.roll([int(rng.integers(field.shape[a])) for a in axes], axes)


def risk(network_of: Tensor, x: Tensor, deviation: Tensor, probes: Tensor) -> Tensor:
    """Stein's estimate at every pixel.

    Parameters
    ----------
    network_of : Tensor, shape (3 * batch, …)
        What the network makes of ``x``, ``x + STEP * probes`` and ``x - STEP * probes``.
    x, deviation, probes : Tensor, shape (batch, channels, [Z,] Y, X)

    Returns
    -------
    risk : Tensor, shape of `x`
    """
    plain, above, below = network_of.chunk(3)
    return (plain - x).square() - deviation.square() + probes * (above - below) / STEP
