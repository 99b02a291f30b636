"""The record that a result carries: what it was made of, with what, and when."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

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
