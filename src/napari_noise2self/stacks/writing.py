"""Results out: OME-TIFF, TIFF for ImageJ, and OME-Zarr, whole or not at all."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import provenance as provenance_of
from napari_noise2self.stacks.disk import check_space, disk_error, sync
from napari_noise2self.stacks.file_image import (
    DtypeChoice,
    FileImage,
    chunk_lengths,
    regions,
    reordered,
)
from napari_noise2self.stacks.finishing import Written
from napari_noise2self.stacks.room import room_of
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.store import PartialStore
from napari_noise2self.stacks.targets import (
    check_free,
    check_target,
    format_of,
    take_place,
)
from napari_noise2self.stacks.writing_tiff import save_tiff

__all__ = ["DtypeChoice", "Written", "check_free", "check_target", "write"]

# Pixels that are read and written at once.
_AT_ONCE = 2**24


def write(
    path: str | Path,
    array: Any,
    like: Stack,
    *,
    dtype: DtypeChoice = "source",
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
    ome_zarr_version: str = "0.5",
) -> Written:
    """Write a result with the axes, pixel size, names and colours of its source.

    The ending of the file says its format:

    - ``.ome.tif``: a compressed OME-TIFF.
    - ``.tif``: an uncompressed ImageJ hyperstack where ImageJ has the type, the
      axes and the units, and otherwise an OME-TIFF, too.
    - ``.ome.zarr`` or ``.zarr``: a compressed OME-Zarr with a pyramid of smaller
      images.

    Parameters
    ----------
    path : path
    array : array-like
        The result, of the shape of the source; it may be lazy, and is then
        never read as a whole.
    like : Stack
        The source.
    dtype : {"source", "float32"}
        "source" rounds and clips to the type of the source; a type that
        readers of these files do not know (64-bit integers, 16-bit floats)
        becomes float32.
    overwrite : bool
        Whether an existing file may be replaced.
    provenance : mapping, optional
        How the result was made, ready for JSON; the file carries it.
    ome_zarr_version : {"0.5", "0.4"}

    Returns
    -------
    written : Written

    Raises
    ------
    InputError
        As `check_target`, or if the disk is too small.
    Noise2SelfError
        If writing fails, as on a full disk.  No file is left then.
    """
    path = Path(path)
    check_target(path, like, overwrite=overwrite)
    if tuple(array.shape) != like.shape:
        raise InputError(f"The result has the shape {array.shape}, its source {like.shape}.")
    kind = format_of(path)
    image = FileImage.of(like, kind, dtype)
    check_space(path, room_of(image, kind))
    if kind == "ome-zarr":
        return _write_zarr(path, array, like, dtype, overwrite, provenance, ome_zarr_version)
    record = _record(provenance, like, dtype=str(image.dtype))
    # A name of its own: another process may write the same file.
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.writing")
    try:
        clipped = save_tiff(partial, image, reordered(array, image.order), kind, record)
        sync(partial)
        take_place(partial, path, overwrite=overwrite)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return Written(path, str(image.dtype), clipped)


def _write_zarr(
    path: Path,
    array: Any,
    like: Stack,
    dtype: DtypeChoice,
    overwrite: bool,
    provenance: Mapping[str, Any] | None,
    version: str,
) -> Written:
    store = PartialStore.open(
        path, like, dtype=dtype, overwrite=overwrite, ome_zarr_version=version
    )
    try:
        for region in _regions(array, store.chunks):
            store.write(region, np.asarray(array[region]))
        return store.finish(_record(provenance, like), overwrite=overwrite)
    except BaseException:
        # Nothing could go on with it: the array exists in this process alone.
        store.discard()
        raise


def _regions(array: Any, unit: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Whole units, of which as many are taken together as make the work worthwhile."""
    lengths = chunk_lengths(array) or unit
    # What lies in one chunk of the source is read once.
    step = [-(-max(n, u) // u) * u for n, u in zip(lengths, unit, strict=True)]
    if math.prod(step) > 4 * _AT_ONCE:
        step = list(unit)
    for axis in reversed(range(len(step))):
        room = _AT_ONCE // math.prod(step)
        step[axis] *= max(min(room, -(-array.shape[axis] // step[axis])), 1)
    return regions(array.shape, step)


def _record(
    provenance: Mapping[str, Any] | None, like: Stack, **more: Any
) -> dict[str, Any] | None:
    if provenance is None:
        return None
    return provenance_of.record(provenance, source=like.name, **more)
