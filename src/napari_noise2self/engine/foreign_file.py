"""What a file is that should have been a model, told from its bytes without opening it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

# How files of these kinds begin.
_PICKLE = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_ZIP = b"PK\x03\x04"
_HDF5 = b"\x89HDF"
# A header that is longer than this is none.
_LONGEST_HEADER = 100_000_000
_HAS_WRITTEN = "choose a .safetensors file that napari-noise2self has written."


def reason(path: Path) -> str | None:
    """One sentence about a file that is certainly not a whole model.

    Parameters
    ----------
    path : Path
        Of what exists.

    Returns
    -------
    sentence : str or None
        None if nothing speaks against it being one.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    if path.is_dir():
        return f"{path} is a folder, not a model: {_HAS_WRITTEN}"
    size = path.stat().st_size
    if size == 0:
        return f"The file {path} is empty, not a model: save or copy the model again."
    with path.open("rb") as file:
        start = file.read(1024)
    if start.startswith(_ZIP):
        return _of_archive(path)
    if start.startswith(_PICKLE):
        return _runs_code(path)
    if start.startswith(_HDF5):
        return f"{path} is an HDF5 file of another program, not a model: {_HAS_WRITTEN}"
    if _is_text(start):
        return f"{path} is a text file, not a model: {_HAS_WRITTEN}"
    return _of_safetensors(path, size)


def _runs_code(path: Path) -> str:
    return (
        f"{path} is a pickle, as PyTorch saves them, and opening one can run a stranger's code: "
        f"{_HAS_WRITTEN}"
    )


def _of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rsplit("/", 1)[-1] for name in archive.namelist()]
    except zipfile.BadZipFile:
        names = []
    if "data.pkl" in names:
        return _runs_code(path)
    if {"bioimageio.yaml", "rdf.yaml"}.intersection(names):
        inside = [name for name in names if name.endswith(".safetensors")]
        return f"{path} is a package of the BioImage Model Zoo, not a model: " + (
            f"unpack it and choose {inside[0]} inside." if inside else _HAS_WRITTEN
        )
    return f"{path} is a zip archive, not a model: {_HAS_WRITTEN}"


def _is_text(start: bytes) -> bool:
    # One character may be cut by the end of what was read.
    for end in range(4):
        try:
            text = start[: len(start) - end].decode()
        except UnicodeDecodeError:
            continue
        return bool(text) and all(c.isprintable() or c.isspace() for c in text)
    return False


def _of_safetensors(path: Path, size: int) -> str | None:
    """Whether the file is shorter than its header says."""
    cut_off = f"The model {path} is damaged, its end is missing: copy or download it again."
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LONGEST_HEADER:
            return None
        if size < 8 + length:
            return cut_off if file.read(1) == b"{" else None
        header = file.read(length)
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name[:1] != "_"}
        stop = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
        return None
    return cut_off if size < 8 + length + stop else None
