"""The model file: one safetensors file, weights beside a description in JSON.

Never pickle: loading a stranger's model must not run code.

A file of every format that there was is read (`FORMAT` counts them): its
description is brought to the present format step by step.  Within a format
the description may grow.  What a file does not say has a default, and what
this version does not know is passed over; so whatever changes what a model
predicts needs a new format, lest an older version apply it wrongly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import safetensors.torch
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from napari_noise2self.engine import foreign_file, networks
from napari_noise2self.engine.config import Output, TrainingConfig
from napari_noise2self.engine.errors import ModelFileError
from napari_noise2self.engine.hardware import place, select_device
from napari_noise2self.engine.mixing import Mixing
from napari_noise2self.engine.networks_former import FormerUNet
from napari_noise2self.engine.noise.correlation import AxisCorrelation
from napari_noise2self.engine.noise.estimate import NoiseReport
from napari_noise2self.engine.noise.report import ChannelNoise, suggest
from napari_noise2self.engine.partition import partition_from
from napari_noise2self.engine.preparation import Normalisation
from napari_noise2self.engine.trained import Trained

# Raised when a file would be read wrongly by older versions.
FORMAT = 5
_NOISE = TypeAdapter(NoiseReport)
KEY = "noise2self"
# The name of `FormerUNet` in files.
_FORMER_UNET = "unet-1"
# That of a DnCNN which adds to the blurred image.
_BLURRED_DNCNN = "dncnn-2"
# What is said of the noise of a channel where a file says nothing.
_UNKNOWN_NOISE: dict[str, Any] = {
    "gain": math.nan,
    "gain_error": math.nan,
    "offset": math.nan,
    "read_noise": math.nan,
    "mean_variance": math.nan,
    "variance_error": math.inf,
    "correlation": {},
    "clipped_low": math.nan,
    "clipped_high": math.nan,
    "missing": math.nan,
    "hot": math.nan,
    "dead": math.nan,
    "fixed_pattern": None,
    "from_frames": False,
    "line": None,
    "points": None,
}


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
    values = {name: _portable(value) for name, value in weights.items()}
    try:
        partial.write_bytes(safetensors.torch.save(values, {KEY: text}))
        partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ModelFileError(
            f"The model could not be written to {target}: {_why_not(target, error)}"
        ) from error


def _why_not(target: Path, error: OSError) -> str:
    """Why a file could not be written, and what to do; of the file that was asked for."""
    if not target.parent.is_dir():
        return f"there is no folder {target.parent}. Choose one that exists."
    if target.is_dir():
        return "that is a folder. Choose the name of a file."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. Make room, or choose a folder on another disk."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "you may not write there. Choose another folder."
    said = error.strerror or type(error).__name__
    return f"{said[:1].lower()}{said[1:]}. Choose another name or folder."


def _portable(value: Tensor) -> Tensor:
    """A tensor as any device can read it: half precision is not at home on all of them."""
    value = value.detach().cpu()
    if value.is_floating_point() and value.element_size() < 4:
        value = value.float()
    # A clone: weights that a network uses twice may not share memory in the file.
    return value.contiguous().clone()


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the description of a model that `write_model` has written.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    weights : dict of str to Tensor
    description : dict
        In the present format, whichever the file has.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, not a model or of a newer format.
    """
    try:
        reason = foreign_file.reason(Path(path))
        if reason is not None:
            raise ModelFileError(reason)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if KEY not in metadata:
                raise ModelFileError(
                    f"{path} was written by another program: choose a .safetensors file that "
                    f"napari-noise2self has written."
                )
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = dict(json.loads(metadata[KEY]))
        written = int(description["format"])
        if written > FORMAT:
            raise ModelFileError(
                f"The model {path} was written by a newer version of napari-noise2self: update it."
            )
        return weights, migrate(description, written)
    except FileNotFoundError:
        raise ModelFileError(
            f"There is no model file {path}: choose a .safetensors file that napari-noise2self "
            f"has written."
        ) from None
    except OSError as error:
        raise ModelFileError(
            f"The model {path} cannot be read ({error.strerror or error}): check that you may "
            f"read it."
        ) from error
    except _BROKEN as error:
        raise not_a_model(path, error) from error


# What reading a description raises that is not as it should be.
_BROKEN = (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError)


def migrate(description: Mapping[str, Any], written: int) -> dict[str, Any]:
    """Bring a description to the present format.

    Parameters
    ----------
    description : mapping
    written : int
        The format that it has.

    Returns
    -------
    description : dict
        With every optional part, and "format" as it was written.
    """
    current = dict(description)
    for step in range(written, FORMAT):
        current = _MIGRATIONS[step](current)
    return {"turn": True, "in_slice": True, "noise": None, "mixing": None, "summary": {}, **current}


