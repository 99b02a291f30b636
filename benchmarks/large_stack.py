"""Stacks larger than memory: peak memory and throughput of streaming from store to store.

    python benchmarks/large_stack.py               stacks of 0.25 and 1 GB, one frame of 0.5 GB
    python benchmarks/large_stack.py --large       and a stack of 4 GB
    python benchmarks/large_stack.py --sizes 0.1 --frame 0

Simulated 16-bit stacks (frames of 2048 x 2048 that bleach to a half) are written tile by
tile to a Zarr in a temporary folder, and denoised from there to an OME-Zarr as the terminal
does it, single pass, by a process of its own that reports its peak resident set, the
imports included.  Before and after, another process denoises 0.125 GB of the same stack in
memory, with the same network: the throughput of streaming is compared with the mean of the
two.  The network is the default one, but not averaged over flips, which makes reading
and writing weigh twice as much as they do by default.

What is compared with the result: sampled frames (of one large frame: sampled parts) denoised
in memory, pixel by pixel, and the means of all frames with those of the source.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, write_result
from scipy import ndimage

from napari_noise2self import Denoiser, TrainingConfig

SIDE = 2048
TILE = 1024
IN_MEMORY_GB = 0.125
SAMPLES = 4
GOAL = {"peak_mb": 2000, "share_of_in_memory": 0.85, "mean_change_percent": 0.5}


def scene(side: int, rng: np.random.Generator) -> np.ndarray:
    """Spots and haze in photons, periodic, so that tiles can be cut anywhere."""
    spots = ndimage.gaussian_filter((rng.random((side, side)) < 0.002) * 4000.0, 2, mode="wrap")
    haze = ndimage.gaussian_filter(rng.normal(size=(side, side)), 40, mode="wrap")
    return (150 + 30 * haze / haze.std() + spots).astype(np.float32)


def make(folder: Path, shape: tuple[int, ...]) -> None:
    """Write a stack tile by tile: a moving, bleaching scene with shot and read noise."""
    import zarr

    rng = np.random.default_rng(0)
    light, noise = scene(TILE, rng), rng.normal(size=(TILE, TILE)).astype(np.float32)
    chunks = (1,) * (len(shape) - 2) + (TILE, TILE)
    array = zarr.create_array(folder, shape=shape, chunks=chunks, dtype="uint16")
    frames = shape[0] if len(shape) == 3 else 1
    for frame in range(frames):
        left = 1 - 0.5 * frame / max(frames - 1, 1)
        for y in range(0, shape[-2], TILE):
            for x in range(0, shape[-1], TILE):
                photons = left * np.roll(light, (3 * frame, y // TILE + x // TILE), (0, 1))
                drawn = np.roll(noise, rng.integers(TILE, size=2), (0, 1))
                grey = 100 + photons + np.sqrt(photons + 4) * drawn
                tile = np.rint(grey.clip(0, 65535)).astype(np.uint16)
                place = (slice(y, y + TILE), slice(x, x + TILE))
                tile = tile[: shape[-2] - y, : shape[-1] - x]
                array[(frame, *place) if len(shape) == 3 else place] = tile


def opened(folder: Path) -> Any:
    import zarr

    return zarr.open_array(folder, mode="r")


def peak_mb() -> float:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10


def in_memory(source: Path, model: Path) -> dict[str, float]:
    """In a process of its own: a part of the stack in memory, denoised in memory."""
    array = opened(source)
    pixels = int(IN_MEMORY_GB * 2**30 / 2)
    if array.ndim == 3:
        image = array[: max(pixels // SIDE**2, 1)]
    else:
        side = min(math.isqrt(pixels), *array.shape)
        image = array[:side, :side]
    denoiser = Denoiser.load(model)
    denoiser.predict(image[..., :256, :256])
    began = time.perf_counter()
    denoiser.predict(image)
    return {"mpx_per_s": image.size / (time.perf_counter() - began) / 1e6}


def streamed(source: Path, model: Path, target: Path) -> dict[str, float]:
    """In a process of its own: the whole stack, from store to store."""
    from napari_noise2self.engine.events import PredictionEvent, exhaust
    from napari_noise2self.stacks.export import export_events
    from napari_noise2self.stacks.stack import Stack

    array = opened(source)
    denoiser = Denoiser.load(model)
    denoiser.predict(np.zeros((256, 256), np.uint16))
    stack = Stack(array, "TYX"[-array.ndim :])
    told = []

    def hear(event: object) -> None:
        if isinstance(event, PredictionEvent):
            told.append(time.perf_counter())

    began, before = time.perf_counter(), peak_mb()
    written = exhaust(export_events(denoiser, stack, target, output="single-pass"), hear)
    assert written.complete
    return {
        "seconds": told[-1] - told[0],
        "export_seconds": time.perf_counter() - began,
        "before_mb": before,
        "peak_mb": peak_mb(),
    }


def child(kind: str, *paths: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", kind, *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{kind} failed:\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def difference(source: Path, target: Path, denoiser: Denoiser) -> int:
    """The largest difference from what is denoised in memory, in grey values, on samples."""
    import zarr

    from napari_noise2self.engine.layout import Layout
    from napari_noise2self.engine.preparation import Frame
    from napari_noise2self.engine.windows import Place

    array, result = opened(source), zarr.open_group(target, mode="r")["0"]
    rule, trained = denoiser.hot_rule(array), denoiser.trained
    worst = 0
    for number in np.linspace(0, 1, SAMPLES):
        if array.ndim == 3:
            index: Any = round(number * (array.shape[0] - 1))
            image, expected = array[index], result[index]
            layout = Layout.of(image.shape)
            frame = Frame.of(image, layout, trained.normalisation, 0, rule)
        else:
            # As far as the frame of the sample matters, it is the whole one.
            start = int(number * (array.shape[0] - SIDE))
            box = (slice(start, start + SIDE),) * 2
            layout = Layout.of(array.shape)
            method = trained.method("single-pass", array.shape)
            place = Place.around(box, array.shape, method.reach)
            frame = Frame.of(array, layout, trained.normalisation, 0, rule, place)
            expected = result[box]
        *_, values = trained.output(
            "single-pass", trained.predictor(), frame.values, frame.valid, frame.place
        )
        grey = np.rint(frame.restore(values)[0].clip(0, 65535))
        worst = max(worst, int(np.abs(grey - expected).max()))
    return worst


def mean_change(source: Path, target: Path) -> float:
    """How much the mean of a frame changes at most, in percent."""
    import zarr

    array, result = opened(source), zarr.open_group(target, mode="r")["0"]

    def means(stack: Any) -> np.ndarray:
        if stack.ndim == 3:
            return np.array([stack[i].mean() for i in range(stack.shape[0])])
        rows = range(0, stack.shape[0], TILE)
        return np.array([sum(float(stack[i : i + TILE].sum()) for i in rows) / stack.size])

    before, after = means(array), means(result)
    return float(100 * np.abs(after / before - 1).max())


def measure(gb: float, one_frame: bool, model: Path, denoiser: Denoiser, folder: Path) -> dict:
    pixels = gb * 2**30 / 2
    shape: tuple[int, ...] = (max(round(pixels / SIDE**2), 1), SIDE, SIDE)
    if one_frame:
        # Odd, so that no chunk and no tile fits.
        shape = (round(math.sqrt(pixels)) | 1,) * 2
    source, target = folder / "noisy.zarr", folder / "denoised.ome.zarr"
    make(source, shape)
    first = child("in_memory", source, model)
    row = child("streamed", source, model, target)
    second = child("in_memory", source, model)
    memory = (first["mpx_per_s"] + second["mpx_per_s"]) / 2
    rate = math.prod(shape) / row["seconds"] / 1e6
    return {
        "shape": "x".join(map(str, shape)),
        "gb": math.prod(shape) * 2 / 2**30,
        "peak_mb": row["peak_mb"],
        "imports_mb": row["before_mb"],
        "mpx_per_s": rate,
        "in_memory_mpx_per_s": memory,
        "share_of_in_memory": rate / memory,
        "share_of_whole_export": row["seconds"] / row["export_seconds"],
        "difference": difference(source, target, denoiser),
        "mean_change_percent": mean_change(source, target),
        "seconds": row["seconds"],
    }


def train(folder: Path) -> tuple[Denoiser, Path]:
    """A network trained on parts of a few frames, as long as it is planned by itself."""
    source = folder / "training.zarr"
    make(source, (4, TILE, TILE))
    config = TrainingConfig(averaging=False, output="single-pass")
    denoiser = Denoiser(config).fit(opened(source)[:, :512, :512])
    model = folder / "model.safetensors"
    denoiser.save(model)
    return denoiser, model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=float, nargs="*", default=[0.25, 1.0], help="in GB")
    parser.add_argument("--frame", type=float, default=0.5, help="in GB; 0 leaves it out")
    parser.add_argument("--large", action="store_true", help="also a stack of 4 GB")
    parser.add_argument("--folder", type=Path, help="for the temporary stores")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, *paths = options.child
        work = {"in_memory": in_memory, "streamed": streamed}[kind]
        print(json.dumps(work(*map(Path, paths))))
        return
    sizes = [(size, False) for size in [*options.sizes, *([4.0] if options.large else [])]]
    if options.frame:
        sizes.append((options.frame, True))
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as top:
        denoiser, model = train(Path(top))
        for gb, one_frame in sizes:
            with tempfile.TemporaryDirectory(dir=top) as folder:
                rows.append(measure(gb, one_frame, model, denoiser, Path(folder)))
            print_table(rows[-1:])
            # Kept at once: the largest takes a quarter of an hour.
            write_result(
                "large_stack",
                rows,
                goal=GOAL,
                training_steps=denoiser.summary["steps"],
                averaging=denoiser.config.averaging,
                device=denoiser.summary["device"],
            )
    print()
    print_table(rows)


if __name__ == "__main__":
    main()
