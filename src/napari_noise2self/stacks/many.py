"""Many images: those that files, folders and patterns stand for, and where their results go."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path

import numpy as np

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.natural import natural
from napari_noise2self.stacks.reading_choice import split_choice
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.targets import ADDRESS, refuse_address
from napari_noise2self.stacks.zarr_folder import is_zarr

# What is taken out of a folder without having been named: TIFF inside, and what microscopes
# write.  Other pictures that lie about, such as a .jpg, are more often none of the data.
ENDINGS = (
    *(".tif", ".tiff", ".btf", ".tf2", ".tf8", ".lsm", ".stk"),
    *(".png", ".npy"),
    *(".czi", ".nd2", ".lif", ".dv", ".r3d", ".sldy", ".oib", ".oif", ".vsi", ".ims"),
)
# Endings of two parts, which are no part of a name.
_ENDING = re.compile(r"(\.ome)?(\.tiff?|\.btf|\.tf[28]|\.zarr)$|\.[^.]+$", re.IGNORECASE)
# What is unfinished, or left in folders by systems, is nobody's image.
_LITTER = ("thumbs.db", "desktop.ini")
_UNFINISHED = (".partial", ".writing", ".new")

# How a result is named unless somebody says otherwise.
PATTERN = "{name}_denoised{suffix}"
SUFFIXES = {"ome-tiff": ".ome.tif", "imagej": ".tif", "ome-zarr": ".ome.zarr"}


@dataclass(frozen=True)
class Input:
    """An image to be read.

    Attributes
    ----------
    path : str
        A file, a folder or an address.
    named : bool
        Whether somebody named it; otherwise it was found in a folder or by a
        pattern, and nobody has said that it is an image.
    """

    path: str
    named: bool = True

    @property
    def name(self) -> str:
        """The name without folders and without its ending; with the image that was chosen."""
        file, image = self.split
        own = re.split(r"[/\\]", file.rstrip("/\\"))[-1]
        chosen = "" if image is None else "_" + re.sub(r"[/\\]", "_", image)
        return (_ENDING.sub("", own) or own) + chosen

    @property
    def split(self) -> tuple[str, str | None]:
        """The file or address, and which image in it is meant, if somebody said so."""
        if self.remote:
            return self.path, None
        file, image = split_choice(self.path)
        return (self.path, None) if image is None else (str(file), image)

    @property
    def remote(self) -> bool:
        """Whether it is an address."""
        return ADDRESS.match(self.path) is not None

    @property
    def weight(self) -> int:
        """Its size in bytes, 0 where that is not known at once."""
        path = Path(self.split[0])
        return path.stat().st_size if not self.remote and path.is_file() else 0


@dataclass(frozen=True)
class Held(Input):
    """An image that is open already, such as in a viewer.

    Attributes
    ----------
    path : str
        Its name.
    stack : Stack
    file : Path or None
        What it was read from, which is never replaced.
    """

    stack: Stack = field(kw_only=True, compare=False)
    file: Path | None = None

    @property
    def weight(self) -> int:
        """Its size in memory, in bytes."""
        return math.prod(self.stack.shape) * int(np.dtype(self.stack.dtype).itemsize)


@dataclass(frozen=True)
class Found:
    """What words on a command line, or in a dialog, stand for.

    Attributes
    ----------
    inputs : tuple of Input
        In natural order where they were found, each once.
    strangers : tuple of str
        Files in folders that are no images by their names.
    parts : tuple of str
        Files that hold a part of the image in another one; see `parts.without_parts`.
    """

    inputs: tuple[Input, ...]
    strangers: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def find_images(words: Sequence[str | Path], *, series: bool = False) -> Found:
    """The images that files, folders and patterns stand for.

    Parameters
    ----------
    words : sequence of str or path
        Files and addresses, which are taken as they are; folders, for the
        images in them; and patterns such as ``day*/**/*.tif``, where a shell
        has left them.  An OME-Zarr is a folder, but one image.
    series : bool
        A folder is one image, and its files are planes of it.

    Returns
    -------
    found : Found

    Raises
    ------
    InputError
        If there are none.
    """
    inputs: dict[str, Input] = {}
    strangers: dict[str, str] = {}
    for word in map(str, words):
        path = Path(word)
        if ADDRESS.match(word):
            candidates = [Input(word)]
        elif os.path.lexists(word) or split_choice(word)[1] or not has_magic(word):
            candidates = [Input(word)] if not path.is_dir() or series else list(_inside(path))
            if not candidates:
                raise InputError(f"The folder {path} holds no files: name one that holds images.")
        else:
            candidates = list(_matching(word, series))
            if not candidates:
                raise InputError(f"No file matches {word}: check the folder and the pattern.")
        for candidate in candidates:
            key = candidate.path if candidate.remote else os.path.realpath(candidate.path)
            if candidate.named or series or _is_image(Path(candidate.path)):
                # Who named it knows that it is one.
                if key not in inputs or candidate.named:
                    inputs[key] = candidate
            else:
                strangers[key] = candidate.path
    if not inputs:
        raise InputError(
            f"There is no image in {', '.join(map(str, words))}, only {_some(strangers.values())}."
        )
    left = (stranger for key, stranger in strangers.items() if key not in inputs)
    return Found(tuple(inputs.values()), tuple(left))


def _inside(folder: Path) -> Iterator[Input]:
    """What lies in a folder, or the folder itself if it is a Zarr."""
    if is_zarr(folder):
        yield Input(str(folder))
        return
    for path in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
        if not _is_litter(path) and (path.is_file() or is_zarr(path)):
            yield Input(str(path), named=False)


def _matching(pattern: str, series: bool) -> Iterator[Input]:
    """What a pattern matches; of folders, what lies in them."""
    zarrs: list[str] = []
    # Path.glob takes no absolute pattern.
    for word in sorted(glob(pattern, recursive=True), key=natural):  # noqa: PTH207
        path = Path(word)
        # ** goes into a Zarr as well, and finds its pieces.
        if _is_litter(path) or any(word.startswith(zarr + os.sep) for zarr in zarrs):
            continue
        if not path.is_dir():
            yield Input(word, named=False)
        elif is_zarr(path):
            zarrs.append(word.rstrip(os.sep))
            yield Input(word, named=False)
        elif series:
            yield Input(word, named=False)
        else:
            yield from (Input(found.path, named=False) for found in _inside(path))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS or path.is_dir()


def _is_litter(path: Path) -> bool:
    name = path.name.lower()
    return name.startswith(".") or name in _LITTER or name.endswith(_UNFINISHED)


def _some(paths: Iterable[str]) -> str:
    names = [re.split(r"[/\\]", path)[-1] for path in paths]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def strangers_in_words(strangers: Sequence[str]) -> str:
    """One sentence about the files that were left out.

    Parameters
    ----------
    strangers : sequence of str
        As in `Found`; at least one.
    """
    what = "1 file is" if len(strangers) == 1 else f"{len(strangers)} files are"
    return f"{what} no image by name and left out: {_some(strangers)}."


@dataclass(frozen=True)
class Job:
    """One image, and where its result goes.

    Attributes
    ----------
    source : Input
    target : Path
    """

    source: Input
    target: Path


@dataclass(frozen=True)
class Plan:
    """What is to be done with many images.

    Attributes
    ----------
    jobs : tuple of Job
    results : tuple of str
        Images that were found, but would be results of others.
    folder : Path or None
        Where the results go, if it is not one file that was named.
    """

    jobs: tuple[Job, ...]
    results: tuple[str, ...] = ()
    folder: Path | None = None


def plan(
    found: Found,
    out: str | Path,
    *,
    pattern: str = PATTERN,
    kind: str | None = None,
    fields: Mapping[str, str] | None = None,
) -> Plan:
    """Where the results of images go.

    Parameters
    ----------
    found : Found
    out : str or path
        For one image that was named, a file that ends in ``.ome.tif``,
        ``.tif`` or ``.zarr``; otherwise, or where it is a folder or ends in a
        slash, the folder for all results.
    pattern : str
        How results in a folder are named; see `name_of`.
    kind : {"ome-tiff", "imagej", "ome-zarr"}, optional
        The format; by default that of each image, where it can be written,
        and otherwise OME-TIFF.
    fields : mapping of str to str, optional
        What else the pattern may hold.

    Raises
    ------
    InputError
        If `out` is an address, the pattern cannot be used, the format contradicts the name, two
        images would have the same result, or a result would replace one of
        the images.
    """
    refuse_address(out)
    folder = _folder(found, out, kind)
    if folder is None:
        jobs = [Job(found.inputs[0], Path(out))]
        if kind is not None and not _suffix_is(Path(out).name, kind):
            raise InputError(
                f"{out} does not end in {SUFFIXES[kind]}: leave the format out, or name another "
                f"file."
            )
        return Plan(tuple(jobs))
    jobs = [
        Job(source, folder / name_of(source, pattern, kind, number, fields))
        for number, source in enumerate(found.inputs, 1)
    ]
    places = {_place(job.target): job for job in reversed(jobs)}
    results = []
    for job in jobs:
        other = places.get(_place(Path(job.source.path)))
        if job.source.remote or other is None:
            continue
        if job.source.named or other is job:
            raise InputError(
                f"{other.target} would be the result for {other.source.path}, and is one of the "
                f"images: choose another folder or another name."
            )
        results.append(job.source.path)
    jobs = [job for job in jobs if job.source.path not in results]
    seen: dict[str, Job] = {}
    for job in jobs:
        other = seen.setdefault(_place(job.target), job)
        if other is not job:
            raise InputError(
                f"{other.source.path} and {job.source.path} would both become {job.target}: "
                f"name the results by {{parent}} or {{number}}, too."
            )
    return Plan(tuple(jobs), tuple(results), folder)


def _folder(found: Found, out: str | Path, kind: str | None) -> Path | None:
    """The folder for the results; None where `out` is the one file to be."""
    text, path = str(out), Path(out)
    is_file = any(_suffix_is(path.name, kind) for kind in SUFFIXES)
    # The slash that shells complete does not make a folder for results of an image.
    is_image = is_zarr(path)
    if not is_image and (text.endswith(("/", os.sep)) or path.is_dir()):
        return path
    if len(found.inputs) == 1 and is_file:
        return None
    if is_image and not is_file:
        raise InputError(f"{path} is a Zarr, and no folder for results: name another folder.")
    if is_file or path.is_file():
        raise InputError(
            f"{path} is one file, and there are {len(found.inputs)} images: name a folder, with a "
            f"slash at its end."
        )
    return path


def _suffix_is(name: str, kind: str) -> bool:
    ome = re.search(r"\.ome\.tiff?$", name, re.IGNORECASE)
    if kind == "ome-tiff":
        return ome is not None
    if kind == "imagej":
        return ome is None and re.search(r"\.tiff?$", name, re.IGNORECASE) is not None
    return name.lower().endswith(".zarr")


def name_of(
    source: Input,
    pattern: str = PATTERN,
    kind: str | None = None,
    number: int = 1,
    fields: Mapping[str, str] | None = None,
) -> str:
    """The name of the result for an image.

    Parameters
    ----------
    source : Input
    pattern : str
        With ``{name}``, that of the image without its ending; ``{suffix}``,
        the ending of the result; ``{parent}``, the name of the folder that
        the image lies in; ``{number}``, its number in the order of all, also
        as ``{number:03}``.  A slash makes folders.
    kind, fields
        As for `plan`.
    number : int

    Raises
    ------
    InputError
        If the pattern holds something else, leads elsewhere, or the name ends
        in another way than the format.
    """
    suffix = SUFFIXES[kind] if kind else _suffix_like(source)
    path = source.path if source.remote else str(Path(source.path).absolute())
    parts = re.split(r"[/\\]", path.rstrip("/\\"))
    known = {
        "name": source.name,
        "suffix": suffix,
        "parent": parts[-2] if len(parts) > 1 else "",
        "number": number,
        **(fields or {}),
    }
    try:
        name = pattern.format_map(known)
    except (KeyError, IndexError, AttributeError, ValueError, TypeError):
        raise InputError(
            f"The name {pattern!r} cannot be used: it may hold "
            f"{', '.join(f'{{{field}}}' for field in known)}."
        ) from None
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"The name {pattern!r} leads out of the folder for results.")
    ends = [k for k in SUFFIXES if _suffix_is(name, k)]
    if not ends or (kind is not None and ends != [kind]):
        wanted = SUFFIXES[kind] if kind else "one of " + ", ".join(SUFFIXES.values())
        raise InputError(f"The name {pattern!r} does not end in {wanted}: end it in {{suffix}}.")
    return name


def _suffix_like(source: Input) -> str:
    own = source.split[0].rstrip("/\\")
    return next((s for k, s in SUFFIXES.items() if _suffix_is(own, k)), SUFFIXES["ome-tiff"])


def _place(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))
