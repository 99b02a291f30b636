"""A stack denoised into a file, however large: the way of the terminal and of the widgets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Control, Event, Notice, WritingEvent
from napari_noise2self.stacks import provenance as provenance_of
from napari_noise2self.stacks.disk import check_space
from napari_noise2self.stacks.file_image import DtypeChoice, FileImage
from napari_noise2self.stacks.finishing import Written
from napari_noise2self.stacks.room import room_of
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.store import PartialStore
from napari_noise2self.stacks.targets import check_target, format_of, partial_of
from napari_noise2self.stacks.unfinished import MODEL, check_partial
from napari_noise2self.stacks.writing_zarr import check_version

if TYPE_CHECKING:
    from napari_noise2self.engine.config import Output
    from napari_noise2self.engine.model import Denoiser

ExportEvent = Event | WritingEvent

# An image is told from another one by so many windows of this side.
_WINDOW = 32
_MOST_PLACES = 16


class Predict(Protocol):
    """Who denoises the regions of a stack and writes them, such as `Cluster.predict_events`."""

    def __call__(
        self,
        denoiser: Denoiser,
        stack: Stack,
        *,
        sink: PartialStore,
        output: Output,
        source: str | Path | None,
        control: Control,
    ) -> Generator[Event, None, bool]:
        """Whether all of the stack is in the sink at the end."""


def predict_here(
    denoiser: Denoiser,
    stack: Stack,
    *,
    sink: PartialStore,
    output: Output,
    source: str | Path | None,
    control: Control,
) -> Generator[Event, None, bool]:
    """Denoise a stack in this process."""
    return denoiser.predict_stream(stack.data, stack.axes, output, sink=sink, control=control)


def check_export(
    denoiser: Denoiser | None,
    stack: Stack,
    target: str | Path,
    *,
    dtype: DtypeChoice = "source",
    overwrite: bool = False,
    resume: bool = False,
    source: str | Path | None = None,
    ome_zarr_version: str = "0.5",
) -> str | None:
    """Make sure, before long work, that a denoised stack can be written.

    Parameters
    ----------
    denoiser : Denoiser or None
        None where it is still to be trained.
    stack, target, dtype, overwrite, resume, source, ome_zarr_version
        As for `export_events`.

    Returns
    -------
    notice : str or None
        A sentence, if the disk may become full.

    Raises
    ------
    InputError
        If the target cannot be used, the disk is too small, or the model does
        not suit the stack.
    """
    target = Path(target)
    check_target(target, stack, overwrite=overwrite, source=source)
    check_version(ome_zarr_version)
    if denoiser is not None:
        denoiser.check(stack.data, stack.axes)
    if os.path.lexists(partial_of(target)):
        check_partial(partial_of(target), resume=resume, overwrite=overwrite)
    kind = format_of(target)
    image = FileImage.of(stack, kind, dtype)
    room = room_of(image, kind)
    # What becomes a TIFF is there twice while it is copied.
    compressed = room.compressed + (0 if kind == "ome-zarr" else image.nbytes)
    if resume and partial_of(target).is_dir():
        compressed -= min(_bytes_in(partial_of(target)), compressed)
    return check_space(target, replace(room, compressed=compressed))


def export_events(
    denoiser: Denoiser,
    stack: Stack,
    target: str | Path,
    *,
    output: Output = "auto",
    dtype: DtypeChoice = "source",
    overwrite: bool = False,
    resume: bool = False,
    control: Control | None = None,
    provenance: Mapping[str, Any] | None = None,
    source: str | Path | None = None,
    ome_zarr_version: str = "0.5",
    keep_model: bool = False,
    predict: Predict = predict_here,
) -> Generator[ExportEvent, None, Written]:
    """Denoise a stack of any size into a file.

    The work goes region by region into the folder ``OUT.partial``, which
    becomes the file when it is whole.  After an interrupt, an error or a power
    cut it stays, and a call with `resume` goes on with it to the same result.

    Parameters
    ----------
    denoiser : Denoiser
    stack : Stack
        Its data may be lazy.
    target : path
        The file to be: OME-TIFF (``.ome.tif``), TIFF for ImageJ (``.tif``) or
        OME-Zarr (``.ome.zarr``).
    output : {"auto", "single-pass", "j-invariant", "mixed"}
        As for `Denoiser.predict`.
    dtype : {"source", "float32"}
        "source" rounds and clips.
    overwrite : bool
        Whether an existing file may be replaced: that happens when the new
        one is whole.
    resume : bool
        Whether to go on with what ``OUT.partial`` holds, if it exists.
    control : Control, optional
        To stop, pause and resume from another thread.
    provenance : mapping, optional
        What the record in the file says beside what the denoiser knows, such
        as the name of the model's file.
    source : path, optional
        The file that the stack was read from, which is never replaced.
    ome_zarr_version : {"0.5", "0.4"}
    keep_model : bool
        Whether ``OUT.partial`` stays for the sake of the model in it, which is
        nowhere else, where nothing was denoised yet.
    predict : callable, optional
        Who does the work; by default this process.

    Yields
    ------
    event : Notice, PredictionEvent or WritingEvent

    Returns
    -------
    written : Written
        Not `complete` if it was stopped.

    Raises
    ------
    InputError
        If the target, the stack or the model cannot be used so, or
        ``OUT.partial`` holds what cannot be gone on with.
    Noise2SelfError
        If writing fails, as on a full disk, or the device does.
    """
    control = control or Control()
    notice = check_export(
        denoiser,
        stack,
        target,
        dtype=dtype,
        overwrite=overwrite,
        resume=resume,
        source=source,
        ome_zarr_version=ome_zarr_version,
    )
    if notice is not None:
        yield Notice(notice)
    request = request_of(denoiser, stack, output)
    with PartialStore.open(
        target,
        stack,
        dtype=dtype,
        fingerprint=request,
        resume=resume,
        overwrite=overwrite,
        volume=denoiser.config.volume,
        ome_zarr_version=ome_zarr_version,
    ) as store:
        # With it the work can go on where the denoiser is gone, having been trained for hours.
        store.keep_model(_model_of(denoiser), precious=keep_model)
        if store.fraction:
            yield Notice(f"{store.fraction:.0%} of {target} were done before; the rest follows.")
        if not store.complete:
            events = predict(
                denoiser, stack, sink=store, output=output, source=source, control=control
            )
            with contextlib.closing(events):
                complete = yield from events
            if not complete:
                store.flush()
                return store.so_far()
        record = provenance_of.record(
            provenance_of.of_denoiser(denoiser, request["output"]),
            model_sha256=request["model"],
            source=stack.name,
            axes=stack.axes,
            prediction_seconds=round(store.seconds, 3),
            **(provenance or {}),
        )
        return (yield from store.finish_events(record, overwrite=overwrite, control=control))


def request_of(denoiser: Denoiser, stack: Stack, output: Output = "auto") -> dict[str, Any]:
    """What a denoised stack depends on: no other request goes on with what one has begun.

    Parameters
    ----------
    denoiser, stack, output
        As for `export_events`.

    Returns
    -------
    request : dict
        The fingerprint for `PartialStore.open`.
    """
    return {"pixels": pixels_hash(stack.data), **maker(denoiser, output)}


def made_by(target: Path, made: Mapping[str, str]) -> bool:
    """Whether a file says that it was made with a model, and holds that output of it.

    Parameters
    ----------
    target : Path
    made : mapping
        From `maker`.
    """
    record = provenance_of.read(target)
    return (record.get("model_sha256"), record.get("output")) == (made["model"], made["output"])


def maker(denoiser: Denoiser, output: Output) -> dict[str, str]:
    """What a result depends on beside the image: the model, as its hash, and the output.

    The whole model is hashed: it is to be asked once for many results.
    """
    return {
        "model": model_hash(_model_of(denoiser)),
        "output": denoiser.resolved_output(output),
    }


def _model_of(denoiser: Denoiser) -> bytes:
    """The model as its file has it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        denoiser.save(path)
        return path.read_bytes()


