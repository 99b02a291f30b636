"""The page of this plugin in napari's preferences."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import napari.settings


def possible_devices() -> tuple[str, ...]:
    """The devices that this kind of computer can have, without asking PyTorch."""
    return ("auto", "mps" if sys.platform == "darwin" else "cuda", "cpu")


@dataclass(frozen=True)
class Preferences:
    """What a new *Denoise* dock starts with.

    Attributes
    ----------
    device : str
        "auto", "cuda", "mps" or "cpu".
    live_preview : bool
    """

    device: str = "auto"
    live_preview: bool = True


def preferences() -> Preferences:
    """What the user set, or the defaults where napari keeps no settings for plugins."""
    read = getattr(napari.settings, "get_plugin_settings", None)
    if read is None:  # napari < 0.9
        return Preferences()
    try:
        page = read("napari-noise2self").denoise
    except KeyError:  # the plugin is disabled, or used without its manifest
        return Preferences()
    # Settings travel between computers.
    device = page.device if page.device in possible_devices() else "auto"
    return Preferences(device=device, live_preview=page.live_preview)
