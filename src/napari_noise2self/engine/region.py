"""A part of an image to learn from: ranges along some of its axes."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.arrays import read_part
from napari_noise2self.engine.errors import InputError, counted
from napari_noise2self.engine.layout import CHANNEL_AXES, MIN_SIDE, Layout

# Per letter of an axis, a slice with a step of 1, or where it starts and stops.
Region = Mapping[str, slice | Sequence[int]]

_SINGLE = re.compile(r"([a-zA-Z])\s*=\s*(-?\d+)")
_RANGE = re.compile(r"\s*([a-zA-Z])\s*=\s*(-?\d*)\s*:\s*(-?\d*)\s*")


@dataclass(frozen=True)
class Part:
    """A part of an array, which can be indexed as an array of its own.

    Nothing is read until it is indexed, and then nothing outside.

    Attributes
    ----------
    image : array
    window : tuple of slice
        One per axis, its ends spelled out.
    """

    image: Any
    window: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the part."""
        return tuple(part.stop - part.start for part in self.window)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.window)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the array."""
        dtype: np.dtype[Any] = np.dtype(self.image.dtype)
        return dtype

    @property
    def start(self) -> tuple[int, ...]:
        """Where it begins in the array."""
        return tuple(part.start for part in self.window)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """What lies at integers and slices with a step of 1."""
        given = list(index) if isinstance(index, tuple) else [index]
        given += [slice(None)] * (self.ndim - len(given))
        moved: list[int | slice] = []
        for at, part, n in zip(given, self.window, self.shape, strict=True):
            if isinstance(at, slice):
                first, last, _ = at.indices(n)
                moved.append(slice(part.start + first, part.start + last))
            else:
                moved.append(part.start + operator.index(at) % n)
        return read_part(self.image, tuple(moved))


def part_of(image: Any, layout: Layout, region: Region | None) -> tuple[Any, Layout]:
    """The part of an image that a region names, and its layout; all of it without one.

    Parameters
    ----------
    image : array of the shape of `layout`
    layout : Layout
    region : mapping of str to slice or (int, int), optional

    Raises
    ------
    InputError
        If it names an axis that is not there, or channels, or nothing of the image.
    """
    if not region:
        return image, layout
    if not isinstance(region, Mapping):
        raise InputError(
            f"The region was {region!r}: name axes and their ranges, such as "
            f"{{'Y': (0, 512), 'X': (0, 512)}}."
        )
    window = [slice(0, n) for n in layout.shape]
    for letter, given in region.items():
        axis = layout.axes.find(str(letter).upper()) if len(str(letter)) == 1 else -1
        if axis < 0:
            raise InputError(
                f"The region names the axis {letter!r}, and the image has {layout.axes}: name "
                f"axes of the image, such as Y and X."
            )
        if layout.axes[axis] in CHANNEL_AXES:
            raise InputError(
                f"The region names the axis {letter!r}, but all of the channels are needed: leave "
                f"it out, and take channels out of the image itself."
            )
        chosen = _range(str(letter), given, layout.shape[axis])
        if layout.axes[axis] in "YX" and chosen.stop - chosen.start < MIN_SIDE:
            raise InputError(
                f"The region has only {counted(chosen.stop - chosen.start, 'pixel')} along "
                f"{letter}: at least {MIN_SIDE} are needed to learn from."
            )
        window[axis] = chosen
    part = Part(image, tuple(window))
    return part, layout.with_shape(part.shape)


def _range(letter: str, given: Any, size: int) -> slice:
    """A range along an axis, its ends spelled out."""
    words = f"The region along {letter} was {_words(given)}"
    try:
        if not isinstance(given, slice):
            first, last = given
            given = slice(first, last)
        ends = [end for end in (given.start, given.stop) if end is not None]
        whole = all(isinstance(end, SupportsIndex) for end in ends)
        if not whole or given.step not in (None, 1):
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(
            f"{words}: give a slice without a step, or two whole numbers, where it starts and "
            f"where it stops."
        ) from None
    start, stop = (
        default if end is None else operator.index(end) + (size if end < 0 else 0)
        for end, default in ((given.start, 0), (given.stop, size))
    )
    if start < 0 or stop > size or start >= size:
        raise InputError(
            f"{words}, which lies outside of the {size} there are: stay between 0 and {size}."
        )
    if start >= stop:
        raise InputError(f"{words}, in which there is nothing: it has to stop after it starts.")
    return slice(start, stop)


def _words(given: Any) -> str:
    if isinstance(given, slice):
        ends = ("" if end is None else str(end) for end in (given.start, given.stop))
        return ":".join(ends) + ("" if given.step is None else f":{given.step}")
    return repr(given)


def region_from(text: str) -> dict[str, slice]:
    """A region as it is written in a terminal, such as "Y=0:512,X=0:512,T=:10".

    Raises
    ------
    InputError
        If it is written otherwise.
    """
    region: dict[str, slice] = {}
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or match[1].upper() in region:
            raise InputError(
                f"The region was {text!r}{_fault(part, region)}: write ranges of axes, each once, "
                f"such as Y=0:512,X=0:512,T=0:10."
            )
        start, stop = (int(end) if end.lstrip("-") else None for end in match.groups()[1:])
        region[match[1].upper()] = slice(start, stop)
    return region


def _fault(part: str, before: Mapping[str, Any]) -> str:
    """What is wrong with one of the ranges that were written."""
    part = part.strip()
    single = _SINGLE.fullmatch(part)
    if single is not None:
        letter, number = single[1], int(single[2])
        stop = "" if number == -1 else number + 1
        return f", and {part!r} lacks its colon ({letter}={number}:{stop} is that one alone)"
    match = _RANGE.fullmatch(part)
    if match is not None and match[1].upper() in before:
        return f", which names {match[1].upper()} twice"
    return f", in which {part!r} is no range" if part else ", in which a range is missing"


def described(layout: Layout, image: Any) -> dict[str, list[int]] | None:
    """The ranges of a part of an image, ready for JSON; None for all of one."""
    if not isinstance(image, Part):
        return None
    return {
        letter: [int(part.start), int(part.stop)]
        for letter, part, n in zip(layout.axes, image.window, image.image.shape, strict=True)
        if (part.start, part.stop) != (0, n)
    }
