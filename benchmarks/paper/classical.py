"""Table 1 of the paper: classical filters, calibrated without ground truth.

    python benchmarks/paper/classical.py

The camera of scikit-image with normal noise of 0.1.  Median, wavelets and non-local means with
the parameters of the smallest self-supervised loss: the loss, PSNR of the J-invariant filter, of
its mixture with the image and of the plain filter; beside them scikit-image's filters of the same
name with its default parameters.  The wavelets of this project are averaged over shifts, those of
the paper were not, so scikit-image's are calibrated, too.  The other filters of the project
follow, which the paper does not have.  Writes results/paper/classical.json.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
from published import CLASSICAL
from shared import keep, noisy_camera, print_table, where
from skimage.filters import median
from skimage.restoration import denoise_nl_means, denoise_wavelet

import napari_noise2self as n2s
from napari_noise2self.engine.filters.catalogue import FILTER_NAMES, installed

DEFAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "median": median,
    "wavelet": denoise_wavelet,
    "nlm": denoise_nl_means,
}
UNSHIFTED = "wavelet of scikit-image"
PUBLISHED = {**CLASSICAL, UNSHIFTED: CLASSICAL["wavelet"]}


def unshifted(image: np.ndarray, sigma: float) -> np.ndarray:
    """scikit-image's wavelets as they come, at a strength."""
    return denoise_wavelet(image, sigma=sigma, rescale_sigma=True)


def rows(names: list[str]) -> list[dict]:
    """One line for each filter, best loss first."""
    clean, noisy = noisy_camera()
    ranges = {name: {} for name in names} | {UNSHIFTED: (unshifted, {"sigma": (0.02, 0.4)})}
    found = n2s.calibrate(noisy, ranges, n2s.Grid(4), plain=False)
    lines = []
    for curve in found.curves:
        assert curve.best is not None, curve.failure
        decibels = {
            output: n2s.psnr(clean, curve.best(noisy, output=output), data_range=1)
            for output in ("j-invariant", "mixed", "single-pass")
        }
        line = {
            "filter": str(curve.best),
            "loss": curve.score.loss,
            "error": curve.score.error,
            **decibels,
            "default": None,
            "chosen": curve.best.output,
            "evaluations": len(curve.points),
            "seconds": curve.seconds,
            "published": PUBLISHED.get(curve.filter),
        }
        if line["published"]:
            default = DEFAULTS[curve.filter.partition(" ")[0]]
            with warnings.catch_warnings():
                # That its default of rescale_sigma is about to change.
                warnings.simplefilter("ignore")
                line["default"] = n2s.psnr(clean, default(noisy), data_range=1)
        lines.append(line)
    return lines


def printed(line: dict) -> dict:
    """A line with the paper's numbers beside ours."""
    loss, *paper = [str(value) for value in line["published"] or ("", "", "", "")]
    cells = {"filter": line["filter"], "loss": f"{line['loss']:.5f}", "paper's loss": loss}
    for name, value in zip(("j-invariant", "mixed", "default"), paper, strict=True):
        cells[name] = "" if line[name] is None else f"{line[name]:.2f}"
        cells[f"paper's {name}"] = value
    return cells | {"plain": f"{line['single-pass']:.2f}", "seconds": f"{line['seconds']:.1f}"}


if __name__ == "__main__":
    began = time.perf_counter()
    lines = rows([name for name in FILTER_NAMES if installed(name) and name != "bm3d"])
    first = [line for line in lines if line["published"]]
    print_table([printed(line) for line in [*first, *(x for x in lines if x not in first)]])
    seconds = round(time.perf_counter() - began, 1)
    print(f"{seconds} s on {where()}")
    keep("classical", lines, seconds=seconds)
