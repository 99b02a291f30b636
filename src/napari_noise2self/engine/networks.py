"""The networks: a small UNet, and the UNet and DnCNN of the paper, in 2-D and 3-D.

A network may tell how it can be tiled: `halo`, the distance in pixels over
which an input can change an output, and `multiple`, the step at which its
output shifts with its input; both per spatial axis.  One without them (it
normalises over the whole image, or is a stranger) is applied to whole frames.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_noise2self.engine.boxes import box_mean
from napari_noise2self.engine.networks_axes import Apart, Shared, WithNeighbours

if TYPE_CHECKING:
    from napari_noise2self.engine.config import TrainingConfig


def _conv(ndim: int, inputs: int, outputs: int, *, kernel: int = 3, bias: bool = True) -> nn.Module:
    layer = nn.Conv3d if ndim == 3 else nn.Conv2d
    return layer(inputs, outputs, kernel, padding=kernel // 2, bias=bias)


def _layer(ndim: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(ndim, inputs, outputs), nn.LeakyReLU(0.1, inplace=True))


class UNet(nn.Module):
    """What a UNet without normalisation layers adds to a blurred image.

    The output is the image, blurred by two 5x5 means (σ = 2 pixels), plus
    what an encoder and a decoder with skips make of it.  So the grey values
    of wide areas are right from the start, and only what blurring destroys
    has to be learned; the pixel's own noise hardly passes the blur.

    Without normalisation every output depends on a bounded neighbourhood
    only, so the network can be tiled exactly and is J-invariant exactly.

    Parameters
    ----------
    inputs, outputs : int
        Channels; those that are put out are the first of what is put in.
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
        self.outputs = outputs
        self.factor = (1, 2, 2)[-ndim:]
        # One convolution per level: as good as two in twice the time.
        self.encoder = nn.ModuleList(
            _layer(ndim, before, width) for before, width in itertools.pairwise([inputs, *widths])
        )
        # Features are halved in number before they are doubled in size: that is cheaper.
        self.project = nn.ModuleList(
            _conv(ndim, widths[level + 1], widths[level], kernel=1)
            for level in reversed(range(depth))
        )
        self.decoder = nn.ModuleList(
            _layer(ndim, 2 * widths[level], widths[level]) for level in reversed(range(depth))
        )
        self.head = _conv(ndim, channels, outputs, kernel=1)
        self.multiple = tuple(f**depth for f in self.factor)
        # Two convolutions reach 1 pixel of their level each; halving and doubling add one each.
        scale = [2**level for level in range(depth)]
        self.halo = tuple(
            2 * depth + 1 if f == 1 else 4 * sum(scale) + 2**depth for f in self.factor
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, [Z,] Y, X) to (batch, outputs, [Z,] Y, X), of any size."""
        shape = x.shape[2:]
        blurred = _blur(x[:, : self.outputs])
        x = pad_to_multiple(x, self.multiple)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            if level:
                skips.append(x)
                x = _halve(x, self.factor)
            x = block(x)
        for project, block in zip(self.project, self.decoder, strict=True):
            x = project(x)
            x = _double(x, self.factor)
            x = block(torch.cat([x, skips.pop()], dim=1))
        if self.training:
            x = self.head(x)
        else:
            # In full precision: half of it would leave steps in smooth areas.
            with torch.autocast(x.device.type, enabled=False):
                x = self.head(x.to(blurred.dtype))
        window: tuple[Any, ...] = (..., *(slice(n) for n in shape))
        return blurred + x[window]


def _blur(x: Tensor) -> Tensor:
    """Two means over 5x5 pixels in Y and X, over fewer at the border."""
    widths = (1, 5, 5)[-(x.ndim - 2) :]
    return box_mean(box_mean(x, widths), widths)


def _halve(x: Tensor, factor: Sequence[int]) -> Tensor:
    """The largest of each two by two pixels in Y and X."""
    if not torch.is_grad_enabled():
        # The same, up to 13 times faster in volumes: no index of the largest is kept.
        x = torch.maximum(x[..., 0::2, :], x[..., 1::2, :])
        return torch.maximum(x[..., 0::2], x[..., 1::2])
    pool = F.max_pool3d if len(factor) == 3 else F.max_pool2d
    halved: Tensor = pool(x, list(factor))
    return halved


def _double(x: Tensor, factor: Sequence[int]) -> Tensor:
    """Each pixel as two by two in Y and X."""
    if torch.is_grad_enabled() and x.ndim == 4:
        doubled: Tensor = _Doubled.apply(x)  # type: ignore[no-untyped-call]
        return doubled
    return F.interpolate(x, scale_factor=[float(f) for f in factor], mode="nearest")


class _Doubled(torch.autograd.Function):
    """The same for images, whose gradient takes a seventh of the time in `channels_last`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Each pixel as two by two."""
        return F.interpolate(x, scale_factor=2, mode="nearest")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The sum over each two by two."""
        rows = gradient[..., 0::2, :] + gradient[..., 1::2, :]
        return rows[..., 0::2] + rows[..., 1::2]


