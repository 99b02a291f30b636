"""One model applied to many images, each to a file of its own; one that fails leaves the others."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_noise2self.engine.errors import Noise2SelfError, first_line
from napari_noise2self.engine.events import Control, Notice, PredictionEvent, WritingEvent
from napari_noise2self.stacks.many import Held, Job

if TYPE_CHECKING:
    from napari_noise2self.engine.config import Output
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.stacks.file_image import DtypeChoice
    from napari_noise2self.stacks.finishing import Written

Export = Callable[..., Generator[Any, None, "Written"]]
State = Literal["done", "skipped", "failed", "stopped"]

# Of the work on a file, that which brings it into its final form takes about so much.
_WRITING = 0.05


@dataclass(frozen=True)
class BatchEvent:
    """How far the work is.

    Attributes
    ----------
    number, count : int
        Which file it is at, from 1, of how many that are to be done.
    job : Job
    phase : {"reading", "denoising", "writing"}
    fraction : float
        Share of all of the work that is done, 0 to 1.
    seconds, seconds_left : float
        Time spent, and expected until all is done.
    """

    number: int
    count: int
    job: Job
    phase: str
    fraction: float
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes
    ----------
    job : Job
    state : {"done", "skipped", "failed", "stopped"}
        "stopped" is what was interrupted, and what had not begun by then.
    reason : str
        Why it was not done, in a sentence; empty if it was.
    warnings : tuple of str
        Why the result may be poor, and what else is worth knowing.
    written : Written or None
    seconds : float
    """

    job: Job
    state: State
    reason: str = ""
    warnings: tuple[str, ...] = ()
    written: Written | None = None
    seconds: float = 0.0


def apply_events(
    denoiser: Denoiser,
    jobs: Sequence[Job],
    *,
    axes: str | None = None,
    empty_chunks: bool = False,
    output: Output = "auto",
    dtype: DtypeChoice = "source",
    overwrite: bool = False,
    resume: bool = False,
    ome_zarr_version: str = "0.5",
    provenance: Mapping[str, Any] | None = None,
    control: Control | None = None,
    export: Export | None = None,
) -> Generator[Notice | BatchEvent | Outcome, None, list[Outcome]]:
    """Apply a model to many images.

    Parameters
    ----------
    denoiser : Denoiser
    jobs : sequence of Job
        See `many.plan`.
    axes : str, optional
        One letter per axis of every file, where files are wrong or silent.
    empty_chunks : bool
        As for `reading.read`.
    output, dtype, overwrite, resume, ome_zarr_version, provenance
        As for `export_events`.
    control : Control, optional
        To stop, pause and resume from another thread.
    export : callable, optional
        What denoises a stack into a file, with the signature of
        `export.export_events`, which it is by default.

    Yields
    ------
    event : Notice, BatchEvent or Outcome
        Each `Outcome` when it is certain; those of images that are skipped
        come first.

    Returns
    -------
    outcomes : list of Outcome
        One per job, in their order.

    Raises
    ------
    InputError
        If the results cannot fit on the disk together; none is begun then.
    """
    from napari_noise2self.stacks.export import maker
    from napari_noise2self.stacks.room import check_room
    from napari_noise2self.stacks.unfinished import unfinished

    control = control or Control()
    outcomes: dict[Job, Outcome] = {}
    # What was replaced already is not replaced again when it is gone on.
    made = maker(denoiser, output) if overwrite and resume else None
    for job in jobs:
        reason = _skipped(job, made, overwrite=overwrite, resume=resume)
        if reason is not None:
            outcomes[job] = Outcome(job, "skipped", reason)
            yield outcomes[job]
    left = [job for job in jobs if job not in outcomes]
    progress = _Progress(left)
    reading = {"axes": axes, "empty_chunks": empty_chunks}
    # One result makes room for another in the place of an older one, and of one result it is
    # looked at before it is begun.
    new = [job for job in left if not job.target.exists() and not unfinished(job.target)]
    if len(new) > 1:
        for sentence in check_room(denoiser, new, dtype, reading, control):
            yield Notice(sentence)
    settings = {
        "output": output,
        "dtype": dtype,
        "overwrite": overwrite,
        "resume": resume,
        "ome_zarr_version": ome_zarr_version,
        "control": control,
        "provenance": provenance,
    }
    for job in left:
        if control.stopped:
            outcome = Outcome(job, "stopped", "It had not begun.")
        else:
            yield progress.begin(job)
            events = _one(denoiser, job, reading, settings, export, progress)
            with contextlib.closing(events):
                outcome = yield from events
        outcomes[job] = outcome
        yield outcome
    return [outcomes[job] for job in jobs]


