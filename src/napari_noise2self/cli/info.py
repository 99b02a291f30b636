"""``napari-noise2self info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_noise2self.cli.console import errors
from napari_noise2self.cli.options import Json

if TYPE_CHECKING:
    from napari_noise2self.stacks.stack import Stack


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
    from napari_noise2self.stacks.reading import read

    stack = read(path)
    lowest, highest = _range(stack)
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
        "notices": stack.notices,
    }


def _range(stack: Stack) -> tuple[Any, Any]:
    """The lowest and the highest finite grey value; the image is read frame by frame."""
    import numpy as np

    from napari_noise2self.engine.layout import Layout

    layout = Layout.of(stack.shape, stack.axes)
    ends: list[Any] = []
    for frame in range(layout.frames if stack.dtype.kind in "biuf" else 0):
        values = layout.read(stack.data, frame)
        finite = values[np.isfinite(values)]
        if finite.size:
            ends += [finite.min(), finite.max()]
    return (min(ends).item(), max(ends).item()) if ends else (None, None)


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return f"{value['name']} ({value['description']})"
    return "unknown" if value is None else str(value)
