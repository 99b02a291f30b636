"""Simulated microscopy with a known truth, for demonstrations and tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.stack import Stack

Image = NDArray[np.float32]

PIXEL = 0.108  # µm, a 60x objective on a camera of 6.5 µm pixels
_DEPTH_STEP = 0.3  # µm
_PSF = 1.2  # standard deviation in pixels

# The camera: grey values per photoelectron, and the grey value of darkness.
_GAIN = 2.1
_OFFSET = 100.0


@dataclass(frozen=True)
class Sample:
    """A noisy image and what it shows.

    Attributes
    ----------
    noisy : Stack
        As a camera would have recorded it, uint16.
    truth : ndarray of float32
        The same without noise, in the same grey values.
    """

    noisy: Stack
    truth: Image


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
    rng = _generator(shape, seed, ndim=2)
    photons = np.zeros(shape, np.float32)
    spacing = 200
    rows, columns = (math.ceil(n / spacing) + 1 for n in shape)
    texture = 0.6 * _cloud(shape, 3, rng) + 0.8 * _cloud(shape, 12, rng)
    chromatin = 0.5 * _cloud(shape, 2.2, rng) + 0.5 * _cloud(shape, 6, rng)
    for row in range(rows):
        for column in range(columns):
            centre = (np.array((row, column)) - 0.25 + rng.uniform(-0.22, 0.22, 2)) * spacing
            photons += _cell(centre, shape, texture, chromatin, rng)
    blurred = gaussian_filter(photons, _PSF)
    haze = gaussian_filter(photons, 14)
    return _recorded(1 + 0.5 * blurred + 0.25 * haze, "YX", "simulated cells", rng)


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
    rng = _generator(shape, seed, ndim=3)
    depth, height, width = shape
    chromatin = 0.6 * _cloud(shape, (1, 2.5, 2.5), rng) + 0.4 * _cloud(shape, (2, 7, 7), rng)
    z, y, x = np.ogrid[:depth, :height, :width]
    photons = np.zeros(shape, np.float32)
    for _ in range(max(3, height * width // 5000)):
        cz, cy, cx = rng.uniform(0, 1, 3) * shape
        radius, angle, stretch = rng.uniform(24, 34), rng.uniform(0, np.pi), rng.uniform(0.7, 1)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        w = (z - cz) * _DEPTH_STEP / PIXEL
        distance = np.sqrt(u**2 + (v / stretch) ** 2 + (w / 0.8) ** 2) - radius
        inside = 1 / (1 + np.exp(np.clip(distance, -30, 30)))
        glow = inside * rng.uniform(10, 28) * np.clip(1 + 0.6 * chromatin, 0.1, None)
        photons = np.maximum(photons, glow.astype(np.float32))
    blurred = gaussian_filter(photons, (1.2, _PSF, _PSF))
    haze = gaussian_filter(photons, (4, 12, 12))
    return _recorded(1.5 + blurred + 0.4 * haze, "ZYX", "simulated nuclei", rng)


def _generator(shape: Sequence[int], seed: int, ndim: int) -> Generator:
    if len(shape) != ndim or min(shape) < 1:
        raise InputError(f"The shape {tuple(shape)} must be {ndim} numbers of at least 1.")
    return np.random.default_rng(seed)


def _cloud(shape: Sequence[int], size: float | Sequence[float], rng: Generator) -> Image:
    """Smooth noise of unit variance whose blobs have the given size."""
    # Sampled on a torus: no image is too small for its blobs.
    cloud = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), size, mode="wrap")
    return np.asarray((cloud - cloud.mean()) / max(float(cloud.std()), 1e-6), np.float32)


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
    _deposit(light, np.concatenate(points, axis=1), np.concatenate(weights))

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


def _deposit(light: Image, points: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
    """Add points of light between pixels, shared among the four around each."""
    corner = np.floor(points).astype(int)
    part = points - corner
    for down in (0, 1):
        for right in (0, 1):
            y, x = corner[0] + down, corner[1] + right
            share = np.abs(1 - down - part[0]) * np.abs(1 - right - part[1]) * weights
            seen = (y >= 0) & (x >= 0) & (y < light.shape[0]) & (x < light.shape[1])
            np.add.at(light, (y[seen], x[seen]), share[seen])


def _recorded(photons: Image, axes: str, name: str, rng: Generator) -> Sample:
    """What an sCMOS camera makes of the expected photoelectrons per pixel.

    Every pixel of the chip has its own gain, offset and read noise; the truth
    is what it would show on average at the mean gain and offset.
    """
    chip = photons.shape[-2:]
    gain = _GAIN * rng.normal(1, 0.01, chip)
    offset = rng.normal(_OFFSET, 0.4, chip)
    # Electrons; few pixels are much worse than the rest.
    read_noise = 1.4 * rng.lognormal(0, 0.3, chip)
    electrons = rng.poisson(photons) + read_noise * rng.standard_normal(photons.shape)
    grey = np.clip(np.rint(gain * electrons + offset), 0, 65535).astype(np.uint16)
    scale = {"Z": _DEPTH_STEP, "Y": PIXEL, "X": PIXEL}
    noisy = Stack(
        grey, axes, tuple(scale[letter] for letter in axes), ("µm",) * len(axes), name=name
    )
    return Sample(noisy, (_GAIN * photons + _OFFSET).astype(np.float32))
