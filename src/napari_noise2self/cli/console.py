"""What commands say, and how they end."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.engine.pipeline import Result
    from napari_noise2self.stacks.stack import Stack

Answer = TypeVar("Answer")
# So much of the name of a file stands beside a bar.
_LONGEST_NAME = 32

# Everything but results goes here.
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


@contextmanager
def errors(partial: str | None = None) -> Iterator[None]:
    """End with one sentence and the exit status that fits it.

    Parameters
    ----------
    partial : str, optional
        The folder from which interrupted work can go on, if it is there.
    """
    from napari_noise2self.engine.errors import Noise2SelfError

    try:
        yield
    except Noise2SelfError as error:
        fail(str(error))
    except MemoryError:
        fail("There is not enough memory for this image.")
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{error.filename or 'A file'} could not be used: {error.strerror or error}.")
    except KeyboardInterrupt:
        if partial is not None and Path(partial).is_dir():
            err.print(
                f"Interrupted: what is done lies in {partial}; --resume goes on from there.",
                markup=False,
            )
        else:
            err.print("Interrupted: no unfinished file was left.")
        raise typer.Exit(130) from None


def fail(sentence: str) -> NoReturn:
    """End with one sentence and the exit status 1."""
    err.print(f"Error: {sentence}", markup=False)
    raise typer.Exit(1)


def say(sentence: str, quiet: bool) -> None:
    """Tell something beside the result."""
    if not quiet:
        err.print(sentence, markup=False)


def progress_bar(quiet: bool) -> Progress:
    """A bar with the share that is done and the time left; nothing where nobody looks."""
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
        console=err,
        transient=True,
        disable=quiet or not err.is_terminal,
    )


def time_left(seconds: float) -> str:
    """How a bar tells the time that is left; nothing while it is not known."""
    return f"{time_spent(seconds)} left" if math.isfinite(seconds) else ""


def time_spent(seconds: float) -> str:
    """A time in minutes and seconds, or hours before them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def run(
    begin: Callable[[], Generator[Any, None, Answer]],
    quiet: bool,
    tell: Callable[[Any], None] | None = None,
) -> Answer:
    """Run long work to its end, with a progress bar.

    Parameters
    ----------
    begin : callable
        Makes the generator of events; imports that take long belong into it,
        because the bar is there by then.
    quiet : bool
    tell : callable, optional
        Called with every event that is neither a notice nor about progress.
    """
    with progress_bar(quiet) as bar:
        task = bar.add_task("Starting", total=None, left="")
        events = begin()
        from napari_noise2self.engine.events import (
            Notice,
            PredictionEvent,
            TrainingEvent,
            WritingEvent,
            exhaust,
        )
        from napari_noise2self.stacks.batch import BatchEvent

        def show(event: Any) -> None:
            if isinstance(event, Notice):
                say(event.message, quiet)
                return
            if isinstance(event, TrainingEvent):
                phase, fraction = "Training", event.step / event.steps
            elif isinstance(event, PredictionEvent):
                phase, fraction = "Denoising", event.fraction
            elif isinstance(event, WritingEvent):
                phase, fraction = "Writing", event.fraction
            elif isinstance(event, BatchEvent):
                phase = f"{event.number} of {event.count}  {_short(event.job.source.path)}"
                fraction = event.fraction
            else:
                if tell is not None:
                    tell(event)
                return
            left = time_left(event.seconds_left)
            bar.update(task, description=phase, total=1, completed=fraction, left=left)

        return exhaust(events, show)


def _short(path: str) -> str:
    """The end of a path, short enough to stand beside a bar."""
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return name if len(name) <= _LONGEST_NAME else f"{name[:12]}…{name[13 - _LONGEST_NAME :]}"


def denoised(stack: Stack, config: TrainingConfig, quiet: bool) -> Result:
    """The stack without its noise, in memory; with a progress bar."""

    def begin() -> Generator[Any, None, Result | None]:
        from napari_noise2self.engine.pipeline import denoise_events

        return denoise_events(stack.data, axes=stack.axes, config=config)

    result = run(begin, quiet)
    assert result is not None  # nobody can have stopped it
    if result.error is not None:
        raise result.error
    return result


def save(denoiser: Denoiser, path: Path) -> None:
    """Save a model; where that fails, elsewhere, before the failure is told.

    It may have been trained for hours.
    """
    from napari_noise2self.engine.errors import ModelFileError

    try:
        denoiser.save(path)
    except ModelFileError as error:
        spare = Path(tempfile.mkdtemp(prefix="noise2self-")) / path.name
        denoiser.save(spare)
        raise ModelFileError(f"{error} The model is saved as {spare} instead.") from error


def summary(info: Mapping[str, Any]) -> dict[str, Any]:
    """How it was made; `output` is the file in a report, so the kind has another name."""
    info = dict(info)
    return {"output_kind": info.pop("output"), **info}


def in_words(info: Mapping[str, Any]) -> str:
    """The same in one sentence."""
    quality = info["quality"]
    score, gain = "none", ""
    if info["score"] is not None:
        score = f"{info['score']:.5g} ± {quality['error']:.2g}"
    if quality["gain_at_least"] is not None:
        estimate = "" if quality["gain"] is None else f"{quality['gain']:.1f} dB, "
        gain = f", estimated gain {estimate}at least {quality['gain_at_least']:.1f} dB"
    mixed = ""
    if info.get("output") == "mixed" and quality["mixed_gain"] is not None:
        mixed = f"; of the mixed output {quality['mixed_gain']:.1f} dB"
    return (
        f"{info['seconds']:.1f} s on {info['device']}, {epochs_in_words(info['epochs'])}, "
        f"self-supervised score {score} squared grey values{gain} (both of the J-invariant "
        f"prediction){mixed}"
    )


def epochs_in_words(epochs: float) -> str:
    """A number of epochs to three digits, or whole."""
    number = f"{epochs:.0f}" if epochs >= 100 else f"{epochs:.3g}"
    return f"{number} {'epoch' if number == '1' else 'epochs'}"


def finish(report: dict[str, Any], sentence: str, quiet: bool, as_json: bool) -> None:
    """Print the report, as JSON or in one sentence."""
    if as_json:
        print(json.dumps(report))
    elif not quiet:
        print(sentence)
