"""What every experiment of the paper shares: where results go, and what is drawn."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import RESULTS, ROOT, machine, noisy_camera, print_table, write_result

__all__ = [
    "IMAGES",
    "PAPER",
    "RESULTS",
    "ROOT",
    "decibels",
    "draw",
    "keep",
    "machine",
    "noisy_camera",
    "print_table",
    "where",
]

PAPER = RESULTS / "paper"
IMAGES = ROOT / "docs" / "images"
# Colours that the colour-blind can tell apart (Okabe & Ito).
BLUE, ORANGE, GREEN, PINK, SKY, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#666666",
)


def keep(name: str, rows: Sequence[Mapping[str, Any]], **extra: Any) -> None:
    """Keep the rows in results/paper/NAME.json, with how busy the machine was."""
    write_result(f"paper/{name}", rows, load=round(os.getloadavg()[0], 1), **extra)


def where() -> str:
    """The machine in a line, as it stands under a printed table."""
    found = machine()
    return f"{found['processor']}, {found['cores']} cores, load {os.getloadavg()[0]:.1f}"


def decibels(mse: float, peak: float = 1.0) -> float:
    """PSNR from a mean squared error."""
    import numpy as np

    return float(10 * np.log10(peak**2 / mse))


def draw() -> Any:
    """Matplotlib's pyplot, which needs no screen."""
    try:
        import matplotlib
    except ImportError:
        sys.exit("The figures need matplotlib: pip install 'napari-noise2self[docs]'.")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
