"""``napari-noise2self info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_noise2self.cli.console import errors
from napari_noise2self.cli.options import Json


def info(
    path: Annotated[
        Path | None, typer.Argument(metavar="IN", help="An image file to describe.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print versions and devices, or what is known about the image IN."""
    with errors():
        facts = _about_here() if path is None else _about_image(path)
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

    packages = ("napari-noise2self", "torch", "numpy", "scikit-image", "tifffile")
    return {
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "system": platform.platform(),
        "devices": describe_devices(),
    }


def _about_image(path: Path) -> dict[str, Any]:
    import numpy as np

    from napari_noise2self.stacks.reading import read

    stack = read(path)
    comparable = stack.data if stack.data.dtype.kind in "biuf" else np.empty(0)
    finite = comparable[np.isfinite(comparable)]
    lowest, highest = (finite.min(), finite.max()) if finite.size else (None, None)
    return {
        "name": stack.name,
        "axes": stack.axes,
        "shape": list(stack.shape),
        "dtype": str(stack.dtype),
        "scale": stack.scale,
        "units": stack.units,
        "channels": stack.channel_names,
        "minimum": lowest if lowest is None else lowest.item(),
        "maximum": highest if highest is None else highest.item(),
        "notices": stack.notices,
    }


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return f"{value['name']} ({value['description']})"
    return "unknown" if value is None else str(value)
