"""Zarr in: OME-Zarr of all versions in use, and plain arrays; local and remote."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import axes as known
from napari_noise2self.stacks.absent_chunks import absent_chunks
from napari_noise2self.stacks.axes import Axes
from napari_noise2self.stacks.lazy import Indexed
from napari_noise2self.stacks.natural import natural
from napari_noise2self.stacks.stack import Stack, colour_code
from napari_noise2self.stacks.zarr_folder import is_zarr


def read_zarr(
    location: Path | str, axes: str | None = None, *, empty_chunks: bool = False
) -> Stack:
    """Read an image of a Zarr, lazily.

    Parameters
    ----------
    location : Path or str
        A folder, or the address (https://, s3://) of one elsewhere.  It may
        be a group or an array inside of a Zarr.
    axes : str, optional
        Letters that overrule the metadata.
    empty_chunks : bool
        Whether chunks that are not there are taken as empty, and on the disk only told.

    Returns
    -------
    stack : Stack
        The full resolution of the first image.

    Raises
    ------
    InputError
        If there is none, its metadata do not fit it, or chunks of it are not
        on the disk.  At an address chunks are missed when they are read.
    """
    where = str(location)
    notices: list[str] = []
    image = _image_in(_opened(location), location, notices)
    array, where = image.array, image.where
    _check_type(array, where)
    found = image.axes()
    if len(found.letters) != array.ndim:
        if axes is None:
            raise InputError(
                f"The metadata of {where} name the axes {found.letters}, but its array has the "
                f"shape {array.shape}: name the axes yourself (--axes in the terminal)."
            )
        found = known.from_shape(array.ndim)
    data = Indexed(array, where, array.chunks)
    if isinstance(location, Path):
        notices.extend(absent_chunks(array, where, empty_chunks))
    elif not empty_chunks:
        from napari_noise2self.stacks.remote_zarr import Watched

        data = Watched(array, where)
    if axes is None and (guess := found.notice(array.shape)):
        notices.append(guess)
    sizes, places = image.transformation()
    units = image.units()
    names, colours = image.channels(found.letters)
    stack = Stack(
        data,
        found.letters,
        # A size of 1 without a unit is what is written where no size is known.
        scale=tuple(None if s == 1 and not u else s for s, u in zip(sizes, units, strict=True)),
        units=tuple(units),
        name=_name(where),
        channel_names=names,
        channel_colors=colours,
        translate=tuple(places) if any(places) else None,
        notices=tuple(notices),
        guessed=found.guessed,
        axes_source=found.source,
    )
    return stack if axes is None else stack.with_axes(axes)


@dataclass(frozen=True)
class _Image:
    """An array and what is said about it.

    Attributes
    ----------
    array : zarr.Array
    where : str
        Its Zarr, as errors name it.
    meta : dict
        The OME metadata of the image; empty where there are none.
    path : str
        The level of them that the array is.
    """

    array: Any
    where: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""

    @property
    def scales(self) -> Mapping[str, Any]:
        """The first multiscale image of the metadata."""
        return self.meta["multiscales"][0] if self.meta else {}

    def axes(self) -> Axes:
        """Those of OME, the names that zarr or xarray keep, or a guess."""
        if self.meta:
            return known.from_ngff(self.scales.get("axes"), self.array.ndim)
        names: Sequence[str | None] | None = getattr(self.array.metadata, "dimension_names", None)
        names = names or self.array.attrs.get("_ARRAY_DIMENSIONS")
        if names and len(names) == self.array.ndim:
            return known.from_labels(names, "the names of the array's dimensions")
        return known.from_shape(self.array.ndim)

    def units(self) -> list[str | None]:
        """The unit of each axis."""
        axes = self.scales.get("axes") or ()
        if len(axes) != self.array.ndim:
            return [None] * self.array.ndim
        return [
            str(axis["unit"]) if isinstance(axis, Mapping) and axis.get("unit") else None
            for axis in axes
        ]

    def transformation(self) -> tuple[list[float | None], list[float | None]]:
        """Size and place of the first pixel, by what the level and then all levels say."""
        ndim = self.array.ndim
        if not self.meta:
            return [None] * ndim, [None] * ndim
        size, place = np.ones(ndim), np.zeros(ndim)
        level = next(d for d in self.scales["datasets"] if str(d.get("path")) == self.path)
        for said in (level, self.scales):
            for step in said.get("coordinateTransformations") or ():
                values = step.get(step.get("type"))
                if not isinstance(values, Sequence) or len(values) != ndim:
                    continue
                if step["type"] == "scale":
                    size, place = size * values, place * values
                elif step["type"] == "translation":
                    place = place + values
        good = np.isfinite(size) & (size > 0)
        return (
            [float(s) if ok else None for s, ok in zip(size, good, strict=True)],
            [float(p) if math.isfinite(p) else None for p in place],
        )

    def channels(self, axes: str) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        """Names and colours; none of a kind where one lacks or their number is wrong."""
        channels = (self.meta.get("omero") or {}).get("channels") or ()
        if len(channels) != (self.array.shape[axes.index("C")] if "C" in axes else 1):
            return None, None
        names = tuple(str(channel.get("label") or "") for channel in channels)
        try:
            colours = tuple(colour_code(str(channel.get("color"))) for channel in channels)
        except InputError:
            colours = ()
        return (names if all(names) else None), (colours or None)


def _opened(location: Path | str) -> Any:
    import zarr

    if isinstance(location, Path):
        if not is_zarr(location):
            raise InputError(
                f"{location} is no OME-Zarr: there is no zarr.json, .zgroup or .zarray in it."
            )
        return zarr.open(location, mode="r")
    from napari_noise2self.stacks.remote_zarr import open_remote

    return open_remote(location)


def _is_array(node: Any) -> bool:
    return hasattr(node, "chunks")


def _metadata(group: Any) -> dict[str, Any]:
    """The OME metadata of a group; since version 0.5 they have a key of their own."""
    attributes = dict(group.attrs)
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def _image_in(node: Any, location: Path | str, notices: list[str]) -> _Image:
    """The image that somebody who gives this group or array means."""
    where = str(location)
    if _is_array(node):
        return _level(node, location) or _Image(node, where)
    meta = _metadata(node)
    if meta.get("multiscales"):
        return _full_resolution(node, where, notices)
    if "plate" in meta:
        raise InputError(
            f"{where} is a plate of {len(meta['plate'].get('wells', []))} wells: give one image "
            f"of it, such as {where}/A/1/0."
        )
    images = [path for path in _series(node, meta) if path in node]
    if len(images) > 1:
        notices.append(
            f"{where} holds {len(images)} images: the first is used; give {where}/{images[1]} "
            f"for the next."
        )
    if images:
        return _full_resolution(node[images[0]], f"{where}/{images[0]}", notices)
    # Not OME: a group with one array is still one image.
    arrays = sorted(node.array_keys(), key=natural) if node.store.supports_listing else []
    if len(arrays) == 1:
        return _Image(node[arrays[0]], f"{where}/{arrays[0]}")
    if arrays:
        raise InputError(
            f"{where} holds {len(arrays)} arrays without OME metadata: give one of them, such as "
            f"{where}/{arrays[0]}."
        )
    raise InputError(f"{where} holds no image: it is a Zarr without an array at this place.")


def _level(array: Any, location: Path | str) -> _Image | None:
    """An array as a level of the image that it lies in, if it does."""
    if isinstance(location, Path):
        parent: Path | str = location.parent
        name = location.name
        if not is_zarr(location.parent):
            return None
    else:
        parent, _, name = location.rpartition("/")
    try:
        node = _opened(parent)
    except (InputError, OSError):
        return None  # it stands alone
    meta = {} if _is_array(node) else _metadata(node)
    for scales in meta.get("multiscales") or ():
        if any(str(level.get("path")) == name for level in scales.get("datasets", ())):
            return _Image(array, str(location), {**meta, "multiscales": [scales]}, name)
    return None


def _series(group: Any, meta: Mapping[str, Any]) -> list[str]:
    """The paths of several images in one container, in order."""
    if "well" in meta:
        return [str(image["path"]) for image in meta["well"].get("images", ())]
    listed = _metadata(group["OME"]).get("series") if "OME" in group else None
    if listed:
        return [str(path) for path in listed]
    if group.store.supports_listing:
        children = sorted(group.group_keys(), key=natural)
        return [path for path in children if _metadata(group[path]).get("multiscales")]
    if "bioformats2raw.layout" in meta:
        return list(itertools.takewhile(lambda path: path in group, map(str, itertools.count())))
    return []


def _full_resolution(group: Any, where: str, notices: list[str]) -> _Image:
    """The first level of the first image in a group, which is the largest."""
    meta = _metadata(group)
    scales = meta.get("multiscales")
    if not scales:
        raise InputError(f"{where} has no OME metadata: the image is not there.")
    if len(scales) > 1:
        paths = [str(level.get("path", "")) for level in scales[1].get("datasets", [])]
        way = f"; give {where}/{paths[0]} for the next" if paths else ""
        notices.append(f"{where} holds {len(scales)} images: the first is used{way}.")
    levels = [str(level.get("path", "")) for level in scales[0].get("datasets", [])]
    if not levels or levels[0] not in group or not _is_array(group[levels[0]]):
        named = f"the array {levels[0]!r}, but it is missing" if levels else "no array"
        raise InputError(f"The metadata of {where} name {named}: the image is incomplete.")
    return _Image(group[levels[0]], where, meta, levels[0])


def _check_type(array: Any, where: str) -> None:
    if np.dtype(array.dtype).kind not in "biufc":
        raise InputError(f"{where} holds {array.dtype} and no numbers: it is not an image.")


def _name(where: str) -> str:
    """What the image is called: its Zarr, and the path inside of it if there is one."""
    parts = [part for part in where.replace("\\", "/").split("/") if part]
    for number, part in reversed(list(enumerate(parts))):
        stem = part.removesuffix(".zarr").removesuffix(".ome")
        if stem != part:
            return "_".join([stem, *parts[number + 1 :]])
    return parts[-1]
