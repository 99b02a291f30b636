"""The networks: a small UNet and the DnCNN of the paper, in 2-D and 3-D.

A network may tell how it can be tiled: `halo`, the distance in pixels over
which an input can change an output, and `multiple`, the step at which its
output shifts with its input; both per spatial axis.  One without them (it
normalises over the whole image, or is a stranger) is applied to whole frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from napari_noise2self.engine.config import TrainingConfig


def _conv(ndim: int, inputs: int, outputs: int, *, kernel: int = 3, bias: bool = True) -> nn.Module:
    layer = nn.Conv3d if ndim == 3 else nn.Conv2d
    return layer(inputs, outputs, kernel, padding=kernel // 2, bias=bias)


def _double(ndim: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(ndim, inputs, outputs),
        nn.LeakyReLU(0.1, inplace=True),
        _conv(ndim, outputs, outputs),
        nn.LeakyReLU(0.1, inplace=True),
    )


class UNet(nn.Module):
    """An encoder and a decoder with skips, without normalisation layers.

    Without normalisation every output depends on a bounded neighbourhood
    only, so the network can be tiled exactly and is J-invariant exactly.

    Parameters
    ----------
    inputs, outputs : int
        Channels of the image.
    ndim : {2, 3}
        Spatial axes.  Z is never halved: stacks are thin and coarse in Z.
    channels : int
        Features at full resolution, doubled at each level.
    depth : int
        How often Y and X are halved.

    References
    ----------
    O. Ronneberger et al., "U-Net", MICCAI 2015.
    """

    def __init__(
        self, inputs: int = 1, outputs: int = 1, ndim: int = 2, channels: int = 16, depth: int = 3
    ) -> None:
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
        self.head = _conv(ndim, channels, outputs, kernel=1)
        self.multiple = tuple(f**depth for f in self.factor)
        # Two convolutions reach 2 pixels of their level; halving and doubling add one each.
        scale = [2**level for level in range(depth)]
        self.halo = tuple(
            4 * depth + 2 if f == 1 else 6 * sum(scale) + 2 * 2**depth for f in self.factor
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, [Z,] Y, X) to (batch, outputs, [Z,] Y, X), of any size."""
        shape = x.shape[2:]
        x = pad_to_multiple(x, self.multiple)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            if level:
                skips.append(x)
                x = _halve(x, self.factor)
            x = block(x)
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=[float(f) for f in self.factor], mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1))
        x = self.head(x)
        window: tuple[Any, ...] = (..., *(slice(n) for n in shape))
        return x[window]


def _halve(x: Tensor, factor: Sequence[int]) -> Tensor:
    pool = F.max_pool3d if len(factor) == 3 else F.max_pool2d
    halved: Tensor = pool(x, list(factor))
    return halved


def pad_to_multiple(x: Tensor, multiple: Sequence[int]) -> Tensor:
    """Repeat the last pixels of the spatial axes until `multiple` divides their length."""
    missing = [-n % m for n, m in zip(x.shape[2:], multiple, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [p for n in reversed(missing) for p in (0, n)], mode="replicate")


class DnCNN(nn.Module):
    """The plain stack of convolutions of Zhang et al. (TIP 2017), not residual.

    17 layers of 64 channels by default: 3x3 without bias, the first without
    normalisation, batch normalisation between, the last linear; 556 032
    parameters for one channel, as used in the Noise2Self paper.

    Parameters
    ----------
    inputs, outputs : int
        Channels of the image.
    ndim : {2, 3}
    channels : int
        Features of every layer.
    layers : int
        Number of convolutions.
    """

    def __init__(
        self, inputs: int = 1, outputs: int = 1, ndim: int = 2, channels: int = 64, layers: int = 17
    ) -> None:
        super().__init__()
        norm = nn.BatchNorm3d if ndim == 3 else nn.BatchNorm2d
        body: list[nn.Module] = [_conv(ndim, inputs, channels, bias=False), nn.ReLU(inplace=True)]
        for _ in range(layers - 2):
            body += [
                _conv(ndim, channels, channels, bias=False),
                norm(channels),
                nn.ReLU(inplace=True),
            ]
        body.append(_conv(ndim, channels, outputs, bias=False))
        self.body = nn.Sequential(*body)
        self.multiple = (1,) * ndim
        self.halo = (layers,) * ndim

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, [Z,] Y, X) to (batch, outputs, [Z,] Y, X)."""
        out: Tensor = self.body(x)
        return out


def build(config: TrainingConfig, channels: int, ndim: int, seed: int) -> nn.Module:
    """The network that `config` asks for, its weights drawn from `seed` alone.

    Parameters
    ----------
    config : TrainingConfig
    channels : int
        Channels of the image.
    ndim : {2, 3}
    seed : int

    Returns
    -------
    network : Module
        On the CPU, in float32.
    """
    # Built without storage, so that the process's own random numbers are left alone.
    with torch.device("meta"):
        network: nn.Module
        if config.network == "dncnn":
            network = DnCNN(channels, channels, ndim)
        else:
            network = UNet(channels, channels, ndim, config.channels, config.depth)
    network.to_empty(device="cpu").float()
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(
                module.weight, a=0.1, nonlinearity="leaky_relu", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.reset_parameters()
    return network
