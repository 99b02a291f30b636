"""Options that commands share, and what they ask for together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.partition import Partition


def _epochs(text: str) -> str:
    if text != "auto":
        try:
            float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is neither a number nor 'auto'.") from None
    return text


def _numbers(text: str) -> str:
    if not all(part.isdecimal() for part in text.split("x")):
        raise typer.BadParameter(
            f"{text!r} is not a number such as 4, or one per axis as in 2x4x4."
        )
    return text


Source = Annotated[Path, typer.Argument(metavar="IN", help="A TIFF, OME-TIFF, PNG or NPY file.")]
Axes = Annotated[
    str | None,
    typer.Option(help="One letter per axis, such as TZYX, where the file is wrong or silent."),
]
Epochs = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        callback=_epochs,
        help="Length of the training: one epoch draws as many targets as the data has pixels.",
    ),
]
Device = Annotated[Literal["auto", "cuda", "mps", "cpu"], typer.Option(help="Where to compute.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed and device: same result.")]
Kind = Literal["grid", "random", "checkerboard"]
PartitionKind = Annotated[
    Kind | None,
    typer.Option(
        "--partition",
        show_default="grid",
        help="Which pixels are hidden together: regular lattices, pixels by chance, or one colour "
        "of a checkerboard.",
    ),
]
GridWidth = Annotated[
    str | None,
    typer.Option(
        "--grid",
        metavar="N",
        callback=lambda text: text and _numbers(text),
        show_default="automatic",
        help="Grid width of the partition, or one per axis as in 2x4x4.",
    ),
]
Subsets = Annotated[
    int | None,
    typer.Option(
        "--subsets",
        metavar="N",
        show_default="25",
        help="Number of subsets of a random partition: one in N pixels is hidden at a time.",
    ),
]
Extent = Annotated[
    str | None,
    typer.Option(
        "--extent",
        metavar="N",
        callback=lambda text: text and _numbers(text),
        show_default="1",
        help="Odd width of the block hidden around each target, against correlated noise: "
        "1x3 hides three pixels along x.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def training_config(**settings: Any) -> TrainingConfig:
    """The settings; those that are out of range are wrong usage."""
    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.errors import InputError

    try:
        return TrainingConfig(**settings)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def chosen_partition(
    kind: Kind | None, grid: str | None, subsets: int | None, extent: str | None, seed: int
) -> Partition | None:
    """The partition that the options ask for together; None is the automatic one."""
    kind = kind or "grid"
    for option, value, kinds in (
        ("--grid", grid, ("grid",)),
        ("--subsets", subsets, ("random",)),
        ("--extent", extent, ("grid", "random")),
    ):
        if value is not None and kind not in kinds:
            raise typer.BadParameter(
                f"{option} does not go with a {kind} partition: leave it out, or use "
                f"--partition {' or '.join(kinds)}."
            )
    from napari_noise2self.engine.errors import InputError
    from napari_noise2self.engine.partition import Checkerboard, Grid, RandomPartition

    width, block = _per_axis(grid), _per_axis(extent)
    try:
        if kind == "checkerboard":
            return Checkerboard()
        if kind == "random":
            return RandomPartition(
                25 if subsets is None else subsets, 1 if block is None else block, seed
            )
        if width is not None:
            return Grid(width, 1 if block is None else block)
        return None if block is None else Grid.for_extent(block)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def _per_axis(text: str | None) -> int | tuple[int, ...] | None:
    if text is None:
        return None
    return tuple(map(int, text.split("x"))) if "x" in text else int(text)
