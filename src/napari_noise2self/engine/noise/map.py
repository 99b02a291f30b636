"""The autocorrelation of the noise in two dimensions, as a picture of it.

`correlation` decides along each axis whether noise is correlated, by
statistics that structure cannot mimic.  The map shows more and decides
nothing: the correlation at every lag in y and x, oblique ones too.

As there, second differences remove what is smooth and leave the noise, in the
flattest patches.  Their autocovariance at lag h is a sum of that of the noise,
C, at lags around it: along y

    (6 C(h) - 4 C(h - y) - 4 C(h + y) + C(h - 2y) + C(h + 2y)) / 6,

and along x likewise.  Both at every lag are about twice as many equations as
there are unknown C(h), which are taken to be 0 beyond the map; least squares
solve them.  What neither tells well, noise that is smooth over the whole map,
is kept small by a ridge that grows outward; it takes an eighth
off wide correlations and leaves white noise white.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.correlation import flat_bins
from napari_noise2self.engine.noise.report import NoiseReport
from napari_noise2self.engine.noise.sample import Sample, clean, frame_differences
from napari_noise2self.engine.noise.statistics import (
    Floats,
    patch_region,
    patch_side,
    patch_statistics,
)

# Largest lag along each axis.
REACH = 6
_RIDGE = 0.5
_MOST_PATCHES = 2048
_MOST_CLIPPED = 0.5
# A lag counts as correlated above this, and above so many standard errors: among the 84
# lags of a map of white noise, chance exceeds four of them in one map of two hundred.
_WORTH_SHOWING = 0.05
_ERRORS = 4.0


@dataclass(frozen=True)
class Autocorrelation:
    """The autocorrelation of noise at all lags up to a few pixels.

    Attributes
    ----------
    rho : ndarray of float64, shape (2 * reach + 1, 2 * reach + 1)
        Correlation of pixels that are (y, x) apart; lag (0, 0) is in the
        centre and is 1.  NaN where nothing could be measured.
    error : ndarray, same shape
        Standard errors.
    """

    rho: Floats
    error: Floats

    @property
    def reach(self) -> int:
        """The largest lag along each axis."""
        return int(self.rho.shape[0]) // 2

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Lags whose correlation is neither chance nor negligible; never (0, 0)."""
        found = np.abs(self.rho) >= np.maximum(_WORTH_SHOWING, _ERRORS * self.error)
        found[self.reach, self.reach] = False
        return np.asarray(found)


def noise_autocorrelation(image: Any, report: NoiseReport) -> tuple[Autocorrelation, ...]:
    """The autocorrelation of the noise of each channel, from the parts `estimate_noise` reads.

    Parameters
    ----------
    image : array of the axes of `report`
        NumPy, dask, or whatever has a shape and a dtype and can be indexed.
    report : NoiseReport
        Of the same image; where it comes from the differences of frames, so
        does the autocorrelation.

    Returns
    -------
    maps : tuple of Autocorrelation, one per channel
    """
    spatial = report.spatial_axes
    layout = Layout.of(image.shape, report.axes, len(spatial) == 3, spatial[0])
    sample = Sample.of(image, layout)
    maps = []
    for number, channel in enumerate(report.channels):
        cleaned = clean(sample, number)
        if cleaned is None:
            maps.append(nothing())
            continue
        if channel.from_frames:
            planes, _, low, high = frame_differences(cleaned)
        else:
            planes = np.concatenate(cleaned.runs)
            low, high = np.concatenate(cleaned.low), np.concatenate(cleaned.high)
        maps.append(autocorrelation(planes, low | high))
    return tuple(maps)


def nothing() -> Autocorrelation:
    """The map of an image that tells nothing."""
    unknown = np.full((2 * REACH + 1, 2 * REACH + 1), np.nan)
    return Autocorrelation(unknown, unknown.copy())


