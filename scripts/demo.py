"""The main job in real napari: open a noisy image, dock *Denoise*, click *Train*.

Without an argument the image is simulated, and its truth is known.  Without a
display it happens on a virtual screen and leaves its pictures in demo/.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from window import (
    click_train,
    has_display,
    in_view,
    open_window,
    save_side_by_side,
    settle,
    virtual_screen,
    when_over,
)

from napari_noise2self.engine.errors import InputError, Noise2SelfError

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_noise2self.stacks.stack import Stack
    from napari_noise2self.widgets.denoise import DenoiseWidget

FOLDER = Path(__file__).parents[1] / "demo"


@dataclass
class Demo:
    """One run of the demo.

    Attributes
    ----------
    stack : Stack
    truth : ndarray or None
    hidden : bool
        Nobody sees the window: leave pictures and close it.
    failed : bool
        Whether there was no result.
    """

    stack: Stack
    truth: NDArray[Any] | None
    hidden: bool
    failed: bool = False

    def run(self) -> None:
        """Open the window and stay until it is closed."""
        import napari
        from qtpy.QtCore import QTimer

        viewer, dock = open_window(self.stack, hidden=self.hidden)
        when_over(dock, lambda: self.finish(viewer, dock))
        # A moment for the eye to see the noise first.
        QTimer.singleShot(1500, lambda: click_train(dock))
        napari.run()

    def finish(self, viewer: napari.Viewer, dock: DenoiseWidget) -> None:
        """Print what came out; leave the pictures if nobody saw it."""
        outcome = dock.session.outcome
        try:
            if outcome is None:
                raise InputError(dock.session.message)
            self.report(viewer, outcome.name, outcome.info)
            if self.hidden:
                self.leave(viewer, outcome.name)
        except (Noise2SelfError, OSError) as error:
            self.failed = True
            print(error, file=sys.stderr)
        finally:
            # Nobody else would close a window that nobody sees.
            if self.hidden:
                viewer.close()

    def report(self, viewer: napari.Viewer, name: str, info: dict[str, Any]) -> None:
        """Print the numbers."""
        from napari_noise2self import psnr

        if self.truth is not None:
            span = float(self.truth.max() - self.truth.min())
            raw = psnr(self.truth, self.stack.data, data_range=span)
            denoised = psnr(self.truth, viewer.layers[name].data, data_range=span)
            print(f"PSNR at the range of the truth: raw {raw:.2f} dB, denoised {denoised:.2f} dB")
        if info["score"] is not None:
            print(
                f"Self-supervised score of the J-invariant prediction on held-out pixels: "
                f"{info['score']:.4g} squared grey values"
            )
        print(f"Seconds: {info['seconds']:.1f} on {info['device']}")

    def leave(self, viewer: napari.Viewer, name: str) -> None:
        """Write the pictures and the result."""
        from napari_noise2self.stacks.writing import write

        FOLDER.mkdir(exist_ok=True)
        result = viewer.layers[name]
        settle()
        viewer.screenshot(str(FOLDER / "window.png"), canvas_only=False, flash=False)
        pictures = {
            "before": in_view(viewer, viewer.layers[0]),
            "after": in_view(viewer, result),
        }
        save_side_by_side(FOLDER / "before-after.png", pictures)
        write(FOLDER / "denoised.ome.tif", result.data, self.stack, overwrite=True)
        print(f"window.png, before-after.png and denoised.ome.tif are in {FOLDER.name}/")


def main() -> int:
    """Run the demo; the exit status is 1 if there is no result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", nargs="?", help="an image file instead of the simulated one")
    path = parser.parse_args().image
    truth = None
    try:
        if path is None:
            from napari_noise2self.stacks.samples import cells

            sample = cells()
            stack, truth = sample.noisy, sample.truth
        else:
            from napari_noise2self.stacks.reading import read

            stack = read(path)
    except Noise2SelfError as error:
        print(error, file=sys.stderr)
        return 1
    for notice in stack.notices:
        print(notice, file=sys.stderr)
    demo = Demo(stack, truth, hidden=not has_display())
    with virtual_screen() if demo.hidden else contextlib.nullcontext():
        demo.run()
    return int(demo.failed)


if __name__ == "__main__":
    sys.exit(main())
