"""How large J should be: the trade-off that the paper describes without numbers.

    python benchmarks/paper/j_size.py [--seeds 2]

The more pixels are hidden together, the more targets a step of training has (less variance), and
the less is left to predict them from (more bias).  On 160×160 pixels of the camera with normal
noise of 0.1: grids of several widths, a checkerboard and random partitions into several numbers of
subsets.

- A UNet with the project's recipe, the same number of steps for all: PSNR of its outputs, and the
  score, whose pixels are other ones for each partition.
- Filters calibrated with each partition: PSNR of the plain and of the J-invariant one.  A donut
  (median, Gaussian) sees all pixels but its own, whatever the partition.

Writes results/paper/j_size.json and draws docs/images/paper-j-size.png.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from inference import PART, averaged, run
from shared import (
    BLUE,
    GREEN,
    IMAGES,
    ORANGE,
    PINK,
    SKY,
    draw,
    keep,
    noisy_camera,
    print_table,
    where,
)

import napari_noise2self as n2s

PARTITIONS = {
    **{f"grid {width}": n2s.Grid(width) for width in (2, 3, 4, 6, 8)},
    "checkerboard": n2s.Checkerboard(),
    **{f"random {subsets}": n2s.RandomPartition(subsets) for subsets in (2, 4, 9, 16, 25, 64)},
}
FILTERS = ("nlm", "tv", "wavelet", "gaussian", "median")
# Without wavelets, whose loss is too flat here to find the same parameter twice.
DRAWN = ("nlm", "tv", "gaussian", "median")


def calibrated(
    clean: np.ndarray, noisy: np.ndarray, partition: n2s.Grid
) -> dict[str, dict[str, Any]]:
    """Each filter with the parameters of its smallest loss."""
    found = n2s.calibrate(noisy, list(FILTERS), partition, subsets="all", plain=False)
    return {
        curve.filter: {
            "parameters": dict(curve.best.parameters),
            "loss": curve.score.loss,
            **{
                output: n2s.psnr(clean, curve.best(noisy, output=output), data_range=1)
                for output in ("single-pass", "j-invariant")
            },
        }
        for curve in found.curves
        if curve.best is not None
    }


def hidden_share(partition: n2s.Grid) -> float:
    """Share of the pixels that are hidden together."""
    return 1 / partition.subset_count(2)


def picture(rows: list[dict[str, Any]]) -> None:
    """PSNR against the share that is hidden."""
    plt = draw()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for kind, style in (("grid", "o-"), ("random", "s--"), ("checkerboard", "D")):
        chosen = sorted((r for r in rows if r["partition"].startswith(kind)), key=by_share)
        for output, colour in (("single-pass", GREEN), ("j-invariant", BLUE)):
            left.plot(
                [row["hidden"] for row in chosen],
                [row[output] for row in chosen],
                style,
                color=colour,
                label=f"{output}, {kind}",
            )
    left.set(ylabel="PSNR (dB)")
    left.set_title("UNet", fontsize=10)
    grids = sorted((r for r in rows if r["partition"].startswith("grid")), key=by_share)
    for name, colour in zip(DRAWN, (BLUE, ORANGE, PINK, SKY), strict=True):
        for output, style in (("single-pass", "--"), ("j-invariant", "o-")):
            right.plot(
                [row["hidden"] for row in grids],
                [row["filters"][name][output] for row in grids],
                style,
                color=colour,
                label=name if output == "j-invariant" else None,
            )
    right.set_title("filters on grids: J-invariant (solid), plain (dashed)", fontsize=10)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="share of the pixels that is hidden together")
        axes.set_xticks([1 / 64, 1 / 36, 1 / 16, 1 / 9, 1 / 4, 1 / 2])
        axes.set_xticklabels(["1/64", "1/36", "1/16", "1/9", "1/4", "1/2"])
        axes.minorticks_off()
        axes.legend(fontsize=8)
    figure.savefig(IMAGES / "paper-j-size.png", dpi=110)


def by_share(row: dict[str, Any]) -> float:
    return row["hidden"]


def filter_lines(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The filters' table: plain / J-invariant PSNR."""
    return [
        {"partition": row["partition"]}
        | {
            name: f"{found['single-pass']:.2f} / {found['j-invariant']:.2f}"
            for name, found in row["filters"].items()
        }
        for row in rows
        if row["filters"]
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    clean, noisy = (image[PART].astype(np.float32) for image in noisy_camera())
    began, rows = time.perf_counter(), []
    for name, partition in PARTITIONS.items():
        since = time.perf_counter()
        runs = [
            run(clean, noisy, n2s.TrainingConfig(partition=partition, seed=seed))
            for seed in range(arguments.seeds)
        ]
        row = {"partition": name, "hidden": hidden_share(partition), **averaged(runs)}
        row["seconds"] = time.perf_counter() - since
        # Random masks leave a filter holes of all shapes: grids are what is calibrated with.
        row["filters"] = calibrated(clean, noisy, partition) if name.startswith("grid") else {}
        rows.append(row)
        seconds = round(time.perf_counter() - began, 1)
        keep("j_size", rows, seconds=seconds)
    print_table(
        [
            {k: v for k, v in row.items() if k != "filters"}
            | {"hidden": f"{row['hidden']:.3f}", "score": f"{row['score']:.5f}"}
            for row in rows
        ]
    )
    print_table(filter_lines(rows))
    print(f"{seconds} s on {where()}")
    picture(rows)
