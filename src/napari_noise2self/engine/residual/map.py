"""Where in an image its residual is not noise alone: coarse maps of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Pixels of the image along each side of a pixel of the maps.
CELL = 8
# Width of the Gaussian window that local means are taken with.
_WINDOW = 8.0
# Larger frames are not read as a whole.
MOST_PIXELS = 2**24
_STRIP = 1024
# How far filters and windows reach.
_HALO = 48

Map = NDArray[np.float32]


@dataclass(frozen=True)
class ResidualMap:
    """Local properties of the residual, averaged over a window about 16 pixels wide.

    Attributes
    ----------
    frame : int
        Of the layout in which Z counts frames.
    variance : ndarray of float32, shape (channels, rows, columns)
        Variance of the residual over that of the noise: 1 is noise alone.
    structure : ndarray, same shape
        The same of what is 1 to 4 pixels wide; above 1 it is image, below 1
        noise that stayed in the denoised image.
    correlation : ndarray, same shape
        Correlation of neighbouring pixels, the mean of that along y and along x.
    """

    frame: int
    variance: Map
    structure: Map
    correlation: Map


def local_maps(standard: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Variance, structure and correlation of a standardised residual (y, x).

    Parameters
    ----------
    standard : ndarray of float32, shape (y, x)
        Divided by the deviation of the noise; 0 where nothing is known.
    share : float
        Variance of the noise in the bands from 1 to 4 pixels, for a variance of 1.

    Returns
    -------
    maps : ndarray, shape (3, ceil(y / 8), ceil(x / 8))
    """
    height = standard.shape[0]
    parts = []
    for start in range(0, height, _STRIP):
        low, high = max(start - _HALO, 0), min(start + _STRIP + _HALO, height)
        values = standard[low:high]
        middle = _smooth(values, 1.0) - _smooth(values, 4.0)
        products = 0.5 * values * (_neighbours(values, 0) + _neighbours(values, 1))
        variance, structure, product = (
            _smooth(v, _WINDOW) for v in (np.square(values), np.square(middle), products)
        )
        rows = slice(start - low, min(start + _STRIP, height) - low)
        parts.append(
            np.stack(
                [_cells(variance[rows]), _cells(structure[rows]) / share, _cells(product[rows])]
            )
        )
    maps = np.concatenate(parts, axis=1)
    maps[2] /= np.maximum(maps[0], 1e-6)
    return maps.astype(np.float32)


def _smooth(values: NDArray[Any], width: float) -> NDArray[Any]:
    return np.asarray(ndimage.gaussian_filter(values, width, mode="reflect", truncate=3))


def _neighbours(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """The mean of the two neighbours along an axis."""
    padded = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
    size = values.shape[axis]
    before, after = (np.take(padded, np.arange(s, s + size), axis=axis) for s in (0, 2))
    return np.asarray(0.5 * (before + after))


def _cells(values: NDArray[Any]) -> NDArray[Any]:
    """Means over cells; those at the end may be smaller."""
    for axis in (0, 1):
        edges = np.arange(0, values.shape[axis], CELL)
        counts = np.diff([*edges, values.shape[axis]])
        shape = (-1, 1) if axis == 0 else (1, -1)
        values = np.add.reduceat(values, edges, axis=axis) / counts.reshape(shape)
    return values
