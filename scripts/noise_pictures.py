"""Make the picture of docs/how-to/read-the-noise.md."""

from __future__ import annotations

from pathlib import Path

from window import open_window, photograph, settle, virtual_screen, wait_until

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
        wait_until(lambda: not dock.inspector.busy, PATIENCE)
        dock.residual.map.click()
        settle(0.5)
        dock.findChild(_scroll_area()).verticalScrollBar().setValue(
            dock.noise.y() + dock.noise.transfer.y()
        )
        photograph(viewer, PICTURE)
        viewer.close()


def _scroll_area() -> type:
    from qtpy.QtWidgets import QScrollArea

    return QScrollArea


if __name__ == "__main__":
    main()
