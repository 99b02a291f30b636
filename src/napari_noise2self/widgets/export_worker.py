"""What *Apply and export* does in worker threads."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.arrays import read_part
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Notice
from napari_noise2self.stacks.batch import BatchEvent, Outcome, apply_events
from napari_noise2self.stacks.export import export_events
from napari_noise2self.stacks.file_image import FileImage
from napari_noise2self.stacks.growing import Growing
from napari_noise2self.stacks.many import Held, Job
from napari_noise2self.stacks.provenance import of_denoiser
from napari_noise2self.stacks.suits import remember, suitability
from napari_noise2self.stacks.targets import format_of, partial_of
from napari_noise2self.stacks.unfinished import read_state, unfinished, unfinished_model
from napari_noise2self.widgets.export_words import Model
from napari_noise2self.widgets.job import load_engine

if TYPE_CHECKING:
    from napari_noise2self.engine.events import Control, TrainingEvent
    from napari_noise2self.stacks.stack import Stack

# Frames that have more pixels are shown when the first region is written, which is as soon.
_PREVIEWED = 2**18


def load(path: Path, device: str, dropped: Callable[[], bool]) -> Generator[Model, None, None]:
    """Read a model from its file."""
    yield Model(path.name, load_engine("model").Denoiser.load(path, device=device), path)


def judge(
    model: Model, stacks: Sequence[Callable[[], Stack]], dropped: Callable[[], bool]
) -> Generator[list[str], None, None]:
    """Say what speaks against applying a model to images."""
    found: list[str] = []
    for read in stacks:
        if dropped():
            return
        stack = read()
        for sentence in suitability(model.denoiser, stack):
            found.append(f"{stack.name}: {sentence}" if len(stacks) > 1 else sentence)
    yield found


def tune(
    model: Model, stack: Stack, control: Control, dropped: Callable[[], bool]
) -> Generator[Notice | TrainingEvent | Model, None, None]:
    """Go on with the training of a model on an image; the model itself stays as it is."""
    denoiser = copy.copy(model.denoiser)
    # However long it was trained before, a little more is asked for; and there is no target here.
    objective = denoiser.config.objective
    alone = "n2s" if objective in load_engine("targets").WITH_TARGET else objective
    denoiser.config = denoiser.config.model_copy(update={"epochs": None, "objective": alone})
    if alone != objective:
        yield Notice("The model learned from a target; here it goes on from the image alone.")
    events = denoiser.train(stack.data, stack.axes, warm_start=True, control=control)
    with contextlib.closing(events):
        trained = yield from events
    if not trained:
        raise InputError("Stopped before anything was learned: the model is what it was.")
    remember(denoiser, [stack])
    denoiser.summary["tuned_from"] = model.name
    yield Model(f"{model.name}, fine-tuned", denoiser)


@dataclass(frozen=True)
class Request:
    """What to export, and how.

    Attributes
    ----------
    model : Model or None
        None where an unfinished result has its own.
    jobs : tuple of Job
    growing : mapping of Job to Growing
        What shows the results of layers.
    positions : mapping of Job to tuple of int
        A pixel of them that is in view.
    axes : str or None
        Of files.
    output, dtype, version : str
    overwrite, resume : bool
    device : str
        Where the model of an unfinished result is applied.
    """

    model: Model | None
    jobs: tuple[Job, ...]
    growing: Mapping[Job, Growing]
    positions: Mapping[Job, tuple[int, ...]]
    axes: str | None
    output: str
    dtype: str
    version: str
    overwrite: bool
    resume: bool
    device: str


@dataclass(frozen=True)
class Exported:
    """What became of one image.

    Attributes
    ----------
    outcome : Outcome
    info : dict
        How the result was made.
    """

    outcome: Outcome
    info: dict[str, Any]


def export(
    request: Request, control: Control, dropped: Callable[[], bool]
) -> Generator[Notice | BatchEvent | Exported, None, None]:
    """Denoise images into files."""
    denoiser, name, settings = _begun(request) if request.resume else (None, "", {})
    if denoiser is None:
        if request.model is None:
            raise InputError("There is no model: train one, or load one from a file.")
        denoiser, name = request.model.denoiser, request.model.name
    if dropped():
        return
    wanted: dict[str, Any] = {
        "output": request.output,
        "dtype": request.dtype,
        "ome_zarr_version": request.version,
        **settings,
    }
    shown = {job.target: (request.growing[job], request.positions[job]) for job in request.growing}
    events = apply_events(
        denoiser,
        request.jobs,
        export=partial(_previewed, shown),
        axes=request.axes or None,
        overwrite=request.overwrite,
        resume=request.resume,
        provenance={"model": name} if name else {},
        control=control,
        **wanted,
    )
    with contextlib.closing(events):
        for event in events:
            if not isinstance(event, Outcome):
                yield event
                continue
            growing = request.growing.get(event.job)
            if growing is not None:
                if event.state == "done":
                    growing.finish()
                # What is not written was a preview, and no result.
                growing.slate.clear()
            yield Exported(event, _info(denoiser, name, wanted["output"], event))


def _previewed(
    shown: Mapping[Path, tuple[Growing, tuple[int, ...]]],
    denoiser: Any,
    stack: Stack,
    target: Path,
    *,
    control: Control,
    **settings: Any,
) -> Generator[Any, None, Any]:
    """Export a stack, and the frame in view first, of which a picture is there at once."""
    control.preview_frame = None
    if target in shown and not unfinished(target) and not control.stopped:
        growing, position = shown[target]
        layout = denoiser.config.layout(stack.shape, stack.axes)
        control.preview_frame = frame = layout.frame_at(position)
        # What is deep is shown when a part of it is written.
        if not layout.volume and math.prod(layout.frame_shape) <= _PREVIEWED:
            index = layout.index(frame)
            axes = "".join(a for a in layout.axes if a not in layout.frame_axes)
            part = read_part(stack.data, index)
            growing.slate[index][...] = denoiser.predict(part, axes, settings["output"])
    return (yield from export_events(denoiser, stack, target, control=control, **settings))


def _info(denoiser: Any, name: str, output: str, outcome: Outcome) -> dict[str, Any]:
    info = {**of_denoiser(denoiser, denoiser.resolved_output(output)), "model": name}
    written = outcome.written
    if written is not None:
        info |= {"file": str(written.path), "dtype": written.dtype, "clipped": written.clipped}
    return {**info, "complete": outcome.state == "done", "seconds": outcome.seconds}


def _begun(request: Request) -> tuple[Any, str, dict[str, Any]]:
    """The model and the settings that a single unfinished result was begun with."""
    if len(request.jobs) > 1:
        return None, "", {}
    (job,) = request.jobs
    path = unfinished_model(job.target)
    if path is None:
        return None, "", {}
    denoiser = load_engine("model").Denoiser.load(path, device=request.device)
    settings: dict[str, Any] = {}
    begun = read_state(partial_of(job.target)).get("request") or {}
    if "output" in begun:
        settings["output"] = begun["output"]
    if isinstance(begun.get("file"), list) and isinstance(job.source, Held):
        _, dtype, version = begun["file"]
        kept = FileImage.of(job.source.stack, format_of(job.target)).dtype
        settings["dtype"] = "source" if dtype == str(kept) else "float32"
        settings |= {"ome_zarr_version": version} if version else {}
    return denoiser, "", settings
