"""Networks made of networks: how the channels of an image are shared out among them.

Each maps what a single network would, (batch, channels, [Z,] Y, X) to the same
shape, and tells as one would how it can be tiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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


def independent(network: nn.Module) -> list[nn.Module]:
    """The networks that have nothing to do with each other; most often the one."""
    return list(network.networks) if isinstance(network, Apart) else [network]


def _tell_reach(outer: nn.Module, inner: nn.Module) -> None:
    for name in ("halo", "multiple"):
        if hasattr(inner, name):
            setattr(outer, name, getattr(inner, name))
