"""The folder ``OUT.partial``: what lies in it beside the pixels, and whose it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.targets import partial_of

# What is done, and of what.
STATE = "noise2self-state.json"
# The model, so that the work can go on where the denoiser is gone, having been trained for hours.
MODEL = "noise2self-model.safetensors"
LOCK = "noise2self.lock"
OURS = (STATE, MODEL, LOCK)
# Raised when the state file changes.
FORMAT = 2

# How a difference between two requests is said.
_WORDS = {
    "shape": "an image of another shape",
    "axes": "other axes",
    "dtype": "an image of another type",
    "pixels": "another image",
    "model": "another model",
    "output": "another output",
    "file": "another format or type of pixels",
}


def unfinished(target: str | Path) -> bool:
    """Whether there is an unfinished result, ``OUT.partial``, for a file to be."""
    return is_partial(partial_of(target))


def unfinished_model(target: str | Path) -> Path | None:
    """The model that an unfinished result was begun with, None if there is none.

    Parameters
    ----------
    target : path
        The file to be.
    """
    path = partial_of(target) / MODEL
    return path if path.is_file() else None


def image_request(stack: Stack) -> dict[str, Any]:
    """What a result depends on of its source, ready for JSON, without its pixels."""
    return {"shape": list(stack.shape), "axes": stack.axes, "dtype": str(np.dtype(stack.dtype))}


def check_image(target: str | Path, image: Mapping[str, Any]) -> None:
    """Make sure that an unfinished result was begun with an image.

    Parameters
    ----------
    target : path
        The file to be.
    image : mapping
        The part of the request that speaks of the image.

    Raises
    ------
    InputError
        If it was another one, or that cannot be told.
    """
    folder = partial_of(target)
    state = read_state(folder)
    before = state.get("request") or {}
    other = difference({**state, "request": {key: before.get(key) for key in image}}, image)
    if other is not None:
        raise begun_otherwise(folder, other)


def begun_otherwise(folder: Path, other: str) -> InputError:
    """The error of an unfinished result that belongs to another request."""
    return InputError(
        f"{folder} was begun with {other}: overwrite it (--overwrite in the terminal), or remove "
        f"it."
    )


def discard(target: str | Path) -> None:
    """Remove an unfinished result, unless another process is writing it.

    Parameters
    ----------
    target : path
        The file to be.
    """
    from filelock import FileLock, Timeout

    folder = partial_of(target)
    if not is_partial(folder):
        return
    try:
        with FileLock(folder / LOCK, timeout=0):
            clear(folder, keep=(LOCK,))
    except Timeout:
        return
    except NotImplementedError:
        pass  # a file system that has no locks
    shutil.rmtree(folder, ignore_errors=True)


def is_partial(folder: Path) -> bool:
    """Whether a folder is an unfinished result of this package."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    names = {entry.name for entry in folder.iterdir()}
    # Before the state there is only the lock.
    return STATE in names or names <= {LOCK, f"{STATE}.new"}


def check_partial(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that is somebody else's, or that nobody has said what to do with.

    Raises
    ------
    InputError
    """
    if not is_partial(folder):
        raise InputError(
            f"{folder} is in the way, and is no unfinished result: rename or remove it."
        )
    if not (resume or overwrite):
        raise InputError(
            f"{folder} holds an unfinished result: go on with it (--resume in the "
            f"terminal), overwrite it (--overwrite), or remove it."
        )


def read_state(folder: Path) -> dict[str, Any]:
    """What the state file says; nothing if the work ended before there was one.

    Raises
    ------
    InputError
        If it is no state file.
    """
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise damaged(folder) from error
    if not isinstance(state, dict):
        raise damaged(folder)
    return state


def damaged(folder: Path) -> InputError:
    """The error of a folder that cannot be gone on with."""
    return InputError(
        f"{folder} is damaged: overwrite it (--overwrite in the terminal), or remove it."
    )


def difference(state: Mapping[str, Any], request: Mapping[str, Any]) -> str | None:
    """What a result was begun with that is other than what is asked for now."""
    if state.get("format") != FORMAT:
        return "another version of napari-noise2self"
    before = state.get("request") or {}
    for key in (*request, *before):
        if before.get(key) != request.get(key):
            return _WORDS.get(key, f"another {key}")
    return None


def clear(folder: Path, keep: Sequence[str] = ()) -> None:
    """Remove what lies in a folder, but for what is named in `keep`."""
    for entry in folder.iterdir():
        if entry.name in keep:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def runs(done: NDArray[np.bool_]) -> list[list[int]]:
    """First and last+1 of each run of cells that are done, in C order."""
    flat = np.concatenate([[0], done.reshape(-1).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    return [[int(a), int(b)] for a, b in edges.reshape(-1, 2)]
