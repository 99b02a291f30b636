"""Results out: OME-TIFF, and TIFF for ImageJ."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.stacks.stack import UNNAMED, Stack

DtypeChoice = Literal["source", "float32"]

# From here on a TIFF needs 64-bit offsets; room is left for the metadata.
_BIG = 2**32 - 2**25

_OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_LENGTHS = ("m", "cm", "mm", "µm", "nm", "Å", "in", "pixel")
_TIMES = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6}


@dataclass(frozen=True)
class Written:
    """What `write` did.

    Attributes
    ----------
    path : Path
    dtype : str
        Type of the pixels in the file.
    clipped : int
        Pixels that did not fit into this type and became its lowest or highest value.
    """

    path: Path
    dtype: str
    clipped: int


def check_target(path: str | Path, like: Stack | None = None, *, overwrite: bool = False) -> None:
    """Make sure, before long work starts, that its result can be written.

    Parameters
    ----------
    path : path
        The file to be.
    like : Stack, optional
        The source, whose axes the file must be able to hold.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the file has another ending than TIFF's, exists, or cannot be made.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(
            f"The result cannot be written to {path}: name a file that ends in .ome.tif or .tif."
        )
    check_free(path, overwrite=overwrite)
    if like is not None:
        _as_tiff_has_it(like)


