"""Make the pictures of docs/how-to/apply-and-export.md."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from window import open_window, photograph, settle, virtual_screen, wait_until

if TYPE_CHECKING:
    from napari_noise2self.stacks.stack import Stack

FOLDER = Path(__file__).parents[1] / "docs" / "images"
# Seconds that anything may take.
PATIENCE = 300
# Times that the movie is repeated, so that its export takes a while.
REPEATS = 6


def save_model(stack: Stack, path: Path) -> None:
    """Train on a stack, briefly."""
    from napari_noise2self import Denoiser, TrainingConfig
    from napari_noise2self.stacks.suits import remember

    denoiser = Denoiser(TrainingConfig(averaging=False)).fit(stack.data, stack.axes)
    remember(denoiser, [stack])
    denoiser.save(path)


def main() -> None:
    """Photograph an export halfway in a hidden window, and a model that does not suit."""
    with virtual_screen(), tempfile.TemporaryDirectory(prefix="day-1-") as folder:
        from dataclasses import replace

        from napari_noise2self.stacks.samples import vesicles

        movie = vesicles().noisy
        path = Path(folder) / "vesicles.safetensors"
        save_model(movie, path)
        data = np.concatenate([movie.data] * REPEATS)
        viewer, denoise = open_window(replace(movie, data=data), hidden=True)
        viewer.window.remove_dock_widget(denoise)
        _, dock = viewer.window.add_plugin_dock_widget("napari-noise2self", "Apply and export")
        exporter = dock.exporter
        exporter.load(path)
        wait_until(lambda: exporter.plan.doubts is not None, PATIENCE)
        exporter.plan.name_target(Path(folder) / "vesicles denoised.ome.zarr")
        dock.export.click()
        wait_until(lambda: exporter.fraction > 0.3, PATIENCE)
        photograph(viewer, FOLDER / "export.png")
        dock.stop.click()
        wait_until(lambda: exporter.idle, PATIENCE)

        brighter = (movie.data * 2.5).astype(movie.data.dtype)
        noisy = viewer.layers[0]
        looks = {"scale": noisy.scale, "units": noisy.units, "axis_labels": noisy.axis_labels}
        viewer.add_image(brighter, name="another day", **looks)
        viewer.dims.set_current_step(0, 0)
        wait_until(lambda: bool(exporter.plan.doubts), PATIENCE)
        settle(4)  # until what was said about the stop is gone
        photograph(viewer, FOLDER / "export-doubts.png")
        viewer.close()


if __name__ == "__main__":
    main()
