"""``napari-noise2self info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_noise2self.cli.console import errors
from napari_noise2self.cli.options import Axes, Json

if TYPE_CHECKING:
    from napari_noise2self.stacks.stack import Stack

# Formats and ways of an extra, and the packages that it brings.
_EXTRAS = {
    "bioio": ("bioio",),
    "remote": ("aiohttp", "s3fs"),
    "bioimageio": ("bioimageio.core",),
    "distributed": ("distributed",),
    "bm3d": ("bm3d",),
}
# Of so many pixels the range is looked for in all of them; of more in the middle of some frames.
_MOST_PIXELS = 2**28
_FRAMES, _SIDE = 16, 4096


def info(
    path: Annotated[
        str | None,
        typer.Argument(metavar="IN", help="An image or a model to describe."),
    ] = None,
    axes: Axes = None,
    as_json: Json = False,
) -> None:
    """Print versions, devices and extras, or what is known about the image or model IN."""
    with errors():
        if path is None:
            facts = _about_here()
        elif Path(path).suffix.lower() == ".safetensors":
            facts = _about_model(Path(path))
        else:
            facts = _about_image(path, axes)
        if as_json:
            print(json.dumps(facts, indent=2))
            return
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"{name:{width}}  {_plain(value)}")


def _about_here() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    from napari_noise2self.engine.hardware import describe_devices

    packages = ("napari-noise2self", "torch", "numpy", "scikit-image", "tifffile", "zarr")
    return {
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "system": platform.platform(),
        "devices": describe_devices(),
        "extras": {name: _found(modules) for name, modules in _EXTRAS.items()},
        "formats": _formats(),
    }


def _found(modules: tuple[str, ...]) -> bool:
    from importlib.util import find_spec

    try:
        return all(find_spec(module) is not None for module in modules)
    except ModuleNotFoundError:  # the package around it
        return False


def _formats() -> list[str]:
    """What can be read here, with the plug-ins of bioio."""
    from importlib.metadata import entry_points

    own = ["TIFF", "OME-TIFF", "OME-Zarr", "PNG", "NPY"]
    return own + sorted(plugin.name for plugin in entry_points(group="bioio.readers"))


def _about_image(path: str, axes: str | None) -> dict[str, Any]:
    from napari_noise2self.stacks.reading import read

    # Nothing is made of it: what it lacks is a notice.
    stack = read(path, axes, empty_chunks=True)
    lowest, highest, looked_at = _range(stack)
    return {
        "name": stack.name,
        "axes": stack.axes,
        "shape": list(stack.shape),
        "dtype": str(stack.dtype),
        "scale": stack.scale,
        "units": stack.units,
        "channels": stack.channel_names,
        "colours": stack.channel_colors,
        "minimum": lowest,
        "maximum": highest,
        **looked_at,
        "notices": stack.notices,
    }


def _range(stack: Stack) -> tuple[Any, Any, dict[str, str]]:
    """The lowest and the highest finite grey value, and where they were looked for."""
    import math

    import numpy as np

    from napari_noise2self.engine.layout import Layout

    layout = Layout.of(stack.shape, stack.axes)
    if stack.dtype.kind not in "biuf":
        return None, None, {}
    numbers = range(layout.frames)
    region = tuple(slice(0, n) for n in layout.spatial_shape)
    looked_at = {}
    if math.prod(stack.shape) > _MOST_PIXELS:
        numbers = numbers[:: -(-layout.frames // _FRAMES)]
        region = tuple(
            slice(max(n - _SIDE, 0) // 2, max(n - _SIDE, 0) // 2 + min(n, _SIDE))
            for n in layout.spatial_shape
        )
        looked_at = {"looked at": f"{len(numbers)} of {layout.frames} frames"}
    ends: list[Any] = []
    for frame in numbers:
        values = layout.read(stack.data, frame, region)
        finite = values[np.isfinite(values)]
        if finite.size:
            ends += [finite.min(), finite.max()]
    lowest, highest = (min(ends).item(), max(ends).item()) if ends else (None, None)
    return lowest, highest, looked_at


def _about_model(path: Path) -> dict[str, Any]:
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.stacks.suits import trained_on

    denoiser = Denoiser.load(path, device="cpu")
    summary = {
        name: denoiser.summary.get(name)
        for name in ("objective", "network", "epochs", "steps", "score", "seconds")
    }
    trained = denoiser.trained
    return {
        "trained on": " ".join(trained_on(denoiser)),
        "partition": trained.partition.description(trained.ndim),
        "output": denoiser.resolved_output(),
        **summary,
    }


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        if "description" in value:
            return f"{value['name']} ({value['description']})"
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
