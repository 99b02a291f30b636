"""Zarr at an address: how it is opened, and that a chunk that is not there is not read as empty."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.lazy import told_or_refused

# The packages of the extra "remote", by the beginning of the address.
_NEEDS = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs"}
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


def strict(array: Any, where: str) -> Any:
    """The same array, of which a chunk that is not there is an error when it is read.

    What a server has is often not told, and takes long for many chunks, so it
    is not asked for beforehand.

    Parameters
    ----------
    array : zarr.Array
    where : str
        Its Zarr, as errors name it.

    Returns
    -------
    array : zarr.Array
    """
    store = _Strict(array.store, where, array.fill_value or 0)
    zarr_format = array.metadata.zarr_format
    return zarr.open_array(store, path=array.path, mode="r", zarr_format=zarr_format)


def missed_when_read(image: Any) -> bool:
    """Whether an image on disk refuses chunks that are not there only when they are read."""
    return isinstance(getattr(getattr(image, "array", None), "store", None), _Strict)


class _Strict(WrapperStore[Store]):
    def __init__(self, store: Store, where: str, filled: Any) -> None:
        super().__init__(store)
        self._where = where
        self._filled = filled

    def _with_store(self, store: Store) -> _Strict:
        return type(self)(store, self._where, self._filled)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await self._store.get(key, prototype, byte_range)
        if value is None and key.rpartition("/")[2] not in _METADATA:
            told_or_refused(f"{self._where} lacks chunks (such as {key})", self._filled, False)
        return value
