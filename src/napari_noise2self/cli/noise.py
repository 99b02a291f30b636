"""``napari-noise2self noise IN``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_noise2self.cli.console import errors, say
from napari_noise2self.cli.options import Axes, EmptyChunks, Json, Quiet, Source, flag

if TYPE_CHECKING:
    from napari_noise2self.engine.noise.estimate import NoiseReport


def noise(
    source: Source,
    axes: Axes = None,
    empty_chunks: EmptyChunks = False,
    volume: Annotated[bool, flag("--volume", "Measure the correlation along Z too.", None)] = False,
    residual: Annotated[
        Path | None,
        typer.Option(
            metavar="DENOISED",
            help="A denoised image of IN: say what is left in the residual, IN less DENOISED.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say what the noise of the image IN is, and how to denoise it therefore."""
    with errors():
        from napari_noise2self.engine.noise.estimate import estimate_noise
        from napari_noise2self.stacks.reading import read

        stack = read(source, axes, empty_chunks=empty_chunks)
        for notice in stack.notices:
            say(notice, quiet)
        report = estimate_noise(stack.data, stack.axes, volume=volume)
        examined = None
        if residual is not None:
            from napari_noise2self.engine.residual.examine import examine_residual
            from napari_noise2self.stacks.file_image import arranged_like

            denoised = arranged_like(read(residual, empty_chunks=empty_chunks), stack)
            examined = examine_residual(stack.data, denoised, stack.axes, report)
        if as_json:
            found = {} if examined is None else {"residual": examined.to_json()}
            print(json.dumps({"input": str(source), **report.to_json(), **found}))
            return
        for line in _noise_lines(report):
            print(line)
        if examined is not None:
            print("residual")
            for sentence in examined.sentences:
                print(f"  {sentence}")


def _noise_lines(report: NoiseReport) -> Iterator[str]:
    """A noise report in plain words."""
    yield f"axes          {report.axes}"
    for number, channel in enumerate(report.channels):
        if len(report.channels) > 1:
            yield f"channel {number + 1}"
        yield f"gain          {_number(channel.gain)} grey values per photoelectron"
        yield f"offset        {_number(channel.offset)} (taken to be the darkest local mean)"
        yield f"read noise    {_number(channel.read_noise)}"
        if math.isfinite(channel.variance_error):
            deviation = _number(math.sqrt(channel.mean_variance))
            yield f"deviation     {deviation} (variance known to {channel.variance_error:.0%})"
        else:
            yield "deviation     unknown: structure cannot be told from noise here"
        for letter, axis in channel.correlation.items():
            if not axis.rho:
                yield f"along {letter.lower()}       unknown"
                continue
            shown = ", ".join(f"{rho:+.2f}" for rho in axis.rho[:3])
            verdict = f"correlated, extent {axis.extent}" if axis.correlated else "not correlated"
            if not axis.correlated and not axis.noise_alone:
                verdict += ", as far as can be told beside structure"
            yield f"along {letter.lower()}       {shown} ± {axis.error[0]:.2f}: {verdict}"
        shares = {
            "clipped low": channel.clipped_low,
            "clipped high": channel.clipped_high,
            "missing": channel.missing,
            "hot": channel.hot,
            "dead": channel.dead,
        }
        found = [f"{name} {share:.2g}" for name, share in shares.items() if share > 0]
        yield f"bad pixels    {', '.join(found) + ' (shares)' if found else 'none'}"
        if channel.fixed_pattern is not None:
            pattern = _number(channel.fixed_pattern) if channel.fixed_pattern else "none found"
            yield f"fixed pattern {pattern}"
    suggestion = report.suggestion
    partition = suggestion.partition
    sizes = [_sizes(value) for value in (partition.width, partition.extent)]
    yield f"suggestion    --grid {sizes[0]} --extent {sizes[1]} --output {suggestion.output}"
    yield f"              transformation: {suggestion.transformation}"
    for reason in suggestion.reasons:
        yield f"  {reason}"


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "unknown"


def _sizes(value: int | tuple[int, ...]) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
