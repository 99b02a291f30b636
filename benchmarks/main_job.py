"""The main job with defaults only: time, memory and quality.

    python benchmarks/main_job.py [--seeds 5]

Timed, from the start of a process of `napari-noise2self denoise` to its end, with its
peak memory: two fields of FMD and an image of 2048 x 2048 pixels.  Then the quality on
every pair with independent noise and every seed, by `napari_noise2self.denoise`.  Beside
it stand a Gaussian filter whose width was chosen with the truth, and non-local means as
scikit-image ships it, on the same machine and in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from common import INDEPENDENT_PAIRS, data_folder, print_table, write_result
from scipy import ndimage
from skimage.io import imread
from skimage.restoration import denoise_nl_means

import napari_noise2self as n2s
from napari_noise2self.stacks.samples import cells


def read(path: Path) -> np.ndarray:
    return tifffile.imread(path) if path.suffix == ".tif" else imread(path)


def quality(name: str, truth: np.ndarray, image: np.ndarray) -> float:
    if name.startswith("fmd/"):
        return n2s.psnr(truth, image, data_range=255)
    return n2s.scale_invariant_psnr(truth, image)


def run(source: Path, target: Path, *options: str) -> tuple[dict, float, float]:
    """The JSON record of one process, its wall seconds and its peak memory in GB."""
    command = [sys.executable, "-m", "napari_noise2self", "denoise", str(source), str(target)]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*command, "--json", "--overwrite", *options], stdout=output, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        output.seek(0)
        record = json.loads(output.read())
    if status:
        raise RuntimeError(f"{source} failed: {record}")
    return record, seconds, usage.ru_maxrss / 2**20


def best_gaussian(name: str, truth: np.ndarray, image: np.ndarray) -> float:
    widths = np.arange(0.5, 4.05, 0.1)
    blurred = (ndimage.gaussian_filter(image.astype(float), width) for width in widths)
    return max(quality(name, truth, b) for b in blurred)


def nonlocal_means(name: str, truth: np.ndarray, image: np.ndarray) -> float:
    values = image.astype(np.float32)
    # The noise from the median of the differences of diagonal neighbours.
    differences = values[1:, 1:] - values[1:, :-1] - values[:-1, 1:] + values[:-1, :-1]
    sigma = max(float(np.median(np.abs(differences))) / 1.349, 0.5)
    result = denoise_nl_means(values, h=0.8 * sigma, sigma=sigma, fast_mode=True)
    return quality(name, truth, result)


def timed(seeds: int, folder: Path) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "denoised.tif"
        for name in list(INDEPENDENT_PAIRS)[:2]:
            image, truth = read(folder / name), read(folder / INDEPENDENT_PAIRS[name])
            measured = []
            for seed in range(seeds):
                _, seconds, memory = run(
                    folder / name, target, "--dtype", "float32", "--seed", str(seed)
                )
                measured.append((quality(name, truth, tifffile.imread(target)), seconds, memory))
            values, seconds, memory = np.array(measured).T
            rows.append(
                {
                    "image": name,
                    "raw": quality(name, truth, image),
                    "denoised": float(values.mean()),
                    "worst": float(values.min()),
                    "seconds": float(seconds.mean()),
                    "worst_seconds": float(seconds.max()),
                    "memory_gb": float(memory.max()),
                }
            )
            print_table(rows[-1:])
    return rows


def real_pairs(seed: int, folder: Path, rows: dict[str, dict]) -> None:
    """Denoise every pair with one more seed."""
    for name, truth_name in INDEPENDENT_PAIRS.items():
        image, truth = read(folder / name), read(folder / truth_name)
        if name not in rows:
            rows[name] = {
                "image": name,
                "metric": "PSNR 255" if name.startswith("fmd/") else "SI-PSNR",
                "raw": quality(name, truth, image),
                "gaussian_oracle": best_gaussian(name, truth, image),
                "nlm": nonlocal_means(name, truth, image),
                "values": [],
            }
        row = rows[name]
        row["values"].append(quality(name, truth, n2s.denoise(image, seed=seed)))
        row |= {"mean": float(np.mean(row["values"])), "worst": float(np.min(row["values"]))}


def large_image() -> dict:
    """One 16-bit image of 2048 x 2048 pixels, made of sixteen simulated ones."""
    samples = [cells(seed=seed) for seed in range(16)]
    noisy, truth = (
        np.block([[get(samples[4 * row + column]) for column in range(4)] for row in range(4)])
        for get in (lambda sample: sample.noisy.data, lambda sample: sample.truth)
    )
    with tempfile.TemporaryDirectory() as temporary:
        source, target = Path(temporary) / "large.tif", Path(temporary) / "denoised.tif"
        tifffile.imwrite(source, noisy)
        _, seconds, memory = run(source, target, "--dtype", "float32")
        peak = float(truth.max())
        return {
            "image": "simulated cells 2048x2048 uint16",
            "raw": n2s.psnr(truth, noisy, data_range=peak),
            "denoised": (denoised := n2s.psnr(truth, tifffile.imread(target), data_range=peak)),
            "worst": denoised,
            "seconds": seconds,
            "worst_seconds": seconds,
            "memory_gb": memory,
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    folder = data_folder()
    timings = [*timed(arguments.seeds, folder), large_image()]
    print_table(timings)
    rows: dict[str, dict] = {}
    for seed in range(arguments.seeds):
        real_pairs(seed, folder, rows)
        # Written after every seed: a run that is cut off keeps the whole ones.
        record = {"seeds": seed + 1, "timed_seeds": arguments.seeds, "timed": timings}
        write_result("main_job", list(rows.values()), **record)
        table = [{k: v for k, v in row.items() if k != "values"} for row in rows.values()]
        print_table(table)
