"""What is known of the layers of a viewer: arrays, axes, looks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pint
from napari.layers import Image

from napari_noise2self.engine.arrays import is_dask
from napari_noise2self.engine.errors import InputError, OutOfMemoryError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.memory import fits_in_memory, memory_budget
from napari_noise2self.stacks.axes import LABELS, Axes, checked, from_labels
from napari_noise2self.stacks.disk import in_bytes
from napari_noise2self.stacks.file_image import chunk_lengths
from napari_noise2self.stacks.lazy import Indexed, LazyArray, View
from napari_noise2self.stacks.provenance import KEY
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.widgets.origin import origin_of

if TYPE_CHECKING:
    import napari
    from napari.components import Dims

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


def possible_targets(layer: Image | None, images: Iterable[Image]) -> list[Image]:
    """The images that a network for a layer could learn from: of its shape, and no results."""
    if layer is None:
        return []
    return [
        image
        for image in of_same_shape(layer, images)
        if KEY not in image.metadata and image.rgb == layer.rgb
    ]


def of_same_shape(layer: Image, images: Iterable[Image]) -> list[Image]:
    """The other images of the shape of a layer, whether or not their colours have opacity."""

    def shape(image: Image) -> tuple[int, ...]:
        # A fourth sample of colours is opacity.
        return (*_shape(image)[: image.ndim], *([3] if image.rgb else []))

    return [image for image in images if image is not layer and shape(image) == shape(layer)]


def axes_of(layer: Image) -> str:
    """One letter per axis of the layer's array, as in `known_axes`."""
    return known_axes(layer).letters


def known_axes(layer: Image) -> Axes:
    """What the axes of the layer's array mean, the same for all docks.

    What the user named stands.  Otherwise axis labels such as "t", "time" or
    "channel" are understood, or what the file of the layer says where the
    layer has no labels; the rest is guessed.  The samples of RGB are S.

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
    origin = origin_of(layer)
    if origin is not None:
        return Axes(origin.axes, origin.guessed, origin.axes_source)
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


def room_note(source: Source) -> str:
    """What is to be known of a result that does not fit into memory; empty of one that does."""
    if source.fits:
        return ""
    return (
        f"The result takes {in_bytes(source.result_bytes)} and does not fit into memory: it is "
        f"written to a file, and is a layer that reads it."
    )


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
            whole = (slice(None),) * (len(data.shape) - 1)
            if data.shape[-1] > 3:
                alpha = _part(data, (*whole, slice(3, None)), layer.name)
                data = _part(data, (*whole, slice(0, 3)), layer.name)
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

    @property
    def fits(self) -> bool:
        """Whether the result is within the memory budget."""
        return fits_in_memory(self.result_bytes)

    def check_memory(self) -> None:
        """Refuse a result that is not within the memory budget.

        Raises
        ------
        OutOfMemoryError
        """
        if not self.fits:
            raise OutOfMemoryError(
                f"The result for {self.name!r} needs {in_bytes(self.result_bytes)} of memory, and "
                f"{in_bytes(memory_budget())} may be used: denoise it into a file, with the docks "
                f"Denoise or Apply and export."
            )

    @property
    def file(self) -> Path | None:
        """The file that the layer was read from, if it is known and still there."""
        return file_of(self.layer)

    def stack(self) -> Stack:
        """The layer as a stack."""
        there = stack_of(self.layer)
        moved = np.subtract(self.looks["translate"], self.layer.translate)
        if not np.any(moved):
            return replace(there, data=self.data)
        origin = origin_of(self.layer)
        # The layer counts in pixels where its file knows better.
        sizes = (1.0,) * len(moved) if origin is None else origin.scale or ()
        before = there.translate or (0.0,) * len(self.axes)
        place = [
            (at or 0.0) + float(by) * (size or 1.0)
            for at, by, size in zip(before, moved, sizes, strict=False)
        ]
        rest = (None,) * (len(self.axes) - len(place))
        return replace(there, data=self.data, translate=(*place, *rest))

    def frame(self, position: Sequence[int], layout: Layout) -> Source:
        """The frame at a position alone, in its place and with all axes.

        Parameters
        ----------
        position : sequence of int
            A pixel of `data`.
        layout : Layout
            Of `data`; says what a frame is.
        """
        index, start = [], []
        for letter, n, at in zip(self.axes, layout.shape, position, strict=True):
            at = min(max(at, 0), n - 1) if letter in layout.frame_axes else 0
            index.append(slice(at, at + 1) if letter in layout.frame_axes else slice(None))
            start.append(at)
        world = self.layer.data_to_world(start[: self.layer.ndim])
        place = np.asarray(self.layer.affine.inverse(world), float)
        return replace(
            self,
            data=_part(self.data, tuple(index), self.name),
            looks={**self.looks, "translate": place},
            alpha=None if self.alpha is None else _part(self.alpha, tuple(index), self.name),
        )

    def shows(self, letter: str, dims: Dims) -> bool:
        """Whether an axis lies in the plane or the volume that a viewer draws."""
        if letter not in self.axes:
            return False
        # The viewer counts the axes of a layer from the last one.
        return self.axes.index(letter) + dims.ndim - self.layer.ndim in dims.displayed

    def position(self, point: tuple[float, ...]) -> tuple[int, ...]:
        """The pixel of `data` at a position in the world."""
        found = [round(float(x)) for x in self.layer.world_to_data(point)]
        return (*found, 0) if self.layer.rgb else tuple(found)


def file_of(layer: Image) -> Path | None:
    """The file that a layer was read from, if it is known and still there."""
    path = layer.source.path
    return Path(path) if path and Path(path).exists() else None


def stack_of(layer: Image) -> Stack:
    """An image layer as a stack: the full resolution, with all that files can say of it.

    Parameters
    ----------
    layer : Image
    """
    data = layer.data[0] if layer.multiscale else layer.data
    axes = known_axes(layer)
    units = [None if str(unit) == "pixel" else str(unit) for unit in layer.units]
    # A pixel of one pixel says nothing.
    sizes = [
        None if unit is None and size == 1 else abs(float(size))
        for size, unit in zip(layer.scale, units, strict=True)
    ]
    rest = [None] * (len(axes.letters) - len(sizes))
    colour = None if layer.rgb or "C" in axes.letters else _colour(layer)
    origin = origin_of(layer)
    if origin is not None:
        if origin.axes != axes.letters:
            origin = origin.with_axes(axes.letters)
        colours = origin.channel_colors or (None if colour is None else (colour,))
        return replace(origin, data=data, name=layer.name, channel_colors=colours, notices=())
    return Stack(
        data,
        axes.letters,
        scale=(*sizes, *rest),
        units=(*units, *rest),
        name=layer.name,
        translate=(*map(float, layer.translate), *rest) if np.any(layer.translate) else None,
        channel_colors=None if colour is None else (colour,),
        guessed=axes.guessed,
        axes_source=axes.source,
    )


def _colour(layer: Image) -> str | None:
    """The colour of a colormap that leads from black to it; None for one of many colours."""
    colors = np.asarray(layer.colormap.colors)
    if len(colors) != 2 or colors[0][:3].any() or (colors[1][:3] == 1).all():
        return None
    red, green, blue = (round(255 * float(part)) for part in colors[1][:3])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _part(data: Any, index: tuple[slice, ...], name: str) -> Any:
    """A part of an array, of which nothing is read before it is needed."""
    if isinstance(data, np.ndarray) or is_dask(data):
        return data[index]
    lazy = (
        data
        if isinstance(data, LazyArray)
        else Indexed(data, f"The layer {name!r}", chunk_lengths(data))
    )
    return View(lazy, index)