def _skipped(
    job: Job, made: Mapping[str, str] | None, *, overwrite: bool, resume: bool
) -> str | None:
    """Why nothing is to be done, if so."""
    from napari_noise2self.stacks.export import made_by
    from napari_noise2self.stacks.unfinished import unfinished

    there, begun = job.target.exists(), unfinished(job.target)
    if there and not overwrite:
        if begun and resume:
            return (
                "The result exists; what is to replace it is unfinished, and goes on where "
                "overwriting is allowed."
            )
        return "It was done before." if resume else "The result exists."
    if begun:
        if resume or overwrite:
            return None
        return "An unfinished result exists, which can be gone on with."
    if there and made is not None and made_by(job.target, made):
        return "It was done before."
    return None


class _Progress:
    """Where all of the work is, by the sizes of the files."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        sizes = [job.source.weight for job in jobs]
        known = [size for size in sizes if size]
        # What is a folder, or elsewhere, is taken to be as large as the others are on average.
        usual = sum(known) / len(known) if known else 1.0
        self._sizes = dict(zip(jobs, (size or usual for size in sizes), strict=True))
        self._total = sum(self._sizes.values())
        self._began = time.monotonic()
        self._before = 0.0
        self._number = 0
        self._job: Job | None = None

    def begin(self, job: Job) -> BatchEvent:
        if self._job is not None:
            self._before += self._sizes[self._job]
        self._job = job
        self._number += 1
        return self.at("reading", 0.0)

    def at(self, phase: str, fraction: float) -> BatchEvent:
        assert self._job is not None
        done = (self._before + fraction * self._sizes[self._job]) / self._total
        seconds = time.monotonic() - self._began
        left = seconds * (1 - done) / done if done else math.nan
        return BatchEvent(self._number, len(self._sizes), self._job, phase, done, seconds, left)


def _one(
    denoiser: Denoiser,
    job: Job,
    reading: Mapping[str, Any],
    settings: Mapping[str, Any],
    export: Export | None,
    progress: _Progress,
) -> Generator[Notice | BatchEvent, None, Outcome]:
    """Read one image, look whether the model suits it, and export it."""
    from napari_noise2self.stacks.export import export_events
    from napari_noise2self.stacks.reading import read
    from napari_noise2self.stacks.suits import suitability

    began = time.monotonic()
    warnings: list[str] = []

    def ended(state: State, reason: str = "", written: Written | None = None) -> Outcome:
        seconds = round(time.monotonic() - began, 3)
        return Outcome(job, state, reason, tuple(warnings), written, seconds)

    def told(sentence: str) -> Notice:
        warnings.append(sentence)
        return Notice(f"{job.source.path}: {sentence}")

    try:
        held = job.source if isinstance(job.source, Held) else None
        stack = read(job.source.path, **reading) if held is None else held.stack
        for sentence in stack.notices:
            yield told(sentence)
        denoiser.check(stack.data, stack.axes)
        for sentence in suitability(denoiser, stack):
            yield told(sentence)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        events = (export or export_events)(
            denoiser,
            stack,
            job.target,
            source=job.source.path if held is None else held.file,
            **settings,
        )
        with contextlib.closing(events):
            while True:
                try:
                    event = next(events)
                except StopIteration as stop:
                    written: Written = stop.value
                    break
                if isinstance(event, Notice):
                    yield told(event.message)
                elif isinstance(event, PredictionEvent):
                    yield progress.at("denoising", event.fraction * (1 - _WRITING))
                elif isinstance(event, WritingEvent):
                    yield progress.at("writing", 1 - _WRITING + event.fraction * _WRITING)
    except Noise2SelfError as error:
        return ended("failed", str(error))
    except OSError as error:
        where = error.filename or job.target
        return ended("failed", f"{where} could not be used: {error.strerror or error}.")
    except MemoryError:
        return ended("failed", "There is not enough memory for this image.")
    except Exception as error:
        # The others must not suffer from what nobody has thought of.
        logging.getLogger(__name__).exception("%s failed", job.source.path)
        return ended(
            "failed", f"An unexpected {type(error).__name__} ({first_line(error)}): report it."
        )
    if not written.complete:
        return ended("stopped", f"What is done lies in {written.path}.", written)
    if written.clipped:
        yield told(f"{written.clipped_in_words}.")
    return ended("done", written=written)
