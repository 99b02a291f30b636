"""OME-TIFF and ImageJ hyperstacks out, plane by plane, however large they are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.stacks import provenance
from napari_noise2self.stacks.file_image import FileImage, Kind, cast, chunk_lengths
from napari_noise2self.stacks.tiff_metadata import SECONDS, TIME_NOTE

# From here on a TIFF needs 64-bit offsets; room is left for the metadata.
_BIG = 2**32 - 2**25
# What is read at once, in bytes.
_READ = 2**26
# A plane with more pixels than this is written in tiles.
_TILED = 2**22
_TILE = 512
# Levels above compress three times as slowly, and hardly better.
_LEVEL = 3

_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_LENGTHS = ("m", "cm", "mm", "µm", "nm", "pm", "Å", "in", "pixel")
_IMAGEJ_UNITS = {"µm": "micron", "Å": "angstrom", "in": "inch"}

Progress = Callable[[float], None]


def save_tiff(
    path: Path,
    image: FileImage,
    source: Any,
    kind: Kind,
    record: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a TIFF.

    Parameters
    ----------
    path : path
        An existing file is overwritten.
    image : FileImage
    source : array-like
        The pixels in the file's order of axes; indexed with whole numbers
        and slices, never read as a whole.
    kind : {"tiff", "ome-tiff"}
        "tiff" is an ImageJ hyperstack where ImageJ loses nothing, and
        otherwise an OME-TIFF, too.
    record : mapping, optional
        The provenance record.
    progress : callable, optional
        Called with the share of the pixels that were read; what it raises ends
        the writing.

    Returns
    -------
    clipped : int
        Pixels that did not fit into the type of the file.
    """
    pixels = _Pixels(image, source, progress or (lambda fraction: None))
    settings = _imagej_settings(image, record) if kind == "tiff" else None
    if settings is not None:
        _save_imagej(path, image, pixels, settings)
    else:
        _save_ome(path, image, pixels, record)
    return pixels.clipped


def _save_ome(
    path: Path, image: FileImage, pixels: _Pixels, record: Mapping[str, Any] | None
) -> None:
    import tifffile

    height, width = image.length("Y"), image.length("X")
    tiled = height * width > _TILED
    tifffile.imwrite(
        path,
        pixels.tiles(_TILE) if tiled else pixels.planes(),
        shape=image.shape,
        dtype=image.dtype,
        ome=True,
        bigtiff=image.nbytes > _BIG,
        tile=(_TILE, _TILE) if tiled else None,
        photometric="rgb" if "S" in image.axes else "minisblack",
        compression="zlib",
        compressionargs={"level": _LEVEL},
        # Differences compress better; those of floats are not read everywhere.
        predictor=image.dtype.kind in "iu",
        metadata=_ome_metadata(image, record),
    )


def _save_imagej(path: Path, image: FileImage, pixels: _Pixels, settings: dict[str, Any]) -> None:
    import tifffile

    # Room for all planes in a row, as ImageJ has them; then they are filled in.
    place = tifffile.imwrite(
        path,
        shape=image.shape,
        dtype=image.dtype,
        byteorder="<",
        returnoffset=True,
        **settings,
    )
    assert place is not None  # uncompressed: all in one place
    with path.open("r+b") as file:
        file.seek(place[0])
        for band in pixels.bands():
            file.write(np.ascontiguousarray(band, image.dtype.newbyteorder("<")).data)


