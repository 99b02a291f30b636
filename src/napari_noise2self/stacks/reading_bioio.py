"""The formats of microscopes in, through bioio and its plug-ins: CZI, ND2, LIF and many more."""

from __future__ import annotations

import logging
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
        from bioio import BioImage
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ImportError as error:
        raise InputError(
            f"{path} has the ending {path.suffix!r}: TIFF, OME-Zarr, PNG and NPY can be read; for "
            f'the formats of microscopes, pip install "napari-noise2self[bioio]".'
        ) from error
    logging.getLogger("bioio").setLevel(logging.ERROR)  # what it tries is nobody's concern
    try:
        image = BioImage(path)
    except UnsupportedFileFormatError as error:
        plugin = _PLUGINS.get(path.suffix.lower(), _OTHERS)
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
    # bioio gives all of TCZYX: what has the length 1 was added by it, or says nothing.
    kept = [n > 1 or letter in "YX" for letter, n in zip(letters, data.shape, strict=True)]
    data = data[tuple(slice(None) if keep else 0 for keep in kept)]
    letters = "".join(letter for letter, keep in zip(letters, kept, strict=True) if keep)
    found = known.from_tifffile(letters, "the file")
    scale, units = zip(*(_size(image, letter) for letter in found.letters), strict=True)
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


def _size(image: Any, letter: str) -> tuple[float | None, str | None]:
    """Distance of two pixels; bioio has micrometres, and time as a duration."""
    if letter == "T":
        interval = getattr(image, "time_interval", None)
        seconds = interval.total_seconds() if interval is not None else 0
        return (seconds, "s") if seconds > 0 else (None, None)
    size = getattr(image.physical_pixel_sizes, letter, None) if letter in "ZYX" else None
    return (abs(float(size)), "µm") if size else (None, None)
