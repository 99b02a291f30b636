"""How late napari's event loop answers while the *Denoise* dock trains, and what opening costs.

A timer of 10 ms runs in a real napari window; its delay is what a person
feels.  It is measured with nothing to do, during the import of PyTorch,
during training and during prediction, in one process.  Without a display a
virtual screen is used, where napari draws in software.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import ROOT, print_table, write_result

sys.path.insert(0, str(ROOT / "scripts"))
from window import click_train, has_display, open_window, settle, virtual_screen, when_over

IDLE_SECONDS = 5.0
INTERVAL = 0.01
PHASES = {
    "preparing": "import of PyTorch, preparation",
    "training": "training, live preview",
    "predicting": "prediction",
}


def measure_window() -> tuple[list[dict], dict[str, float]]:
    """Delays of the event loop per phase, and the seconds that opening the dock takes."""
    import napari
    from qtpy.QtCore import Qt, QTimer

    from napari_noise2self.stacks.samples import cells

    # The same steps without the dock: napari's own share, and a warm start for what follows.
    viewer = napari.Viewer()
    viewer.window.resize(1280, 800)
    settle()
    from qtpy.QtWidgets import QLabel

    seconds = {}
    began = time.perf_counter()
    empty = viewer.window.add_dock_widget(QLabel("empty"))
    settle(0)
    seconds["an empty dock"] = time.perf_counter() - began
    viewer.window.remove_dock_widget(empty)
    began = time.perf_counter()
    viewer.window.add_plugin_dock_widget("napari-noise2self", "Denoise")
    settle(0)
    seconds["the Denoise dock"] = time.perf_counter() - began
    assert "torch" not in sys.modules
    viewer.close()
    settle(0.5)

    viewer, dock = open_window(cells().noisy, hidden=True)
    settle()
    delays: dict[str, list[float]] = {"nothing to do": []}
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        state = dock.session.state.value
        delays.setdefault(PHASES.get(state, "nothing to do"), []).append(now - last - INTERVAL)
        last = now

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.setInterval(int(1000 * INTERVAL))
    timer.timeout.connect(tick)
    timer.start()
    QTimer.singleShot(int(1000 * IDLE_SECONDS), lambda: click_train(dock))
    when_over(dock, viewer.close)
    napari.run()
    rows = []
    for phase, late in delays.items():
        late_ms = 1000 * np.maximum(late, 0)
        rows.append(
            {
                "phase": phase,
                "median ms": float(np.median(late_ms)),
                "95th percentile ms": float(np.percentile(late_ms, 95)),
                "max ms": float(late_ms.max()),
                "ticks": len(late_ms),
            }
        )
    return rows, seconds


def import_seconds(statement: str, module: str) -> float:
    """Cumulative seconds of importing `module` as Python itself counts them."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    for line in done.stderr.splitlines():
        found = re.match(r"import time:\s+\d+ \|\s+(\d+) \|\s*(\S+)$", line)
        if found and found.group(2) == module:
            return int(found.group(1)) / 1e6
    raise RuntimeError(f"{module} was not imported by {statement!r}")


def main() -> None:
    dock = "napari_noise2self.widgets.denoise"
    imports = {
        "import napari_noise2self": import_seconds("import napari_noise2self", "napari_noise2self"),
        "the widget's modules, after napari's": import_seconds(
            f"import napari._qt.qt_main_window, napari.qt.threading; import {dock}", dock
        ),
    }
    screen = contextlib.nullcontext() if has_display() else virtual_screen()
    hidden = not has_display()
    with screen:
        rows, opening = measure_window()
    print_table(rows)
    seconds = [{"what": k, "seconds": v} for k, v in {**opening, **imports}.items()]
    print_table(seconds)
    write_result(Path(__file__).stem, rows, opening=seconds, virtual_screen=hidden)


if __name__ == "__main__":
    main()
