"""The floor of white noise in the power spectrum of an image.

A microscope passes no detail finer than its point-spread function, so the
highest frequencies of an image show noise alone.  White noise is equally
strong at all of them: a floor.  Noise that is correlated between neighbours is
not: its power goes on falling towards the corners of the spectrum, or differs
between the ends of the two axes.

So densely labelled structure that is as fine as the point-spread function, and
looks like correlated noise in every other way, is recognised by the floor
that it stands on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.noise.statistics import Floats

# Windows that spectra are taken of: their side, how many at most, and at least.
_SIDE = 32
_MOST = 512
_FEWEST = 9
# Frequencies, in cycles per pixel: in the corners both are above this, at the ends of an axis one
# is and the other is low; before the corners the lower of both is in between.
_END = 7 / 16
_LOW = 1 / 8
_BEFORE = (11 / 32, 13 / 32)
# How much the power there may differ from that of the corners, and what chance adds to that, over
# the square root of the number of windows.
_LEVEL = 1.3
_CHANCE = 1.5
# The share of the windows that is left out for the edges in them, and what the others have on
# average where there is white noise alone, in its variance.
_EDGES = 0.1
_KEPT = 0.9
# So many times the variance of rounding has a floor at least.
_ROUNDING = 4
_Y = np.abs(np.fft.fftfreq(_SIDE))[:, None]
_X = np.fft.rfftfreq(_SIDE)[None, :]


def has_white_floor(planes: NDArray[np.float32], step: float) -> bool:
    """Whether the highest frequencies of planes are equally strong.

    Parameters
    ----------
    planes : ndarray of float32, shape (n, y, x)
    step : float
        Distance of neighbouring grey values, 0 if they are continuous: rounding
        makes a floor of its own, which says nothing.

    Returns
    -------
    floor : bool
        False where the planes are too small to tell.
    """
    power = _power(_windows(planes))
    corner = _corners(power)
    shown = corner > _ROUNDING * step**2 / 12
    count = np.count_nonzero(shown)
    if count < _FEWEST:
        return False
    lower = np.minimum(_Y, _X)
    # A zero frequency along one axis holds what is constant along it, such as edges of the image.
    elsewhere = (
        (_Y >= _END) & (_X > 0) & (_X <= _LOW),
        (_X >= _END) & (_Y > 0) & (_Y <= _LOW),
        (lower >= _BEFORE[0]) & (lower <= _BEFORE[1]),
    )
    ratios = [
        float(np.median(power[:, where].mean(axis=1)[shown] / corner[shown])) for where in elsewhere
    ]
    level = _LEVEL * (1 + _CHANCE / np.sqrt(count))
    return all(1 / level <= ratio <= level for ratio in ratios)


def share_at_highest(
    planes: NDArray[np.float32], zero: float, variance: Callable[[Floats], Floats]
) -> float:
    """Which share of a variance there is at the highest frequencies, where structure is weakest.

    Parameters
    ----------
    planes : ndarray of float32, shape (n, y, x)
    zero : float
        Grey value that was taken off `planes`.
    variance : callable
        What the variance of white noise would be, at a mean grey value.

    Returns
    -------
    share : float
        1 if it is white noise alone, less if structure adds to it elsewhere.
        Correlated noise has less there, too.  NaN where the planes are too
        small to tell.
    """
    windows = _windows(planes)
    expected = variance(windows.mean(axis=(1, 2), dtype=np.float64) + zero)
    corner = _corners(_power(windows))
    # What is all black has no noise to be compared.
    shown = (expected > 0) & (corner > 0)
    if np.count_nonzero(shown) < _FEWEST:
        return np.nan
    corner, expected = corner[shown], expected[shown]
    # Sums, so that each window counts with its noise; without those that show edges at their worst.
    kept = np.argsort(corner / expected)[: round((1 - _EDGES) * corner.size)]
    return float(corner[kept].sum() / expected[kept].sum() / _KEPT)


def _power(windows: NDArray[np.float32]) -> Floats:
    """The power spectra of windows; that of white noise is its variance everywhere."""
    taper = np.outer(*[np.hanning(_SIDE + 2)[1:-1]] * 2).astype(np.float32)
    taper /= np.sqrt(np.square(taper).sum())
    flat = windows - windows.mean(axis=(1, 2), keepdims=True)
    return np.square(np.abs(np.fft.rfft2(flat * taper)))


def _corners(power: Floats) -> Floats:
    """The mean power of each window where the frequencies along both axes are high."""
    return np.asarray(power[:, (_Y >= _END) & (_X >= _END)].mean(axis=1), np.float64)


def _windows(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows that overlap by half, spread over the planes."""
    if min(planes.shape[1:]) < _SIDE:
        return np.empty((0, _SIDE, _SIDE), np.float32)
    step = _SIDE // 2
    found = np.lib.stride_tricks.sliding_window_view(planes, (_SIDE, _SIDE), axis=(1, 2))
    found = found[:, ::step, ::step]
    count = int(np.prod(found.shape[:3]))
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(int))
    return np.asarray(found[np.unravel_index(chosen, found.shape[:3])])
