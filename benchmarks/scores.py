"""Whether the scores tell the truth, on simulated images whose truth is known.

    python benchmarks/scores.py [--seeds 2]

- Over scenes, kinds and levels of noise, partitions and networks: how far the score is
  from the error of the J-invariant prediction plus the variance of the noise, and how
  often the 95 % interval of the error covers it.  The defaults are trained as long as they
  train by themselves, the other plans a few steps: a score has to be right of a
  network that has learned little, too.
- Stein's risk estimate of the single pass of the defaults, on the very image that the network
  was trained on and on another exposure of the same scene: its bias, in units of the
  variance of the noise, beside the true error.
- On the real pairs with independent noise, J-invariant predictions of one image at several
  lengths of training and by Gaussian donuts of several widths: the rank correlation of score and
  PSNR.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import print_table, write_result
from pairs import CORRELATED_PAIRS, pairs, quality
from scipy import ndimage, stats

import napari_noise2self as n2s
from napari_noise2self.engine.partition import Partition
from napari_noise2self.stacks import samples

SIDE = 256
LEVELS = (0.3, 0.7, 1.5)
# Real images of more pixels along an axis are left out of the ranking.
LARGEST_RANKED = 520


@dataclass(frozen=True)
class Plan:
    """A partition and how long a network is trained with it.

    Attributes
    ----------
    partition : Partition
    steps : int, optional
        None for the automatic length.
    network : str
    crop_size : int
    """

    partition: Partition
    steps: int | None
    network: str = "unet"
    crop_size: int = 128

    def config(self, shape: tuple[int, int], seed: int = 0) -> n2s.TrainingConfig:
        """The defaults but for this."""
        epochs = None
        if self.steps is not None:
            # A step draws a subset of each of four crops.
            targets = 4 * self.crop_size**2 / self.partition.subset_count(2)
            epochs = self.steps * targets / math.prod(shape)
        return n2s.TrainingConfig(
            partition=self.partition,
            epochs=epochs,
            network=self.network,
            crop_size=self.crop_size,
            seed=seed,
        )


# The automatic length of an image of this size is 262 steps.
PLANS = {
    "grid 2": Plan(n2s.Grid(2), None),
    "grid 4": Plan(n2s.Grid(4), 90),
    "random 25": Plan(n2s.RandomPartition(25), 90),
    "checkerboard": Plan(n2s.Checkerboard(), 90),
    "grid 5, extent 3": Plan(n2s.Grid(5, 3), 90),
    "grid 2, dncnn": Plan(n2s.Grid(2), 24, "dncnn", 64),
}
DEFAULT = "grid 2"


def scenes() -> dict[str, np.ndarray]:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(SIDE, SIDE)), 5)
    return {
        "cells": samples.cells(seed=1).truth[:SIDE, :SIDE].astype(float),
        "smooth": 200 + 60 * smooth / smooth.std(),
    }


def with_noise(truth: np.ndarray, kind: str, level: float, draw: tuple[int, ...]) -> np.ndarray:
    """Noise whose mean variance is (level x standard deviation of the scene)²."""
    rng = np.random.default_rng(draw)
    sigma = level * truth.std()
    if kind == "gaussian":
        return truth + rng.normal(0, sigma, truth.shape)
    darkness = truth.min() - 0.02 * np.ptp(truth)
    gain = sigma**2 / (truth - darkness).mean()
    return rng.poisson((truth - darkness) / gain) * gain + darkness


def stein(denoiser: n2s.Denoiser, image: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Stein's risk estimate of the single pass less its error, both over the noise's variance."""
    noise = float(np.mean((image - truth) ** 2))
    error = float(np.mean((denoiser.predict(image, output="single-pass") - truth) ** 2))
    try:
        risk = float(denoiser.score(image, method="sure", output="single-pass"))
    except n2s.Noise2SelfError as refused:  # the noise is not known, or clipped
        return {"refused": str(refused)}
    return {"bias": (risk - error) / noise, "error": error / noise}


def judged(
    scene: str, truth: np.ndarray, kind: str, level: float, seed: int, number: int
) -> list[dict]:
    # Every image has noise of its own, or all would err alike.
    image = with_noise(truth, kind, level, (seed, number, 0))
    rows = []
    for name, plan in PLANS.items():
        denoiser = n2s.Denoiser(plan.config(image.shape, seed)).fit(image)
        score = denoiser.score(image)
        where = plan.partition.held_out(image.shape)
        predicted = denoiser.predict(image, output="j-invariant")
        errors = (predicted - truth)[where]
        noise = (image - truth)[where]
        mse, variance = float(np.mean(errors**2)), float(np.mean(noise**2))
        row = {
            "scene": scene,
            "noise": kind,
            "level": level,
            "seed": seed,
            "network": plan.network,
            "partition": name.removesuffix(", dncnn"),
            "steps": denoiser.summary["steps"],
            "ratio": score.loss / (mse + variance),
            # Errors and noise are independent, but their product has a mean of 0 only over
            # many pixels: so much it scatters the ratio.
            "ratio_by_chance": float(
                2 * np.std(errors * noise) / math.sqrt(noise.size) / (mse + variance)
            ),
            "mse": mse,
            "variance": variance,
            "estimated": score.mse,
            "estimated_variance": score.noise_variance,
            "covered": None,
        }
        if score.mse_interval is not None:
            whole = float(np.mean((predicted - truth) ** 2))
            row["covered"] = score.mse_interval[0] <= whole <= score.mse_interval[1]
        if name == DEFAULT:
            again = with_noise(truth, kind, level, (seed, number, 1))
            row["stein_own_image"] = stein(denoiser, image, truth)
            row["stein_other_exposure"] = stein(denoiser, again, truth)
        rows.append(row)
    return rows


