"""No run may fail: every pair and many seeds, with defaults only.

    python benchmarks/stability.py [--seeds 10] [--lengths | --formats]

For every pair of the data folder and every seed: the quality, how far below the mean of
its image the worst run is, and how far the spectrum stands out at the frequencies of the
grid and of a checkerboard, against its neighbourhood.  The same peak in the truth stands
beside it: a structure of that period is not the grid's.

With --lengths, one seed instead at a half, once, twice and four times the automatic
length.

With --formats, simulated images instead of the pairs: sizes from 64² to 4096², integers and
floats, dim and saturated, sparse and dense, stacks, volumes and channels.  Every seed trains on
the same image.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import skimage.data
from common import kept_rows, print_table, write_result
from pairs import best_gaussian, metric, pairs, quality
from scipy import ndimage

import napari_noise2self as n2s
from napari_noise2self.engine.events import Event, Notice
from napari_noise2self.stacks import samples

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
    # Of a few spots on black the percentiles may lie together.
    span = np.percentile(image, 99.9) - np.percentile(image, 0.1) or np.ptp(image)
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
    rows = kept_rows("lengths")
    done = {row["image"] for row in rows}
    for name, image, truth in pairs():
        if name in done:
            continue
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


@dataclass(frozen=True)
class Case:
    """One kind of image.

    Attributes
    ----------
    scene : str
    shape : tuple of int
        (Z)YX, or with `axes` one letter per axis.
    photons : float
        Per pixel, on average over the image.
    dtype : str
        With "unit" a float32 image of [0, 1], with "offset" one far from 0.
    read_noise : float
        Standard deviation in photons; 0 for a counting detector.
    saturated : float
        Share of the pixels clipped at the top.
    axes : str, optional
        As for `fit`.
    volume : bool
    """

    scene: str
    shape: tuple[int, ...]
    photons: float
    dtype: str
    read_noise: float = 1.0
    saturated: float = 0.0
    axes: str | None = None
    volume: bool = False

    def __str__(self) -> str:
        size = "×".join(map(str, self.shape))
        words = [self.scene, size, self.dtype, f"{self.photons:g} photons"]
        if not self.read_noise:
            words.append("counted")
        if self.saturated:
            words.append(f"{self.saturated:.0%} saturated")
        if self.volume:
            words.append("volume")
        return ", ".join(words)

    @property
    def seeds(self) -> int:
        """How many are trained: fewer of what takes long."""
        pixels = int(np.prod(self.shape))
        return 3 if pixels <= 2**19 else 2 if pixels <= 2**20 else 1


CASES = [
    Case("cells", (64, 64), 10, "uint16"),
    Case("dark corner", (64, 64), 10, "uint16"),
    Case("nuclei", (64, 64), 1, "uint8"),
    Case("filaments", (64, 64), 100, "float64"),
    Case("points", (64, 64), 0.4, "uint16"),
    Case("cells", (128, 128), 1, "unit"),
    Case("mitochondria", (128, 128), 30, "uint8", saturated=0.05),
    Case("vesicles", (128, 128), 10, "int32"),
    Case("scanned mitochondria", (256, 256), 0, "uint8"),
    Case("cells", (256, 256), 100, "uint8"),
    Case("cells", (256, 256), 10, "offset"),
    Case("points", (256, 256), 0.1, "uint8", read_noise=0),
    Case("points", (256, 256), 4, "uint16"),
    Case("points", (256, 256), 0.4, "unit"),
    Case("emitters", (256, 256), 10, "uint16"),
    Case("gravel", (256, 256), 10, "float64"),
    Case("emitters", (512, 512), 1, "uint16", read_noise=0),
    Case("cells", (512, 512), 30, "uint8", saturated=0.05),
    Case("filaments", (512, 512), 1, "uint16"),
    Case("cells", (512, 512), 1, "uint8", read_noise=0),
    Case("mitochondria", (512, 512), 100, "int32"),
    Case("nuclei", (512, 512), 10, "unit"),
    Case("cells", (32, 1024), 10, "uint16"),
    Case("filaments", (32, 1024), 1, "uint8"),
    Case("colours", (256, 256, 3), 10, "uint8", axes="YXC"),
    Case("tissue", (2, 256, 256), 10, "uint16", axes="CYX"),
    Case("stack of nuclei", (8, 64, 64), 10, "uint16"),
    Case("stack of nuclei", (16, 128, 128), 1, "unit"),
    Case("stack of nuclei", (4, 256, 256), 30, "uint8"),
    Case("stack of nuclei", (8, 64, 64), 10, "uint16", axes="ZYX", volume=True),
    Case("stack of nuclei", (16, 128, 128), 1, "unit", axes="ZYX", volume=True),
    Case("filaments", (1024, 1024), 1, "uint8"),
    Case("cells", (1024, 1024), 10, "uint16"),
    Case("points", (2048, 2048), 0.4, "uint8"),
    Case("cells", (2048, 2048), 1, "uint16"),
    Case("cells", (4096, 4096), 10, "uint16"),
]
# Of a larger scene than the smallest image has room for, its middle is taken; drawing very large
# ones takes long, so they are mirrored.
SMALLEST_DRAWN, LARGEST_DRAWN = 256, 1024


def light_of(scene: str, shape: tuple[int, ...]) -> np.ndarray:
    """Relative brightness of a scene, black where there is nothing."""
    rng = np.random.default_rng(0)
    drawn = tuple(min(max(n, SMALLEST_DRAWN), LARGEST_DRAWN) for n in shape[-2:])
    if scene in ("points", "emitters"):
        density, width = (0.002, 1.2) if scene == "points" else (1.0, 1.5)
        emitters = rng.poisson(density, shape) * rng.exponential(1, shape)
        return ndimage.gaussian_filter(emitters, width, mode="wrap")
    if scene == "gravel":
        return skimage.data.gravel()[: shape[0], : shape[1]].astype(float)
    if scene == "colours":
        names = ("cells", "filaments", "mitochondria")
        return np.stack([light_of(name, shape[:2]) for name in names], axis=-1)
    if scene == "tissue":
        light = samples.tissue((8, *shape[1:]), seed=1).truth[:, 4] - 100
    elif scene == "stack of nuclei":
        light = samples.nuclei(shape, seed=1).truth - 100
    elif scene == "nuclei":
        light = samples.nuclei((8, *drawn), seed=1).truth[4] - 100
    elif scene == "vesicles":
        light = samples.vesicles((2, *drawn), seed=1).truth[0] - 100
    elif scene == "mitochondria":
        light = samples.mitochondria(drawn, seed=1).truth - 12
    elif scene == "dark corner":
        light = samples.cells(shape, seed=1).truth - 100
    else:
        light = getattr(samples, scene)(drawn, seed=1).truth - 100
    sizes = list(zip(light.shape, shape, strict=True))
    middle = tuple(slice((m - n) // 2, (m - n) // 2 + n) if m > n else slice(m) for m, n in sizes)
    more = [(0, max(n - m, 0)) for m, n in sizes]
    return np.pad(np.maximum(light[middle], 0).astype(float), more, mode="symmetric")


def simulated(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The noisy image and its truth, both as the detector would write them."""
    if case.scene == "scanned mitochondria":  # whose detector correlates the noise
        sample = samples.mitochondria(case.shape, seed=1)
        return np.asarray(sample.noisy.data), sample.truth.astype(float)
    rng = np.random.default_rng(1)
    light = light_of(case.scene, case.shape)
    photons = light * (case.photons / light.mean())
    noisy = rng.poisson(photons) + rng.normal(0, case.read_noise, photons.shape)
    high = float(np.quantile(noisy, 1 - case.saturated))
    gain, offset = {
        "uint8": (1.0, 0.0)
        if not case.read_noise
        else (gain := min(220 / high, 20.0), min(4 * gain, 30.0)),
        "uint16": (2.1, 100.0),
        "int32": (1000.0, -50000.0),
        "unit": (1 / np.ptp(noisy), -noisy.min() / np.ptp(noisy)),
        "offset": (10.0, 1e6),
        "float64": (1e-6, 0.0),
    }[case.dtype]
    if not case.read_noise:
        offset = 0.0
    grey, truth = gain * noisy + offset, gain * photons + offset
    if case.saturated:
        top = gain * high + offset
        grey, truth = np.minimum(grey, top), np.minimum(truth, top)
    dtype = np.dtype({"unit": "float32", "offset": "float32"}.get(case.dtype, case.dtype))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        grey = np.clip(np.rint(grey), limits.min, limits.max)
        truth = np.clip(truth, limits.min, limits.max)
    return grey.astype(dtype), truth


