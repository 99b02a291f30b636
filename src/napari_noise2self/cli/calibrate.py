"""``napari-noise2self calibrate IN [OUT]``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_noise2self.cli.console import errors, progress_bar, say, time_left
from napari_noise2self.cli.options import (
    Axes,
    EmptyChunks,
    Extent,
    GridWidth,
    Json,
    Overwrite,
    PartitionKind,
    Quiet,
    Seed,
    Source,
    Subsets,
    chosen_partition,
    flag,
)

if TYPE_CHECKING:
    from napari_noise2self.engine.calibration.calibrated import CalibratedFilter
    from napari_noise2self.engine.calibration.report import Calibration
    from napari_noise2self.stacks.finishing import Written
    from napari_noise2self.stacks.stack import Stack
    from napari_noise2self.stacks.writing import DtypeChoice


def calibrate(
    source: Source,
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OUT]",
            help="Where the image goes, denoised with the best filter (.ome.tif, .tif or "
            ".ome.zarr).",
        ),
    ] = None,
    filters: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME…",
            show_default="all but bm3d",
            help="median, gaussian, bilateral, tv, nlm, bm3d, wavelet, dictionary, jpeg2000.",
        ),
    ] = None,
    partition: PartitionKind = None,
    grid: GridWidth = None,
    subsets: Subsets = None,
    extent: Extent = None,
    truth: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The clean image: show the true errors, too."),
    ] = None,
    output: Annotated[
        Literal["auto", "single-pass", "j-invariant", "mixed"],
        typer.Option(
            help="What OUT holds: the filter as it is, its J-invariant version, or the latter "
            "mixed with the image."
        ),
    ] = "auto",
    axes: Axes = None,
    empty_chunks: EmptyChunks = False,
    volume: Annotated[
        bool, flag("--volume", "Filter ZYX together instead of slice by slice.", None)
    ] = False,
    seed: Seed = 0,
    dtype: Annotated[
        Literal["source", "float32"],
        typer.Option(help="Type of the pixels of OUT; 'source' rounds and clips."),
    ] = "source",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the best filter for the image IN and its best parameters, without a clean image."""
    with errors():
        used = chosen_partition(partition, grid, subsets, extent, seed)
        names = None if filters is None else [n.strip() for n in filters.split(",") if n.strip()]
        from napari_noise2self.stacks.file_image import arranged_like
        from napari_noise2self.stacks.reading import read
        from napari_noise2self.stacks.writing import check_target

        stack = read(source, axes, empty_chunks=empty_chunks)
        if target is not None:
            check_target(target, stack, overwrite=overwrite, source=source)
        for notice in stack.notices:
            say(notice, quiet)
        clean = None
        if truth is not None:
            clean = arranged_like(read(truth, empty_chunks=empty_chunks), stack)
        found = _calibrated(stack, quiet, filters=names, partition=used, volume=volume, truth=clean)
        report: dict[str, Any] = {"input": str(source), **found.to_json()}
        if target is not None:
            # Without a result an error would have been raised.
            assert found.best is not None
            kind = found.best.output if output == "auto" else output
            written = _filtered(found.best, stack, target, kind, quiet, dtype, overwrite)
            if written.clipped:
                say(f"{written.clipped_in_words}: --dtype float32 clips nothing.", quiet)
            report |= {"output": str(target), "output_kind": kind, "dtype": written.dtype}
        if as_json:
            print(json.dumps(report))
            return
        for line in _lines(found):
            print(line)
        if target is not None:
            say(f"{target}: {found.best}, {kind}", quiet)


def _calibrated(stack: Stack, quiet: bool, **settings: Any) -> Calibration:
    """The calibration, with a progress bar."""
    with progress_bar(quiet) as bar:
        task = bar.add_task("Calibrating", total=None, left="")
        from napari_noise2self.engine.calibration.calibrate import calibrate
        from napari_noise2self.engine.events import Notice

        def show(event: Any) -> None:
            if isinstance(event, Notice):
                say(event.message, quiet)
            else:
                left = time_left(event.seconds_left)
                bar.update(task, total=1, completed=event.fraction, left=left)

        return calibrate(stack.data, axes=stack.axes, plain=False, progress=show, **settings)


def _filtered(
    best: CalibratedFilter,
    stack: Stack,
    target: Path,
    output: str,
    quiet: bool,
    dtype: DtypeChoice,
    overwrite: bool,
) -> Written:
    """The stack filtered into a file, frame by frame, with a progress bar."""
    import math
    import time

    from napari_noise2self.stacks.filtered import Filtered
    from napari_noise2self.stacks.writing import write

    with progress_bar(quiet) as bar:
        task = bar.add_task("Filtering", total=1, left="")
        began = time.monotonic()

        def show(fraction: float) -> None:
            seconds = time.monotonic() - began
            left = seconds * (1 - fraction) / fraction if fraction else math.nan
            bar.update(task, completed=fraction, left=time_left(left))

        image = Filtered(best, stack, output, show)
        record = {"filter": str(best), "output": output}
        return write(target, image, stack, dtype=dtype, overwrite=overwrite, provenance=record)


def _lines(found: Calibration) -> Iterator[str]:
    """The table, and what it is based on."""
    from napari_noise2self.engine.calibration.calibrated import described

    table = [["filter", "parameters", "loss", "± error", "gain", "at least", "seconds"]]
    with_truth = any(curve.mse is not None for curve in found.curves)
    if with_truth:
        table[0].insert(4, "true error")
    for curve in found.curves:
        if curve.best is None:
            continue
        settings = described(curve.best.filter, curve.best.parameters)
        score = curve.score
        line = [
            curve.filter,
            settings.removeprefix(curve.filter).removeprefix(", ")
            + (" (end)" * bool(curve.at_end)),
            f"{score.loss:.5g}",
            f"{score.error:.2g}",
            *(_decibels(gain) for gain in (score.gain, score.gain_at_least)),
            f"{curve.seconds:.1f}",
        ]
        if with_truth:
            line.insert(4, "" if curve.mse is None else f"{curve.mse:.4g}")
        table.append(line)
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        # Words to the left, numbers to the right.
        cells = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    partition = dict(found.partition)
    kind = partition.pop("kind")
    settings = ", ".join(f"{name} {value}" for name, value in partition.items())
    yield (
        f"Loss: self-supervised, of the J-invariant filter, in squared grey values, on "
        f"{found.pixels} pixels; {kind} partition" + (f" ({settings})." if settings else ".")
    )
    if found.noise_variance is not None:
        yield (
            f"The variance of the noise is {found.noise_variance:.4g}: what the loss has above it "
            f"is the error; the gain over the noisy image, in dB, follows from that."
        )
    if any(curve.at_end for curve in found.curves):
        yield "(end): the best value lies at the end of what was searched."
    for curve in found.curves:
        if curve.failure is not None:
            yield curve.failure


def _decibels(gain: float | None) -> str:
    return "unknown" if gain is None else f"{gain:.1f} dB"
