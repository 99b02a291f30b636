"""The bilateral filter: the mean of pixels that are near, and alike.

An implementation of our own, because that of scikit-image (0.26) is for planes
only and lays its spatial weights off centre.

References
----------
C. Tomasi, R. Manduchi, "Bilateral filtering for gray and color images", ICCV 1998.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def bilateral(image: NDArray[Any], strength: float, width: float) -> NDArray[np.float32]:
    """Average pixels with Gaussian weights of their distance and of their difference.

    Parameters
    ----------
    image : ndarray, shape ([Z,] Y, X)
    strength : float
        Standard deviation of the weights of differences, in grey values.
    width : float
        That of the weights of distances, in pixels; pixels further away than
        twice that do not count, nor does what lies outside of the image.

    Returns
    -------
    filtered : ndarray of float32, shape of `image`
    """
    image = np.asarray(image, np.float32)
    total, weight = image.copy(), np.ones_like(image)
    reach = math.ceil(2 * width)
    for offset in itertools.product(range(-reach, reach + 1), repeat=image.ndim):
        # A pair of pixels weighs the same both ways, so half of the offsets do.
        if offset <= (0,) * image.ndim or any(
            abs(o) >= n for o, n in zip(offset, image.shape, strict=True)
        ):
            continue
        here = tuple(
            slice(max(-o, 0), min(n - o, n)) for o, n in zip(offset, image.shape, strict=True)
        )
        there = tuple(
            slice(max(o, 0), min(n + o, n)) for o, n in zip(offset, image.shape, strict=True)
        )
        alike = image[there] - image[here]
        alike *= np.float32(math.sqrt(0.5) / strength)
        np.square(alike, out=alike)
        alike += np.float32(sum(o * o for o in offset) / (2 * width**2))
        np.exp(np.negative(alike, out=alike), out=alike)
        total[here] += alike * image[there]
        total[there] += alike * image[here]
        weight[here] += alike
        weight[there] += alike
    filtered: NDArray[np.float32] = total / weight
    return filtered
