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
# So many times the variance of rounding has a floor at least.
_ROUNDING = 4


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
    windows = _windows(planes)
    if len(windows) < _FEWEST:
        return False
    taper = np.hanning(_SIDE + 2)[1:-1].astype(np.float32)
    taper /= np.sqrt(np.square(taper).sum())  # so that white noise has the power of its variance
    windows = windows - windows.mean(axis=(1, 2), keepdims=True)
    power = np.abs(np.fft.rfft2(windows * np.outer(taper, taper))) ** 2
    y = np.abs(np.fft.fftfreq(_SIDE))[:, None]
    x = np.fft.rfftfreq(_SIDE)[None, :]

    def mean(where: NDArray[np.bool_]) -> Floats:
        return np.asarray(power[:, where].mean(axis=1), np.float64)

    corner = mean((y >= _END) & (x >= _END))
    shown = corner > _ROUNDING * step**2 / 12
    if np.count_nonzero(shown) < _FEWEST:
        return False
    lower = np.minimum(y, x)
    # A zero frequency along one axis holds what is constant along it, such as edges of the image.
    elsewhere = (
        (y >= _END) & (x > 0) & (x <= _LOW),
        (x >= _END) & (y > 0) & (y <= _LOW),
        (lower >= _BEFORE[0]) & (lower <= _BEFORE[1]),
    )
    ratios = [float(np.median(mean(where)[shown] / corner[shown])) for where in elsewhere]
    level = _LEVEL * (1 + _CHANCE / np.sqrt(np.count_nonzero(shown)))
    return all(1 / level <= ratio <= level for ratio in ratios)


def _windows(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows that overlap by half, spread over the planes."""
    if min(planes.shape[1:]) < _SIDE:
        return planes[:0]
    step = _SIDE // 2
    found = np.lib.stride_tricks.sliding_window_view(planes, (_SIDE, _SIDE), axis=(1, 2))
    found = found[:, ::step, ::step]
    count = int(np.prod(found.shape[:3]))
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(int))
    return np.asarray(found[np.unravel_index(chosen, found.shape[:3])])
