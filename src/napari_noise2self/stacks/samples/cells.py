"""Fluorescent cells under a wide-field microscope."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_noise2self.stacks.samples.detectors import Sample, recorded
from napari_noise2self.stacks.samples.drawing import Image, cloud, deposit, generator

PSF = 1.2  # standard deviation in pixels


def cells(shape: tuple[int, int] = (512, 512), seed: int = 0) -> Sample:
    """Fluorescent cells under a wide-field microscope.

    Stress fibres in spread cells, textured nuclei, vesicles, and light from
    out of focus, seen by an sCMOS camera in poor light.

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
    photons = np.zeros(shape, np.float32)
    spacing = 200
    rows, columns = (math.ceil(n / spacing) + 1 for n in shape)
    texture = 0.6 * cloud(shape, 3, rng) + 0.8 * cloud(shape, 12, rng)
    chromatin = 0.5 * cloud(shape, 2.2, rng) + 0.5 * cloud(shape, 6, rng)
    for row in range(rows):
        for column in range(columns):
            centre = (np.array((row, column)) - 0.25 + rng.uniform(-0.22, 0.22, 2)) * spacing
            photons += _cell(centre, shape, texture, chromatin, rng)
    blurred = gaussian_filter(photons, PSF)
    haze = gaussian_filter(photons, 14)
    return recorded(1 + 0.5 * blurred + 0.25 * haze, "YX", "simulated cells", rng)


def _cell(
    centre: NDArray[np.float64],
    shape: tuple[int, int],
    texture: Image,
    chromatin: Image,
    rng: Generator,
) -> Image:
    """One spread cell: expected photons per pixel, in perfect focus."""
    radius = rng.uniform(80, 120)
    brightness = rng.uniform(0.6, 1.2)
    light = np.zeros(shape, np.float32)

    # The outline: an ellipse with lobes.
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.1, 1.6)
    lobes = [(k, rng.normal(0, 0.25 / k), rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5, 7)]

    def fraction(points: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Distance from the centre as a share of the way to the outline."""
        dy, dx = points[0] - centre[0], points[1] - centre[1]
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / stretch
        v = (dy * np.cos(angle) - dx * np.sin(angle)) * stretch
        theta = np.arctan2(v, u)
        outline = 1 + sum(size * np.cos(k * theta + phase) for k, size, phase in lobes)
        return np.asarray(np.hypot(u, v) / (radius * np.maximum(outline, 0.3)))

    y, x = np.ogrid[: shape[0], : shape[1]]
    far = fraction((y.astype(np.float64), x.astype(np.float64)))
    inside = 1 / (1 + np.exp(np.clip((far - 1) * 40, -30, 30)))
    thickness = np.sqrt(np.clip(1 - far**2, 0, None))
    light += brightness * inside * (1 + 3.5 * thickness) * np.clip(1 + 0.35 * texture, 0.1, None)
    light += brightness * 4 * np.exp(-(((far - 0.98) / 0.012) ** 2)).astype(np.float32)

    # Stress fibres run along the cell, each a little curved.
    points, weights = [], []
    for _ in range(rng.integers(26, 42)):
        length = rng.uniform(0.5, 1.7) * radius * stretch
        steps = np.linspace(-0.5, 0.5, max(int(2 * length), 2))
        heading = angle + rng.normal(0, 0.16)
        along, across = rng.uniform(-0.35, 0.35) * radius, rng.uniform(-0.85, 0.85) * radius
        bend = rng.normal(0, 0.12) * length
        u = along + steps * length
        v = across / stretch + bend * (4 * steps**2 - 1) / 4
        line = (
            centre[0] + u * np.sin(heading) + v * np.cos(heading),
            centre[1] + u * np.cos(heading) - v * np.sin(heading),
        )
        within = fraction(line) < 0.97
        beads = 1 + 0.3 * np.sin(steps * length / rng.uniform(3, 8) + rng.uniform(0, 6))
        ends = np.clip(8 * (0.5 - np.abs(steps)), 0, 1)
        points.append(np.stack(line)[:, within])
        weights.append((brightness * rng.lognormal(1.7, 0.6) * beads * ends)[within])

    # Vesicles gather around the nucleus.
    count = int(rng.integers(25, 60))
    place = centre[:, None] + rng.normal(0, 0.38 * radius, (2, count))
    kept = fraction((place[0], place[1])) < 0.9
    points.append(place[:, kept])
    weights.append((brightness * rng.lognormal(4.4, 0.6, count))[kept])
    deposit(light, np.concatenate(points, axis=1), np.concatenate(weights))

    # The nucleus lies on top, with chromatin and dark nucleoli.
    tilt, size = angle + rng.normal(0, 0.3), rng.uniform(0.24, 0.32) * radius
    dy, dx = y - centre[0], x - centre[1]
    u = dx * np.cos(tilt) + dy * np.sin(tilt)
    v = dy * np.cos(tilt) - dx * np.sin(tilt)
    nucleus = 1 / (1 + np.exp(np.clip(np.hypot(u / 1.3, v) - size, -30, 30)))
    glow = 14 * brightness * np.clip(1 + 0.45 * chromatin, 0.15, None)
    for _ in range(rng.integers(2, 5)):
        ny, nx = centre + rng.normal(0, 0.45 * size, 2)
        glow *= 1 - 0.75 * np.exp(-((y - ny) ** 2 + (x - nx) ** 2) / (2 * rng.uniform(3, 5) ** 2))
    return np.asarray(light * (1 - 0.5 * nucleus) + nucleus * glow, np.float32)
