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


# The headings under which `--help` lists the options.
LEARNING, RESULT, CONDUCT = "What is learned", "The result", "How it runs"

FORMATS = "TIFF, OME-TIFF, OME-Zarr (also at https:// or s3://), PNG or NPY"
Source = Annotated[
    str,
    typer.Argument(metavar="IN", help=f"{FORMATS}; or a folder of TIFFs that are one image."),
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="IN",
        help=f"Images ({FORMATS}), folders of images, and patterns such as 'day*/**/*.tif'.",
    ),
]


def flag(name: str, text: str, panel: str | None = CONDUCT) -> Any:
    """An option without a value."""
    return typer.Option(name, metavar="", help=text, rich_help_panel=panel)


def _option(text: str, metavar: str, panel: str = LEARNING, *names: str, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=panel, **more)


Axes = Annotated[
    str | None,
    _option(
        "One letter per axis, such as TZYX, where the file is wrong or silent.", "TCZYX", CONDUCT
    ),
]
Series = Annotated[bool, flag("--series", "A folder is one image, and its files are planes of it.")]
EmptyChunks = Annotated[
    bool,
    flag(
        "--empty-chunks",
        "Take chunks that a Zarr lacks, or planes that an OME-TIFF lacks, as empty, not as lost.",
    ),
]
Epochs = Annotated[
    str,
    _option(
        "Length of the training: one epoch draws as many targets as the data has pixels. Six "
        "times as many as auto takes (told at the end) give a slightly better result.",
        "N|auto",
        callback=_epochs,
    ),
]
Device = Annotated[
    Literal["auto", "cuda", "mps", "cpu"],
    _option("Where to compute: cuda, mps or cpu.", "NAME", CONDUCT),
]
Seed = Annotated[int, _option("Same seed and device: same result.", "N", min=0)]
Kind = Literal["grid", "random", "checkerboard"]
PartitionKind = Annotated[
    Kind | None,
    _option(
        "Which pixels are hidden together: regular lattices (grid), pixels by chance (random), "
        "or one colour of a checkerboard.",
        "KIND",
        LEARNING,
        "--partition",
        show_default="grid",
    ),
]
GridWidth = Annotated[
    str | None,
    _option(
        "Grid width of the partition, or one per axis as in 2x4x4.",
        "N",
        LEARNING,
        "--grid",
        callback=lambda text: text and _numbers(text),
        show_default="automatic",
    ),
]
Subsets = Annotated[
    int | None,
    _option(
        "Number of subsets of a random partition: one in N pixels is hidden at a time.",
        "N",
        show_default="25",
    ),
]
Extent = Annotated[
    str | None,
    _option(
        "Odd width of the block hidden around each target, against correlated noise: 1x3 hides "
        "three pixels along x.",
        "N",
        callback=lambda text: text and _numbers(text),
        show_default="1",
    ),
]
Network = Annotated[
    Literal["unet", "dncnn", "unet-paper"],
    _option("The network: unet, dncnn, or the larger and slower unet-paper.", "NAME"),
]
Volume = Annotated[
    bool, flag("--volume", "Denoise ZYX together instead of slice by slice.", LEARNING)
]
Context = Annotated[
    int,
    _option("Show so many neighbouring slices on either side to a 2-D network.", "N", min=0, max=8),
]
DepthAxis = Annotated[
    Literal["Z", "T"] | None,
    _option(
        "What --volume and --context take as depth: Z or T.",
        "AXIS",
        LEARNING,
        "--depth-axis",
        show_default="Z; for --context T where there is no Z",
        case_sensitive=False,
    ),
]
Channels = Annotated[
    Literal["auto", "together", "shared", "apart"],
    _option(
        "Channels: seen at once by one network (together), images of their own for one network "
        "(shared), or a network for each (apart); auto keeps up to five apart, and RGB together.",
        "KIND",
        LEARNING,
        "--channels",
    ),
]
Region = Annotated[
    str | None,
    _option(
        "Learn from a part alone, such as Y=0:512,X=0:512,T=0:10; all is denoised.",
        "RANGES",
        show_default="all",
    ),
]
Output = Annotated[
    Literal["auto", "single-pass", "j-invariant", "mixed"],
    _option(
        "Apply the network to the whole image (single-pass), to hidden pixels only (j-invariant), "
        "or mix the latter with the image (mixed).",
        "KIND",
        RESULT,
    ),
]
Dtype = Annotated[
    Literal["source", "float32"],
    _option("Type of the pixels: source, which rounds and clips, or float32.", "TYPE", RESULT),
]
ZarrVersion = Annotated[
    Literal["0.5", "0.4"],
    _option("Version of an OME-Zarr: 0.5 or 0.4.", "N", RESULT, "--ome-zarr-version"),
]
Resume = Annotated[bool, flag("--resume", "Go on with what OUT.partial holds of an earlier run.")]
Overwrite = Annotated[bool, flag("--overwrite", "Replace files that exist.")]
Quiet = Annotated[bool, flag("--quiet", "Say nothing but errors.")]
Json = Annotated[bool, flag("--json", "Print one JSON object on standard output.")]


def training_config(**settings: Any) -> TrainingConfig:
    """The settings; those that are out of range are wrong usage."""
    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.errors import InputError

    try:
        return TrainingConfig(**settings)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def chosen_region(text: str | None) -> dict[str, slice] | None:
    """The ranges that --region names."""
    if text is None:
        return None
    from napari_noise2self.engine.errors import InputError
    from napari_noise2self.engine.region import region_from

    try:
        return region_from(text)
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


def model_target(path: Path, *, overwrite: bool) -> None:
    """Make sure that a model can be written to a file, and that it looks like one."""
    from napari_noise2self.engine.errors import InputError
    from napari_noise2self.stacks.targets import check_free

    if path.suffix.lower() != ".safetensors":
        raise InputError(f"A model is a .safetensors file: {path} has another ending.")
    check_free(path, overwrite=overwrite)
