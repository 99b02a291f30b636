"""``napari-noise2self demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_noise2self.cli.console import denoised, errors, finish, in_words, summary
from napari_noise2self.cli.options import (
    Device,
    Epochs,
    Json,
    Overwrite,
    Quiet,
    Seed,
    training_config,
)


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where the images go; made if it is not there.")
    ] = Path("noise2self-demo"),
    epochs: Epochs = "auto",
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Simulate a noisy image of cells, denoise it, and compare the result with the truth."""
    with errors():
        config = training_config(
            epochs=None if epochs == "auto" else float(epochs), device=device, seed=seed
        )
        from napari_noise2self.stacks.samples import cells
        from napari_noise2self.stacks.writing import check_free, write

        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.ome.tif" for name in ("noisy", "denoised", "truth")}
        picture = folder / "before-after.png"
        for path in (*paths.values(), picture):
            check_free(path, overwrite=overwrite)

        sample = cells(seed=seed)
        result = denoised(sample.noisy, config, quiet)

        from napari_noise2self.engine.scoring import psnr

        span = float(sample.truth.max() - sample.truth.min())
        write(paths["noisy"], sample.noisy.data, sample.noisy, overwrite=overwrite)
        for name, image in (("denoised", result.image), ("truth", sample.truth)):
            write(paths[name], image, sample.noisy, dtype="float32", overwrite=overwrite)
        _write_picture(picture, sample.noisy.data, result.image)
        report = {
            "output": str(paths["denoised"]),
            "folder": str(folder),
            "shape": list(sample.noisy.shape),
            "dtype": "float32",
            "psnr_noisy": round(psnr(sample.truth, sample.noisy.data, data_range=span), 2),
            "psnr_denoised": round(psnr(sample.truth, result.image, data_range=span), 2),
            **summary(result.info),
        }
        sentence = (
            f"{folder}: noisy {report['psnr_noisy']} dB, denoised {report['psnr_denoised']} dB "
            f"(PSNR at the range of the truth); {in_words(result.info)}"
        )
        finish(report, sentence, quiet, as_json)


def _write_picture(path: Path, noisy: Any, denoised: Any) -> None:
    """Both images side by side at the same contrast."""
    import imagecodecs
    import numpy as np

    low, high = np.percentile(denoised, (0.1, 99.9))
    pair = np.hstack([noisy, np.full((noisy.shape[0], 4), high), denoised])
    grey = np.clip((pair - low) / max(high - low, 1e-6), 0, 1) * 255
    path.write_bytes(imagecodecs.png_encode(grey.astype(np.uint8)))
