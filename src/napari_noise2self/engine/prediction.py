"""Applying a network: in tiles, single pass or J-invariant, averaged over flips.

The frame is padded by reflection and the padded frame is what the network is
applied to, whole or in tiles.  A tile is read with a halo that covers all the
network can see, and starts at a multiple of the network's own stride, so that
the tiled result equals the whole one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.errors import OutOfMemoryError
from napari_noise2self.engine.events import INTERVAL, Control, PredictionEvent
from napari_noise2self.engine.hardware import is_out_of_memory
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.masking import masked_input, reflect_pad
from napari_noise2self.engine.networks import pad_to_multiple
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.preparation import Frame, Normalisation

# Reflected pixels around a frame: the network has seen crops end without them.
PADDING = 16
# Pixels of a tile without its halo: more would not be faster, only larger.
TILE_PIXELS = 2**20
MIN_TILE = 64
# Slices of a tile of a volume.
MAX_DEPTH = 64
# The sides of what a network is applied to that does not tell its own `multiple`.
STRANGER_MULTIPLE = 16

# The symmetries of the square: whether to exchange Y and X, and which axes to flip.
Symmetry = tuple[bool, tuple[int, ...]]
IDENTITY: Symmetry = (False, ())


@dataclass(frozen=True)
class Piece:
    """One tile of a padded frame."""

    read: tuple[slice, ...]  # from the padded frame
    keep: tuple[slice, ...]  # of what was read
    write: tuple[slice, ...]  # into the padded frame


def symmetries(count: int, turn: bool) -> list[Symmetry]:
    """At most `count` of the 8 flips and rotations of a square, as different as can be.

    Where Y and X are not alike (`turn` is False) there are 4.
    """
    flips: list[tuple[int, ...]] = [(-1, -2), (), (-1,), (-2,)]
    chosen: list[Symmetry] = [IDENTITY]
    for axes in flips:
        for turned in (True, False):
            if (turn or not turned) and (turned, axes) != IDENTITY:
                chosen.append((turned, axes))
    return chosen[:count]


def _transform(x: Tensor, symmetry: Symmetry) -> Tensor:
    turned, axes = symmetry
    x = x.transpose(-1, -2) if turned else x
    return x.flip(axes) if axes else x


def _restore(x: Tensor, symmetry: Symmetry) -> Tensor:
    turned, axes = symmetry
    x = x.flip(axes) if axes else x
    return x.transpose(-1, -2) if turned else x


def _pieces(shape: Sequence[int], network: nn.Module, tile: Sequence[int]) -> Iterator[Piece]:
    """Tiles of a padded frame; the whole frame for a network that cannot be tiled."""
    halo: tuple[int, ...] | None = getattr(network, "halo", None)
    multiple: tuple[int, ...] | None = getattr(network, "multiple", None)
    if halo is None or multiple is None:
        whole = tuple(slice(0, n) for n in shape)
        yield Piece(whole, whole, whole)
        return
    lines = []
    for n, h, m, t in zip(shape, halo, multiple, tile, strict=True):
        size = max(t // m, 1) * m
        margin = -(-h // m) * m
        line = []
        for start in range(0, n, size):
            stop = min(start + size, n)
            first, last = max(start - margin, 0), min(stop + margin, n)
            line.append(
                (slice(first, last), slice(start - first, stop - first), slice(start, stop))
            )
        lines.append(line)
    for combination in itertools.product(*lines):
        read, keep, write = zip(*combination, strict=True)
        yield Piece(read, keep, write)


def _tile_shape(ndim: int, shape: Sequence[int], pixels: int) -> list[int]:
    depth = [min(shape[0], MAX_DEPTH)] if ndim == 3 else []
    side = max(round((pixels / math.prod(depth)) ** 0.5), 1)
    return [*depth, side, side]


class Predictor:
    """Applies one network to frames.

    Parameters
    ----------
    network : Module
        In `eval` mode, on its device.
    partition : Partition
    device : torch.device
    turn : bool
        Whether the network has seen Y and X exchanged.
    averaging : int
        How many flips and rotations to average over, 1 to 8.
    dtype : torch.dtype, optional
        Type for mixed precision; float32 by default.
    replacement : {"mean", "median", "neighbor", "uniform", "zero"}
        What hidden pixels are replaced with, as in training.
    """

    def __init__(
        self,
        network: nn.Module,
        partition: Partition,
        device: torch.device,
        *,
        turn: bool = True,
        averaging: int = 1,
        dtype: torch.dtype | None = None,
        tile_pixels: int = TILE_PIXELS,
        replacement: Replacement = "mean",
    ) -> None:
        self.network = network
        self.partition = partition
        self.device = device
        self.symmetries = symmetries(averaging, turn)
        self.dtype = dtype
        self.tile_pixels = tile_pixels
        self.replacement = replacement

    def single_pass(self, frame: NDArray[np.float32]) -> Iterator[float | NDArray[np.float32]]:
        """Apply the network to the frame as it is.

        Parameters
        ----------
        frame : ndarray of float32, shape (channels, [Z,] Y, X)
            Normalised.

        Yields
        ------
        fraction or result : float or ndarray
            The share of the work done after each piece; last, the result.
        """
        yield from self._run(frame, [(None, symmetry) for symmetry in self.symmetries])

    def j_invariant(
        self, frame: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> Iterator[float | NDArray[np.float32]]:
        """Predict each subset of the partition from the others (eq. 3 of the paper).

        Parameters
        ----------
        frame : ndarray of float32, shape (channels, [Z,] Y, X)
        valid : ndarray of bool, same shape, optional
            False where a value was made up from its neighbours: it is hidden
            always, because it would tell of them.

        Yields
        ------
        fraction or result
            As `single_pass`.
        """
        subsets = range(self.partition.subset_count(frame.ndim - 1))
        yield from self._run(frame, [p for k in subsets for p in self._passes(k)], valid)

    def subset(
        self,
        frame: NDArray[np.float32],
        subset: int,
        valid: NDArray[np.bool_] | None = None,
        origin: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """The prediction on one subset from the others; zero elsewhere.

        `origin` is where the frame starts in the coordinates of the partition.
        """
        *_, result = self._run(frame, self._passes(subset), valid, origin)
        assert isinstance(result, np.ndarray)
        return result

    def _passes(self, subset: int) -> list[tuple[int | None, Symmetry]]:
        # Each subset under two symmetries: the average over all would take four times as long.
        return [(subset, symmetry) for symmetry in self.symmetries[:2]]

    def _run(
        self,
        frame: NDArray[np.float32],
        passes: Sequence[tuple[int | None, Symmetry]],
        valid: NDArray[np.bool_] | None = None,
        origin: Sequence[int] | None = None,
    ) -> Iterator[float | NDArray[np.float32]]:
        ndim = frame.ndim - 1
        shape = frame.shape[1:]
        x = torch.from_numpy(np.ascontiguousarray(frame)).to(self.device)[None]
        labels = None
        if passes[0][0] is not None:
            labels = torch.from_numpy(self.partition.labels(shape, origin)).to(self.device)
        invalid = None
        if valid is not None and not valid.all():
            invalid = torch.from_numpy(~valid).to(self.device)[None]
        total = torch.zeros_like(x)
        weight = torch.zeros((), device=self.device)
        if labels is not None:
            weight = torch.zeros_like(x)
        padding = [0 if ndim == 3 and axis == 0 else PADDING for axis in range(ndim)]
        inner = _spatial(slice(p, p + n) for p, n in zip(padding, shape, strict=True))
        pixels = self.tile_pixels
        for number, (subset, symmetry) in enumerate(passes):
            if subset is None or labels is None:
                padded = _transform(reflect_pad(x, padding), symmetry)
            else:
                goal = (labels == subset)[None, None]
                # The same for every frame and in every process, so that results agree.
                generator = torch.Generator(self.device).manual_seed(number)
                masked = masked_input(
                    x,
                    goal,
                    self.partition,
                    self.replacement,
                    invalid=invalid,
                    generator=generator,
                )
                padded = _transform(reflect_pad(masked, padding), symmetry)
            out = torch.empty_like(padded)
            done = 0
            while True:
                tile = _tile_shape(ndim, padded.shape[2:], pixels)
                pieces = list(_pieces(padded.shape[2:], self.network, tile))
                try:
                    for place, piece in enumerate(pieces):
                        self._apply(padded, out, piece)
                        done = place + 1
                        yield (number + done / len(pieces)) / len(passes)
                    break
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    if (len(pieces) > 1 and pixels <= MIN_TILE**2) or _whole(self.network):
                        raise OutOfMemoryError(
                            f"The {self.device.type} ran out of memory on an image of "
                            f"{'×'.join(map(str, shape))} pixels even in the smallest tiles: close "
                            f"other programs, or use the device 'cpu'."
                        ) from error
                    pixels = min(pixels, math.prod(padded.shape[-2:])) // 2
            result = _restore(out, symmetry)[inner]
            if subset is None or labels is None:
                total += result
                weight += 1
            else:
                total += torch.where(goal, result, 0.0)
                weight += goal
        yield (total / weight.clamp(min=1))[0].cpu().numpy()

    @torch.inference_mode()
    def _apply(self, padded: Tensor, out: Tensor, piece: Piece) -> None:
        part = padded[_spatial(piece.read)].contiguous(
            memory_format=torch.channels_last if padded.ndim == 4 else torch.contiguous_format
        )
        multiple = getattr(self.network, "multiple", None)
        if multiple is None:
            multiple = [STRANGER_MULTIPLE if n >= STRANGER_MULTIPLE else 1 for n in part.shape[2:]]
        padded_part = pad_to_multiple(part, multiple)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            result = self.network(padded_part)
        out[_spatial(piece.write)] = result.float()[_spatial(piece.keep)]


def _spatial(parts: Iterable[slice]) -> tuple[Any, ...]:
    """An index of the spatial axes of a batch."""
    return (..., *parts)


def _whole(network: nn.Module) -> bool:
    return getattr(network, "halo", None) is None or getattr(network, "multiple", None) is None


def predict_frames(
    apply: Callable[[Frame], Iterator[float | NDArray[np.float32]]],
    image: Any,
    layout: Layout,
    normalisation: Normalisation,
    control: Control,
    out: NDArray[np.float32] | None = None,
) -> Generator[PredictionEvent, None, tuple[NDArray[np.float32], bool]]:
    """Denoise the frames of an array one by one, the frame in view first.

    Parameters
    ----------
    apply : callable
        Turns a `Frame` into what `Predictor.single_pass` yields.
    image : array of the shape of `layout`
    layout : Layout
    normalisation : Normalisation
    control : Control
    out : ndarray of float32, optional
        Where the frames go; by default a new array, NaN where nothing has
        been written.

    Yields
    ------
    event : PredictionEvent

    Returns
    -------
    denoised : ndarray of float32
    complete : bool
        False if it was stopped before.
    """
    if out is None:
        out = np.full(layout.shape, np.nan, np.float32)
    began = last = time.monotonic()
    # At once, so that who listens knows which phase a stop would end.
    yield _prediction_event(began, 0.0)
    # The frame in view first.
    order = sorted(range(layout.frames), key=lambda frame: frame != control.preview_frame)
    for number, frame in enumerate(order):
        source = Frame.of(image, layout, normalisation, frame)
        fraction = 0.0
        for part in apply(source):
            while control.paused:
                control.wait_while_paused(INTERVAL)
                yield _prediction_event(began, (number + fraction) / len(order))
            if control.stopped:
                return out, False
            if isinstance(part, np.ndarray):
                layout.write(out, frame, source.restore(part))
                yield _prediction_event(began, (number + 1) / len(order), frame)
                last = time.monotonic()
                continue
            fraction = part
            if time.monotonic() - last >= INTERVAL:
                yield _prediction_event(began, (number + fraction) / len(order))
                last = time.monotonic()
    return out, True


def _prediction_event(began: float, fraction: float, frame: int | None = None) -> PredictionEvent:
    seconds = time.monotonic() - began
    left = seconds * (1 - fraction) / fraction if fraction else math.nan
    return PredictionEvent(fraction, seconds, left, frame)
