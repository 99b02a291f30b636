"""The main job from a stack to a file: in memory where it fits, otherwise region by region."""

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
from napari_noise2self.engine.events import Control, Event, Notice, WritingEvent
from napari_noise2self.stacks.file_image import DtypeChoice
from napari_noise2self.stacks.stack import Stack

if TYPE_CHECKING:
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.stacks.finishing import Written

# Bytes per pixel that the work in memory takes: the result, and what is made on the way to the
# file.
_BYTES = 12


@dataclass(frozen=True)
class Made:
    """What the job ends with.

    Attributes
    ----------
    denoiser : Denoiser
    written : Written
    info : dict
        How it was made, ready for JSON.
    """

    denoiser: Denoiser
    written: Written
    info: dict[str, Any]


def denoise_file_events(
    stack: Stack,
    target: str | Path,
    config: TrainingConfig | None = None,
    *,
    dtype: DtypeChoice = "source",
    overwrite: bool = False,
    resume: bool = False,
    source: str | Path | None = None,
    ome_zarr_version: str = "0.5",
    control: Control | None = None,
) -> Generator[Event | WritingEvent, None, Made | None]:
    """Train on a stack of any size, and write it without its noise to a file.

    What does not fit into memory goes region by region into the folder
    ``OUT.partial``, with the model; a later call with `resume` goes on from
    there, without training again.

    Parameters
    ----------
    stack : Stack
        Its data may be lazy.
    target : path
        The file to be.
    config : TrainingConfig, optional
    dtype, overwrite, resume, source, ome_zarr_version, control
        As for `export.export_events`.

    Yields
    ------
    event : Notice, TrainingEvent, PredictionEvent or WritingEvent

    Returns
    -------
    made : Made or None
        None if it was stopped before there was anything to write.

    Raises
    ------
    Noise2SelfError
        As `export.export_events` and `pipeline.denoise_events`.
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
    notice = check_export(None, stack, target, **settings, **more)
    if notice is not None:
        yield Notice(notice)
    from napari_noise2self.engine.hardware import fits_in_memory

    in_memory = fits_in_memory(_BYTES * math.prod(stack.shape))
    if in_memory and not (resume and unfinished(target)):
        return (yield from _in_memory(stack, target, config, settings, control))
    return (yield from _streamed(stack, target, config, settings | more, control))


def _in_memory(
    stack: Stack, target: str | Path, config: TrainingConfig, settings: Any, control: Control
) -> Generator[Event | WritingEvent, None, Made | None]:
    from napari_noise2self.engine.pipeline import denoise_events
    from napari_noise2self.stacks.writing import write

    events = denoise_events(stack.data, axes=stack.axes, config=config, control=control)
    with contextlib.closing(events):
        result = yield from events
    if result is None:
        return None
    if result.error is not None:
        raise result.error
    if not result.complete:
        return None
    written = write(target, result.image, stack, provenance=result.info, **settings)
    return Made(result.denoiser, written, result.info)


def _streamed(
    stack: Stack, target: str | Path, config: TrainingConfig, settings: Any, control: Control
) -> Generator[Event | WritingEvent, None, Made | None]:
    from napari_noise2self.stacks.export import export_events
    from napari_noise2self.stacks.unfinished import unfinished_model

    began = time.monotonic()
    kept = unfinished_model(target) if settings["resume"] else None
    if kept is None:
        denoiser = yield from _trained(stack, config, control)
    else:
        from napari_noise2self.engine.model import Denoiser

        yield Notice(f"The model of {kept.parent} is taken: nothing is trained anew.")
        denoiser = Denoiser.load(kept, device=config.device)
    if denoiser is None:
        return None
    events = export_events(
        denoiser, stack, target, output=config.output, control=control, **settings
    )
    with contextlib.closing(events):
        written = yield from events
    info = {
        "version": version("napari-noise2self"),
        **denoiser.summary,
        "seconds": round(time.monotonic() - began, 3),
        "output": denoiser.resolved_output(config.output),
        "axes": stack.axes,
        "complete": written.complete,
        "settings": denoiser.config.model_dump(mode="json"),
    }
    return Made(denoiser, written, info)


def _trained(
    stack: Stack, config: TrainingConfig, control: Control
) -> Generator[Event, None, Denoiser | None]:
    """A denoiser trained on the stack; None if it was stopped before it had learned anything."""
    from napari_noise2self.engine.model import Denoiser

    denoiser = Denoiser(config)
    events = denoiser.train(stack.data, stack.axes, control=control)
    with contextlib.closing(events):
        trained = yield from events
    control.renew()
    return denoiser if trained else None
