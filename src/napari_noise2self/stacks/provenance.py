"""The record that a result carries: what it was made of, with what, and when."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

# The name of the record in files and in the metadata of layers.
KEY = "noise2self"
NAMESPACE = "napari-noise2self"


def record(entries: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A provenance record, ready for JSON.

    Parameters
    ----------
    entries : mapping
        What is known of the way, such as the summary and the settings of a
        model.
    **more
        What the writer adds: the name of the source, the type of the pixels.

    Returns
    -------
    record : dict
        Begins with the software, its version and the date, unless `entries`
        has them.  What is no number is None.
    """
    made = {
        "software": NAMESPACE,
        "version": version(NAMESPACE),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **entries,
        **more,
    }
    return {str(key): _plain(value) for key, value in made.items()}


def of_denoiser(denoiser: Any, output: str) -> dict[str, Any]:
    """What a denoiser says of itself: summary, settings, and the output that is taken.

    Parameters
    ----------
    denoiser : Denoiser
    output : str
        As resolved.
    """
    return {
        **denoiser.summary,
        "output": output,
        "settings": denoiser.config.model_dump(mode="json"),
    }


def as_text(entries: Mapping[str, Any]) -> dict[str, str]:
    """The entries of a record as text, for formats that hold nothing else."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in entries.items()
        if value is not None
    }


def read(path: Path) -> dict[str, Any]:
    """The record that a result carries.

    Parameters
    ----------
    path : Path
        An OME-Zarr, OME-TIFF or TIFF for ImageJ.

    Returns
    -------
    record : dict
        Empty if there is none, or the file is none of these.
    """
    try:
        if path.is_dir():
            import zarr

            found = zarr.open_group(str(path), mode="r").attrs.get(KEY)
            return dict(found) if isinstance(found, Mapping) else {}
        return _from_tiff(path)
    except Exception:  # whatever is wrong with the file, it carries no record that can be trusted
        return {}


def _from_tiff(path: Path) -> dict[str, Any]:
    import tifffile

    from napari_noise2self.stacks.tiff_metadata import complaints_kept

    with complaints_kept(), tifffile.TiffFile(path) as tiff:
        if tiff.is_ome:
            root = ElementTree.fromstring(tiff.ome_metadata or "")
            notes = root.iterfind(f".//{{*}}MapAnnotation[@Namespace='{NAMESPACE}']/{{*}}Value/*")
            return {str(note.get("K")): _from_text(note.text or "") for note in notes}
        lines = (tiff.imagej_metadata or {}).get("Info", "").splitlines()
    pairs = (line.removeprefix(f"{KEY} ").partition(" = ") for line in lines if KEY in line)
    return {key: _from_text(value) for key, _, value in pairs}


def _from_text(text: str) -> Any:
    """What `as_text` has written: text as it is, all else as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    """A value as JSON has it: no infinities, no types of numpy."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else None
