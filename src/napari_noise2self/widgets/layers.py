"""The only module that reads layers as arrays and writes layers to the viewer."""

from __future__ import annotations

import contextlib
import math
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pint
import psutil
from napari.layers import Image

from napari_noise2self.engine.errors import InputError, OutOfMemoryError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.axes import LABELS, Axes, checked, from_labels

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_noise2self.stacks.stack import Stack

# A result may take this share of the free memory.
_MEMORY_SHARE = 0.9

# In the metadata of layers that only illustrate another one.
AIDE = "noise2self aide"
# In the metadata of a layer whose axes the user has named.
AXES = "noise2self axes"
# Who says so then, in the words of the docks.
USER = "you"

_COPIED = (
    "affine",
    "axis_labels",
    "blending",
    "colormap",
    "contrast_limits",
    "gamma",
    "interpolation2d",
    "rotate",
    "scale",
    "shear",
    "translate",
    "units",
)


LayerData = tuple[Any, dict[str, Any], str]


def layer_data(stack: Stack) -> LayerData:
    """A stack as napari takes it from plugins: data, arguments of the layer, its type.

    Parameters
    ----------
    stack : Stack

    Returns
    -------
    data, looks, kind
    """
    rgb = stack.axes.endswith("S")
    letters = stack.axes[:-1] if rgb else stack.axes
    sizes = [stack.size(letter) or (1.0, None) for letter in letters]
    looks = {
        "name": stack.name,
        "rgb": rgb,
        # A letter that means nothing, or that nobody told, would be believed if it were a label.
        "axis_labels": [
            a.lower() if a in LABELS and (a in "YX" or a not in stack.guessed) else f"axis {i}"
            for i, a in enumerate(letters)
        ],
        "scale": [size for size, _ in sizes],
        "units": [_known_unit(unit) for _, unit in sizes],
    }
    if stack.translate is not None:
        looks["translate"] = [place or 0.0 for place in stack.translate[: len(letters)]]
    return stack.data, looks, "image"


def _known_unit(unit: str | None) -> str:
    """A unit that napari takes; files may hold any text."""
    try:
        pint.get_application_registry().parse_units(unit or "pixel")  # type: ignore[no-untyped-call]
    except Exception:  # what it raises depends on the text
        return "pixel"
    return unit or "pixel"


def images_in(viewer: napari.Viewer) -> list[Image]:
    """The image layers that can be worked on: not those that only illustrate another one."""
    return [
        layer for layer in viewer.layers if isinstance(layer, Image) and AIDE not in layer.metadata
    ]


def axes_of(layer: Image) -> str:
    """One letter per axis of the layer's array, as in `known_axes`."""
    return known_axes(layer).letters


def known_axes(layer: Image) -> Axes:
    """What the axes of the layer's array mean, the same for all docks.

    What the user named stands.  Otherwise axis labels such as "t", "time" or
    "channel" are understood, and the rest is guessed.  The samples of RGB are S.

    Parameters
    ----------
    layer : Image

    Returns
    -------
    axes : Axes
    """
    named = layer.metadata.get(AXES)
    with contextlib.suppress(InputError):  # of an array that was replaced since
        if named:
            return Axes(checked(str(named), _shape(layer)), "", USER)
    told = from_labels(layer.axis_labels)
    return replace(told, letters=told.letters + "S") if layer.rgb else told


def name_axes(layer: Image, text: str) -> None:
    """Say what the axes of a layer mean, in place of what is known without the user.

    Parameters
    ----------
    layer : Image
    text : str
        One letter per axis, as in "TZYX"; empty to take back what was said.

    Raises
    ------
    InputError
        If the letters do not fit.
    """
    others = {key: value for key, value in layer.metadata.items() if key != AXES}
    if text.strip():
        letters = checked(text, _shape(layer))
        if layer.rgb and letters[-1] != "S":
            raise InputError(f"The last axis of {layer.name!r} is that of its colours: name it S.")
        others[AXES] = letters
    # Only so does the layer say that they have changed.
    layer.metadata = others


def axes_note(axes: Axes) -> str:
    """How the axes are known, in a few words; empty where there is nothing to doubt."""
    doubtful = [letter for letter in axes.letters if letter in axes.guessed and letter not in "YX"]
    if axes.source == USER:
        return "told by you"
    told = f"told by {axes.source}" if axes.source else ""
    if not doubtful:
        return told
    if not told:
        return "guessed from the shape"
    return f"{', '.join(doubtful)} guessed from the shape, the rest {told}"


def _shape(layer: Image) -> tuple[int, ...]:
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape)


