"""Which output is best, and whether the one that is taken by itself is: over images and noise.

Truths are photographs and textures of scikit-image, simulated microscopy, and the ground truths of
the FMD pairs, all brought to grey values up to 255; on each five kinds of noise, from little to
much.  Denoised with the defaults; the gain of mixing that is told without the truth stands beside
what it is.

Run as ``python benchmarks/outputs.py``; rows that are in the result are not made again, so it can
be cut off and go on.  ``--rows 20`` ends after so many.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2gray

sys.path.insert(0, str(Path(__file__).parent))
from common import data_folder, kept_rows, print_table, write_result
from pairs import FMD, PAIRS, read

import napari_noise2self as n2s
from napari_noise2self.engine.trained import MIXED_FROM
from napari_noise2self.stacks import samples

SIDE = 384
PHOTOGRAPHS = [
    "camera",
    "brick",
    "coins",
    "grass",
    "gravel",
    "cell",
    "moon",
    "page",
    "text",
    "hubble_deep_field",
    "retina",
    "immunohistochemistry",
    "astronaut",
    "chelsea",
]
# Standard deviation of normal noise, or grey values per photon.
NOISES = {"normal": (3, 8, 20), "photons": (1, 5)}
OUTPUTS = ("single-pass", "j-invariant", "mixed")


def truths() -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and clean image."""
    for name in PHOTOGRAPHS:
        image = getattr(skimage.data, name)()
        yield name, (rgb2gray(image) * 255 if image.ndim == 3 else image).astype(float)
    cells = samples.cells((SIDE, SIDE), seed=3).truth.astype(float)
    yield "simulated cells", 5 + 220 * (cells - cells.min()) / np.ptp(cells)
    rng = np.random.default_rng(0)
    for width, density in ((1.0, 1.0), (1.5, 0.3)):
        emitters = rng.poisson(density, (SIDE, SIDE)) * rng.exponential(1, (SIDE, SIDE))
        light = ndimage.gaussian_filter(emitters, width, mode="wrap")
        yield f"emitters, {width} px", 5 + 220 * light / light.max()
    y, x = np.indices((SIDE, SIDE))
    disks = [np.hypot(y - cy, x - cx) - 14 for cy, cx in rng.uniform(0, SIDE, (40, 2))]
    yield "disks on black", 220 / (1 + np.exp(np.clip(np.min(disks, axis=0), -30, 30)))
    folder = data_folder()
    for name in FMD:
        yield PAIRS[name], read(folder / PAIRS[name]).astype(float)


def middle(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle of an image."""
    y, x = ((n - min(n, SIDE)) // 2 for n in image.shape)
    return image[y : y + SIDE, x : x + SIDE]


def noisy_versions(truth: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every kind of noise on an image."""
    for kind, levels in NOISES.items():
        for level in levels:
            rng = np.random.default_rng(0)
            if kind == "normal":
                noisy = truth + rng.normal(0, level, truth.shape)
            else:
                noisy = rng.poisson(truth / level) * level + rng.normal(0, 1, truth.shape)
            yield f"{kind} {level}", noisy.astype(np.float32)


def measure(truth: NDArray[np.float64], noisy: NDArray[np.float32]) -> dict[str, Any]:
    """What the outputs of a network with default settings are worth."""
    denoiser = n2s.Denoiser().fit(noisy)
    noise, summary = denoiser.trained.noise, denoiser.summary
    row: dict[str, Any] = {"raw": n2s.psnr(truth, noisy, data_range=255)}
    for output in OUTPUTS:
        try:
            denoised = denoiser.predict(noisy, output=output)
        except n2s.Noise2SelfError:  # the noise could not be estimated
            row[output] = None
        else:
            row[output] = n2s.psnr(truth, denoised, data_range=255)
    variance = noise.channels[0].mean_variance
    return row | {
        "taken": denoiser.resolved_output(),
        "told": 10 * np.log10(summary["score"] / variance) if variance > 0 else None,
        "variance / true": variance / float(np.mean((noisy - truth) ** 2)),
        "variance error": noise.variance_error,
        "known": noise.known,
        "correlated": noise.correlated,
    }


def summarised(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What was taken against the best of the outputs, against the single pass, and the input."""
    taken = np.array([row[row["taken"]] for row in rows])
    single = np.array([row["single-pass"] for row in rows])
    best = np.array([max(row[o] for o in OUTPUTS if row[o] is not None) for row in rows])
    raw = np.array([row["raw"] for row in rows])
    gained = (taken - single)[[row["taken"] == "mixed" for row in rows]]
    return {
        "images and noises": len(rows),
        "mixed taken": gained.size,
        "there against the single pass, mean": float(gained.mean()) if gained.size else None,
        "there against the single pass, worst": float(gained.min(initial=np.inf)),
        "taken below the best, mean": float((best - taken).mean()),
        "taken below the best, worst": float((best - taken).max()),
        "single pass below its input": int((single < raw).sum()),
        "single pass above its input, worst": float((single - raw).min()),
        "taken below its input": int((taken < raw).sum()),
        "taken above its input, worst": float((taken - raw).min()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10**6, help="end after so many new ones")
    left = parser.parse_args().rows
    rows = kept_rows("outputs")
    done = {(row["image"], row["noise"]) for row in rows}
    for name, image in truths():
        truth = middle(image)
        for noise, noisy in noisy_versions(truth):
            if (name, noise) in done or not left:
                continue
            left -= 1
            row = {"image": name, "noise": noise, **measure(truth, noisy)}
            print({key: round(v, 2) if isinstance(v, float) else v for key, v in row.items()})
            rows.append(row)
            write_result("outputs", rows, threshold=MIXED_FROM["mean"], summary=summarised(rows))
    print_table(rows)
    print(summarised(rows))


if __name__ == "__main__":
    main()
