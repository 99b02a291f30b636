"""Images on disk that are read where they are indexed.

Nothing is held open between two reads, so any thread or process may read, and there is nothing
to close.  A part that cannot be read or decoded is an `InputError`, whenever that is found out.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_noise2self.engine.errors import InputError, Noise2SelfError, first_line

Region = tuple[range, ...]


class LazyArray(ABC):
    """An image on disk, indexed with whole numbers and slices like a numpy array.

    Parameters
    ----------
    shape : sequence of int
    dtype : data type
        Parts are returned in it, in the byte order of the machine.
    source : str
        The file, as errors name it.
    chunks : sequence of int, optional
        What is read at least, per axis; by default a plane of the last two axes.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: DTypeLike,
        source: str,
        chunks: Sequence[int] | None = None,
    ) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.source = source
        lead = len(self.shape) - 2
        self.chunks = (
            tuple(1 if axis < lead else n for axis, n in enumerate(self.shape))
            if chunks is None
            else tuple(min(int(c), n) for c, n in zip(chunks, self.shape, strict=True))
        )

    @abstractmethod
    def _read(self, region: Region) -> NDArray[Any]:
        """A part: one range per axis, none empty, all with a positive step."""

    @property
    def sources(self) -> set[str]:
        """The files that hold parts of it."""
        return {self.source}

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Memory that all of it would take."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        region, after = _understood(index, self.shape)
        if not all(region):
            empty = np.empty([len(places) for places in region], self.dtype)
            return empty[after]
        try:
            part = np.asarray(self._read(region))
        except (Noise2SelfError, MemoryError):
            raise
        except OSError as error:
            raise unreadable(self.source, error) from error
        except Exception as error:
            # What a decoder of damaged data raises depends on where it stumbles.
            raise damaged(self.source, error) from error
        return part.astype(self.dtype, copy=False)[after]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("An image on disk becomes an array only by a copy.")
        return self[...].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.source} {self.shape} {self.dtype}>"


@contextmanager
def opening(source: str | Path) -> Iterator[None]:
    """Turn whatever goes wrong while a file is opened into one sentence.

    Parameters
    ----------
    source : str or path
        The file or address.

    Raises
    ------
    InputError
    """
    try:
        yield
    except (Noise2SelfError, MemoryError):
        raise
    except OSError as error:
        raise unreadable(str(source), error) from error
    except Exception as error:
        # Decoders of damaged files raise whatever they stumble upon.
        kind = "" if "://" in str(source) else Path(source).suffix[1:].upper()
        what = f"is no {kind} file or is damaged" if kind else "could not be read"
        raise InputError(f"{source} {what} ({first_line(error).rstrip('.')}).") from error


def unreadable(source: str, error: OSError) -> InputError:
    """The error of a file that the system does not hand out."""
    return InputError(f"{source} could not be read: {error.strerror or error}.")


def damaged(source: str, error: Exception) -> InputError:
    """The error of a file of which a part does not decode."""
    reason = first_line(error).rstrip(".")
    if "://" in source:
        what = "could not be read: a part is damaged, or its server does not hand out pieces"
        return InputError(f"{source} {what} ({reason}).")
    return InputError(f"{source} is damaged or was cut off: a part cannot be read ({reason}).")


def told_or_refused(lacks: str, filled: Any, empty_chunks: bool) -> str:
    """Refuse an image that lacks a part, unless such parts are said to be empty.

    They are read as a constant without a word: an image may be left out
    where it is empty, but so are parts that a copy has lost.

    Parameters
    ----------
    lacks : str
        What lacks how much.
    filled : number
        What is read instead.
    empty_chunks : bool
        Whether it was said.

    Returns
    -------
    notice : str

    Raises
    ------
    InputError
    """
    if empty_chunks:
        return f"{lacks}, which are read as {filled}."
    raise InputError(
        f"{lacks}, which would be read as {filled}: copy it again, or say that they were left out "
        f"because they are empty (--empty-chunks in the terminal)."
    )


def _understood(index: Any, shape: Sequence[int]) -> tuple[Region, tuple[int | slice, ...]]:
    """What to read, in ascending order, and how to index it then."""
    index = index if isinstance(index, tuple) else (index,)
    dots = [at for at, what in enumerate(index) if what is Ellipsis]
    if dots:
        at = dots[0]
        missing = len(shape) - len(index) + 1
        index = index[:at] + (slice(None),) * missing + index[at + 1 :]
    if len(index) > len(shape):
        raise IndexError(f"{len(index)} indices are too many for an image of {len(shape)} axes.")
    index = index + (slice(None),) * (len(shape) - len(index))
    region: list[range] = []
    after: list[int | slice] = []
    for what, n in zip(index, shape, strict=True):
        if isinstance(what, slice):
            places = range(n)[what]
            backwards = places.step < 0
            region.append(places[::-1] if backwards else places)
            after.append(slice(None, None, -1 if backwards else 1))
            continue
        try:
            number = operator.index(what)
        except TypeError:
            raise IndexError(
                f"An image on disk is indexed with whole numbers and slices, not with "
                f"{type(what).__name__}: read it with numpy.asarray first."
            ) from None
        if not -n <= number < n:
            raise IndexError(f"The index {number} is outside of an axis of {n}.")
        region.append(range(number % n, number % n + 1))
        after.append(0)
    return tuple(region), tuple(after)