@dataclass(frozen=True)
class Source:
    """A layer as it was when the work began.

    Attributes
    ----------
    layer : Image
    name : str
    data : array
        Full resolution, without an alpha channel.
    axes : str
        One letter per axis of `data`.
    looks : dict
        What the result takes over, as arguments of `Image`.
    contrast_range : tuple of float
        Ends of the contrast slider.
    alpha : array or None
        The fourth sample of RGBA: opacity, nothing to denoise.
    """

    layer: Image
    name: str
    data: Any
    axes: str
    looks: dict[str, Any]
    contrast_range: tuple[float, float]
    alpha: Any

    @classmethod
    def of(cls, layer: Image | None) -> Source:
        """Describe a layer.

        Raises
        ------
        InputError
            If there is no layer, or it has more axes than there are letters.
        """
        if layer is None:
            raise InputError("There is no image layer to denoise: open an image first.")
        data = layer.data[0] if layer.multiscale else layer.data
        alpha = None
        if layer.rgb:
            alpha = data[..., 3:] if data.shape[-1] > 3 else None
            data = data[..., :3]
        if data.ndim > 12:
            raise InputError(
                f"The layer {layer.name!r} has {data.ndim} axes: at most 12 can be used."
            )
        looks = {name: getattr(layer, name) for name in _COPIED}
        # A copy: the source's own would move both layers.
        looks["affine"] = np.array(layer.affine.affine_matrix)
        low, high = layer.contrast_limits_range
        return cls(layer, layer.name, data, axes_of(layer), looks, (low, high), alpha)

    @property
    def result_bytes(self) -> int:
        """Memory that the result takes."""
        pixels: int = math.prod(self.data.shape)
        itemsize = int(np.dtype(self.data.dtype).itemsize)
        shown = pixels * itemsize * 4 // 3 if self.layer.rgb else 0
        return pixels * 4 + shown

    def check_memory(self) -> None:
        """Refuse a result that would not fit.

        Raises
        ------
        OutOfMemoryError
            If it takes more than what is free now.
        """
        free = psutil.virtual_memory().available
        if self.result_bytes > _MEMORY_SHARE * free:
            raise OutOfMemoryError(
                f"The result for {self.name!r} needs {self.result_bytes / 1e9:.1f} GB of memory, "
                f"but only {free / 1e9:.1f} GB are free: crop the layer or close other programs."
            )

    def position(self, point: tuple[float, ...]) -> tuple[int, ...]:
        """The pixel of `data` at a position in the world."""
        found = [round(float(x)) for x in self.layer.world_to_data(point)]
        return (*found, 0) if self.layer.rgb else tuple(found)


class ResultLayer:
    """The layer that shows an array while it is completed in place.

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
        self._shown: NDArray[Any] | None = None

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self._layer.name if self._layer is not None else f"{self._source.name} denoised"

    @property
    def removed(self) -> bool:
        """Whether the user deleted the layer."""
        viewer = self._viewer()
        return self._layer is not None and (viewer is None or self._layer not in viewer.layers)

    def show(self, out: NDArray[np.float32], frame: int) -> None:
        """Show that a frame of `out` has changed; a deleted layer stays deleted."""
        if self.removed:
            return
        if self._shown is None:
            self._shown = self._display_array(out)
        self._convert(out, frame)
        if self._layer is None:
            self._add()
        else:
            self._layer.refresh(extent=False, highlight=False)

    def complete(self, out: NDArray[np.float32], info: dict[str, Any]) -> None:
        """Show all of `out` and say how it was made; adds a deleted layer again."""
        if self._shown is None:
            self._shown = self._display_array(out)
        if self._shown is not out:
            for frame in range(self._layout.frames):
                self._convert(out, frame)
        if self._layer is None or self.removed:
            self._add()
        if self._layer is not None:
            self._layer.metadata = {**self._layer.metadata, "noise2self": info}
            self._layer.refresh(extent=False)

    def discard(self) -> None:
        """Take an unfinished layer away."""
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
            **self._source.looks,
        )
        self._layer.contrast_limits_range = self._source.contrast_range
        viewer.add_layer(self._layer)

    def _display_array(self, out: NDArray[np.float32]) -> NDArray[Any]:
        """`out` itself; for RGB, which napari shows by its type, an array of the source's type."""
        if not self._source.layer.rgb:
            return out
        alpha = self._source.alpha
        shown = np.zeros((*out.shape[:-1], 3 if alpha is None else 4), self._source.data.dtype)
        if alpha is not None:
            shown[..., 3:] = np.asarray(alpha)
        return shown

    def _convert(self, out: NDArray[np.float32], frame: int) -> None:
        shown = self._shown
        if shown is None or shown is out:
            return
        values = self._layout.read(out, frame)
        if shown.dtype.kind in "ui":
            limits = np.iinfo(shown.dtype)
            values = np.nan_to_num(values).round().clip(limits.min, limits.max)
        self._layout.write(shown[..., :3], frame, values.astype(shown.dtype))
