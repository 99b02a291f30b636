"""What the disk has to do: hold a result, for certain, and say so when it cannot."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from napari_noise2self.engine.errors import InputError, Noise2SelfError

# The result is compressed, by how much nobody knows beforehand: integers to less than this
# share of their size almost always, floats hardly.
_SURE_SHARE = {"i": 0.5, "u": 0.5, "f": 0.8}


def check_space(path: str | Path, compressed: int, kind: str, plain: int = 0) -> str | None:
    """Whether a result fits on the disk.

    Parameters
    ----------
    path : path
        The file to be.
    compressed : int
        Bytes that it takes if it cannot be compressed at all.
    kind : str
        "i", "u" or "f": the kind of its pixels.
    plain : int
        Bytes that it takes beside those, without compression.

    Returns
    -------
    notice : str or None
        A sentence, if it may not fit.

    Raises
    ------
    InputError
        If it cannot fit.
    """
    path = Path(path)
    free = shutil.disk_usage(path.parent).free
    needed = compressed + plain
    room = f"{path} takes up to {in_bytes(needed)}, and {in_bytes(free)} are free on its disk"
    if free < compressed * _SURE_SHARE[kind] + plain:
        raise InputError(f"{room}: make room, or name a file on another disk.")
    return f"{room}: it may become full." if free < needed else None


def in_bytes(count: int) -> str:
    """A number of bytes in words, such as "3.2 GB"."""
    value, units = float(count), ["TB", "GB", "MB", "kB", "bytes"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop()
    return (
        f"{value:.0f} {units[-1]}" if value >= 100 or count < 1000 else f"{value:.1f} {units[-1]}"
    )


def sync(path: Path) -> None:
    """Have a file or folder on the disk, not only on its way there."""
    if path.is_dir():
        if os.name == "nt":
            return  # Windows knows no such thing for folders
        handle = os.open(path, os.O_RDONLY)
    else:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know it for files only.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def disk_error(error: OSError, target: Path, kept: str = "") -> Noise2SelfError:
    """The error that says what the disk said."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "" if kept else " Make room and try again."
        return Noise2SelfError(f"{target} could not be written: the disk is full.{advice}{kept}")
    return Noise2SelfError(f"{target} could not be written: {error.strerror or error}.{kept}")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole, or as it was before."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    sync(new)
    new.replace(path)
    sync(path.parent)


def sync_all(files: Sequence[Path], root: Path) -> None:
    """Have files on the disk, then the folders between them and `root`."""
    folders = {parent for file in files for parent in file.parents if parent.is_relative_to(root)}
    with ThreadPoolExecutor(8) as pool:
        # The disk takes many at once better than one after the other.
        for _ in pool.map(sync, files):
            pass
        for _ in pool.map(sync, sorted(folders, key=lambda folder: -len(folder.parts))):
            pass
