"""``napari-noise2self apply M IN… OUT``."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_noise2self.cli.console import err, errors, fail, run, say, time_spent
from napari_noise2self.cli.options import (
    CONDUCT,
    RESULT,
    Axes,
    Device,
    Dtype,
    EmptyChunks,
    Json,
    Output,
    Overwrite,
    Quiet,
    Resume,
    Series,
    Sources,
    ZarrVersion,
)

if TYPE_CHECKING:
    from napari_noise2self.stacks.batch import Export, Outcome
    from napari_noise2self.stacks.many import Job

_COLOURS = {
    "done": "green",
    "skipped": "yellow",
    "failed": "red",
    "interrupted": "yellow",
    "not begun": "default",
}
_WAY_OUT = "Name another file, or use --overwrite or --resume."


def _scheduler(text: str | None) -> str | None:
    if text is not None and text.startswith("local") and not re.fullmatch(r"local:[1-9]\d*", text):
        raise typer.BadParameter(f"{text!r} names no number of processes: write it as local:4.")
    return text


def apply(
    model: Annotated[
        Path, typer.Argument(metavar="M", help="A model, as 'train' and --save-model write it.")
    ],
    sources: Sources,
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="For one image a file that ends in .ome.tif, .tif or .ome.zarr; for many, or with "
            "a slash at its end, a folder.",
        ),
    ],
    name: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="How files in the folder are named: {name} of the image, {suffix} of the format, "
            "{parent} folder, {number}, {model}; a slash makes folders.",
            rich_help_panel=RESULT,
        ),
    ] = "{name}_denoised{suffix}",
    file_format: Annotated[
        Literal["ome-tiff", "imagej", "ome-zarr"] | None,
        typer.Option(
            "--format",
            metavar="NAME",
            show_default="that of the image, or ome-tiff",
            help="Format of files in the folder: ome-tiff, imagej or ome-zarr.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    ome_zarr_version: ZarrVersion = "0.5",
    output: Output = "auto",
    dtype: Dtype = "source",
    axes: Axes = None,
    empty_chunks: EmptyChunks = False,
    series: Series = False,
    device: Device = "auto",
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Share the work on each image between the workers of a dask cluster: the address "
            "of its scheduler (tcp://host:8786), its scheduler file (.json), or local:N for N "
            "processes here.",
            rich_help_panel=CONDUCT,
            callback=_scheduler,
        ),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Denoise the images IN... with the model M, without training.

    Each image becomes one file. One that cannot be denoised leaves the others unharmed; a table
    says what was done, skipped and failed, and the exit status is 1 if any failed. Results that
    exist are skipped, so that the same command goes on where it was interrupted; with --resume
    also within a file.
    """
    with errors():
        later = [word for word in (*sources, out) if word.lower().endswith(".safetensors")]
        if later and model.suffix.lower() != ".safetensors":
            raise typer.BadParameter(f"The model comes first, then images, then OUT: {later[0]}.")
        from napari_noise2self.stacks.many import find_images, plan, strangers_in_words
        from napari_noise2self.stacks.parts import parts_in_words, without_parts

        found = without_parts(find_images(sources, series=series))
        planned = plan(found, out, pattern=name, kind=file_format, fields={"model": model.stem})
        if found.strangers:
            say(strangers_in_words(found.strangers), quiet)
        if found.parts:
            say(parts_in_words(found.parts), quiet)
        for result in planned.results:
            say(f"{result} is left out: it is the name of another image's result.", quiet)
        with _workers(scheduler, device, quiet) as export:
            outcomes, interrupted = _apply_all(
                model,
                planned.jobs,
                # It is the workers that may have another device.
                device if scheduler is None else "cpu",
                quiet,
                export=export,
                axes=axes,
                empty_chunks=empty_chunks,
                output=output,
                dtype=dtype,
                overwrite=overwrite,
                resume=resume,
                ome_zarr_version=ome_zarr_version,
            )
        rows = [_row(job, outcomes.get(job)) for job in planned.jobs]
        # Where one file was asked for, an older one is not an answer.
        refused = planned.folder is None and rows[0]["state"] == "skipped" and not resume
        if refused:
            fail(f"{out}: {rows[0]['reason']} {_WAY_OUT}")
        if as_json:
            left_out = [*found.strangers, *found.parts, *planned.results]
            print(json.dumps({"model": str(model), "files": rows, "left_out": left_out}))
        elif not quiet:
            _print_rows(rows, planned.folder)
        if interrupted:
            again = "--resume --overwrite" if overwrite else "--resume"
            say(f"Interrupted: what is done is kept; {again} goes on from there.", quiet)
            raise typer.Exit(130)
        if any(row["state"] == "failed" for row in rows):
            raise typer.Exit(1)


