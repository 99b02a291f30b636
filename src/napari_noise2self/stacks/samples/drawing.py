"""What samples are drawn with: random numbers, clouds, points and lines of light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_noise2self.engine.errors import InputError

Image = NDArray[np.float32]
Floats = NDArray[np.float64]


def generator(shape: Sequence[int], seed: int, ndim: int) -> Generator:
    """The random numbers of a sample.

    Raises
    ------
    InputError
        If the shape is not `ndim` numbers of at least 1.
    """
    if len(shape) != ndim or min(shape) < 1:
        raise InputError(f"The shape {tuple(shape)} must be {ndim} numbers of at least 1.")
    return np.random.default_rng(seed)


def cloud(shape: Sequence[int], size: float | Sequence[float], rng: Generator) -> Image:
    """Smooth noise of unit variance whose blobs have the given size."""
    # Sampled on a torus: no image is too small for its blobs.
    smooth = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), size, mode="wrap")
    return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), np.float32)


def inside(distance: Floats) -> Floats:
    """1 where the distance from an outline is negative, 0 outside, rounded over a few pixels."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance, -30, 30))))


def deposit(light: Image, points: Floats, weights: Floats) -> None:
    """Add points of light between pixels, shared among those around each.

    Parameters
    ----------
    light : ndarray of float32
        Changed in place.
    points : ndarray, shape (light.ndim, count)
        In pixels; what lies outside is not seen.
    weights : ndarray, shape (count,)
    """
    corner = np.floor(points).astype(int)
    part = points - corner
    for offset in np.ndindex(*(2,) * light.ndim):
        index = corner + np.array(offset)[:, None]
        share = np.prod(np.abs(1 - np.array(offset)[:, None] - part), axis=0) * weights
        seen = ((index >= 0) & (index < np.array(light.shape)[:, None])).all(axis=0)
        np.add.at(light, tuple(index[:, seen]), share[seen])


def wander(
    start: Floats,
    heading: Floats,
    count: int,
    stiffness: float,
    rng: Generator,
) -> tuple[Floats, Floats]:
    """Lines that keep their direction for a while, as filaments do.

    Parameters
    ----------
    start : ndarray, shape (2, lines)
        Y and X of where they begin, in pixels.
    heading : ndarray, shape (lines,)
        The angle in which they set out.
    count : int
        Points per line, half a pixel apart.
    stiffness : float
        Pixels over which the direction is kept.
    rng : Generator

    Returns
    -------
    points : ndarray, shape (2, lines, count)
    headings : ndarray, shape (lines, count)
    """
    turns = rng.normal(0, (1 / stiffness) ** 0.5, (heading.size, count))
    # Rounded over a few pixels: no kinks.
    turns = gaussian_filter(turns, (0, 6), mode="nearest")
    headings = heading[:, None] + np.cumsum(turns, axis=1)
    ways = 0.5 * np.cumsum(np.stack([np.sin(headings), np.cos(headings)]), axis=2)
    return start[:, :, None] + ways, headings
