"""The model file: one safetensors file, weights beside a description in JSON.

Never pickle: loading a stranger's model must not run code.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from napari_noise2self.engine import networks
from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.errors import ModelFileError
from napari_noise2self.engine.hardware import place, select_device
from napari_noise2self.engine.mixing import Mixing
from napari_noise2self.engine.noise import NoiseReport
from napari_noise2self.engine.partition import partition_from
from napari_noise2self.engine.preparation import Normalisation
from napari_noise2self.engine.trained import Trained

# Raised when the file or the networks change.
FORMAT = 2
_NOISE = TypeAdapter(NoiseReport)
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
        written = int(description["format"])
    except FileNotFoundError:
        raise ModelFileError(f"There is no model file {path}.") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise not_a_model(path, error) from error
    if written != FORMAT:
        age, advice = ("a newer", "update it") if written > FORMAT else ("an older", "train again")
        raise ModelFileError(
            f"The model {path} was written by {age} version of napari-noise2self: {advice}."
        )
    return weights, description


def save_trained(
    path: str | os.PathLike[str],
    trained: Trained,
    config: TrainingConfig,
    summary: Mapping[str, Any],
) -> None:
    """Write all of a trained network; raises as `write_model` does."""
    description = {
        "config": config.model_dump(mode="json"),
        "partition": trained.partition.description(),
        "ndim": trained.ndim,
        "turn": trained.turn,
        "normalisation": {
            "offset": trained.normalisation.offset,
            "scale": trained.normalisation.scale,
        },
        "noise": _NOISE.dump_python(trained.noise, mode="json"),
        "best_output": trained.best_output,
        "mixing": None if trained.mixing is None else trained.mixing.to_json(),
        "summary": dict(summary),
    }
    write_model(path, trained.network.state_dict(), description)


def load_trained(
    path: str | os.PathLike[str], device: str, network: nn.Module | None
) -> tuple[Trained, TrainingConfig, dict[str, Any]]:
    """Read what `save_trained` has written, and place it on a device.

    Parameters
    ----------
    path : path-like
    device : {"auto", "cuda", "mps", "cpu"}
    network : torch.nn.Module, optional
        The network, if the model was trained with one of the caller's.

    Returns
    -------
    trained : Trained
    config : TrainingConfig
    summary : dict

    Raises
    ------
    ModelFileError
        If the file is missing or not a model of this package.
    DeviceError
        If the device is missing.
    """
    weights, description = read_model(path)
    try:
        config = TrainingConfig(**{**description["config"], "device": device})
        normalisation = Normalisation(
            tuple(description["normalisation"]["offset"]),
            tuple(description["normalisation"]["scale"]),
        )
        mixing = description["mixing"]
        if config.network == "custom" and network is None:
            raise ModelFileError(
                f"The model {path} was trained with a network of its author's: pass it as "
                f"`network`."
            )
        ndim = int(description["ndim"])
        if config.network != "custom":
            network = networks.build(config, len(normalisation.offset), ndim, config.seed)
        assert network is not None
        network.load_state_dict(weights)
        trained = Trained(
            network,
            normalisation,
            partition_from(description["partition"]),
            config.replacement,
            ndim,
            bool(description["turn"]),
            _NOISE.validate_python(description["noise"]),
            str(description["best_output"]),
            None if mixing is None else Mixing.from_json(mixing),
        )
        summary = dict(description["summary"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise not_a_model(path, error) from error
    network = place(network, select_device(device), ndim).eval()
    return dataclasses.replace(trained, network=network), config, summary


def not_a_model(path: str | os.PathLike[str], error: BaseException) -> ModelFileError:
    """The error for a file whose content does not make a model."""
    reason = (str(error).splitlines() or [""])[0]
    return ModelFileError(
        f"{path} is not a model of napari-noise2self, or is damaged ({reason}): choose a "
        f".safetensors file that it has written."
    )
