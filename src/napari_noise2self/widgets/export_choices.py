"""What the user chose to export, and what is to be done then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.many import SUFFIXES, Held, Job, find_images, name_of, plan
from napari_noise2self.stacks.parts import without_parts
from napari_noise2self.stacks.targets import partial_of
from napari_noise2self.stacks.unfinished import image_request, read_state, unfinished
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.target_dialog import result_name, with_ending

if TYPE_CHECKING:
    from napari_noise2self.stacks.stack import Stack


class Format(NamedTuple):
    """A format of files.

    Attributes
    ----------
    title : str
    kind : str
        A key of `many.SUFFIXES`.
    version : str
        Of OME-Zarr.
    """

    title: str
    kind: str
    version: str = "0.5"


FORMATS = {
    "ome-tiff": Format("OME-TIFF", "ome-tiff"),
    "imagej": Format("TIFF for ImageJ", "imagej"),
    "ome-zarr": Format("OME-Zarr 0.5", "ome-zarr"),
    "ome-zarr-0.4": Format("OME-Zarr 0.4", "ome-zarr", "0.4"),
}


@dataclass
class Choices:
    """What the user chose.

    Attributes
    ----------
    images : tuple of Path
        Files and folders; the selected layers if empty.
    axes : str
        Of these files, where they are wrong or silent.
    in_view : bool
        Whether only the frame in view is taken of each layer.
    output : {"auto", "single-pass", "j-invariant", "mixed"}
    dtype : {"source", "float32"}
    format : str
        A key of `FORMATS`.
    folder : Path or None
        Where files go.
    name : str or None
        Of the one file there is, without its ending; None: after the source.
    """

    images: tuple[Path, ...] = ()
    axes: str = ""
    in_view: bool = False
    output: str = "auto"
    dtype: str = "source"
    format: str = "ome-tiff"
    folder: Path | None = None
    name: str | None = None

    def name_file(self, path: Path) -> None:
        """Take the name of the one file to be, and its format."""
        self.folder, self.name = path.parent, path.name
        for key, form in FORMATS.items():
            if with_ending(path, form.kind) == path:
                if FORMATS[self.format].kind != form.kind:
                    self.format = key
                break

    def target(self, name: str) -> Path:
        """The one file to be, unless the user named it otherwise than this."""
        assert self.folder is not None
        kind = FORMATS[self.format].kind
        if self.name is not None:
            return with_ending(self.folder / self.name, kind)
        return self.folder / (name + SUFFIXES[kind])


@dataclass(frozen=True)
class Work:
    """What is to be exported.

    Attributes
    ----------
    jobs : tuple of Job
    sources : tuple of Source
        The layers of the jobs; of files there are none.
    left_out : tuple of str
        Files that are no images, or are results themselves.
    parts : tuple of str
        Files that hold a part of the image in another one.
    """

    jobs: tuple[Job, ...]
    sources: tuple[Source, ...] = ()
    left_out: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def targets(self) -> list[Path]:
        """The files to be."""
        return [job.target for job in self.jobs]

    @cached_property
    def can_go_on(self) -> bool:
        """Whether there was an unfinished result of the same image, or of one of many.

        The disk is looked at once, when it is first asked.
        """
        begun = [job for job in self.jobs if _is_begun(job.target)]
        if len(self.jobs) > 1:
            return bool(begun)
        # The pixels of a file are looked at later.
        return any(
            not isinstance(job.source, Held) or _is_of(job.target, job.source.stack)
            for job in begun
        )


def is_folder(path: Path) -> bool:
    """Whether a path is a folder that can be looked at."""
    try:
        return path.is_dir()
    except OSError:  # Python < 3.14 says so of a share that is gone
        return False


def _is_begun(target: Path) -> bool:
    try:
        return unfinished(target)
    except OSError:  # what cannot be read cannot be gone on with
        return False


def _is_of(target: Path, stack: Stack) -> bool:
    """Whether an unfinished result can be one of a stack; the pixels are looked at later."""
    try:
        state = read_state(partial_of(target))
    except (InputError, OSError):
        return False
    begun = state.get("request") or {}
    return all(begun.get(key) == value for key, value in image_request(stack).items())


def work_on_layers(sources: Sequence[Source], choices: Choices) -> Work:
    """The export of layers.

    Raises
    ------
    InputError
        If there is no layer, no folder, or two would become one file.
    """
    if not sources:
        raise InputError("No image layer is selected: select one or more in the layer list.")
    if choices.folder is None:
        raise InputError("Nobody has said where the result goes: choose a file.")
    one = len(sources) == 1
    jobs = []
    for source in sources:
        name = result_name(source.name)
        target = choices.target(name) if one else _in_folder(choices, name)
        jobs.append(Job(Held(source.name, stack=source.stack(), file=source.file), target))
    if len({job.target for job in jobs}) < len(jobs):
        raise InputError("Two of the layers would become the same file: rename one of them.")
    return Work(tuple(jobs), tuple(sources))


def _in_folder(choices: Choices, name: str) -> Path:
    assert choices.folder is not None
    return choices.folder / (name + SUFFIXES[FORMATS[choices.format].kind])


def work_on_files(choices: Choices) -> Work:
    """The export of files; where there are many, each may be looked into.

    Raises
    ------
    InputError
        If there are no images, no folder, or a result would replace an image.
    """
    found = without_parts(find_images(choices.images))
    if choices.folder is None:
        raise InputError("Nobody has said where the results go: choose a folder.")
    kind = FORMATS[choices.format].kind
    out: str | Path = f"{choices.folder}/"
    if len(found.inputs) == 1 and found.inputs[0].named:
        name = choices.name or name_of(found.inputs[0], kind=kind)
        out = with_ending(choices.folder / name, kind)
    planned = plan(found, out, kind=kind)
    return Work(planned.jobs, left_out=(*found.strangers, *planned.results), parts=found.parts)
