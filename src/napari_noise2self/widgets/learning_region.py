"""The part of a layer that is learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_noise2self.widgets.compare_region import Region

if TYPE_CHECKING:
    import napari

    from napari_noise2self.engine.layout import Layout
    from napari_noise2self.widgets.layers import Source

# What a person can choose.
REGIONS = [
    ("all of the layer", "all"),
    ("what is in view", "view"),
    ("the frame in view", "frame"),
]


def region_to_learn(
    kind: str, viewer: napari.Viewer, source: Source, layout: Layout
) -> dict[str, slice] | None:
    """The ranges of the axes that are learned from.

    Parameters
    ----------
    kind : {"all", "view", "frame"}
        All of the layer; a window as it is compared on, of the frame in view;
        or all of that frame.
    viewer : napari.Viewer
    source : Source
    layout : Layout
        How the layer is denoised: what belongs to a frame is taken whole.

    Returns
    -------
    region : dict of str to slice, or None
        None for all of the layer.
    """
    if kind == "all":
        return None
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