class _Pixels:
    """The pixels of a file in the order in which they are written."""

    def __init__(self, image: FileImage, source: Any, progress: Progress) -> None:
        self._image = image
        self._source = source
        self._progress = progress
        self._row = image.axes.index("Y")
        self._lead = image.shape[: self._row]
        self._depth = self._planes_at_once()
        self._held: NDArray[Any] | None = None
        self._held_at: tuple[Any, ...] | None = None
        self._read = 0
        self.clipped = 0

    def planes(self) -> Iterator[NDArray[Any]]:
        """One plane after the other."""
        return self.bands(self._image.length("Y"))

    def tiles(self, side: int) -> Iterator[NDArray[Any]]:
        """Squares of each plane, row by row; tifffile fills those at the end up."""
        for band in self.bands(side):
            for start in range(0, band.shape[1], side):
                yield band[:, start : start + side]

    def bands(self, rows: int | None = None) -> Iterator[NDArray[Any]]:
        """Rows of each plane: as many as `rows` says, or as fit into the memory."""
        height = self._image.length("Y")
        if rows is None:
            rows = max(_READ // max(self._plane_bytes // height, 1), 1)
        for lead, start in itertools.product(
            itertools.product(*map(range, self._lead)), range(0, height, rows)
        ):
            yield self._band(lead, start, min(start + rows, height))

    def _band(self, lead: tuple[int, ...], start: int, stop: int) -> NDArray[Any]:
        if self._depth == 1:
            return self._read_part(lead, slice(start, stop))
        # Planes that lie in the same chunks are read together.
        *outer, plane = lead
        first = plane - plane % self._depth
        if self._held is None or (outer, first) != self._held_at:
            last = min(first + self._depth, self._lead[-1])
            self._held = self._read_part((*outer, slice(first, last)), slice(None))
            self._held_at = (outer, first)
        return self._held[plane - first, start:stop]

    def _read_part(self, lead: tuple[Any, ...], rows: slice) -> NDArray[Any]:
        values, clipped = cast(np.asarray(self._source[(*lead, rows)]), self._image.dtype)
        self.clipped += clipped
        self._read += values.size
        self._progress(self._read / self._image.pixels)
        return values

    @property
    def _plane_bytes(self) -> int:
        return math.prod(self._image.shape[self._row :]) * self._image.dtype.itemsize

    def _planes_at_once(self) -> int:
        chunks = chunk_lengths(self._source)
        if not self._lead or chunks is None:
            return 1
        length = chunks[self._row - 1]
        return length if length > 1 and length * self._plane_bytes <= _READ else 1


# ------------------------------------------------------------------ metadata


def _ome_metadata(image: FileImage, record: Mapping[str, Any] | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": image.axes, "Name": image.name}
    for letter in "XYZ":
        size, unit = image.size(letter)
        if size and (unit or "pixel") in _LENGTHS:
            metadata[f"PhysicalSize{letter}"] = size
            metadata[f"PhysicalSize{letter}Unit"] = unit or "pixel"
    interval, unit = image.size("T")
    if interval and unit in SECONDS:
        metadata["TimeIncrement"] = interval
        metadata["TimeIncrementUnit"] = unit
    channels: dict[str, Any] = {}
    if image.channel_names is not None:
        channels["Name"] = list(image.channel_names)
    if image.channel_colors is not None:
        channels["Color"] = [_ome_colour(colour) for colour in image.channel_colors]
    if channels:
        metadata["Channel"] = channels
    planes = _planes(image)
    if planes:
        metadata["Plane"] = planes
    notes: list[dict[str, Any]] = []
    if record:
        metadata["Creator"] = f"{record.get('software')} {record.get('version')}"
        notes.append({"Namespace": provenance.NAMESPACE, **provenance.as_text(record)})
    if interval and unit not in SECONDS:
        # OME has no time without a unit: as a time increment it would be taken for seconds.
        notes.append({"Namespace": TIME_NOTE, "TimeIncrement": interval})
        if unit:
            notes[-1]["TimeIncrementUnit"] = unit
    if notes:
        metadata["MapAnnotation"] = notes
    return metadata


def _ome_colour(colour: str) -> int:
    """Red, green, blue and opacity in one number of 32 bits, which has a sign."""
    value = (int(colour[1:], 16) << 8) | 0xFF
    return value - 2**32 if value >= 2**31 else value


def _planes(image: FileImage) -> dict[str, Any]:
    """Where each plane lies, if anybody said."""
    if not any(image.origin(letter) for letter in "XYZT"):
        return {}
    lead = image.axes[: image.axes.index("Y")]
    count = math.prod(image.shape[: len(lead)])
    planes: dict[str, Any] = {}
    for letter in "XYZ":
        size, unit = image.size(letter)
        if letter in image.axes and (unit or "pixel") in _LENGTHS:
            places = np.full(count, image.origin(letter))
            if letter in lead:
                places = places + (size or 1.0) * _number_along(image, letter)
            # As plain numbers: others write "np.float64(…)" into the file.
            planes[f"Position{letter}"] = [float(place) for place in places]
            planes[f"Position{letter}Unit"] = [unit or "pixel"] * count
    interval, unit = image.size("T")
    if image.origin("T") and interval and unit in SECONDS:
        times = image.origin("T") + interval * _number_along(image, "T")
        planes["DeltaT"] = [float(time) for time in times]
        planes["DeltaTUnit"] = [unit] * count
    return planes


def _number_along(image: FileImage, letter: str) -> NDArray[np.int64]:
    """For each plane, its number along an axis."""
    lead = image.shape[: image.axes.index("Y")]
    return np.asarray(np.indices(lead)[image.axes.index(letter)].ravel())


def _imagej_settings(image: FileImage, record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What makes an ImageJ hyperstack, or None where it would lose something."""
    axes = image.axes
    units = {unit or "pixel" for size, unit in map(image.size, "XYZ") if size}
    interval, time_unit = image.size("T")
    # Microscopes tell when the first plane was exposed: within a frame that is no other beginning.
    start = abs(image.origin("T"))
    fits = (
        image.dtype.name in _IMAGEJ_TYPES
        and image.nbytes < _BIG
        and axes == "".join(letter for letter in "TZCYXS" if letter in axes)
        and ("S" not in axes or image.dtype == np.uint8)
        and len(units) <= 1
        and (not interval or time_unit in SECONDS)
        and bool(image.size("X")[0]) == bool(image.size("Y")[0])
        and (not start or start < (interval or 0.0))
        # Its labels are those of planes, which name channels only where there are several.
        and (image.channel_names is None or image.length("C") > 1)
    )
    if not fits:
        return None
    metadata: dict[str, Any] = {"axes": axes}
    unit = "".join(units) or "pixel"
    metadata["unit"] = _IMAGEJ_UNITS.get(unit, unit)
    if spacing := image.size("Z")[0]:
        metadata["spacing"] = spacing
    for letter in "XYZ":
        if place := image.origin(letter):
            # ImageJ tells which pixel lies at the origin.
            metadata[f"{letter.lower()}origin"] = -place / (image.size(letter)[0] or 1.0)
    if interval:
        metadata["finterval"] = interval * SECONDS[str(time_unit)]
    if image.channel_names is not None:
        planes = math.prod(image.shape[: axes.index("Y")])
        metadata["Labels"] = list(image.channel_names) * (planes // len(image.channel_names))
    if image.channel_colors is not None and "S" not in axes:
        metadata["LUTs"] = [_lookup_table(colour) for colour in image.channel_colors]
        metadata["mode"] = "composite" if 1 < image.length("C") <= 7 else "color"
    if record:
        lines = provenance.as_text(record).items()
        metadata["Info"] = "\n".join(f"{provenance.KEY} {key} = {value}" for key, value in lines)
    settings: dict[str, Any] = {
        "imagej": True,
        "photometric": "rgb" if "S" in axes else "minisblack",
        "metadata": metadata,
    }
    pitches = [image.size(letter)[0] for letter in "XY"]
    if all(pitches):
        settings["resolution"] = tuple(1 / pitch for pitch in pitches)
    return settings


def _lookup_table(colour: str) -> NDArray[np.uint8]:
    """From black to a colour, in the 256 steps that ImageJ has."""
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return np.asarray(np.rint(parts[:, None] * np.linspace(0, 1, 256)), np.uint8)
