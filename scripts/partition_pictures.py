"""Make the pictures of docs/how-to/see-the-partition.md."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from window import open_window, settle, virtual_screen

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def main() -> None:
    """Photograph the dock beside the simulated cells, and draw the figure of them."""
    from napari_noise2self.stacks.samples import cells
    from napari_noise2self.stacks.writing import write

    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cells.ome.tif"
        noisy = cells().noisy
        write(source, noisy.data, noisy)
        figure = IMAGES / "partition-figure.png"
        words = ["preview", source, figure, "--grid", "6", "--extent", "3", "--overwrite"]
        subprocess.run([sys.executable, "-m", "napari_noise2self", *map(str, words)], check=True)
    with virtual_screen():
        viewer, denoise = open_window(cells((400, 400)).noisy, hidden=True)
        viewer.window.remove_dock_widget(denoise)
        _, dock = viewer.window.add_plugin_dock_widget("napari-noise2self", "J partition preview")
        dock.form.controls["width"].setValue(6)
        dock.form.controls["extent"].setValue(3)
        settle()
        dock.layer_choice.zoom.click()
        dock.walk.slider.setValue(14)
        settle(4)
        from PIL import Image

        picture = viewer.screenshot(canvas_only=False, flash=False)
        path = IMAGES / "partition.png"
        Image.fromarray(picture[..., :3]).quantize(256).save(path, optimize=True)
        viewer.close()


if __name__ == "__main__":
    main()
