"""The pairs of noisy images and their truths, and how they are compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from common import INDEPENDENT_PAIRS, data_folder
from scipy import ndimage
from skimage.io import imread

import napari_noise2self as n2s

# Noise of neighbouring pixels is correlated in both directions, and along rows.
CORRELATED_PAIRS = {
    "fmd/WideField_BPAE_R_raw1.png": "fmd/WideField_BPAE_R_gt.png",
    "hagen/mito-confocal_low.png": "hagen/mito-confocal_high.png",
}
PAIRS = INDEPENDENT_PAIRS | CORRELATED_PAIRS
FMD = [name for name in PAIRS if name.startswith("fmd/")]


def read(path: Path) -> np.ndarray:
    """An image file as an array."""
    return tifffile.imread(path) if path.suffix == ".tif" else imread(path)


def quality(name: str, truth: np.ndarray, image: np.ndarray) -> float:
    """PSNR at range 255 for FMD, as in the literature; scale-invariant PSNR for the others."""
    if name.startswith("fmd/"):
        return n2s.psnr(truth, image, data_range=255)
    return n2s.scale_invariant_psnr(truth, image)


def metric(name: str) -> str:
    """What `quality` is called for this image."""
    return "PSNR 255" if name.startswith("fmd/") else "SI-PSNR"


def pairs() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, noisy image and truth of every pair."""
    folder = data_folder()
    for name, truth in PAIRS.items():
        yield name, read(folder / name), read(folder / truth)


def best_gaussian(name: str, truth: np.ndarray, image: np.ndarray) -> float:
    """The best Gaussian filter, its width chosen with the truth."""
    widths = np.arange(0.5, 4.05, 0.1)
    blurred = (ndimage.gaussian_filter(image.astype(float), width) for width in widths)
    return max(quality(name, truth, b) for b in blurred)
