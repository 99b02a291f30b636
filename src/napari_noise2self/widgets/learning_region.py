"""The part of a layer that is learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import CHANNEL_AXES, Layout
from napari_noise2self.engine.region import part_of, region_from
from napari_noise2self.widgets.compare_region import Region

if TYPE_CHECKING:
    import napari

    from napari_noise2self.widgets.layers import Source

# What a person can choose.
REGIONS = [
    ("all of the layer", "all"),
    ("what is in view", "view"),
    ("the frame in view", "frame"),
    ("ranges of axes", "ranges"),
]


def whole_ranges(source: Source) -> str:
    """All of a layer as ranges of the axes that can be named, such as "T=0:9,Y=0:64,X=0:64"."""
    sizes = zip(source.axes, source.data.shape, strict=True)
    return ",".join(f"{letter}=0:{n}" for letter, n in sizes if letter not in CHANNEL_AXES)


def typed_region(text: str, source: Source) -> dict[str, slice]:
    """The ranges of axes that were typed, as for the terminal.

    Parameters
    ----------
    text : str
    source : Source

    Raises
    ------
    InputError
        If nothing was typed, or it names no part of the layer.
    """
    if not text.strip():
        raise InputError(
            f"Type the ranges to learn on, such as {whole_ranges(source)}; what is not named is "
            f"taken whole."
        )
    region = region_from(text)
    part_of(source.data, Layout.of(source.data.shape, source.axes), region)
    return region


def region_to_learn(
    kind: str, viewer: napari.Viewer, source: Source, layout: Layout, ranges: str = ""
) -> dict[str, slice] | None:
    """The ranges of the axes that are learned from.

    Parameters
    ----------
    kind : {"all", "view", "frame", "ranges"}
        All of the layer; a window as it is compared on, of the frame in view;
        all of that frame; or what was typed.
    viewer : napari.Viewer
    source : Source
    layout : Layout
        How the layer is denoised: what belongs to a frame is taken whole.
    ranges : str
        What was typed.

    Returns
    -------
    region : dict of str to slice, or None
        None for all of the layer.

    Raises
    ------
    InputError
        If what was typed does not fit.
    """
    if kind == "all":
        return None
    if kind == "ranges":
        return typed_region(ranges, source)
    frame = layout.index(layout.frame_at(source.position(viewer.dims.point)))
    region = {
        letter: slice(at, at + 1)
        for letter, at in zip(layout.axes, frame, strict=True)
        if isinstance(at, int)
    }
    if kind == "view":
        window = Region.in_view_of(viewer, source, volume=False).window
        region |= {a: part for a, part in zip(layout.axes, window, strict=True) if a in "YX"}
    return region
