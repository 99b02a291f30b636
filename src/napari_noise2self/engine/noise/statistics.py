"""Local statistics of an image that tell noise from structure.

Everything `noise` says rests on the numbers that one small patch of an image
gives: its mean, how flat it is, and the products of its second differences.

A second difference along y, ``d = x[y-1] - 2 x[y] + x[y+1]``, removes what is
smooth along y and leaves the noise.  Where the covariance of the noise is the
product of one function of the distance along y and one of the distance along
x, the correlation of `d` along x is that of the noise itself, whatever its
correlation along y:

    E[d(x) d(x+k)] / E[d(x)^2] = rho_x(k).

White noise, noise correlated along rows only, and noise blurred along both
axes are all of this kind.  Structure that survives the difference makes the
correlation too large, so only flat patches count; flatness is judged by the
means of 4x4 cells, a band of frequencies that the differences do not see, and
therefore choosing by it does not bias what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Lags at which the correlation is measured.
MAX_LAG = 8
# Lags of the differences along their own axis, for their number of degrees of freedom.
_OWN_LAGS = 4


@dataclass(frozen=True)
class Patches:
    """Statistics of the patches of some planes, patches in the last axis.

    Attributes
    ----------
    side : int
        Pixels along each side of a patch.
    mean : ndarray, shape (n,)
    unevenness : ndarray, shape (n,)
        Variance of the means of 4x4 cells.
    low, high : ndarray, shape (n,)
        Share of the pixels at the lower and at the upper limit of the data.
    products : tuple of ndarray, shape (lags + 1, n)
        Mean products of differences, at lags along y and along x; the
        differences are taken along the other axis.
    own : tuple of ndarray, shape (own lags, n)
        The same at lags along the axis of the differences, from lag 1.
    fourth : tuple of ndarray, shape (n,)
        Mean fourth powers of the differences.
    """

    side: int
    mean: Floats
    unevenness: Floats
    low: Floats
    high: Floats
    products: tuple[Floats, Floats]
    own: tuple[Floats, Floats]
    fourth: tuple[Floats, Floats]

    @property
    def lags(self) -> int:
        """The largest lag measured."""
        return int(self.products[0].shape[0]) - 1


def patch_side(shape: tuple[int, int], planes: int) -> int:
    """Side of the patches for planes of that shape: 16, or 8 where there would be few."""
    return 16 if planes * (shape[0] // 16) * (shape[1] // 16) >= 100 else 8


def _lags(side: int) -> int:
    return min(MAX_LAG, side // 2)


def margin(side: int) -> int:
    """Pixels beyond the last patch that its differences and lags reach."""
    return 1 + _lags(side)


def patch_region(shape: tuple[int, ...], side: int) -> tuple[slice, slice]:
    """The part of planes (..., y, x) that is divided into patches."""
    height, width = (max((n - 1 - margin(side)) // side * side, 0) for n in shape[-2:])
    return slice(1, 1 + height), slice(1, 1 + width)


def block_means(values: NDArray[Any], side: int) -> Floats:
    """Means of square blocks of planes (n, y, x), both sides multiples of `side`."""
    planes, height, width = values.shape
    blocks = values.reshape(planes, height // side, side, width // side, side)
    # One axis at a time: adding long rows is what numpy does fast.
    sums = blocks.sum(axis=2, dtype=np.float32).sum(axis=3, dtype=np.float64)
    return np.asarray(sums / side**2)


def patch_statistics(
    planes: NDArray[np.float32],
    side: int,
    signal: NDArray[np.float32] | None = None,
    low: NDArray[np.bool_] | None = None,
    high: NDArray[np.bool_] | None = None,
    zero: float = 0.0,
) -> Patches | None:
    """Measure every patch of some planes.

    Parameters
    ----------
    planes : ndarray of float32, shape (n, y, x)
        Images, or differences of images.
    side : int
    signal : ndarray of float32, same shape, optional
        Grey values, where `planes` are differences.
    low, high : ndarray of bool, same shape, optional
        Pixels at the limits of the data.
    zero : float
        Grey value that was taken off `planes` or `signal`.

    Returns
    -------
    patches : Patches or None
        None where no patch fits into the planes.
    """
    lags = _lags(side)
    rows_inside, columns_inside = patch_region(planes.shape, side)
    height, width = rows_inside.stop - 1, columns_inside.stop - 1
    if height < side or width < side:
        return None
    inside = (slice(None), rows_inside, columns_inside)

    cells = block_means(planes[inside], 4)
    count, rows, columns = cells.shape
    per = side // 4
    grouped = cells.reshape(count, rows // per, per, columns // per, per)
    unevenness = grouped.var(axis=(2, 4), ddof=1)

    products, own, fourth = [], [], []
    for lag_axis in (1, 2):
        across = 3 - lag_axis
        first, middle, last = (
            planes[
                tuple(
                    slice(s, planes.shape[a] - 2 + s) if a == across else slice(None)
                    for a in range(3)
                )
            ]
            for s in range(3)
        )
        difference = (first - 2 * middle + last) * np.float32(6**-0.5)
        # The difference at index i belongs to pixel i + 1 on its own axis.
        start = [0, 1, 1]
        start[across] = 0
        stop = [count, start[1] + height, start[2] + width]
        here = difference[tuple(map(slice, start, stop))]

        def shifted(
            axis: int,
            lag: int,
            values: NDArray[np.float32] = difference,
            start: list[int] = start,
            stop: list[int] = stop,
        ) -> NDArray[np.float32]:
            moved = [
                slice(s + lag * (a == axis), e + lag * (a == axis))
                for a, (s, e) in enumerate(zip(start, stop, strict=True))
            ]
            return values[tuple(moved)]

        products.append(
            np.stack(
                [block_means(here * shifted(lag_axis, k), side).ravel() for k in range(lags + 1)]
            )
        )
        fourth.append(block_means(np.square(np.square(here)), side).ravel())
        own.append(
            np.stack(
                [
                    block_means(here * shifted(across, k), side).ravel()
                    for k in range(1, _OWN_LAGS + 1)
                ]
            )
        )

    def share(mask: NDArray[np.bool_] | None) -> Floats:
        if mask is None or not mask.any():
            return np.zeros(unevenness.size)
        return block_means(mask[inside].astype(np.float32), side).ravel()

    return Patches(
        side=side,
        mean=block_means((planes if signal is None else signal)[inside], side).ravel() + zero,
        unevenness=np.asarray(unevenness.ravel(), np.float64),
        low=share(low),
        high=share(high),
        products=(products[0], products[1]),
        own=(own[0], own[1]),
        fourth=(fourth[0], fourth[1]),
    )
