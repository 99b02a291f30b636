"""One stack shared between workers: over the cores here, and where reading is slow.

    python benchmarks/scaling.py [--frames 12] [--slow-frames 192] [--delay 2]

Strong scaling: the same frames of 2048 x 2048 are denoised to an OME-Zarr without a cluster and
by dask workers, with as many threads in all.  Slow store: an OME-Zarr comes from a server on this
machine that lets every chunk wait, as a distant one does; there workers wait beside each other.
Every result is compared with that of the same run without a cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import multiprocessing
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import print_table, write_result
from dask.system import CPU_COUNT

from napari_noise2self import Denoiser, TrainingConfig
from napari_noise2self.engine import streaming
from napari_noise2self.engine.events import PredictionEvent, exhaust
from napari_noise2self.stacks.distributed import Cluster, connect
from napari_noise2self.stacks.export import export_events, request_of
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.samples import cells
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.writing import write

# What a worker imports for its first region.
IMPORTS = (
    "import napari_noise2self.engine.model, napari_noise2self.stacks.export, "
    "napari_noise2self.stacks.reading, zarr, fsspec.implementations.http"
)


def timed(denoiser: Denoiser, source: str, target: Path, cluster: Cluster | None) -> dict[str, Any]:
    """The seconds of an export, of it the look at samples and the denoising, and the speed of that.

    The samples tell the image and its hot pixels; they are read here, whoever does the rest.
    """
    stack = read(source)
    began = time.perf_counter()
    denoiser.hot_rule(stack.data, stack.axes)
    request_of(denoiser, stack)
    looked = time.perf_counter() - began
    denoised = 0.0
    began = time.perf_counter()

    def note(event: object) -> None:
        nonlocal denoised
        if isinstance(event, PredictionEvent):
            denoised = time.perf_counter() - began

    predict = {} if cluster is None else {"predict": cluster.predict_events}
    exhaust(export_events(denoiser, stack, target, source=source, overwrite=True, **predict), note)
    pixels = float(np.prod(stack.shape))
    return {
        "seconds": time.perf_counter() - began,
        "looking_seconds": looked,
        "denoising_seconds": denoised - looked,
        "mpx_per_s": pixels / (denoised - looked) / 1e6,
    }


def difference(one: Path, other: Path) -> int:
    """The largest difference of two results, in grey values."""
    a, b = read(one).data, read(other).data
    return max(
        int(np.abs(np.asarray(a[t]).astype(int) - np.asarray(b[t]).astype(int)).max())
        for t in range(a.shape[0])
    )


def over_cores(denoiser: Denoiser, source: str, folder: Path) -> list[dict[str, Any]]:
    """Without a cluster and with one, by the threads that compute."""
    before = torch.get_num_threads()
    rows = []
    alone = folder / "alone.ome.zarr"
    for workers, threads in ((0, 1), (1, 1), (2, 1), (0, CPU_COUNT), (1, CPU_COUNT)):
        row: dict[str, Any] = {"workers": workers, "threads_each": threads}
        if workers == 0:
            torch.set_num_threads(threads)
            row |= timed(denoiser, source, alone, None)
            torch.set_num_threads(before)
            row |= {"start_seconds": 0.0, "difference": 0}
        else:
            target = folder / "shared.ome.zarr"
            began = time.perf_counter()
            with connect(f"local:{workers}") as found:
                found.client.run(exec, IMPORTS, {})
                start = time.perf_counter() - began
                cluster = Cluster(found.client, threads=threads)
                row |= timed(denoiser, source, target, cluster)
            row |= {"start_seconds": start, "difference": difference(alone, target)}
        rows.append(row)
        print_table(rows[-1:])
    return rows


class SlowHandler(http.server.SimpleHTTPRequestHandler):
    """Hands out files and ranges of them, and lets those wait that hold pixels."""

    protocol_version = "HTTP/1.1"
    delay = 0.0

    def do_GET(self) -> None:
        """Hand out one file, or the part that is asked for, as shards are read."""
        if "/c/" in self.path:
            time.sleep(self.delay)
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        first, last = wanted.groups()
        start = int(first) if first else len(content) - int(last)
        stop = int(last) + 1 if first and last else len(content)
        part = content[max(start, 0) : stop]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def serve(folder: str, delay: float, port: Any) -> None:
    """Serve a folder until the process ends."""
    SlowHandler.delay = delay
    handler = functools.partial(SlowHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    port.send(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def slow_store(folder: Path, delay: float) -> Iterator[str]:
    """The address of a folder on a server of its own process."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(str(folder), delay, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def over_workers(folder: Path, frames: int, delay: float) -> list[dict[str, Any]]:
    """By the number of workers, where every read takes `delay` seconds."""
    data = np.random.default_rng(0).poisson(100, (frames, 512, 1024)).astype(np.uint16)
    write(folder / "slow.ome.zarr", data, Stack(data, "TYX"))
    # A network that takes less than the reading, as on a GPU.
    small = TrainingConfig(epochs=0.2, channels=4, depth=1, averaging=False, device="cpu")
    denoiser = Denoiser(small).fit(data[0, :256, :256])
    # One frame at a time, so that few frames are many reads.
    streaming.REGION_PIXELS = data[0].size
    rows = []
    alone = folder / "alone.ome.zarr"
    with slow_store(folder, delay) as address:
        source = f"{address}/slow.ome.zarr"
        for workers in (0, 1, 2, 4, 8):
            if workers == 0:
                row = timed(denoiser, source, alone, None)
                rows.append({"workers": 0, **row, "difference": 0})
            else:
                target = folder / "shared.ome.zarr"
                with connect(f"local:{workers}") as found:
                    found.client.run(exec, IMPORTS, {})
                    cluster = Cluster(found.client, threads=1)
                    row = timed(denoiser, source, target, cluster)
                rows.append({"workers": workers, **row, "difference": difference(alone, target)})
            print_table(rows[-1:])
    return rows


def image(frames: int) -> Stack:
    """Simulated cells, 2048 x 2048 in every frame."""
    tiles = [cells(seed=seed).noisy.data for seed in range(16)]
    plane = np.block([tiles[4 * row : 4 * row + 4] for row in range(4)])
    return Stack(np.stack([np.roll(plane, 8 * t, -1) for t in range(frames)]), "TYX")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--slow-frames", type=int, default=192)
    parser.add_argument("--delay", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stack = image(arguments.frames)
        write(folder / "in.ome.zarr", stack.data, stack)
        model = Denoiser(TrainingConfig(epochs=0.05, device="cpu")).fit(stack.data[0, :512, :512])
        rows = over_cores(model, str(folder / "in.ome.zarr"), folder)
        slow = over_workers(folder, arguments.slow_frames, arguments.delay)
    print_table(rows)
    print_table(slow)
    write_result(
        "scaling",
        rows,
        frames=arguments.frames,
        slow_store=slow,
        slow_frames=arguments.slow_frames,
        delay_seconds=arguments.delay,
    )
