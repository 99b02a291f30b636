"""Image files in: TIFF, OME-Zarr, PNG, NPY, series of files, and through bioio many more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import axes as known
from napari_noise2self.stacks.lazy import Raw, opening
from napari_noise2self.stacks.reading_choice import choose, split_choice
from napari_noise2self.stacks.reading_series import TIFF_ENDINGS, is_pattern, read_series
from napari_noise2self.stacks.reading_tiff import cut_off, read_tiff
from napari_noise2self.stacks.reading_zarr import read_zarr
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.unfinished import is_partial
from napari_noise2self.stacks.zarr_folder import is_zarr

# A path object turns the two slashes of an address into one.
_ADDRESS = re.compile(r"(https?|s3|gs|gcs|abfs|az|file|ftp):/+", re.IGNORECASE)
_REMOTE = ("http", "https", "s3")

# How files begin, whatever their name says.
_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": ("a PNG", ".png"),
    b"\x93NUMPY": ("an NPY", ".npy"),
    b"II*\x00": ("a TIFF", ".tif"),
    b"MM\x00*": ("a TIFF", ".tif"),
    b"II+\x00": ("a TIFF", ".tif"),
    b"MM\x00+": ("a TIFF", ".tif"),
    b"\xff\xd8\xff": ("a JPEG", None),
    b"\x89HDF\r\n\x1a\n": ("an HDF5", None),
    b"PK\x03\x04": ("a ZIP", None),
    b"GIF8": ("a GIF", None),
    b"%PDF": ("a PDF", None),
}


def read(path: str | Path, axes: str | None = None, *, empty_chunks: bool = False) -> Stack:
    """Read an image, lazily: pixels are read where ``stack.data`` is indexed.

    Parameters
    ----------
    path : str or path
        - A TIFF: OME-TIFF in one file or several, ImageJ hyperstack, pyramid,
          or any other.
        - An OME-Zarr (0.1 to 0.5) or a plain Zarr array, or a group in one;
          also its address: ``https://…`` or ``s3://…``.
        - A folder of TIFFs, or a pattern such as ``img_T*_C1.tif``: the files
          are planes of one image, in the order of the numbers in their names.
        - A PNG or NPY.
        - Any format that bioio can read, with the extra of that name.

        Of several images in one file it is the first; another one is named by
        its number or its name, as in ``scan.lif#2`` or ``scan.lif#Series003``.
    axes : str, optional
        One letter per axis, where the file is wrong or silent.
    empty_chunks : bool
        Whether chunks that a Zarr lacks, or planes that an OME-TIFF lacks, are
        taken as empty: they may be left out, but an incomplete copy looks the
        same, and is refused by default; at an address where it is indexed.

    Returns
    -------
    stack : Stack
        With the axes, the pixel size, and the names and colours of channels
        that the file has.  Axes that it does not tell are guessed from the
        shape, and ``stack.notices`` says so.

    Raises
    ------
    InputError
        If there is no such file, it cannot be read, it is damaged or
        incomplete, or the axes do not fit it.  A part that turns out to be damaged later
        raises the same when it is indexed.
    """
    address = _ADDRESS.match(str(path))
    if address is None:
        with opening(path):
            file, image = split_choice(path)
        with opening(file):
            return _read_local(file, image, axes, empty_chunks)
    place = f"{address[1].lower()}://{str(path)[address.end() :]}"
    with opening(place):
        return _read_remote(place, axes, empty_chunks)


def _read_remote(address: str, axes: str | None, empty_chunks: bool) -> Stack:
    scheme = address.partition("://")[0]
    if scheme not in _REMOTE:
        raise InputError(
            f"{address} cannot be read: give a file, or an OME-Zarr at https:// or s3://."
        )
    return read_zarr(address.rstrip("/"), axes, empty_chunks=empty_chunks)


def _read_local(path: Path, image: str | None, axes: str | None, empty_chunks: bool) -> Stack:
    if path.suffix == ".partial" and is_partial(path):
        raise InputError(
            f"{path} is an unfinished result: go on with it (--resume in the terminal), and read "
            f"{path.stem} when it is whole."
        )
    if path.is_dir():
        if is_zarr(path) or ".zarr" in path.suffixes:
            return read_zarr(path, axes, empty_chunks=empty_chunks)
        return read_series(path, axes, empty_chunks=empty_chunks)
    if not path.exists():
        if is_pattern(path):
            return read_series(path, axes, empty_chunks=empty_chunks)
        raise InputError(f"There is no file {path}.")
    ending = path.suffix.lower()
    if ending == ".safetensors":
        raise InputError(f"{path} is a model, not an image.")
    if ending in TIFF_ENDINGS:
        _check_beginning(path, ending)
        return read_tiff(path, axes, image, empty_chunks=empty_chunks)
    if ending in (".png", ".npy"):
        _check_beginning(path, ending)
        choose(path, [""], image, [])  # there is but one
        return _read_png(path, axes) if ending == ".png" else _read_npy(path, axes)
    from napari_noise2self.stacks.reading_bioio import read_bioio

    return read_bioio(path, axes, image)


def _check_beginning(path: Path, ending: str) -> None:
    """Refuse a file of another kind than its name says."""
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise InputError(f"{path} is empty.")
    for beginning, (kind, right) in _BEGINNINGS.items():
        if start.startswith(beginning) and right not in (ending, _plain(ending)):
            what = f"rename it to end in {right}" if right else "convert it to TIFF"
            raise InputError(
                f"{path} is {kind} file by its content, not what its name says: {what}."
            )


def _plain(ending: str) -> str:
    return ".tif" if ending in TIFF_ENDINGS else ending


def _described(
    data: Any, axes: known.Axes, path: Path, notices: list[str], wish: str | None
) -> Stack:
    """The stack of a file that says nothing but its shape."""
    guess = axes.notice(data.shape)
    stack = Stack(
        data,
        axes.letters,
        name=path.stem,
        notices=(*notices, guess) if guess and wish is None else tuple(notices),
        guessed=axes.guessed,
        axes_source=axes.source,
    )
    return stack if wish is None else stack.with_axes(wish)


def _read_npy(path: Path, axes: str | None) -> Stack:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else (np.lib.format.read_array_header_2_0)
        )
        shape, fortran, dtype = header(file)
        offset = file.tell()
    if dtype.hasobject:
        raise InputError(f"{path} holds Python objects and no numbers: it is not an image.")
    if len(shape) < 2 or 0 in shape:
        data: Any = np.empty(shape, dtype)  # refused below by its shape
    else:
        data = Raw(path, dtype, shape, offset, "F" if fortran else "C")
        if data.end > path.stat().st_size:
            raise cut_off(str(path))
    return _described(data, known.from_shape(len(shape)), path, [], axes)


def _read_png(path: Path, axes: str | None) -> Stack:
    import imagecodecs

    data: NDArray[Any] = imagecodecs.png_decode(path.read_bytes())
    notices = []
    if data.ndim == 3 and data.shape[-1] in (2, 4):
        alpha = data[..., -1]
        if (alpha != alpha.flat[0]).any():
            notices.append(f"The transparency of {path} was left out.")
        data = data[..., :-1]
    if data.ndim == 3 and data.shape[-1] == 1:
        data = data[..., 0]
    letters = known.Axes("YX" if data.ndim == 2 else "YXS", "", "the file")
    return _described(data, letters, path, notices, axes)
