"""How the axes of a stack are best used: slices, neighbours or volumes; channels together or not.

    python benchmarks/axes.py [--seeds 2] [--side 192] [--epochs N]

On simulated stacks, whose truth is known: nuclei along Z, at several distances of the slices,
vesicles in time, and tissue in two channels; and the three channels of a real field, at range
255.  For each way the PSNR over the whole stack and the seconds of training and prediction; for
channels also how much one changes when another shows something else.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
from common import data_folder, print_table, write_result
from skimage.io import imread

import napari_noise2self as n2s
from napari_noise2self.stacks.samples import nuclei, tissue, vesicles
from napari_noise2self.stacks.samples.nuclei import DEPTH_STEP

DEPTHS: dict[str, dict[str, Any]] = {
    "slice by slice": {},
    "1 neighbour": {"context": 1},
    "2 neighbours": {"context": 2},
    "volume": {"volume": True},
}
CHANNELS: dict[str, dict[str, Any]] = {
    use: {"channel_use": use} for use in ("together", "shared", "apart")
}
# Slices of a stack that is thinned out, and the ways in which they are compared.
THINNED = 16
STEPS = (1, 2, 4)
STEP_WAYS = {
    "slice by slice": {},
    "1 neighbour": {"context": 1},
    "volume": {"volume": True},
}
# One field in three channels, and its truth.
FIELD = "fmd/Confocal_BPAE_{}_{}.png"


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


def thinned(sample: Any, step: int) -> Any:
    """Every so many slices of a stack, as if it had been taken with coarser steps in Z."""
    first = (len(sample.truth) - step * THINNED) // 2
    taken = slice(first, first + step * THINNED, step)
    noisy = replace(sample.noisy, data=np.asarray(sample.noisy.data)[taken])
    return replace(sample, noisy=noisy, truth=np.asarray(sample.truth)[taken])


def field(epochs: float | None, seeds: int) -> list[dict[str, Any]]:
    """The three channels of a real field, which show different stains."""
    folder = data_folder()
    noisy, truth = (
        np.stack([imread(folder / FIELD.format(channel, kind)) for channel in "RGB"])
        for kind in ("raw1", "gt")
    )
    rows = []
    for way, settings in CHANNELS.items():
        found = []
        for seed in range(seeds):
            config = n2s.TrainingConfig(epochs=epochs, seed=seed, **settings)
            denoiser = n2s.Denoiser(config).fit(noisy, "CYX")
            denoised = denoiser.predict(noisy, "CYX")
            each = [n2s.psnr(*pair, data_range=255.0) for pair in zip(truth, denoised, strict=True)]
            found.append(
                {
                    "psnr": float(np.mean(each)),
                    **{f"psnr_{c}": float(value) for c, value in zip("RGB", each, strict=True)},
                    "training_s": float(denoiser.summary["seconds"]),
                    "output": denoiser.resolved_output(),
                    "bleeding": bleeding(denoiser, "CYX", noisy, denoised),
                }
            )
        rows.append({"stack": "FMD confocal BPAE (CYX)", "way": way, **mean(found)})
    return rows


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
    side, seeds = arguments.side, range(arguments.seeds)
    tables: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "nuclei (ZYX)": ([nuclei((16, side, side), seed) for seed in seeds], DEPTHS),
        "vesicles (TYX)": ([vesicles((24, side, side), seed) for seed in seeds], DEPTHS),
        "tissue (CZYX)": ([tissue((16, side, side), seed) for seed in seeds], CHANNELS),
    }
    deep = [nuclei((max(STEPS) * THINNED, side, side), seed) for seed in seeds]
    for step in STEPS:
        distance = f"nuclei, slices {step * DEPTH_STEP:.1f} µm apart (ZYX)"
        tables[distance] = ([thinned(sample, step) for sample in deep], STEP_WAYS)
    rows = []

    def take(table: list[dict[str, Any]]) -> None:
        """Written after every table: a run that is cut off keeps the whole ones."""
        print_table(table)
        print(flush=True)
        rows.extend(table)
        write_result("axes", rows, seeds=len(seeds), side=side, epochs=arguments.epochs)

    for name, (samples, ways) in tables.items():
        take(
            [
                {
                    "stack": name,
                    "way": way,
                    **mean(
                        [
                            run(sample, {**settings, "seed": seed}, arguments.epochs)
                            for seed, sample in enumerate(samples)
                        ]
                    ),
                }
                for way, settings in ways.items()
            ]
        )
    take(field(arguments.epochs, len(seeds)))