def as_slices(region: Region) -> tuple[slice, ...]:
    """Ranges with a positive step as slices."""
    return tuple(slice(places.start, places.stop, places.step) for places in region)


class Raw(LazyArray):
    """An uncompressed image that lies in one piece in a file.

    Parameters
    ----------
    path : path
    dtype : data type
        As in the file.
    shape : sequence of int
    offset : int
        Where it begins.
    order : {"C", "F"}
    """

    def __init__(
        self, path: Path, dtype: DTypeLike, shape: Sequence[int], offset: int, order: str = "C"
    ) -> None:
        super().__init__(shape, dtype, str(path))
        self._stored = np.dtype(dtype)
        self._path = path
        self._offset = offset
        self._order = order

    @property
    def end(self) -> int:
        """Where it ends in the file."""
        return self._offset + self.nbytes

    def _read(self, region: Region) -> NDArray[Any]:
        # Mapped anew for each read: what a mapping has touched counts as memory of the process.
        mapped = np.memmap(
            self._path,
            self._stored,
            "r",
            self._offset,
            self.shape,
            "F" if self._order == "F" else "C",
        )
        return np.array(mapped[as_slices(region)])


class View(LazyArray):
    """A part of another image on disk.

    Parameters
    ----------
    image : LazyArray
    index : tuple of int or slice
        One per axis of `image`; slices without a step.
    """

    def __init__(self, image: LazyArray, index: tuple[int | slice, ...]) -> None:
        region, _ = _understood(index, image.shape)
        self._image = image
        self._region = region
        self._kept = [axis for axis, what in enumerate(index) if isinstance(what, slice)]
        super().__init__(
            [len(region[axis]) for axis in self._kept],
            image.dtype,
            image.source,
            [image.chunks[axis] for axis in self._kept],
        )

    @property
    def sources(self) -> set[str]:
        """The files that hold parts of it."""
        return self._image.sources

    def _read(self, region: Region) -> NDArray[Any]:
        places = list(self._region)
        for axis, wanted in zip(self._kept, region, strict=True):
            places[axis] = places[axis][wanted.start : wanted.stop : wanted.step]
        part = self._image[as_slices(tuple(places))]
        return part.reshape([len(wanted) for wanted in region])


class Joined(LazyArray):
    """Images of one shape and type, laid along new leading axes.

    Parameters
    ----------
    images : sequence of LazyArray or None
        In C order of the new axes; None for one that is missing, which is zero.
    lead : sequence of int
        Lengths of the new axes.
    source : str
        What they are together.
    """

    def __init__(
        self, images: Sequence[LazyArray | None], lead: Sequence[int], source: str
    ) -> None:
        first = next(image for image in images if image is not None)
        super().__init__(
            (*lead, *first.shape), first.dtype, source, (*[1 for _ in lead], *first.chunks)
        )
        self._images = tuple(images)
        self._lead = tuple(lead)

    @property
    def sources(self) -> set[str]:
        """The files that hold parts of it."""
        return {file for image in self._images if image is not None for file in image.sources}

    def _read(self, region: Region) -> NDArray[Any]:
        outer, inner = region[: len(self._lead)], as_slices(region[len(self._lead) :])
        part = np.empty([len(places) for places in region], self.dtype)
        for at in np.ndindex(*[len(places) for places in outer]):
            numbers = [places[i] for places, i in zip(outer, at, strict=True)]
            image = self._images[int(np.ravel_multi_index(numbers, self._lead)) if numbers else 0]
            part[at] = 0 if image is None else image[inner]
        return part


class InMemory(LazyArray):
    """An array in memory, as a part of an image that is not."""

    def __init__(self, array: NDArray[Any], source: str) -> None:
        super().__init__(array.shape, array.dtype, source)
        self._array = array

    def _read(self, region: Region) -> NDArray[Any]:
        return self._array[as_slices(region)]


class Indexed(LazyArray):
    """Another library's lazy array, such as of zarr or dask.

    Parameters
    ----------
    array : array-like
        Anything with shape and dtype that is indexed with slices.
    source : str
    chunks : sequence of int, optional
    """

    def __init__(self, array: Any, source: str, chunks: Sequence[int] | None = None) -> None:
        super().__init__(array.shape, array.dtype, source, chunks)
        self.array = array

    def _read(self, region: Region) -> NDArray[Any]:
        return np.asarray(self.array[as_slices(region)])
