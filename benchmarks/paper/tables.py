"""Table 2 of the paper: filters, and networks trained against noisy images or the truth.

    python benchmarks/paper/tables.py --quick [--data hanzi cells] [--seeds 2]
    python benchmarks/paper/tables.py --full --minutes 9        # on a GPU, again until it is done
    python benchmarks/paper/tables.py --quick --print

Rows, on each of the sets of datasets.py:

- the noisy images as they are; non-local means with scikit-image's defaults, BM3D (where it is
  installed) with scikit-image's estimate of the noise; non-local means and the best of all filters
  with parameters calibrated on the noisy images alone;
- UNet and DnCNN, trained against themselves (N2S), a second noisy image (N2N), the truth (N2T),
  and by Stein's unbiased risk estimate (SURE), with this project's own recipe and with the paper's.

Every output but the raw one is brought to the mean and variance of the truth, image by image,
before its PSNR is taken.  Each row is kept in results/paper/tables_quick.json or tables_full.json
as soon as it is there, and rows that are there are not made again: a run that was cut off goes on
where it was.  With --minutes nothing is begun that would take longer than what is left.  All rows
are made with one seed before the next.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from datasets import NAMES, Dataset, check_raw, load
from metric import quality
from published import cell
from shared import PAPER, keep, machine, print_table, where
from skimage.restoration import denoise_nl_means, estimate_sigma

import napari_noise2self as n2s

try:
    from bm3d import bm3d, bm3d_rgb
except ImportError:  # not a dependency: its licence forbids commercial use
    bm3d = bm3d_rgb = None

Array = np.ndarray
NETWORKS = ("unet", "dncnn")
TRAINED = ("N2S", "N2N", "N2T", "SURE")
RECIPES = ("own", "paper")
FILTERS = ("raw", "nlm", "bm3d", "nlm calibrated", "best filter calibrated")

PRESETS = {
    "hanzi": "paper-hanzi",
    "natural": "paper-imagenet",
    "cells": "paper-cellnet",
    "gaussian": "paper-imagenet",
}
# Pixels of a step, and steps, of the quick size: what takes a minute or two on two cores.
QUICK_PIXELS = {"unet": 2**16, "dncnn": 2**15}
QUICK_STEPS = {("own", "unet"): 1000, ("own", "dncnn"): 120, ("paper", "unet"): 240}
QUICK_STEPS["paper", "dncnn"] = QUICK_STEPS["own", "dncnn"]
# Of the full size, with the project's own recipe; the paper's has a length of its own.
FULL_OWN = {"batch_size": 64, "channels": 64}
FULL_STEPS = 20000


@dataclass(frozen=True)
class Piece:
    """A row of the table, with one seed."""

    data: str
    row: str
    recipe: str
    seed: int


# --------------------------------------------------------------------- networks
def settings(piece: Piece, size: str, found: Dataset) -> n2s.TrainingConfig:
    """How a network is trained: the project's own recipe or the paper's."""
    network, against = piece.row.split(" ")
    objective = against.lower()
    common: dict[str, Any] = {"objective": objective, "seed": piece.seed}
    if objective == "sure" and found.variance is not None:
        common["noise_sd"] = found.variance**0.5
    side = found.train.noisy.shape[1]
    steps = FULL_STEPS
    if size == "quick":
        common["batch_size"] = max(QUICK_PIXELS[network] // side**2, 1)
        steps = QUICK_STEPS[piece.recipe, network]
    elif piece.recipe == "own":
        common |= FULL_OWN
    if piece.recipe == "paper":
        name = "unet-paper" if network == "unet" else network
        config = n2s.TrainingConfig.preset(PRESETS[found.name], network=name, **common)
        if size == "full":
            return config
    else:
        config = n2s.TrainingConfig(network=network, crop_size=side, **common)
    return config.model_copy(update={"epochs": epochs(config, steps, found)})


def epochs(config: n2s.TrainingConfig, steps: int, found: Dataset) -> float:
    """How many epochs so many steps are: a step counts the targets of one subset of each crop."""
    partition = config.partition or n2s.Grid.for_white_noise()
    targets = config.batch_size * config.crop_size**2 / partition.subset_count(2)
    return float(steps * targets / np.prod(found.train.noisy.shape[:3]))


def trained(config: n2s.TrainingConfig, found: Dataset) -> n2s.Denoiser:
    """A network that was trained on the set."""
    targets = {"n2n": found.train.second, "n2t": found.train.truth}
    target = targets.get(config.objective)
    return n2s.Denoiser(config).fit(
        [found.train.noisy], found.axes, None if target is None else [target]
    )


def network_row(piece: Piece, size: str, found: Dataset) -> dict[str, Any]:
    """A trained network, and what its outputs are worth."""
    network, against = piece.row.split(" ")
    denoiser = trained(settings(piece, size, found), found)
    part, outputs = found.test, ["single-pass"]
    # The J-invariant output of a DnCNN takes minutes on a processor.
    if against == "N2S" and (network == "unet" or size == "full"):
        outputs.append("j-invariant")
    images = {out: denoiser.predict(part.noisy, found.axes, out) for out in outputs}
    best = denoiser.resolved_output()
    measured = judged(found, images.get(best, images["single-pass"]))
    return measured | {
        "output": best if best in images else "single-pass",
        "outputs": {out: judged(found, image)["matched"] for out, image in images.items()},
        "steps": denoiser.summary["steps"],
        "epochs": denoiser.summary["epochs"],
        "parameters": sum(p.numel() for p in denoiser._trained.network.parameters()),
        "device": denoiser.summary["device"],
    }


# ---------------------------------------------------------------------- filters
def each(found: Dataset, function: Callable[[Array, int | None], Array]) -> Array:
    """A function of one image between 0 and 1, and of its axis of channels, applied to all."""
    axis = -1 if found.axes.endswith("S") else None
    images = [function(image / found.peak, axis) for image in found.test.noisy]
    return np.stack(images) * found.peak


def with_bm3d(image: Array, channel_axis: int | None) -> Array:
    """BM3D at the estimated noise."""
    sigma = estimate_sigma(image, channel_axis=channel_axis, average_sigmas=True)
    return np.asarray(bm3d(image, sigma) if channel_axis is None else bm3d_rgb(image, sigma))


def filter_row(piece: Piece, size: str, found: Dataset) -> dict[str, Any]:
    """A classical filter, or the noisy images as they are."""
    if piece.row == "raw":
        return judged(found, found.test.noisy)
    if piece.row == "nlm":
        return judged(found, each(found, lambda x, axis: denoise_nl_means(x, channel_axis=axis)))
    if piece.row == "bm3d":
        return judged(found, each(found, with_bm3d))
    names = "nlm" if piece.row == "nlm calibrated" else None
    calibration = n2s.calibrate(found.test.noisy, names, axes=found.axes, plain=False)
    best = calibration.best
    denoised = best(found.test.noisy, found.axes)
    return judged(found, denoised) | {"filter": str(best), "output": best.output}


# --------------------------------------------------------------------- the table
def judged(found: Dataset, images: Array) -> dict[str, float]:
    """Mean PSNR over the test images: rescaled, fitted, and as they are."""
    return {
        how: quality(found.test.truth, images, found.peak, how)
        for how in ("matched", "fitted", "as it is")
    }


def pieces(arguments: argparse.Namespace) -> Iterator[Piece]:
    """All rows, one seed after the other."""
    rows = [f"{network} {kind}" for network in arguments.networks for kind in arguments.trained]
    for seed in range(arguments.seeds):
        for data in arguments.data:
            if seed == 0 and not arguments.no_filters:
                yield from (Piece(data, row, "", 0) for row in FILTERS if row != "bm3d" or bm3d)
            for recipe, row in itertools.product(arguments.recipes, rows):
                yield Piece(data, row, recipe, seed)


def measure(piece: Piece, size: str) -> dict[str, Any]:
    """One row; what the engine refuses becomes a row that says why."""
    found = load(piece.data, size)
    check_raw(found)
    began = time.perf_counter()
    try:
        values = (filter_row if piece.row in FILTERS else network_row)(piece, size, found)
    except n2s.Noise2SelfError as error:
        values = {"failure": str(error)}
    used = machine()
    return {
        **asdict(piece),
        **values,
        "seconds": round(time.perf_counter() - began, 1),
        "date": used["date"],
        "commit": used["commit"],
    }


def summary(rows: list[dict[str, Any]], data: str) -> list[dict[str, str]]:
    """The table of one set: the paper's numbers beside ours."""
    lines: list[dict[str, str]] = []
    names = dict.fromkeys((row["row"], row["recipe"]) for row in rows if row["data"] == data)
    order = [*FILTERS, *(f"{n} {t}" for n in NETWORKS for t in TRAINED)]
    for name, recipe in sorted(names, key=lambda key: (key[1], order.index(key[0]))):
        all_seeds = [
            row for row in rows if (row["data"], row["row"], row["recipe"]) == (data, name, recipe)
        ]
        seeds = [row for row in all_seeds if "matched" in row]
        # The raw images are compared as they are.
        how = "as it is" if name == "raw" else "matched"
        lines.append(
            {
                "row": name,
                "recipe": recipe,
                "paper": cell(data.partition("-")[0], name),
                "ours": spread([row[how] for row in seeds]) if seeds else "failed",
                "seeds": str(len(seeds)),
                "J-invariant": spread(
                    [row["outputs"]["j-invariant"] for row in seeds if blind(row)]
                ),
                "fitted": spread([row["fitted"] for row in seeds]),
                "steps": str(seeds[0].get("steps", "")) if seeds else "",
                "seconds": f"{np.mean([row['seconds'] for row in seeds]):.0f}" if seeds else "",
            }
        )
    return lines


