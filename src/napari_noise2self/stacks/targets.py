"""Where a result goes: its format, whether it may be made there, and how it takes its place."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.disk import sync
from napari_noise2self.stacks.file_image import FileImage, Kind
from napari_noise2self.stacks.stack import Stack

_ENDINGS: dict[str, Kind] = {
    ".ome.tif": "ome-tiff",
    ".ome.tiff": "ome-tiff",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".zarr": "ome-zarr",
}
# What a folder has that is a Zarr, of version 3 or 2.
_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


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
        If the file has an unknown ending, exists, is the source, or cannot be made.
    """
    path = Path(path)
    kind = format_of(path)
    if source is not None:
        _check_source(path, source)
    if kind == "ome-zarr" and path.is_dir():
        if not _is_zarr(path) and any(path.iterdir()):
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
        If it is a folder, exists and may not be replaced, or its folder
        does not exist or cannot be written to.
    """
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


def _check_source(path: Path, source: str | Path) -> None:
    if "://" in str(source):
        return
    target, origin = path.resolve(), Path(source).resolve()
    if target == origin:
        raise InputError(
            f"The result cannot be written to {path}, because that is its source: name another "
            f"file."
        )
    # A source can be one of many images of one Zarr.
    zarrs = [folder for folder in (origin, *origin.parents) if _is_zarr(folder)]
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


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).exists() for name in _ZARR_FILES)


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
        shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    else:
        new.replace(path)
    sync(path.parent)