@contextmanager
def _workers(
    scheduler: str | None, device: Literal["auto", "cuda", "mps", "cpu"], quiet: bool
) -> Iterator[Export | None]:
    """What exports an image by the workers of a cluster; None if there is none."""
    if scheduler is None:
        yield None
        return
    from napari_noise2self.stacks.distributed import connect
    from napari_noise2self.stacks.export import export_events

    with connect(scheduler, device=device) as cluster:
        say(cluster.words, quiet)
        yield partial(export_events, predict=cluster.predict_events)


def _apply_all(
    model: Path,
    jobs: Sequence[Job],
    device: Literal["auto", "cuda", "mps", "cpu"],
    quiet: bool,
    export: Export | None = None,
    **settings: Any,
) -> tuple[dict[Job, Outcome], bool]:
    """What became of the jobs, and whether the work was interrupted."""
    outcomes: dict[Job, Outcome] = {}

    def begin() -> Generator[Any, None, Any]:
        from napari_noise2self.engine.model import Denoiser
        from napari_noise2self.stacks.batch import apply_events

        denoiser = Denoiser.load(model, device=device)
        return apply_events(
            denoiser, jobs, export=export, provenance={"model": model.name}, **settings
        )

    def tell(outcome: Outcome) -> None:
        outcomes[outcome.job] = outcome
        if outcome.state == "failed":
            path = "" if outcome.job.source.path in outcome.reason else outcome.job.source.path
            err.print(f"Error: {path}{': ' * bool(path)}{outcome.reason}", markup=False)

    try:
        run(begin, quiet, tell)
    except KeyboardInterrupt:
        return outcomes, True
    return outcomes, False


def _row(job: Job, outcome: Outcome | None) -> dict[str, Any]:
    """What became of one image, ready for JSON."""
    row: dict[str, Any] = {"input": job.source.path, "output": str(job.target)}
    if outcome is None:
        from napari_noise2self.stacks.unfinished import unfinished

        begun = unfinished(job.target)
        return {
            **row,
            "state": "interrupted" if begun else "not begun",
            "reason": "A part is done." if begun else "",
            "warnings": [],
            "seconds": 0.0,
        }
    written = outcome.written
    return {
        **row,
        "state": outcome.state,
        "reason": outcome.reason,
        "warnings": list(outcome.warnings),
        "seconds": outcome.seconds,
        **({} if written is None else {"dtype": written.dtype, "clipped": written.clipped}),
    }


def _print_rows(rows: Sequence[dict[str, Any]], folder: Path | None) -> None:
    """What became of all images: one sentence for one, a table for many."""
    if len(rows) == 1 and rows[0]["state"] != "failed":
        row = rows[0]
        done = f"denoised in {row['seconds']:.1f} s" if row["state"] == "done" else row["state"]
        print(f"{row['output']}:", row["reason"] or done)
    elif len(rows) > 1:
        _print_table(rows, folder)
        counts = [f"{sum(row['state'] == state for row in rows)} {state}" for state in _COLOURS]
        total = time_spent(sum(row["seconds"] for row in rows))
        words = ", ".join(count for count in counts if not count.startswith("0 "))
        print(f"{len(rows)} images in {total}: {words}. Results are in {folder}.")


def _print_table(rows: Sequence[dict[str, Any]], folder: Path | None) -> None:
    import os

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = Console(highlight=False, emoji=False)
    if not out.is_terminal:
        # In a file every image has one line, whatever its length.
        out.width = 10_000
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading, overflow in (("", "fold"), ("image", "fold"), ("result", "fold")):
        table.add_column(heading, overflow=overflow)  # type: ignore[arg-type]
    table.add_column("seconds", justify="right", no_wrap=True)
    # What all have in common is not repeated.
    folders = {os.path.split(row["input"])[0] for row in rows}
    common = len(folders) == 1
    for row in rows:
        result = os.path.relpath(row["output"], folder) if row["state"] == "done" else ""
        remarks = [text for text in (row["reason"], result, *row["warnings"]) if text]
        table.add_row(
            Text(row["state"], _COLOURS[row["state"]]),
            Text(os.path.split(row["input"])[1] if common else row["input"]),
            Text("\n".join(remarks) if out.is_terminal else " ".join(remarks)),
            Text(f"{row['seconds']:.1f}" if row["state"] == "done" else ""),
        )
    out.print(table)
