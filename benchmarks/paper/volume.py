"""Volumes, which the paper does not have: slice by slice or all three axes at once.

    python benchmarks/paper/volume.py [--seeds 2]

Simulated nuclei, 16×128×128, in poor light, by an sCMOS camera, and the same with a third of the
light.  PSNR at the span of the truth of the project's defaults slice by slice, of its 3-D network,
and of the best Gaussian whose width was chosen with the truth.  Writes results/paper/volume.json.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter
from shared import keep, print_table, where

import napari_noise2self as n2s
from napari_noise2self.stacks import samples

SHAPE = (16, 128, 128)


def volumes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Noisy volume and truth, as recorded and with a third of the light."""
    sample = samples.nuclei(SHAPE, seed=1)
    noisy, truth = np.asarray(sample.noisy.data, np.float32), sample.truth
    # The camera of the sample: grey values per photoelectron, and of darkness.
    photons = np.maximum(truth - 100, 0) / 2.1 / 3
    rng = np.random.default_rng(0)
    dim = 2.1 * (rng.poisson(photons) + 1.4 * rng.standard_normal(SHAPE)) + 100
    return {
        "as recorded": (noisy, truth),
        "a third of the light": (dim.astype(np.float32), 2.1 * photons + 100),
    }


def best_gaussian(truth: np.ndarray, noisy: np.ndarray, span: float) -> float:
    """The best width in the plane and along z, chosen with the truth."""
    widths = [(z, w, w) for z in (0, 0.4, 0.7, 1) for w in np.arange(0.4, 3, 0.2)]
    return max(n2s.psnr(truth, gaussian_filter(noisy, w), data_range=span) for w in widths)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    rows = []
    for name, (noisy, truth) in volumes().items():
        span = float(np.ptp(np.percentile(truth, [0.1, 99.9])))
        row = {
            "light": name,
            "raw": n2s.psnr(truth, noisy, data_range=span),
            "gaussian": best_gaussian(truth, noisy, span),
        }
        for label, volume in (("slices", False), ("volume", True)):
            values, began = [], time.perf_counter()
            for seed in range(arguments.seeds):
                denoiser = n2s.Denoiser(n2s.TrainingConfig(volume=volume, seed=seed))
                denoised = denoiser.fit(noisy, "ZYX").predict(noisy, "ZYX")
                values.append(n2s.psnr(truth, denoised, data_range=span))
            row[label] = float(np.mean(values))
            row[f"{label}_spread"] = float(np.std(values))
            row[f"{label}_seconds"] = (time.perf_counter() - began) / arguments.seeds
        rows.append(row)
    print_table(rows)
    print(where())
    keep("volume", rows, shape=list(SHAPE), seeds=arguments.seeds)
