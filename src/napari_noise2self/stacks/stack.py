"""A plain description of an image: its array, and what the axes of the array mean."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from napari_noise2self.engine.arrays import is_dask
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.axes import UNNAMED as UNNAMED
from napari_noise2self.stacks.axes import Axes, checked

if TYPE_CHECKING:
    import dask.array as da

# How files and napari write units, and the symbol that OME has for each.
_SYMBOLS = {
    "m": ("meter", "metre"),
    "cm": ("centimeter", "centimetre"),
    "mm": ("millimeter", "millimetre"),
    "µm": ("micrometer", "micrometre", "micron", "microns", "um", "\u03bcm", "\\u00b5m"),
    "nm": ("nanometer", "nanometre"),
    "Å": ("angstrom", "\u212b"),
    "pm": ("picometer", "picometre"),
    "in": ("inch",),
    "d": ("day",),
    "min": ("minute",),
    "s": ("sec", "second", "seconds"),
    "ms": ("msec", "millisecond"),
    "µs": ("microsecond", "us", "\u03bcs"),
    "ns": ("nanosecond",),
    "h": ("hour", "hr"),
}
_COLOUR = re.compile(r"#?([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?")
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_SYMBOL_OF = {name: symbol for symbol, names in _SYMBOLS.items() for name in (symbol, *names)}


def unit_symbol(unit: str | None) -> str | None:
    """The symbol of a unit as OME writes it.

    Parameters
    ----------
    unit : str or None
        Such as "micron", "micrometer" or "µm".

    Returns
    -------
    symbol : str or None
        Such as "µm"; an unknown unit as it was given; None for pixels, which
        are no unit of length.
    """
    if unit is None or unit.strip().lower() in ("", "pixel", "pixels", "px", "dimensionless"):
        return None
    unit = unit.strip()
    return _SYMBOL_OF.get(unit) or _SYMBOL_OF.get(unit.lower(), unit)


def _text(name: str) -> str:
    """A name without what files cannot hold: control characters, and bytes that are no text."""
    return _UNWRITABLE.sub("", name.encode("utf-8", "replace").decode())


def colour_code(colour: str) -> str:
    """A colour as "#rrggbb".

    Parameters
    ----------
    colour : str
        Hexadecimal, with or without "#" in front and opacity behind.

    Raises
    ------
    InputError
        If it is none.
    """
    match = _COLOUR.fullmatch(colour.strip())
    if match is None:
        raise InputError(f"{colour!r} is no colour: write it as in '#00ff00'.")
    return f"#{match[1].lower()}"


@dataclass(frozen=True)
class Stack:
    """An image and what its axes mean.

    Parameters
    ----------
    data : array-like
        Anything with a shape and a dtype that can be indexed with whole
        numbers and slices: numpy, dask, or an image on disk that is read
        where it is indexed.
    axes : str
        One letter per axis, as in "TCZYX"; S for the samples of RGB, Q and
        other letters for axes without a name.
    scale : sequence of float or None, optional
        Distance between two pixels per axis; None where it is unknown.
    units : sequence of str or None, optional
        Unit of the scale per axis; None where it is unknown.  Of time, scale
        and unit are the time between two frames.
    name : str
    channel_names : sequence of str, optional
        One per channel along C; one if there is no such axis.
    notices : tuple of str
        What the reader of the file should know, such as parts left out.
    channel_colors : sequence of str, optional
        The display colour of each channel, such as "#00ff00".
    translate : sequence of float or None, optional
        Where the first pixel lies, in the unit of each axis.
    guessed : str
        Those of the letters in `axes` that nobody told: see `axes_words`.
    axes_source : str
        Who told the others, such as "the OME metadata".

    Raises
    ------
    InputError
        If the axes, the scale, the names or the colours do not fit the array.
    """

    data: Any
    axes: str
    scale: tuple[float | None, ...] | None = None
    units: tuple[str | None, ...] | None = None
    name: str = "image"
    channel_names: tuple[str, ...] | None = None
    notices: tuple[str, ...] = ()
    channel_colors: tuple[str, ...] | None = None
    translate: tuple[float | None, ...] | None = None
    guessed: str = ""
    axes_source: str = ""

    def __post_init__(self) -> None:
        layout = Layout.of(self.data.shape, self.axes)
        ndim = len(layout.shape)
        scale = self._one_per_axis(self.scale, ndim, "scale")
        units = self._one_per_axis(self.units, ndim, "units")
        if any(size is not None and not (math.isfinite(size) and size > 0) for size in scale):
            raise InputError(f"The scale {scale} must be made of numbers above 0.")
        # Frozen: sequences become tuples, letters capitals, units symbols.
        object.__setattr__(self, "axes", layout.axes)
        object.__setattr__(
            self, "scale", tuple(None if size is None else float(size) for size in scale)
        )
        object.__setattr__(self, "units", tuple(unit_symbol(unit) for unit in units))
        object.__setattr__(self, "name", _text(self.name))
        if self.channel_names is not None:
            names = tuple(_text(name) for name in self.channel_names)
            object.__setattr__(self, "channel_names", names)
        if self.translate is not None:
            places = self._one_per_axis(self.translate, ndim, "translation")
            if any(place is not None and not math.isfinite(place) for place in places):
                raise InputError(f"The translation {places} must be made of finite numbers.")
            places = tuple(None if place is None else float(place) for place in places)
            object.__setattr__(self, "translate", places)
        count = layout.size("C") if "C" in layout.axes else 1
        for field, what in (("channel_names", "names"), ("channel_colors", "colours")):
            values = getattr(self, field)
            if values is None:
                continue
            if len(values) != count:
                raise InputError(f"There are {len(values)} channel {what} for {count} channels.")
            object.__setattr__(self, field, tuple(values))
        if self.channel_colors is not None:
            colours = tuple(colour_code(colour) for colour in self.channel_colors)
            object.__setattr__(self, "channel_colors", colours)

    @staticmethod
    def _one_per_axis(values: Sequence[Any] | None, ndim: int, what: str) -> tuple[Any, ...]:
        if values is None:
            return (None,) * ndim
        if len(values) != ndim:
            raise InputError(
                f"The {what} {tuple(values)} must have one entry for each of {ndim} axes."
            )
        return tuple(values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def dtype(self) -> Any:
        """Type of the pixels."""
        return self.data.dtype

    def size(self, letter: str) -> tuple[float, str | None] | None:
        """Distance between two pixels along the axis `letter` and its unit, if known."""
        if self.scale is None or self.units is None or letter not in self.axes:
            return None
        axis = self.axes.index(letter)
        size = self.scale[axis]
        return None if size is None else (size, self.units[axis])

    @property
    def axes_words(self) -> str:
        """One sentence: what the axes are, and whether they were told or guessed."""
        return self._known.words(self.shape)

    @property
    def _known(self) -> Axes:
        return Axes(self.axes, self.guessed, self.axes_source)

    def with_axes(self, axes: str) -> Stack:
        """The same array with other letters.

        Parameters
        ----------
        axes : str
            One letter per axis; capitals or not, with or without spaces.

        Returns
        -------
        stack : Stack
            An axis that keeps its letter keeps its scale; another one has
            none, because a distance along Z says nothing about time.
        """
        axes = checked(axes, self.shape)
        guess = self._known.notice(self.shape)
        sizes = [
            self.size(new) if new == old else None for new, old in zip(axes, self.axes, strict=True)
        ]
        keeps_channels = ("C" in axes) == ("C" in self.axes) and (
            "C" not in axes or axes.index("C") == self.axes.index("C")
        )
        places = self.translate
        if places is not None:
            kept = [new == old for new, old in zip(axes, self.axes, strict=True)]
            places = tuple(p if k else None for p, k in zip(places, kept, strict=True))
        return replace(
            self,
            axes=axes,
            scale=tuple(size and size[0] for size in sizes),
            units=tuple(size and size[1] for size in sizes),
            channel_names=self.channel_names if keeps_channels else None,
            channel_colors=self.channel_colors if keeps_channels else None,
            translate=places,
            notices=tuple(notice for notice in self.notices if notice != guess),
            guessed="",
            axes_source="the user",
        )


def as_dask(stack: Stack) -> da.Array:
    """The array of a stack as a dask array, cut where it is cut on disk.

    Parameters
    ----------
    stack : Stack

    Returns
    -------
    array : dask.array.Array
        Nothing is read before it is computed; one chunk reads one chunk or plane.
    """
    import dask.array as da
    import numpy as np

    data = stack.data
    if is_dask(data):
        return cast("da.Array", data)
    chunks = getattr(data, "chunks", None)
    if chunks is None:
        chunks = tuple(
            n if letter in "YXS" else 1 for n, letter in zip(stack.shape, stack.axes, strict=True)
        )
    meta = np.empty((0,) * len(stack.shape), stack.dtype)
    array = da.from_array(data, chunks, name=False, asarray=True, meta=meta)  # type: ignore[no-untyped-call]
    return cast("da.Array", array)
