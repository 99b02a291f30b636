"""What `File › Save` calls for OME-TIFF and OME-Zarr: a layer keeps its size, place and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_warning

from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.stacks.provenance import KEY
from napari_noise2self.stacks.writing import write
from napari_noise2self.widgets.layers import stack_of

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


def _upright(layer: Image) -> bool:
    return bool(
        np.allclose(layer.rotate, np.eye(len(layer.rotate)))
        and not np.any(layer.shear)
        and np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1))
        and np.all(np.asarray(layer.scale) > 0)
    )
