"""How the axes of a stack are best used: slices, neighbours or volumes; channels together or not.

    python benchmarks/axes.py [--seeds 2] [--side 192] [--epochs N]

On simulated stacks, whose truth is known: nuclei along Z, vesicles in time, and tissue in
two channels.  For each way the PSNR over the whole stack and the seconds of training and
prediction; for channels also how much one changes when the other shows something else.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from common import print_table, write_result

import napari_noise2self as n2s
from napari_noise2self.stacks.samples import nuclei, tissue, vesicles

DEPTHS: dict[str, dict[str, Any]] = {
    "slice by slice": {},
    "1 neighbour": {"context": 1},
    "2 neighbours": {"context": 2},
    "volume": {"volume": True},
}
CHANNELS: dict[str, dict[str, Any]] = {
    use: {"channel_use": use} for use in ("together", "shared", "apart")
}


def psnr(axes: str, truth: np.ndarray, image: np.ndarray) -> float:
    """Over a whole stack, in the range of its truth; of channels, their mean."""
    pairs = zip(truth, image, strict=True) if axes[0] == "C" else [(truth, image)]
    return float(np.mean([n2s.psnr(a, b, data_range=float(np.ptp(a))) for a, b in pairs]))


def bleeding(denoiser: n2s.Denoiser, axes: str, noisy: np.ndarray, denoised: np.ndarray) -> float:
    """How much a channel changes when the other is displaced, as a share of its own contrast."""
    found = []
    for own in (0, 1):
        displaced = noisy.copy()
        displaced[1 - own] = np.roll(noisy[1 - own], noisy.shape[-2] // 2, axis=-2)
        change = denoiser.predict(displaced, axes)[own] - denoised[own]
        found.append(np.sqrt(np.mean(change**2)) / denoised[own].std())
    return float(np.max(found))


def run(sample: Any, settings: dict[str, Any], epochs: float | None) -> dict[str, Any]:
    noisy, truth = np.asarray(sample.noisy.data), np.asarray(sample.truth)
    axes = sample.noisy.axes
    if settings.get("volume") and "Z" not in axes:
        settings = {**settings, "depth_axis": "T"}
    began = time.perf_counter()
    denoiser = n2s.Denoiser(n2s.TrainingConfig(epochs=epochs, **settings)).fit(noisy, axes)
    trained = time.perf_counter()
    denoised = denoiser.predict(noisy, axes)
    predicted = time.perf_counter()
    row = {
        "psnr": psnr(axes, truth, denoised),
        "training_s": trained - began,
        "prediction_s": predicted - trained,
        "output": denoiser.resolved_output(),
    }
    return row | ({"bleeding": bleeding(denoiser, axes, noisy, denoised)} if axes[0] == "C" else {})


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several seeds."""
    return {
        name: float(np.mean([row[name] for row in rows])) if isinstance(value, float) else value
        for name, value in rows[0].items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--epochs", type=float)
    arguments = parser.parse_args()
    side = arguments.side
    tables = {
        "nuclei (ZYX)": (nuclei, (16, side, side), DEPTHS),
        "vesicles (TYX)": (vesicles, (24, side, side), DEPTHS),
        "tissue (CZYX)": (tissue, (16, side, side), CHANNELS),
    }
    rows = []
    for name, (make, shape, ways) in tables.items():
        table = []
        samples = [make(shape, seed) for seed in range(arguments.seeds)]
        for way, settings in ways.items():
            found = [
                run(sample, {**settings, "seed": seed}, arguments.epochs)
                for seed, sample in enumerate(samples)
            ]
            table.append({"stack": name, "way": way, **mean(found)})
        print_table(table)
        print()
        rows += table
    write_result("axes", rows, seeds=arguments.seeds, side=side, epochs=arguments.epochs)
