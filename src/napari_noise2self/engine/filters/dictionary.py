"""Denoising by a dictionary of patches that is learned from the noisy image itself.

Every patch of the image is written as a combination of few atoms: the atoms
are an orthonormal basis, so that the best coefficients are the projections and
the sparse ones are those above a threshold.  The basis starts as a discrete
cosine transform and is learned by turns, coefficients for the basis and the
basis for the coefficients, both in closed form.  The overlapping patches are
then averaged, those with few atoms counting more.

References
----------
C. Bao, J.-F. Cai, H. Ji, "Fast sparsity-based orthogonal dictionary learning
for image restoration", ICCV 2013.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

# Sides of the patches, by the number of spatial axes: 64 pixels in either.
_SIDES = {2: 8, 3: 4}
# Patches to learn from, and turns; more of either changes little.
_EXAMPLES = 8192
_TURNS = 8
# Coefficients that are kept in memory together.
_COEFFICIENTS = 2**22

Patches = NDArray[np.float32]


def dictionary(image: NDArray[Any], threshold: float) -> NDArray[np.float32]:
    """Denoise an image whose noise has the standard deviation 1.

    Parameters
    ----------
    image : ndarray, shape ([Z,] Y, X)
    threshold : float
        Coefficients below it are left out, in standard deviations of the noise.

    Returns
    -------
    denoised : ndarray of float32, shape of `image`
    """
    image = np.asarray(image, np.float32)
    sides = tuple(min(_SIDES[image.ndim], n) for n in image.shape)
    atoms = _learn(image, sides, threshold)
    count = math.prod(sides)
    total, weight = np.zeros_like(image), np.zeros_like(image)
    starts = image.shape[0] - sides[0] + 1
    per_row = count * math.prod(n - s + 1 for n, s in zip(image.shape[1:], sides[1:], strict=True))
    step = max(_COEFFICIENTS // per_row, 1)
    for first in range(0, starts, step):
        rows = slice(first, min(first + step, starts) + sides[0] - 1)
        denoised, trust = _denoise(_patches(image[rows], sides), atoms, threshold)
        inner = [n - s + 1 for n, s in zip(image[rows].shape, sides, strict=True)]
        trust = trust.reshape(inner)
        for offset, values in zip(_offsets(sides), denoised, strict=True):
            place = tuple(slice(o, o + n) for o, n in zip(offset, inner, strict=True))
            total[rows][place] += values.reshape(inner) * trust
            weight[rows][place] += trust
    denoised_image: NDArray[np.float32] = total / weight
    return denoised_image


def _offsets(sides: tuple[int, ...]) -> itertools.product[tuple[int, ...]]:
    return itertools.product(*map(range, sides))


def _patches(image: NDArray[np.float32], sides: tuple[int, ...]) -> Patches:
    """All patches as columns, shape (pixels of a patch, patches)."""
    inner = [n - s + 1 for n, s in zip(image.shape, sides, strict=True)]
    return np.stack(
        [
            image[tuple(slice(o, o + n) for o, n in zip(offset, inner, strict=True))].ravel()
            for offset in _offsets(sides)
        ]
    )


def _denoise(patches: Patches, atoms: Patches, threshold: float) -> tuple[Patches, Patches]:
    """The patches without their small coefficients, and how much each counts."""
    means = patches.mean(0)
    coefficients = atoms.T @ (patches - means)
    kept = np.abs(coefficients) > threshold
    coefficients *= kept
    # The variance that noise leaves in a patch grows with the atoms it keeps.
    return atoms @ coefficients + means, (1 / (1 + kept.sum(0))).astype(np.float32)


def _learn(image: NDArray[np.float32], sides: tuple[int, ...], threshold: float) -> Patches:
    """An orthonormal basis for the patches of the image, one atom per column."""
    rng = np.random.default_rng(0)
    corners = [
        rng.integers(0, n - s + 1, _EXAMPLES) for n, s in zip(image.shape, sides, strict=True)
    ]
    examples = np.stack(
        [
            image[tuple(c + o for c, o in zip(corners, offset, strict=True))]
            for offset in _offsets(sides)
        ]
    )
    examples = examples - examples.mean(0)
    cosines = (dct(np.eye(side, dtype=np.float32), axis=0, norm="ortho").T for side in sides)
    atoms: Patches = functools.reduce(np.kron, cosines)
    for _ in range(_TURNS):
        coefficients = atoms.T @ examples
        coefficients[np.abs(coefficients) <= threshold] = 0
        left, _, right = np.linalg.svd(examples @ coefficients.T)
        atoms = left @ right
    return atoms