def _from_format_1(description: dict[str, Any]) -> dict[str, Any]:
    """There was another UNet, and nothing was known of the noise; at first, grids only."""
    partition = {"kind": "grid", **description["partition"]}
    extents = partition_from(partition).extents(int(description["ndim"]))
    network = description["config"].get("network", "unet")
    return {
        # The first files do not say whether rows and columns were exchanged in training.
        "turn": extents[-1] == extents[-2],
        **description,
        "partition": partition,
        "architecture": _FORMER_UNET if network == "unet" else network,
        "best_output": "single-pass" if set(extents) == {1} else "j-invariant",
    }


def _from_format_2(description: dict[str, Any]) -> dict[str, Any]:
    """Channels were always seen together, and slices alone or, along Z, as a volume."""
    before = {"channel_use": "together", "context": 0, "depth_axis": None}
    return {**description, "config": {**before, **description["config"]}}


def _from_format_3(description: dict[str, Any]) -> dict[str, Any]:
    """In volumes, hidden pixels were replaced from the slices beside them, too."""
    return {**description, "in_slice": False}


def _from_format_4(description: dict[str, Any]) -> dict[str, Any]:
    """One output was the best of all channels, as it still can be."""
    return description


_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _from_format_1,
    2: _from_format_2,
    3: _from_format_3,
    4: _from_format_4,
}


def save_trained(
    path: str | os.PathLike[str],
    trained: Trained,
    config: TrainingConfig,
    summary: Mapping[str, Any],
) -> None:
    """Write all of a trained network; raises as `write_model` does."""
    description = {
        "config": config.model_dump(mode="json"),
        "architecture": _architecture(trained.network, config),
        "partition": trained.partition.description(),
        "ndim": trained.ndim,
        "turn": trained.turn,
        "in_slice": trained.in_slice,
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
    chosen = select_device(device)
    try:
        settings = {
            name: value
            for name, value in description["config"].items()
            if name in TrainingConfig.model_fields
        }
        config = TrainingConfig(**{**settings, "device": device})
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
        channels = len(normalisation.offset)
        if config.network != "custom":
            architecture = description.get("architecture", config.network)
            network = _build(architecture, config, channels, ndim)
        assert network is not None
        network.load_state_dict(weights)
        trained = Trained(
            network,
            normalisation,
            partition_from(description["partition"]),
            config.replacement,
            ndim,
            bool(description["turn"]),
            _noise_from(description["noise"], ndim, channels),
            str(description["best_output"]),
            None if mixing is None else Mixing.from_json(mixing),
            bool(description["in_slice"]),
        )
        kinds = trained.kinds(trained.best_output)
        if len(kinds) != channels or not set(kinds) <= {*get_args(Output)} - {"auto"}:
            raise ValueError(f"outputs {trained.best_output!r} of {channels} channels")
        if "mixed" in kinds and mixing is None:
            raise ValueError("a mixed output without its shares")
        summary = dict(description["summary"])
    except _BROKEN as error:
        raise not_a_model(path, error) from error
    network = place(network, chosen, ndim).eval()
    return dataclasses.replace(trained, network=network), config, summary


def _architecture(network: nn.Module, config: TrainingConfig) -> str:
    """The name of a network in files."""
    if isinstance(network, FormerUNet):
        return _FORMER_UNET
    if any(isinstance(part, networks.DnCNN) and part.blurred for part in network.modules()):
        return _BLURRED_DNCNN
    return config.network


def _build(architecture: str, config: TrainingConfig, channels: int, ndim: int) -> nn.Module:
    """The network with the name `architecture`, its weights still to be loaded."""
    if architecture == _FORMER_UNET:
        # Without storage first: drawing weights would touch the process's random numbers.
        with torch.device("meta"):
            former = FormerUNet(channels, channels, ndim, config.channels, config.depth)
        return former.to_empty(device="cpu").float()
    if config.network == "dncnn" and architecture in ("dncnn", _BLURRED_DNCNN):
        # With any recipe: it began to add to the blurred image in a later version.
        recipe = "plain" if architecture == "dncnn" else "default"
        config = config.model_copy(update={"recipe": recipe})
    elif architecture != config.network:
        raise ValueError(f"the network {architecture!r} is unknown")
    return networks.build(config, channels, ndim, config.seed)


def _noise_from(value: Mapping[str, Any] | None, ndim: int, channels: int) -> NoiseReport:
    """What a file says of the noise; what it does not say is unknown."""
    if value is not None:
        found = [{**_UNKNOWN_NOISE, **channel} for channel in value["channels"]]
        return _NOISE.validate_python({**value, "channels": found})
    axes = "ZYX"[-ndim:]
    nothing = {**_UNKNOWN_NOISE, "correlation": dict.fromkeys(axes, AxisCorrelation())}
    unknown = (ChannelNoise(**nothing),) * channels
    return NoiseReport(axes, axes, unknown, suggest(axes, unknown, (0,) * ndim))


def not_a_model(path: str | os.PathLike[str], error: BaseException) -> ModelFileError:
    """The error for a file whose content does not make a model."""
    reason = (str(error).splitlines() or [""])[0]
    return ModelFileError(
        f"{path} is not a model of napari-noise2self, or is damaged ({reason}): choose a "
        f".safetensors file that it has written."
    )
