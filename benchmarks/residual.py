"""How often the residual is judged rightly: simulated images, trained denoisers, real pairs.

Simulated: the residual of the truth itself and of the ideal linear filter (which knows the
truth's spectrum) must raise no alarm; that of images smoothed too much must be found to hold the
image, with the share of the noise's variance that was lost as image beside it; and noise left
in must be found. Trained: the networks at their defaults, on white noise; and on noise that is
correlated along rows, without and with a hidden block. Real: the truth, a wide Gaussian filter
and the default denoiser on pairs with a ground truth.

Run as ``python benchmarks/residual.py``; ``--simulated``, ``--trained`` or ``--real`` does only
that part and leaves the others as they were.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))
from common import RESULTS, print_table, write_result
from noise import MODERATE, SCENES, rate
from pairs import pairs

import napari_noise2self as n2s
from napari_noise2self.engine.residual.examine import examine_residual

Image = NDArray[np.float64]
BLURS: dict[str, Any] = {"white": None, "rows 0.7": (0, 0.7), "both 1": 1.0}
SIZE = 256
# Of the images that lose at least this share of the noise's variance as image, how many are found.
SUBSTANTIAL = 0.1


def truth_of(scene: Image, model: str, level: float, seed: int, blur: Any) -> Image:
    """What the recorded image is on average."""
    simulate = MODERATE[model][0]
    if model == "clipped 8 bit":
        rng = np.random.default_rng([seed, 1])
        return np.mean([simulate(scene, level, rng, blur) for _ in range(100)], axis=0)
    offset, gain = (100, 200) if model == "gaussian" else (100, 2 * level)
    return offset + gain * scene


def wiener(truth: Image, noisy: Image, variance: float) -> Image:
    """The ideal linear filter for white noise, which knows the spectrum of the truth."""
    mean = truth.mean()
    power = np.abs(np.fft.fft2(truth - mean)) ** 2 / truth.size
    power = ndimage.gaussian_filter(power, 1.5, mode="wrap")
    filtered = np.fft.fft2(noisy - mean) * power / (power + variance)
    return mean + np.real(np.fft.ifft2(filtered))


def predicted(noise: Image, blur: Any) -> Image:
    """What the neighbours tell of correlated noise: what a blind spot of one pixel leaves."""
    kernel = np.zeros((3, 3))
    kernel[1, ::2] = 1
    if blur == 1.0:
        kernel[::2, 1] = 1
    return 0.8 * ndimage.convolve(noise, kernel / kernel.sum())


def outputs(truth: Image, noisy: Image, blur: Any) -> dict[str, Image]:
    """What denoisers, good and bad, make of a noisy image."""
    noise = noisy - truth
    made = {
        "truth": truth,
        **{f"gaussian {w} of the truth": ndimage.gaussian_filter(truth, w) for w in (2, 4)},
        "gaussian 4": ndimage.gaussian_filter(noisy, 4),
    }
    if blur is None:
        made["ideal linear filter"] = wiener(truth, noisy, float(np.var(noise)))
        made["half of the noise left"] = truth + 0.7 * noise
    else:
        made["correlated noise left"] = truth + predicted(noise, blur)
    return made


def simulated(seeds: int) -> list[dict[str, Any]]:
    """Rates over simulated images."""
    cases = defaultdict(list)
    for seed in range(seeds):
        for number, draw in enumerate(SCENES.values()):
            for model, (simulate, levels) in MODERATE.items():
                for blur, width in BLURS.items():
                    rng = np.random.default_rng([seed, number])
                    scene = draw(SIZE, rng)
                    noisy = simulate(scene, levels[0], rng, width).astype(float)
                    truth = truth_of(scene, model, levels[0], seed, width)
                    report = n2s.estimate_noise(noisy)
                    variance = float(np.var(noisy - truth))
                    for output, image in outputs(truth, noisy, width).items():
                        lost = (
                            ndimage.gaussian_filter(truth, 4) if output == "gaussian 4" else image
                        )
                        cases[blur, output].append(
                            {
                                "kinds": _kinds(noisy, image, report),
                                "lost": float(np.mean((lost - truth) ** 2)) / variance,
                                "recognised": report.correlated,
                            }
                        )
    rows = []
    for (blur, output), found in cases.items():
        image = [c for c in found if "image" in c["kinds"]]
        substantial = [c for c in found if c["lost"] >= SUBSTANTIAL]
        known = [c for c in found if c["recognised"] or blur == "white"]
        smooth = "gaussian" in output
        rows.append(
            {
                "noise": blur,
                "output": output,
                "anything said": rate(sum(bool(c["kinds"]) for c in found), len(found)),
                "image": rate(len(image), len(found)),
                "image, where substantial": rate(
                    sum("image" in c["kinds"] for c in substantial), len(substantial)
                )
                if smooth
                else "",
                "noise left": rate(sum(_noise(c["kinds"]) for c in found), len(found)),
                "noise left, correlation recognised": rate(
                    sum(_noise(c["kinds"]) for c in known), len(known)
                ),
            }
        )
    return rows


def _kinds(noisy: Image, image: Image, report: Any) -> list[str]:
    return [f.kind for f in examine_residual(noisy, image, noise=report).findings]


def _noise(kinds: list[str]) -> bool:
    return bool({"noise", "correlated noise"} & set(kinds))


def trained(seeds: int) -> list[dict[str, Any]]:
    """The networks, where the noise is white and where it is correlated along rows."""
    rows = []
    for seed in range(seeds):
        for name in ("cells", "nuclei", "camera"):
            for blur, partition in (
                ("white", None),
                ("rows 0.7", n2s.Grid(4)),
                ("rows 0.7", None),
            ):
                rng = np.random.default_rng([seed, len(name)])
                scene = SCENES[name](SIZE, rng)
                noisy = MODERATE["gaussian"][0](scene, 20, rng, BLURS[blur])
                truth = 100 + 200 * scene
                started = time.perf_counter()
                image = n2s.denoise(noisy, partition=partition, seed=seed)
                rows.append(
                    {
                        "scene": name,
                        "noise": blur,
                        "partition": "automatic" if partition is None else "hidden block 1",
                        "seed": seed,
                        "PSNR": n2s.psnr(truth, image, data_range=200),
                        "noisy": n2s.psnr(truth, noisy, data_range=200),
                        "seconds": time.perf_counter() - started,
                        **_judged(noisy, image),
                    }
                )
    return rows


def _judged(noisy: Image, image: Image) -> dict[str, Any]:
    report = examine_residual(noisy, image)
    channel = report.channels[0]
    return {
        "said": ", ".join(f.kind for f in report.findings) or "nothing",
        "kept": channel.kept if channel.level_known else float("nan"),
        "most energy": float(np.nanmax(np.array(channel.ratios)[:, 1:4])),
    }


def real() -> list[dict[str, Any]]:
    """Pairs of one brightness, with a ground truth."""
    rows = []
    for name, noisy, truth in pairs():
        if not name.startswith("fmd/"):
            continue
        image = n2s.denoise(noisy)
        for output, made in (
            ("ground truth", truth),
            ("gaussian 4", ndimage.gaussian_filter(noisy.astype(float), 4)),
            ("default", image),
        ):
            rows.append({"image": name, "output": output, **_judged(noisy, made)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for part in ("simulated", "trained", "real"):
        parser.add_argument(f"--{part}", action="store_true")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--training-seeds", type=int, default=1)
    asked = parser.parse_args()
    parts = {
        "simulated": lambda: simulated(asked.seeds),
        "trained": lambda: trained(asked.training_seeds),
        "real": real,
    }
    wanted = [part for part in parts if getattr(asked, part)] or list(parts)
    path = RESULTS / "residual.json"
    before = (
        {p["part"]: p["rows"] for p in json.loads(path.read_text())["rows"]}
        if path.exists()
        else {}
    )
    for part in wanted:
        before[part] = parts[part]()
        print(f"\n{part}\n")
        print_table(before[part])
        write_result("residual", [{"part": p, "rows": r} for p, r in before.items()])


if __name__ == "__main__":
    main()