def pad_to_multiple(x: Tensor, multiple: Sequence[int]) -> Tensor:
    """Repeat the last pixels of the spatial axes until `multiple` divides their length."""
    missing = [-n % m for n, m in zip(x.shape[2:], multiple, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [p for n in reversed(missing) for p in (0, n)], mode="replicate")


class PaperUNet(nn.Module):
    """The UNet of the Noise2Self paper, with instance normalisation.

    Four levels of 32, 64, 128 and 256 channels above a bottom of 256, two 3x3
    convolutions with `InstanceNorm` each, halved by strided and doubled by
    transposed convolutions of 2x2, and a last convolution without
    normalisation or activation: 3.3 million parameters.  What the paper leaves
    open is chosen: halving and doubling work on each channel by itself, which
    is what so few parameters leave room for, skips are concatenated, and the
    activation is a leaky ReLU.

    It normalises by the mean and the variance of what it is shown, so an output
    depends on all of the image, however slightly: it cannot be tiled, and is
    J-invariant only up to that.

    Parameters
    ----------
    inputs, outputs : int
        Channels of the image.
    ndim : {2, 3}
        Spatial axes.  Z is never halved.
    """

    WIDTHS = (32, 64, 128, 256)

    def __init__(self, inputs: int = 1, outputs: int = 1, ndim: int = 2) -> None:
        super().__init__()
        down = nn.Conv3d if ndim == 3 else nn.Conv2d
        up = nn.ConvTranspose3d if ndim == 3 else nn.ConvTranspose2d
        widths = self.WIDTHS
        factor: Any = (1, 2, 2)[-ndim:]
        self._least = tuple(f ** len(widths) for f in factor)
        self.encoder = nn.ModuleList(
            _normalised(ndim, before, width)
            for before, width in itertools.pairwise([inputs, *widths])
        )
        self.down = nn.ModuleList(
            down(width, width, factor, factor, groups=width) for width in widths
        )
        self.bottom = _normalised(ndim, widths[-1], widths[-1])
        # What comes from below has as many channels as the skip beside it.
        self.up = nn.ModuleList(
            up(width, width, factor, factor, groups=width) for width in reversed(widths)
        )
        self.decoder = nn.ModuleList(
            _normalised(ndim, 2 * width, after)
            for width, after in itertools.pairwise(reversed(widths))
        )
        self.last = _normalised(ndim, 2 * widths[0], widths[0], layers=1)
        self.head = _conv(ndim, widths[0], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, [Z,] Y, X) to (batch, outputs, [Z,] Y, X), of any size."""
        shape = x.shape[2:]
        x = pad_to_multiple(x, self._least)
        # One pixel at the bottom has no variance.
        if x.shape[2:].numel() == math.prod(self._least):
            x = F.pad(x, (0, self._least[-1]) + (0, 0) * (x.ndim - 3), mode="replicate")
        skips: list[Tensor] = []
        for block, down in zip(self.encoder, self.down, strict=True):
            skips.append(block(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for up, block in zip(self.up, [*self.decoder, self.last], strict=True):
            x = block(torch.cat([up(x), skips.pop()], dim=1))
        x = self.head(x)
        window: tuple[Any, ...] = (..., *(slice(n) for n in shape))
        return x[window]


def _normalised(ndim: int, inputs: int, outputs: int, layers: int = 2) -> nn.Sequential:
    norm = nn.InstanceNorm3d if ndim == 3 else nn.InstanceNorm2d
    parts: list[nn.Module] = []
    for before in (inputs, outputs)[:layers]:
        parts += [_conv(ndim, before, outputs), norm(outputs), nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*parts)


class DnCNN(nn.Module):
    """The plain stack of convolutions of Zhang et al. (TIP 2017), not residual.

    17 layers of 64 channels by default: 3x3 without bias, the first without
    normalisation, batch normalisation between, the last linear; 556 032
    parameters for one channel, as used in the Noise2Self paper.

    Parameters
    ----------
    inputs, outputs : int
        Channels; those that are put out are the first of what is put in.
    ndim : {2, 3}
    channels : int
        Features of every layer.
    layers : int
        Number of convolutions.
    blurred : bool
        Whether it adds to the blurred image, as `UNet` does, instead of making
        all of its output.
    """

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        ndim: int = 2,
        channels: int = 64,
        layers: int = 17,
        *,
        blurred: bool = False,
    ) -> None:
        super().__init__()
        self.outputs, self.blurred = outputs, blurred
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
        return _blur(x[:, : self.outputs]) + out if self.blurred else out


_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def build(config: TrainingConfig, channels: int, ndim: int, seed: int) -> nn.Module:
    """The network that `config` asks for, its weights drawn from `seed` alone.

    Channels that are not seen together have networks of one channel, and
    slices with their neighbours a 2-D network, in 3-D images.

    Parameters
    ----------
    config : TrainingConfig
        Which says how channels are seen, if there are several.
    channels : int
        Channels of the image.
    ndim : {2, 3}
    seed : int

    Returns
    -------
    network : Module
        On the CPU, in float32.
    """
    if channels == 1 or config.channel_use == "together":
        return _single(config, channels, ndim, seed)
    if config.channel_use == "shared":
        return Shared(_single(config, 1, ndim, seed))
    return Apart([_single(config, 1, ndim, seed) for _ in range(channels)])


def _single(config: TrainingConfig, channels: int, ndim: int, seed: int) -> nn.Module:
    """One network that sees so many channels, of a slice and its neighbours if so."""
    if not config.context:
        return _plain(config, channels, channels, ndim, seed)
    seen = channels * (2 * config.context + 1)
    return WithNeighbours(_plain(config, seen, channels, 2, seed), config.context)


def _plain(config: TrainingConfig, inputs: int, outputs: int, ndim: int, seed: int) -> nn.Module:
    # Built without storage, so that the process's own random numbers are left alone.
    with torch.device("meta"):
        network: nn.Module
        if config.network == "dncnn":
            # The recipe of the paper trains the network of the paper.
            network = DnCNN(inputs, outputs, ndim, blurred=config.recipe != "plain")
        elif config.network == "unet-paper":
            network = PaperUNet(inputs, outputs, ndim)
        else:
            network = UNet(inputs, outputs, ndim, config.channels, config.depth)
    # Not `to_empty`, which imports SymPy: a second of every process.
    storage = {
        name: torch.empty(
            value.shape, dtype=torch.float32 if value.is_floating_point() else value.dtype
        )
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(storage, assign=True)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, _CONVOLUTIONS):
            nn.init.kaiming_normal_(
                module.weight, a=0.1, nonlinearity="leaky_relu", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.reset_parameters()
    # It starts close to the blurred image.
    with torch.no_grad():
        if isinstance(network, UNet):
            next(network.head.parameters()).mul_(0.1)
        elif isinstance(network, DnCNN) and network.blurred:
            next(network.body[-1].parameters()).mul_(0.1)
    return network
