"""Image files in: TIFF of ImageJ, OME and others, PNG, NPY."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import axes as known
from napari_noise2self.stacks.axes import UNNAMED
from napari_noise2self.stacks.reading_zarr import is_zarr, read_zarr
from napari_noise2self.stacks.stack import Stack, unit_symbol

# A resolution in a TIFF of no known program is the microscope's if it is finer
# than this many micrometres per pixel; a coarser one, such as 72 dpi, is for printing.
_COARSEST_PIXEL = 10.0

Size = tuple[float, str | None]


def read(path: str | Path) -> Stack:
    """Read an image file.

    Parameters
    ----------
    path : path
        A TIFF (ImageJ hyperstack, OME-TIFF, or any other), PNG or NPY file.

    Returns
    -------
    stack : Stack
        With the axes, the pixel size and the channel names that the file
        has.  Axes without a name are called Q.

    Raises
    ------
    InputError
        If there is no such file, it is none of these formats, or it is damaged.
    """
    path = Path(path)
    if path.is_dir() and is_zarr(path):
        return read_zarr(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give an image file (TIFF, PNG or NPY).")
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    readers = {".tif": _read_tiff, ".tiff": _read_tiff, ".png": _read_png, ".npy": _read_npy}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} has the ending {path.suffix!r}: TIFF (.tif, .tiff), PNG and NPY can be read."
        )
    try:
        return reader(path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} could not be read: {error.strerror or error}.") from error
    except Exception as error:
        # Decoders of damaged files raise whatever they stumble upon.
        kind = path.suffix[1:].upper()
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is not a {kind} file or is damaged ({reason}).") from error


def _read_npy(path: Path) -> Stack:
    with path.open("rb") as file:
        data = np.lib.format.read_array(file, allow_pickle=False)
    return Stack(data, _leading(data.ndim) + "YX", name=path.stem)


def _leading(ndim: int) -> str:
    """Letters for the axes before YX; too few axes are refused by `Stack`."""
    return known.from_shape(ndim).letters[:-2] if ndim > 1 else ""


def _read_png(path: Path) -> Stack:
    import imagecodecs

    data = imagecodecs.png_decode(path.read_bytes())
    if data.ndim == 2:
        return Stack(data, "YX", name=path.stem)
    notices: tuple[str, ...] = ()
    if data.shape[-1] in (2, 4):
        data, notices = _without_alpha(data, path)
    if data.shape[-1] == 1:
        return Stack(data[..., 0], "YX", name=path.stem, notices=notices)
    return Stack(data, "YXS", name=path.stem, notices=notices)


def _without_alpha(data: NDArray[Any], path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Drop the last sample, and the sentence to say so if it held something."""
    alpha = data[..., -1]
    notices = (
        () if (alpha == alpha.flat[0]).all() else (f"The transparency of {path} was left out.",)
    )
    return data[..., :-1], notices


def _read_tiff(path: Path) -> Stack:
    import tifffile

    with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise InputError(f"{path} has no image.")
        series = tiff.series[0]
        data = series.asarray()
        axes = series.axes
        sizes, channel_names = _calibration(tiff)
        page = series.keyframe
        transparent = page.photometric == tifffile.PHOTOMETRIC.RGB and any(
            kind in (1, 2) for kind in page.extrasamples
        )
        others = len(tiff.series) - 1
    _raise_if_damaged(complaints, path)

    notices = []
    if others:
        notices.append(f"{path} holds {others + 1} images: the first is used.")
    if any("zeroed" in record.getMessage() for record in complaints):
        notices.append(f"Planes are missing from {path}: they are zero.")
    if transparent and axes.endswith("S") and data.shape[-1] in (2, 4):
        data, said = _without_alpha(data, path)
        notices.extend(said)
        if data.shape[-1] == 1:
            data, axes = data[..., 0], axes[:-1]
    axes = _unique(axes)
    known = [sizes.get(letter) for letter in axes]
    channels = data.shape[axes.index("C")] if "C" in axes else 1
    return Stack(
        data,
        axes,
        scale=tuple(size and size[0] for size in known),
        units=tuple(size and size[1] for size in known),
        name=path.name.removesuffix(path.suffix).removesuffix(".ome"),
        channel_names=channel_names if len(channel_names) == channels else None,
        notices=tuple(notices),
    )


