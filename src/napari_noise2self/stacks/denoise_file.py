"""The main job from a stack to a file: in memory if it is small, otherwise region by region."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.engine.events import Control, Event, Notice, WritingEvent
from napari_noise2self.engine.memory import fits_in_memory
from napari_noise2self.engine.region import Region
from napari_noise2self.stacks.file_image import DtypeChoice
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.suits import remember

if TYPE_CHECKING:
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.stacks.finishing import Written

# Bytes per pixel that the work in memory takes: the result, and what is made on the way to the
# file.
_BYTES = 12
# What has more pixels takes so long that an interruption must not cost all of it: region by region
# it is no slower (benchmarks/large_stack.py).
_MOST_PIXELS = 2**26


@dataclass(frozen=True)
class Made:
    """What the job ends with.

    Attributes
    ----------
    denoiser : Denoiser
    written : Written or None
        None if writing failed.
    info : dict
        How it was made, ready for JSON.
    error : Noise2SelfError or None
        Why it failed after the training, if so.
    """

    denoiser: Denoiser
    written: Written | None
    info: dict[str, Any]
    error: Noise2SelfError | None = None


def denoise_file_events(
    stack: Stack,
    target: str | Path,
    config: TrainingConfig | None = None,
    *,
    region: Region | None = None,
    dtype: DtypeChoice = "source",
    overwrite: bool = False,
    resume: bool = False,
    source: str | Path | None = None,
    ome_zarr_version: str = "0.5",
    control: Control | None = None,
) -> Generator[Event | WritingEvent, None, Made | None]:
    """Train on a stack of any size, and write it without its noise to a file.

    What is large goes region by region into the folder ``OUT.partial``, with
    the model; a later call with `resume` goes on from there, without training
    again.

    Parameters
    ----------
    stack : Stack
        Its data may be lazy.
    target : path
        The file to be.
    config : TrainingConfig, optional
    region : mapping of str to slice or (int, int), optional
        What to learn from alone, as for `Denoiser.train`.
    dtype, overwrite, resume, source, ome_zarr_version, control
        As for `export.export_events`.

    Yields
    ------
    event : Notice, TrainingEvent, PredictionEvent or WritingEvent

    Returns
    -------
    made : Made or None
        What was learned is kept where denoising or writing fails, and
        `made.error` says why.  None if it was stopped before there was
        anything to write.

    Raises
    ------
    Noise2SelfError
        As `export.export_events` and `pipeline.denoise_events`, if there is
        nothing to keep.
    """
    from napari_noise2self.stacks.export import check_export
    from napari_noise2self.stacks.unfinished import unfinished

    control, config = control or Control(), config or TrainingConfig()
    settings: dict[str, Any] = {
        "dtype": dtype,
        "overwrite": overwrite,
        "ome_zarr_version": ome_zarr_version,
    }
    more: dict[str, Any] = {"resume": resume, "source": source}
    pixels = math.prod(stack.shape)
    in_memory = pixels <= _MOST_PIXELS and fits_in_memory(_BYTES * pixels)
    if in_memory and not (resume and unfinished(target)):
        notice = check_export(None, stack, target, **settings, **more)
        if notice is not None:
            yield Notice(notice)
        return (yield from _in_memory(stack, target, config, region, settings, control))
    return (
        yield from streamed_events(
            stack, target, config, region=region, control=control, **settings, **more
        )
    )


def _in_memory(
    stack: Stack,
    target: str | Path,
    config: TrainingConfig,
    region: Region | None,
    settings: Any,
    control: Control,
) -> Generator[Event | WritingEvent, None, Made | None]:
    from napari_noise2self.engine.pipeline import denoise_events
    from napari_noise2self.stacks.unfinished import discard
    from napari_noise2self.stacks.writing import write

    events = denoise_events(
        stack.data, axes=stack.axes, config=config, region=region, control=control
    )
    with contextlib.closing(events):
        result = yield from events
    if result is None:
        return None
    remember(result.denoiser, [stack])
    if result.error is not None:
        return Made(result.denoiser, None, result.info, result.error)
    if not result.complete:
        return None
    try:
        written = write(target, result.image, stack, provenance=result.info, **settings)
    except Noise2SelfError as error:
        return Made(result.denoiser, None, result.info, error)
    if settings["overwrite"]:
        # What was unfinished is overwritten, too: nobody must go on with it now.
        discard(target)
    return Made(result.denoiser, written, result.info)


def streamed_events(
    stack: Stack,
    target: str | Path,
    config: TrainingConfig,
    *,
    goal: Any = None,
    region: Region | None = None,
    out: Any = None,
    control: Control | None = None,
    **settings: Any,
) -> Generator[Event | WritingEvent, None, Made | None]:
    """Train on a stack, and denoise it region by region, whatever its size.

    Parameters
    ----------
    stack, target, config, region, control
        As for `denoise_file_events`.
    goal : array-like, optional
        To learn from: the `target` of `Denoiser.train`.
    out : array-like, optional
        Where training writes previews: as for `Denoiser.train`.
    **settings
        As for `export.export_events`.

    Yields
    ------
    event : Notice, TrainingEvent, PredictionEvent or WritingEvent

    Returns
    -------
    made : Made or None
        What was learned is kept where the export fails, and `made.error` says
        why.  None if it was stopped before anything was learned.

    Raises
    ------
    Noise2SelfError
    """
    from napari_noise2self.stacks.export import check_export, export_events, pixels_hash
    from napari_noise2self.stacks.unfinished import check_image, image_request, unfinished_model

    began, control = time.monotonic(), control or Control()
    notice = check_export(None, stack, target, **settings)
    if notice is not None:
        yield Notice(notice)
    kept = unfinished_model(target) if settings.get("resume") else None
    if kept is not None:
        try:
            check_image(target, {**image_request(stack), "pixels": pixels_hash(stack.data)})
        except InputError:
            if not settings.get("overwrite"):
                raise
            kept = None  # it was trained on another image
    if kept is None:
        denoiser = yield from _trained(stack, config, goal, region, out, control)
    else:
        from napari_noise2self.engine.model import Denoiser

        yield Notice(f"The model of {kept.parent} is taken: nothing is trained anew.")
        denoiser = Denoiser.load(kept, device=config.device)
    if denoiser is None:
        return None
    written = error = None
    try:
        events = export_events(
            denoiser,
            stack,
            target,
            output=config.output,
            control=control,
            keep_model=True,
            **settings,
        )
        with contextlib.closing(events):
            written = yield from events
    except Noise2SelfError as caught:
        error = caught
    info = {
        "version": version("napari-noise2self"),
        **denoiser.summary,
        "seconds": round(time.monotonic() - began, 3),
        "output": denoiser.resolved_output(config.output),
        "axes": stack.axes,
        "complete": written is not None and written.complete,
        "settings": denoiser.config.model_dump(mode="json"),
    }
    return Made(denoiser, written, info, error)


def _trained(
    stack: Stack,
    config: TrainingConfig,
    goal: Any,
    region: Region | None,
    out: Any,
    control: Control,
) -> Generator[Event, None, Denoiser | None]:
    """A denoiser trained on the stack; None if it was stopped before it had learned anything."""
    from napari_noise2self.engine.model import Denoiser

    denoiser = Denoiser(config)
    events = denoiser.train(stack.data, stack.axes, goal, region=region, control=control, out=out)
    with contextlib.closing(events):
        trained = yield from events
    control.renew()
    if not trained:
        return None
    remember(denoiser, [stack])
    return denoiser
