"""The model file: one safetensors file, weights beside a description in JSON.

Never pickle: loading a stranger's model must not run code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from napari_noise2self.engine.errors import ModelFileError

# Raised when a newer file cannot be read by older code.
FORMAT = 1
KEY = "noise2self"


def write_model(
    path: str | os.PathLike[str], weights: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    """Write a model; an existing file is replaced once the new one is whole.

    Parameters
    ----------
    path : path-like
    weights : mapping of str to Tensor
    description : mapping
        All that is needed beside the weights, ready for JSON.

    Raises
    ------
    ModelFileError
        If the file cannot be written.
    """
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    text = json.dumps({"format": FORMAT, **description})
    # Clones: weights that a network uses twice may not share memory in the file.
    values = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    try:
        partial.write_bytes(safetensors.torch.save(values, {KEY: text}))
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ModelFileError(
            f"The model could not be written to {target}: {error}. Choose a folder that exists "
            f"and that you may write to."
        ) from error


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the description of a model that `write_model` has written.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, not a model or of a newer format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[KEY]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(text)
        newer = description["format"] > FORMAT
    except FileNotFoundError:
        raise ModelFileError(f"There is no model file {path}.") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise not_a_model(path, error) from error
    if newer:
        raise ModelFileError(
            f"The model {path} was written by a newer version of napari-noise2self: update it."
        )
    return weights, description


def not_a_model(path: str | os.PathLike[str], error: BaseException) -> ModelFileError:
    """The error for a file whose content does not make a model."""
    reason = (str(error).splitlines() or [""])[0]
    return ModelFileError(
        f"{path} is not a model of napari-noise2self, or is damaged ({reason}): choose a "
        f".safetensors file that it has written."
    )
