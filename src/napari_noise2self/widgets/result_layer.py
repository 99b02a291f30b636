"""The layer that shows a result while it is made, and that says how it was made."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QTimer

from napari_noise2self.stacks.lazy import LazyArray
from napari_noise2self.stacks.provenance import KEY
from napari_noise2self.widgets.layers import AXES, axes_of

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_noise2self.engine.layout import Layout
    from napari_noise2self.widgets.layers import Source

# A layer on disk is drawn anew no more often than so, in seconds, and may take this share of the
# time of the window.
_LEAST_PAUSE = 0.3
_SHARE = 0.1


class ResultLayer:
    """The layer that shows an array while it is completed in place.

    The array is in memory, or a lazy one that reads what is written to a file.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    source : Source
    layout : Layout
        Of ``source.data``.
    """

    def __init__(self, viewer: napari.Viewer, source: Source, layout: Layout) -> None:
        self._viewer = weakref.ref(viewer)
        self._source = source
        self._layout = layout
        self._layer: Image | None = None
        self._shown: Any = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._draw)
        self._next_drawing = 0.0

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self._layer.name if self._layer is not None else f"{self._source.name} denoised"

    @property
    def removed(self) -> bool:
        """Whether the user deleted the layer."""
        viewer = self._viewer()
        return self._layer is not None and (viewer is None or self._layer not in viewer.layers)

    def show(self, out: NDArray[np.float32] | LazyArray, frame: int | None = None) -> None:
        """Show that a frame of `out` has changed; a deleted layer stays deleted.

        Parameters
        ----------
        out : ndarray or LazyArray
            The same one every time.
        frame : int, optional
            Only a lazy array can do without.
        """
        if self.removed:
            return
        if self._shown is None:
            self._shown = self._display_array(out)
        if frame is not None:
            self._convert(out, frame)
        if self._layer is None:
            self._add()
        elif not isinstance(out, LazyArray):
            self._layer.refresh(extent=False, highlight=False)
        elif not self._timer.isActive():
            self._timer.start(max(int(1000 * (self._next_drawing - time.monotonic())), 0))

    def complete(self, out: NDArray[np.float32] | LazyArray, info: dict[str, Any]) -> None:
        """Show all of `out` and say how it was made.

        A deleted layer is added again, and another one where the user has put other data into it.
        """
        self._timer.stop()
        if self._shown is None:
            self._shown = self._display_array(out)
        if self._shown is not out:
            for frame in range(self._layout.frames):
                self._convert(out, frame)
        if self._layer is None or self.removed or self._layer.data is not self._shown:
            self._add()
        if self._layer is not None:
            self._layer.metadata = {**self._layer.metadata, KEY: info}
            self._layer.refresh(extent=False)

    def discard(self) -> None:
        """Take an unfinished layer away."""
        self._timer.stop()
        viewer = self._viewer()
        if viewer is not None and self._layer is not None and self._layer in viewer.layers:
            viewer.layers.remove(self._layer)

    def _add(self) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        self._layer = Image(
            self._shown,
            name=self.name,
            rgb=self._source.layer.rgb,
            multiscale=False,
            # Empty until it is complete: a result, of which nothing can be said yet.
            metadata={KEY: {}},
            **self._source.looks,
        )
        if axes_of(self._layer) != self._source.axes:
            self._layer.metadata = {**self._layer.metadata, AXES: self._source.axes}
        self._layer.contrast_limits_range = self._source.contrast_range
        viewer.add_layer(self._layer)

    def _draw(self) -> None:
        """Read a lazy array anew where it is in view."""
        if self.removed or self._layer is None:
            return
        began = time.monotonic()
        self._layer.refresh(extent=False, highlight=False)
        now = time.monotonic()
        self._next_drawing = now + max(_LEAST_PAUSE, (now - began) * (1 / _SHARE - 1))

    def _display_array(self, out: Any) -> Any:
        """`out` itself; for RGB, which napari shows by its type, an array of the source's type."""
        if not self._source.layer.rgb or isinstance(out, LazyArray):
            return out
        alpha = self._source.alpha
        shown = np.zeros((*out.shape[:-1], 3 if alpha is None else 4), self._source.data.dtype)
        if alpha is not None:
            shown[..., 3:] = np.asarray(alpha)
        return shown

    def _convert(self, out: Any, frame: int) -> None:
        shown = self._shown
        if shown is None or shown is out:
            return
        values = self._layout.read(out, frame)
        if shown.dtype.kind in "ui":
            limits = np.iinfo(shown.dtype)
            values = np.nan_to_num(values).round().clip(limits.min, limits.max)
        self._layout.write(shown[..., :3], frame, values.astype(shown.dtype))
