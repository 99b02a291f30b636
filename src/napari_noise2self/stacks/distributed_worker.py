"""What a worker of a dask cluster does: read a region, denoise it, write it.

A worker reaches source, model and result by their paths, so that no pixels travel through the
scheduler.  It computes one region at a time, and reads and writes others meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distributed import Worker, WorkerPlugin, get_worker

from napari_noise2self.engine.errors import ClusterError, Noise2SelfError

if TYPE_CHECKING:
    from napari_noise2self.engine.bad_pixels import HotRule
    from napari_noise2self.engine.config import Output
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.stacks.store import PartialStore

# Regions in the memory of a worker: one is read, one computed and one written.
REGIONS_AT_ONCE = 3
WINDOWS = 2
_INTERVAL = 0.02
# The variable in which dask sets a limit of glibc's malloc, the numbers of that limit and of the
# one that goes with it, what they are while a network runs, and what the latter is by default.
_TRIM = "MALLOC_TRIM_THRESHOLD_"
_LIMITS, _KEPT, _MMAP_DEFAULT = (-1, -3), (2**28, 2**25), 2**17

Region = tuple[slice, ...]


@dataclass(frozen=True)
class Work:
    """What a worker has to know to denoise any region of an image.

    Attributes
    ----------
    token : str
        Another one for each run.
    folder : str
        ``OUT.partial``, which holds the model, too.
    source : str
        What the image is read from.
    axes : str
    output : str
    device : str
        Chosen on the worker, if it is "auto".
    rule : HotRule
    shape : tuple of int
    pixels : str
        What tells the image from others: a hash of so many `WINDOWS` of it.
    threads : int or None
        For PyTorch; None for those that the worker has.
    empty_chunks : bool
        Whether chunks that are not there are empty, or it was found before that none is missing.
    version : str
        Of this package.
    """

    token: str
    folder: str
    source: str
    axes: str
    output: Output
    device: Literal["auto", "cuda", "mps", "cpu"]
    rule: HotRule
    shape: tuple[int, ...]
    pixels: str
    threads: int | None
    empty_chunks: bool = True
    version: str = version("napari-noise2self")


@dataclass(frozen=True)
class _Tools:
    image: Any
    store: PartialStore
    denoiser: Denoiser


class _Bench:
    """What a worker keeps from one region of an image to the next."""

    def __init__(self) -> None:
        self.running = 0
        self.left = False
        self._tools: _Tools | None = None
        self._opening = threading.Lock()

    def tools(self, work: Work) -> _Tools:
        with self._opening:
            if self._tools is None:
                self._tools = _opened(work)
            return self._tools

    def check(self) -> None:
        """End here where nobody waits for the region any more."""
        if self.left:
            raise ClusterError("The work was ended.")

    def clear(self) -> None:
        if self._tools is not None:
            from napari_noise2self.engine.hardware import release_memory

            self._tools = None
            release_memory()


_benches: dict[str, _Bench] = {}
_changing = threading.Lock()
_room = threading.BoundedSemaphore(REGIONS_AT_ONCE)
_computing = threading.Lock()


def denoise(work: Work, region: Region) -> int:
    """Denoise a region into ``OUT.partial``; a task of dask.

    Parameters
    ----------
    work : Work
    region : tuple of slice

    Returns
    -------
    clipped : int
        For `PartialStore.mark`.
    """
    with _room, _at_bench(work.token) as bench:
        tools = bench.tools(work)
        image, denoiser = tools.image, tools.denoiser
        what: tuple[Any, ...] = (image, region, work.axes, work.output)
        slab = denoiser.read_region(*what)
        with _computing, _memory_kept(), _torch_threads(work.threads):
            bench.check()
            values = denoiser.predict_region(*what, rule=work.rule, slab=slab)
        del slab
        bench.check()
        return tools.store.put(region, values)


async def leave(token: str) -> None:
    """Begin no other region of an image, wait for those under way, and free what they shared.

    Parameters
    ----------
    token : str
        As in `Work`.
    """
    with _changing:
        bench = _benches.setdefault(token, _Bench())
        bench.left = True
    while bench.running:
        await asyncio.sleep(_INTERVAL)
    bench.clear()


class LocalWorker(WorkerPlugin):
    """What makes a process of this machine a good worker.

    Parameters
    ----------
    devices : sequence of str
        The CUDA devices, which the workers take in turn.
    """

    name = "noise2self-local"

    def __init__(self, devices: Sequence[str] = ()) -> None:
        self._devices = tuple(devices)

    def setup(self, worker: Worker) -> None:
        """Called by dask before the worker has any work."""
        # Ctrl-C in a terminal reaches every process; the one that was started there ends the rest.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._devices:
            device = self._devices[int(worker.name) % len(self._devices)]
            os.environ["CUDA_VISIBLE_DEVICES"] = device


@contextlib.contextmanager
def _at_bench(token: str) -> Iterator[_Bench]:
    with _changing:
        bench = _benches.setdefault(token, _Bench())
        bench.check()
        bench.running += 1
    try:
        yield bench
    finally:
        with _changing:
            bench.running -= 1


@contextlib.contextmanager
def _torch_threads(count: int | None) -> Iterator[None]:
    """So many threads for PyTorch; unless it is told, at least as many as dask gives the worker.

    Dask sets OMP_NUM_THREADS to 1, because it means to run as many tasks at once.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or max(before, get_worker().state.nthreads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _memory_kept() -> Iterator[None]:
    """Let a network use the memory of one layer for the next.

    Dask has the C library give memory back as soon as it is freed.  To have it again for every
    layer takes as long as the layers themselves.
    """
    asked = os.environ.get(_TRIM)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if asked and os.name == "posix" else None
    if mallopt is None:
        yield
        return
    before = int(asked or 0), _MMAP_DEFAULT
    for name, size in zip(_LIMITS, _KEPT, strict=True):
        mallopt(name, size)
    try:
        yield
    finally:
        for name, size in zip(_LIMITS, before, strict=True):
            mallopt(name, size)


def _opened(work: Work) -> _Tools:
    """Image, result and model, as this machine sees them."""
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.stacks.export import pixels_hash
    from napari_noise2self.stacks.reading import read
    from napari_noise2self.stacks.store import PartialStore
    from napari_noise2self.stacks.unfinished import MODEL, STATE

    host, here = socket.gethostname(), version("napari-noise2self")
    if here != work.version:
        raise ClusterError(
            f"The worker on {host} has napari-noise2self {here}, and {work.version} is asked for: "
            f"install the same version on all machines of the cluster."
        )
    if not Path(work.folder, STATE).is_file():
        raise ClusterError(
            f"The worker on {host} does not see {work.folder}: name a file on a disk that all "
            f"machines of the cluster reach by the same path."
        )
    try:
        image = read(work.source, work.axes, empty_chunks=work.empty_chunks).data
        same = image.shape == work.shape and pixels_hash(image, WINDOWS) == work.pixels
    except Noise2SelfError as error:
        reason = str(error).rstrip(".")
        raise ClusterError(
            f"The worker on {host} cannot read the image, which all machines of the cluster have "
            f"to reach by the same path: {reason}."
        ) from error
    if not same:
        raise ClusterError(
            f"The worker on {host} finds another image at {work.source}: all machines of the "
            f"cluster have to reach the same one by this path."
        )
    try:
        store = PartialStore.attach(work.folder)
    except OSError as error:
        raise ClusterError(
            f"The worker on {host} may not write to {work.folder}: {error.strerror or error}."
        ) from error
    denoiser = Denoiser.load(Path(work.folder, MODEL), device=work.device)
    return _Tools(image, store, denoiser)
