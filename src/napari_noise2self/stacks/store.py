"""A result on its way to a file: whole regions on disk, from which the work can go on."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.engine.events import INTERVAL, Control, WritingEvent, exhaust
from napari_noise2self.stacks import provenance
from napari_noise2self.stacks.file_image import (
    DtypeChoice,
    FileImage,
    Kind,
    Reordered,
    cast,
)
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.targets import (
    check_target,
    format_of,
    in_bytes,
    partial_of,
    sync,
    take_place,
)
from napari_noise2self.stacks.writing_zarr import (
    Chunking,
    Version,
    build_pyramid,
    check_version,
    create_array,
    write_group,
)

# What lies beside the pixels until the result is whole.
STATE = "noise2self-state.json"
MODEL = "noise2self-model.safetensors"
_LOCK = "noise2self.lock"
_OURS = (STATE, MODEL, _LOCK)
_LEVEL = "0"
# The state is brought to the disk no more often than this, in seconds: that costs more than to
# write a small region.
_SYNC_INTERVAL = 2.0
# Raised when the state file changes.
_FORMAT = 1

# How a difference between two requests is said.
_WORDS = {
    "shape": "an image of another shape",
    "axes": "other axes",
    "dtype": "an image of another type",
    "pixels": "another image",
    "model": "another model",
    "output": "another output",
    "file": "another format or type of pixels",
}


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


class PartialStore:
    """The folder ``OUT.partial``, which takes in regions in any order and becomes ``OUT``.

    Made by `PartialStore.open`.  A region that is marked as done is on the
    disk, whatever happens to the program or the power; one that was on its
    way is not marked.

    Attributes
    ----------
    target : Path
        The file to be.
    folder : Path
        ``OUT.partial``.
    image : FileImage
        What the file says about the image.
    chunks : tuple of int
        What is written at once, per axis of the source: regions are whole
        chunks, cut at the end of the array.
    clipped : int
        Pixels of regions that are done that did not fit into the type of the file.
    seconds : float
        What the work has taken so far, in all its sessions.
    """

    def __init__(
        self,
        target: Path,
        image: FileImage,
        kind: Kind,
        version: Version,
        volume: bool,
        fingerprint: Mapping[str, Any],
    ) -> None:
        self.target = target
        self.folder = partial_of(target)
        self.image = image
        self.kind = kind
        self.version: Version = version
        self.volume = volume
        self.fingerprint = dict(fingerprint)
        chunking = Chunking.of(
            image.axes, image.shape, image.dtype.itemsize, shards=version == "0.5", volume=volume
        )
        # What becomes a TIFF is read plane by plane.
        self._chunking = chunking if kind == "ome-zarr" else chunking.flat(image.axes)
        self.chunks: tuple[int, ...] = image.to_source(self._chunking.unit)
        self.clipped = 0
        self.seconds = 0.0
        grid = [-(-n // u) for n, u in zip(image.shape, self._chunking.unit, strict=True)]
        self._done = np.zeros(grid, bool)
        self._array: Any = None
        self._lock: Any = None
        self._mutex = threading.Lock()
        # Written, but not yet known to be on the disk.
        self._pending: list[tuple[tuple[slice, ...], int]] = []
        self._last_sync = self._began = time.monotonic()

    # ---------------------------------------------------------------- opening

    @classmethod
    def open(
        cls,
        target: str | Path,
        like: Stack,
        *,
        dtype: DtypeChoice = "source",
        fingerprint: Mapping[str, Any] | None = None,
        resume: bool = False,
        overwrite: bool = False,
        volume: bool = False,
        ome_zarr_version: str = "0.5",
    ) -> PartialStore:
        """Begin a result, or go on with one.

        Parameters
        ----------
        target : path
            The file to be.
        like : Stack
            The source.
        dtype : {"source", "float32"}
        fingerprint : mapping, optional
            What the result depends on, ready for JSON: a result that was
            begun with another one cannot be gone on with.
        resume : bool
            Whether to go on with what ``OUT.partial`` holds, if it exists.
        overwrite : bool
            Whether to replace an existing file, and an unfinished result that
            cannot be gone on with.
        volume : bool
            Whether Z is denoised together with Y and X.
        ome_zarr_version : {"0.5", "0.4"}

        Raises
        ------
        InputError
            If the target cannot be used, or holds an unfinished result that
            is neither to be resumed nor to be overwritten, or that was begun
            otherwise.
        Noise2SelfError
            If the disk is full, or it cannot be written for another reason.
        """
        target = Path(target)
        check_target(target, like, overwrite=overwrite)
        kind = format_of(target)
        image = FileImage.of(like, kind, dtype)
        version = check_version(ome_zarr_version) if kind == "ome-zarr" else "0.5"
        request = {
            "shape": list(like.shape),
            "axes": like.axes,
            "dtype": str(np.dtype(like.dtype)),
            **(fingerprint or {}),
            "file": [kind, str(image.dtype), version if kind == "ome-zarr" else ""],
        }
        store = cls(target, image, kind, version, volume, request)
        with store._disk():
            new = not os.path.lexists(store.folder)
            if new:
                store.folder.mkdir()
            else:
                store._check_folder(resume, overwrite)
            store._acquire()
            try:
                if not new and resume:
                    store._go_on(overwrite)
                if store._array is None:
                    store._create()
            except BaseException:
                store._release()
                if new:
                    shutil.rmtree(store.folder, ignore_errors=True)
                raise
        return store

    @classmethod
    def attach(cls, folder: str | Path) -> PartialStore:
        """The store of another process, to `put` regions into it.

        Parameters
        ----------
        folder : path
            ``OUT.partial``, as `PartialStore.folder` of that process.  What is
            put has to be marked there.
        """
        import zarr

        folder = Path(folder)
        state = _state(folder)
        image = FileImage.from_json(state["image"])
        kind, _, version = state["request"]["file"]
        store = cls(
            folder.with_name(folder.name.removesuffix(".partial")),
            image,
            kind,
            check_version(version or "0.5"),
            bool(state["volume"]),
            state["request"],
        )
        array = zarr.open_array(str(folder / _LEVEL), mode="r+")
        store._array = array.with_config({"write_empty_chunks": True})
        return store

    def _check_folder(self, resume: bool, overwrite: bool) -> None:
        """Refuse a folder that is somebody else's, or that nobody said what to do with."""
        if not is_partial(self.folder):
            raise InputError(
                f"{self.folder} is in the way, and is no unfinished result: rename or remove it."
            )
        if not (resume or overwrite):
            raise InputError(
                f"{self.folder} holds an unfinished result: go on with it (--resume in the "
                f"terminal), overwrite it (--overwrite), or remove it."
            )

    def _go_on(self, overwrite: bool) -> None:
        """Take over what the folder holds, if it was begun in the same way."""
        import zarr

        ways_out = "overwrite it (--overwrite in the terminal), or remove it"
        try:
            state = _state(self.folder)
            if not state:
                return  # it ended before anything was written
            difference = _difference(state, self.fingerprint)
            if difference is not None:
                raise InputError(f"{self.folder} was begun with {difference}: {ways_out}.")
            try:
                array = zarr.open_array(str(self.folder / _LEVEL), mode="r+")
                if array.shape != self.image.shape or (
                    (array.shards or array.chunks) != self._chunking.unit
                ):
                    raise ValueError("another array")
                done = self._done.copy()
                for first, last in state["done"]:
                    done.reshape(-1)[int(first) : int(last)] = True
                clipped, seconds = int(state["clipped"]), float(state["seconds"])
            except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
                raise InputError(f"{self.folder} is damaged: {ways_out}.") from error
        except InputError:
            if overwrite:
                return
            raise
        self._done, self.clipped, self.seconds = done, clipped, seconds
        self._array = array.with_config({"write_empty_chunks": True})

    def _create(self) -> None:
        import zarr

        # The state first: without it nobody would know whose folder this is.
        _clear(self.folder, keep=(_LOCK,))
        self._write_state()
        zarr.create_group(str(self.folder), zarr_format=3 if self.version == "0.5" else 2)
        self._array = create_array(
            self.folder / _LEVEL,
            self.image.axes,
            self.image.shape,
            self.image.dtype,
            self._chunking,
            self.version,
        )

    def keep_model(self, model: bytes) -> None:
        """Keep the model's file beside the pixels, until the result is whole.

        See `unfinished_model`.
        """
        path = self.folder / MODEL
        if path.exists():
            return
        with self._disk():
            _write_whole(path, model)

    def _acquire(self) -> None:
        """Keep other processes out; the system lets go of it when this one ends."""
        from filelock import FileLock, Timeout

        # Not one lock per thread: the work may be closed by another one than began it.
        self._lock = FileLock(self.folder / _LOCK, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"{self.folder} is being written by another process: wait for it, or name "
                f"another file."
            ) from None
        except NotImplementedError:
            self._lock = None  # a file system that has no locks

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # ---------------------------------------------------------------- regions

    @property
    def array(self) -> Any:
        """The pixels that are written, in the source's order of axes; 0 where there are none yet.

        Nothing is read before it is indexed, so that a viewer can show it
        while it is filled.
        """
        import zarr

        array = zarr.open_array(str(self.folder / _LEVEL), mode="r")
        back = self.image.to_source(range(len(self.image.axes)))
        return Reordered(array, back, str(self.folder))

    @property
    def fraction(self) -> float:
        """The share of the regions that is done."""
        return float(np.count_nonzero(self._done)) / self._done.size

    @property
    def complete(self) -> bool:
        """Whether every region is done."""
        return bool(self._done.all())

    def has(self, region: Sequence[slice]) -> bool:
        """Whether a region was written, in this session or an earlier one."""
        with self._mutex:
            return bool(self._done[self._cells(self.image.to_file(region))].all())

    def write(self, region: Sequence[slice], values: NDArray[Any]) -> None:
        """Write a region, and mark it as done.

        Parameters
        ----------
        region : tuple of slice
            Of the source: whole chunks, cut at the end of the array.
        values : ndarray
            Rounded and clipped to the type of the file.

        Raises
        ------
        Noise2SelfError
            If the disk is full, or it cannot be written for another reason.
        """
        self.mark(region, self.put(region, values))

    def put(self, region: Sequence[slice], values: NDArray[Any]) -> int:
        """Write a region without marking it, as another process can do for this one.

        Returns
        -------
        clipped : int
            For `mark`.
        """
        there = self.image.to_file(region)
        self._cells(there)
        pixels, clipped = cast(np.asarray(values).transpose(self.image.order), self.image.dtype)
        with self._disk():
            self._array[there] = pixels
        return clipped

    def mark(self, region: Sequence[slice], clipped: int) -> None:
        """Mark a region as done that `put` has written."""
        there = self.image.to_file(region)
        with self._mutex:
            self._pending.append((there, clipped))
            self._done[self._cells(there)] = True
        if time.monotonic() - self._last_sync > _SYNC_INTERVAL:
            self.flush()

    def _cells(self, region: Sequence[slice]) -> tuple[slice, ...]:
        """Which units of the grid a region of the file is; others than whole ones are refused."""
        cells = []
        for part, unit, n in zip(region, self._chunking.unit, self.image.shape, strict=True):
            start, stop, _ = part.indices(n)
            if start % unit or (stop % unit and stop != n):
                raise ValueError(f"the region {tuple(region)} is not made of whole chunks")
            cells.append(slice(start // unit, -(-stop // unit)))
        return tuple(cells)

    def flush(self) -> None:
        """Have all regions that are done on the disk, and then say so there."""
        with self._mutex:
            pending, self._pending = self._pending, []
            self._last_sync = time.monotonic()
        if not pending:
            return
        try:
            with self._disk():
                self._sync_regions([region for region, _ in pending])
                self.clipped += sum(clipped for _, clipped in pending)
                self._write_state()
        except BaseException:
            with self._mutex:
                # They may be lost with the power, so they count as not written.
                for region, _ in pending:
                    self._done[self._cells(region)] = False
            raise

    def _sync_regions(self, regions: Sequence[tuple[slice, ...]]) -> None:
        files = []
        for region in regions:
            cells = self._cells(region)
            for cell in np.ndindex(*(part.stop - part.start for part in cells)):
                place = tuple(c + part.start for c, part in zip(cell, cells, strict=True))
                files.append(self.folder / _LEVEL / self._array.metadata.encode_chunk_key(place))
        _sync_all(files, self.folder)

    def _write_state(self) -> None:
        now = time.monotonic()
        self.seconds, self._began = self.seconds + now - self._began, now
        with self._mutex:
            waiting = self._done.copy()
            for region, _ in self._pending:
                waiting[self._cells(region)] = False
        state = {
            "format": _FORMAT,
            "done": _ranges(waiting),
            "clipped": self.clipped,
            "seconds": round(self.seconds, 3),
            "request": self.fingerprint,
            "volume": self.volume,
            "image": self.image.to_json(),
        }
        _write_whole(self.folder / STATE, json.dumps(state).encode())

    # ----------------------------------------------------------------- ending

    def close(self) -> None:
        """Leave the folder as it is, to go on with it later; one with nothing in it goes."""
        try:
            self.flush()
        finally:
            if self._done.any():
                self._release()
            else:
                self.discard()

    def discard(self) -> None:
        """Give the unfinished result up."""
        self._release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> PartialStore:
        return self

    def __exit__(self, *_: object) -> None:
        # A full disk was told already, by what was written last.
        with contextlib.suppress(Noise2SelfError):
            self.close()

    def finish(
        self, record: Mapping[str, Any] | None = None, *, overwrite: bool = False
    ) -> Written:
        """Make the file, when every region is done; see `finish_events`."""
        return exhaust(self.finish_events(record, overwrite=overwrite))

    def finish_events(
        self,
        record: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
        control: Control | None = None,
    ) -> Generator[WritingEvent, None, Written]:
        """Make the file, when every region is done.

        The last step is a rename: until then there is ``OUT.partial`` and what
        was there before.

        Parameters
        ----------
        record : mapping, optional
            The provenance; what is only known now is added to it.
        overwrite : bool
            Whether an existing file may be replaced.
        control : Control, optional
            `stop` leaves ``OUT.partial`` as it is.

        Yields
        ------
        event : WritingEvent

        Returns
        -------
        written : Written

        Raises
        ------
        Noise2SelfError
            If the disk is full, or it cannot be written for another reason.
        """
        if not self.complete:
            raise InputError(f"{self.folder} is not complete yet: go on with it.")
        control = control or Control()
        self.flush()
        if record is not None:
            record = provenance.record(
                {"seconds": round(self.seconds, 3), **record},
                dtype=str(self.image.dtype),
                clipped=self.clipped,
            )
        build = self._build_zarr if self.kind == "ome-zarr" else self._build_tiff
        job = _Job(lambda progress: build(record, progress))
        began = last = time.monotonic()
        with self._disk(), contextlib.closing(job):
            while not job.wait(INTERVAL):
                while control.paused:
                    control.wait_while_paused(INTERVAL)
                now = time.monotonic()
                if control.stopped:
                    return Written(self.folder, str(self.image.dtype), self.clipped, False)
                if now - last >= INTERVAL:
                    seconds, last = now - began, now
                    share = job.fraction
                    left = seconds * (1 - share) / share if share else math.nan
                    yield WritingEvent(share, seconds, left)
            whole = job.result()
            # Windows renames no folder in which a file is open.
            self._release()
            take_place(whole, self.target, overwrite=overwrite)
            self._tidy()
        return Written(self.target, str(self.image.dtype), self.clipped)

    def _build_zarr(self, record: Mapping[str, Any] | None, progress: Any) -> Path:
        for stale in self.folder.iterdir():
            if stale.name.isdigit() and stale.name != _LEVEL:
                shutil.rmtree(stale)
        build_pyramid(self.folder, self.image, self.version, volume=self.volume, progress=progress)
        write_group(self.folder, self.image, self.version, record)
        # Level 0 is on the disk already; chunks are not asked for twice.
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        first = self.folder / _LEVEL
        _sync_all([f for f in files if first not in f.parents or f.parent == first], self.folder)
        return self.folder

    def _build_tiff(self, record: Mapping[str, Any] | None, progress: Any) -> Path:
        from napari_noise2self.stacks.writing_tiff import save_tiff

        path = self.folder / self.target.name
        try:
            save_tiff(path, self.image, self._array, self.kind, record, progress)
            sync(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _tidy(self) -> None:
        """Remove what is not part of the result."""
        if self.kind == "ome-zarr":
            for name in _OURS:
                (self.target / name).unlink(missing_ok=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def _disk(self) -> Any:
        """What the disk says, in a sentence."""
        try:
            yield
        except OSError as error:
            raise disk_error(error, self.target, self._kept) from error

    @property
    def _kept(self) -> str:
        if not self._done.any():
            return ""
        return (
            f" {in_bytes(round(self.fraction * self.image.nbytes))} of it are done and kept in "
            f"{self.folder}: go on from there (--resume in the terminal)."
        )


def disk_error(error: OSError, target: Path, kept: str = "") -> Noise2SelfError:
    """The error that says what the disk said."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "" if kept else " Make room and try again."
        return Noise2SelfError(f"{target} could not be written: the disk is full.{advice}{kept}")
    return Noise2SelfError(f"{target} could not be written: {error.strerror or error}.{kept}")


class _Job:
    """Work in a thread that tells how far it is, and ends when it is closed."""

    def __init__(self, work: Any) -> None:
        self.fraction = 0.0
        self._stopped = False
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[Path] = self._pool.submit(work, self._progress)

    def _progress(self, fraction: float) -> None:
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


# ---------------------------------------------------------------- the folder


def is_partial(folder: Path) -> bool:
    """Whether a folder is an unfinished result of this package."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    names = {entry.name for entry in folder.iterdir()}
    # Before the state there is only the lock.
    return STATE in names or names <= {_LOCK, f"{STATE}.new"}


def unfinished_model(target: str | Path) -> Path | None:
    """The model that an unfinished result was begun with, None if there is none.

    Parameters
    ----------
    target : path
        The file to be.
    """
    path = partial_of(target) / MODEL
    return path if path.is_file() else None


def _state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{folder / STATE} is damaged: remove {folder}.") from error
    return state if isinstance(state, dict) else {}


def _difference(state: Mapping[str, Any], request: Mapping[str, Any]) -> str | None:
    """What a result was begun with that is other than what is asked for now."""
    if state.get("format") != _FORMAT:
        return "another version of napari-noise2self"
    before = state.get("request") or {}
    for key in (*request, *before):
        if before.get(key) != request.get(key):
            return _WORDS.get(key, f"another {key}")
    return None


def _clear(folder: Path, keep: Sequence[str] = ()) -> None:
    for entry in folder.iterdir():
        if entry.name in keep:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole, or as it was before."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    sync(new)
    new.replace(path)
    sync(path.parent)


def _ranges(done: NDArray[np.bool_]) -> list[list[int]]:
    """First and last+1 of each run of cells that are done, in C order."""
    flat = np.concatenate([[0], done.reshape(-1).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    return [[int(a), int(b)] for a, b in edges.reshape(-1, 2)]


def _sync_all(files: Sequence[Path], root: Path) -> None:
    """Have files on the disk, then the folders between them and `root`."""
    folders = {parent for file in files for parent in file.parents if parent.is_relative_to(root)}
    with ThreadPoolExecutor(8) as pool:
        # The disk takes many at once better than one after the other.
        for _ in pool.map(sync, files):
            pass
        for _ in pool.map(sync, sorted(folders, key=lambda folder: -len(folder.parts))):
            pass
