"""``napari-noise2self denoise IN OUT``."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_noise2self.cli.console import errors, finish, in_words, run, save, say, summary
from napari_noise2self.cli.options import (
    RESULT,
    Axes,
    Channels,
    Context,
    DepthAxis,
    Device,
    Dtype,
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
    Resume,
    Seed,
    Source,
    Subsets,
    Volume,
    ZarrVersion,
    chosen_partition,
    chosen_region,
    model_target,
    training_config,
)


def denoise(
    source: Source,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Ends in .ome.tif for OME-TIFF, in .tif for an ImageJ hyperstack, in .ome.zarr "
            "for OME-Zarr.",
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
    device: Device = "auto",
    seed: Seed = 0,
    dtype: Dtype = "source",
    ome_zarr_version: ZarrVersion = "0.5",
    save_model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Also save the trained model (.safetensors).",
            rich_help_panel=RESULT,
        ),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train on the image IN and write it without its noise to OUT.

    IN can be of any size: what does not fit into memory is denoised region by region into the
    folder OUT.partial, which becomes OUT when it is whole. After an interruption --resume goes
    on from there.
    """
    part = chosen_region(region)
    with errors(f"{target}.partial"):
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
        if save_model is not None:
            model_target(save_model, overwrite=overwrite)
        from napari_noise2self.stacks.denoise_file import denoise_file_events
        from napari_noise2self.stacks.reading import read

        stack = read(source, axes, empty_chunks=empty_chunks)
        for notice in stack.notices:
            say(notice, quiet)

        def begin() -> Generator[Any, None, Any]:
            return denoise_file_events(
                stack,
                target,
                config,
                region=part,
                dtype=dtype,
                overwrite=overwrite,
                resume=resume,
                source=source,
                ome_zarr_version=ome_zarr_version,
            )

        made = run(begin, quiet)
        assert made is not None  # nobody can have stopped it
        if save_model is not None:
            # First: what was learned must not be lost with a result that cannot be written.
            save(made.denoiser, save_model)
        if made.error is not None:
            raise made.error
        written = made.written
        if written.clipped:
            say(f"{written.clipped_in_words}: --dtype float32 clips nothing.", quiet)
        report: dict[str, Any] = {"output": str(target), "shape": list(stack.shape)}
        if save_model is not None:
            report["model"] = str(save_model)
        report |= {"dtype": written.dtype, "clipped": written.clipped, **summary(made.info)}
        finish(report, f"{target}: {in_words(made.info)}", quiet, as_json)
