"""What detectors make of light: the noise of the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from napari_noise2self.stacks.samples.drawing import Image
from napari_noise2self.stacks.stack import Stack

PIXEL = 0.108  # µm, a 60x objective on a camera of 6.5 µm pixels


@dataclass(frozen=True)
class Sample:
    """A noisy image and what it shows.

    Attributes
    ----------
    noisy : Stack
        As a detector would have recorded it, of whole grey values.
    truth : ndarray of float32
        The same without noise, in the same grey values.
    """

    noisy: Stack
    truth: Image


@dataclass(frozen=True)
class Camera:
    """An sCMOS camera, every pixel of whose chip is an amplifier of its own.

    Attributes
    ----------
    gain, gain_spread : float
        Grey values per photoelectron, and how much it differs from pixel to
        pixel, as a share.
    offset, offset_spread : float
        The grey value of darkness.
    read_noise, read_noise_spread : float
        The median standard deviation in electrons, and the spread of its
        logarithm.
    noisy_pixels : float
        Share of pixels whose read noise is six times that of the others.
    """

    gain: float = 2.1
    gain_spread: float = 0.01
    offset: float = 100.0
    offset_spread: float = 0.4
    read_noise: float = 1.4
    read_noise_spread: float = 0.3
    noisy_pixels: float = 0.0

    def record(self, photons: Image, rng: Generator) -> tuple[NDArray[Any], Image]:
        """What the camera shows of expected photoelectrons per pixel, and on average.

        Every plane is recorded by the same pixels.

        Returns
        -------
        grey : ndarray of uint16
        truth : ndarray of float32
            At the mean gain and offset.
        """
        chip = photons.shape[-2:]
        gain = self.gain * rng.normal(1, self.gain_spread, chip)
        offset = rng.normal(self.offset, self.offset_spread, chip)
        read_noise = self.read_noise * rng.lognormal(0, self.read_noise_spread, chip)
        if self.noisy_pixels:
            read_noise *= np.where(rng.random(chip) < self.noisy_pixels, 6, 1)
        electrons = rng.poisson(photons) + read_noise * rng.standard_normal(photons.shape)
        truth = np.asarray(self.gain * photons + self.offset, np.float32)
        return _digitised(gain * electrons + offset, np.uint16), truth


@dataclass(frozen=True)
class Scanner:
    """The photomultiplier of a laser scanning microscope, slower than its scan.

    Its electronics have not forgotten a pixel when the next one in the row
    comes: noise is correlated along X, and along X alone.

    Attributes
    ----------
    gain : float
        Grey values per photoelectron.
    offset : float
        The grey value of darkness.
    excess : float
        The variance of the amplification of one photoelectron, in squared
        means.
    electronic_noise : float
        Standard deviation, in photoelectrons.
    memory : float
        The share of a pixel that is left of it in the next one, and so on.
    """

    gain: float = 9.0
    offset: float = 12.0
    excess: float = 0.25
    electronic_noise: float = 0.4
    memory: float = 0.45

    def record(self, photons: Image, rng: Generator) -> tuple[NDArray[Any], Image]:
        """What the microscope shows of expected photoelectrons per pixel, and on average.

        Returns
        -------
        grey : ndarray of uint8
        truth : ndarray of float32
            What is smeared along rows is smeared in it, too.
        """
        electrons = rng.poisson(photons).astype(np.float64)
        electrons += np.sqrt(self.excess * electrons) * rng.standard_normal(photons.shape)
        electrons += self.electronic_noise * rng.standard_normal(photons.shape)
        truth = self.gain * self._smear(photons) + self.offset
        grey = self.gain * self._smear(electrons) + self.offset
        return _digitised(grey, np.uint8), np.asarray(np.clip(truth, 0, 255), np.float32)

    def _smear(self, rows: NDArray[Any]) -> NDArray[Any]:
        trail = self.memory ** np.arange(8)
        # The origin at its end: what is past leaves a trail, not what comes.
        weights = np.concatenate([np.zeros(7), trail / trail.sum()])[::-1]
        smeared: NDArray[Any] = np.empty_like(rows)
        correlate1d(rows, weights, axis=-1, output=smeared, mode="nearest")
        return smeared


def _digitised(grey: NDArray[Any], dtype: type) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(grey), limits.min, limits.max), dtype)


def recorded(
    photons: Image,
    axes: str,
    name: str,
    rng: Generator,
    *,
    detector: Camera | Scanner | None = None,
    scale: Mapping[str, tuple[float, str]] | None = None,
    channels: Sequence[tuple[str, str]] | None = None,
) -> Sample:
    """A sample: what a detector makes of expected photoelectrons per pixel.

    Parameters
    ----------
    photons : ndarray of float32
    axes : str
        One letter per axis.
    name : str
    rng : Generator
    detector : Camera or Scanner, optional
    scale : mapping, optional
        Distance and unit for axes other than Y and X, and for those if pixels
        are not those of a camera.
    channels : sequence of (str, str), optional
        Name and colour of each channel.

    Returns
    -------
    sample : Sample
    """
    grey, truth = (detector or Camera()).record(photons, rng)
    sizes = {"Y": (PIXEL, "µm"), "X": (PIXEL, "µm"), **(scale or {})}
    known = [sizes.get(letter, (None, None)) for letter in axes]
    noisy = Stack(
        grey,
        axes,
        tuple(size for size, _ in known),
        tuple(unit for _, unit in known),
        name=name,
        channel_names=None if channels is None else tuple(name for name, _ in channels),
        channel_colors=None if channels is None else tuple(colour for _, colour in channels),
    )
    return Sample(noisy, truth)
