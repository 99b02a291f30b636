"""Applying a network: in tiles, single pass or J-invariant, averaged over flips.

A frame is continued by reflection until its sides are multiples of the
network's own stride, so that flips keep the phase of its pooling.  A window of
it begins at such a multiple and is read with a margin that covers all the
network can see; so it is predicted by itself as it is in the whole frame, and
the same holds for the tiles that a window is predicted in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.coordinates import coordinates, hashed
from napari_noise2self.engine.errors import OutOfMemoryError
from napari_noise2self.engine.events import Notice
from napari_noise2self.engine.hardware import (
    is_out_of_memory,
    release_memory,
)
from napari_noise2self.engine.masking import masked_input, needs_generator, reflect_pad
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.windows import BAD_REACH, Box, Place, Reach, parted, sides

# Reflected pixels around a frame, at least: the network has seen crops end without them.
PADDING = 16
# Pixels of a tile without its margin.  On a CPU the features of more would no longer lie
# together in its caches; in a volume the margins of fewer would cost more than that.
TILE_PIXELS = 2**20
TILE_PIXELS_ON_CPU = {2: 2**18, 3: 2**21}
MIN_TILE = 64
# The sides of what a network is applied to that does not tell its own `multiple`.
STRANGER_MULTIPLE = 16
# The largest blocks that a replacement is taken from where all around is hidden, at least.
FURTHEST = (4, 32, 32)

# What applying a network yields: the share of the work that is done, or a sentence for the
# user; last, the result.
Part = float | Notice | NDArray[np.float32]

# The symmetries of the square: whether to exchange Y and X, and which axes to flip.
Symmetry = tuple[bool, tuple[int, ...]]
IDENTITY: Symmetry = (False, ())


@dataclass(frozen=True)
class Piece:
    """One tile of a padded window."""

    read: Box  # from the padded window
    keep: Box  # of what was read
    goal: Box  # in the padded window


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


@dataclass(frozen=True)
class Geometry:
    """What a network tells about its reach, the same along Y and X where they are exchanged.

    Attributes
    ----------
    multiple : tuple of int
        Sides of what it is applied to are multiples of it.
    halo : tuple of int or None
        How far it looks; None if it has to see whole frames.
    """

    multiple: tuple[int, ...]
    halo: tuple[int, ...] | None

    @classmethod
    def of(cls, network: nn.Module, frame: Sequence[int], turned: bool) -> Geometry:
        """That of a network applied to frames of a spatial shape, some of them turned."""
        halo: tuple[int, ...] | None = getattr(network, "halo", None)
        multiple: tuple[int, ...] | None = getattr(network, "multiple", None)
        if multiple is None:
            halo, m = None, STRANGER_MULTIPLE
            multiple = (*(m if n >= m else 1 for n in frame[:-2]), m, m)
        if turned:
            multiple = (*multiple[:-2], *[math.lcm(*multiple[-2:])] * 2)
            halo = halo and (*halo[:-2], *[max(halo[-2:])] * 2)
        return cls(multiple, halo)

    def padding(self, place: Place) -> tuple[list[int], list[int]]:
        """Reflected pixels before and after a window, per axis."""
        before, after = [], []
        for axis, (part, n, m) in enumerate(
            zip(place.read, place.frame, self.multiple, strict=True)
        ):
            least = _continued(len(place.frame), axis)
            first = -(-least // m) * m
            before.append(first if part.start == 0 else 0)
            after.append(least + -(first + n + least) % m if part.stop == n else 0)
        return before, after

    def pieces(self, goal: Box, shape: Sequence[int], pixels: int) -> list[Piece]:
        """The tiles that make up a part of a padded window of a spatial shape."""
        whole = tuple(slice(0, n) for n in shape)
        if self.halo is None:
            return [Piece(whole, goal, goal)]
        extent = [part.stop - part.start for part in goal]
        result = []
        for part in parted(goal, sides(extent, self.halo, pixels), self.multiple):
            place = Place.around(part, shape, Reach(self.halo, self.multiple))
            result.append(Piece(place.read, place.keep, part))
        return result


def _continued(ndim: int, axis: int) -> int:
    """Reflected pixels that an axis has at its ends, at least; Z none, because stacks are thin."""
    return 0 if ndim == 3 and axis == 0 else PADDING


def furthest(extents: Sequence[int]) -> tuple[int, ...]:
    """The largest blocks that a replacement is taken from: powers of two, a few extents wide."""
    return tuple(
        max(least, 2 ** math.ceil(math.log2(4 * extent))) if extent > 1 else least
        for least, extent in zip(FURTHEST[-len(extents) :], extents, strict=True)
    )


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
    in_slice : bool
        As for `replacement_reach`, as in training.
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
        tile_pixels: int | None = None,
        replacement: Replacement = "mean",
        in_slice: bool = True,
    ) -> None:
        self.network = network
        self.partition = partition
        self.device = device
        self.symmetries = symmetries(averaging, turn)
        self.dtype = dtype
        self.tile_pixels = tile_pixels
        self.replacement = replacement
        self.in_slice = in_slice

    def geometry(self, frame: Sequence[int]) -> Geometry:
        """The geometry of the network on frames of a spatial shape."""
        turned = any(turned for turned, _ in self.symmetries)
        return Geometry.of(self.network, frame, turned)

    def reach(self, frame: Sequence[int], masked: bool) -> Reach | None:
        """How far a prediction looks in frames of a spatial shape.

        Parameters
        ----------
        frame : sequence of int
        masked : bool
            Whether pixels are hidden, so that others take their place.

        Returns
        -------
        reach : Reach or None
            None if the network has to see whole frames.
        """
        geometry = self.geometry(frame)
        if geometry.halo is None:
            return None
        margin, step = [], []
        extents = self.partition.extents(len(frame))
        lines = zip(geometry.halo, geometry.multiple, extents, furthest(extents), strict=True)
        for axis, (halo, multiple, extent, block) in enumerate(lines):
            look = halo + BAD_REACH
            if masked:
                look += extent + 1 + block
            # What is reflected at the end of a frame has to be in the window, too.
            margin.append(max(look, _continued(len(frame), axis) + multiple))
            step.append(math.lcm(multiple, block) if masked else multiple)
        return Reach(tuple(margin), tuple(step))

    def single_pass(self, frame: NDArray[np.float32], place: Place | None = None) -> Iterator[Part]:
        """Apply the network to the frame as it is.

        Parameters
        ----------
        frame : ndarray of float32, shape (channels, [Z,] Y, X)
            Normalised.
        place : Place, optional
            Where `frame` lies, if it is a window of a larger frame: at least
            `reach` around what is to be predicted.

        Yields
        ------
        part : float, Notice or ndarray
            The share of the work done after each piece; last, the result.
        """
        passes = [(None, symmetry) for symmetry in self.symmetries]
        yield from self._run(frame, passes, place=place)

    def j_invariant(
        self,
        frame: NDArray[np.float32],
        valid: NDArray[np.bool_] | None = None,
        place: Place | None = None,
    ) -> Iterator[Part]:
        """Predict each subset of the partition from the others (eq. 3 of the paper).

        Parameters
        ----------
        frame : ndarray of float32, shape (channels, [Z,] Y, X)
        valid : ndarray of bool, same shape, optional
            False where a value was made up from its neighbours: it is hidden
            always, because it would tell of them.
        place : Place, optional
            As for `single_pass`.

        Yields
        ------
        part
            As `single_pass`.
        """
        subsets = range(self.partition.subset_count(frame.ndim - 1))
        passes = [p for k in subsets for p in self._passes(k)]
        yield from self._run(frame, passes, valid, place)

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
        *_, result = self._run(frame, self._passes(subset), valid, origin=origin)
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
        place: Place | None = None,
        origin: Sequence[int] | None = None,
    ) -> Iterator[Part]:
        shape = frame.shape[1:]
        place = place or Place.whole(shape)
        geometry = self.geometry(place.frame)
        x = torch.from_numpy(np.ascontiguousarray(frame)).to(self.device)[None]
        labels = invalid = None
        if passes[0][0] is not None:
            first = place.origin if origin is None else origin
            labels = torch.from_numpy(self.partition.labels(shape, first)).to(self.device)
            if valid is not None and not valid.all():
                invalid = torch.from_numpy(~valid).to(self.device)[None]
        before, after = geometry.padding(place)
        goal = tuple(
            slice(part.start + b, part.stop + b) for part, b in zip(place.keep, before, strict=True)
        )
        kept = [part.stop - part.start for part in goal]
        total = x.new_zeros((1, len(frame), *kept))
        weight = x.new_zeros((1, 1, *kept)) if labels is not None else None
        padded = aim = None
        hidden: int | None = None
        for number, (subset, symmetry) in enumerate(passes):
            if labels is None or subset is None:
                padded = reflect_pad(x, before, after) if padded is None else padded
            elif padded is None or subset != hidden or needs_generator(self.replacement):
                targets = (labels == subset)[None, None]
                aim, hidden = targets[_spatial(place.keep)], subset
                # The same for every window and in every process, so that results agree.
                numbers = self._numbers(x, number, place.origin)
                masked = masked_input(
                    x,
                    targets,
                    self.partition,
                    self.replacement,
                    invalid=invalid,
                    numbers=numbers,
                    furthest=furthest(self.partition.extents(len(shape))),
                    in_slice=self.in_slice,
                )
                padded = reflect_pad(masked, before, after)
            done = 0
            for tile in self._tiles(padded, geometry, goal, symmetry, place):
                if isinstance(tile, Notice):
                    yield tile
                    continue
                piece, result = tile
                here = _spatial(
                    slice(part.start - g.start, part.stop - g.start)
                    for part, g in zip(piece.goal, goal, strict=True)
                )
                total[here] += result if aim is None else torch.where(aim[here], result, 0.0)
                done += math.prod(part.stop - part.start for part in piece.goal)
                yield (number + done / math.prod(kept)) / len(passes)
            if weight is not None and aim is not None:
                weight += aim
        count = len(passes) if weight is None else weight.clamp(min=1)
        yield (total / count)[0].cpu().numpy()

    def _numbers(self, x: Tensor, number: int, origin: Sequence[int]) -> Tensor | None:
        """Random numbers for a replacement by chance, by the place of each pixel in its frame."""
        if not needs_generator(self.replacement):
            return None
        lines = coordinates(x.shape[2:], origin)
        below = 2**24
        drawn = [hashed(lines, number, channel, below) for channel in range(x.shape[1])]
        return torch.from_numpy(np.stack(drawn)).to(self.device)[None].to(x.dtype) / below

    def _tiles(
        self, padded: Tensor, geometry: Geometry, goal: Box, symmetry: Symmetry, place: Place
    ) -> Iterator[tuple[Piece, Tensor] | Notice]:
        """The prediction of a part of a padded window, tile by tile, of smaller ones if need be."""
        ndim = len(goal)
        if self.tile_pixels is None:
            on_cpu = self.device.type == "cpu"
            self.tile_pixels = TILE_PIXELS_ON_CPU[ndim] if on_cpu else TILE_PIXELS
        pending = deque(geometry.pieces(goal, padded.shape[2:], self.tile_pixels))
        while pending:
            piece = pending.popleft()
            result = None
            try:
                result = self._apply(padded, piece, symmetry)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                size = math.prod(part.stop - part.start for part in piece.goal)
                if size <= MIN_TILE**2 or geometry.halo is None:
                    raise OutOfMemoryError(
                        f"The {self.device.type} ran out of memory on an image of "
                        f"{'×'.join(map(str, place.frame))} pixels even in the smallest tiles: "
                        f"close other programs, or use the device 'cpu'."
                    ) from error
                self.tile_pixels = min(self.tile_pixels, size) // 2
                pending = deque(
                    smaller
                    for large in (piece, *pending)
                    for smaller in geometry.pieces(large.goal, padded.shape[2:], self.tile_pixels)
                )
            if result is not None:
                yield piece, result
                continue
            # Outside of the handler, whose error holds what was allocated.
            release_memory()
            yield Notice(
                f"The memory of the {self.device.type} was not enough: the image is denoised in "
                f"smaller tiles, of about {self.tile_pixels} pixels, which takes longer."
            )

    @torch.inference_mode()
    def _apply(self, padded: Tensor, piece: Piece, symmetry: Symmetry) -> Tensor:
        part = _transform(padded[_spatial(piece.read)], symmetry).contiguous(
            memory_format=torch.channels_last if padded.ndim == 4 else torch.contiguous_format
        )
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            result = self.network(part)
        restored: Tensor = _restore(result.float(), symmetry)[_spatial(piece.keep)]
        return restored


def _spatial(parts: Iterable[slice]) -> tuple[Any, ...]:
    """An index of the spatial axes of a batch."""
    return (..., *parts)
