"""The part of a layer that is in view, and how arrays of its spatial axes fit into layers."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_noise2self.engine.inspection import Window
from napari_noise2self.engine.layout import Layout
from napari_noise2self.widgets.layers import Source

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

# No more pixels than this are looked at along each axis of the screen.
LARGEST = 256


@dataclass(frozen=True)
class Scene:
    """What is in view of one layer.

    Attributes
    ----------
    source : Source
    layout : Layout
        Of ``source.data``.
    region : tuple of slice
        The part in view, one slice per axis of the layer: a window along the
        two axes of the screen, one position along the others.
    screen : tuple of int
        The axes of the layer that run down and across the screen.
    """

    source: Source
    layout: Layout
    region: Window
    screen: tuple[int, int]

    @classmethod
    def of(
        cls, viewer: napari.Viewer, source: Source, layout: Layout, longest: int = LARGEST
    ) -> Scene:
        """What the viewer shows of a layer now.

        Parameters
        ----------
        viewer : napari.Viewer
        source : Source
        layout : Layout
            Of ``source.data``.
        longest : int
            Pixels along each axis of the screen, at most.

        Returns
        -------
        scene : Scene
            The nearest part of the layer where it is out of view.

        Raises
        ------
        InputError
            If the layer has no pixel.
        """
        layer = source.layer
        shape = layout.shape[: layer.ndim]
        seen = list(viewer.dims.displayed[-2:])
        low, high = _corners(viewer, layer, seen)
        position = source.position(viewer.dims.point)
        lead = viewer.dims.ndim - layer.ndim
        # The layer may have fewer axes than the viewer; its last two are always there.
        down, across = (max(axis - lead, 0) for axis in seen)
        if down == across:
            down, across = layer.ndim - 2, layer.ndim - 1
        region = []
        for axis, size in enumerate(shape):
            if axis in (down, across):
                region.append(_part(low[axis], high[axis], size, longest))
            else:
                at = min(max(position[axis], 0), size - 1)
                region.append(slice(at, at + 1))
        return cls(source, layout, tuple(region), (down, across))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a layer that shows the region."""
        return tuple(part.stop - part.start for part in self.region)

    @property
    def window(self) -> Window:
        """The region along the spatial axes (Z)YX of the partition."""
        return tuple(self.region[axis] for axis in self._spatial)

    @property
    def _spatial(self) -> list[int]:
        return [self.layout.axes.index(letter) for letter in self.layout.spatial_axes]

    def laid_out(self, spatial: NDArray[Any]) -> NDArray[Any]:
        """An array over `window`, for a layer that shows the region."""
        axes = self._spatial
        order = sorted(range(len(axes)), key=axes.__getitem__)
        sizes = [n if axis in axes else 1 for axis, n in enumerate(self.shape)]
        return np.broadcast_to(spatial.transpose(order).reshape(sizes), self.shape).copy()

    def read(self, outer: Window) -> NDArray[Any]:
        """The pixels of the region, with `outer` in place of `window`.

        Parameters
        ----------
        outer : tuple of slice
            One per spatial axis.

        Returns
        -------
        values : ndarray, shape (n, *outer)
            All other axes, channels of RGB among them, counted together.
        """
        index: list[slice] = [*self.region, slice(None)][: len(self.layout.axes)]
        for axis, part in zip(self._spatial, outer, strict=True):
            index[axis] = part
        values = np.asarray(self.source.data[tuple(index)])
        last = range(-len(self._spatial), 0)
        values = np.moveaxis(values, self._spatial, last)
        return values.reshape(-1, *values.shape[-len(self._spatial) :])

    def restored(self, values: NDArray[Any]) -> NDArray[Any]:
        """What `read` returned for `window`, or something like it, for a layer.

        Returns
        -------
        values : ndarray
            In the order of the layer's axes; RGB in the type of the source.
        """
        rgb = self.source.layer.rgb
        sizes = [*self.shape, 3][: len(self.layout.axes)]
        others = [n for axis, n in enumerate(sizes) if axis not in self._spatial]
        ordered = values.reshape(*others, *values.shape[1:])
        arranged = np.moveaxis(ordered, range(-len(self._spatial), 0), self._spatial)
        if rgb:
            dtype = np.dtype(self.source.data.dtype)
            if dtype.kind in "ui":
                limits = np.iinfo(dtype)
                arranged = np.nan_to_num(arranged).round().clip(limits.min, limits.max)
            arranged = arranged.astype(dtype)
        return np.ascontiguousarray(arranged)

    def on_screen(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the layer's shape as the screen shows it: rows, columns and RGB."""
        down, across = self.screen
        moved = np.moveaxis(array, (down, across), (0, 1))
        colours = moved.shape[-1:] if array.ndim > len(self.shape) else ()
        flat: NDArray[Any] = moved.reshape(*moved.shape[:2], *colours)
        return flat

    def translate(self) -> NDArray[np.float64]:
        """Where a layer of the region lies, in the coordinates before the layer's affine."""
        layer = self.source.layer
        world = layer.data_to_world([part.start for part in self.region])
        return np.asarray(layer.affine.inverse(world), float)

    def pixel_size(self) -> float:
        """The length of a pixel on the screen, in world units; the larger of both."""
        layer = self.source.layer
        origin = np.zeros(layer.ndim)
        sizes = []
        for axis in self.screen:
            step = origin.copy()
            step[axis] = 1
            apart = np.subtract(layer.data_to_world(step), layer.data_to_world(origin))
            sizes.append(float(np.linalg.norm(apart)))
        return max(sizes)

    def centre(self) -> NDArray[np.float64]:
        """The middle of the region in the world."""
        middle = [(part.start + part.stop - 1) / 2 for part in self.region]
        return np.asarray(self.source.layer.data_to_world(middle), float)


def camera_of(viewer: napari.Viewer) -> Any:
    """The camera of a viewer."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera  # napari < 0.9


def canvas_size(viewer: napari.Viewer) -> tuple[float, float]:
    """Height and width of the canvas in pixels of the screen."""
    canvas = getattr(viewer, "canvas", None)
    height, width = viewer._canvas_size if canvas is None else canvas.size  # napari < 0.9
    return float(height), float(width)


def _corners(
    viewer: napari.Viewer, layer: Any, seen: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box in pixels of the layer that holds the four corners of the canvas."""
    camera = camera_of(viewer)
    half = [side / max(camera.zoom, 1e-12) / 2 for side in canvas_size(viewer)]
    centre = camera.center[-2:]
    found = []
    for signs in itertools.product((-1, 1), repeat=2):
        point = list(viewer.dims.point)
        for axis, middle, side, sign in zip(seen, centre, half, signs, strict=True):
            point[axis] = middle + sign * side
        found.append(layer.world_to_data(point))
    box = np.asarray(found, float)
    return box.min(0), box.max(0)


def _part(low: float, high: float, size: int, longest: int) -> slice:
    """What lies between two positions of an axis, or the middle of it where that is much."""
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, size - 1.0
    start = min(max(math.floor(low + 0.5), 0), size - 1)
    stop = max(min(math.ceil(high + 0.5), size), start + 1)
    if stop - start > longest:
        start = (start + stop - longest) // 2
        stop = start + longest
    return slice(start, stop)
