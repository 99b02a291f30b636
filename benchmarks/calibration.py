"""Ours against `skimage.restoration.calibrate_denoiser`: the same minimum in fewer evaluations.

    python benchmarks/calibration.py

The same function and range for both, on 256×256 pixels of the camera with normal noise of 0.1.
scikit-image tries a grid of values, as fine as what ours ends with: 5 % apart for one
parameter, 15 % for two.  Both ways of its loss are run: one mask of 16 (its default,
`approximate_loss=True`), and all 16.  Ours runs on all 16 subsets with one thread, and with its
defaults on all cores, both without the curve of the plain filter.

Evaluations are settings; calls are how often the function ran.  The last columns judge what was
found by one loss for all: the mean squared difference of scikit-image's `denoise_invariant` from
the noisy image at all pixels, relative to the least of the table.

After that, all filters with defaults on the whole camera, and the PSNR of their outputs.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import noisy_camera, print_table, write_result
from skimage.restoration import (
    calibrate_denoiser,
    denoise_invariant,
    denoise_nl_means,
    denoise_tv_chambolle,
)

import napari_noise2self as n2s
from napari_noise2self.engine.calibration.calibrated import OUTPUTS
from napari_noise2self.engine.filters.catalogue import FILTER_NAMES, chosen, installed


class Counted:
    """A function that knows how often it was called."""

    def __init__(self, function: Callable[..., np.ndarray]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, image: np.ndarray, **settings: Any) -> np.ndarray:
        """Call it."""
        self.calls += 1
        return self.function(image, **settings)


def nlm(image: np.ndarray, h: float) -> np.ndarray:
    return denoise_nl_means(image, h=h, sigma=0.1, fast_mode=True, patch_size=5, patch_distance=6)


def tv(image: np.ndarray, weight: float) -> np.ndarray:
    return denoise_tv_chambolle(image, weight=weight)


def nlm_of_two(image: np.ndarray, h: float, sigma: float) -> np.ndarray:
    return denoise_nl_means(image, h=h, sigma=sigma, fast_mode=True, patch_size=5, patch_distance=6)


CASES: dict[str, tuple[Callable[..., np.ndarray], dict[str, tuple[float, float]], float]] = {
    "nlm": (nlm, {"h": (0.03, 0.3)}, 1.05),
    "tv": (tv, {"weight": (0.03, 0.5)}, 1.05),
    "nlm, two parameters": (nlm_of_two, {"h": (0.03, 0.3), "sigma": (0.03, 0.2)}, 1.15),
}


def judged(image: np.ndarray, function: Callable[..., np.ndarray], settings: dict) -> float:
    """The J-invariant loss at all pixels."""
    blind = denoise_invariant(image, function, stride=4, denoiser_kwargs=settings)
    return float(np.mean((blind - image) ** 2))


def measure(name: str, image: np.ndarray) -> list[dict[str, Any]]:
    function, ranges, ratio = CASES[name]
    rows = []
    for label, approximate in (("scikit-image, one mask", True), ("scikit-image, all", False)):
        if len(ranges) > 1 and not approximate:
            continue  # an hour
        values = {
            key: np.geomspace(low, high, 1 + round(np.log(high / low) / np.log(ratio)))
            for key, (low, high) in ranges.items()
        }
        counted = Counted(function)
        began = time.perf_counter()
        _, (tried, losses) = calibrate_denoiser(
            image,
            counted,
            denoise_parameters=values,
            stride=4,
            approximate_loss=approximate,
            extra_output=True,
        )
        seconds = time.perf_counter() - began
        best = tried[int(np.argmin(losses))]
        rows.append(row(name, label, len(tried), counted.calls, seconds, best))
    for label, wish in (
        ("ours, all subsets, one thread", {"subsets": "all", "workers": 1}),
        ("ours, defaults, all cores", {}),
    ):
        counted = Counted(function)
        began = time.perf_counter()
        # The functions are scikit-image's, which may run beside themselves.
        (own,) = chosen({name: (counted, ranges)}, (1, 1))
        own = dataclasses.replace(own, parallel=True)
        found = n2s.calibrate(image, [own], n2s.Grid(4), plain=False, **wish)
        seconds = time.perf_counter() - began
        (line,) = found.rows
        rows.append(
            row(name, label, line["evaluations"], counted.calls, seconds, line["parameters"])
        )
    return rows


def row(
    name: str, label: str, evaluations: int, calls: int, seconds: float, best: dict[str, float]
) -> dict[str, Any]:
    return {
        "filter": name,
        "search": label,
        "evaluations": evaluations,
        "calls": calls,
        "seconds": round(seconds, 1),
        "best": ", ".join(f"{key} {value:.3f}" for key, value in best.items()),
        "settings": {key: float(value) for key, value in best.items()},
    }


def families(clean: np.ndarray, noisy: np.ndarray) -> list[dict[str, Any]]:
    """All filters with defaults on the whole camera, and which output is best."""
    wanted = [name for name in FILTER_NAMES if installed(name)]
    found = n2s.calibrate(noisy, wanted, plain=False)
    rows = []
    for curve in found.curves:
        assert curve.best is not None, curve.failure
        decibels = {
            output: round(n2s.psnr(clean, curve.best(noisy, output=output), data_range=1), 2)
            for output in OUTPUTS
        }
        rows.append(
            {
                "filter": str(curve.best),
                "loss": f"{curve.score.loss:.5f}",
                **decibels,
                "evaluations": len(curve.points),
                "seconds": round(curve.seconds, 1),
            }
        )
    print_table(rows)
    print(f"{found.seconds:.1f} s, {found.subsets} subsets of {dict(found.partition)}")
    return rows


def keep(rows: list[dict[str, Any]], outputs: list[dict[str, Any]], **extra: Any) -> None:
    """Write what has been measured so far."""
    load = round(os.getloadavg()[0], 1)
    note = "the machine was shared: compare counts rather than seconds"
    write_result("calibration", rows, families=outputs, load=load, note=note, **extra)


if __name__ == "__main__":
    clean, noisy = noisy_camera()
    part = noisy[128:384, 128:384].astype(np.float32)
    n2s.calibrate(part, "gaussian", plain=False)  # imports
    rows = []
    for name, (function, _, _) in CASES.items():
        found = measure(name, part)
        losses = [judged(part, function, line.pop("settings")) for line in found]
        for line, loss in zip(found, losses, strict=True):
            line["loss"] = f"{loss:.6f}"
            line["relative"] = f"{loss / min(losses):.4f}"
        print_table(found)
        rows += found
        keep(rows, [], shape=list(part.shape))
    keep(rows, families(clean, noisy), shape=list(part.shape))