def blind(row: dict[str, Any]) -> bool:
    """Whether the J-invariant output was measured."""
    return "j-invariant" in row.get("outputs", {})


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return ""
    mean = f"{np.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.2f}"


def read(size: str) -> list[dict[str, Any]]:
    """The rows that are there."""
    path = PAPER / f"tables_{size}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def show(rows: list[dict[str, Any]], names: list[str]) -> None:
    """Print the tables."""
    for name in names:
        lines = summary(rows, name)
        if lines:
            print(f"\n{name}")
            print_table(lines)
    print(where())


def arguments_from(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", dest="size", action="store_const", const="quick")
    size.add_argument("--full", dest="size", action="store_const", const="full")
    parser.add_argument("--data", nargs="+", choices=NAMES)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--trained", nargs="+", choices=TRAINED, default=TRAINED)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--seeds", type=int, help="1 at the quick size, 5 at the full one")
    parser.add_argument("--no-filters", action="store_true")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--print", action="store_true", help="only print what is there")
    found = parser.parse_args(words)
    quick = found.size == "quick"
    found.seeds = found.seeds or (1 if quick else 5)
    # The quick size is split so that no character is in both parts.
    found.data = found.data or [name for name in NAMES if not (quick and name == "hanzi-tile")]
    return found


if __name__ == "__main__":
    arguments = arguments_from()
    rows = read(arguments.size)
    if arguments.print:
        show(rows, arguments.data)
        sys.exit()
    if arguments.size == "full" and not torch.cuda.is_available():
        sys.exit("The full size takes days on a processor, and no GPU was found: use --quick.")
    ends = time.monotonic() + 60 * arguments.minutes
    done = {(row["data"], row["row"], row["recipe"], row["seed"]) for row in rows}
    left = [p for p in pieces(arguments) if (p.data, p.row, p.recipe, p.seed) not in done]
    for number, piece in enumerate(left):
        # As long as the same row took with another seed.
        expected = max(
            (r["seconds"] for r in rows if (r["data"], r["row"]) == (piece.data, piece.row)),
            default=0.0,
        )
        if time.monotonic() + expected > ends:
            print(f"{len(left) - number} rows are left: run it again.")
            break
        row = measure(piece, arguments.size)
        # Read again: another run may have added rows meanwhile.
        rows = [*read(arguments.size), row]
        print_table([{k: str(v) for k, v in row.items() if k != "outputs"}])
        keep(f"tables_{arguments.size}", rows)
    show(rows, arguments.data)