def _unique(axes: str) -> str:
    """The letters of tifffile, with Q, Q', … for axes that it has no name for."""
    named = set(axes) - set("QI")
    spare = iter([letter for letter in UNNAMED if letter not in named])
    result = ""
    for letter in reversed(axes):
        result = (next(spare) if letter in "QI" or letter in result else letter) + result
    return result


@contextmanager
def _complaints() -> Iterator[list[logging.LogRecord]]:
    """What tifffile logs while it reads; it says so instead of failing when data is missing."""
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Collector(logging.WARNING)
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


def _raise_if_damaged(complaints: list[logging.LogRecord], path: Path) -> None:
    for record in complaints:
        message = record.getMessage()
        # Tags of vendors are often faulty and seldom needed; 270 is the description.
        harmless = "TiffTag" in message and "TiffTag 270" not in message
        if record.levelno >= logging.ERROR and not harmless:
            raise InputError(f"{path} is damaged or was cut off: parts of the image are missing.")


def _calibration(tiff: Any) -> tuple[dict[str, Size], tuple[str, ...]]:
    """Pixel size and unit per axis, and the names of the channels."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_calibration(tiff.ome_metadata)
    if tiff.is_imagej and tiff.imagej_metadata is not None:
        return _imagej_calibration(tiff)
    sizes: dict[str, Size] = {}
    for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
        unit = tiff.pages[0].tags.get("ResolutionUnit")
        micrometres = {2: 25400.0, 3: 10000.0}.get(unit.value if unit else 2)
        pitch = _pitch(tiff, tag)
        if micrometres and pitch and pitch * micrometres < _COARSEST_PIXEL:
            sizes[axis] = (pitch * micrometres, "µm")
    return sizes, ()


def _pitch(tiff: Any, tag: str) -> float | None:
    """Units per pixel from a resolution tag, which has pixels per unit."""
    resolution = tiff.pages[0].tags.get(tag)
    if resolution is None:
        return None
    pixels, units = resolution.value
    return units / pixels if pixels and units else None


def _imagej_calibration(tiff: Any) -> tuple[dict[str, Size], tuple[str, ...]]:
    metadata = tiff.imagej_metadata
    sizes: dict[str, Size] = {}
    unit = unit_symbol(str(metadata.get("unit", "")))
    for axis, pitch in (
        ("X", _pitch(tiff, "XResolution")),
        ("Y", _pitch(tiff, "YResolution")),
        ("Z", metadata.get("spacing")),
    ):
        # ImageJ writes one pixel per nothing where it knows no size.
        size = _size(pitch)
        if size is not None and not (size == 1 and unit is None):
            sizes[axis] = (size, unit)
    interval = _size(metadata.get("finterval"))
    if interval is not None:
        sizes["T"] = (interval, unit_symbol(str(metadata.get("tunit", "s"))))
    labels = metadata.get("Labels") or []
    channels = int(metadata.get("channels", 1))
    names = tuple(str(label) for label in labels[:channels])
    # Labels belong to planes; they name the channels if they repeat with them.
    repeats = len(labels) == metadata.get("images", 1) and all(
        label == names[plane % channels] for plane, label in enumerate(labels)
    )
    return sizes, names if repeats and channels > 1 else ()


def _size(value: Any) -> float | None:
    """A distance from metadata, None if it is none; ImageJ counts some backwards."""
    try:
        size = abs(float(value))
    except (TypeError, ValueError):
        return None
    return size if math.isfinite(size) and size > 0 else None


def _ome_calibration(xml: str) -> tuple[dict[str, Size], tuple[str, ...]]:
    pixels = ElementTree.fromstring(xml).find("{*}Image/{*}Pixels")
    if pixels is None:
        return {}, ()
    sizes: dict[str, Size] = {}
    for axis, name, default in (
        ("X", "PhysicalSizeX", "µm"),
        ("Y", "PhysicalSizeY", "µm"),
        ("Z", "PhysicalSizeZ", "µm"),
        ("T", "TimeIncrement", "s"),
    ):
        size = _size(pixels.get(name))
        if size is not None:
            sizes[axis] = (size, unit_symbol(pixels.get(f"{name}Unit", default)))
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    return sizes, tuple(str(name) for name in names) if all(names) else ()
