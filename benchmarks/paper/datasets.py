"""The data of the paper's table of networks, or what stands for them here.

- **Hànzì** is made again: Chinese characters, white on black, 64×64, from a font of this machine,
  with the published noise.  The authors' list of 13 029 characters is not here; as many are drawn
  from those of the standards GB 2312 (simplified) and Big5 (traditional), 15 441 together.
- **Natural** stands for ImageNet: crops of the photographs that scikit-image ships, with the
  published noise.
- **Cells** stands for CellNet: simulated fluorescent cells, seen by an sCMOS camera.
- **Gaussian** is not in the paper: the crops of *natural* with normal noise of known variance, the
  ground on which Stein's unbiased risk estimate stands.

Every set has two noisy versions of each image, independent of each other, and the truth.  What is
trained on and what is tested on never share an image; where Hànzì is split by tile, as the
authors did, they share characters.

    python benchmarks/paper/datasets.py

prints the PSNR of the noisy images and draws docs/images/paper-data.png.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from metric import quality
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from published import TABLE
from shared import IMAGES, draw, print_table
from skimage import data

from napari_noise2self.stacks import samples

Images = NDArray[np.float32]

# ------------------------------------------------------------------- the sizes
# Images for training and for testing.
QUICK = {"hanzi": (1000, 100), "natural": (96, 12), "cells": (96, 12), "gaussian": (96, 12)}
FULL = {
    # Six tiles of each character, a tenth of them kept for the test.
    "hanzi": (70356, 7818),
    "natural": (4096, 256),
    "cells": (4096, 256),
    "gaussian": (4096, 256),
}
SIZES = {"quick": QUICK, "full": FULL}

# ---------------------------------------------------------------------- Hànzì
CHARACTERS = 13029
TILES = 6
SIDE = 64
FONT_SIZE, FONT_OFFSET = 50, (7, -1)
DELETED, DELETED_BELOW = 2048, 63
SIGMA = 0.7
# Another font makes other strokes: outside of this the numbers are not comparable.
RAW = (6.5, 6.75)
PREFERRED_FONTS = ("wqy-microhei", "NotoSansCJK", "SourceHanSans", "DroidSansFallback")

# -------------------------------------------------------------------- natural
CROP = 128
PHOTOGRAPHS: dict[str, dict[str, Callable[[], NDArray[np.uint8]]]] = {
    "train": {
        "coffee": data.coffee,
        "motorcycle": lambda: data.stereo_motorcycle()[0],
        "rocket": data.rocket,
    },
    "test": {"astronaut": data.astronaut, "chelsea": data.chelsea},
}
PHOTONS_AT_WHITE = 30
NATURAL_SIGMA, FLIPPED = 80, 0.2
GAUSSIAN_SIGMA = 50

# ---------------------------------------------------------------------- cells
# Ours, as CellNet's were never published: with them the noisy images have its PSNR.
FIELD = 512
CELL_PHOTONS = 20
GAIN_SPREAD = 0.05
READ_NOISE = 0.75
# Photons of `samples.cells` that are white: the 99.9th percentile over fields.
CELL_WHITE = 21.5


@dataclass(frozen=True)
class Part:
    """Images to train on, or to test on.

    Attributes
    ----------
    noisy, second, truth : ndarray of float32, shape (n, Y, X) or (n, Y, X, 3)
        Two independent noisy versions, and the truth.
    """

    noisy: Images
    second: Images
    truth: Images

    def first(self, count: int) -> Part:
        """The first images."""
        return Part(self.noisy[:count], self.second[:count], self.truth[:count])


@dataclass(frozen=True)
class Dataset:
    """A set of images with two noisy versions each.

    Attributes
    ----------
    name, title : str
    peak : float
        The white that PSNR is relative to.
    axes : str
        One letter per axis of its arrays.
    train, test : Part
    variance : float or None
        Of the noise, where it is normal and alike everywhere.
    """

    name: str
    title: str
    peak: float
    axes: str
    train: Part
    test: Part
    variance: float | None = None


def find_font() -> Path:
    """A font of this machine that has Chinese characters; the program ends where there is none."""
    found = []
    if shutil.which("fc-list"):
        listed = subprocess.run(
            ["fc-list", ":lang=zh", "file"], capture_output=True, text=True, check=False
        ).stdout
        found = sorted({line.strip().rstrip(":").strip() for line in listed.splitlines()} - {""})
    for name in PREFERRED_FONTS:
        for path in found:
            if name.lower() in path.lower():
                return Path(path)
    if found:
        return Path(found[0])
    sys.exit(
        "Hànzì is drawn with a font of this machine, and none with Chinese characters was found: "
        "install one, on Debian and Ubuntu `apt install fontconfig fonts-wqy-microhei`."
    )


def characters(seed: int = 0) -> list[str]:
    """13 029 characters of GB 2312 and Big5, in an order drawn by chance."""

    def known(character: str) -> bool:
        for codec in ("gb2312", "big5"):
            try:
                character.encode(codec)
            except UnicodeEncodeError:
                continue
            return True
        return False

    # The block of CJK unified ideographs.
    candidates = [c for c in map(chr, range(0x4E00, 0xA000)) if known(c)]
    order = np.random.default_rng(seed).permutation(len(candidates))[:CHARACTERS]
    return [candidates[i] for i in order]


def rendered(wanted: list[str]) -> Images:
    """White characters on black, 64×64, between 0 and 1."""
    font = ImageFont.truetype(str(find_font()), FONT_SIZE)
    tiles = np.empty((len(wanted), SIDE, SIDE), np.float32)
    for tile, character in zip(tiles, wanted, strict=True):
        image = Image.new("L", (SIDE, SIDE))
        ImageDraw.Draw(image).text(FONT_OFFSET, character, font=font, fill=255)
        tile[:] = np.asarray(image, np.float32) / 255
    return tiles


def hanzi_noise(truth: Images, rng: np.random.Generator) -> Images:
    """The published noise: 2048 pixels drawn with replacement are black, then normal, clipped."""
    noisy = truth.copy()
    for tile in noisy:
        y, x = rng.integers(0, DELETED_BELOW, (2, DELETED))
        tile[y, x] = 0
    noisy += SIGMA * rng.standard_normal(noisy.shape, np.float32)
    return np.clip(noisy, 0, 1, out=noisy)


def natural_noise(truth: Images, rng: np.random.Generator) -> Images:
    """The published noise, for grey values up to 255: Poisson, normal, and flipped to 0 or 255.

    Clipped at the end: only then the raw PSNR is near the published one.
    """
    photons = rng.poisson(truth * (PHOTONS_AT_WHITE / 255))
    noisy = photons * (255 / PHOTONS_AT_WHITE) + rng.normal(0, NATURAL_SIGMA, truth.shape)
    flipped = rng.random(truth.shape) < FLIPPED
    noisy = np.where(flipped, 255 * rng.integers(0, 2, truth.shape), noisy)
    return np.clip(noisy, 0, 255).astype(np.float32)


def gaussian_noise(truth: Images, rng: np.random.Generator) -> Images:
    """Normal noise of the same variance everywhere, not clipped."""
    return truth + np.float32(GAUSSIAN_SIGMA) * rng.standard_normal(truth.shape, np.float32)


def camera_noise(truth: Images, rng: np.random.Generator) -> Images:
    """An sCMOS camera in poor light: a gain per pixel, Poisson, read noise with heavy tails.

    Each image is read from another part of the chip, so the gains differ, and so do those of the
    second version.  Clipped at black and white.
    """
    gain = rng.normal(1, GAIN_SPREAD, truth.shape)
    read = READ_NOISE * rng.standard_cauchy(truth.shape)
    noisy = (gain * rng.poisson(CELL_PHOTONS * truth) + read) / CELL_PHOTONS
    return np.clip(noisy, 0, 1).astype(np.float32)


def _part(
    truth: Images, noise: Callable[[Images, np.random.Generator], Images], *seed: int
) -> Part:
    rng = np.random.default_rng(seed)
    return Part(noise(truth, rng), noise(truth, rng), truth)


@lru_cache(maxsize=2)
def _all_characters(count: int) -> Images:
    return rendered(characters()[:count])


def hanzi(size: str, split: str) -> Dataset:
    """Characters, split by "character" or, as the authors did, by "tile"."""
    train, test = SIZES[size]["hanzi"]
    if size == "quick":
        # One tile of each character, or two: one for training and one for the test.
        tiles = _all_characters(train + test)
        parts = (tiles[:train], tiles[train:] if split == "character" else tiles[:test])
    else:
        tiles = np.repeat(_all_characters(CHARACTERS), TILES, axis=0)
        if split == "tile":
            tiles = tiles[np.random.default_rng(1).permutation(len(tiles))]
        parts = (tiles[:train], tiles[train : train + test])
    return Dataset(
        "hanzi",
        f"Hànzì, split by {split}",
        1.0,
        "TYX",
        _part(parts[0], hanzi_noise, 0, 0),
        _part(parts[1], hanzi_noise, 0, 1),
    )


def _crops(part: str, count: int, seed: int) -> Images:
    """Squares of the photographs of a part, as many of each."""
    rng = np.random.default_rng(seed)
    photographs = [image() for image in PHOTOGRAPHS[part].values()]
    crops = np.empty((count, CROP, CROP, 3), np.float32)
    for number, crop in enumerate(crops):
        image = photographs[number % len(photographs)]
        y, x = (int(rng.integers(n - CROP + 1)) for n in image.shape[:2])
        crop[:] = image[y : y + CROP, x : x + CROP]
    return crops


def _photographs(
    name: str, title: str, size: str, noise: Callable, variance: float | None
) -> Dataset:
    train, test = SIZES[size][name]
    return Dataset(
        name,
        title,
        255.0,
        "TYXS",
        _part(_crops("train", train, 0), noise, 1, 0),
        _part(_crops("test", test, 1), noise, 1, 1),
        variance,
    )


def natural(size: str) -> Dataset:
    """Photographs with the noise of ImageNet."""
    return _photographs("natural", "natural RGB (stands for ImageNet)", size, natural_noise, None)


def gaussian(size: str) -> Dataset:
    """Photographs with normal noise."""
    title = f"natural RGB, normal noise of {GAUSSIAN_SIGMA}"
    return _photographs("gaussian", title, size, gaussian_noise, float(GAUSSIAN_SIGMA) ** 2)


def _fields(count: int, seed: int) -> Images:
    """Tiles of simulated cells between 0 and 1, from as many fields as it takes."""
    tiles: list[Images] = []
    while len(tiles) < count:
        sample = samples.cells((FIELD, FIELD), seed=seed)
        # From grey values back to photons: the offset and the gain of the sample's camera.
        photons = (sample.truth - 100.0) / 2.1
        truth = np.clip(photons / CELL_WHITE, 0, 1).astype(np.float32)
        side = FIELD // CROP
        blocks = truth.reshape(side, CROP, side, CROP).swapaxes(1, 2).reshape(-1, CROP, CROP)
        tiles.extend(blocks)
        seed += 1
    return np.stack(tiles[:count])


def cells(size: str) -> Dataset:
    """Simulated fluorescent cells, seen by an sCMOS camera."""
    train, test = SIZES[size]["cells"]
    return Dataset(
        "cells",
        "simulated cells (stand for CellNet)",
        1.0,
        "TYX",
        _part(_fields(train, 1000), camera_noise, 2, 0),
        _part(_fields(test, 0), camera_noise, 2, 1),
    )


# What the tables are made on: name of the data and how it is split.
NAMES = ("hanzi", "hanzi-tile", "natural", "cells", "gaussian")


@lru_cache(maxsize=1)
def load(name: str, size: str) -> Dataset:
    """A set of data by its name in `NAMES`, "quick" or "full"."""
    if name == "hanzi":
        return hanzi(size, "character")
    if name == "hanzi-tile":
        return hanzi(size, "tile")
    return {"natural": natural, "cells": cells, "gaussian": gaussian}[name](size)


def raw(found: Dataset) -> dict[str, float]:
    """PSNR of the noisy test images, as they are and rescaled in both ways."""
    return {
        how: quality(found.test.truth, found.test.noisy, found.peak, how)
        for how in ("as it is", "matched", "fitted")
    }


def check_raw(found: Dataset) -> None:
    """End the program where the noisy characters are not those of the paper."""
    value = raw(found)["as it is"]
    low, high = RAW
    if found.name == "hanzi" and not low <= value <= high:
        sys.exit(
            f"The noisy characters have a PSNR of {value:.2f} dB instead of {low} to {high}: the "
            f"font {find_font().name} draws other strokes, install fonts-wqy-microhei."
        )


def picture(sets: list[Dataset]) -> None:
    """One image of each set, clean and noisy."""
    plt = draw()
    figure, grid = plt.subplots(2, len(sets), figsize=(2.4 * len(sets), 5), layout="constrained")
    for column, found in zip(grid.T, sets, strict=True):
        number = 1 if found.name in ("natural", "gaussian") else 0
        for axis, images in zip(column, (found.test.truth, found.test.noisy), strict=True):
            axis.imshow(np.clip(images[number] / found.peak, 0, 1), cmap="gray", vmin=0, vmax=1)
            axis.axis("off")
        column[0].set_title(found.title.replace(" (", "\n("), fontsize=8)
    figure.savefig(IMAGES / "paper-data.png", dpi=90)


if __name__ == "__main__":
    sets = [load(name, "quick") for name in NAMES]
    lines = []
    for found in sets:
        check_raw(found)
        paper = TABLE.get(found.name, {}).get("raw", ("", None))[0]
        lines.append(
            {
                "data": found.title,
                "train": len(found.train.noisy),
                "test": len(found.test.noisy),
                **raw(found),
                "paper": str(paper),
            }
        )
    print_table(lines)
    picture([found for found in sets if "tile" not in found.title])
