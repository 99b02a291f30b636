"""Make the picture of the window that the README opens with."""

from __future__ import annotations

from pathlib import Path

from window import click_train, open_window, settle, virtual_screen, when_over

# Upright, so that two of them fill the canvas side by side.
SHAPE = (600, 288)
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "window.png"


def main() -> None:
    """Denoise the simulated cells in a hidden window and photograph it."""
    from napari_noise2self.stacks.samples import cells

    with virtual_screen():
        viewer, dock = open_window(cells(SHAPE).noisy, hidden=True)
        import napari
        from PIL import Image

        def photograph() -> None:
            # Both layers side by side, the noisy one first.
            viewer.canvas.grid.enabled = True
            viewer.canvas.grid.stride = 1
            viewer.reset_view()
            settle()
            picture = viewer.screenshot(canvas_only=False, flash=False)
            PICTURE.parent.mkdir(parents=True, exist_ok=True)
            # 256 colours are enough for a grey image, and half the size.
            Image.fromarray(picture[..., :3]).quantize(256).save(PICTURE, optimize=True)
            viewer.close()

        when_over(dock, photograph)
        settle()
        click_train(dock)
        napari.run()


if __name__ == "__main__":
    main()
