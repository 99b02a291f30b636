"""``napari-noise2self package MODEL ZIP``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from napari_noise2self.cli.console import errors
from napari_noise2self.cli.options import EmptyChunks, Json, Output, Overwrite, Quiet


def package(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .safetensors file.")],
    target: Annotated[Path, typer.Argument(metavar="ZIP", help="The package, a .zip file.")],
    author: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Author of the model; can be given several times."),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="that of the file",
            help="What the model is called: letters, digits, spaces, dashes and brackets.",
        ),
    ] = None,
    description: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            show_default="what the model knows",
            help="What it was trained on, in one or two sentences.",
        ),
    ] = "",
    license: Annotated[  # noqa: A002 as the format calls it
        str, typer.Option(metavar="ID", help="Licence of the model, as the SPDX list calls it.")
    ] = "CC-BY-4.0",
    example: Annotated[
        str | None,
        typer.Option(
            metavar="IN",
            show_default="a simulated one",
            help="An image of the kind it was trained on, for the tests and the picture.",
        ),
    ] = None,
    empty_chunks: EmptyChunks = False,
    output: Output = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a package of the BioImage Model Zoo of MODEL, for deepImageJ, ilastik and others.

    It holds the network, its normalisation, test images and a description, and is written only
    if it passes the tests of the Zoo. Needs the extra bioimageio of this package.
    """
    import re

    with errors():
        from napari_noise2self.engine.model import Denoiser
        from napari_noise2self.stacks.bioimageio import export_bioimageio
        from napari_noise2self.stacks.reading import read

        denoiser = Denoiser.load(model, device="cpu")
        # The format knows fewer letters in names than files do.
        known = re.sub(r"[^A-Za-z0-9 ()-]+", " ", model.stem).strip() or "Noise2Self"
        export_bioimageio(
            denoiser,
            target,
            name=known if name is None else name,
            authors=author,
            description=description,
            license=license,
            example=None if example is None else read(example, empty_chunks=empty_chunks),
            output=output,
            overwrite=overwrite,
        )
        if as_json:
            print(json.dumps({"model": str(model), "package": str(target)}))
        elif not quiet:
            print(f"{target}: {model} as a package of the BioImage Model Zoo, tested.")
