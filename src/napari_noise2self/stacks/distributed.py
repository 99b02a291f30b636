"""The regions of a stack shared between the workers of a dask cluster.

Retries, the loss of workers and the dashboard are dask's.  Here it is decided which regions are
to be done, what of them is marked as done in ``OUT.partial``, and what is said.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import time
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from napari_noise2self.engine.errors import ClusterError, InputError, Noise2SelfError, first_line
from napari_noise2self.engine.events import INTERVAL, Control, Event
from napari_noise2self.engine.memory import VARIABLE, memory_budget

if TYPE_CHECKING:
    from napari_noise2self.engine.config import Output
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.stacks.distributed_worker import Region, Work
    from napari_noise2self.stacks.stack import Stack
    from napari_noise2self.stacks.store import PartialStore

Device = Literal["auto", "cuda", "mps", "cpu"]

LOCAL = re.compile(r"local:([1-9]\d*)")
# How often a region that failed is tried again, by dask.
RETRIES = 3
# Tasks that the scheduler has at once: so many per thread of the workers, and at least so many.
_AHEAD, _LEAST = 4, 8
# In seconds: how long a scheduler may take to answer, and how often its workers are counted.
_CONNECTING, _COUNTING = 15.0, 1.0


@contextlib.contextmanager
def connect(address: str, *, device: Device = "auto") -> Iterator[Cluster]:
    """Use a dask cluster for the time of a ``with`` block.

    Parameters
    ----------
    address : str
        That of the scheduler, such as ``tcp://host:8786``; the path of its
        scheduler file (``.json``); or ``local:N`` for N processes on this
        machine, which end with the block.
    device : {"auto", "cuda", "mps", "cpu"}
        Where a worker computes; "auto" is decided on each of them.

    Yields
    ------
    cluster : Cluster

    Raises
    ------
    ClusterError
        If dask.distributed is not installed, or the scheduler is not reached.
    """
    if find_spec("distributed") is None:
        raise ClusterError(
            'Sharing the work needs dask.distributed: pip install "napari-noise2self[distributed]".'
        )
    local = LOCAL.fullmatch(address)
    if local is None:
        with _client(address) as client:
            yield Cluster(client, device)
        return
    count = int(local[1])
    with _local_cluster(count) as (target, threads), _client(target) as client:
        yield Cluster(client, device, threads)


class Cluster:
    """Workers that share the regions of a stack; made by `connect`.

    Parameters
    ----------
    client : distributed.Client
    device : {"auto", "cuda", "mps", "cpu"}
    threads : int, optional
        Of PyTorch in each worker; by default those that the worker has.

    Attributes
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any, device: Device = "auto", threads: int | None = None) -> None:
        self.client = client
        self._device: Device = device
        self._threads = threads
        self._address = str(client.scheduler.address)
        self._room = 0
        self._counted = -math.inf

    @property
    def words(self) -> str:
        """One sentence: how many workers there are, and where to watch them."""
        count = len(self.client.nthreads())
        shared = f"The work is shared between {count} workers at {self._address}"
        if count == 1:
            shared = f"The work is done by 1 worker at {self._address}"
        elif not count:
            shared = f"The work waits for the first worker to join {self._address}"
        # Without bokeh there is a server, but nothing to be seen there.
        if find_spec("bokeh"):
            with contextlib.suppress(KeyError):
                return f"{shared}; dask shows it at {self.client.dashboard_link}."
        return f"{shared}."

    def predict_events(
        self,
        denoiser: Denoiser,
        stack: Stack,
        *,
        sink: PartialStore,
        source: str | Path | None,
        output: Output = "auto",
        control: Control | None = None,
    ) -> Generator[Event, None, bool]:
        """Denoise a stack as `Denoiser.predict_stream` does, by the workers of the cluster.

        Parameters
        ----------
        denoiser : Denoiser
        stack : Stack
        sink : PartialStore
            In which the workers write, and what they have written is marked.
        source : str or path
            What the stack was read from: every worker reads its parts itself.
        output : {"auto", "single-pass", "j-invariant", "mixed"}
        control : Control, optional
            `stop` ends it after the regions that are being computed; `pause`
            hands out no others.

        Yields
        ------
        event : PredictionEvent
            At most every 100 ms, and when a frame is complete.

        Returns
        -------
        complete : bool
            Whether all of the stack is in the sink.

        Raises
        ------
        InputError
            If the stack or the model cannot be sent to other machines.
        ClusterError
            If the scheduler is lost, a worker does not see the files, or no
            worker survives.
        Noise2SelfError
            What went wrong on a worker.
        """
        control = control or Control()
        place = _reachable(source)
        if denoiser.config.network == "custom":
            raise InputError(
                "A network of your own is known in this process alone: denoise without a cluster."
            )
        from napari_noise2self.engine.streaming import Ledger
        from napari_noise2self.stacks.distributed_worker import WINDOWS, Work
        from napari_noise2self.stacks.export import pixels_hash
        from napari_noise2self.stacks.remote_zarr import Watched

        layout = denoiser.config.layout(stack.shape, stack.axes)
        with self._errors():
            count = len(self.client.nthreads())
        regions = denoiser.regions(stack.data, sink.chunks, stack.axes, output, workers=count)
        ledger = Ledger(layout, regions, sink, control.preview_frame)
        progress = ledger.progress()
        yield progress.event()
        if not ledger.todo:
            return True
        work = Work(
            uuid.uuid4().hex,
            os.path.abspath(sink.folder),  # noqa: PTH100 -- links stay: others may see only those
            place,
            stack.axes,
            denoiser.resolved_output(output),  # type: ignore[arg-type]
            self._device,
            denoiser.hot_rule(stack.data, stack.axes),
            stack.shape,
            pixels_hash(stack.data, WINDOWS),
            self._threads,
            empty_chunks=not isinstance(stack.data, Watched),
        )
        with self._errors(), contextlib.closing(_Tasks(self.client, work, ledger.todo)) as tasks:
            while tasks.left and not control.stopped:
                if not control.paused:
                    tasks.begin(self._count())
                for region, clipped in tasks.done(INTERVAL):
                    sink.mark(region, clipped)
                    progress.done += ledger.work(region)
                    frame = ledger.enter(region)
                    if frame is not None:
                        yield progress.event(frame=frame)
                if progress.due:
                    yield progress.event()
        return ledger.complete

    def _count(self) -> int:
        """How many tasks the scheduler may have, by the workers that there are now."""
        now = time.monotonic()
        if now - self._counted > _COUNTING:
            threads = sum(self.client.nthreads().values())
            self._counted, self._room = now, max(_AHEAD * threads, _LEAST)
        return self._room

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What dask raises, in a sentence."""
        from concurrent.futures import CancelledError as Cancelled

        from distributed import CancelledError, KilledWorker

        try:
            yield
        except Noise2SelfError:
            raise
        except KilledWorker as error:
            raise ClusterError(
                "Several workers ended one after the other while they denoised the same region, "
                "most often because memory was short: give each of them more, and go on from what "
                "is done (--resume in the terminal)."
            ) from error
        except (CancelledError, Cancelled, OSError) as error:
            raise ClusterError(
                f"The connection to the scheduler {self._address} was lost: when it is there "
                f"again, go on from what is done (--resume in the terminal)."
            ) from error
        except Exception as error:
            raise ClusterError(
                f"The cluster failed with {type(error).__name__} ({first_line(error)}): make sure "
                f"that the scheduler and all workers have the same versions of Python, dask and "
                f"napari-noise2self as this machine."
            ) from error


class _Tasks:
    """The regions of an image as tasks of dask, a few of them at a time."""

    def __init__(self, client: Any, work: Work, regions: Sequence[Region]) -> None:
        self._client = client
        self._work = work
        self._todo = deque(enumerate(regions))
        self._running: dict[str, tuple[Any, Region]] = {}
        self._ended: SimpleQueue[Any] = SimpleQueue()

    @property
    def left(self) -> bool:
        return bool(self._todo or self._running)

    def begin(self, room: int) -> None:
        """Hand tasks to the scheduler until it has so many."""
        from napari_noise2self.stacks.distributed_worker import denoise

        while self._todo and len(self._running) < room:
            number, region = self._todo.popleft()
            key = f"noise2self-{self._work.token}-{number}"
            future = self._client.submit(
                denoise, self._work, region, key=key, retries=RETRIES, pure=False
            )
            self._running[key] = future, region
            future.add_done_callback(self._ended.put)

    def done(self, timeout: float) -> Iterator[tuple[Region, int]]:
        """Regions that are done, with what was clipped in them; waits for the first one."""
        with contextlib.suppress(Empty):
            future = self._ended.get(timeout=timeout)
            while True:
                _, region = self._running.pop(future.key)
                yield region, future.result()
                del future  # or the scheduler would keep it
                future = self._ended.get_nowait()

    def close(self) -> None:
        """Drop what has not begun, and wait until no worker writes any more."""
        if self._client.status != "running":
            return
        from napari_noise2self.stacks.distributed_worker import leave

        # Whatever is wrong with the cluster was told already.
        with contextlib.suppress(Exception):
            self._client.cancel([future for future, _ in self._running.values()])
            self._client.run(leave, self._work.token, on_error="ignore")


def _reachable(source: str | Path | None) -> str:
    """A path that means the same in another folder."""
    if source is None:
        raise InputError(
            "An image in memory cannot be shared between machines: save it, and give its file."
        )
    return str(source) if "://" in str(source) else os.path.abspath(source)  # noqa: PTH100


@contextlib.contextmanager
def _client(target: Any) -> Iterator[Any]:
    """A client of a cluster of this process, or of a scheduler somewhere."""
    from distributed import Client

    place: dict[str, Any] = {"address": target}
    if isinstance(target, str) and target.endswith(".json"):
        if not Path(target).is_file():
            raise ClusterError(
                f"There is no scheduler file {target}: start the scheduler with --scheduler-file "
                f"first."
            )
        place = {"scheduler_file": target}
    try:
        client = Client(**place, timeout=_CONNECTING, set_as_default=False)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ClusterError(
            f"No dask scheduler answers at {target}: start one (dask scheduler), or correct the "
            f"address, which looks like tcp://host:8786."
        ) from error
    with client:
        yield client


@contextlib.contextmanager
def _local_cluster(count: int) -> Iterator[tuple[Any, int]]:
    """Worker processes on this machine, and the threads of PyTorch in each of them."""
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    from napari_noise2self.stacks.distributed_worker import REGIONS_AT_ONCE, LocalWorker

    # The variable is per process, here as everywhere.
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdecimal() else max(CPU_COUNT // count, 1)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # Threads that wait take no time from those that read and write.
        "OMP_WAIT_POLICY": "passive",
        VARIABLE: f"{memory_budget() / count / 2**30:.3f}",
    }
    with (
        _environment_kept(),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=count,
            threads_per_worker=REGIONS_AT_ONCE,
            dashboard_address="127.0.0.1:0",
            # What goes wrong is raised here, and said once.
            silence_logs=logging.CRITICAL,
            env=environment,
            plugins=[LocalWorker(_cuda_devices())],
        ) as cluster,
    ):
        yield cluster, threads


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back the variables that dask sets in this process for those that it starts."""
    import dask

    asked = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    names = {"PYTHONHASHSEED", "__DASK_PARENT_PID", *asked}
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _cuda_devices() -> list[str]:
    """The CUDA devices of this machine, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return [device.strip() for device in named.split(",")]
    return [str(number) for number in range(torch.cuda.device_count())]
