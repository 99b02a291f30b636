"""The layers that show the results of a comparison, one at a time or side by side."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_noise2self.widgets.scene import camera_of, canvas_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from numpy.typing import NDArray

    from napari_noise2self.engine.ranking import Row
    from napari_noise2self.widgets.compare_region import Region

# Share of a tile that the region fills.
_FILL = 0.95


class Gallery:
    """Shows rows as layers, which are the user's: deleted ones stay deleted until asked for again.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    region : Region
        What was compared on.
    """

    def __init__(self, viewer: napari.Viewer, region: Region) -> None:
        self._viewer = weakref.ref(viewer)
        self._region = region
        self._layers: list[tuple[Row, Image]] = []
        self._before: dict[str, Any] | None = None

    @property
    def tiled(self) -> bool:
        """Whether the candidates lie side by side."""
        viewer = self._viewer()
        return self._before is not None and viewer is not None and grid_of(viewer).enabled

    def layer_of(self, row: Row) -> Image | None:
        """The layer of a row, if there is one in the viewer."""
        viewer = self._viewer()
        if viewer is None:
            return None
        return next((x for r, x in self._layers if r is row and x in viewer.layers), None)

    def show(self, row: Row) -> None:
        """Show a row, and of all rows only this one unless they are tiled."""
        if row.result is None or self._viewer() is None:
            return
        layer = self.layer_of(row) or self._add(row)
        if not self.tiled:
            for other in self._mine():
                other.visible = other is layer
        layer.visible = True

    def tile(self, rows: Sequence[Row]) -> None:
        """Show the source and the results of all rows side by side, the best first."""
        viewer = self._viewer()
        rows = [row for row in rows if row.result is not None]
        if viewer is None or not rows:
            return
        grid, camera = grid_of(viewer), camera_of(viewer)
        if self._before is None:
            self._before = {
                "visible": [(weakref.ref(x), x.visible) for x in viewer.layers],
                "grid": (grid.enabled, grid.stride, tuple(grid.shape)),
                "camera": (tuple(camera.center), camera.zoom),
            }
        source = self._region.source.layer
        shown = [source] if source in viewer.layers else []
        for row in rows:
            layer = self.layer_of(row) or self._add(row)
            # To the end, so that the layers are in the order of the rows.
            viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
            shown.append(layer)
        for layer in viewer.layers:
            layer.visible = any(layer is one for one in shown)
        grid.shape = (-1, -1)
        # The lowest layer first, which is the source.
        grid.stride = 1
        grid.enabled = True
        self._look_at_region(viewer, len(shown))

    def untile(self) -> None:
        """Put the viewer back as it was before."""
        viewer, before, self._before = self._viewer(), self._before, None
        if viewer is None or before is None:
            return
        grid, camera = grid_of(viewer), camera_of(viewer)
        grid.enabled, grid.stride, grid.shape = before["grid"]
        known = [(ref(), visible) for ref, visible in before["visible"]]
        for layer in viewer.layers:
            was = next((visible for x, visible in known if x is layer), None)
            # Of the results that came for the tiles, none is left lying on top of the others.
            layer.visible = False if was is None and layer in self._mine() else was is not False
        camera.center, camera.zoom = before["camera"]

    def _mine(self) -> list[Image]:
        return [layer for _, layer in self._layers]

    def _add(self, row: Row) -> Image:
        viewer = self._viewer()
        assert viewer is not None
        assert row.result is not None
        source = self._region.source
        name = f"{source.name}: {row.name}"
        # One of an earlier comparison gives way, unless the user gave it a name of its own.
        for old in [x for x in viewer.layers if x.name == name and _is_candidate(x)]:
            viewer.layers.remove(old)
        looks = {
            **source.looks,
            "translate": self._region.translate(),
            # Over the source, which would shine through.
            "blending": "translucent_no_depth",
        }
        layer = Image(
            self._displayable(row.result),
            name=name,
            rgb=source.layer.rgb,
            multiscale=False,
            metadata={"noise2self": {"candidate": True, **row.to_json()}},
            **looks,
        )
        layer.contrast_limits_range = source.contrast_range
        selection = viewer.layers.selection
        selected, active = set(selection), selection.active
        viewer.add_layer(layer)
        # The user's choice of layers is not stolen.
        selection.clear()
        selection.update(selected & set(viewer.layers))
        selection.active = active if active in viewer.layers else None
        known = [(r, x) for r, x in self._layers if r is not row]
        self._layers = [*known, (row, layer)]
        return layer

    def _displayable(self, result: NDArray[np.float32]) -> NDArray[Any]:
        """RGB is shown by its type, which is that of the source."""
        source = self._region.source
        if not source.layer.rgb:
            return result
        dtype = np.dtype(source.data.dtype)
        if dtype.kind in "ui":
            limits = np.iinfo(dtype)
            result = np.nan_to_num(result).round().clip(limits.min, limits.max)
        return result.astype(dtype)

    def _look_at_region(self, viewer: napari.Viewer, count: int) -> None:
        """Fill the tiles with the region."""
        camera = camera_of(viewer)
        shown = list(viewer.dims.displayed)
        lead = viewer.dims.ndim - self._region.source.layer.ndim
        corners = self._region.corners()[:, [max(axis - lead, 0) for axis in shown]]
        size = np.abs(corners[1] - corners[0])[-2:]
        columns = int(np.ceil(np.sqrt(count)))
        rows = int(np.ceil(count / columns))
        height, width = canvas_size(viewer)
        tile = np.array([height / rows, width / columns])
        camera.center = tuple(corners.mean(0))
        camera.zoom = float((tile / np.maximum(size, 1e-9)).min()) * _FILL


def grid_of(viewer: napari.Viewer) -> Any:
    """The grid of a viewer."""
    canvas = getattr(viewer, "canvas", None)
    return viewer.grid if canvas is None else canvas.grid  # napari < 0.9


def _is_candidate(layer: Any) -> bool:
    return bool(layer.metadata.get("noise2self", {}).get("candidate"))
