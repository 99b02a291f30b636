"""Networks made of networks: how they share channels, and what they see beside a slice.

Each maps what a single network would, (batch, channels, [Z,] Y, X) to the same
shape, and tells as one would how it can be tiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_noise2self.engine.masking import reflect_pad


class Shared(nn.Module):
    """One network of one channel for all of them: each channel is an image of its own.

    Parameters
    ----------
    network : Module
        Of one channel.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        _tell_reach(self, network)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, [Z,] Y, X) to the same shape."""
        out: Tensor = self.network(x.flatten(0, 1)[:, None])
        return out.reshape(x.shape)


class Apart(nn.Module):
    """A network for each channel, which sees no other.

    Parameters
    ----------
    networks : sequence of Module
        Of one channel each, and of one reach.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        _tell_reach(self, networks[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, [Z,] Y, X) to the same shape."""
        parts = [one(x[:, c : c + 1]) for c, one in enumerate(self.networks)]
        return torch.cat(parts, dim=1)


class WithNeighbours(nn.Module):
    """A 2-D network that sees of a stack each slice with those beside it.

    At the ends the stack goes on by reflection.

    Parameters
    ----------
    network : Module
        Of (2 * reach + 1) times as many channels as it returns: those of the
        slice itself first.
    reach : int
        Slices on either side.
    """

    def __init__(self, network: nn.Module, reach: int) -> None:
        super().__init__()
        self.network = network
        self.reach = reach
        beside = [reach + side * step for step in range(1, reach + 1) for side in (-1, 1)]
        self._order = [reach, *beside]
        # A network that cannot be tiled tells nothing, and has to see whole slices.
        halo: tuple[int, ...] | None = getattr(network, "halo", None)
        multiple: tuple[int, ...] | None = getattr(network, "multiple", None)
        if halo is not None and multiple is not None:
            self.halo = (reach, *halo)
            self.multiple = (1, *multiple)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, Z, Y, X) to the same shape."""
        padded = reflect_pad(x, (self.reach, 0, 0))
        depth = x.shape[2]
        seen = torch.cat([padded[:, :, at : at + depth] for at in self._order], dim=1)
        slices = seen.transpose(1, 2).flatten(0, 1)
        # The order that makes convolutions fast.
        out = self.network(slices.contiguous(memory_format=torch.channels_last))
        restored: Tensor = out.reshape(x.shape[0], depth, *out.shape[1:]).transpose(1, 2)
        return restored


def independent(network: nn.Module) -> list[nn.Module]:
    """The networks that have nothing to do with each other; most often the one."""
    return list(network.networks) if isinstance(network, Apart) else [network]


def _tell_reach(outer: nn.Module, inner: nn.Module) -> None:
    for name in ("halo", "multiple"):
        if hasattr(inner, name):
            setattr(outer, name, getattr(inner, name))
