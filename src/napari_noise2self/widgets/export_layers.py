"""Files that were written, opened as layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_noise2self.stacks.provenance import KEY
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import as_dask
from napari_noise2self.stacks.targets import format_of
from napari_noise2self.widgets.layers import layer_data

if TYPE_CHECKING:
    import napari


def open_file(viewer: napari.Viewer, path: Path) -> None:
    """Open a file that was written as a layer, with its pyramid if it has one.

    Parameters
    ----------
    viewer : napari.Viewer
    path : Path

    Raises
    ------
    InputError
        If it cannot be read.
    """
    stack = read(path)
    data, looks, _ = layer_data(stack)
    # A result, so that nobody takes it for something to be denoised.
    looks["metadata"] = {KEY: {"file": str(path)}}
    levels = [as_dask(stack), *_smaller(path)] if format_of(path) == "ome-zarr" else []
    if len(levels) > 1:
        viewer.add_image(levels, multiscale=True, **looks)
    else:
        viewer.add_image(data, **looks)


def _smaller(path: Path) -> list[Any]:
    """The smaller levels of the pyramid of an OME-Zarr of ours."""
    import dask.array as da
    import zarr

    found: list[Any] = []
    while (path / str(len(found) + 1)).is_dir():
        array: Any = zarr.open_array(str(path / str(len(found) + 1)), mode="r")
        found.append(da.from_array(array, chunks=array.chunks))  # type: ignore[no-untyped-call]
    return found
