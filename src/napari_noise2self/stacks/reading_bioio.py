"""The formats of microscopes in, through bioio and its plug-ins: CZI, ND2, LIF and many more."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import axes as known
from napari_noise2self.stacks.lazy import Indexed
from napari_noise2self.stacks.reading_choice import choose
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.tiff_metadata import in_unit

# The plug-in for each format; all others are read by Bio-Formats, which brings Java.
_PLUGINS = {
    ".czi": "bioio-czi",
    ".nd2": "bioio-nd2",
    ".lif": "bioio-lif",
    ".dv": "bioio-dv",
    ".r3d": "bioio-dv",
    ".sldy": "bioio-sldy",
    ".gif": "bioio-imageio",
    ".jpg": "bioio-imageio",
    ".jpeg": "bioio-imageio",
    ".bmp": "bioio-imageio",
}
_OTHERS = "bioio-bioformats"
# What bioio calls channels and images that have no name.
_MADE_UP = re.compile(r"(Channel|Image):\d+(:\d+)*")


def read_bioio(path: Path, axes: str | None = None, image: str | None = None) -> Stack:
    """Read a file of any format that bioio has a plug-in for, lazily.

    Parameters
    ----------
    path : Path
    axes : str, optional
        Letters that overrule the metadata.
    image : str, optional
        The number, from 1, or the name of one of several images, which bioio
        calls scenes; by default the first.

    Returns
    -------
    stack : Stack

    Raises
    ------
    InputError
        If bioio or the plug-in is not installed, the file is damaged, or there is no such image.
    """
    try:
        from bioio.plugins import get_plugins
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ImportError as error:
        raise InputError(
            f"{path} has the ending {path.suffix!r}: TIFF, OME-Zarr, PNG and NPY can be read; for "
            f'the formats of microscopes, pip install "napari-noise2self[bioio]".'
        ) from error
    ending = path.suffix.lower()
    notices: list[str] = []
    try:
        # Plug-ins warn of what they do not know: then it is unknown here too.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = _opened(path)
            scenes = ["" if _MADE_UP.fullmatch(name) else name for name in map(str, opened.scenes)]
            number, label = choose(path, scenes, image, notices)
            if number:
                opened.set_scene(number)
            sizes = {letter: _size(opened, letter) for letter in "TZYX"}
            if ending == ".lif" and sizes["T"][0] is None:
                sizes["T"] = _lif_interval(opened)
    except UnsupportedFileFormatError as error:
        if ending in get_plugins(use_cache=True):
            raise InputError(f"{path} is damaged, or no {ending[1:].upper()} file.") from error
        plugin = _PLUGINS.get(ending, _OTHERS)
        raise InputError(
            f"{path} has the ending {path.suffix!r}, for which bioio has no plug-in here: pip "
            f"install {plugin}, if it is an image."
        ) from error
    data: Any = opened.dask_data
    if not data.size:
        raise InputError(f"{path} holds no pixels: nothing was recorded, or not to its end.")
    letters = str(opened.dims.order)
    names = tuple(str(name) for name in opened.channel_names or ())
    if any(_MADE_UP.fullmatch(name) for name in names):
        names = ()
    # bioio gives all of TCZYX: what has the length 1 was added by it, or says nothing.
    kept = [n > 1 or letter in "YX" for letter, n in zip(letters, data.shape, strict=True)]
    data = data[tuple(slice(None) if keep else 0 for keep in kept)]
    letters = "".join(letter for letter, keep in zip(letters, kept, strict=True) if keep)
    found = known.from_tifffile(letters, "the file")
    scale, units = zip(*(sizes.get(a, (None, None)) for a in found.letters), strict=True)
    channels = data.shape[letters.index("C")] if "C" in letters else 1
    guess = found.notice(data.shape)
    ome = _ome_image(opened, number)
    colours = _colours(ome)
    places = _places(ome, sizes)
    stack = Stack(
        Indexed(data, str(path), data.chunksize),
        found.letters,
        scale=scale,
        units=units,
        translate=tuple(map(places.get, found.letters)) if places else None,
        name=path.stem + label,
        channel_names=names if len(names) == channels else None,
        channel_colors=colours if len(colours) == channels else None,
        notices=(*notices, guess) if guess and axes is None else tuple(notices),
        guessed=found.guessed,
        axes_source=found.source,
    )
    return stack if axes is None else stack.with_axes(axes)


def _opened(path: Path) -> Any:
    """The file as bioio has it, so that a plane is read alone if its plug-in can do that."""
    from bioio import BioImage

    # What a plug-in could not open is in the error; without a handler it would be printed too.
    logger = logging.getLogger("bioio")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    try:
        return BioImage(path, chunk_dims=["Y", "X"])
    except TypeError:
        return BioImage(path)


def _ome_image(image: Any, number: int) -> Any:
    """What is said of the image in the model of OME, if its plug-in has made that anyway.

    It is not asked for: that of CZI changes the working directory on its way there.
    """
    ome = image.xarray_dask_data.attrs.get("processed")
    images = getattr(ome, "images", ())
    return images[number] if len(images) == len(image.scenes) else None


def _colours(ome: Any) -> tuple[str, ...]:
    """One per channel, none where one is not told."""
    channels = () if ome is None else ome.pixels.channels
    # A colour that nobody set is white.
    if not all("color" in channel.model_fields_set for channel in channels):
        return ()
    rgb = [channel.color.as_rgb_tuple(alpha=False) for channel in channels]
    return tuple("#" + bytes(colour).hex() for colour in rgb)


def _places(ome: Any, sizes: Mapping[str, tuple[float | None, str | None]]) -> dict[str, float]:
    """Where the first plane lies, in the unit of its pixels."""
    planes = () if ome is None else ome.pixels.planes
    first = next((p for p in planes if p.the_t == p.the_c == p.the_z == 0), None)
    if first is None:
        return {}
    places: dict[str, float] = {}
    for letter in "XYZ":
        place = getattr(first, f"position_{letter.lower()}")
        unit = getattr(first, f"position_{letter.lower()}_unit")
        place = in_unit(place, unit and unit.value, sizes[letter][1])
        if place and math.isfinite(place):
            places[letter] = place
    return places


def _lif_interval(image: Any) -> tuple[float | None, str | None]:
    """Time between two frames, which the plug-in for LIF has as the places of frames in seconds."""
    times = image.xarray_dask_data.coords.get("T", ())
    seconds = float(times[1] - times[0]) if len(times) > 1 else 0.0
    return (seconds, "s") if seconds > 0 else (None, None)


def _size(image: Any, letter: str) -> tuple[float | None, str | None]:
    """Distance of two pixels; bioio has micrometres, and time as a duration."""
    if letter == "T":
        interval = getattr(image, "time_interval", None)
        seconds = interval.total_seconds() if interval is not None else 0
        return (seconds, "s") if seconds > 0 else (None, None)
    sizes = image.physical_pixel_sizes
    size = getattr(sizes, letter, None)
    # Some plug-ins say 1 for what they do not know.
    if not size or (sizes.Y == sizes.X == 1 and sizes.Z in (None, 1)):
        return None, None
    return abs(float(size)), "µm"
