"""Make the pictures of docs/how-to/see-the-partition.md."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from window import open_window, settle, virtual_screen

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def draw_figure() -> None:
    """Draw the figure of the simulated cells, in the terminal."""
    from napari_noise2self.stacks.samples import cells
    from napari_noise2self.stacks.writing import write

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cells.ome.tif"
        noisy = cells().noisy
        write(source, noisy.data, noisy)
        figure = IMAGES / "partition-figure.png"
        words = ["preview", source, figure, "--grid", "6", "--extent", "3", "--overwrite"]
        subprocess.run([sys.executable, "-m", "napari_noise2self", *map(str, words)], check=True)


def photograph_window() -> None:
    """Photograph the dock beside the simulated cells."""
    from napari_noise2self.stacks.samples import cells

    with virtual_screen():
        viewer, denoise = open_window(cells((400, 400)).noisy, hidden=True)
        viewer.window.remove_dock_widget(denoise)
        _, dock = viewer.window.add_plugin_dock_widget("napari-noise2self", "J partition preview")
        dock.form.controls["width"].setValue(6)
        dock.form.controls["extent"].setValue(3)
        settle()
        dock.layer_choice.zoom.click()
        settle()
        dock.walk.slider.setValue(14)
        while dock.preview.shown.masked is None or dock.preview.shown.leakage is None:
            settle(0.5)
        settle()
        from PIL import Image

        picture = viewer.screenshot(canvas_only=False, flash=False)
        path = IMAGES / "partition.png"
        Image.fromarray(picture[..., :3]).quantize(256).save(path, optimize=True)
        viewer.close()


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    draw_figure()
    photograph_window()
