"""Lattices and random numbers that follow the coordinates of pixels in the whole image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def coordinates(shape: Sequence[int], origin: Sequence[int] | None) -> list[NDArray[np.int64]]:
    """The coordinates of a tile in the whole image, per axis, ready to broadcast."""
    start = (0,) * len(shape) if origin is None else tuple(origin)
    lines = [
        np.arange(first, first + size, dtype=np.int64)
        for size, first in zip(shape, start, strict=True)
    ]
    return list(np.ix_(*lines))


def lattice(
    lines: Sequence[NDArray[np.int64]],
    widths: Sequence[int],
    phases: Sequence[int],
    share: float,
) -> NDArray[np.bool_]:
    """A lattice so coarse that it has at most a share of the pixels.

    Parameters
    ----------
    lines : sequence of ndarray of int64
        What `coordinates` returns.
    widths : sequence of int
        Its strides are multiples of them.
    phases : sequence of int
        A position of it.
    share : float

    Returns
    -------
    mask : ndarray of bool
    """
    strides = list(widths)
    for axis in itertools.cycle(reversed(range(len(strides)))):
        if math.prod(strides) * share >= 1:
            break
        strides[axis] += widths[axis]
    mask = np.ones([line.size for line in lines], bool)
    for line, stride, phase in zip(lines, strides, phases, strict=True):
        mask &= line % stride == phase
    return mask


# The step of Weyl sequences in 64 bits: 2^64 divided by the golden ratio.
_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014): one bit more or less changes half of all."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def hashed(
    lines: Sequence[NDArray[np.int64]], seed: int, stream: int, below: int
) -> NDArray[np.int32]:
    """A random number for each pixel that depends on its coordinates and the seed alone.

    Parameters
    ----------
    lines : sequence of ndarray of int64
        What `coordinates` returns.
    seed, stream : int
        Another stream of the same seed is independent of it.
    below : int
        The numbers are uniform from 0 to ``below - 1``; at most 2^31.

    Returns
    -------
    numbers : ndarray of int32
    """
    steps = [line.ravel().astype(np.uint64) * _STEP for line in lines]
    numbers = np.empty([step.size for step in steps], np.int32)
    # An array, because numpy warns of the wanted overflow of a scalar.
    start = _mix(_mix(np.array([seed], np.uint64) + _STEP) + np.uint64(stream))
    # Plane by plane: the 64-bit numbers of a whole volume would take too much memory.
    for index in np.ndindex(numbers.shape[:-2]):
        state = start
        for step, i in zip(steps, index, strict=False):
            state = _mix(state + step[i])
        for step in steps[len(index) :]:
            state = _mix(state[..., None] + step)
        numbers[index] = ((state[0] >> np.uint64(32)) * np.uint64(below)) >> np.uint64(32)
    return numbers
