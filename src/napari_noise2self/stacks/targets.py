"""Where a result goes: its format, whether it may be made there, and how it takes its place."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from pathlib import Path

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.disk import sync
from napari_noise2self.stacks.file_image import FileImage, Kind
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.zarr_folder import is_zarr

_ENDINGS: dict[str, Kind] = {
    ".ome.tif": "ome-tiff",
    ".ome.tiff": "ome-tiff",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".zarr": "ome-zarr",
}
# What a folder has that is a Zarr, of version 3 or 2.


# A path object turns the two slashes of an address into one.  Disks have one letter.
ADDRESS = re.compile(r"([a-z][a-z0-9]+):/+", re.IGNORECASE)


def refuse_address(path: str | Path) -> None:
    """Make sure that a place for results is not an address.

    Raises
    ------
    InputError
        Otherwise it would become folders of the same name.
    """
    address = ADDRESS.match(str(path))
    if address:
        place = f"{address[1]}://{str(path)[address.end() :]}"
        raise InputError(
            f"Results cannot be written to {place}: name a file or folder on a disk, and copy the "
            f"results from there."
        )


def format_of(path: str | Path) -> Kind:
    """The format that the ending of a file stands for.

    Raises
    ------
    InputError
        If it stands for none that can be written.
    """
    name = Path(path).name.lower()
    for ending, kind in _ENDINGS.items():
        if name.endswith(ending) and name != ending:
            return kind
    raise InputError(
        f"The result cannot be written to {path}: name a file that ends in .ome.tif, .tif or "
        f".ome.zarr."
    )


def partial_of(path: str | Path) -> Path:
    """The folder that holds a result until it is whole."""
    path = Path(path)
    return path.with_name(path.name + ".partial")


def check_target(
    path: str | Path,
    like: Stack | None = None,
    *,
    overwrite: bool = False,
    source: str | Path | None = None,
) -> None:
    """Make sure, before long work starts, that its result can be written.

    Parameters
    ----------
    path : path
        The file to be; for OME-Zarr a folder.
    like : Stack, optional
        The source, whose axes the file must be able to hold.
    overwrite : bool
        Whether an existing file may be replaced.
    source : path, optional
        The file that the source was read from, which is never replaced.

    Raises
    ------
    InputError
        If it is an address, the source, or exists, has an unknown ending, or cannot be made.
    """
    refuse_address(path)
    path = Path(path)
    kind = format_of(path)
    if source is not None:
        check_source(path, source, like)
    if kind == "ome-zarr" and path.is_dir():
        if not is_zarr(path) and any(path.iterdir()):
            raise InputError(f"{path} is a folder that is no Zarr: name another one.")
        _refuse_existing(path, overwrite)
        _check_folder(path)
    else:
        check_free(path, overwrite=overwrite)
    if like is not None:
        FileImage.of(like, kind)


def check_free(path: str | Path, *, overwrite: bool = False) -> None:
    """Make sure that a file can be made at `path`.

    Raises
    ------
    InputError
        If it is an address or a folder, exists and may not be replaced, or its folder
        does not exist or cannot be written to.
    """
    refuse_address(path)
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file.")
    _refuse_existing(path, overwrite)
    _check_folder(path)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} exists: name another file, or choose to overwrite it "
            f"(--overwrite in the terminal)."
        )


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}: make it first.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"Nothing may be written to the folder {path.parent}.")


def check_source(path: Path, source: str | Path, stack: Stack | None = None) -> None:
    """Make sure that a result does not take the place of what it is made from.

    Parameters
    ----------
    path : Path
        The file to be.
    source : path
        The file, the folder or the pattern that was read.
    stack : Stack, optional
        What was read, which may lie in several files.

    Raises
    ------
    InputError
    """
    if "://" in str(source):
        return
    target, origin = path.resolve(), Path(source).resolve()
    files = [str(source), *getattr(None if stack is None else stack.data, "sources", ())]
    if target == origin or any(_same(path, file) for file in files):
        raise InputError(
            f"The result cannot be written to {path}, because that is its source: name another "
            f"file."
        )
    # A source can be one of many images of one Zarr.
    zarrs = [folder for folder in (origin, *origin.parents) if is_zarr(folder)]
    if (zarrs[-1] if zarrs else origin) in target.parents:
        raise InputError(
            f"The result cannot be written to {path}, which lies inside its source: name a file "
            f"elsewhere."
        )
    if target in origin.parents:
        raise InputError(
            f"The result cannot be written to {path}, because its source lies inside: name "
            f"another file."
        )


def _same(path: Path, file: str) -> bool:
    """Whether two names stand for one file on the disk."""
    try:
        return path.samefile(file)
    except OSError:
        return False  # one of them is not there


def take_place(new: Path, path: Path, *, overwrite: bool) -> None:
    """Rename a whole result to its name, and remove what it replaces.

    Parameters
    ----------
    new : path
        The file or folder that is whole, on the same disk.
    path : path
        Its name to be.
    overwrite : bool
        Whether what has this name may be replaced.

    Raises
    ------
    InputError
        If the name was taken meanwhile and may not be replaced.
    OSError
        If it cannot be renamed; what was there is there again then.
    """
    _refuse_existing(path, overwrite)
    if new.is_dir() and path.exists():
        # A folder cannot replace another one in one step.
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.replaced")
        path.rename(aside)
        try:
            new.rename(path)
        except OSError:
            aside.rename(path)
            raise
        # The result is in its place, whatever becomes of the old one.
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                aside.unlink()
    else:
        new.replace(path)
    sync(path.parent)
