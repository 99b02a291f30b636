"""No run may fail: every pair and many seeds, with defaults only.

    python benchmarks/stability.py [--seeds 10] [--lengths]

For every pair of the data folder and every seed: the quality, how far below the mean of
its image the worst run is, and how far the spectrum stands out at the frequencies of the
grid and of a checkerboard, against its neighbourhood.  The same peak in the truth stands
beside it: a structure of that period is not the grid's.

With --lengths, one seed instead at a half, once, twice and four times the automatic
length.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import print_table, write_result
from pairs import best_gaussian, metric, pairs, quality
from scipy import ndimage

import napari_noise2self as n2s

# A peak is visible when it stands out of the noise of the spectrum and amounts to
# more than this share of the range of grey values.
PEAK_RATIO = 12.0
VISIBLE_SHARE = 1e-3


def grid_peak(image: np.ndarray, widths: tuple[int, int]) -> tuple[float, float]:
    """The highest peak at the frequencies of a grid or a checkerboard.

    Returns its power over the mean of its neighbourhood, and its amplitude in units of
    the range of grey values.
    """
    image = np.asarray(image, float)
    span = np.percentile(image, 99.9) - np.percentile(image, 0.1)
    worst = (0.0, 0.0)
    for periods in (widths, (2, 2)):
        # Whole periods, so that a frequency of the grid falls on one bin.
        cut = tuple(slice(0, n - n % p) for n, p in zip(image.shape, periods, strict=True))
        detail = image[cut] - ndimage.gaussian_filter(image[cut], 3)
        power = np.abs(np.fft.fft2(detail)) ** 2
        around = ndimage.uniform_filter(power, 17, mode="wrap")
        for index in np.ndindex(*periods):
            if not any(index):
                continue
            place = tuple(i * n // p for i, n, p in zip(index, power.shape, periods, strict=True))
            ratio = float(power[place] / around[place])
            amplitude = 2 * float(np.sqrt(power[place])) / power.size / span
            if amplitude > VISIBLE_SHARE and ratio > worst[0]:
                worst = (ratio, amplitude)
    return worst


def seeds(count: int) -> None:
    rows: dict[str, dict] = {}
    for seed in range(count):
        for name, image, truth in pairs():
            if name not in rows:
                rows[name] = {
                    "image": name,
                    "metric": metric(name),
                    "raw": quality(name, truth, image),
                    "gaussian_oracle": best_gaussian(name, truth, image),
                    "values": [],
                    "peaks": [],
                }
            row = rows[name]
            denoiser = n2s.Denoiser(n2s.TrainingConfig(seed=seed)).fit(image)
            denoised = denoiser.predict(image)
            widths = denoiser.summary["partition"]["width"]
            row["values"].append(quality(name, truth, denoised))
            row["peaks"].append(grid_peak(denoised, tuple(widths))[0])
            row["output"] = denoiser.resolved_output()
            values = np.array(row["values"])
            row |= {
                "mean": float(values.mean()),
                "worst": float(values.min()),
                "below_mean": float(values.mean() - values.min()),
                "worst_gain": float(values.min() - row["raw"]),
                "grid_peak": float(max(row["peaks"])),
                "grid_peak_of_truth": (own := grid_peak(truth, tuple(widths))[0]),
                "grid_visible": bool(max(row["peaks"]) > max(PEAK_RATIO, 1.5 * own)),
            }
            print(f"seed {seed} {name} {row['values'][-1]:.2f}", flush=True)
        # Written after every seed: a run that is cut off keeps the whole ones.
        write_result("stability", list(rows.values()), seeds=seed + 1)
    hidden = ("values", "peaks")
    print_table([{k: v for k, v in row.items() if k not in hidden} for row in rows.values()])


def lengths() -> None:
    rows = []
    for name, image, truth in pairs():
        row: dict = {"image": name, "metric": metric(name), "raw": quality(name, truth, image)}
        automatic = n2s.Denoiser().fit(image)
        for factor in (0.5, 1, 2, 4):
            epochs = automatic.summary["epochs"] * factor
            denoiser = automatic
            if factor != 1:
                denoiser = n2s.Denoiser(n2s.TrainingConfig(epochs=epochs)).fit(image)
            row[f"x{factor:g}"] = quality(name, truth, denoiser.predict(image))
        row["short_of_best"] = max(row[f"x{f:g}"] for f in (0.5, 1, 2, 4)) - row["x1"]
        rows.append(row)
        print_table([row])
        write_result("lengths", rows)
    print_table(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--lengths", action="store_true")
    arguments = parser.parse_args()
    if arguments.lengths:
        lengths()
    else:
        seeds(arguments.seeds)
