"""Which output to take: single pass, J-invariant or mixed, for each replacement.

    python benchmarks/paper/inference.py [--seeds 3]

A UNet with the project's recipe on 160×160 pixels of the camera with normal noise of 0.1, trained
with each replacement s(x) on the grid of the reference code (width 4), and with the paper's random
partition into 25 subsets.  Prints the PSNR of the three outputs, and the score.  The paper shows
its J-invariant outputs for filters and does not say which it took for networks; its code can do
both.  Writes results/paper/inference.json.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, get_args

import numpy as np
from shared import keep, noisy_camera, print_table, where

import napari_noise2self as n2s
from napari_noise2self.engine.config import Replacement

PART = np.s_[160:320, 160:320]
PARTITIONS = {"grid 4": n2s.Grid(4), "random 25": n2s.RandomPartition(25)}
OUTPUTS = ("single-pass", "j-invariant", "mixed")


def run(
    clean: np.ndarray, noisy: np.ndarray, settings: n2s.TrainingConfig
) -> dict[str, float | None]:
    """PSNR of each output, and the score."""
    denoiser = n2s.Denoiser(settings).fit(noisy)
    values: dict[str, float | None] = {}
    for output in OUTPUTS:
        try:
            values[output] = n2s.psnr(clean, denoiser.predict(noisy, output=output), data_range=1)
        except n2s.Noise2SelfError:  # the noise could not be told
            values[output] = None
    return values | {"score": denoiser.summary["score"]}


def averaged(runs: list[dict[str, float | None]]) -> dict[str, Any]:
    """Mean over seeds, and the largest standard deviation of the outputs."""
    row: dict[str, Any] = {}
    spreads = [0.0]
    for key in (*OUTPUTS, "score"):
        values = [run[key] for run in runs if run[key] is not None]
        row[key] = float(np.mean(values)) if values else None
        if key != "score" and len(values) > 1:
            spreads.append(float(np.std(values, ddof=1)))
    return row | {"spread": max(spreads), "seeds": len(runs)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    clean, noisy = (image[PART].astype(np.float32) for image in noisy_camera())
    began, rows = time.perf_counter(), []
    for name, partition in PARTITIONS.items():
        for replacement in get_args(Replacement):
            since = time.perf_counter()
            runs = [
                run(
                    clean,
                    noisy,
                    n2s.TrainingConfig(partition=partition, replacement=replacement, seed=seed),
                )
                for seed in range(arguments.seeds)
            ]
            row = {"partition": name, "replacement": replacement, **averaged(runs)}
            rows.append(row | {"seconds": time.perf_counter() - since})
            seconds = round(time.perf_counter() - began, 1)
            keep("inference", rows, raw=n2s.psnr(clean, noisy, data_range=1), seconds=seconds)
    print_table([{**row, "score": f"{row['score']:.5f}"} for row in rows])
    print(f"noisy: {n2s.psnr(clean, noisy, data_range=1):.2f} dB; {seconds} s on {where()}")
