"""Vesicles on their ways, in a movie that bleaches."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_noise2self.stacks.samples.detectors import Sample, recorded
from napari_noise2self.stacks.samples.drawing import (
    Floats,
    cloud,
    deposit,
    generator,
    inside,
    wander,
)

_INTERVAL = 0.5  # s
_PSF = 1.5  # standard deviation in pixels
# Frames after which the light has fallen to 1/e.
_BLEACHING = 30.0


def vesicles(shape: tuple[int, int, int] = (24, 256, 256), seed: int = 0) -> Sample:
    """A time series of vesicles in a cell, some driven along filaments, some adrift.

    The light fades as the dye bleaches: a denoised movie should fade as much.

    Parameters
    ----------
    shape : tuple of int
        Frames 0.5 s apart, height and width in pixels of 0.108 µm.
    seed : int

    Returns
    -------
    sample : Sample
        With the axes TYX.
    """
    rng = generator(shape, seed, ndim=3)
    frames, height, width = shape
    # Also outside the image: they come in as others leave.
    margin = 40
    count = max(8, (height + 2 * margin) * (width + 2 * margin) // 600)
    start = rng.uniform(-margin, [[height + margin], [width + margin]], (2, count))
    adrift = start[:, :, None] + np.cumsum(rng.normal(0, 0.7, (2, count, frames)), axis=2)
    # Steps along a line, half a pixel each, now this way and now that, with pauses.
    speed = rng.choice([-1, 0, 0, 1], (count, 1)) * rng.uniform(2, 8, (count, 1))
    pace = speed * (rng.random((count, frames)) < 0.75)
    travelled = np.cumsum(pace, axis=1)
    places = np.rint(travelled - travelled.min(axis=1, keepdims=True)).astype(int)
    line, _ = wander(start, rng.uniform(0, 2 * np.pi, count), int(places.max()) + 1, 120, rng)
    driven = line[:, np.arange(count)[:, None], places]
    driven += rng.normal(0, 0.25, driven.shape)
    ways = np.where((speed != 0)[None], driven, adrift)
    brightness = 130 * rng.lognormal(0, 0.6, count)
    # The nucleus holds none of them, and nothing else that is labelled.
    y, x = np.ogrid[:height, :width]
    centre, tilt = rng.uniform(0.35, 0.65, 2) * (height, width), rng.uniform(0, np.pi)

    def outside_of_nucleus(y: Floats, x: Floats) -> Floats:
        dy, dx = y - centre[0], x - centre[1]
        u, v = dx * np.cos(tilt) + dy * np.sin(tilt), dy * np.cos(tilt) - dx * np.sin(tilt)
        return 1 - 0.9 * inside((np.hypot(u / 1.35, v) - 36) / 1.5)

    still = 2.0 * np.clip(1 + 0.35 * cloud((height, width), 2.5, rng), 0.1, None)
    still *= np.clip(1 + 0.3 * cloud((height, width), 50, rng), 0.3, None)
    still *= outside_of_nucleus(y.astype(float), x.astype(float))
    photons = np.empty(shape, np.float32)
    for frame in range(frames):
        light = np.zeros((height, width), np.float32)
        here = ways[:, :, frame]
        deposit(light, here, brightness * outside_of_nucleus(here[0], here[1]))
        sharp = gaussian_filter(light, _PSF) + 0.2 * gaussian_filter(light, 10)
        photons[frame] = 0.8 + (still + sharp) * np.exp(-frame / _BLEACHING)
    return recorded(photons, "TYX", "simulated vesicles", rng, scale={"T": (_INTERVAL, "s")})
