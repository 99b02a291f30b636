"""``napari-noise2self denoise IN OUT``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from napari_noise2self.cli.console import denoised, errors, fail, finish, in_words, say, summary
from napari_noise2self.cli.options import (
    Axes,
    Device,
    Epochs,
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
    training_config,
)


def denoise(
    source: Source,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="Ends in .ome.tif for OME-TIFF, in .tif for an ImageJ hyperstack."
        ),
    ],
    partition: PartitionKind = None,
    grid: GridWidth = None,
    subsets: Subsets = None,
    extent: Extent = None,
    epochs: Epochs = "auto",
    network: Annotated[Literal["unet", "dncnn"], typer.Option(help="The network.")] = "unet",
    output: Annotated[
        Literal["auto", "single-pass", "j-invariant", "mixed"],
        typer.Option(
            help="Apply the network to the whole image, to its hidden pixels only, or mix the "
            "latter with the image."
        ),
    ] = "auto",
    axes: Axes = None,
    volume: Annotated[
        bool, typer.Option("--volume", help="Denoise ZYX together instead of slice by slice.")
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    dtype: Annotated[
        Literal["source", "float32"],
        typer.Option(help="Type of the pixels of OUT; 'source' rounds and clips."),
    ] = "source",
    save_model: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Also save the trained model (.safetensors)."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train on the image IN and write it without its noise to OUT."""
    with errors():
        config = training_config(
            partition=chosen_partition(partition, grid, subsets, extent, seed),
            epochs=None if epochs == "auto" else float(epochs),
            network=network,
            output=output,
            device=device,
            seed=seed,
            volume=volume,
        )
        from napari_noise2self.stacks.reading import read
        from napari_noise2self.stacks.writing import check_free, check_target, write

        stack = read(source, axes)
        check_target(target, stack, overwrite=overwrite)
        if target.resolve() == source.resolve():
            fail("IN and OUT are the same file: the source is never replaced.")
        if save_model is not None:
            if save_model.suffix != ".safetensors":
                fail(f"A model is a .safetensors file: {save_model} has another ending.")
            check_free(save_model, overwrite=overwrite)
        for notice in stack.notices:
            say(notice, quiet)
        result = denoised(stack, config, quiet)
        written = write(target, result.image, stack, dtype=dtype, overwrite=overwrite)
        if written.clipped:
            say(
                f"{written.clipped} pixels did not fit into {written.dtype} and were clipped: "
                f"--dtype float32 keeps them.",
                quiet,
            )
        report: dict[str, Any] = {"output": str(target), "shape": list(stack.shape)}
        if save_model is not None:
            result.denoiser.save(save_model)
            report["model"] = str(save_model)
        report |= {"dtype": written.dtype, "clipped": written.clipped, **summary(result)}
        finish(report, f"{target}: {in_words(result)}", quiet, as_json)
