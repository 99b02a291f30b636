"""``napari-noise2self train IN… --model M``."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_noise2self.cli.console import err, errors, finish, in_words, run, save, say, summary
from napari_noise2self.cli.options import (
    RESULT,
    Axes,
    Channels,
    Context,
    DepthAxis,
    Device,
    EmptyChunks,
    Epochs,
    Extent,
    GridWidth,
    Json,
    Network,
    Output,
    Overwrite,
    PartitionKind,
    Quiet,
    Region,
    Seed,
    Series,
    Sources,
    Subsets,
    Volume,
    chosen_partition,
    chosen_region,
    model_target,
    training_config,
)

if TYPE_CHECKING:
    from napari_noise2self.engine.events import Control
    from napari_noise2self.engine.model import Denoiser


def train(
    sources: Sources,
    model: Annotated[
        Path,
        typer.Option(
            metavar="M",
            help="Where the model goes, a .safetensors file.",
            rich_help_panel=RESULT,
        ),
    ],
    partition: PartitionKind = None,
    grid: GridWidth = None,
    subsets: Subsets = None,
    extent: Extent = None,
    epochs: Epochs = "auto",
    network: Network = "unet",
    output: Output = "auto",
    axes: Axes = None,
    empty_chunks: EmptyChunks = False,
    volume: Volume = False,
    context: Context = 0,
    depth_axis: DepthAxis = None,
    channels: Channels = "auto",
    region: Region = None,
    series: Series = False,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one model on the images IN..., and save it to apply it to others.

    The images need the same number of channels; their other axes can differ. Ctrl-C ends the
    training and saves what was learned until then.
    """
    part = chosen_region(region)
    with errors():
        config = training_config(
            partition=chosen_partition(partition, grid, subsets, extent, seed),
            epochs=None if epochs == "auto" else float(epochs),
            network=network,
            output=output,
            device=device,
            seed=seed,
            volume=volume,
            context=context,
            depth_axis=depth_axis,
            channel_use=channels,
        )
        model_target(model, overwrite=overwrite)
        from napari_noise2self.stacks.many import find_images, strangers_in_words
        from napari_noise2self.stacks.parts import parts_in_words, without_parts
        from napari_noise2self.stacks.training_set import read_training_set

        found = without_parts(find_images(sources, series=series))
        if found.strangers:
            say(strangers_in_words(found.strangers), quiet)
        if found.parts:
            say(parts_in_words(found.parts), quiet)
        images = read_training_set(found.inputs, axes, config=config, empty_chunks=empty_chunks)
        for sentence in images.left_out:
            say(f"Left out: {sentence}", quiet)
        for given, stack in zip(images.inputs, images.stacks, strict=True):
            for notice in stack.notices:
                say(f"{given.path}: {notice}", quiet)
        from napari_noise2self.engine.events import Control
        from napari_noise2self.stacks.suits import remember

        learned: list[Denoiser] = []
        control = Control()

        def begin() -> Generator[Any, None, bool]:
            from napari_noise2self.engine.model import Denoiser

            learned.append(Denoiser(config))
            stacks = images.stacks
            return learned[0].train(
                [s.data for s in stacks], [s.axes for s in stacks], region=part, control=control
            )

        with _stopped_by_interrupt(control):
            trained = run(begin, quiet)
        if not trained:
            raise KeyboardInterrupt
        denoiser = learned[0]
        remember(denoiser, images.stacks)
        save(denoiser, model)
        if control.stopped:
            epochs = denoiser.summary["epochs"]
            err.print(
                f"Interrupted: {model} is what was learned in {epochs:.3g} epochs.", markup=False
            )
            raise typer.Exit(130)
        report: dict[str, Any] = {
            "model": str(model),
            "inputs": [given.path for given in images.inputs],
            "left_out": [*found.strangers, *found.parts, *images.left_out],
        }
        count = len(images.stacks)
        info = {"output": denoiser.resolved_output(), **denoiser.summary}
        report |= {
            **summary(info),
            "settings": denoiser.config.model_dump(mode="json"),
        }
        of = "1 image" if count == 1 else f"{count} images"
        finish(report, f"{model}: trained on {of}, {in_words(info)}", quiet, as_json)


@contextmanager
def _stopped_by_interrupt(control: Control) -> Iterator[None]:
    """Let the first Ctrl-C end training where it is, so that what was learned is kept.

    The second one ends the program.
    """

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        control.stop()

    before = signal.getsignal(signal.SIGINT)
    # A shell lets its jobs in the background ignore it.
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
