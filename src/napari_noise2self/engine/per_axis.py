"""Whole numbers, one for all axes of an image or one per axis, as a person gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_noise2self.engine.errors import InputError

PerAxis = int | tuple[int, ...]


def per_axis(value: PerAxis, ndim: int, what: str) -> tuple[int, ...]:
    """`value` for each of `ndim` axes; `what` names it in an error.

    Raises
    ------
    InputError
        If it is a tuple of another length.
    """
    if isinstance(value, int):
        return (value,) * ndim
    if len(value) != ndim:
        raise InputError(
            f"The {what} {value} has {len(value)} numbers but the image has {ndim} spatial axes: "
            f"give one number, or one per axis."
        )
    return value


def checked(value: Any, what: str, minimum: int, *, odd: bool = False) -> PerAxis:
    """An integer, or a tuple of integers, each at least `minimum`.

    Raises
    ------
    InputError
        If it is anything else.
    """
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    good = bool(numbers) and all(
        isinstance(n, (int, np.integer))
        and not isinstance(n, bool)
        and n >= minimum
        and (n % 2 == 1 or not odd)
        for n in numbers
    )
    if not good:
        kind = "odd whole numbers" if odd else "whole numbers"
        raise InputError(
            f"The {what} was {value!r}: give one number for all axes or one per axis, "
            f"{kind} of at least {minimum}."
        )
    plain = tuple(int(n) for n in numbers)
    return plain if isinstance(value, (tuple, list)) else plain[0]


def checked_number(value: Any, what: str, minimum: int, maximum: int) -> int:
    """One integer from `minimum` to `maximum`.

    Raises
    ------
    InputError
        If it is anything else.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not minimum <= value <= maximum:
        raise InputError(
            f"The {what} was {value!r}: give one whole number from {minimum} to {maximum}."
        )
    return int(value)
