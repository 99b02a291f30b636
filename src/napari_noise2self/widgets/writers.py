"""What `File › Save` calls for OME-TIFF and OME-Zarr: a layer keeps its size, place and name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_warning

from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.stacks.provenance import KEY
from napari_noise2self.stacks.writing import write
from napari_noise2self.widgets.layers import stack_of
from napari_noise2self.widgets.target_dialog import with_ending

if TYPE_CHECKING:
    from napari_noise2self.widgets.layers import LayerData


def write_ome_tiff(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as OME-TIFF.

    Parameters
    ----------
    path : str
        Gets the ending ``.ome.tif`` unless it ends in that or in ``.ome.tiff``:
        napari suggests the bare name of the layer.
    data : array-like
    attributes : dict
        The rest of the layer, as napari gives it.

    Returns
    -------
    paths : list of str
        What was written.

    Raises
    ------
    Noise2SelfError
        If the ending was added and such a file exists, or if it cannot be written.
    """
    target = _with_ending(path, "ome-tiff")
    # The dialog has asked whether to replace the file, if it has this name.
    asked = target == Path(path)
    if not asked and target.exists():
        raise Noise2SelfError(
            f"{target} exists and was not replaced, because you were asked about another name: "
            f"save as {target.name} to replace it, or choose another name."
        )
    return _write(target, (data, attributes, "image"), overwrite=asked)


def write_ome_zarr(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as OME-Zarr; one that exists is never replaced.

    Parameters
    ----------
    path : str
        Gets the ending ``.ome.zarr`` unless it ends in ``.zarr``.
    data, attributes
        As for `write_ome_tiff`.

    Returns
    -------
    paths : list of str

    Raises
    ------
    Noise2SelfError
        If it exists or cannot be written.
    """
    target = _with_ending(path, "ome-zarr")
    if target.exists():
        # No dialog asks before a folder is replaced.
        raise Noise2SelfError(f"{target} exists and was not replaced: choose another name.")
    return _write(target, (data, attributes, "image"), overwrite=False)


def _with_ending(path: str, kind: str) -> Path:
    """The path with an ending of the format; the one of another format is replaced."""
    given = Path(path)
    # What napari leaves of .ome.tif in the name of a layer is no part of it.
    bare = given.with_suffix("") if given.suffix.lower() == ".ome" else given
    return with_ending(bare, kind)


def _write(path: Path, layer: LayerData, *, overwrite: bool) -> list[str]:
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
