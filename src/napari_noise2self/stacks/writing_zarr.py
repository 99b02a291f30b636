"""OME-Zarr out: arrays, the pyramid of smaller images, and what the metadata says."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import provenance
from napari_noise2self.stacks.file_image import FileImage, cast, regions

Version = Literal["0.4", "0.5"]

# An image of more bytes than this would have too many files, if each chunk were one.
_LARGE = 2**26
# So its chunks, which are what a viewer reads at once, are packed into shards, which are written
# at once: of about these sides, or of as many small planes as make so many pixels.  Volumes are
# looked at from all sides.
_CHUNK = {"Y": 512, "X": 512}
_VOLUME_CHUNK = {"Z": 16, "Y": 128, "X": 128}
_SHARD = {"Y": 2048, "X": 2048}
_VOLUME_SHARD = {"Z": 64, "Y": 256, "X": 256}
_SHARD_PIXELS = 2**22
# Where a chunk is a file: larger ones.
_FILE = {"Y": 1024, "X": 1024}
_VOLUME_FILE = {"Z": 16, "Y": 256, "X": 256}
_FILE_PIXELS = 2**19
# Otherwise a chunk of zeros could not be told from one that is missing.
_CONFIG: Any = {"write_empty_chunks": True}
# The pyramid ends with an image of at most this height and width.
_SMALLEST = 256
# From how many planes of a channel its display window is told.
_SAMPLES = 16

_UNITS = {
    "m": "meter",
    "cm": "centimeter",
    "mm": "millimeter",
    "µm": "micrometer",
    "nm": "nanometer",
    "pm": "picometer",
    "Å": "angstrom",
    "in": "inch",
    "d": "day",
    "h": "hour",
    "min": "minute",
    "s": "second",
    "ms": "millisecond",
    "µs": "microsecond",
    "ns": "nanosecond",
}
_TIMES = ("d", "h", "min", "s", "ms", "µs", "ns")
_TYPES = {"T": "time", "C": "channel"}
# For channels that have no colour of their own.
_COLOURS = ("00ff00", "ff00ff", "00ffff", "ffff00", "ff0000", "0000ff")

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Chunking:
    """How an array is cut.

    Attributes
    ----------
    chunks : tuple of int
        What is compressed, and read, at once.
    shards : tuple of int or None
        What is one file, if it holds several chunks.
    """

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None

    @property
    def unit(self) -> tuple[int, ...]:
        """What is written at once, and is one file."""
        return self.shards or self.chunks

    def flat(self, axes: str) -> Chunking:
        """The same shards made of chunks of single planes, for what is read plane by plane."""
        if self.shards is None:
            return self
        chunks = [c if letter in "YX" else 1 for letter, c in zip(axes, self.chunks, strict=True)]
        return Chunking(tuple(chunks), self.shards)

    @classmethod
    def of(
        cls,
        axes: str,
        shape: Sequence[int],
        itemsize: int,
        *,
        shards: bool = True,
        volume: bool = False,
    ) -> Chunking:
        """How to cut an array of `shape`.

        Parameters
        ----------
        axes : str
        shape : sequence of int
        itemsize : int
            Bytes of a pixel.
        shards : bool
            Whether the format has them.
        volume : bool
            Whether Z is looked at, and denoised, together with Y and X.
        """
        together = volume and "Z" in axes
        if not (shards and math.prod(shape) * itemsize > _LARGE):
            sides = _VOLUME_FILE if together else _FILE
            file = [_side(n, sides.get(letter, 1)) for letter, n in zip(axes, shape, strict=True)]
            return cls(tuple(_grown(axes, shape, file, _FILE_PIXELS)))
        sides, larger = (_VOLUME_CHUNK, _VOLUME_SHARD) if together else (_CHUNK, _SHARD)
        chunks = [_side(n, sides.get(letter, 1)) for letter, n in zip(axes, shape, strict=True)]
        unit = [
            _even_part(n, larger.get(letter, 1), chunk)
            for letter, n, chunk in zip(axes, shape, chunks, strict=True)
        ]
        unit = _grown(axes, shape, unit, _SHARD_PIXELS)
        return cls(tuple(chunks), tuple(unit))


def _side(n: int, side: int) -> int:
    """A side of a chunk; an axis that is hardly longer is not cut."""
    return n if n <= side + side // 2 else side


def _even_part(n: int, most: int, chunk: int) -> int:
    """Whole chunks, about `most` pixels, of which parts of about the same size make `n`."""
    parts = max(round(n / most), 1)
    return -(-n // parts // chunk) * chunk if parts > 1 else -(-n // chunk) * chunk


def _grown(axes: str, shape: Sequence[int], unit: Sequence[int], most: int) -> list[int]:
    """A unit of small planes takes in more of them, along the axes before Y from the last on."""
    unit = list(unit)
    for axis in reversed(range(axes.index("Y"))):
        if unit[axis] == 1:
            room = most // math.prod(unit)
            unit[axis] = max(min(room, shape[axis]), 1)
    return unit


def create_array(
    path: Path,
    axes: str,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    chunking: Chunking,
    version: Version,
) -> Any:
    """An array that is to be filled; the format 3 of Zarr for OME-Zarr 0.5, 2 for 0.4."""
    import zarr
    import zarr.codecs

    # Floats compress best, and integers fastest, so.
    shuffle: Literal["bitshuffle", "shuffle"] = "bitshuffle" if dtype.kind == "f" else "shuffle"
    settings: dict[str, Any]
    if version == "0.5":
        settings = {
            "zarr_format": 3,
            "shards": chunking.shards,
            "compressors": zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle=shuffle),
            "dimension_names": [letter.lower() for letter in axes],
        }
    else:
        import numcodecs

        settings = {
            "zarr_format": 2,
            "compressors": numcodecs.Blosc("zstd", 1, 2 if shuffle == "bitshuffle" else 1),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        }
    return zarr.create_array(
        str(path),
        shape=tuple(shape),
        chunks=chunking.chunks,
        dtype=dtype,
        fill_value=0,
        overwrite=True,
        config=_CONFIG,
        **settings,
    )


def open_array(path: Path, mode: Literal["r", "r+"]) -> Any:
    """An array that `create_array` has made."""
    import zarr

    array = zarr.open_array(str(path), mode=mode)
    return array if mode == "r" else array.with_config(_CONFIG)


# ------------------------------------------------------------------- pyramid


def factors(image: FileImage) -> list[tuple[int, ...]]:
    """By how much each level of the pyramid is smaller than the full size, per axis.

    Y and X are halved until the image is small.  Z is halved with them while
    its planes are no further apart than the pixels, so that voxels become
    cubes, and stay cubes; where distances are unknown it is not.
    """
    z, y = image.size("Z"), image.size("Y")
    z_pitch, y_pitch = (z[0], y[0]) if z[0] and y[0] and z[1] == y[1] else (math.inf, 0.0)
    now = dict.fromkeys(image.axes, 1)
    levels = [tuple(now.values())]
    while any(-(-image.length(letter) // now[letter]) > _SMALLEST for letter in "YX"):
        if "Z" in now and z_pitch * now["Z"] <= y_pitch * now["Y"] and now["Z"] < image.length("Z"):
            now["Z"] *= 2
        now["Y"] *= 2
        now["X"] *= 2
        levels.append(tuple(now.values()))
    return levels


def pyramid_bytes(image: FileImage) -> int:
    """Bytes of all levels, uncompressed."""
    pixels = sum(math.prod(_level_shape(image, factor)) for factor in factors(image))
    return pixels * image.dtype.itemsize


def _level_shape(image: FileImage, factor: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-n // f) for n, f in zip(image.shape, factor, strict=True))


def build_pyramid(
    folder: Path,
    image: FileImage,
    version: Version,
    *,
    volume: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the smaller levels beside level 0.

    Parameters
    ----------
    folder : path
        The group; its array "0" is whole.
    image : FileImage
    version : {"0.5", "0.4"}
    volume : bool
        As for `Chunking.of`.
    progress : callable, optional
        Called with the share that is done; what it raises ends the work.
    """
    levels = factors(image)
    total = sum(math.prod(_level_shape(image, factor)) for factor in levels[1:])
    done = 0
    # Few at once: each holds what it reads.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for number, (finer, factor) in enumerate(itertools.pairwise(levels), 1):
            step = [f // g for f, g in zip(factor, finer, strict=True)]
            source = open_array(folder / str(number - 1), "r")
            shape = _level_shape(image, factor)
            chunking = Chunking.of(
                image.axes, shape, image.dtype.itemsize, shards=version == "0.5", volume=volume
            )
            target = create_array(
                folder / str(number), image.axes, shape, image.dtype, chunking, version
            )
            parts = regions(shape, chunking.unit)
            for written in _in_order(pool, parts, source, target, step):
                done += written
                if progress is not None:
                    progress(done / total)


def _in_order(
    pool: ThreadPoolExecutor, parts: Any, source: Any, target: Any, step: Sequence[int]
) -> Any:
    """Shrink blocks in threads, some ahead; yields the pixels of each that is written."""
    ahead: list[Any] = []
    try:
        for part in parts:
            ahead.append(pool.submit(_shrink_block, source, target, part, step))
            if len(ahead) > 4:
                yield ahead.pop(0).result()
        while ahead:
            yield ahead.pop(0).result()
    finally:
        for future in ahead:
            future.cancel()


def _shrink_block(source: Any, target: Any, part: tuple[slice, ...], step: Sequence[int]) -> int:
    there = tuple(
        slice(region.start * s, min(region.stop * s, n))
        for region, s, n in zip(part, step, source.shape, strict=True)
    )
    values = shrunk(np.asarray(source[there]), step)
    target[part] = cast(values, target.dtype)[0]
    return values.size


def shrunk(values: NDArray[Any], step: Sequence[int]) -> NDArray[Any]:
    """The local mean of blocks of 1 or 2 pixels per axis; at the end of those that are left.

    Parameters
    ----------
    values : ndarray
    step : sequence of int
        1 or 2 per axis.
    """
    widths = [(0, -n % s) for n, s in zip(values.shape, step, strict=True)]
    if any(width for _, width in widths):
        values = np.pad(values, widths, "edge")
    # Sums of at most eight: exact for 16 bits.
    exact = values.dtype.itemsize <= 2 or values.dtype == np.float32
    total: NDArray[Any] | None = None
    for offsets in itertools.product(*map(range, step)):
        corner = values[tuple(slice(o, None, s) for o, s in zip(offsets, step, strict=True))]
        corner = corner.astype(np.float32 if exact else np.float64, copy=False)
        total = corner.copy() if total is None else np.add(total, corner, out=total)
    assert total is not None
    return total / math.prod(step)


# ------------------------------------------------------------------ metadata


def write_group(
    folder: Path, image: FileImage, version: Version, record: Mapping[str, Any] | None
) -> None:
    """Say what the arrays of a group are; the last thing to be written.

    Parameters
    ----------
    folder : path
        The group; its arrays "0", "1", … are whole.
    image : FileImage
    version : {"0.5", "0.4"}
    record : mapping, optional
        The provenance record, which becomes the attribute "noise2self".
    """
    import zarr

    levels = factors(image)
    coarsest = open_array(folder / str(len(levels) - 1), "r")
    content = {
        "multiscales": [
            {
                "name": image.name,
                "axes": [_axis(image, letter) for letter in image.axes],
                "datasets": [
                    {"path": str(number), "coordinateTransformations": _place(image, factor)}
                    for number, factor in enumerate(levels)
                ],
                "type": "mean",
            }
        ],
        "omero": {"channels": _channels(image, coarsest)},
    }
    attributes = {provenance.KEY: dict(record)} if record else {}
    group = zarr.open_group(
        str(folder), mode="a", zarr_format=3 if version == "0.5" else 2, use_consolidated=False
    )
    group.attrs.put(attributes | _validated(content, version))


def _validated(content: dict[str, Any], version: Version) -> dict[str, Any]:
    """The metadata as the models of the specification have them."""
    from yaozarrs import v04, v05

    model: Any = v05.Image if version == "0.5" else v04.Image
    ome = model.model_validate(content).model_dump(mode="json", exclude_none=True, by_alias=True)
    return {"ome": ome} if version == "0.5" else ome


def _axis(image: FileImage, letter: str) -> dict[str, Any]:
    kind = _TYPES.get(letter, "space")
    axis = {"name": letter.lower(), "type": kind}
    size, unit = image.size(letter)
    fits = unit in _UNITS and (unit in _TIMES) == (kind == "time") and kind != "channel"
    if size and fits:
        axis["unit"] = _UNITS[str(unit)]
    return axis


def _place(image: FileImage, factor: Sequence[int]) -> list[dict[str, Any]]:
    """Scale and translation of a level."""
    pitch = [image.size(letter)[0] or 1.0 for letter in image.axes]
    transforms: list[dict[str, Any]] = [
        {"type": "scale", "scale": [p * f for p, f in zip(pitch, factor, strict=True)]}
    ]
    # The middle of a pixel of a smaller image is the middle of those that it is the mean of.
    origin = [image.origin(letter) for letter in image.axes]
    shift = [o + p * (f - 1) / 2 for o, p, f in zip(origin, pitch, factor, strict=True)]
    if len(factors(image)) > 1 or any(origin):
        transforms.append({"type": "translation", "translation": shift})
    return transforms


def _channels(image: FileImage, coarsest: Any) -> list[dict[str, Any]]:
    count = image.length("C")
    colours = image.channel_colors
    channels = []
    for number in range(count):
        if colours is not None:
            colour = colours[number][1:]
        else:
            colour = _COLOURS[number % len(_COLOURS)] if count > 1 else "ffffff"
        name = image.channel_names and image.channel_names[number]
        channels.append(
            {
                "label": name or None,
                "color": colour,
                "active": True,
                "family": "linear",
                "coefficient": 1,
                "inverted": False,
                "window": _window(image, coarsest, number),
            }
        )
    return channels


def _window(image: FileImage, coarsest: Any, channel: int) -> dict[str, float]:
    """The grey values that a channel is shown between, from some planes of its smallest image."""
    lead = [
        [channel] if letter == "C" else _spread(n)
        for letter, n in zip(image.axes, coarsest.shape, strict=True)
        if letter not in "YX"
    ]
    places = list(itertools.product(*lead))
    chosen = [places[number] for number in _spread(len(places))]
    values = np.concatenate([np.asarray(coarsest[place]).ravel() for place in chosen])
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.zeros(1)
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    if image.dtype.kind in "iu" and image.dtype.itemsize <= 2:
        limits = np.iinfo(image.dtype)
        least, most = float(limits.min), float(limits.max)
    else:
        least, most = float(values.min()), float(values.max())
    if high <= low:
        high = low + 1
    return {"start": low, "end": high, "min": min(least, low), "max": max(most, high)}


def _spread(count: int) -> list[int]:
    """Some of the numbers from 0, spread over all of them."""
    some = min(count, _SAMPLES)
    return sorted({round(at) for at in np.linspace(0, count - 1, some)})


def check_version(version: str) -> Version:
    """Refuse a version of OME-Zarr that is not written.

    Raises
    ------
    InputError
        If it is neither 0.5 nor 0.4.
    """
    if version == "0.5":
        return "0.5"
    if version == "0.4":
        return "0.4"
    raise InputError(f"OME-Zarr {version!r} was asked for: 0.5 and 0.4 can be written.")