def model_hash(model: bytes) -> str:
    """What tells a model from another one: its weights and settings, but not the device.

    Parameters
    ----------
    model : bytes
        The content of its file.
    """
    # A safetensors file: the length of the header, the header, the weights.
    end = 8 + int.from_bytes(model[:8], "little")
    header = json.loads(model[8:end])
    description = json.loads(header["__metadata__"]["noise2self"])
    description["config"].pop("device", None)
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    digest.update(model[end:])
    return digest.hexdigest()


def pixels_hash(array: Any, most: int = _MOST_PLACES) -> str:
    """What tells an image from another one of the same shape: a few windows all over it.

    They are spread over frames, channels and slices, and over the plane: the
    corners of stitched and of rotated images are alike.

    Parameters
    ----------
    array : array-like
    most : int
        How many windows at most.
    """
    shape = [int(n) for n in array.shape]
    sides = [min(n, _WINDOW if axis >= len(shape) - 2 else 1) for axis, n in enumerate(shape)]
    # Points that fill a box of any number of axes evenly, however many there are (R sequence:
    # M. Roberts 2018, "The unreasonable effectiveness of quasirandom sequences").
    ratio = 2.0
    for _ in range(30):
        ratio = (1 + ratio) ** (1 / (len(shape) + 1))
    steps = ratio ** -np.arange(1, len(shape) + 1)
    places = set()
    for number in range(most):
        share = (0.5 + number * steps) % 1
        places.add(
            tuple(int(x * (n - side + 1)) for x, n, side in zip(share, shape, sides, strict=True))
        )
    digest = hashlib.sha256()

    def window(starts: tuple[int, ...]) -> bytes:
        place = tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))
        return np.ascontiguousarray(array[place]).tobytes()

    try:
        with ThreadPoolExecutor(8) as threads:
            for content in threads.map(window, sorted(places)):
                digest.update(content)
    except OSError as error:
        raise InputError(f"The image could not be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
