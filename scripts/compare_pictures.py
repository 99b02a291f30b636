"""Make the pictures of docs/tutorials/compare.md, and print the table in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from window import open_window, settle, virtual_screen

FOLDER = Path(__file__).parents[1] / "docs" / "images"
# Seconds that the comparison may take.
PATIENCE = 600


def main() -> None:
    """Compare on the simulated cells in a hidden window, and photograph what is seen."""
    with virtual_screen():
        from napari_noise2self.stacks.samples import cells
        from napari_noise2self.widgets.compare_words import as_markdown

        sample = cells((512, 512))
        viewer, denoise = open_window(sample.noisy, hidden=True)
        viewer.window.remove_dock_widget(denoise)
        noisy = viewer.layers[0]
        looks = {"scale": noisy.scale, "units": noisy.units, "axis_labels": noisy.axis_labels}
        viewer.add_image(sample.truth, name=f"{noisy.name} truth", visible=False, **looks)
        viewer.layers.move(1, 0)
        viewer.layers.selection.active = noisy
        _, dock = viewer.window.add_plugin_dock_widget("napari-noise2self", "Compare denoisers")
        settle(0.5)
        dock.form.truth.setCurrentIndex(1)
        # It takes minutes without a GPU.
        dock.candidates.boxes["dncnn"].click()
        dock.compare.click()
        end = time.monotonic() + PATIENCE
        while dock.comparer.stage.value != "idle" and time.monotonic() < end:
            settle(0.2)
        assert dock.comparer.comparison is not None, "the comparison took too long"
        print(as_markdown(dock.comparer.ranking))
        print(dock.results.summary.text())
        dock.comparer.choose(dock.comparer.favourite)
        _photograph(viewer, "compare")
        dock.curves.choice.set_value("gaussian")
        dock.findChild(_scroll_area()).verticalScrollBar().setValue(10_000)
        _photograph(viewer, "compare-curve")
        dock.findChild(_scroll_area()).verticalScrollBar().setValue(0)
        dock.results.tile.click()
        _photograph(viewer, "compare-tiles")
        viewer.close()


def _photograph(viewer: Any, name: str) -> None:
    from PIL import Image

    settle()
    picture = viewer.screenshot(canvas_only=False, flash=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.png"
    # All colours: fewer would take those of the thin lines, or steps into the greys.
    Image.fromarray(picture[..., :3]).save(path, optimize=True)


def _scroll_area() -> type:
    from qtpy.QtWidgets import QScrollArea

    return QScrollArea


if __name__ == "__main__":
    main()
