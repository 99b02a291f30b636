"""What commands say, and how they end."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.pipeline import Result
    from napari_noise2self.stacks.stack import Stack

# Everything but results goes here.
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


@contextmanager
def errors() -> Iterator[None]:
    """End with one sentence and the exit status that fits it."""
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
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
        console=err,
        transient=True,
        disable=quiet or not err.is_terminal,
    )


def time_left(seconds: float) -> str:
    """How a bar tells the time that is left; nothing while it is not known."""
    if not math.isfinite(seconds):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} left"


def denoised(stack: Stack, config: TrainingConfig, quiet: bool) -> Result:
    """The stack without its noise; with a progress bar."""
    with progress_bar(quiet) as bar:
        task = bar.add_task("Starting", total=None, left="")
        from napari_noise2self.engine.events import Notice, TrainingEvent
        from napari_noise2self.engine.pipeline import denoise_events

        events = denoise_events(stack.data, axes=stack.axes, config=config)
        try:
            while True:
                event = next(events)
                if isinstance(event, Notice):
                    say(event.message, quiet)
                    continue
                if isinstance(event, TrainingEvent):
                    phase, fraction = "Training", event.step / event.steps
                else:
                    phase, fraction = "Denoising", event.fraction
                left = time_left(event.seconds_left)
                bar.update(task, description=phase, total=1, completed=fraction, left=left)
        except StopIteration as stop:
            result: Result = stop.value
            if result.error is not None:
                raise result.error from None
            return result
        finally:
            events.close()


def summary(result: Result) -> dict[str, Any]:
    """How it was made; `output` is the file in a report, so the kind has another name."""
    info = dict(result.info)
    return {"output_kind": info.pop("output"), **info}


def in_words(result: Result) -> str:
    """The same in one sentence."""
    info = result.info
    quality = info["quality"]
    score, gain = "none", ""
    if info["score"] is not None:
        score = f"{info['score']:.5g} ± {quality['error']:.2g}"
    if quality["gain_at_least"] is not None:
        estimate = "" if quality["gain"] is None else f"{quality['gain']:.1f} dB, "
        gain = f", estimated gain {estimate}at least {quality['gain_at_least']:.1f} dB"
    return (
        f"{info['seconds']:.1f} s on {info['device']}, self-supervised score {score} squared grey "
        f"values{gain} (both of the J-invariant prediction)"
    )


def finish(report: dict[str, Any], sentence: str, quiet: bool, as_json: bool) -> None:
    """Print the report, as JSON or in one sentence."""
    if as_json:
        print(json.dumps(report))
    elif not quiet:
        print(sentence)