def check_free(path: str | Path, *, overwrite: bool = False) -> None:
    """Make sure that a file can be made at `path`.

    Raises
    ------
    InputError
        If it is a folder, exists and may not be replaced, or its folder
        does not exist or cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file.")
    if path.exists() and not overwrite:
        raise InputError(
            f"{path} exists: name another file, or choose to overwrite it "
            f"(--overwrite in the terminal)."
        )
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}: make it first.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"Nothing may be written to the folder {path.parent}.")


def write(
    path: str | Path,
    array: NDArray[Any],
    like: Stack,
    *,
    dtype: DtypeChoice = "source",
    overwrite: bool = False,
) -> Written:
    """Write a result with the axes, pixel size and names of its source.

    A file that ends in ``.ome.tif`` becomes a compressed OME-TIFF.  Any other
    ``.tif`` becomes an uncompressed ImageJ hyperstack where ImageJ has the
    type, the axes and the units, and otherwise an OME-TIFF as well.

    Parameters
    ----------
    path : path
    array : ndarray
        The result, of the shape of the source.
    like : Stack
        The source.
    dtype : {"source", "float32"}
        "source" rounds and clips to the type of the source; a type that TIFF
        readers do not know (64-bit integers, 16-bit floats) becomes float32.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    written : Written

    Raises
    ------
    InputError
        As `check_target`.
    Noise2SelfError
        If writing fails, as on a full disk.  No file is left then.
    """
    path = Path(path)
    check_target(path, like, overwrite=overwrite)
    if array.shape != like.shape:
        raise InputError(f"The result has the shape {array.shape}, its source {like.shape}.")
    target = _file_dtype(like.dtype, dtype)
    pixels, clipped = _cast(array, target)
    like = _as_tiff_has_it(like)
    # YX and samples last; the others stay in the order of the source.
    order = sorted(range(pixels.ndim), key=lambda axis: "YXS".find(like.axes[axis]))
    pixels = pixels.transpose(order)
    axes = "".join(like.axes[axis] for axis in order)
    settings = None
    if not path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        settings = _imagej_settings(pixels, axes, like)
    if settings is None:
        settings = _ome_settings(pixels, axes, like)
    partial = path.with_name(path.name + ".partial")
    try:
        _save(partial, pixels, settings)
        check_free(path, overwrite=overwrite)
        partial.replace(path)
    except OSError as error:
        raise Noise2SelfError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return Written(path, str(target), clipped)


def _save(path: Path, pixels: NDArray[Any], settings: dict[str, Any]) -> None:
    import tifffile

    tifffile.imwrite(path, pixels, **settings)


def _file_dtype(source: DTypeLike, choice: DtypeChoice) -> np.dtype[Any]:
    source = np.dtype(source)
    kept = choice == "source" and source.name in _OME_TYPES
    return source.newbyteorder("=") if kept else np.dtype("float32")


def _cast(array: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], int]:
    if dtype.kind == "f":
        return array.astype(dtype, copy=False), 0
    limits = np.iinfo(dtype)
    rounded = np.rint(array, dtype=np.float64 if dtype.itemsize > 2 else None)
    clipped = int(np.count_nonzero((rounded < limits.min) | (rounded > limits.max)))
    return np.clip(rounded, limits.min, limits.max).astype(dtype), clipped


def _as_tiff_has_it(like: Stack) -> Stack:
    """The source with axes that a TIFF can name.

    Frames without a name become T, and a second such axis Z; samples that are
    not colours become channels.
    """
    axes = like.axes
    if "S" in axes and "C" not in axes and like.shape[axes.index("S")] not in (3, 4):
        axes = axes.replace("S", "C")
    unnamed = [letter for letter in axes if letter in UNNAMED]
    free = [letter for letter in "TZ" if letter not in axes]
    if len(unnamed) > len(free) or set(axes) - set("TZCYXS" + UNNAMED):
        raise InputError(
            f"A TIFF cannot hold the axes {like.axes!r}: name them with letters of TZCYX."
        )
    for old, new in zip(unnamed, free, strict=False):
        axes = axes.replace(old, new)
    same = ("C" in axes) == ("C" in like.axes)
    return replace(
        like,
        axes=axes,
        channel_names=like.channel_names if same else None,
        channel_colors=like.channel_colors if same else None,
    )


def _size(like: Stack, letter: str) -> tuple[float, str]:
    """Distance between pixels, 0 if unknown, and the unit as OME has it."""
    size, unit = like.size(letter) or (0.0, None)
    return size, unit or "pixel"


def _ome_settings(pixels: NDArray[Any], axes: str, like: Stack) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": axes, "Name": like.name}
    for letter in "XYZ":
        size, unit = _size(like, letter)
        if size and unit in _LENGTHS:
            metadata[f"PhysicalSize{letter}"] = size
            metadata[f"PhysicalSize{letter}Unit"] = unit
    interval, unit = _size(like, "T")
    if interval and unit in _TIMES:
        metadata["TimeIncrement"] = interval
        metadata["TimeIncrementUnit"] = unit
    if like.channel_names is not None:
        metadata["Channel"] = {"Name": list(like.channel_names)}
    return {
        "ome": True,
        "bigtiff": pixels.nbytes > _BIG,
        "photometric": "rgb" if "S" in axes else "minisblack",
        "compression": "zlib",
        # Differences compress better; those of floats are not read everywhere.
        "predictor": pixels.dtype.kind in "iu",
        "metadata": metadata,
    }


def _imagej_settings(pixels: NDArray[Any], axes: str, like: Stack) -> dict[str, Any] | None:
    """What makes an ImageJ hyperstack, or None where it would lose something."""
    units = {unit for letter in "XYZ" for size, unit in [_size(like, letter)] if size}
    interval, time_unit = _size(like, "T")
    fits = (
        pixels.dtype.name in _IMAGEJ_TYPES
        and pixels.nbytes < _BIG
        and axes == "".join(letter for letter in "TZCYXS" if letter in axes)
        and ("S" not in axes or pixels.dtype == np.uint8)
        and len(units) <= 1
        and (not interval or time_unit in _TIMES)
        and bool(like.size("X")) == bool(like.size("Y"))
    )
    if not fits:
        return None
    metadata: dict[str, Any] = {"axes": axes}
    unit = "".join(units) or "pixel"
    metadata["unit"] = {"µm": "micron", "Å": "angstrom", "in": "inch"}.get(unit, unit)
    if spacing := _size(like, "Z")[0]:
        metadata["spacing"] = spacing
    if interval:
        metadata["finterval"] = interval * _TIMES[time_unit]
    if like.channel_names is not None and "C" in axes:
        planes = pixels.size // (pixels.shape[axes.index("Y")] * pixels.shape[axes.index("X")])
        if "S" in axes:
            planes //= pixels.shape[-1]
        metadata["Labels"] = list(like.channel_names) * (planes // len(like.channel_names))
    settings: dict[str, Any] = {
        "imagej": True,
        "photometric": "rgb" if "S" in axes else "minisblack",
        "metadata": metadata,
    }
    pitches = [_size(like, letter)[0] for letter in "XY"]
    if all(pitches):
        settings["resolution"] = tuple(1 / pitch for pitch in pitches)
    return settings
