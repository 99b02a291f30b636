"""A plain description of an image: its array, and what the axes of the array mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout

# Letters for axes that have no name; they count frames.
UNNAMED = "QUWJKGDON"

# How files and napari write units, and the symbol that OME has for each.
_SYMBOLS = {
    "m": ("meter", "metre"),
    "cm": ("centimeter", "centimetre"),
    "mm": ("millimeter", "millimetre"),
    "µm": ("micrometer", "micrometre", "micron", "microns", "um", "\u03bcm", "\\u00b5m"),
    "nm": ("nanometer", "nanometre"),
    "Å": ("angstrom", "\u212b"),
    "in": ("inch",),
    "min": ("minute",),
    "s": ("sec", "second", "seconds"),
    "ms": ("msec", "millisecond"),
    "µs": ("microsecond", "us", "\u03bcs"),
    "h": ("hour", "hr"),
}
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


def unnamed_axes(count: int) -> str:
    """Letters for `count` leading axes of which nothing is known."""
    return UNNAMED[:count][::-1]


@dataclass(frozen=True)
class Stack:
    """An image and what its axes mean.

    Parameters
    ----------
    data : array-like
        Anything with a shape and a dtype that can be indexed: numpy, dask.
    axes : str
        One letter per axis, as in "TCZYX"; S for the samples of RGB, Q and
        other letters for axes without a name.
    scale : sequence of float or None, optional
        Distance between two pixels per axis; None where it is unknown.
    units : sequence of str or None, optional
        Unit of the scale per axis; None where it is unknown.
    name : str
    channel_names : sequence of str, optional
        One per channel along C; one if there is no such axis.
    notices : tuple of str
        What the reader of the file should know, such as parts left out.

    Raises
    ------
    InputError
        If the axes, the scale or the names do not fit the array.
    """

    data: Any
    axes: str
    scale: tuple[float | None, ...] | None = None
    units: tuple[str | None, ...] | None = None
    name: str = "image"
    channel_names: tuple[str, ...] | None = None
    notices: tuple[str, ...] = ()

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
        if self.channel_names is not None:
            names = tuple(self.channel_names)
            count = layout.size("C") if "C" in layout.axes else 1
            if len(names) != count:
                raise InputError(f"There are {len(names)} channel names for {count} channels.")
            object.__setattr__(self, "channel_names", names)

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

    def with_axes(self, axes: str) -> Stack:
        """The same array with other letters.

        Parameters
        ----------
        axes : str
            One letter per axis.

        Returns
        -------
        stack : Stack
            An axis that keeps its letter keeps its scale; another one has
            none, because a distance along Z says nothing about time.
        """
        axes = Layout.of(self.shape, axes).axes
        sizes = [
            self.size(new) if new == old else None for new, old in zip(axes, self.axes, strict=True)
        ]
        keeps_channels = ("C" in axes) == ("C" in self.axes) and (
            "C" not in axes or axes.index("C") == self.axes.index("C")
        )
        return replace(
            self,
            axes=axes,
            scale=tuple(size and size[0] for size in sizes),
            units=tuple(size and size[1] for size in sizes),
            channel_names=self.channel_names if keeps_channels else None,
        )
