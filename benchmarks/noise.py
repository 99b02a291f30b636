"""What `estimate_noise` says about simulated images whose noise is known, and about real ones.

Simulated: every scene under every noise model, at several sizes and seeds. The true mean
variance is measured from a second image of the same scene; it includes what clipping and
rounding do. Real: beside the report stands the autocorrelation of the residual against the
ground truth.

Run as ``python benchmarks/noise.py``; ``--simulated`` or ``--real`` does only that part.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import skimage.data
import tifffile
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))
from common import INDEPENDENT_PAIRS, data_folder, print_table, write_result

import napari_noise2self as n2s
from napari_noise2self.stacks import samples

Image = NDArray[np.float64]

# --- Scenes, grey values from about 0 to 1 -------------------------------------------------


def flat(n: int, rng: Generator) -> Image:
    return np.full((n, n), 0.4)


def ramp(n: int, rng: Generator) -> Image:
    wave = 0.7 + 0.3 * np.sin(np.arange(n) / 40)
    return np.linspace(0.05, 1, n)[None] * wave[:, None]


def nuclei(n: int, rng: Generator) -> Image:
    image = np.zeros((n, n))
    y, x = np.ogrid[:n, :n]
    for _ in range(max(4, n * n // 4000)):
        (cy, cx), radius = rng.uniform(0, n, 2), rng.uniform(8, 18)
        inside = 1 / (1 + np.exp(np.clip(np.hypot(y - cy, x - cx) - radius, -30, 30)))
        image = np.maximum(image, rng.uniform(0.3, 1) * inside)
    texture = ndimage.gaussian_filter(rng.normal(size=(n, n)), 2.5, mode="wrap")
    return ndimage.gaussian_filter(
        image * np.clip(1 + 0.3 * texture / texture.std(), 0.1, None), 1.2
    )


def cells(n: int, rng: Generator) -> Image:
    truth = samples.cells((n, n), seed=int(rng.integers(1000))).truth.astype(float)
    truth -= truth.min()
    return truth / np.percentile(truth, 99.8)


def filaments(n: int, rng: Generator) -> Image:
    image = np.zeros((n, n))
    for _ in range(n // 6):
        place, angle = rng.uniform(0, n, 2), rng.uniform(0, 2 * np.pi)
        for turn in rng.normal(0, 0.03, 3 * n):
            angle += turn
            place = place + 0.5 * np.array([np.sin(angle), np.cos(angle)])
            if not ((place >= 0) & (place < n)).all():
                break
            image[int(place[0]), int(place[1])] += 1
    image = ndimage.gaussian_filter(image, 1.2)
    return image / np.percentile(image, 99.8)


def lines(n: int, rng: Generator) -> Image:
    image = np.zeros((n, n))
    for _ in range(n // 20):
        if rng.random() < 0.5:
            image[rng.integers(n)] = rng.uniform(0.3, 1)
        else:
            image[:, rng.integers(n)] = rng.uniform(0.3, 1)
    return ndimage.gaussian_filter(image, 0.7)


def spots(n: int, rng: Generator) -> Image:
    image = np.zeros((n, n))
    count = n * n // 150
    image[tuple(rng.integers(0, n, (2, count)))] = rng.lognormal(0, 0.7, count)
    image = ndimage.gaussian_filter(image, 1.3)
    return image / np.percentile(image, 99.9)


def emitters(n: int, rng: Generator) -> Image:
    """Fluorophores at random in parts of the field, as fine as the point-spread function."""
    blobs = ndimage.gaussian_filter(rng.normal(size=(n, n)), n / 16, mode="wrap")
    inside = blobs > np.quantile(blobs, rng.uniform(0, 0.7))
    density = 10 ** rng.uniform(-1, 0.5) * ndimage.gaussian_filter(inside.astype(float), 2)
    image = rng.poisson(density) * rng.exponential(1, (n, n)) ** rng.integers(2)
    image = ndimage.gaussian_filter(image, rng.uniform(0.8, 1.5))
    return image / np.percentile(image, 99.8)


def photograph(name: str) -> Callable[[int, Generator], Image]:
    def scene(n: int, rng: Generator) -> Image:
        image = getattr(skimage.data, name)().astype(float) / 255
        y, x = (int(rng.integers(0, max(size - n, 0) + 1)) for size in image.shape)
        return image[y : y + n, x : x + n]

    return scene


# Photographs have noise of their own, and texture at every scale.
PHOTOGRAPHS = ("camera", "brick", "grass", "gravel", "coins", "cell", "page")
SCENES: dict[str, Callable[[int, Generator], Image]] = {
    **{f.__name__: f for f in (flat, ramp, nuclei, cells, filaments, lines, spots, emitters)},
    **{name: photograph(name) for name in PHOTOGRAPHS},
}

# --- Noise ----------------------------------------------------------------------------------

Blur = float | tuple[float, float]


def correlated(noise: Image, blur: Blur | None) -> Image:
    """Blurred noise of the same variance."""
    if blur is None:
        return noise
    point = np.zeros((65, 65))
    point[32, 32] = 1
    power = np.square(ndimage.gaussian_filter(point, blur, truncate=6)).sum()
    return ndimage.gaussian_filter(noise, blur, mode="wrap", truncate=6) / np.sqrt(power)


def gaussian(scene: Image, level: float, rng: Generator, blur: Blur | None) -> NDArray[Any]:
    """Standard deviation `level` beside a range of 200."""
    return 100 + 200 * scene + correlated(rng.normal(0, level, scene.shape), blur)


def poisson(scene: Image, level: float, rng: Generator, blur: Blur | None) -> NDArray[Any]:
    """`level` photons at the brightest, counted."""
    photons = level * scene
    noise = correlated(rng.poisson(photons) - photons, blur)
    return photons + noise if blur else np.rint(photons + noise).astype(np.uint16)


def camera16(scene: Image, level: float, rng: Generator, blur: Blur | None) -> NDArray[Any]:
    """`level` photons, gain 2, offset 100, read noise 3 grey values, 16 bit."""
    photons = level * scene
    noise = 2 * (rng.poisson(photons) - photons) + rng.normal(0, 3, scene.shape)
    grey = 100 + 2 * photons + correlated(noise, blur)
    return np.clip(np.rint(grey), 0, 65535).astype(np.uint16)


def clipped(scene: Image, level: float, rng: Generator, blur: Blur | None) -> NDArray[Any]:
    """Black at -5 grey values, so that half of a dark background is clipped; 8 bit."""
    grey = 240 * scene - 5 + correlated(rng.normal(0, level, scene.shape), blur)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def eight_bit(scene: Image, level: float, rng: Generator, blur: Blur | None) -> NDArray[Any]:
    """`level` photons stretched over 8 bit."""
    photons = level * scene
    grey = 5 + 220 / level * (photons + correlated(rng.poisson(photons) - photons, blur))
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


MODELS = {
    "gaussian": (gaussian, (0.5, 2, 5, 15, 50, 150)),
    "poisson": (poisson, (1, 5, 20, 100, 1000)),
    "camera 16 bit": (camera16, (3, 30, 300)),
    "clipped 8 bit": (clipped, (1, 4, 15, 50)),
    "poisson 8 bit": (eight_bit, (5, 30, 300)),
}
# Noise of about a tenth to a third of the range, for the rate of detection.
MODERATE = {
    "gaussian": (gaussian, (20, 60)),
    "camera 16 bit": (camera16, (10, 30)),
    "clipped 8 bit": (clipped, (30,)),
}
BLURS: dict[str, Blur] = {
    "0.5": 0.5,
    "0.7": 0.7,
    "1": 1.0,
    "1.5": 1.5,
    "rows 0.5": (0, 0.5),
    "rows 0.7": (0, 0.7),
    "rows 1.2": (0, 1.2),
}
SIZES = (256, 512, 200)


def case(
    scene: str, model: str, level: float, seed: int, blur: Blur | None = None
) -> dict[str, Any]:
    """One image and what was said about it."""
    size = SIZES[seed % len(SIZES)]
    rng = np.random.default_rng([seed, size])
    truth = SCENES[scene](size, rng)
    simulate = {**MODELS, **MODERATE}[model][0]
    image, again = (simulate(truth, level, rng, blur) for _ in range(2))
    variance = float(np.mean((image.astype(float) - again) ** 2) / 2)
    started = time.perf_counter()
    report = n2s.estimate_noise(image)
    seconds = time.perf_counter() - started
    channel = report.channels[0]
    y, x = (channel.correlation[letter] for letter in "YX")
    return {
        "scene": scene,
        "model": model,
        "level": level,
        "size": size,
        "seed": seed,
        "y": y.correlated,
        "x": x.correlated,
        "rho_y": y.rho[0] if y.rho else None,
        "rho_x": x.rho[0] if x.rho else None,
        "variance": variance,
        "estimate": channel.mean_variance,
        "error": channel.variance_error,
        "gain": channel.gain,
        "read_noise": channel.read_noise,
        "seconds": seconds,
    }


def rate(hits: int, of: int) -> str:
    return f"{hits} of {of} ({hits / of:.1%})" if of else "none"


def coverage(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """How far the variances are from the truth, and whether their errors say so."""
    told = [c for c in cases if np.isfinite(c["error"])]
    off = np.array([(c["estimate"] - c["variance"]) / c["estimate"] for c in told])
    error = np.array([c["error"] for c in told])
    known = error <= 0.25
    return {
        "variance unknown": rate(len(cases) - len(told), len(cases)),
        "truth within 2 errors": rate(int((np.abs(off) <= 2 * error).sum()), len(told)),
        "median error claimed": round(float(np.median(error)), 3),
        "median deviation": round(float(np.median(np.abs(off))), 3),
        "median bias where known": round(float(np.median(off[known])), 3),
    }


def simulated(seeds: int) -> dict[str, list[dict[str, Any]]]:
    """Rates over simulated images."""
    white = [
        case(scene, model, level, seed)
        for scene, (model, (_, levels)), seed in itertools.product(
            SCENES, MODELS.items(), range(seeds)
        )
        for level in levels
    ]
    blurred = []
    for number, (scene, blur) in enumerate(itertools.product(SCENES, BLURS)):
        for model, (_, levels) in MODERATE.items():
            for level in levels:
                one = case(scene, model, level, number, BLURS[blur])
                blurred.append(one | {"blur": blur})
    gains = {"poisson": 1.0, "camera 16 bit": 2.0}
    rows = []
    for scene in SCENES:
        mine = [c for c in white if c["scene"] == scene]
        found = [c for c in blurred if c["scene"] == scene]
        rows.append(
            {
                "scene": scene,
                "white called correlated": rate(sum(c["x"] or c["y"] for c in mine), len(mine)),
                "correlated found": rate(sum(c["x"] or c["y"] for c in found), len(found)),
                **coverage(mine),
            }
        )
    everything = {
        "scene": "all",
        "white called correlated": rate(sum(c["x"] or c["y"] for c in white), len(white)),
        "correlated found": rate(sum(c["x"] or c["y"] for c in blurred), len(blurred)),
        **coverage(white),
    }
    detection = []
    for blur in BLURS:
        mine = [c for c in blurred if c["blur"] == blur]
        rows_only = blur.startswith("rows")
        right = sum(c["x"] and c["y"] is not rows_only for c in mine)
        detection.append(
            {
                "blur": blur,
                "found": rate(sum(c["x"] or c["y"] for c in mine), len(mine)),
                "on the right axes": rate(right, len(mine)),
                "along columns, not rows": rate(
                    sum(c["y"] and not c["x"] for c in mine), len(mine)
                ),
                **coverage(mine),
            }
        )
    levels = []
    for model, (_, strengths) in MODELS.items():
        for level in strengths:
            mine = [c for c in white if c["model"] == model and c["level"] == level]
            known = [c for c in mine if c["error"] <= 0.25]
            row = {
                "model": model,
                "level": level,
                "white called correlated": rate(sum(c["x"] or c["y"] for c in mine), len(mine)),
                "variance known": rate(len(known), len(mine)),
                "gain / true gain": "",
                "read noise / true": "",
            }
            if model in gains and known:
                ratio = np.array([c["gain"] / gains[model] for c in known])
                quartiles = np.quantile(ratio, [0.25, 0.5, 0.75])
                row["gain / true gain"] = " ".join(f"{q:.2f}" for q in quartiles)
            if model == "camera 16 bit" and known:
                quartiles = np.quantile([c["read_noise"] / 3 for c in known], [0.25, 0.5, 0.75])
                row["read noise / true"] = " ".join(f"{q:.2f}" for q in quartiles)
            levels.append(row)
    return {
        "scenes": [everything, *rows],
        "correlated": detection,
        "levels": levels,
        "misses": [
            {k: c[k] for k in ("scene", "model", "level", "size", "seed", "rho_y", "rho_x")}
            for c in white
            if c["x"] or c["y"]
        ],
        "seconds": [
            {"size": size, "median seconds": round(float(np.median(times)), 3)}
            for size in sorted(SIZES)
            if (times := [c["seconds"] for c in white + blurred if c["size"] == size])
        ],
    }


# Noisy images beside those of the main benchmark.
CORRELATED_PAIRS = {
    **{f"fmd/WideField_BPAE_R_raw{i}.png": "fmd/WideField_BPAE_R_gt.png" for i in range(1, 5)},
    "hagen/mito-confocal_low.png": "hagen/mito-confocal_high.png",
}
MORE_PAIRS = {
    f"fmd/{field}_raw{i}.png": f"fmd/{field}_gt.png"
    for field in ("Confocal_MICE", "TwoPhoton_BPAE_G", "Confocal_BPAE_R")
    for i in range(2, 5)
}


def read(path: Path) -> NDArray[Any]:
    return imagecodecs.imread(path) if path.suffix == ".png" else tifffile.imread(path)


def real() -> list[dict[str, Any]]:
    """Every image of the data, with the residual against the truth where there is one."""
    folder = data_folder()
    pairs = {**INDEPENDENT_PAIRS, **MORE_PAIRS, **CORRELATED_PAIRS}
    alone = {
        "neubias/xy_calibrated_16bit__cells_eres_noisy.tif": None,
        "neubias/xyc_16bit__membranes_nuclei_hot_pixel.tif": "CYX",
        "neubias/xyz_nuclear_envelope_drosophila.tif": None,
        "neubias/xyzc_16bit__dna_conf_wf.tif": "ZCYX",
        "neubias/xy_12bit__saturated_plant.tif": None,
        "convallaria/convallaria_frame0_crop.tif": None,
        "timelapse/cancer_cell_migration_crop.tif": None,
        "timelapse/membrane_2d_timelapse.tif": None,
        "timelapse/maize_clsm.tif": None,
        "sem/n2v_sem_demo_crop.tif": None,
    }
    rows = []
    for name in sorted({**pairs, **alone}):
        image = read(folder / name)
        started = time.perf_counter()
        report = n2s.estimate_noise(image, alone.get(name))
        seconds = time.perf_counter() - started
        channel = report.channels[0]
        truth = residual_of(image, read(folder / pairs[name])) if name in pairs else None
        y, x = (channel.correlation[letter] for letter in "YX")
        rows.append(
            {
                "image": name,
                "y, x found": f"{y.correlated:d} {x.correlated:d}",
                "rho y": f"{y.rho[0]:+.2f}" if y.rho else "",
                "rho x": f"{x.rho[0]:+.2f}" if x.rho else "",
                "of residual y": f"{truth[0]:+.2f}" if truth else "",
                "of residual x": f"{truth[1]:+.2f}" if truth else "",
                "extent": "x".join(map(str, report.extent)),
                "sd": f"{np.sqrt(channel.mean_variance):.3g}",
                "rel. error of variance": f"{channel.variance_error:.2f}",
                "sd of residual": f"{truth[2]:.3g}" if truth else "",
                "gain": f"{channel.gain:.3g}",
                "read noise": f"{channel.read_noise:.3g}",
                "clipped low": f"{channel.clipped_low:.2g}",
                "hot": f"{channel.hot:.1g}",
                "output": report.suggestion.output,
                "seconds": round(seconds, 3),
            }
        )
    return rows


def residual_of(image: NDArray[Any], truth: NDArray[Any]) -> tuple[float, float, float]:
    """Autocorrelation along y and x, and deviation, of what the truth does not explain."""
    a, b = truth.astype(float), image.astype(float)
    slope, offset = np.polyfit(a.ravel(), b.ravel(), 1)
    residual = b - slope * a - offset
    residual -= ndimage.uniform_filter(residual, 15)
    power = float(np.mean(residual**2))
    along = [
        float(np.mean(residual[1:] * residual[:-1])) / power,
        float(np.mean(residual[:, 1:] * residual[:, :-1])) / power,
    ]
    return along[0], along[1], float(np.sqrt(power))


def large() -> list[dict[str, Any]]:
    """Seconds for larger images."""
    rng = np.random.default_rng(0)
    rows = []
    for shape in ((512, 512), (2048, 2048), (4096, 4096), (64, 1024, 1024)):
        image = rng.poisson(50, shape).astype(np.uint16)
        started = time.perf_counter()
        n2s.estimate_noise(image)
        rows.append(
            {
                "shape": "x".join(map(str, shape)),
                "seconds": round(time.perf_counter() - started, 2),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="images per scene and noise")
    parser.add_argument("--simulated", action="store_true", help="only the simulated images")
    parser.add_argument("--real", action="store_true", help="only the real images")
    words = parser.parse_args()
    tables: dict[str, list[dict[str, Any]]] = {}
    if not words.real:
        tables |= simulated(words.seeds) | {"large": large()}
    rows = [] if words.simulated else real()
    for name, table in {**tables, "real": rows}.items():
        print(f"\n{name}\n")
        print_table(table)
    if not (words.simulated or words.real):
        write_result("noise", rows, seeds=words.seeds, simulated=tables)


if __name__ == "__main__":
    main()
