"""Whether the scores tell the truth, on simulated images whose truth is known.

    python benchmarks/scores.py [--seeds 2]

- Over scenes, kinds and levels of noise, partitions and networks: how far the score is
  from the error of the J-invariant prediction plus the variance of the noise, and how
  often the 95 % interval of the error covers it.
- Stein's risk estimate of the single pass, for a network that was trained on the very
  image and for one trained on another exposure of the same scene: its bias, in units of the
  variance of the noise, beside the true error.
- On the real pairs, J-invariant predictions of one image at several lengths of training and by
  Gaussian donuts of several widths: the rank correlation of score and PSNR.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from common import print_table, write_result
from pairs import pairs, quality
from scipy import ndimage, stats

import napari_noise2self as n2s
from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.scoring import Score
from napari_noise2self.stacks import samples

SIDE = 256
PARTITIONS = {
    "grid 4": n2s.Grid(4),
    "grid 2": n2s.Grid(2),
    "random 25": n2s.RandomPartition(25),
    "checkerboard": n2s.Checkerboard(),
    "grid 5, extent 3": n2s.Grid(5, 3),
}


def scenes() -> dict[str, np.ndarray]:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(SIDE, SIDE)), 5)
    return {
        "cells": samples.cells(seed=1).truth[:SIDE, :SIDE].astype(float),
        "smooth": 200 + 60 * smooth / smooth.std(),
    }


def with_noise(truth: np.ndarray, kind: str, level: float, seed: int) -> np.ndarray:
    """Noise whose mean variance is (level x standard deviation of the scene)²."""
    rng = np.random.default_rng(seed)
    sigma = level * truth.std()
    if kind == "gaussian":
        return truth + rng.normal(0, sigma, truth.shape)
    signal = truth - truth.min() + 0.02 * np.ptp(truth)
    gain = sigma**2 / signal.mean()
    return rng.poisson(signal / gain) * gain + truth.min() - 0.02 * np.ptp(truth)


def train(image: np.ndarray, network: str, partition, seed: int) -> n2s.Denoiser:
    config = TrainingConfig(
        network=network,
        partition=partition,
        crop_size=64,
        batch_size=4 if network == "unet" else 2,
        epochs=1.2 if network == "unet" else 0.3,
        seed=seed,
        averaging=False,
    )
    return n2s.Denoiser(config).fit(image)


def judged(scene: str, truth: np.ndarray, kind: str, level: float, seed: int) -> list[dict]:
    image = with_noise(truth, kind, level, seed)
    again = with_noise(truth, kind, level, seed + 1000)
    rows = []
    plans = [("unet", name) for name in PARTITIONS] + [("dncnn", "grid 4")]
    for network, name in plans:
        partition = PARTITIONS[name]
        denoiser = train(image, network, partition, seed)
        score = denoiser.score(image)
        assert isinstance(score, Score)
        where = partition.held_out(image.shape)
        predicted = denoiser.predict(image, output="j-invariant")
        mse = float(np.mean((predicted - truth)[where] ** 2))
        noise = float(np.mean((image - truth)[where] ** 2))
        row = {
            "scene": scene,
            "noise": kind,
            "level": level,
            "network": network,
            "partition": name,
            "ratio": score.loss / (mse + noise),
            "mse": mse,
            "estimated": score.mse,
            "covered": None,
        }
        if score.mse_interval is not None:
            whole = float(np.mean((predicted - truth) ** 2))
            row["covered"] = score.mse_interval[0] <= whole <= score.mse_interval[1]
        if name == "grid 4":
            for label, other in (("own", image), ("other", again)):
                single = denoiser.predict(other, output="single-pass")
                error = float(np.mean((single - truth) ** 2))
                try:
                    risk = float(denoiser.score(other, method="sure", output="single-pass"))
                except n2s.Noise2SelfError:
                    risk = math.nan
                # In units of the variance of the noise.
                row[f"sure_{label}_bias"] = (risk - error) / noise
                row[f"sure_{label}_error"] = error / noise
        rows.append(row)
    return rows


def rank_correlations() -> list[dict]:
    rows = []
    grid = n2s.Grid(4)
    donut = np.ones((3, 3)) / 8
    donut[1, 1] = 0
    for name, image, truth in pairs():
        if image.shape[0] > 520 or "Wide" in name or "mito-confocal" in name:
            continue
        image = image.astype(float)
        where = grid.held_out(image.shape)
        found = []
        for epochs in (0.02, 0.08, 0.3, 1.2):
            denoiser = n2s.Denoiser(TrainingConfig(partition=grid, epochs=epochs)).fit(image)
            predicted = denoiser.predict(image, output="j-invariant")
            found.append(predicted)
        for width in (0.7, 1.2, 2, 4):

            def blur(x, width=width):
                return ndimage.gaussian_filter(x, width)

            found.append(n2s.j_invariant(blur, grid)(image))
        losses = [float(np.mean((f - image)[where] ** 2)) for f in found]
        values = [quality(name, truth, f) for f in found]
        correlation = float(stats.spearmanr(losses, values).statistic)
        chosen = values[int(np.argmin(losses))]
        rows.append(
            {
                "image": name,
                "rank_correlation": -correlation,
                "lost_by_choice": max(values) - chosen,
            }
        )
        print_table(rows[-1:])
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    rows: list[dict] = []
    for seed in range(arguments.seeds):
        for scene, truth in scenes().items():
            for kind in ("gaussian", "poisson"):
                for level in (0.3, 0.7, 1.5):
                    rows += judged(scene, truth, kind, level, seed)
    ratios = np.array([row["ratio"] for row in rows])
    covered = [row["covered"] for row in rows if row["covered"] is not None]
    summary = {
        "runs": len(rows),
        "mean_ratio": float(ratios.mean()),
        "worst_ratio": float(ratios[np.argmax(np.abs(ratios - 1))]),
        "within_2_percent": float(np.mean(np.abs(ratios - 1) < 0.02)),
        "coverage": float(np.mean(covered)),
        "runs_with_interval": len(covered),
    }
    for label in ("own", "other"):
        values = np.array(
            [row[f"sure_{label}_bias"] for row in rows if f"sure_{label}_bias" in row]
        )
        values = values[np.isfinite(values)]
        summary |= {
            f"sure_{label}_bias": float(np.median(values)),
            f"sure_{label}_bias_low": float(np.quantile(values, 0.1)),
            f"sure_{label}_bias_high": float(np.quantile(values, 0.9)),
            f"sure_{label}_error": float(
                np.median(
                    [row.get(f"sure_{label}_error") for row in rows if f"sure_{label}_error" in row]
                )
            ),
        }
    print_table([summary])
    write_result("scores", rows, seeds=arguments.seeds, summary=summary, ranking=[])
    ranking = rank_correlations()
    summary["mean_rank_correlation"] = float(np.mean([r["rank_correlation"] for r in ranking]))
    write_result("scores", rows, seeds=arguments.seeds, summary=summary, ranking=ranking)
    print_table([summary])
