"""Which part of a frame is read to denoise a part of it, so that the parts make the whole.

A window is read with a margin that covers all its prediction looks at, and
begins at a multiple of the steps at which networks and replacements repeat.
It is continued by reflection only where its frame ends.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

# Pixels around a pixel that tell whether it is bad, and what it is filled with.
BAD_REACH = 2

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Reach:
    """How far a prediction looks.

    Attributes
    ----------
    margin : tuple of int
        Beyond the part to predict, in pixels per spatial axis.
    step : tuple of int
        Windows begin and end at multiples of it, or where the frame does.
    """

    margin: tuple[int, ...]
    step: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where a window lies in its frame, and which part of it is wanted.

    Attributes
    ----------
    read : tuple of slice
        The window, in the frame.
    keep : tuple of slice
        The part to predict, in the window.
    frame : tuple of int
        Spatial shape of the frame.
    """

    read: Box
    keep: Box
    frame: tuple[int, ...]

    @classmethod
    def whole(cls, frame: Sequence[int]) -> Place:
        """The window that covers a frame."""
        box = tuple(slice(0, n) for n in frame)
        return cls(box, box, tuple(frame))

    @classmethod
    def around(cls, box: Box, frame: Sequence[int], reach: Reach | None) -> Place:
        """The window needed to predict a part of a frame; all of it where the reach is unknown."""
        if reach is None:
            return cls(tuple(slice(0, n) for n in frame), box, tuple(frame))
        read = []
        for part, n, margin, step in zip(box, frame, reach.margin, reach.step, strict=True):
            start = max(part.start - margin, 0) // step * step
            stop = min(-(-(part.stop + margin) // step) * step, n)
            read.append(slice(start, stop))
        keep = shifted(box, [-part.start for part in read])
        return cls(tuple(read), keep, tuple(frame))

    @property
    def origin(self) -> tuple[int, ...]:
        """Where the window begins in the frame."""
        return tuple(part.start for part in self.read)

    @property
    def box(self) -> Box:
        """The part to predict, in the frame."""
        return shifted(self.keep, self.origin)

    @property
    def pixels(self) -> int:
        """How many pixels are to be predicted."""
        return math.prod(part.stop - part.start for part in self.keep)


def shifted(box: Box, by: Sequence[int]) -> Box:
    """A box moved by so many pixels."""
    return tuple(slice(p.start + b, p.stop + b) for p, b in zip(box, by, strict=True))


def sides(
    shape: Sequence[int],
    halo: Sequence[int],
    pixels: float,
    least: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """The sides of parts of about so many pixels whose margins cost least.

    They are in proportion to the halo, but no longer than the whole, and no
    shorter than `least`.
    """
    result = [1] * len(shape) if least is None else list(least)
    free = set(range(len(result)))
    while free:
        scale = (pixels / math.prod(max(halo[i], 1) for i in free)) ** (1 / len(free))
        wanted = {i: max(halo[i], 1) * scale for i in free}
        bound = {i for i in free if wanted[i] <= result[i]}
        if not bound:
            bound = {i for i in free if wanted[i] >= shape[i]}
            for i in bound:
                result[i] = shape[i]
        if not bound:
            for i in free:
                result[i] = int(wanted[i])
            break
        pixels /= math.prod(result[i] for i in bound)
        free -= bound
    return tuple(result)


def parted(box: Box, most: Sequence[int], step: Sequence[int]) -> list[Box]:
    """A box in parts, in C order: the product of what `cut` makes of each axis."""
    return list(itertools.product(*map(cut, box, most, step)))


def cut(line: slice, most: int, step: int) -> list[slice]:
    """A line in parts of about equal length, at most `most`, cut at multiples of `step`."""
    length = line.stop - line.start
    count = -(-length // max(most, 1))
    cuts = (line.start + length * i // count for i in range(1, count))
    inner = sorted({-(-place // step) * step for place in cuts})
    edges = [line.start, *(place for place in inner if line.start < place < line.stop), line.stop]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
