"""Networks that models were saved with before networks changed."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_noise2self.engine.networks import pad_to_multiple


class FormerUNet(nn.Module):
    """The UNet of model files of the format 1: two convolutions per level, no blurred image.

    Parameters
    ----------
    inputs, outputs : int
        Channels of the image.
    ndim : {2, 3}
        Spatial axes; Z is never halved.
    channels : int
        Features at full resolution, doubled at each level.
    depth : int
        How often Y and X are halved.
    """

    def __init__(self, inputs: int, outputs: int, ndim: int, channels: int, depth: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(depth + 1)]
        self.factor = (1, 2, 2)[-ndim:]
        self.encoder = nn.ModuleList(
            _double(ndim, before, width) for before, width in itertools.pairwise([inputs, *widths])
        )
        self.decoder = nn.ModuleList(
            _double(ndim, widths[level] + widths[level + 1], widths[level])
            for level in reversed(range(depth))
        )
        self.head = (nn.Conv3d if ndim == 3 else nn.Conv2d)(channels, outputs, 1)
        self.multiple = tuple(f**depth for f in self.factor)
        scale = [2**level for level in range(depth)]
        self.halo = tuple(
            4 * depth + 2 if f == 1 else 6 * sum(scale) + 2 * 2**depth for f in self.factor
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, [Z,] Y, X) to (batch, outputs, [Z,] Y, X), of any size."""
        shape = x.shape[2:]
        x = pad_to_multiple(x, self.multiple)
        pool = F.max_pool3d if len(self.factor) == 3 else F.max_pool2d
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            if level:
                skips.append(x)
                x = pool(x, list(self.factor))
            x = block(x)
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=[float(f) for f in self.factor], mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1))
        x = self.head(x)
        window: tuple[Any, ...] = (..., *(slice(n) for n in shape))
        return x[window]


def _double(ndim: int, inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv3d if ndim == 3 else nn.Conv2d
    return nn.Sequential(
        conv(inputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
        conv(outputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
    )
