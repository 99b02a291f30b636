"""How much room results take, of one image and of many, before anything is computed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.engine.events import Control
from napari_noise2self.stacks.disk import Room, check_space_for_all
from napari_noise2self.stacks.file_image import DtypeChoice, FileImage, Kind
from napari_noise2self.stacks.many import Held, Input, Job
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.reading_series import TIFF_ENDINGS
from napari_noise2self.stacks.targets import format_of
from napari_noise2self.stacks.writing_zarr import pyramid_bytes

if TYPE_CHECKING:
    from napari_noise2self.engine.model import Denoiser

# So many images are opened at most: more would be a wait before anything is seen to be done.
_MOST = 256
_OPEN_AT_ONCE = (*TIFF_ENDINGS, ".npy")


def room_of(image: FileImage, kind: Kind) -> Room:
    """What a file takes on the disk.

    Parameters
    ----------
    image : FileImage
    kind : {"tiff", "ome-tiff", "ome-zarr"}
    """
    if kind == "tiff":  # ImageJ's is not compressed
        return Room(image.dtype.kind, 0, image.nbytes)
    size = pyramid_bytes(image) if kind == "ome-zarr" else image.nbytes
    return Room(image.dtype.kind, size)


def check_room(
    denoiser: Denoiser,
    jobs: Sequence[Job],
    dtype: DtypeChoice,
    reading: Mapping[str, Any],
    control: Control,
) -> list[str]:
    """Make sure that new results fit on the disk together.

    An image that cannot be denoised, that takes long to open, or that comes
    after very many others counts nothing: what is refused is too much without
    it, and each result is looked at again before it is begun.

    Parameters
    ----------
    denoiser : Denoiser
    jobs : sequence of Job
        Those of which nothing is on the disk yet.
    dtype : {"source", "float32"}
        As for the export.
    reading : mapping
        Keyword arguments of `reading.read`.
    control : Control
        Ends the search when it is stopped.

    Returns
    -------
    notices : list of str
        A sentence for each disk that may become full.

    Raises
    ------
    InputError
        If they cannot fit.
    """
    rooms: dict[Path, Room] = {}
    for job in itertools.islice((job for job in jobs if _opens_at_once(job.source)), _MOST):
        if control.stopped:
            return []
        try:
            source = job.source
            stack = source.stack if isinstance(source, Held) else read(source.path, **reading)
            denoiser.check(stack.data, stack.axes)
            kind = format_of(job.target)
            rooms[job.target] = room_of(FileImage.of(stack, kind, dtype), kind)
        except (Noise2SelfError, MemoryError):
            continue  # told when it is its turn
    return check_space_for_all(rooms)


def _opens_at_once(source: Input) -> bool:
    """Whether the shape of an image is known without reading much of it, or from afar."""
    if isinstance(source, Held):
        return True
    path = Path(source.split[0])
    return not source.remote and (path.is_dir() or path.suffix.lower() in _OPEN_AT_ONCE)
