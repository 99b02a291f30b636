"""The energy of a residual, band by band, where the image is flat and where it is not.

The residual of a perfect denoiser is the noise.  That of the best linear one
has the power ``N^2 / (S + N)`` at every frequency, N of the noise and S of the
signal: never more than the noise has.  So energy above that of the noise, in
any band and at any place, is image that was taken away; and energy below it,
where the denoised image is flat, is noise that was left in.

The residual is divided by the deviation of the noise at each pixel, and split
into bands by Gaussian filters.  Where detail is, is told by the gradient of
the denoised image.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_noise2self.engine.noise.level import immerkaer
from napari_noise2self.engine.noise.statistics import Floats, block_means

Plane = NDArray[np.float32]

# Bands between Gaussian filters of these widths; above the first and below the last.
WIDTHS = (1.0, 2.0, 4.0, 8.0)
BANDS = ("finer than 1 px", "1 to 2 px", "2 to 4 px", "4 to 8 px", "wider than 8 px")
# Pixels along each side of a block, and blocks along each side of what is taken to be
# independent of its neighbours.
BLOCK = 8
_CLUSTER = 4
# The places, by how much detail is there: upper quantiles of each group of blocks.
GROUPS = (0.4, 0.7, 0.9, 0.97, 1.0)


@functools.cache
def _kernels() -> tuple[Floats, ...]:
    point = np.zeros((129, 129))
    point[64, 64] = 1
    return tuple(split(point[None])[band][0] for band in range(len(BANDS)))


def split(planes: NDArray[Any]) -> list[NDArray[Any]]:
    """The bands of planes (n, y, x), from fine to wide; together they are the planes."""
    smooth = [planes] + [
        ndimage.gaussian_filter(planes, (0, width, width), mode="reflect", truncate=4)
        for width in WIDTHS
    ]
    return [*(a - b for a, b in itertools.pairwise(smooth)), smooth[-1]]


def _middle(planes: NDArray[Any]) -> NDArray[Any]:
    """The bands from 1 to 4 px of planes (n, y, x)."""
    fine, wide = (
        ndimage.gaussian_filter(planes, (0, width, width), mode="reflect", truncate=4)
        for width in (WIDTHS[0], WIDTHS[2])
    )
    return np.asarray(fine - wide)


def _variance(kernel: Floats, rho: Sequence[Sequence[float]]) -> float:
    """The variance that a filter leaves of noise of variance 1."""
    spread = kernel
    for axis, lags in enumerate(rho):
        taps = np.array([*lags[::-1], 1.0, *lags])
        spread = ndimage.convolve1d(spread, taps, axis=axis, mode="constant")
    return float((kernel * spread).sum())


def expected_shares(rho: Sequence[Sequence[float]]) -> Floats:
    """The variance of noise of variance 1 in each band.

    Parameters
    ----------
    rho : sequence of two sequences of float
        Its correlation at 1, 2, ... pixels along y and along x, which multiply.

    Returns
    -------
    shares : ndarray, one per band
    """
    return np.array([_variance(kernel, rho) for kernel in _kernels()])


def expected_middle(rho: Sequence[Sequence[float]]) -> float:
    """The same of all from 1 to 4 px, which is more than its two bands: they go together."""
    return _variance(_kernels()[1] + _kernels()[2], rho)


@dataclass(frozen=True)
class Blocks:
    """Sums over the blocks of some planes.

    Attributes
    ----------
    energy : ndarray, shape (bands, blocks)
        Sums of the squared bands of the standardised residual.
    fine : ndarray, shape (blocks,)
        The same of second differences along both axes.
    total : ndarray, shape (blocks,)
        The same of the standardised residual itself.
    pixels : ndarray, shape (blocks,)
        Good pixels.
    detail : ndarray, shape (blocks,)
        Gradient of the denoised image, in deviations of the noise per pixel.
    match : ndarray, shape (3, blocks)
        Of 1 to 4 px: sums of residual times image, residual squared and image squared.
    cluster : ndarray of int, shape (blocks,)
        Number of the group of neighbouring blocks that a block belongs to.
    """

    energy: Floats
    fine: Floats
    total: Floats
    pixels: Floats
    detail: Floats
    match: Floats
    cluster: NDArray[np.intp]

    @classmethod
    def of(cls, residual: Plane, denoised: Plane, good: NDArray[np.bool_]) -> Blocks | None:
        """Sum up planes (n, y, x).

        Parameters
        ----------
        residual, denoised : ndarray of float32, shape (n, y, x)
            Both divided by the deviation of the noise.
        good : ndarray of bool, same shape
            Pixels that count.
        """
        count, height, width = residual.shape
        rows, columns = height // BLOCK, width // BLOCK
        if not (rows and columns):
            return None
        inside = (slice(None), slice(rows * BLOCK), slice(columns * BLOCK))
        weight = good[inside].astype(np.float32)

        def sums(a: NDArray[Any], b: NDArray[Any] | None = None) -> Floats:
            products = a[inside] * (a if b is None else b)[inside] * weight
            return block_means(products, BLOCK).ravel() * BLOCK**2

        bands = split(residual)
        left, image = bands[1] + bands[2], _middle(denoised)

        smooth = ndimage.gaussian_filter(denoised, (0, 1, 1), mode="reflect")
        steepness = np.square(np.gradient(smooth, axis=1)) + np.square(np.gradient(smooth, axis=2))
        number = np.arange(count)[:, None, None]
        down = np.arange(rows)[:, None] // _CLUSTER
        across = np.arange(columns) // _CLUSTER
        wide = -(-columns // _CLUSTER)
        tall = -(-rows // _CLUSTER)
        return cls(
            energy=np.stack([sums(band) for band in bands]),
            fine=sums(immerkaer(residual, (1, 1))),
            total=sums(residual),
            pixels=block_means(weight, BLOCK).ravel() * BLOCK**2,
            detail=np.sqrt(block_means(steepness[inside], BLOCK)).ravel(),
            match=np.stack([sums(left, image), sums(left), sums(image)]),
            cluster=((number * tall + down) * wide + across).ravel(),
        )

    @classmethod
    def joined(cls, parts: Sequence[Blocks]) -> Blocks:
        """The blocks of several runs of planes."""
        offsets = np.cumsum([0, *(int(p.cluster.max()) + 1 for p in parts[:-1])])
        names = ("energy", "fine", "total", "pixels", "detail", "match")
        return cls(
            **{n: np.concatenate([getattr(p, n) for p in parts], axis=-1) for n in names},
            cluster=np.concatenate([p.cluster + o for p, o in zip(parts, offsets, strict=True)]),
        )

    def groups(self) -> list[NDArray[np.intp]]:
        """Blocks by how much detail is there, the flattest first."""
        usable = np.flatnonzero(self.pixels >= BLOCK**2 / 2)
        order = usable[np.argsort(self.detail[usable], kind="stable")]
        edges = [0, *(round(share * order.size) for share in GROUPS)]
        return [order[a:b] for a, b in itertools.pairwise(edges)]

    def mean(self, sums: Floats, blocks: NDArray[np.intp]) -> tuple[float, float]:
        """A mean over some blocks, and its standard error.

        Parameters
        ----------
        sums : ndarray, shape (blocks,)
        blocks : ndarray of int

        Returns
        -------
        mean, error : float
            The error is that of neighbouring blocks that go together.
        """
        pixels = self.pixels[blocks]
        total = float(pixels.sum())
        if total == 0:
            return math.nan, math.inf
        mean = float(sums[blocks].sum()) / total
        _, number = np.unique(self.cluster[blocks], return_inverse=True)
        off = np.bincount(number, sums[blocks] - mean * pixels)
        if off.size < 2:
            return mean, math.inf
        return mean, math.sqrt(float(np.square(off).sum()) * off.size / (off.size - 1)) / total
