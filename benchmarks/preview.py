"""How soon the *J partition preview* shows a large lazy layer, after it opens and after a change.

In a real napari window: the time from a click to the overlay of the new partition in the layer
(what the eye needs besides is one drawing of the canvas, which is counted too), and to the answer
of the data in view, which are computed from chunks on request: the masked input, and that nothing
leaks into it.  Opening a dock that adds two empty layers of the same kind stands for napari's own
share.  Without a display a virtual screen is used, where napari draws in software.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, print_table, write_result

sys.path.insert(0, str(ROOT / "scripts"))
from window import has_display, settle, virtual_screen

REPEATS = 5
LAYERS = {
    "20 000 × 20 000": ((20_000, 20_000), (1_000, 1_000)),
    "200 × 4 000 × 4 000": ((200, 4_000, 4_000), (1, 1_000, 1_000)),
}

CHANGES: dict[str, Callable[[Any], None]] = {
    "another grid": lambda dock: dock.form.controls["width"].setValue(5),
    "a wider block": lambda dock: dock.form.controls["extent"].setValue(3),
    "the next subset": lambda dock: dock.walk.slider.setValue(7),
    "a random partition": lambda dock: dock.form.controls["partition"].setCurrentIndex(1),
}


def lazy(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Any:
    """A noisy image that exists chunk by chunk only."""
    import dask.array as da

    def noise(block_info: Any = None) -> np.ndarray:
        place = block_info[None]["chunk-location"]
        rng = np.random.default_rng(place)
        return rng.poisson(100, block_info[None]["chunk-shape"]).astype(np.uint16)

    chunks = tuple((c,) * (n // c) for n, c in zip(shape, chunk, strict=True))
    return da.map_blocks(noise, chunks=chunks, dtype=np.uint16, meta=np.empty(0, np.uint16))


def seconds_until(done: Callable[[], bool], since: float) -> float:
    from qtpy.QtWidgets import QApplication

    while not done():
        QApplication.processEvents()
        if time.perf_counter() - since > 60:
            raise RuntimeError("the preview did not answer within a minute")
    return time.perf_counter() - since


def measure(viewer: Any, name: str) -> list[dict[str, Any]]:
    from qtpy.QtWidgets import QApplication, QLabel

    def drawn(since: float) -> float:
        viewer.window._qt_viewer.canvas.native.repaint()
        QApplication.processEvents()
        return time.perf_counter() - since

    def answered() -> bool:
        shown = widget.preview.shown
        return shown is not None and shown.masked is not None and shown.leakage is not None

    first = viewer.layers[0]
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(REPEATS):
        began = time.perf_counter()
        label = QLabel("empty")
        dock = viewer.window.add_dock_widget(label)
        empty = np.zeros((1,) * (first.ndim - 2) + (256, 256), np.int32)
        added = [viewer.add_labels(empty, name=str(n)) for n in range(2)]
        times.setdefault("napari alone: a dock, two empty layers", []).append((drawn(began), 0))
        for layer in added:
            viewer.layers.remove(layer)
        viewer.window.remove_dock_widget(dock)
        settle(0.3)

        began = time.perf_counter()
        _, widget = viewer.window.add_plugin_dock_widget("napari-noise2self", "J partition preview")
        overlay = drawn(began)
        times.setdefault("opening", []).append((overlay, seconds_until(answered, began)))
        for what, change in CHANGES.items():
            before = viewer.layers[f"{name} J targets"].data
            began = time.perf_counter()
            change(widget)
            seconds_until(
                lambda before=before: viewer.layers[f"{name} J targets"].data is not before, began
            )
            overlay = drawn(began)
            times.setdefault(what, []).append((overlay, seconds_until(answered, began)))
        settle(0.3)
        viewer.window.remove_dock_widget(widget)
        settings = widget.session.settings
        settings.partition, settings.width, settings.extent = "grid", None, 1
        settle(0.3)
    rows = []
    for what, both in times.items():
        overlay, answer = (statistics.median(values) for values in zip(*both, strict=True))
        rows.append(
            {
                "layer": name,
                "what": what,
                "overlay drawn, s": round(overlay, 3),
                "data answered, s": round(answer, 3) if answer else "",
                "slowest overlay, s": round(max(value for value, _ in both), 3),
            }
        )
    return rows


def main() -> None:
    hidden = not has_display()
    with virtual_screen() if hidden else contextlib.nullcontext():
        import os

        os.environ["NAPARI_CONFIG"] = ""
        import napari
        import torch  # noqa: F401 - its import is measured by gui_responsiveness

        rows = []
        for name, (shape, chunk) in LAYERS.items():
            viewer = napari.Viewer()
            viewer.window.resize(1280, 800)
            # Not visible: napari itself would read a whole plane to draw it.
            viewer.add_image(
                lazy(shape, chunk), name=name, contrast_limits=(50, 150), visible=False
            )
            settle(1)
            rows += measure(viewer, name)
            viewer.close()
    print_table(rows)
    write_result(
        Path(__file__).stem,
        rows,
        repeats=REPEATS,
        virtual_screen=hidden,
        shared="Others used the same two cores while this was measured.",
    )


if __name__ == "__main__":
    main()
