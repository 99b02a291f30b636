"""Zarr at an address: how it is opened, and that a chunk that is not there is not read as empty."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.lazy import Indexed, Region, told_or_refused

# The packages of the extra "remote", by the beginning of the address.
_NEEDS = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs"}
# All other keys are those of chunks and shards.
_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


def open_remote(address: str) -> Any:
    """The group or array at an address.

    Parameters
    ----------
    address : str
        It begins with ``http://``, ``https://`` or ``s3://``.

    Returns
    -------
    node : zarr.Group or zarr.Array

    Raises
    ------
    InputError
        If there is none, it may not be read, or a package is missing.
    """
    scheme = urlsplit(address).scheme
    try:
        return _opened(address, scheme)
    except ImportError as error:
        raise InputError(
            f"Reading {scheme}:// needs the package {_NEEDS.get(scheme, error.name)}: "
            f'pip install "napari-noise2self[remote]".'
        ) from error
    except PermissionError as error:
        raise InputError(
            f"{address} is not public and no credentials here open it, or it is not there."
        ) from error
    except Exception as error:
        if not _is_absent(error):
            raise
        raise InputError(
            f"There is no Zarr at {address}, or the server hands out nothing there: files of other "
            f"formats have to be downloaded first."
        ) from error


def _opened(address: str, scheme: str) -> Any:
    # Without credentials, or with those of somebody else, public data can still be had.
    for options in (None, {"anon": True}) if scheme == "s3" else (None,):
        errors: list[Exception] = []
        # One format after the other: of requests that are sent together, those that are still on
        # their way when one has failed complain when Python ends.
        for zarr_format in (3, 2):
            try:
                return zarr.open(
                    address, mode="r", zarr_format=zarr_format, storage_options=options
                )
            except Exception as error:
                if not _is_refused(error) and not _is_absent(error):
                    raise
                errors.append(error)
        if not any(map(_is_refused, errors)):
            break
    raise errors[-1]


def _is_refused(error: Exception) -> bool:
    return isinstance(error, PermissionError) or "Credentials" in type(error).__name__


def _is_absent(error: Exception) -> bool:
    """Some servers refuse what they do not have, and some answer with a page for people."""
    absent = isinstance(error, FileNotFoundError | json.JSONDecodeError)
    return absent or hasattr(error, "status")


class Watched(Indexed):
    """An array at an address; a chunk that is not there is an error where it is indexed.

    What a server has is often not told, and takes long for many chunks, so it
    is not asked for beforehand.

    Parameters
    ----------
    array : zarr.Array
    where : str
        Its Zarr, as errors name it.
    """

    def __init__(self, array: Any, where: str) -> None:
        self._filled = array.fill_value or 0
        store, zarr_format = _Watching(array.store), array.metadata.zarr_format
        array = zarr.open_array(store, path=array.path, mode="r", zarr_format=zarr_format)
        super().__init__(array, where, array.chunks)

    def _read(self, region: Region) -> NDArray[Any]:
        part = super()._read(region)
        # Not in the store: zarr leaves other requests behind when one of them raises.
        absent = self.array.store.absent
        if absent:
            lacks = f"{self.source} lacks chunks (such as {absent[0]})"
            told_or_refused(lacks, self._filled, False)
        return part


class _Watching(WrapperStore[Store]):
    """Keeps the keys of chunks that were asked for and are not there."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.absent: list[str] = []

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await self._store.get(key, prototype, byte_range)
        if value is None and key.rpartition("/")[2] not in _METADATA:
            self.absent.append(key)
        return value
