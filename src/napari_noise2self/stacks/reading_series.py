"""Many files in, as planes of one image: a folder of TIFFs, or a pattern of their names."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from glob import has_magic
from pathlib import Path

import numpy as np

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks import axes as known
from napari_noise2self.stacks.lazy import Joined, opening
from napari_noise2self.stacks.natural import natural
from napari_noise2self.stacks.reading_tiff import read_tiff
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.tiff_metadata import Calibration, calibration, complaints_kept

# The endings of TIFF and of formats that are TIFF inside.
TIFF_ENDINGS = (".tif", ".tiff", ".btf", ".tf2", ".tf8", ".lsm", ".stk")
# What words mean before numbers in the names of files, besides those of axes.
_SHORT = {"w": "C", "tp": "T"}
# What systems leave in folders unasked.
_LITTER = ("thumbs.db", "desktop.ini", ".ds_store")


def is_pattern(path: Path) -> bool:
    """Whether a path stands for many files, as in ``img_*.tif``."""
    return has_magic(str(path))


def read_series(path: Path, axes: str | None = None, *, empty_chunks: bool = False) -> Stack:
    """Read many TIFFs of one shape as one image, lazily.

    Parameters
    ----------
    path : Path
        A folder, or a pattern with ``*`` and ``?``.
    axes : str, optional
        Letters for all axes, those along the files first.
    empty_chunks : bool
        Whether planes that one of the files lacks are taken as empty.

    Returns
    -------
    stack : Stack
        Numbers after a letter or a word, as in ``_T001_z02_ch1``, are axes;
        all other numbers are one axis together, in the order of their
        values, whose meaning is guessed as for any image.

    Raises
    ------
    InputError
        If there are none, they differ in shape, type or name, or one of the
        series or a plane of one is missing.
    """
    notices: list[str] = []
    files = _files(path, notices)
    reading = functools.partial(_read, empty_chunks=empty_chunks)
    first = reading(files[0])
    if len(files) == 1 or _holds(first, files):
        return first if axes is None else first.with_axes(axes)
    numbers = _numbers(files, path)
    lead = [len(set(values)) for values in numbers.values()]
    _check_complete(numbers, files, path, notices)
    with ThreadPoolExecutor(8) as threads:
        stacks = [first, *threads.map(reading, files[1:])]
    for file, one in zip(files, stacks, strict=True):
        if (one.shape, one.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{file} has the shape {one.shape} and the type {one.dtype}, but {files[0]} has "
                f"{first.shape} and {first.dtype}: the files of a series must be alike."
            )
    # In C order of their numbers.
    order = np.lexsort(list(numbers.values())[::-1])
    data = Joined([stacks[number].data for number in order], lead, str(path))
    own = "".join("Q" if a in first.guessed and a not in "YX" else a for a in first.axes)
    told = any(letter != "Q" for letter in numbers)
    source = "the names of the files" if told else first.axes_source
    found = known.from_tifffile("".join(numbers) + own, source)
    same_channels = "C" not in numbers
    # What each file says of the axes along the files, such as the distance to the next plane.
    said = _said(files[0]).sizes
    sizes = [said.get(letter) for letter in found.letters[: len(lead)]]
    if axes is None and (guess := found.notice(data.shape)):
        notices.append(guess)
    stack = Stack(
        data,
        found.letters,
        scale=(*(size and size[0] for size in sizes), *(first.scale or ())),
        units=(*(size and size[1] for size in sizes), *(first.units or ())),
        translate=None if first.translate is None else ((None,) * len(lead) + first.translate),
        name=path.resolve().name if path.is_dir() else path.parent.resolve().name,
        channel_names=first.channel_names if same_channels else None,
        channel_colors=first.channel_colors if same_channels else None,
        notices=(*(n for n in first.notices if n != first.axes_words), *notices),
        guessed=found.guessed,
        axes_source=found.source,
    )
    return stack if axes is None else stack.with_axes(axes)


def _read(file: Path, empty_chunks: bool) -> Stack:
    with opening(file):
        return read_tiff(file, empty_chunks=empty_chunks)


def _said(file: Path) -> Calibration:
    import tifffile

    with opening(file), complaints_kept(), tifffile.TiffFile(file) as tiff:
        return calibration(tiff)


def _files(path: Path, notices: list[str]) -> list[Path]:
    """The TIFFs that are meant, in natural order, and what was left out."""
    candidates: Iterable[Path] = path.iterdir() if path.is_dir() else _matching(path)
    found = [file for file in candidates if file.is_file() and not _is_litter(file.name)]
    files = [file for file in found if file.suffix.lower() in TIFF_ENDINGS]
    others = (file.name for file in found if file.suffix.lower() not in TIFF_ENDINGS)
    strangers = sorted(others, key=natural)
    if not files:
        if not path.is_dir():
            raise InputError(f"There is no TIFF called {path}.")
        what = "holds no TIFF" if strangers else "is an empty folder"
        raise InputError(f"{path} {what}: give an image file, an OME-Zarr or a folder of TIFFs.")
    if strangers:
        some = ", ".join(strangers[:3]) + (", …" if len(strangers) > 3 else "")
        count = "1 file that is" if len(strangers) == 1 else f"{len(strangers)} files that are"
        notices.append(f"{count} no TIFF left out of {path}: {some}.")
    return sorted(files, key=lambda file: natural(file.name))


def _matching(pattern: Path) -> Iterator[Path]:
    first = next(at for at, part in enumerate(pattern.parts) if has_magic(part))
    return Path(*pattern.parts[:first]).glob(str(Path(*pattern.parts[first:])))


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _holds(first: Stack, files: Sequence[Path]) -> bool:
    """Whether the first file, an OME-TIFF in several files, says how all belong together."""
    parts = first.data.sources if isinstance(first.data, Joined) else set()
    return len(parts) > 1 and {file.resolve() for file in files} <= {
        Path(part).resolve() for part in parts
    }


def _numbers(files: Sequence[Path], path: Path) -> dict[str, list[int]]:
    """By letter of the axis the number of each file; Q is the axis without a name."""
    names = [re.split(r"(\d+)", file.stem) for file in files]
    words = Counter(tuple(text.lower() for text in name[::2]) for name in names)
    if len(words) > 1:
        (usual, _), (other, _) = words.most_common(2)
        alike = [
            next(f.name for f, n in zip(files, names, strict=True) if _words(n) == kind)
            for kind in (usual, other)
        ]
        raise InputError(
            f"{path} holds more than one series, as {alike[0]} and {alike[1]} show: give the files "
            f"of one by a pattern, such as {_pattern(path, alike[0])}."
        )
    named: dict[str, list[int]] = {}
    rest: list[list[int]] = []
    for at in range(1, len(names[0]), 2):
        values = [int(name[at]) for name in names]
        letter = _letter(names[0][at - 1])
        if len(set(values)) > 1:
            if letter and letter not in named:
                named[letter] = values
            else:
                rest.append(values)
    named = {letter: named[letter] for letter in "TCZ" if letter in named}
    if len(set(zip(*named.values(), strict=True))) == len(files):
        return named  # the rest says the same in other words, such as the hour
    together = list(zip(*rest, strict=True)) if rest else [()] * len(files)
    ranks = {values: rank for rank, values in enumerate(sorted(set(together)))}
    if len(set(zip(together, *named.values(), strict=True))) < len(files):
        raise InputError(
            f"{path} holds files of the same number, such as {_twins(files, names)}: the files of "
            f"a series are told apart by their numbers."
        )
    # Without letters the numbers themselves count, so that gaps can be told.
    plain = [values[0] for values in together] if len(rest) == 1 else [ranks[v] for v in together]
    return {"Q": plain, **named}


def _words(name: Sequence[str]) -> tuple[str, ...]:
    return tuple(text.lower() for text in name[::2])


def _twins(files: Sequence[Path], names: Sequence[Sequence[str]]) -> str:
    seen: dict[tuple[int, ...], str] = {}
    for file, name in zip(files, names, strict=True):
        numbers = tuple(int(part) for part in name[1::2])
        if numbers in seen:
            return f"{seen[numbers]} and {file.name}"
        seen[numbers] = file.name
    return files[0].name


def _letter(text: str) -> str:
    """The axis that the word before a number stands for, "" if none."""
    word = re.search(r"([A-Za-z]+)[^A-Za-z]*$", text)
    if word is None:
        return ""
    whole = word[1].lower()
    letter = known.LETTER_OF.get(whole) or _SHORT.get(whole)
    if letter is None and re.search(r"[a-z][A-Z]$", word[1]):
        letter = known.LETTER_OF.get(whole[-1])  # as in imgT001
    return letter if letter in ("T", "C", "Z") else ""


def _pattern(path: Path, name: str) -> Path:
    folder = path if path.is_dir() else path.parent
    return folder / re.sub(r"\d+", "*", name)


def _check_complete(
    numbers: dict[str, list[int]], files: Sequence[Path], path: Path, notices: list[str]
) -> None:
    """Refuse a series with holes; say so where a number is left out for all."""
    values = {letter: sorted(set(column)) for letter, column in numbers.items()}
    present = set(zip(*numbers.values(), strict=True))
    expected = math.prod(len(some) for some in values.values())
    if len(present) < expected:
        hole = next(at for at in itertools.product(*values.values()) if at not in present)
        where = ", ".join(
            f"number {n}" if letter == "Q" else f"{letter}{n}"
            for letter, n in zip(values, hole, strict=True)
        )
        sizes = " × ".join(str(len(some)) for some in values.values())
        raise InputError(
            f"{path} is incomplete: {sizes} files are expected, {len(files)} are there, and none "
            f"has {where}."
        )
    for letter, some in values.items():
        steps = np.diff(some)
        missing = int((some[-1] - some[0]) // steps.min()) + 1 - len(some)
        if missing:
            what = "" if letter == "Q" else f" of {letter}"
            notices.append(
                f"{missing} of the numbers{what} from {some[0]} to {some[-1]} are missing in "
                f"{path}: the others are taken as neighbours."
            )
