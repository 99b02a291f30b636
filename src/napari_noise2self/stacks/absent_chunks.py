"""Which chunks and shards a Zarr on the disk lacks: zarr reads them as a constant."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_noise2self.stacks.lazy import told_or_refused
from napari_noise2self.stacks.reading_tiff import cut_off

# How the index of a shard is written by all that is known to write shards: as it is, and with or
# without a checksum of 4 bytes.
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_CHECKSUMS = {(): 0, ("crc32c",): 4}
# What stands there for a chunk that is not in the shard.
_NOWHERE = np.iinfo(np.uint64).max


def absent_chunks(array: Any, where: str, empty_chunks: bool) -> list[str]:
    """Refuse a local array that lacks pieces, or say how many are taken as empty.

    Parameters
    ----------
    array : zarr.Array
    where : str
        Its Zarr, as errors name it.
    empty_chunks : bool
        Whether pieces that are not there are taken as empty.

    Returns
    -------
    notices : list of str

    Raises
    ------
    InputError
        If some are not there, or a shard was cut off.
    """
    filled = array.fill_value or 0
    counts = _counts(array.shape, array.shards or array.chunks)
    root = Path(str(getattr(array.store, "root", "")), array.path)
    present = {
        Path(folder, file).relative_to(root).as_posix()
        for folder, _, files in os.walk(root)
        for file in files
    }
    keys = {at: array.metadata.encode_chunk_key(at) for at in np.ndindex(*counts)}
    absent = [key for key in keys.values() if key not in present]
    notices = []
    if absent:
        kind = "shards" if array.shards else "chunks"
        lacks = f"{where} lacks {len(absent)} of its {len(keys)} {kind} (first: {absent[0]})"
        notices.append(told_or_refused(lacks, filled, empty_chunks))
    if array.shards:
        shards = {at: root / key for at, key in keys.items() if key in present}
        inside = list(_absent_inside(array, shards))
        if inside:
            number = math.prod(_counts(array.shape, array.chunks))
            lacks = f"{where} lacks {len(inside)} of its {number} chunks (first: {inside[0]})"
            notices.append(told_or_refused(lacks, filled, empty_chunks))
    return notices


def _counts(shape: tuple[int, ...], pieces: tuple[int, ...]) -> list[int]:
    return [math.ceil(n / size) for n, size in zip(shape, pieces, strict=True)]


def _absent_inside(array: Any, shards: Mapping[tuple[int, ...], Path]) -> Iterator[str]:
    """The chunks that are in none of these shards, as errors name them."""
    said = array.metadata.to_dict()["codecs"][0]["configuration"]
    first, *rest = said["index_codecs"]
    checksum = _CHECKSUMS.get(tuple(codec["name"] for codec in rest))
    if first != _BYTES or checksum is None:
        return  # no way to know
    counts = _counts(array.shape, array.chunks)
    per_shard = _counts(array.shards, array.chunks)
    size = 16 * math.prod(per_shard)
    for at, path in shards.items():
        length = path.stat().st_size
        place = length - size - checksum if said["index_location"] == "end" else 0
        if place < 0 or length < size + checksum:
            raise cut_off(str(path))
        with path.open("rb") as file:
            file.seek(place)
            index = np.frombuffer(file.read(size), "<u8").reshape(*per_shard, 2)
        begin, bytes_ = index[..., 0], index[..., 1]
        absent = (begin == _NOWHERE) & (bytes_ == _NOWHERE)
        if (begin[~absent] > length).any() or (bytes_[~absent] > length).any():
            raise cut_off(str(path))
        # At the edge a shard reaches beyond the image.
        corner = [a * n for a, n in zip(at, per_shard, strict=True)]
        edge = tuple(slice(n - a) for n, a in zip(counts, corner, strict=True))
        for inner in np.argwhere(absent[edge]):
            chunk = "/".join(str(a + i) for a, i in zip(corner, inner, strict=True))
            yield f"{chunk} in the shard {array.metadata.encode_chunk_key(at)}"