def planes(image: np.ndarray, axes: str | None) -> Iterator[np.ndarray]:
    """Every two-dimensional image in an array."""
    if axes is not None and axes.endswith("C"):
        image = np.moveaxis(image, -1, 0)
    yield from image.reshape(-1, *image.shape[-2:])


def highest_peak(image: np.ndarray, axes: str | None, widths: Sequence[int]) -> float:
    """`grid_peak` of the plane where it is highest."""
    return max(grid_peak(plane, tuple(widths[-2:]))[0] for plane in planes(image, axes))


def judged(case: Case) -> dict:
    """Every seed on one image."""
    image, truth = simulated(case)
    span = float(np.ptp(truth))
    told: set[str] = set()
    values, peaks, own, outputs, errors = [], [], [], [], []

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            told.add(event.message)

    raw = n2s.psnr(truth, image, data_range=span)
    for seed in range(case.seeds):
        config = n2s.TrainingConfig(seed=seed, volume=case.volume)
        try:
            denoiser = n2s.Denoiser(config).fit(image, case.axes, progress=listen)
            denoised = denoiser.predict(image, case.axes)
        except Exception as error:  # a finding, like any other
            errors.append(f"{type(error).__name__}: {error}")
            continue
        widths = denoiser.summary["partition"]["width"]
        values.append(n2s.psnr(truth, denoised, data_range=span))
        peaks.append(highest_peak(denoised, case.axes, widths))
        own.append(highest_peak(truth, case.axes, widths))
        outputs.append(denoiser.resolved_output())
    row: dict = {"image": str(case), "seeds": case.seeds, "raw": raw, "values": values}
    if values:
        mean, worst = float(np.mean(values)), min(values)
        row |= {
            "mean": mean,
            "worst": worst,
            "below_mean": mean - worst,
            "worst_gain": worst - raw,
            "output": "/".join(sorted(set(outputs))),
            "partition": str(denoiser.trained.partition),
            "grid_peak": max(peaks),
            "grid_peak_of_truth": max(own),
            "grid_visible": max(peaks) > max(PEAK_RATIO, 1.5 * max(own)),
        }
    return row | {"told": sorted(told), "errors": errors}


def formats() -> None:
    rows = kept_rows("stability_formats")
    done = {row["image"] for row in rows}
    for case in CASES:
        if str(case) in done:
            continue
        rows.append(judged(case))
        print(rows[-1], flush=True)
        good = [row for row in rows if row["values"]]
        summary = {
            "images": len(rows),
            "runs": sum(len(row["values"]) for row in rows),
            "failed": sum(len(row["errors"]) for row in rows),
            "below_input": sum(v < row["raw"] for row in good for v in row["values"]),
            "worst_gain": min(row["worst_gain"] for row in good),
            "more_than_0.3_below_mean": sum(
                row["mean"] - v > 0.3 for row in good for v in row["values"]
            ),
            "worst_below_mean": max(row["below_mean"] for row in good),
            "grid_visible": sum(row["grid_visible"] for row in good),
        }
        write_result("stability_formats", rows, summary=summary)
    print_table([{k: v for k, v in row.items() if k not in ("values", "told")} for row in rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--lengths", action="store_true")
    parser.add_argument("--formats", action="store_true")
    arguments = parser.parse_args()
    if arguments.lengths:
        lengths()
    elif arguments.formats:
        formats()
    else:
        seeds(arguments.seeds)
