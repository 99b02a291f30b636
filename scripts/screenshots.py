"""Make the picture of the window that the README opens with."""

from __future__ import annotations

from pathlib import Path

from window import click_train, open_window, settle, virtual_screen, when_over

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "window.png"


def main() -> None:
    """Denoise the simulated cells in a hidden window and photograph it."""
    from napari_noise2self.stacks.samples import cells

    with virtual_screen():
        viewer, dock = open_window(cells().noisy, hidden=True)
        import napari
        from skimage.io import imsave
        from skimage.util import img_as_ubyte

        def photograph() -> None:
            # Both layers side by side, the noisy one first.
            viewer.canvas.grid.enabled = True
            viewer.canvas.grid.stride = -1
            viewer.reset_view()
            settle()
            picture = viewer.screenshot(canvas_only=False, flash=False)
            PICTURE.parent.mkdir(parents=True, exist_ok=True)
            imsave(PICTURE, img_as_ubyte(picture[..., :3]), check_contrast=False)
            viewer.close()

        when_over(dock, photograph)
        settle()
        click_train(dock)
        napari.run()


if __name__ == "__main__":
    main()
