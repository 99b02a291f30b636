"""The page of this plugin in napari's preferences."""

from __future__ import annotations

from dataclasses import dataclass

import napari.settings


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
    return Preferences(device=page.device, live_preview=page.live_preview)
