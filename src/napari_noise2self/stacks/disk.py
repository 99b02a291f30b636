"""What the disk has to do: hold a result, for certain, and say so when it cannot."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from napari_noise2self.engine.errors import InputError, Noise2SelfError

# The result is compressed, by how much nobody knows beforehand: integers to less than this
# share of their size almost always, floats hardly.
_SURE_SHARE = {"i": 0.5, "u": 0.5, "f": 0.8}


@dataclass(frozen=True)
class Room:
    """What a result takes on the disk.

    Attributes
    ----------
    kind : str
        "i", "u" or "f": the kind of its pixels.
    compressed : int
        Bytes of what is compressed, as if it could not be.
    plain : int
        Bytes of what is not.
    """

    kind: str
    compressed: int
    plain: int = 0

    @property
    def most(self) -> int:
        """Bytes that it takes if it cannot be compressed at all."""
        return self.compressed + self.plain

    @property
    def least(self) -> float:
        """Bytes without which it is not begun."""
        return self.compressed * _SURE_SHARE[self.kind] + self.plain


def check_space(path: str | Path, room: Room) -> str | None:
    """Whether a result fits on the disk.

    Parameters
    ----------
    path : path
        The file to be.
    room : Room

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
    words = f"{path} takes up to {in_bytes(room.most)}, and {in_bytes(free)} are free on its disk"
    if free < room.least:
        raise InputError(f"{words}: make room, or name a file on another disk.")
    return f"{words}: it may become full." if free < room.most else None


def check_space_for_all(rooms: Mapping[Path, Room]) -> list[str]:
    """Whether results fit on their disks together.

    Parameters
    ----------
    rooms : mapping of Path to Room
        By the files to be, whose folders need not be there yet.

    Returns
    -------
    notices : list of str
        A sentence for each disk that may become full.

    Raises
    ------
    InputError
        If those of one disk cannot fit.
    """
    disks: dict[int, dict[Path, Room]] = {}
    for path, room in rooms.items():
        disks.setdefault(_existing(path).stat().st_dev, {})[path] = room
    notices = []
    for those in disks.values():
        first = next(iter(those))
        most = sum(room.most for room in those.values())
        free = shutil.disk_usage(_existing(first)).free
        words = (
            f"{len(those)} results take up to {in_bytes(most)}, and {in_bytes(free)} are free on "
            f"the disk of {first.parent}"
        )
        if free < sum(room.least for room in those.values()):
            raise InputError(
                f"{words}: make room, choose a folder on another disk, or give fewer images at "
                f"once."
            )
        if free < most:
            notices.append(f"{words}: it may become full.")
    return notices


def _existing(path: Path) -> Path:
    """The innermost folder around a file to be that is there."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


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
