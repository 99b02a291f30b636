"""Microtubules in very little light."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_noise2self.stacks.samples.detectors import Camera, Sample, recorded
from napari_noise2self.stacks.samples.drawing import cloud, deposit, generator, wander

# Standard deviations of the blur in pixels: in focus, and a little above it.
_PSF, _ABOVE = 1.2, 3.0
# Pixels of a cheap chip differ: in gain, in offset, and some are much noisier than the rest.
_CAMERA = Camera(
    gain_spread=0.03,
    offset_spread=1.0,
    read_noise=1.6,
    read_noise_spread=0.4,
    noisy_pixels=0.004,
)


def filaments(shape: tuple[int, int] = (512, 512), seed: int = 0) -> Sample:
    """Microtubules that radiate from the centres of cells, in very little light.

    A few photons per pixel, seen by an sCMOS camera each pixel of which has
    its own gain, offset and read noise.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels of 0.108 µm.
    seed : int

    Returns
    -------
    sample : Sample
    """
    rng = generator(shape, seed, ndim=2)
    focused, above = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    spacing = 300
    rows, columns = (n // spacing + 2 for n in shape)
    for row in range(rows):
        for column in range(columns):
            centre = (np.array((row, column)) - 0.25 + rng.uniform(-0.25, 0.25, 2)) * spacing
            count = int(rng.integers(70, 110))
            heading = rng.uniform(0, 2 * np.pi, count)
            # They set out from around the centre, not from one point.
            start = centre[:, None] + rng.normal(0, 7, (2, count))
            points, _ = wander(start, heading, 900, 260, rng)
            length = rng.uniform(0.25, 1, count) * rng.uniform(600, 900)
            label = gaussian_filter(rng.normal(0, 1, (count, 900)), (0, 8)) * 3
            light = 5.5 * rng.lognormal(0, 0.25, (count, 1)) * np.clip(1 + 0.4 * label, 0.1, None)
            light = light * (np.arange(900) < length[:, None])
            # Some run above the focus.
            high = rng.random(count) < 0.35
            for layer, chosen in ((focused, ~high), (above, high)):
                deposit(layer, points[:, chosen].reshape(2, -1), light[chosen].ravel())
    free = np.clip(1 + 0.5 * cloud(shape, 40, rng), 0.2, None)
    photons = (
        0.8
        + 0.6 * free
        + gaussian_filter(focused, _PSF)
        + gaussian_filter(above, _ABOVE)
        + 0.25 * gaussian_filter(focused + above, 16)
    )
    return recorded(photons.astype(np.float32), "YX", "simulated filaments", rng, detector=_CAMERA)
