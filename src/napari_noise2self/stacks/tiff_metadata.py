"""What a TIFF says about its pixels: sizes, units, names and colours of channels."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np

from napari_noise2self.stacks.stack import unit_symbol

# A resolution in a TIFF of no known program is the microscope's if it is finer
# than this many micrometres per pixel; a coarser one, such as 72 dpi, is for printing.
_COARSEST_PIXEL = 10.0

# Lengths in metres and times in seconds, to bring the place of a plane to the unit of its pixels.
_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "µm": 1e-6, "nm": 1e-9, "Å": 1e-10, "pm": 1e-12}
SECONDS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}

# Where an OME-TIFF of ours keeps the time between two frames that has no unit which OME knows.
TIME_NOTE = "napari-noise2self/time"

Size = tuple[float, str | None]

_lock = threading.Lock()


@contextmanager
def complaints_kept() -> Iterator[list[logging.LogRecord]]:
    """Keep what tifffile logs in this thread from the console: it is told in sentences of our own.

    Yields
    ------
    records : list of logging.LogRecord
        Warnings and errors; tifffile logs some instead of failing where data is missing.
    """
    records: list[logging.LogRecord] = []
    here = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        if record.thread != here or record.levelno < logging.WARNING:
            return True
        records.append(record)
        return False

    # New lists, because another thread may be going through the present one.
    logger = logging.getLogger("tifffile")
    with _lock:
        logger.filters = [*logger.filters, others]
    try:
        yield records
    finally:
        with _lock:
            logger.filters = [one for one in logger.filters if one is not others]


@dataclass(frozen=True)
class Calibration:
    """What is known besides the axes.

    Attributes
    ----------
    sizes : mapping of str to (float, str or None)
        Distance of two pixels and its unit, by letter of the axis.
    names, colours : tuple of str
        One per channel; empty where unknown.
    places : mapping of str to float
        Where the first pixel lies, or when it was taken, in the unit of its size, by letter of
        the axis.
    """

    sizes: Mapping[str, Size] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    places: Mapping[str, float] = field(default_factory=dict)


def calibration(tiff: Any, number: int = 0) -> Calibration:
    """What an opened TIFF says of one of its images.

    Parameters
    ----------
    tiff : tifffile.TiffFile
    number : int
        Of the image, from 0.

    Returns
    -------
    calibration : Calibration
    """
    if tiff.is_ome and tiff.ome_metadata:
        try:
            return _of_ome(tiff, number)
        except ElementTree.ParseError:
            return Calibration()  # the pages still say what they are
    # These speak of the first image alone; a second one is mostly a smaller picture of it.
    if number == 0:
        if tiff.is_lsm and tiff.lsm_metadata:
            return _of_lsm(tiff.lsm_metadata)
        if tiff.is_stk and tiff.stk_metadata:
            return _of_stk(tiff.stk_metadata)
        if tiff.is_imagej and tiff.imagej_metadata is not None:
            return _of_imagej(tiff)
    page = tiff.series[number].keyframe
    sizes: dict[str, Size] = {}
    for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
        unit = page.tags.get("ResolutionUnit")
        micrometres = {2: 25400.0, 3: 10000.0}.get(unit.value if unit else 2)
        pitch = _pitch(page, tag)
        if micrometres and pitch and pitch * micrometres < _COARSEST_PIXEL:
            sizes[axis] = (pitch * micrometres, "µm")
    return Calibration(sizes)


def files_beside(xml: str) -> list[str]:
    """The names of other files that hold planes of the same images.

    Parameters
    ----------
    xml : str
        The OME metadata; empty where there are none.

    Returns
    -------
    names : list of str
    """
    if not xml:
        return []
    root = ElementTree.fromstring(xml)
    parts = [part for part in root.iterfind(".//{*}UUID") if part.text != root.get("UUID")]
    return [str(part.get("FileName")) for part in parts if part.get("FileName")]


def described_in(xml: str) -> str | None:
    """The name of the file that has the OME metadata of this one, if it is another.

    Parameters
    ----------
    xml : str
        What stands in their place.

    Returns
    -------
    name : str or None
    """
    try:
        reference = ElementTree.fromstring(xml).find("{*}BinaryOnly")
    except ElementTree.ParseError:
        return None
    return None if reference is None else reference.get("MetadataFile")


def _of_lsm(metadata: Mapping[str, Any]) -> Calibration:
    """What a Zeiss LSM says, in metres and seconds."""
    sizes: dict[str, Size] = {}
    for axis in "XYZ":
        size = _size(metadata.get(f"VoxelSize{axis}"))
        if size is not None:
            sizes[axis] = (size * 1e6, "µm")
    # Misspelt in the format.
    interval = _size(metadata.get("TimeIntervall"))
    if interval is not None:
        sizes["T"] = (interval, "s")
    return Calibration(sizes)


def _of_stk(metadata: Mapping[str, Any]) -> Calibration:
    """What a MetaMorph stack says; without a unit it is not calibrated."""
    unit = unit_symbol(str(metadata.get("CalibrationUnits") or ""))
    sizes: dict[str, Size] = {}
    for axis in "XY" if unit else "":
        size = _size(metadata.get(f"{axis}Calibration"))
        if size is not None:
            sizes[axis] = (size, unit)
    distances = np.asarray(metadata.get("ZDistance", ()), float)
    size = _size(distances.mean()) if distances.size and unit else None
    if size is not None:
        sizes["Z"] = (size, unit)
    return Calibration(sizes)


def _of_ome(tiff: Any, number: int) -> Calibration:
    root = ElementTree.fromstring(tiff.ome_metadata)
    image = _ome_image(root, tiff.series, number)
    pixels = None if image is None else image.find("{*}Pixels")
    if pixels is None:
        return Calibration()
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
    if "T" not in sizes and (interval := _noted_interval(root) or _interval(pixels)):
        sizes["T"] = interval
    channels = pixels.findall("{*}Channel")
    names = [channel.get("Name") for channel in channels]
    colours = [_ome_colour(channel.get("Color")) for channel in channels]
    return Calibration(
        sizes,
        tuple(str(name) for name in names) if all(names) else (),
        tuple(str(colour) for colour in colours) if all(colours) else (),
        _places(pixels, sizes),
    )


def _ome_image(
    root: ElementTree.Element, series: Sequence[Any], number: int
) -> ElementTree.Element | None:
    """What is said of one of the images in the file; images without pixels are none of these."""
    images = root.findall("{*}Image")
    if len(images) == len(series):
        return images[number]
    alike = [image for image in images if image.get("Name") == series[number].name]
    if len(alike) == 1:
        return alike[0]
    return images[0] if images and number == 0 else None


def _noted_interval(root: ElementTree.Element) -> Size | None:
    """The time between two frames in a unit that OME does not know, or in none."""
    notes = root.iterfind(f".//{{*}}MapAnnotation[@Namespace='{TIME_NOTE}']/{{*}}Value/*")
    said = {note.get("K"): note.text for note in notes}
    interval = _size(said.get("TimeIncrement"))
    return (interval, unit_symbol(said.get("TimeIncrementUnit"))) if interval else None


def _places(pixels: ElementTree.Element, sizes: Mapping[str, Size]) -> dict[str, float]:
    """Where the first plane lies and when it was taken, as far as the units are known."""
    zero = ("TheT", "TheC", "TheZ")
    planes = pixels.findall("{*}Plane")
    first = next((p for p in planes if all(p.get(name, "0") == "0" for name in zero)), None)
    if first is None:
        return {}
    places: dict[str, float] = {}
    for axis, name, default in (
        ("X", "PositionX", "reference frame"),
        ("Y", "PositionY", "reference frame"),
        ("Z", "PositionZ", "reference frame"),
        ("T", "DeltaT", "s"),
    ):
        place = _number(first.get(name))
        unit = first.get(f"{name}Unit", default)
        place = in_unit(place, unit, sizes.get(axis, (1.0, None))[1])
        if place:
            places[axis] = place
    return places


def in_unit(place: float | None, unit: str | None, wanted: str | None) -> float | None:
    """A place in another unit.

    Parameters
    ----------
    place : float or None
    unit : str or None
        Of `place`.
    wanted : str or None
        As `unit_symbol` gives it.

    Returns
    -------
    place : float or None
        None if there is no way from one unit to the other.
    """
    unit = unit_symbol(unit)
    if place is None or unit == wanted:
        return place
    for table in (_METRES, SECONDS):
        if unit in table and wanted in table:
            return place * table[unit] / table[wanted]
    return None


def _interval(pixels: ElementTree.Element) -> Size | None:
    """The mean time between two frames, from when their first planes were taken."""
    taken = {
        int(plane.get("TheT", 0)): plane
        for plane in pixels.findall("{*}Plane")
        if plane.get("TheC", "0") == "0" and plane.get("TheZ", "0") == "0"
    }
    last = max(taken, default=0)
    if last < 1 or 0 not in taken:
        return None
    units = {taken[t].get("DeltaTUnit", "s") for t in (0, last)}
    try:
        passed = float(taken[last].attrib["DeltaT"]) - float(taken[0].attrib["DeltaT"])
    except (KeyError, ValueError):
        return None
    interval = _size(passed / last)
    return (interval, unit_symbol(units.pop())) if interval and len(units) == 1 else None


def _ome_colour(value: str | None) -> str | None:
    """Red, green, blue and opacity in the bytes of a signed number."""
    try:
        return f"#{(int(value or '') >> 8) & 0xFFFFFF:06x}"
    except ValueError:
        return None


def _pitch(page: Any, tag: str) -> float | None:
    """Units per pixel from a resolution tag, which has pixels per unit."""
    resolution = page.tags.get(tag)
    if resolution is None:
        return None
    pixels, units = resolution.value
    return units / pixels if pixels and units else None


def _of_imagej(tiff: Any) -> Calibration:
    metadata = tiff.imagej_metadata
    sizes: dict[str, Size] = {}
    unit = unit_symbol(str(metadata.get("unit", "")))
    for axis, pitch in (
        ("X", _pitch(tiff.pages[0], "XResolution")),
        ("Y", _pitch(tiff.pages[0], "YResolution")),
        ("Z", metadata.get("spacing")),
    ):
        # ImageJ writes one pixel per nothing where it knows no size.
        size = _size(pitch)
        if size is not None and not (size == 1 and unit is None):
            sizes[axis] = (size, unit)
    interval = _size(metadata.get("finterval"))
    if interval is not None:
        sizes["T"] = (interval, unit_symbol(str(metadata.get("tunit", "s"))))
    # The origin is told as the pixel that lies there.
    origins = {axis: _number(metadata.get(f"{axis.lower()}origin")) for axis in "XYZ"}
    places = {
        axis: -origin * sizes.get(axis, (1.0, None))[0]
        for axis, origin in origins.items()
        if origin
    }
    labels = metadata.get("Labels") or []
    channels = int(metadata.get("channels", 1))
    names = tuple(str(label) for label in labels[:channels])
    # Labels belong to planes; they name the channels if they repeat with them.
    repeats = len(labels) == metadata.get("images", 1) and all(
        label == names[plane % channels] for plane, label in enumerate(labels)
    )
    # A look-up table goes from black to the colour of its channel.
    tables = metadata.get("LUTs", [])
    if not isinstance(tables, list):
        tables = [tables]  # of one channel
    tables = [table for table in tables if table.shape == (3, 256)]
    return Calibration(
        sizes,
        names if repeats and channels > 1 else (),
        tuple("#" + bytes(table[:, -1].tolist()).hex() for table in tables),
        places,
    )


def _size(value: Any) -> float | None:
    """A distance from metadata, None if it is none; ImageJ counts some backwards."""
    size = _number(value)
    return abs(size) if size else None


def _number(value: Any) -> float | None:
    """A number from metadata, None if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
