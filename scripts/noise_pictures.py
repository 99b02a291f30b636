"""Make the picture of docs/how-to/read-the-noise.md."""

from __future__ import annotations

import time
from pathlib import Path

from window import open_window, settle, virtual_screen

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "noise-report.png"
# Seconds that a measurement may take.
PATIENCE = 60


def main() -> None:
    """Photograph the dock beside the simulated cells and a Gaussian filter that is too wide."""
    with virtual_screen():
        from scipy import ndimage

        from napari_noise2self.stacks.samples import cells

        viewer, denoise = open_window(cells((400, 400)).noisy, hidden=True)
        viewer.window.remove_dock_widget(denoise)
        noisy = viewer.layers[0]
        smooth = ndimage.gaussian_filter(noisy.data.astype("float32"), 5)
        looks = {"scale": noisy.scale, "units": noisy.units, "axis_labels": noisy.axis_labels}
        viewer.add_image(smooth, name="smoothed", visible=False, **looks)
        _, dock = viewer.window.add_plugin_dock_widget("napari-noise2self", "Noise report")
        settle(0.5)
        dock.residual.examine.click()
        end = time.monotonic() + PATIENCE
        while dock.inspector.busy and time.monotonic() < end:
            settle(0.1)
        dock.residual.map.click()
        settle(0.5)
        dock.findChild(_scroll_area()).verticalScrollBar().setValue(
            dock.noise.y() + dock.noise.transfer.y()
        )
        settle()
        from PIL import Image

        picture = viewer.screenshot(canvas_only=False, flash=False)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[..., :3]).quantize(256).save(PICTURE, optimize=True)
        viewer.close()


def _scroll_area() -> type:
    from qtpy.QtWidgets import QScrollArea

    return QScrollArea


if __name__ == "__main__":
    main()
