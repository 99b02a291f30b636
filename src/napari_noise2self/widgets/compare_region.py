"""The part of a layer that denoisers are compared on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_noise2self.engine.layout import CHANNEL_AXES, Layout
from napari_noise2self.widgets.scene import Scene

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_noise2self.engine.inspection import Window
    from napari_noise2self.widgets.layers import Source

# What the engine takes at most; its own constant cannot be had without PyTorch.
MOST_PIXELS = 2**24
# Sides of what is in view: no longer than is quick, no shorter than a network can learn from.
LONGEST, SHORTEST = 1024, 128


@dataclass(frozen=True)
class Region:
    """A part of a layer.

    Attributes
    ----------
    source : Source
    layout : Layout
        Of ``source.data``.
    window : tuple of slice
        One per axis of ``source.data``.
    """

    source: Source
    layout: Layout
    window: Window

    @classmethod
    def whole_of(cls, source: Source, volume: bool) -> Region:
        """All of a layer.

        Parameters
        ----------
        source : Source
        volume : bool
            Whether Z is filtered together with Y and X, where there is one.
        """
        layout = Layout.of(source.data.shape, source.axes, volume and "Z" in source.axes)
        return cls(source, layout, tuple(slice(0, n) for n in layout.shape))

    @classmethod
    def in_view_of(cls, viewer: napari.Viewer, source: Source, volume: bool) -> Region:
        """What the viewer shows of a layer, around the centre of the view.

        At most 1024 pixels along Y and X, where there are so many at least
        128, of the frame in view, with all channels.  Of a volume so many
        planes around the one in view as fit.

        Parameters
        ----------
        viewer : napari.Viewer
        source : Source
        volume : bool
            As for `whole_of`.
        """
        whole = cls.whole_of(source, volume)
        layout, axes = whole.layout, source.axes
        longest = min(LONGEST, math.isqrt(MOST_PIXELS // layout.channels))
        region = Scene.of(viewer, source, layout, longest).region
        # The samples of RGB are no axis of the layer.
        seen = dict(zip(axes, region, strict=False))
        window = dict(zip(axes, whole.window, strict=True))
        planes = 1
        for letter in "YX":
            window[letter] = _around(seen[letter], layout.size(letter), SHORTEST, longest)
            planes *= window[letter].stop - window[letter].start
        for letter in axes:
            if letter not in (*CHANNEL_AXES, *"YX"):
                most = MOST_PIXELS // (planes * layout.channels) if layout.volume else 1
                least = most if letter == "Z" and layout.volume else 1
                window[letter] = _around(seen[letter], layout.size(letter), least, least)
        return cls(source, layout, tuple(window.values()))

    @property
    def whole(self) -> bool:
        """Whether it is all of the layer."""
        return self.shape == self.layout.shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the part, one number per axis of ``source.data``."""
        return tuple(part.stop - part.start for part in self.window)

    @property
    def words(self) -> str:
        """Which part it is, such as "512×512 pixels in view"."""
        size = "×".join(str(n) for n in self.shape if n > 1) or "1"
        return f"all of its {size} pixels" if self.whole else f"{size} pixels of it"

    def translate(self) -> NDArray[np.float64]:
        """Where a layer of this part lies, in the coordinates before the layer's affine."""
        layer = self.source.layer
        start = [part.start for part in self.window][: layer.ndim]
        return np.asarray(layer.affine.inverse(layer.data_to_world(start)), float)

    def corners(self) -> NDArray[np.float64]:
        """The first and the last pixel in the world."""
        layer = self.source.layer
        window = self.window[: layer.ndim]
        ends = ([p.start for p in window], [p.stop - 1 for p in window])
        return np.asarray([layer.data_to_world(end) for end in ends], float)

    def to_json(self) -> dict[str, Any]:
        """The image and the part of it, ready for JSON."""
        source = self.source
        return {
            "name": source.name,
            "axes": source.axes,
            "shape": list(self.layout.shape),
            "dtype": str(source.data.dtype),
            "region": [[int(p.start), int(p.stop)] for p in self.window],
            "scale": [float(x) for x in source.looks["scale"]],
            "units": [str(unit) for unit in source.looks["units"]],
        }


def is_small(source: Source) -> bool:
    """Whether all of a layer is compared on without being asked for."""
    pixels: int = math.prod(source.data.shape[: source.layer.ndim])
    return pixels <= LONGEST**2


def fits(source: Source) -> bool:
    """Whether all of a layer can be compared on."""
    pixels: int = math.prod(source.data.shape)
    return pixels <= MOST_PIXELS


def _around(part: slice, size: int, least: int, most: int) -> slice:
    """The part, widened to `least` or cut to `most` around its middle, within 0 and `size`."""
    length = min(max(part.stop - part.start, least), most, size)
    start = (part.start + part.stop - length) // 2
    start = min(max(start, 0), size - length)
    return slice(start, start + length)
