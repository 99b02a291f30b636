"""The donut figure of the paper: a median filter calibrated without ground truth.

    python benchmarks/donut.py

The camera of scikit-image with normal noise of standard deviation 0.1, clipped to [0, 1].
Prints the loss and the PSNR for each radius, of the median with a hole at its centre and of
the plain one, writes results/donut.json and draws docs/images/donut.png (with matplotlib,
in the extra `docs`).
"""

from __future__ import annotations

import numpy as np
from common import ROOT, print_table, write_result
from skimage.data import camera

import napari_noise2self as n2s

RADII = [1, 2, 3, 4, 5, 6]
# Colours that the colour-blind can tell apart (Okabe & Ito).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def noisy_camera() -> tuple[np.ndarray, np.ndarray]:
    """The clean image and the noisy one."""
    clean = camera() / 255
    noise = 0.1 * np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    return clean, np.clip(clean + noise, 0, 1)


def decibels(mse: float) -> float:
    return float(-10 * np.log10(mse))


def draw(clean: np.ndarray, noisy: np.ndarray, found) -> None:
    """The curves beside what the filters make of the image."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    points = found["median"].points
    best = min(points, key=lambda point: point.loss)
    figure = plt.figure(figsize=(11, 4.2), layout="constrained")
    curves, pictures = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    axes = curves.subplots()
    axes.plot(RADII, [p.loss for p in points], "o-", color=BLUE, label="loss of the donut (blind)")
    axes.plot(
        RADII, [p.plain_loss for p in points], "s--", color=ORANGE, label="loss of the plain median"
    )
    axes.plot(RADII, [p.mse for p in points], "^-", color=GREEN, label="true error of the donut")
    axes.plot(best.parameters["radius"], best.loss, "o", ms=14, mfc="none", color=BLUE)
    here = best.parameters["radius"]
    axes.annotate("", (here, best.loss), (here, best.mse), arrowprops={"arrowstyle": "<->"})
    axes.text(here + 0.1, (best.loss + best.mse) / 2, "variance\nof the noise", color=GREY)
    axes.set(xlabel="radius (pixels)", ylabel="mean squared difference", ylim=(0, None))
    axes.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.62))
    part = np.s_[60:220, 160:320]
    median = found["median"].best
    shown = {
        "noisy": noisy,
        f"donut, radius {here}": median(noisy, output="j-invariant"),
        "mixed with the noisy pixel": median(noisy, output="mixed"),
        "truth": clean,
    }
    for axis, (title, image) in zip(pictures.subplots(2, 2).ravel(), shown.items(), strict=True):
        axis.imshow(image[part], cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.savefig(ROOT / "docs" / "images" / "donut.png", dpi=110)


if __name__ == "__main__":
    clean, noisy = noisy_camera()
    found = n2s.calibrate(noisy, {"median": {"radius": RADII}}, n2s.Grid(4), truth=clean)
    rows = [
        {
            "radius": point.parameters["radius"],
            "loss": round(point.loss, 5),
            "error": round(point.error, 5),
            "psnr": round(decibels(point.mse), 2),
            "plain_loss": round(point.plain_loss, 5),
            "plain_psnr": round(decibels(point.plain_mse), 2),
        }
        for point in found["median"].points
    ]
    # As text, because the table would round to two digits.
    print_table([{key: str(value) for key, value in row.items()} for row in rows])
    mixed = n2s.psnr(clean, found.best(noisy, output="mixed"), data_range=1)
    summary = {
        "best_radius": found.best.parameters["radius"],
        "mixed_psnr": round(mixed, 2),
        "noise_variance_estimated": round(found.noise_variance, 5),
        "noise_variance_true": round(float(np.mean((noisy - clean) ** 2)), 5),
        "pixels": found.pixels,
    }
    print(summary)
    write_result("donut", rows, **summary)
    draw(clean, noisy, found)