def autocorrelation(
    planes: NDArray[np.float32],
    clipped: NDArray[np.bool_] | None = None,
    flat_by: NDArray[np.float32] | None = None,
) -> Autocorrelation:
    """The autocorrelation in the flattest patches of some planes.

    Parameters
    ----------
    planes : ndarray of float32, shape (n, y, x)
    clipped : ndarray of bool, same shape, optional
        Pixels at the limits of the data; patches with many are left out.
    flat_by : ndarray of float32, same shape, optional
        The image whose flatness counts, where `planes` are what is left of one.

    Returns
    -------
    map : Autocorrelation
    """
    side = patch_side(planes.shape[1:], planes.shape[0])
    patches = patch_statistics(planes if flat_by is None else flat_by, side, low=clipped)
    bins = [] if patches is None else flat_bins(patches, _MOST_CLIPPED)
    if not bins:
        return nothing()
    chosen = np.sort(np.concatenate(bins))
    chosen = chosen[:: -(-chosen.size // _MOST_PATCHES)]
    rows, columns = patch_region(planes.shape, side)
    grid = planes.shape[0], (rows.stop - 1) // side, (columns.stop - 1) // side
    plane, row, column = np.unravel_index(chosen, grid)

    reach = REACH + 1  # a pixel more for the differences
    padded = np.pad(planes, [(0, 0), (reach, reach), (reach, reach)], mode="reflect")
    inside = np.arange(side + 2 * reach)
    # Patches begin one pixel inside; the padding puts their margin at the same index.
    windows = padded[
        plane[:, None, None],
        (1 + row * side)[:, None, None] + inside[:, None],
        (1 + column * side)[:, None, None] + inside,
    ]
    measured = np.concatenate([_products(windows, side, axis) for axis in (1, 2)], axis=1)
    energy = measured[:, 0] + measured[:, len(_lags())]
    measured = measured[energy > 0] / energy[energy > 0, None]  # every patch counts alike
    covariance = measured @ _inverse().T  # of each patch, shape (patches, lags)
    sums = covariance.sum(axis=0)
    total = float(sums[0])
    if not total > 0:
        return nothing()
    rho = sums / total
    # The ratio of two sums: how far each patch is from it.
    residual = covariance - rho * covariance[:, :1]
    error = np.sqrt(np.square(residual).sum(axis=0)) / total
    size = 2 * REACH + 1
    full = np.empty((2, size, size))
    for number, (y, x) in enumerate(_lags()):
        for sign in (1, -1):
            full[:, REACH + sign * y, REACH + sign * x] = rho[number], error[number]
    return Autocorrelation(full[0], full[1])


def _lags() -> list[tuple[int, int]]:
    """One of each pair of opposite lags, (0, 0) first."""
    return [(y, x) for y in range(REACH + 1) for x in range(-REACH, REACH + 1) if y > 0 or x >= 0]


def _products(windows: NDArray[np.float32], side: int, axis: int) -> Floats:
    """Mean products of second differences along `axis` of each window, at every lag."""
    before, here, after = (
        windows[tuple(slice(s, s + n) for s, n in zip(starts, sizes, strict=True))]
        for starts, sizes in (
            (
                [0, *(shift if a == axis else 1 for a in (1, 2))],
                [windows.shape[0], *(n - 2 for n in windows.shape[1:])],
            )
            for shift in range(3)
        )
    )
    difference = (before - 2 * here + after) * np.float32(6**-0.5)
    middle = difference[:, REACH : REACH + side, REACH : REACH + side]
    return (
        np.stack(
            [
                np.einsum(
                    "nij,nij->n",
                    middle,
                    difference[:, REACH + y : REACH + y + side, REACH + x : REACH + x + side],
                )
                for y, x in _lags()
            ],
            axis=1,
        ).astype(np.float64)
        / side**2
    )


@functools.cache
def _inverse() -> Floats:
    """What makes covariances of the noise from those of its differences along y, then x."""
    lags = _lags()
    number = {}
    for index, (y, x) in enumerate(lags):
        number[y, x] = number[-y, -x] = index
    rows = []
    for down, across in ((1, 0), (0, 1)):
        for y, x in lags:
            row = np.zeros(len(lags))
            for steps, weight in ((0, 6), (1, -4), (-1, -4), (2, 1), (-2, 1)):
                lag = y + steps * down, x + steps * across
                if lag in number:
                    row[number[lag]] += weight / 6
            rows.append(row)
    matrix = np.array(rows)
    square = matrix.T @ matrix + np.diag(
        [(_RIDGE * np.hypot(y, x) ** 2 / REACH**2) ** 2 for y, x in lags]
    )
    return np.asarray(np.linalg.solve(square, matrix.T), np.float64)
