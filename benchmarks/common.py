"""What every benchmark shares: the data, the table, the record of machine and versions."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from skimage.data import camera

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def data_folder() -> Path:
    """The folder of real images; the benchmark ends with a reason where there is none."""
    folder = Path(os.environ.get("NOISE2SELF_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit("This benchmark needs real images: name their folder in NOISE2SELF_DATA.")
    return folder


# Noisy images and their truths.  Those of FMD are compared at range 255, as in the
# literature; the others differ in exposure and are compared scale-invariantly.
INDEPENDENT_PAIRS = {
    **{
        f"fmd/{field}_raw1.png": f"fmd/{field}_gt.png"
        for field in (
            "Confocal_MICE",
            "TwoPhoton_BPAE_G",
            "Confocal_BPAE_R",
            "Confocal_BPAE_G",
            "Confocal_BPAE_B",
        )
    },
    **{
        f"miro_tirf_scmos/{field}_{exposure}ms.tif": f"miro_tirf_scmos/{field}_gt.tif"
        for field in ("c1", "mitochondria")
        for exposure in (10, 20, 50, 100)
    },
    **{
        f"hagen/{field}_low.png": f"hagen/{field}_high.png"
        for field in ("nucleus", "actin-60x-noise1", "membrane")
    },
}


def noisy_camera(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The camera of scikit-image, and with normal noise of 0.1, clipped to [0, 1]."""
    clean = camera() / 255
    noise = 0.1 * np.random.default_rng(seed).standard_normal(clean.shape, np.float32)
    return clean, np.clip(clean + noise, 0, 1)


def machine() -> dict[str, Any]:
    """Where and with what the numbers were measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    names = ("napari-noise2self", "torch", "numpy", "scikit-image", "napari")
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "processor": _processor(),
        "cores": len(psutil.Process().cpu_affinity() or []) or os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def write_result(name: str, rows: Sequence[Mapping[str, Any]], **extra: Any) -> None:
    """Keep the rows, and how they came about, in results/NAME.json."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine(), **extra, "rows": list(rows)}
    path.write_text(json.dumps(record, indent=1) + "\n")


def kept_rows(name: str) -> list[dict[str, Any]]:
    """The rows that results/NAME.json has already, for a run that goes on where it was cut off."""
    path = RESULTS / f"{name}.json"
    return list(json.loads(path.read_text())["rows"]) if path.exists() else []


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows that share their keys as a Markdown table."""
    if not rows:
        return
    columns = list(rows[0])
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    for line in [columns, ["-" * width for width in widths], *cells]:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |")


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
