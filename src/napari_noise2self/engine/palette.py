"""Colours that tell subsets apart, also for the colour-blind."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# From here on colours begin again from the first.
MOST_COLOURS = 64

# The colours of M. Okabe and K. Ito, "Color Universal Design" (2008), without
# black, which a dark image would swallow.
_FIRST = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# What is seen of linear RGB without one kind of cone: G. M. Machado et al.,
# "A physiologically-based model for simulation of color vision deficiency",
# IEEE TVCG 15, 2009, table 1, severity 1.
VISION: dict[str, Floats] = {
    "all cones": np.eye(3),
    "no L cones": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no M cones": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no S cones": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
# sRGB to XYZ, relative to the white of sRGB.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_TO_XYZ = _TO_XYZ / _TO_XYZ.sum(1, keepdims=True)
# Lightness between what is lost on black and what is lost on white, and so
# much colour that grey values of the image cannot be mistaken for it.
_LIGHTNESS = (32.0, 90.0)
_LEAST_CHROMA = 25.0


def seen_as(colours: NDArray[np.uint8], vision: Floats) -> Floats:
    """Where colours lie in CIELAB for an eye.

    Parameters
    ----------
    colours : ndarray of uint8, shape (n, 3)
        sRGB.
    vision : ndarray of float64, shape (3, 3)
        One of `VISION`.

    Returns
    -------
    lab : ndarray of float64, shape (n, 3)
        Distances of about 2 are just seen side by side.
    """
    srgb = colours / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ vision.T, 0, 1) @ _TO_XYZ.T
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@cache
def _all_colours() -> NDArray[np.uint8]:
    levels = np.linspace(0, 255, 10).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    lab = seen_as(candidates, VISION["all cones"])
    low, high = _LIGHTNESS
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    candidates = candidates[(lab[:, 0] > low) & (lab[:, 0] < high) & (chroma > _LEAST_CHROMA)]
    chosen = list(np.array(_FIRST, np.uint8))
    eyes = [seen_as(candidates, vision) for vision in VISION.values()]
    nearest = np.full(len(candidates), np.inf)

    def keep_away_from(colour: NDArray[np.uint8]) -> None:
        for eye, vision in zip(eyes, VISION.values(), strict=True):
            distance = np.linalg.norm(eye - seen_as(colour[None], vision), axis=1)
            np.minimum(nearest, distance, out=nearest)

    for colour in chosen:
        keep_away_from(colour)
    while len(chosen) < MOST_COLOURS:
        # The one that the eye that confuses it most tells best from all before.
        chosen.append(candidates[int(nearest.argmax())])
        keep_away_from(chosen[-1])
    return np.stack(chosen)


def distinct_colours(count: int) -> NDArray[np.uint8]:
    """So many colours, as far from each other as they can be for every kind of eye.

    The first seven are those of Okabe and Ito.  Each further one is, of those
    that are neither too dark, too bright nor too grey, the one that the least
    able eye tells best from all before.

    Parameters
    ----------
    count : int
        From 65 on, the colours begin again.

    Returns
    -------
    colours : ndarray of uint8, shape (count, 3)
        sRGB.
    """
    return _all_colours()[np.arange(count) % MOST_COLOURS]
