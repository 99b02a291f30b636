"""The donut figure of the paper: a median filter calibrated without ground truth.

    python benchmarks/paper/donut.py

The camera of scikit-image with normal noise of standard deviation 0.1, clipped to [0, 1].
Prints the loss and the PSNR for each radius, of the median with a hole at its centre and of
the plain one, writes results/paper/donut.json and draws docs/images/paper-donut.png (with
matplotlib, in the extra `docs`).
"""

from __future__ import annotations

import time

import numpy as np
from published import CLASSICAL
from shared import (
    BLUE,
    GREEN,
    GREY,
    IMAGES,
    ORANGE,
    decibels,
    draw,
    keep,
    noisy_camera,
    print_table,
    where,
)

import napari_noise2self as n2s

RADII = [1, 2, 3, 4, 5, 6]


def picture(clean: np.ndarray, noisy: np.ndarray, found) -> None:
    """The curves beside what the filters make of the image."""
    plt = draw()
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
    figure.savefig(IMAGES / "paper-donut.png", dpi=110)


if __name__ == "__main__":
    began = time.perf_counter()
    clean, noisy = noisy_camera()
    found = n2s.calibrate(noisy, {"median": {"radius": RADII}}, n2s.Grid(4), truth=clean)
    points = found["median"].points
    rows = [
        {
            "radius": point.parameters["radius"],
            "loss": round(point.loss, 5),
            "error": round(point.error, 5),
            "psnr": round(decibels(point.mse), 2),
            "plain_loss": round(point.plain_loss, 5),
            "plain_psnr": round(decibels(point.plain_mse), 2),
            "loss_minus_mse": round(point.loss - point.mse, 5),
        }
        for point in points
    ]
    # As text, because the table would round to two digits.
    print_table([{key: str(value) for key, value in row.items()} for row in rows])
    best = min(points, key=lambda point: point.loss)
    mixed = n2s.psnr(clean, found.best(noisy, output="mixed"), data_range=1)
    summary = {
        "best_radius": best.parameters["radius"],
        "best_radius_by_truth": min(points, key=lambda p: p.mse).parameters["radius"],
        "best_radius_plain_loss": min(points, key=lambda p: p.plain_loss).parameters["radius"],
        "best_radius_plain_by_truth": min(points, key=lambda p: p.plain_mse).parameters["radius"],
        "donut_psnr": round(decibels(best.mse), 2),
        "mixed_psnr": round(mixed, 2),
        "published_psnr": CLASSICAL["median"][1],
        "published_mixed_psnr": CLASSICAL["median"][2],
        "noise_variance_estimated": round(found.noise_variance, 5),
        "noise_variance_true": round(float(np.mean((noisy - clean) ** 2)), 5),
        "pixels": found.pixels,
        "seconds": round(time.perf_counter() - began, 1),
    }
    for key, value in summary.items():
        print(f"{key}: {value}")
    print(where())
    keep("donut", rows, **summary)
    picture(clean, noisy, found)
