"""The last part of an export: the pixels in ``OUT.partial`` become the file ``OUT``."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.errors import InputError, counted
from napari_noise2self.engine.events import INTERVAL, Control, WritingEvent
from napari_noise2self.stacks import provenance
from napari_noise2self.stacks.disk import sync, sync_all
from napari_noise2self.stacks.targets import take_place
from napari_noise2self.stacks.unfinished import OURS
from napari_noise2self.stacks.writing_tiff import save_tiff
from napari_noise2self.stacks.writing_zarr import build_pyramid, write_group

if TYPE_CHECKING:
    from napari_noise2self.stacks.store import PartialStore

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    path : Path
        The file; of an unfinished result, the folder that holds what is done.
    dtype : str
        Type of the pixels in the file.
    clipped : int
        Pixels that did not fit into this type and became its lowest or highest value.
    complete : bool
        Whether the file is whole.
    """

    path: Path
    dtype: str
    clipped: int
    complete: bool = True

    @property
    def clipped_in_words(self) -> str:
        """How much was clipped, without a full stop, for there is advice to follow."""
        verb = "was" if self.clipped == 1 else "were"
        return f"{counted(self.clipped, 'pixel')} did not fit into {self.dtype} and {verb} clipped"


def finish_events(
    store: PartialStore,
    record: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    control: Control | None = None,
) -> Generator[WritingEvent, None, Written]:
    """Make the file, when every region is done; see `PartialStore.finish_events`."""
    if not store.complete:
        raise InputError(f"{store.folder} is not complete yet: go on with it.")
    control = control or Control()
    store.flush()
    if record is not None:
        record = provenance.record(record, dtype=str(store.image.dtype), clipped=store.clipped)
    build = _build_zarr if store.kind == "ome-zarr" else _build_tiff
    began = last = time.monotonic()
    with store.disk(), contextlib.closing(_Job(lambda tell: build(store, record, tell))) as job:
        while not job.wait(INTERVAL):
            if control.stopped:
                return store.so_far()
            now = time.monotonic()
            if now - last >= INTERVAL:
                seconds, last = now - began, now
                share = job.fraction
                left = seconds * (1 - share) / share if share else math.nan
                yield WritingEvent(share, seconds, left)
        whole = job.result()
        # Windows renames no folder in which a file is open.
        store.release()
        take_place(whole, store.target, overwrite=overwrite)
        if whole == store.folder:
            for name in OURS:
                (store.target / name).unlink(missing_ok=True)
        else:
            shutil.rmtree(store.folder, ignore_errors=True)
    return Written(store.target, str(store.image.dtype), store.clipped)


def _build_zarr(store: PartialStore, record: Mapping[str, Any] | None, tell: Progress) -> Path:
    folder, level = store.folder, store.level
    # What zarr was writing when a process was killed.
    for stale in level.rglob("*.partial"):
        stale.unlink()
    for stale in folder.iterdir():
        if stale.name.isdigit() and stale != level:
            shutil.rmtree(stale)
    build_pyramid(folder, store.image, store.version, volume=store.volume, progress=tell)
    write_group(folder, store.image, store.version, record)
    # The chunks of level 0 are on the disk already.
    files = [path for path in folder.rglob("*") if path.is_file() and level not in path.parents]
    sync_all(files, folder)
    return folder


def _build_tiff(store: PartialStore, record: Mapping[str, Any] | None, tell: Progress) -> Path:
    path = store.folder / store.target.name
    try:
        save_tiff(path, store.image, store.pixels, store.kind, record, tell)
        sync(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


class _Job:
    """Work in a thread that tells how far it is, and ends when it is closed."""

    def __init__(self, work: Callable[[Progress], Path]) -> None:
        self.fraction = 0.0
        self._stopped = False
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[Path] = self._pool.submit(work, self._tell)

    def _tell(self, fraction: float) -> None:
        self.fraction = fraction
        if self._stopped:
            raise _Stopped

    def wait(self, timeout: float) -> bool:
        return bool(wait([self._future], timeout).done)

    def result(self) -> Path:
        return self._future.result()

    def close(self) -> None:
        self._stopped = True
        self._pool.shutdown()


class _Stopped(Exception):  # noqa: N818 -- no error
    """Nobody waits for the work any more."""
