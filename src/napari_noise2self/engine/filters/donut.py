"""Filters that look at a neighbourhood with a hole where the pixel itself is.

The hole is as wide as the extent of the partition, so every pixel is predicted
blindly at once: the donut of Batson & Royer (2019), figure 1.  With the hole
left out these are the plain filters.  Nothing is mirrored at the borders, since
a mirrored neighbour can be the pixel itself: what lies outside does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# So many neighbours of border pixels are sorted together.
_NEIGHBOURS_AT_ONCE = 2**22


def least_radius(extents: Sequence[int]) -> int:
    """The smallest radius of a ball that reaches out of a hole of full width `extents`."""
    return min(extents) // 2 + 1


def median(image: NDArray[Any], radius: int, extents: Sequence[int] | None = None) -> NDArray[Any]:
    """The median of a disk or a ball, as `scipy.ndimage.median_filter` takes it.

    Of an even number of pixels it is the larger of the two in the middle.

    Parameters
    ----------
    image : ndarray, shape ([Z,] Y, X)
    radius : int
        In pixels.
    extents : sequence of int, optional
        Odd full width per axis of the hole; none by default.

    Returns
    -------
    filtered : ndarray, shape and type of `image`
        With a hole independent of the pixels in it.
    """
    axes = np.ogrid[(slice(-radius, radius + 1),) * image.ndim]
    footprint = sum(axis**2 for axis in axes) <= radius**2
    if extents is not None:
        footprint &= ~_box(axes, extents)
    filtered = ndimage.median_filter(image, footprint=footprint, mode="nearest")
    border = np.ones(image.shape, bool)
    border[tuple(slice(radius, max(n - radius, radius)) for n in image.shape)] = False
    offsets = np.argwhere(footprint) - radius
    everywhere = np.argwhere(border)
    pieces = max(-(-len(everywhere) * len(offsets) // _NEIGHBOURS_AT_ONCE), 1)
    for where in np.array_split(everywhere, pieces):
        filtered[tuple(where.T)] = _median_inside(image, where, offsets)
    return np.asarray(filtered)


def _box(axes: Sequence[NDArray[Any]], extents: Sequence[int]) -> NDArray[np.bool_]:
    inside: Any = True
    for axis, extent in zip(axes, extents, strict=True):
        inside = inside & (abs(axis) <= extent // 2)
    return np.asarray(inside)


def _median_inside(
    image: NDArray[Any], where: NDArray[np.intp], offsets: NDArray[np.intp]
) -> NDArray[Any]:
    """The median of those neighbours that lie inside of the image."""
    index = where[:, None, :] + offsets
    inside = np.all((index >= 0) & (index < image.shape), axis=-1)
    values: NDArray[Any] = image[tuple(np.moveaxis(np.where(inside[..., None], index, 0), -1, 0))]
    ordered = np.sort(np.where(inside, values, np.inf), axis=1)
    # Where the hole leaves nothing, in a corner of a tiny image, any number is blind.
    count = inside.sum(1)
    chosen = np.take_along_axis(ordered, (count // 2)[:, None], 1)[:, 0]
    return np.where(count > 0, chosen, 0)


def gaussian(
    image: NDArray[Any], width: float, extents: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """The mean weighted by a Gaussian.

    Parameters
    ----------
    image : ndarray, shape ([Z,] Y, X)
    width : float
        Standard deviation in pixels.
    extents : sequence of int, optional
        Odd full width per axis of the hole; none by default.

    Returns
    -------
    filtered : ndarray of float32, shape of `image`
        With a hole independent of the pixels in it.
    """
    kernels = []
    for axis in range(image.ndim):
        half = 0 if extents is None else extents[axis] // 2
        reach = max(int(4 * width + 0.5), half + 1)
        distance = np.arange(-reach, reach + 1)
        # Relative to the nearest visible pixel, or narrow Gaussians would vanish there.
        nearest = half + 1 if half else 0
        whole = np.exp((nearest**2 - distance.astype(float) ** 2) / (2 * width**2))
        kernels.append((whole, np.where(abs(distance) <= half, whole, 0)))
    total = np.zeros(image.shape)
    weight = np.zeros(image.shape)
    for term in _terms(kernels, extents is not None):
        part, count = image.astype(np.float64), np.ones(())
        for axis, kernel in enumerate(term):
            part = ndimage.correlate1d(part, kernel, axis, mode="constant")
            line = ndimage.correlate1d(np.ones(image.shape[axis]), kernel, mode="constant")
            count = count[..., None] * line
        total += part
        weight += count
    return (total / np.where(weight > 0, weight, 1)).astype(np.float32)


def _terms(
    kernels: Sequence[tuple[NDArray[Any], NDArray[Any]]], hole: bool
) -> list[list[NDArray[Any]]]:
    """Products of lines that add up to the kernel, without what lies in its hole.

    In the first the first axis lies outside of the hole, in the second the
    first lies inside and the second outside, and so on; subtracting the hole
    from the whole would leave rounding errors that have seen the pixel.
    """
    if not hole:
        return [[whole for whole, _ in kernels]]
    return [
        [
            inside if axis < first else whole - inside if axis == first else whole
            for axis, (whole, inside) in enumerate(kernels)
        ]
        for first in range(len(kernels))
    ]
