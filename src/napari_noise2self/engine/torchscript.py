"""A trained network as a program of its own, which runs where Python and this package are not."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.predictor import PADDING, STRANGER_MULTIPLE, Symmetry, symmetries
from napari_noise2self.engine.trained import Trained


@dataclass(frozen=True)
class Program:
    """The single pass of a trained network, with normalised images in and out.

    Attributes
    ----------
    script : torch.jit.ScriptModule
        Maps (1, channels, [Z,] Y, X) in float32 to the same shape.
    step : tuple of int
        What must divide the sides of its input, per spatial axis.
    halo : tuple of int or None
        Pixels at the sides of a tile whose output is not that of the whole
        image, multiples of `step`; None if the network sees all of an image.
    smallest : tuple of int
        The smallest sides of its input.
    averaging : int
        Over how many flips and rotations it averages.
    """

    script: torch.jit.ScriptModule
    step: tuple[int, ...]
    halo: tuple[int, ...] | None
    smallest: tuple[int, ...]
    averaging: int

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the program makes of an array of shape (1, channels, [Z,] Y, X)."""
        with torch.inference_mode():
            result: NDArray[np.float32] = self.script(torch.from_numpy(values)).numpy()
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program to a file, without the paths of this computer that are noted in it.

        Parameters
        ----------
        path : path-like
        """
        buffer = io.BytesIO()
        with _quietly():
            torch.jit.save(self.script, buffer)
        with zipfile.ZipFile(buffer) as noted, zipfile.ZipFile(path, "w") as file:
            for entry in noted.infolist():
                # Where each line of the program came from: for debugging alone.
                if not entry.filename.endswith(".debug_pkl"):
                    file.writestr(entry, noted.read(entry))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the warning that TorchScript is deprecated: nothing else is read as widely."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class SinglePass(nn.Module):
    """The network on an image that is continued by reflection, averaged over symmetries.

    Parameters
    ----------
    network : Module
    chosen : sequence of Symmetry
    padding : sequence of int
        Pixels to continue the image by, per spatial axis.
    """

    def __init__(
        self, network: nn.Module, chosen: Sequence[Symmetry], padding: Sequence[int]
    ) -> None:
        super().__init__()
        self.network = network
        self.chosen = list(chosen)
        self.padding = list(padding)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, [Z,] Y, X) to the same shape."""
        amounts = [amount for p in reversed(self.padding) for amount in (p, p)]
        padded = F.pad(x, amounts, mode="reflect")
        results = []
        for turned, axes in self.chosen:
            y = padded.transpose(-1, -2) if turned else padded
            y = self.network(y.flip(axes) if axes else y)
            y = y.flip(axes) if axes else y
            results.append(y.transpose(-1, -2) if turned else y)
        mean = torch.stack(results).mean(0)
        for axis, p in enumerate(self.padding, start=2):
            mean = mean.narrow(axis, p, x.shape[axis])
        return mean


def compiled(trained: Trained, averaging: int = 1) -> Program:
    """The single pass of a trained network as a TorchScript program, for any device.

    Parameters
    ----------
    trained : Trained
    averaging : int
        How many flips and rotations to average over, 1 to 8.

    Returns
    -------
    program : Program

    Raises
    ------
    InputError
        If the network is a stranger's whose work depends on the size of its
        input in ways that cannot be recorded.
    """
    network = copy.deepcopy(trained.network).cpu().float().eval().requires_grad_(False)
    halo: tuple[int, ...] | None = getattr(network, "halo", None)
    multiple: tuple[int, ...] | None = getattr(network, "multiple", None)
    if multiple is None:
        multiple, halo = (STRANGER_MULTIPLE,) * trained.ndim, None
    chosen = symmetries(averaging, trained.turn)
    if any(turned for turned, _ in chosen):
        multiple = (*multiple[:-2], *[math.lcm(*multiple[-2:])] * 2)
        halo = halo and (*halo[:-2], *[max(halo[-2:])] * 2)
    # A multiple of the step, so that tiles see the same pooling as the whole.
    padding = [-(-PADDING // m) * m for m in multiple]
    if trained.ndim == 3:
        padding[0] = 0
    if halo is not None:
        halo = tuple(-(-h // m) * m for h, m in zip(halo, multiple, strict=True))
    smallest = tuple(
        # Reflection needs one more pixel than it continues an image by.
        math.ceil(max(p + 1, 2 * h + 1) / m) * m
        for p, h, m in zip(padding, halo or (0,) * trained.ndim, multiple, strict=True)
    )
    module = SinglePass(network, chosen, padding).eval()
    script = _traced(module, len(trained.normalisation.offset), smallest, multiple)
    return Program(script, multiple, halo, smallest, len(chosen))


def _traced(
    module: nn.Module, channels: int, smallest: Sequence[int], step: Sequence[int]
) -> torch.jit.ScriptModule:
    """Record what a module does, and check it at a size it was not recorded at."""
    generator = torch.Generator().manual_seed(0)
    larger = [n + m * k for n, m, k in zip(smallest, step, range(1, len(step) + 1), strict=True)]
    first, second = (
        torch.randn(1, channels, *shape, generator=generator) for shape in (smallest, larger)
    )
    try:
        # It also warns of what could depend on the size, which is checked below.
        with _quietly(), torch.inference_mode():
            script = torch.jit.trace(module, first, check_trace=False)  # type: ignore[no-untyped-call]
        with torch.inference_mode():
            agree = torch.allclose(script(second), module(second), rtol=1e-4, atol=1e-4)
    except RuntimeError as error:
        raise _unrecordable() from error
    if not agree:
        raise _unrecordable()
    return script  # type: ignore[no-any-return]


def _unrecordable() -> InputError:
    return InputError(
        "The network cannot be exported, because it works differently on images of different "
        "sizes: use the network 'unet' or 'dncnn', or one without branches on the shape."
    )
