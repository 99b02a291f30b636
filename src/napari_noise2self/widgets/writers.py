"""What `File › Save` calls for OME-TIFF and OME-Zarr: a layer keeps its size, place and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_warning

from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.stacks.provenance import KEY
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.writing import write
from napari_noise2self.widgets.layers import known_axes

if TYPE_CHECKING:
    from napari_noise2self.widgets.layers import LayerData


def write_ome_tiff(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as OME-TIFF.

    Parameters
    ----------
    path : str
        Ends in ``.ome.tif`` or ``.ome.tiff``.
    data : array-like
    attributes : dict
        The rest of the layer, as napari gives it.

    Returns
    -------
    paths : list of str
        What was written.
    """
    # The dialog has asked whether to replace the file.
    return _write(path, (data, attributes, "image"), overwrite=True)


def write_ome_zarr(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as OME-Zarr; one that exists is never replaced.

    Parameters
    ----------
    path : str
        Ends in ``.ome.zarr``.
    data, attributes
        As for `write_ome_tiff`.

    Returns
    -------
    paths : list of str
    """
    # No dialog asks before a folder is replaced.
    return _write(path, (data, attributes, "image"), overwrite=False)


def _write(path: str, layer: LayerData, *, overwrite: bool) -> list[str]:
    image = Image.create(*layer)
    made = image.metadata.get(KEY)
    try:
        stack = stack_of(image)
        written = write(
            path,
            stack.data,
            stack,
            overwrite=overwrite,
            provenance=made if isinstance(made, Mapping) else None,
        )
    except InputError as error:
        # It is a ValueError: napari would take it for "no writer suits the file".
        raise Noise2SelfError(str(error)) from error
    if not _upright(image):
        show_warning(
            f"{written.path} has no rotation, shear or affine transform: its format keeps the "
            f"scale and the translation of a layer only."
        )
    return [str(written.path)]


def stack_of(layer: Image) -> Stack:
    """An image layer as a stack: the full resolution, with all that files can say of it.

    Parameters
    ----------
    layer : Image
    """
    data = layer.data[0] if layer.multiscale else layer.data
    axes = known_axes(layer).letters
    units = [None if str(unit) == "pixel" else str(unit) for unit in layer.units]
    # A pixel of one pixel says nothing.
    sizes = [
        None if unit is None and size == 1 else abs(float(size))
        for size, unit in zip(layer.scale, units, strict=True)
    ]
    rest = [None] * (len(axes) - len(sizes))
    colour = None if layer.rgb or "C" in axes else _colour(layer)
    return Stack(
        data,
        axes,
        scale=(*sizes, *rest),
        units=(*units, *rest),
        name=layer.name,
        translate=(*map(float, layer.translate), *rest) if np.any(layer.translate) else None,
        channel_colors=None if colour is None else (colour,),
    )


def _colour(layer: Image) -> str | None:
    """The colour of a colormap that leads from black to it; None for one of many colours."""
    colors = np.asarray(layer.colormap.colors)
    if len(colors) != 2 or colors[0][:3].any() or (colors[1][:3] == 1).all():
        return None
    red, green, blue = (round(255 * float(part)) for part in colors[1][:3])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _upright(layer: Image) -> bool:
    return bool(
        np.allclose(layer.rotate, np.eye(len(layer.rotate)))
        and not np.any(layer.shear)
        and np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1))
        and np.all(np.asarray(layer.scale) > 0)
    )
