"""Make the pictures of docs/tutorials/compare.md, and print the table in it."""

from __future__ import annotations

from pathlib import Path

from window import open_window, photograph, settle, virtual_screen, wait_until

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
        wait_until(lambda: dock.comparer.stage.value == "idle", PATIENCE)
        assert dock.comparer.comparison is not None, "the comparison took too long"
        print(as_markdown(dock.comparer.ranking))
        print(dock.results.summary.text())
        dock.comparer.choose(dock.comparer.favourite)
        photograph(viewer, FOLDER / "compare.png")
        dock.curves.choice.set_value("gaussian")
        dock.findChild(_scroll_area()).verticalScrollBar().setValue(10_000)
        photograph(viewer, FOLDER / "compare-curve.png")
        dock.findChild(_scroll_area()).verticalScrollBar().setValue(0)
        dock.results.tile.click()
        photograph(viewer, FOLDER / "compare-tiles.png")
        viewer.close()


def _scroll_area() -> type:
    from qtpy.QtWidgets import QScrollArea

    return QScrollArea


if __name__ == "__main__":
    main()
