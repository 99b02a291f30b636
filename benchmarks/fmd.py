"""What is reached on real pairs in 10 and in 60 seconds, and what could be.

    python benchmarks/fmd.py [--seeds 3]
    python benchmarks/fmd.py --others

For frame 1 of the six FMD fields: defaults, timed inside a process that has imported
everything, and six times the automatic length; PSNR at range 255, scale-invariant PSNR
and SSIM; the other pairs with defaults.  This is timed: leave the machine alone meanwhile.

With --others these rows are completed by a Gaussian filter whose width was chosen with the
truth; non-local means and total variation whose strength was chosen without it, by the
self-supervised loss at the held-out positions; and BM3D at the estimated noise.  The
ceiling: the same network, crops and number of steps trained against a second frame (N2N,
where there is one) and against the truth (N2T), brought to the brightness of the frame.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import RESULTS, data_folder, machine, print_table, write_result
from pairs import FMD, PAIRS, best_gaussian, metric, quality, read
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

import napari_noise2self as n2s
from napari_noise2self.engine.config import TrainingConfig

try:
    from bm3d import bm3d
except ImportError:  # not a dependency: its licence forbids commercial use
    bm3d = None

# Times the automatic length: what fits into a minute.
LONG = 6
STRENGTHS = np.array([0.4, 0.6, 0.8, 1.0, 1.3, 1.7])


def filters(sigma: float) -> dict[str, Callable[[np.ndarray, float], np.ndarray]]:
    """Classical filters of an image whose noise is `sigma`, by their strength around 1."""
    found: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
        "nlm": lambda x, s: denoise_nl_means(
            x, h=s * sigma, sigma=sigma, fast_mode=True, patch_size=5, patch_distance=6
        ),
        "tv": lambda x, s: denoise_tv_chambolle(x, weight=2 * s * sigma),
    }
    return found


def calibrated(
    image: np.ndarray, function: Callable[[np.ndarray, float], np.ndarray]
) -> np.ndarray:
    """The filter at the strength with the smallest self-supervised loss, applied plainly."""
    image = image.astype(np.float32)
    grid = n2s.Grid(4)
    hidden = grid.labels(image.shape) == grid.held_out_subset(2)
    where = grid.held_out(image.shape)
    donut = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]) / 8
    masked = np.where(hidden, ndimage.convolve(image, donut, mode="reflect"), image)
    losses = [np.mean((function(masked, s) - image)[where] ** 2) for s in STRENGTHS]
    return function(image, STRENGTHS[int(np.argmin(losses))])


def against(
    image: np.ndarray, target: np.ndarray, objective: str, epochs: float | None = None
) -> tuple[np.ndarray, float]:
    """The image denoised by a network that was trained with `target` as its goal, and how long."""
    config = TrainingConfig(objective=objective, epochs=epochs)
    denoiser = n2s.Denoiser(config).fit(image, target=target)
    return denoiser.predict(image), denoiser.summary["epochs"]


def at_brightness_of(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The truth, mapped linearly to the grey values of a frame that has drifted."""
    slope, offset = np.polyfit(truth.ravel().astype(float), image.ravel().astype(float), 1)
    return slope * truth + offset


def judged(name: str, truth: np.ndarray, image: np.ndarray) -> dict[str, float]:
    span = 255.0 if name in FMD else float(np.ptp(np.percentile(truth, [0.1, 99.9])))
    slope, offset = np.polyfit(image.ravel().astype(float), truth.ravel().astype(float), 1)
    alike = image if name in FMD else slope * image + offset
    return {
        "psnr": quality(name, truth, image),
        "si_psnr": n2s.scale_invariant_psnr(truth, image),
        "ssim": n2s.ssim(truth, alike, data_range=span),
    }


