"""The formats of microscopes in, through bioio and its plug-ins: CZI, ND2, LIF and many more."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import axes as known
from napari_noise2self.stacks.lazy import Indexed
from napari_noise2self.stacks.stack import Stack

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
# What bioio calls channels that have no name.
_MADE_UP = re.compile(r"Channel:\d+(:\d+)*")


def read_bioio(path: Path, axes: str | None = None) -> Stack:
    """Read a file of any format that bioio has a plug-in for, lazily.

    Parameters
    ----------
    path : Path
    axes : str, optional
        Letters that overrule the metadata.

    Returns
    -------
    stack : Stack
        The first scene.

    Raises
    ------
    InputError
        If bioio or the plug-in is not installed, or the file is damaged.
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
    try:
        # Plug-ins warn of what they do not know: then it is unknown here too.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _opened(path)
            sizes = {letter: _size(image, letter) for letter in "TZYX"}
    except UnsupportedFileFormatError as error:
        if ending in get_plugins(use_cache=True):
            raise InputError(f"{path} is damaged, or no {ending[1:].upper()} file.") from error
        plugin = _PLUGINS.get(ending, _OTHERS)
        raise InputError(
            f"{path} has the ending {path.suffix!r}, for which bioio has no plug-in here: pip "
            f"install {plugin}, if it is an image."
        ) from error
    notices = []
    if len(image.scenes) > 1:
        notices.append(f"{path} holds {len(image.scenes)} images: the first is used.")
    data: Any = image.dask_data
    letters = str(image.dims.order)
    names = tuple(str(name) for name in image.channel_names or ())
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
    stack = Stack(
        Indexed(data, str(path), data.chunksize),
        found.letters,
        scale=scale,
        units=units,
        name=path.stem,
        channel_names=names if len(names) == channels else None,
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
