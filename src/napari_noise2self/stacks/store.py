"""A result on its way to a file: whole regions on disk, from which the work can go on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError, Noise2SelfError, OutputError
from napari_noise2self.engine.events import Control, WritingEvent, exhaust
from napari_noise2self.stacks import finishing
from napari_noise2self.stacks.disk import disk_error, in_bytes, sync_all, write_whole
from napari_noise2self.stacks.file_image import DtypeChoice, FileImage, Kind, Reordered, cast
from napari_noise2self.stacks.finishing import Written
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.targets import check_target, format_of, partial_of
from napari_noise2self.stacks.unfinished import (
    FORMAT,
    LOCK,
    MODEL,
    STATE,
    begun_otherwise,
    check_partial,
    clear,
    damaged,
    difference,
    image_request,
    read_state,
    runs,
)
from napari_noise2self.stacks.writing_zarr import (
    Chunking,
    Version,
    check_version,
    create_array,
    open_array,
)

# The state is brought to the disk no more often than this, in seconds: that costs more than to
# write a small region.
_SYNC_INTERVAL = 2.0


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
    level : Path
        The array of full size in it.
    clipped : int
        Pixels that did not fit into the type of the file, in regions that are
        on the disk.
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
        self.level = self.folder / "0"
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
        grid = [-(-n // u) for n, u in zip(image.shape, self._chunking.unit, strict=True)]
        self._done = np.zeros(grid, bool)
        self._precious = False
        self._lost = False
        self._array: Any = None
        self._lock: Any = None
        self._mutex = threading.Lock()
        # Written, but not yet known to be on the disk.
        self._pending: list[tuple[tuple[slice, ...], int]] = []
        self._last_sync = self._began = time.monotonic()
        self._seconds_before = 0.0

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
            **image_request(like),
            **(fingerprint or {}),
            "file": [kind, str(image.dtype), version if kind == "ome-zarr" else ""],
        }
        store = cls(target, image, kind, version, volume, request)
        with store.disk():
            new = not os.path.lexists(store.folder)
            if new:
                store.folder.mkdir()
            else:
                check_partial(store.folder, resume=resume, overwrite=overwrite)
            store._acquire()
            try:
                if not new and resume:
                    store._go_on(overwrite)
                if store._array is None:
                    store._create()
            except BaseException:
                store.release()
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
        folder = Path(folder)
        state = read_state(folder)
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
        store._array = open_array(store.level, "r+")
        return store

    def _go_on(self, overwrite: bool) -> None:
        """Take over what the folder holds, if it was begun in the same way."""
        try:
            state = read_state(self.folder)
            if not state or state.get("done") == []:
                return  # it ended before anything was written
            other = difference(state, self.fingerprint)
            if other is not None:
                raise begun_otherwise(self.folder, other)
            done = np.zeros(self._done.size, bool)
            try:
                for first, last in state["done"]:
                    done[int(first) : int(last)] = True
                clipped, seconds = int(state["clipped"]), float(state["seconds"])
                array = open_array(self.level, "r+")
                unit = array.shards or array.chunks
                if (array.shape, array.dtype, unit) != (
                    self.image.shape,
                    self.image.dtype,
                    self._chunking.unit,
                ):
                    raise ValueError
            except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
                raise damaged(self.folder) from error
        except InputError:
            if overwrite:
                return
            raise
        self._done = done.reshape(self._done.shape)
        self.clipped, self._seconds_before, self._array = clipped, seconds, array

    def _create(self) -> None:
        import zarr

        # The state first: without it nobody would know whose folder this is.
        clear(self.folder, keep=(LOCK,))
        self._write_state()
        zarr.create_group(str(self.folder), zarr_format=3 if self.version == "0.5" else 2)
        self._array = create_array(
            self.level,
            self.image.axes,
            self.image.shape,
            self.image.dtype,
            self._chunking,
            self.version,
        )

    def keep_model(self, model: bytes, *, precious: bool = False) -> None:
        """Keep the model's file beside the pixels, until the result is whole.

        See `unfinished_model`.

        Parameters
        ----------
        model : bytes
        precious : bool
            Whether it is nowhere else, so that the folder stays although no
            region is done.
        """
        self._precious = precious
        path = self.folder / MODEL
        if path.exists():
            return
        with self.disk():
            write_whole(path, model)

    def _acquire(self) -> None:
        """Keep other processes out; the system lets go of it when this one ends."""
        from filelock import FileLock, Timeout

        # Not one lock per thread: the work may be closed by another one than began it.
        self._lock = FileLock(self.folder / LOCK, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"{self.folder} is being written by another process: wait for it, or name "
                f"another file."
            ) from None
        except NotImplementedError:
            self._lock = None  # a file system that has no locks

    def release(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # ---------------------------------------------------------------- regions

    @property
    def pixels(self) -> Any:
        """The array in the file's order of axes, to be read."""
        return open_array(self.level, "r")

    @property
    def array(self) -> Any:
        """The pixels that are written, in the source's order of axes; 0 where there are none yet.

        Nothing is read before it is indexed, so that a viewer can show it
        while it is filled.
        """
        back = self.image.to_source(range(len(self.image.axes)))
        return Reordered(self.pixels, back, str(self.folder))

    @property
    def seconds(self) -> float:
        """What the work has taken so far, in all its sessions."""
        return self._seconds_before + time.monotonic() - self._began

    def so_far(self) -> Written:
        """What there is of an unfinished result."""
        return Written(self.folder, str(self.image.dtype), self.clipped, complete=False)

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
        self.mark(region, self._write(region, values))

    def put(self, region: Sequence[slice], values: NDArray[Any]) -> int:
        """Write a region without marking it, as another process can do for this one.

        It is on the disk then: what another machine still holds in memory,
        this one could not bring there.

        Parameters
        ----------
        region, values
            As for `write`.

        Returns
        -------
        clipped : int
            For `mark`.
        """
        clipped = self._write(region, values)
        with self.disk():
            self._sync_regions([self.image.to_file(region)])
        return clipped

    def _write(self, region: Sequence[slice], values: NDArray[Any]) -> int:
        there = self.image.to_file(region)
        self._cells(there)
        pixels, clipped = cast(np.asarray(values).transpose(self.image.order), self.image.dtype)
        with self.disk():
            # Or zarr would make the folders of the chunk anew, and somebody has removed them.
            self._check_there()
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
            with self.disk():
                self._check_there()
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
        # What the array is has to be there as well; that costs nothing once it is.
        files = [path for path in self.level.iterdir() if path.is_file()]
        for region in regions:
            cells = self._cells(region)
            for cell in np.ndindex(*(part.stop - part.start for part in cells)):
                place = tuple(c + part.start for c, part in zip(cell, cells, strict=True))
                files.append(self.level / self._array.metadata.encode_chunk_key(place))
        sync_all(files, self.folder)

    def _write_state(self) -> None:
        with self._mutex:
            certain = self._done.copy()
            for region, _ in self._pending:
                certain[self._cells(region)] = False
        state = {
            "format": FORMAT,
            "done": runs(certain),
            "clipped": self.clipped,
            "seconds": round(self.seconds, 3),
            "request": self.fingerprint,
            "volume": self.volume,
            "image": self.image.to_json(),
        }
        write_whole(self.folder / STATE, json.dumps(state).encode())

    # ----------------------------------------------------------------- ending

    def close(self) -> None:
        """Leave the folder as it is, to go on with it later; one with nothing in it goes."""
        try:
            self.flush()
        finally:
            if self._lost or self._done.any() or self._precious:
                self.release()
            else:
                self.discard()

    def discard(self) -> None:
        """Give the unfinished result up."""
        self.release()
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
        return (
            yield from finishing.finish_events(self, record, overwrite=overwrite, control=control)
        )

    @contextlib.contextmanager
    def disk(self) -> Iterator[None]:
        """What the disk says in it, in a sentence."""
        try:
            yield
        except OSError as error:
            self._check_there()
            raise disk_error(error, self.target, self._kept) from error

    def _check_there(self) -> None:
        """Make sure that nobody has removed the folder; what was done is not done then.

        Raises
        ------
        OutputError
        """
        about = self.level / ("zarr.json" if self.version == "0.5" else ".zarray")
        if self._array is None or about.is_file():
            return
        self._lost = True
        with self._mutex:
            self._pending = []
            self._done[:] = False
        if not (self.folder / STATE).exists():
            # What was on its way when it was removed.
            shutil.rmtree(self.folder, ignore_errors=True)
        raise OutputError(
            f"{self.target} could not be written: the unfinished result {self.folder} was removed "
            f"meanwhile, or its disk is gone. Begin again."
        )

    @property
    def _kept(self) -> str:
        if not self._done.any():
            return ""
        return (
            f" {in_bytes(round(self.fraction * self.image.nbytes))} of it are done and kept in "
            f"{self.folder}: go on from there (--resume in the terminal)."
        )
