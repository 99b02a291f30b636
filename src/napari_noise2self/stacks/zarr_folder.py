"""Which folders are a Zarr; nothing of it is read."""

from __future__ import annotations

from pathlib import Path

# Each file of metadata makes a folder a part of a Zarr.
MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr or a part of one."""
    return any((folder / mark).is_file() for mark in MARKS)
