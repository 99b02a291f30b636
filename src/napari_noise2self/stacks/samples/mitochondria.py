"""Mitochondria under a laser scanning microscope, whose noise is correlated along rows."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_noise2self.stacks.samples.detectors import Sample, Scanner, recorded
from napari_noise2self.stacks.samples.drawing import cloud, deposit, generator, wander

_PIXEL = 0.08  # µm
# Standard deviations of the blur in pixels: the tube and the microscope together.
_TUBE = 1.9


def mitochondria(shape: tuple[int, int] = (384, 384), seed: int = 0) -> Sample:
    """Mitochondria under a laser scanning microscope.

    Its electronics are slower than its scan, so that the noise of neighbours
    in a row is correlated: a denoiser that hides single pixels keeps it.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels of 0.08 µm.
    seed : int

    Returns
    -------
    sample : Sample
        In 8 bit.
    """
    rng = generator(shape, seed, ndim=2)
    light = np.zeros(shape, np.float32)
    spacing = 230
    rows, columns = (math.ceil(n / spacing) + 1 for n in shape)
    for row in range(rows):
        for column in range(columns):
            centre = (np.array((row, column)) - 0.2 + rng.uniform(-0.2, 0.2, 2)) * spacing
            count = int(rng.integers(85, 130))
            # Around the nucleus, and fewer of them further out.
            angle = rng.uniform(0, 2 * np.pi, count)
            away = rng.uniform(34, 42) + rng.gamma(1.6, 26, count)
            start = centre[:, None] + away * np.stack([np.sin(angle), np.cos(angle)])
            heading = angle + rng.normal(math.pi / 2, 0.7, count)
            points, _ = wander(start, heading, 200, 45, rng)
            length = np.clip(rng.gamma(2, 38, count), 16, 200)
            label = np.clip(1 + 1.2 * gaussian_filter(rng.normal(0, 1, (count, 200)), (0, 5)), 0, 3)
            weights = 13 * rng.lognormal(0, 0.3, (count, 1)) * label
            weights = weights * (np.arange(200) < length[:, None])
            deposit(light, points.reshape(2, -1), weights.ravel())
    sharp = gaussian_filter(light, _TUBE)
    # A tube is never twice as bright where two cross in a thin section.
    sharp = 11 * np.tanh(sharp / 11)
    cytoplasm = np.clip(1 + 0.4 * cloud(shape, 6, rng), 0.1, None)
    photons = 0.25 + sharp + 0.06 * gaussian_filter(light, 18) * cytoplasm
    sizes = dict.fromkeys("YX", (_PIXEL, "µm"))
    return recorded(
        photons.astype(np.float32),
        "YX",
        "simulated mitochondria",
        rng,
        detector=Scanner(),
        scale=sizes,
    )
