"""What is refused before training starts, because it could not end well."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from napari_noise2self.engine.errors import InputError, counted, first_line
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.partition import Grid, Partition, RandomPartition
from napari_noise2self.engine.preparation import Block


def check_network(network: nn.Module, channels: int, ndim: int) -> None:
    """Refuse a network that does not return what it was given, before it is trained."""
    device = next(network.parameters()).device
    image = torch.zeros(1, channels, *[32] * ndim, device=device)
    was_training = network.training
    try:
        with torch.inference_mode():
            result = network.eval()(image)
    except Exception as error:
        # Whatever a network of the caller's raises: it is not ours to know.
        raise InputError(
            f"The network fails on a tensor of shape {tuple(image.shape)} "
            f"({type(error).__name__}: {first_line(error)}): it must map (batch, channels, "
            f"{'Z, ' if ndim == 3 else ''}Y, X) to the same shape."
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(result, torch.Tensor):
        raise InputError(
            f"The network returns a {type(result).__name__}: it must return one tensor, of the "
            f"shape it is given."
        )
    shape = tuple(result.shape)
    if shape != tuple(image.shape):
        raise InputError(
            f"The network turns a tensor of shape {tuple(image.shape)} into one of {shape}: it "
            f"must return the shape it is given."
        )


def check_partition(partition: Partition, blocks: Sequence[Block], layout: Layout) -> None:
    """Refuse a partition that is too wide or too fine for the image."""
    if isinstance(partition, RandomPartition):
        pixels = max(math.prod(block.values.shape[1:]) for block in blocks)
        # A subset of hardly any pixels could be absent, and neither be learned nor scored.
        if partition.subsets > max(pixels // 16, 2):
            raise InputError(
                f"A random partition into {partition.subsets} subsets is too fine for {pixels} "
                f"pixels: use at most {max(pixels // 16, 2)} subsets."
            )
    if not isinstance(partition, Grid):
        return
    widths = partition.widths(layout.ndim)
    for block in blocks:
        for axis, size, width in zip(
            layout.spatial_axes, block.values.shape[1:], widths, strict=True
        ):
            if size < width:
                raise InputError(
                    f"The grid width {width} is too large for {counted(size, 'pixel')} "
                    f"along {axis}: "
                    + (
                        "denoise slice by slice instead."
                        if size < 2
                        else f"use a width of at most {size} there."
                    )
                )
