"""TIFF in: OME-TIFF in one file or many, ImageJ hyperstacks, pyramids, BigTIFF, and others.

The pages are found and checked when a file is opened; their pixels are read where the image is
indexed.  tifffile's own lazy store is not used: it holds the file open, cannot be sent to another
process, and decodes in the one thread that also serves the Zarr that a result is written to.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import axes as known
from napari_noise2self.stacks.lazy import (
    InMemory,
    Joined,
    LazyArray,
    Raw,
    Region,
    View,
    told_or_refused,
)
from napari_noise2self.stacks.reading_choice import choose
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.tiff_metadata import (
    Calibration,
    calibration,
    complaints_kept,
    described_in,
    files_beside,
)

# Tiles are best read in groups of about this side.
_SIDE = 1024
# From so many pieces on, threads decode them.
_MANY = 4
# Who told the axes, by what tifffile calls the kind of the file.
_SOURCES = {
    "ome": "the OME metadata",
    "imagej": "the ImageJ metadata",
    "lsm": "the LSM metadata",
}


def read_tiff(
    path: Path,
    axes: str | None = None,
    image: str | None = None,
    *,
    empty_chunks: bool = False,
) -> Stack:
    """Read a TIFF, lazily.

    Parameters
    ----------
    path : Path
    axes : str, optional
        Letters that overrule the metadata.
    image : str, optional
        The number, from 1, or the name of one of several images; by default the first.
    empty_chunks : bool
        Whether planes that are not there are taken as empty, and only told.

    Returns
    -------
    stack : Stack
        In full resolution.

    Raises
    ------
    InputError
        If it is no TIFF, was cut off, lacks planes or the files that hold
        them, or holds no image, or none that is called so.
    """
    import tifffile

    notices: list[str] = []
    with complaints_kept() as complaints, tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise InputError(f"{path} has no image.")
        names = [str(one.name or "") for one in tiff.series]
        number, label = choose(path, names, image, notices, _first_here(tiff))
        series = tiff.series[number]
        data, absent = _pixels(path, series)
        lacks = _absent_planes(path, series, absent, tiff.ome_metadata or "") if absent else ""
        said = calibration(tiff, number)
        page = series.keyframe
        letters = series.axes
        transparent = page.photometric == tifffile.PHOTOMETRIC.RGB and any(
            kind in (1, 2) for kind in page.extrasamples
        )
        if tiff.is_ome and series.kind != "ome":
            notices.append(_not_described(path, described_in(tiff.ome_metadata or "")))
        source = _SOURCES.get(series.kind, "the file")
    _raise_if_damaged(complaints, path)
    if lacks:
        notices.append(told_or_refused(lacks, 0, empty_chunks))
    if transparent and letters.endswith("S") and data.shape[-1] in (2, 4):
        data, letters = _without_alpha(data, letters, path, notices)
    found = known.from_tifffile(letters, source)
    name = path.name.removesuffix(path.suffix).removesuffix(".ome") + label
    return stacked(data, found, said, name, notices, axes)


def stacked(
    data: Any,
    found: known.Axes,
    said: Calibration,
    name: str,
    notices: Sequence[str],
    axes: str | None,
) -> Stack:
    """The stack of an array and what its file says."""
    known_sizes = [said.sizes.get(letter) for letter in found.letters]
    channels = data.shape[found.letters.index("C")] if "C" in found.letters else 1
    guess = found.notice(data.shape)
    stack = Stack(
        data,
        found.letters,
        scale=tuple(size and size[0] for size in known_sizes),
        units=tuple(size and size[1] for size in known_sizes),
        translate=tuple(map(said.places.get, found.letters)) if said.places else None,
        name=name,
        channel_names=said.names if len(said.names) == channels else None,
        channel_colors=said.colours if len(said.colours) == channels else None,
        notices=(*notices, guess) if guess and axes is None else tuple(notices),
        guessed=found.guessed,
        axes_source=found.source,
    )
    return stack if axes is None else stack.with_axes(axes)


@dataclass
class Decoder:
    """What decodes the pieces of pages of one kind.

    It is made anew from the file where it is needed first: decoders of
    tifffile cannot be sent to another process, and hold all that was read of the file.

    Attributes
    ----------
    path : str
    offset : int
        Where the page is described that stands for all of this kind.
    index : tuple of int
        Its number.
    """

    path: str
    offset: int
    index: tuple[int, ...]
    _page: Any = field(default=None, repr=False, compare=False)

    @property
    def page(self) -> Any:
        """The page that stands for all."""
        if self._page is None:
            import tifffile

            with complaints_kept(), tifffile.TiffFile(self.path) as tiff:
                tiff.filehandle.seek(self.offset)
                page = tifffile.TiffPage(tiff, index=self.index)
                _ = page.decode, page.jpegheader  # kept by the page; JPEG looks into the file
                self._page = page
        return self._page

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_page": None}


class Page(LazyArray):
    """A page in pieces, which are strips or tiles; only those that are needed are decoded.

    Parameters
    ----------
    path : str
    decoder : Decoder
        Of pages of its kind.
    axes : str
        Letters of the page.
    shape : sequence of int
    dtype : data type
    offsets, counts : ndarray of int
        Where the pieces lie in the file, and their bytes.
    tables : bytes, optional
        What JPEG pieces share.
    chunks : sequence of int, optional
        What is best read at once; by default all of it.
    """

    def __init__(
        self,
        path: str,
        decoder: Decoder,
        axes: str,
        shape: Sequence[int],
        dtype: Any,
        offsets: NDArray[np.int64],
        counts: NDArray[np.int64],
        tables: bytes | None = None,
        chunks: Sequence[int] | None = None,
    ) -> None:
        super().__init__(shape, dtype, path, chunks or shape)
        self._decoder = decoder
        self._axes = axes
        self._offsets = offsets
        self._counts = counts
        self._tables = tables

    @property
    def end(self) -> int:
        """Where its last piece ends in the file."""
        return int((self._offsets + self._counts).max(initial=0))

    def _read(self, region: Region) -> NDArray[Any]:
        page = self._decoder.page
        # All pages have five axes to their decoders: separate samples, Z, Y, X, samples.
        places = [range(1)] * 5
        order = {"Z": 1, "Y": 2, "X": 3}
        for axis, (letter, asked) in enumerate(zip(self._axes, region, strict=True)):
            places[order.get(letter, 0 if axis == 0 else 4)] = asked
        out = np.full([max(r.stop - r.start, 1) for r in places], page.nodata, self.dtype)
        wanted = self._needed(page, places)
        settings = {}
        if page.compression in (6, 7, 34892, 33007):  # the kinds of JPEG
            settings = {"jpegtables": self._tables, "jpegheader": page.jpegheader}

        def decode(piece: tuple[bytes | None, int]) -> None:
            values, at, _ = page.decode(*piece, **settings)
            if values is not None:
                _paste(out, values[None], [a - r.start for a, r in zip(at, places, strict=True)])

        pieces = self._bytes(wanted)
        if len(wanted) < _MANY or page.compression == 1:
            for piece in pieces:
                decode(piece)
        else:
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
                # A few at a time: all bytes of a large page need not be in memory.
                while batch := list(itertools.islice(pieces, 32)):
                    list(threads.map(decode, batch))
        steps = tuple(slice(None, None, r.step) for r in places)
        return out[steps].reshape([len(r) for r in region])

    def _needed(self, page: Any, places: Sequence[range]) -> list[int]:
        """The numbers of the pieces that hold something of these places."""
        _, depth, length, width, _ = page.shaped
        size = (
            (page.tiledepth, page.tilelength, page.tilewidth)
            if page.is_tiled
            else (1, page.rowsperstrip, width)
        )
        counts = [math.ceil(n / s) for n, s in zip((depth, length, width), size, strict=True)]
        spans = [
            range(wanted.start // s, (wanted.stop - 1) // s + 1)
            for wanted, s in zip(places[1:4], size, strict=True)
        ]
        numbers = np.ravel_multi_index(
            np.ix_(range(places[0].start, places[0].stop), *spans),
            (page.shaped[0], *counts),
        )
        return [int(number) for number in numbers.ravel()]

    def _bytes(self, wanted: Sequence[int]) -> Iterator[tuple[bytes | None, int]]:
        """The encoded pieces, in the order of the file."""
        with Path(self.source).open("rb") as file:
            for number in sorted(wanted, key=lambda n: int(self._offsets[n])):
                offset, count = int(self._offsets[number]), int(self._counts[number])
                if not offset or not count:
                    yield None, number  # left out where there is nothing
                    continue
                file.seek(offset)
                content = file.read(count)
                if len(content) < count:
                    raise cut_off(self.source)
                yield content, number


def _paste(out: NDArray[Any], values: NDArray[Any], at: Sequence[int]) -> None:
    """Put a piece where it belongs, as far as it lies inside."""
    inside = [slice(max(a, 0), max(min(a + n, m), 0)) for a, n, m in _spans(at, values, out)]
    taken = [slice(max(-a, 0), max(min(n, m - a), 0)) for a, n, m in _spans(at, values, out)]
    out[tuple(inside)] = values[tuple(taken)]


def _spans(at: Sequence[int], values: NDArray[Any], out: NDArray[Any]) -> Any:
    return zip(at, values.shape, out.shape, strict=True)


def cut_off(source: str) -> InputError:
    """The error of a file that is shorter than it should be."""
    return InputError(f"{source} is damaged or was cut off: parts of the image are missing.")


def _pixels(path: Path, series: Any) -> tuple[LazyArray, list[int]]:
    """The pixels of a series, checked to be there, and the numbers of its planes that are not."""
    offset = series.dataoffset
    page = series.keyframe
    stored = np.dtype(page.parent.byteorder + series.dtype.char)
    if offset is not None and series.transform is None:
        raw = Raw(Path(page.parent.filehandle.path), stored, series.shape, offset)
        if series.axes.endswith("S"):
            raw.chunks = (1,) * (series.ndim - 3) + series.shape[-3:]
        if raw.end > Path(raw.source).stat().st_size:
            raise cut_off(raw.source)
        return raw, []
    pages = list(series.pages)
    lead = series.shape[: series.ndim - page.ndim]
    if (
        series.shape[len(lead) :] != page.shape
        or math.prod(lead) != len(pages)
        or series.transform is not None
    ):
        # Pages that are no planes of the image: no file is known to be large and like this.
        return InMemory(series.asarray(), str(path)), []
    images: list[LazyArray | None] = []
    decoders: dict[int, Decoder] = {}
    sizes: dict[str, int] = {}
    for one in pages:
        if one is None or not len(one.dataoffsets):
            images.append(None)
            continue
        image = _page(one, decoders)
        images.append(image)
        if image.source not in sizes:
            sizes[image.source] = Path(image.source).stat().st_size
        if image.end > sizes[image.source]:
            raise cut_off(image.source)
    if all(image is None for image in images):
        raise InputError(f"{path} has no image.")
    only = images[0]
    if len(images) == 1 and not lead and only is not None:
        return only, []
    absent = [number for number, image in enumerate(images) if image is None]
    return Joined(images, lead, str(path)), absent


def _first_here(tiff: Any) -> int:
    """The number of the first image with a plane in this file; OME-TIFF may describe others."""
    if not tiff.is_ome or len(tiff.series) == 1:
        return 0
    here = (
        any(page is not None and page.parent is tiff for page in one.pages) for one in tiff.series
    )
    return next((number for number, lies_here in enumerate(here) if lies_here), 0)


def _not_described(path: Path, other: str | None) -> str:
    """In words why the OME metadata of a file say nothing of its axes."""
    if other is None:
        return f"The OME metadata of {path} do not fit its pages: the axes were taken from those."
    way = "give that one for all of it"
    if not other.lower().endswith((".tif", ".tiff", ".btf")):
        way = "that is no TIFF and is not read, so sizes and channels are not known"
    return f"{path} is a part of an image that {other} describes: {way}."


def _absent_planes(path: Path, series: Any, absent: Sequence[int], xml: str) -> str:
    """In words how many planes are not there, the first of them, and the first such file."""
    lead = series.shape[: series.ndim - series.keyframe.ndim]
    at = np.unravel_index(absent[0], lead)
    first = " ".join(f"{letter}{n}" for letter, n in zip(series.axes, at, strict=False))
    files = [name for name in files_beside(xml) if not (path.parent / name).exists()]
    beside = f"; {files[0]} is not beside it" if files else ""
    return f"{path} lacks {len(absent)} of its {math.prod(lead)} planes (first: {first}{beside})"


def _page(page: Any, decoders: dict[int, Decoder]) -> Raw | Page:
    """One page: a piece of the file as it is, or in pieces to be decoded."""
    kind = page.keyframe
    path = str(page.parent.filehandle.path)
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    in_one_piece = len(offsets) == 1 or (
        len(offsets) == len(counts) and (offsets[:-1] + counts[:-1] == offsets[1:]).all()
    )
    if kind.is_final and in_one_piece:
        stored = np.dtype(page.parent.byteorder + kind.dtype.char)
        return Raw(Path(path), stored, kind.shape, int(offsets[0]))
    decoder = decoders.get(id(kind))
    if decoder is None:
        decoder = Decoder(str(kind.parent.filehandle.path), kind.offset, kind.treeindex)
        decoders[id(kind)] = decoder
    tables = page.jpegtables if kind.compression in (6, 7, 34892, 33007) else None
    chunks = None
    if kind.is_tiled:
        tile = {"Y": kind.tilelength, "X": kind.tilewidth, "Z": kind.tiledepth}
        chunks = [
            tile[letter] * max(_SIDE // tile[letter], 1) if letter in tile else n
            for letter, n in zip(kind.axes, kind.shape, strict=True)
        ]
    return Page(path, decoder, kind.axes, kind.shape, kind.dtype, offsets, counts, tables, chunks)


def _without_alpha(
    data: LazyArray, letters: str, path: Path, notices: list[str]
) -> tuple[LazyArray, str]:
    """The image without its last sample, told if it held something.

    The first plane speaks for all: those of a large stack are not read for this.
    """
    first = data[(0,) * (data.ndim - 3)]
    alpha = first[..., -1]
    if (alpha != alpha.flat[0]).any():
        notices.append(f"The transparency of {path} was left out.")
    colours = data.shape[-1] - 1
    samples: int | slice = 0 if colours == 1 else slice(0, colours)
    left = View(data, (*[slice(None)] * (data.ndim - 1), samples))
    return left, letters if colours > 1 else letters[:-1]


def _raise_if_damaged(complaints: list[logging.LogRecord], path: Path) -> None:
    for record in complaints:
        message = record.getMessage()
        # Tags of vendors are often faulty and seldom needed; 270 is the description.
        harmless = "TiffTag" in message and "TiffTag 270" not in message
        # Metadata that cannot be understood; the pages are read as they are.
        harmless |= "OME series raised" in message
        if record.levelno >= logging.ERROR and not harmless:
            raise cut_off(str(path))
