"""The main job with defaults only: time and memory of a whole process.

    python benchmarks/main_job.py [--seeds 5]

Timed, from the start of a process of `napari-noise2self denoise` to its end, with its
peak memory: two fields of FMD and an image of 2048 x 2048 pixels.
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
from pairs import quality, read

import napari_noise2self as n2s
from napari_noise2self.stacks.samples import cells


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
    rows = [*timed(arguments.seeds, data_folder()), large_image()]
    write_result("main_job", rows, seeds=arguments.seeds)
    print_table(rows)
