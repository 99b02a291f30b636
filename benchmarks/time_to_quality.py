"""PSNR against the seconds of a whole process, beside the peers.

    python benchmarks/time_to_quality.py [--fields 0 1 2 3 4 5]

On frame 1 of the FMD fields, each method in a process of its own, from its start to the
file written: this package with defaults and at several lengths of training; CAREamics from
PyPI as shipped, N2V and N2V2, in an environment that this script makes; and non-local means
and total variation whose strength is chosen by the self-supervised loss.  Fields that are not
named keep their rows: each takes six minutes, in which the machine has to be left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tifffile
from common import RESULTS, ROOT, data_folder, print_table, write_result
from pairs import FMD, PAIRS, quality, read

import napari_noise2self as n2s

CAREAMICS = """
import sys
import types
import numpy as np
import tifffile
import torchmetrics  # which asks whether torchvision is there

# It pins another torch.  Parts that N2V does not use import it, so empty modules will do.
for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["torchvision"].__version__ = "0"
from careamics.careamist import CAREamist
from careamics.config.factories import create_n2v_config

if __name__ == "__main__":
    source, target, kind, folder = sys.argv[1:]
    image = tifffile.imread(source).astype(np.float32)
    settings = create_n2v_config(
        experiment_name="n2v", data_type="array", axes="YX", patch_size=[64, 64], batch_size=16,
        use_n2v2=kind == "n2v2",
    )
    careamist = CAREamist(settings, work_dir=folder)
    careamist.train(train_data=image)
    predictions, _ = careamist.predict(pred_data=image)
    tifffile.imwrite(target, np.squeeze(np.asarray(predictions[0])).astype(np.float32))
"""
# The shares of the automatic length that are tried beside it.
SHARES = (1 / 8, 1 / 4, 1 / 2, 2)
# What CAREamics needs but for torchvision.
NEEDS = (
    "bioimageio-core",
    "lightning",
    "matplotlib",
    "microssim",
    "numpy",
    "pillow",
    "psutil",
    "pydantic",
    "pyyaml",
    "scikit-image",
    "tifffile",
    "torchmetrics",
    "zarr",
)

FILTER = """
import sys
import tifffile
sys.path.insert(0, sys.argv[4])
from fmd import calibrated, filters
import napari_noise2self as n2s

image = tifffile.imread(sys.argv[1])
sigma = n2s.estimate_noise(image).channels[0].mean_variance ** 0.5
tifffile.imwrite(sys.argv[2], calibrated(image, filters(sigma)[sys.argv[3]]).astype("float32"))
"""


def peer_python() -> Path | None:
    """An environment with CAREamics; None where it cannot be made."""
    home = ROOT / ".careamics"
    python = home / "bin" / "python"
    if not python.exists():
        torch = next(
            line
            for line in (ROOT / "constraints.txt").read_text().splitlines()
            if "torch==" in line
        )
        install = [str(python), "-m", "pip", "install", "-q"]
        for command in (
            [sys.executable, "-m", "venv", str(home)],
            [*install, torch, *NEEDS],
            [*install, "--no-deps", "careamics"],
        ):
            if subprocess.run(command).returncode:
                print("CAREamics could not be installed: its rows are left out.")
                shutil.rmtree(home, ignore_errors=True)
                return None
    return python


def timed(command: list[str], folder: str) -> tuple[float, str]:
    """Wall seconds of a process, and the end of what it said if it failed."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return time.perf_counter() - began, done.stderr[-600:] if done.returncode else ""


def methods(
    source: Path, target: Path, folder: str, peer: Path | None, automatic: float
) -> dict[str, list[str]]:
    """The command of each method; ours also for shares of its automatic length in epochs."""
    ours = [sys.executable, "-m", "napari_noise2self", "denoise", str(source), str(target)]
    ours += ["--overwrite", "--quiet", "--dtype", "float32"]
    found = {"ours, default": ours}
    for share in SHARES:
        epochs = f"{share * automatic:.2g}"
        found[f"ours, {epochs} epochs"] = [*ours, "--epochs", epochs]
    for kind in ("nlm", "tv"):
        here = str(Path(__file__).parent)
        found[kind] = [sys.executable, "-c", FILTER, str(source), str(target), kind, here]
    if peer is not None:
        for kind in ("n2v", "n2v2"):
            script = [str(peer), "-c", CAREAMICS, str(source), str(target), kind, folder]
            found[f"CAREamics {kind.upper()}"] = script
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, nargs="+", default=range(len(FMD)))
    arguments = parser.parse_args()
    data, peer = data_folder(), peer_python()
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    path, fields = RESULTS / "time_to_quality.json", [FMD[i] for i in arguments.fields]
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in rows if row["image"] not in fields]
    for name in fields:
        image, truth = read(data / name), read(data / PAIRS[name])
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "noisy.tif", Path(folder) / "denoised.tif"
            tifffile.imwrite(source, image)
            automatic = n2s.Denoiser().fit(image).summary["epochs"]
            for method, command in methods(source, target, folder, peer, automatic).items():
                target.unlink(missing_ok=True)
                seconds, failure = timed(command, folder)
                psnr = quality(name, truth, tifffile.imread(target)) if not failure else None
                row = {"image": name, "method": method, "psnr": psnr, "seconds": seconds}
                rows.append({**row, "failure": failure})
                print_table([row])
        write_result("time_to_quality", rows)
    print_table(rows)