def summarised(rows: list[dict], ranking: list[dict]) -> dict[str, Any]:
    ratios = np.array([row["ratio"] for row in rows])
    chance = np.array([row["ratio_by_chance"] for row in rows])
    covered = [row["covered"] for row in rows if row["covered"] is not None]
    summary: dict[str, Any] = {
        "runs": len(rows),
        "mean_ratio": float(ratios.mean()),
        "mean_ratio_error": float(ratios.std() / math.sqrt(len(rows))),
        "worst_ratio": float(ratios[np.argmax(np.abs(ratios - 1))]),
        "within_2_percent": float(np.mean(np.abs(ratios - 1) < 0.02)),
        "median_by_chance": float(np.median(chance)),
        "within_twice_chance": float(np.mean(np.abs(ratios - 1) < 2 * chance)),
        "coverage": float(np.mean(covered)) if covered else None,
        "runs_with_interval": len(covered),
        "by_plan": {},
    }
    for name, plan in PLANS.items():
        partition = name.removesuffix(", dncnn")
        own = [r for r in rows if (r["network"], r["partition"]) == (plan.network, partition)]
        ratios = np.array([row["ratio"] for row in own])
        covered = [row["covered"] for row in own if row["covered"] is not None]
        summary["by_plan"][name] = {
            "runs": len(own),
            "mean_ratio": float(ratios.mean()),
            "worst_ratio": float(ratios[np.argmax(np.abs(ratios - 1))]),
            "within_2_percent": float(np.mean(np.abs(ratios - 1) < 0.02)),
            "covered": sum(covered),
            "runs_with_interval": len(covered),
        }
    for key in ("stein_own_image", "stein_other_exposure"):
        told = [row[key] for row in rows if "bias" in row.get(key, {})]
        bias = np.array([found["bias"] for found in told])
        if told:
            summary[key] = {
                "runs": len(told),
                "bias_median": float(np.median(bias)),
                "bias_low": float(np.quantile(bias, 0.1)),
                "bias_high": float(np.quantile(bias, 0.9)),
                "error_median": float(np.median([found["error"] for found in told])),
            }
    if ranking:
        found = [row["rank_correlation"] for row in ranking]
        summary |= {
            "images_ranked": len(found),
            "mean_rank_correlation": float(np.mean(found)),
            "least_rank_correlation": float(np.min(found)),
            "most_lost_by_choice": max(row["lost_by_choice"] for row in ranking),
        }
    return summary


def ranked(name: str, image: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Eight J-invariant predictions of one image, by score and by PSNR."""
    image = image.astype(float)
    grid = n2s.Grid(2)
    where = grid.held_out(image.shape)
    found = []
    for steps in (6, 24, 90, None):
        denoiser = n2s.Denoiser(Plan(grid, steps).config(image.shape)).fit(image)
        found.append(denoiser.predict(image, output="j-invariant"))
    for width in (0.7, 1.2, 2, 4):

        def blur(x, width=width):
            return ndimage.gaussian_filter(x, width)

        found.append(n2s.j_invariant(blur, grid)(image))
    losses = [float(np.mean((f - image)[where] ** 2)) for f in found]
    values = [quality(name, truth, f) for f in found]
    return {
        "image": name,
        "rank_correlation": -float(stats.spearmanr(losses, values).statistic),
        "lost_by_choice": max(values) - values[int(np.argmin(losses))],
        "scores": losses,
        "values": values,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    seeds = parser.parse_args().seeds
    rows: list[dict] = []
    ranking: list[dict] = []

    def keep() -> None:
        summary = summarised(rows, ranking)
        write_result("scores", rows, seeds=seeds, summary=summary, ranking=ranking)

    for seed in range(seeds):
        images = itertools.product(scenes().items(), ("gaussian", "poisson"), LEVELS)
        for number, ((scene, truth), kind, level) in enumerate(images):
            rows += judged(scene, truth, kind, level, seed, number)
            keep()
            print(*rows[-len(PLANS) :], sep="\n", flush=True)
    for name, image, truth in pairs():
        if name in CORRELATED_PAIRS or image.shape[0] > LARGEST_RANKED:
            continue
        ranking.append(ranked(name, image, truth))
        keep()
        print_table(ranking[-1:])
    print(summarised(rows, ranking))


if __name__ == "__main__":
    main()