def run(image: np.ndarray, **settings) -> tuple[np.ndarray, float, float, str]:
    began = time.perf_counter()
    denoiser = n2s.Denoiser(TrainingConfig(**settings)).fit(image)
    denoised = denoiser.predict(image)
    seconds = time.perf_counter() - began
    return denoised, seconds, denoiser.summary["epochs"], denoiser.resolved_output()


def ours(name: str, seeds: int, folder: Path) -> dict:
    """Denoised with defaults, and for FMD with LONG times the automatic length."""
    image, truth = read(folder / name), read(folder / PAIRS[name])
    row: dict = {"image": name, "metric": metric(name), "raw": quality(name, truth, image)}
    runs = []
    for seed in range(seeds):
        denoised, seconds, epochs, output = run(image, seed=seed)
        runs.append({**judged(name, truth, denoised), "seconds": seconds})
    row |= {
        "output": output,
        "default": float(np.mean([r["psnr"] for r in runs])),
        "default_worst": float(min(r["psnr"] for r in runs)),
        "seconds": float(np.mean([r["seconds"] for r in runs])),
        "seconds_worst": float(max(r["seconds"] for r in runs)),
        "si_psnr": float(np.mean([r["si_psnr"] for r in runs])),
        "ssim": float(np.mean([r["ssim"] for r in runs])),
    }
    if name in FMD:
        denoised, seconds, _, _ = run(image, epochs=LONG * epochs)
        row |= {"long": quality(name, truth, denoised), "long_seconds": seconds}
    return row


def others(name: str, folder: Path) -> dict[str, float]:
    """Classical filters, and for FMD the ceiling."""
    image, truth = read(folder / name), read(folder / PAIRS[name])
    row = {"gaussian_oracle": best_gaussian(name, truth, image)}
    report = n2s.estimate_noise(image).channels[0]
    sigma = report.mean_variance**0.5
    if not np.isfinite(sigma):
        sigma = float(image.std()) / 4
    for kind, function in filters(sigma).items():
        row[kind] = quality(name, truth, calibrated(image, function))
    if bm3d is not None:
        row["bm3d"] = quality(name, truth, bm3d(image.astype(np.float32), sigma))
    if name in FMD:
        second = folder / name.replace("raw1", "raw2")
        if second.exists():
            row["n2n"] = quality(name, truth, against(image, read(second), "n2n")[0])
        goal = at_brightness_of(image, truth)
        denoised, epochs = against(image, goal, "n2t")
        row["n2t"] = quality(name, truth, denoised)
        row["n2t_long"] = quality(name, truth, against(image, goal, "n2t", LONG * epochs)[0])
    return row


def keep(rows: list[dict], seeds: int, **extra) -> None:
    """Write what has been measured so far."""
    fields = [row for row in rows if row["image"] in FMD]
    means = {
        key: float(np.mean([row[key] for row in fields]))
        for key in fields[0]
        if all(isinstance(row.get(key), float) for row in fields)
    }
    write_result("fmd", rows, seeds=seeds, mean_of_fmd=means, **extra)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--others", action="store_true")
    arguments = parser.parse_args()
    folder = data_folder()
    if arguments.others:
        record = json.loads((RESULTS / "fmd.json").read_text())
        rows = record["rows"]
        for row in rows:
            row |= others(row["image"], folder)
            print_table([row])
            keep(rows, record["seeds"], timed=record.get("timed", record["machine"]))
    else:
        run(np.random.default_rng(0).normal(100, 10, (128, 128)), epochs=0.1)  # imports
        path = RESULTS / "fmd.json"
        before = json.loads(path.read_text())["rows"] if path.exists() else []
        rows = []
        for name in [*FMD, *(name for name in PAIRS if name not in FMD)]:
            row = ours(name, arguments.seeds, folder)
            print_table([row])
            # What --others has measured stays until it measures anew.
            older = next((old for old in before if old["image"] == name), {})
            rows.append(older | row)
            keep(rows, arguments.seeds, timed=machine())
    print_table([row for row in rows if row["image"] in FMD])
    print_table([row for row in rows if row["image"] not in FMD])
