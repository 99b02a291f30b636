"""One image is enough: a DnCNN trained on a single 512×512 image.

    python benchmarks/paper/single_shot.py --quick      # minutes on two cores
    python benchmarks/paper/single_shot.py              # as long as the reference notebook's

The authors' notebook trains a DnCNN of 8 layers on one image, hidden on a grid of width 4 and
replaced by the mean of neighbours, for 500 steps of the whole image.  Here it is the camera with
normal noise of 0.1; a step is four crops of 128×128, a quarter of the image, so as much is seen in
2000 steps.  Beside it the 17 layers of the paper, and the project's UNet with its defaults.
Writes results/paper/single_shot.json and draws docs/images/paper-single-shot.png.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from shared import IMAGES, draw, keep, noisy_camera, print_table, where

import napari_noise2self as n2s
from napari_noise2self.engine.networks import DnCNN

# Passes over the image: 500 steps of the notebook, and what takes minutes.
PASSES, QUICK_PASSES = 500, 12
GRID = n2s.Grid(4)


def epochs(passes: float) -> float:
    """In epochs, which count targets: one pass over the image hides one subset of the grid."""
    return passes / GRID.subset_count(2)


def networks(passes: int) -> dict[str, n2s.Denoiser]:
    """What is trained, by name."""
    common = {"partition": GRID, "averaging": False, "learning_rate": 1e-3}
    settings = n2s.TrainingConfig(epochs=epochs(passes), **common)
    torch.manual_seed(0)
    return {
        "DnCNN, 8 layers (notebook)": n2s.Denoiser(settings, DnCNN(layers=8)),
        "DnCNN, 17 layers (paper)": n2s.Denoiser(
            n2s.TrainingConfig(network="dncnn", epochs=epochs(passes), **common)
        ),
        "UNet, defaults": n2s.Denoiser(),
    }


def picture(clean: np.ndarray, noisy: np.ndarray, images: dict[str, np.ndarray]) -> None:
    """A part of each output."""
    plt = draw()
    shown = {"noisy": noisy, **images, "truth": clean}
    figure, axes = plt.subplots(
        1, len(shown), figsize=(2.4 * len(shown), 2.8), layout="constrained"
    )
    for axis, (title, image) in zip(axes, shown.items(), strict=True):
        axis.imshow(image[60:220, 160:320], cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    figure.savefig(IMAGES / "paper-single-shot.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    passes = QUICK_PASSES if parser.parse_args().quick else PASSES
    clean, noisy = noisy_camera()
    noisy = noisy.astype(np.float32)
    rows: list[dict[str, Any]] = []
    images = {}
    for name, denoiser in networks(passes).items():
        began = time.perf_counter()
        denoiser.fit(noisy)
        trained = time.perf_counter() - began
        outputs = {
            output: denoiser.predict(noisy, output=output)
            for output in ("single-pass", "j-invariant")
        }
        rows.append(
            {
                "network": name,
                **{out: n2s.psnr(clean, image, data_range=1) for out, image in outputs.items()},
                "score": denoiser.summary["score"],
                "steps": denoiser.summary["steps"],
                "device": denoiser.summary["device"],
                "seconds": trained,
            }
        )
        images[name] = outputs["single-pass"]
        raw = n2s.psnr(clean, noisy, data_range=1)
        keep("single_shot", rows, passes=passes, raw=raw)
    print_table([{**row, "score": f"{row['score']:.5f}"} for row in rows])
    print(f"noisy: {raw:.2f} dB; {passes} passes over the image; {where()}")
    picture(clean, noisy, images)
