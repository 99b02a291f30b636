"""Nuclei in three dimensions."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_noise2self.stacks.samples.detectors import PIXEL, Sample, recorded
from napari_noise2self.stacks.samples.drawing import cloud, generator, inside

DEPTH_STEP = 0.3  # µm
PSF = 1.2  # standard deviation in pixels
# A lower magnification: more cells.
_TISSUE = {"Z": (0.6, "µm"), "Y": (0.23, "µm"), "X": (0.23, "µm")}


def nuclei(shape: tuple[int, int, int] = (16, 256, 256), seed: int = 0) -> Sample:
    """A Z stack of textured nuclei.

    Parameters
    ----------
    shape : tuple of int
        Planes 0.3 µm apart, height and width in pixels of 0.108 µm.
    seed : int

    Returns
    -------
    sample : Sample
    """
    rng = generator(shape, seed, ndim=3)
    depth, height, width = shape
    chromatin = 0.6 * cloud(shape, (1, 2.5, 2.5), rng) + 0.4 * cloud(shape, (2, 7, 7), rng)
    z, y, x = np.ogrid[:depth, :height, :width]
    photons = np.zeros(shape, np.float32)
    # Deeper stacks hold more of them.
    for _ in range(max(3, height * width * max(depth, 16) // 80000)):
        cz, cy, cx = rng.uniform(0, 1, 3) * shape
        radius, angle, stretch = rng.uniform(24, 34), rng.uniform(0, np.pi), rng.uniform(0.7, 1)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        w = (z - cz) * DEPTH_STEP / PIXEL
        distance = np.sqrt(u**2 + (v / stretch) ** 2 + (w / 0.8) ** 2) - radius
        glow = inside(distance) * rng.uniform(10, 28) * np.clip(1 + 0.6 * chromatin, 0.1, None)
        photons = np.maximum(photons, glow.astype(np.float32))
    blurred = gaussian_filter(photons, (1.2, PSF, PSF))
    haze = gaussian_filter(photons, (4, 12, 12))
    return recorded(
        1.5 + blurred + 0.4 * haze, "ZYX", "simulated nuclei", rng, scale={"Z": (DEPTH_STEP, "µm")}
    )


def tissue(shape: tuple[int, int, int] = (16, 192, 192), seed: int = 0) -> Sample:
    """A Z stack of tissue in two channels: nuclei, and the membranes between cells.

    Parameters
    ----------
    shape : tuple of int
        Planes 0.6 µm apart, height and width in pixels of 0.23 µm.
    seed : int

    Returns
    -------
    sample : Sample
        With the axes CZYX.
    """
    rng = generator(shape, seed, ndim=3)
    depth, height, width = shape
    flatness = _TISSUE["Z"][0] / _TISSUE["X"][0]
    chromatin = 0.6 * cloud(shape, (1, 2.5, 2.5), rng) + 0.4 * cloud(shape, (2, 7, 7), rng)
    grid = np.ogrid[:depth, :height, :width]
    # Cells lie about as far apart as they are wide, also beyond the borders of the image.
    spacing = 44.0
    rows, columns = (int(n // spacing) + 3 for n in (height, width))
    centres = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    places = (centres.reshape(-1, 2) - 0.75 + rng.uniform(-0.33, 0.33, (rows * columns, 2))) * (
        spacing
    )
    heights = rng.normal(depth / 2, depth / 5, len(places))
    nuclear = np.zeros(shape, np.float32)
    nearest = np.full(shape, np.inf, np.float32)
    second = nearest.copy()
    for (cy, cx), cz in zip(places, heights, strict=True):
        u, v, w = grid[1] - cy, grid[2] - cx, (grid[0] - cz) * flatness
        distance = np.sqrt(u**2 + v**2 + (0.55 * w) ** 2).astype(np.float32)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
        angle, stretch, radius = rng.uniform(0, np.pi), rng.uniform(0.75, 1), rng.uniform(11, 15)
        along = u * np.cos(angle) + v * np.sin(angle)
        across = (v * np.cos(angle) - u * np.sin(angle)) / stretch
        ball = np.sqrt(along**2 + across**2 + w**2) - radius
        glow = inside(ball) * rng.uniform(9, 20) * np.clip(1 + 0.5 * chromatin, 0.15, None)
        nuclear = np.maximum(nuclear, glow.astype(np.float32))
    # Membranes lie where two cells are equally far; they are not labelled evenly.
    label = np.clip(1 + 0.35 * cloud(shape, (1.5, 4, 4), rng), 0.2, None)
    membranes = 16 * np.exp(-(((second - nearest) / 2.2) ** 2)) * label
    cytoplasm = 1.2 * np.clip(1 + 0.4 * cloud(shape, (1, 3, 3), rng), 0, None) * (nuclear < 1)
    channels = []
    for light in (nuclear, membranes + cytoplasm):
        sharp = gaussian_filter(light, (1.2, PSF, PSF))
        channels.append(1.5 + sharp + 0.35 * gaussian_filter(light, (4, 10, 10)))
    return recorded(
        np.stack(channels).astype(np.float32),
        "CZYX",
        "simulated tissue",
        rng,
        scale=_TISSUE,
        channels=[("nuclei", "#00ffff"), ("membranes", "#ff00ff")],
    )
