"""The terminal: ``napari-noise2self demo | denoise | noise | info``.

Nothing is decided here: the words of the command line become settings, a file
becomes a `Stack`, and `denoise_events` does the work.  Modules that take long
to import are imported where they are used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.noise import NoiseReport
    from napari_noise2self.engine.partition import Partition
    from napari_noise2self.engine.pipeline import Result
    from napari_noise2self.stacks.stack import Stack

app = typer.Typer(
    help="Denoise microscopy images without clean ones, by Noise2Self.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Everything but results goes here.
_err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


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


@app.command()
def denoise(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A TIFF, OME-TIFF, PNG or NPY file.")
    ],
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
    axes: Annotated[
        str | None,
        typer.Option(help="One letter per axis, such as TZYX, where the file is wrong or silent."),
    ] = None,
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
    with _errors():
        config = _config(
            partition=_partition(partition, grid, subsets, extent, seed),
            epochs=None if epochs == "auto" else float(epochs),
            network=network,
            output=output,
            device=device,
            seed=seed,
            volume=volume,
        )
        from napari_noise2self.stacks.reading import read
        from napari_noise2self.stacks.writing import check_free, check_target, write

        stack = read(source)
        if axes is not None:
            stack = stack.with_axes(axes)
        check_target(target, stack, overwrite=overwrite)
        if target.resolve() == source.resolve():
            _fail("IN and OUT are the same file: the source is never replaced.")
        if save_model is not None:
            if save_model.suffix != ".safetensors":
                _fail(f"A model is a .safetensors file: {save_model} has another ending.")
            check_free(save_model, overwrite=overwrite)
        for notice in stack.notices:
            _say(notice, quiet)
        result = _run(stack, config, quiet)
        written = write(target, result.image, stack, dtype=dtype, overwrite=overwrite)
        if written.clipped:
            _say(
                f"{written.clipped} pixels did not fit into {written.dtype} and were clipped: "
                f"--dtype float32 keeps them.",
                quiet,
            )
        report: dict[str, Any] = {"output": str(target), "shape": list(stack.shape)}
        if save_model is not None:
            result.denoiser.save(save_model)
            report["model"] = str(save_model)
        report |= {"dtype": written.dtype, "clipped": written.clipped, **_summary(result)}
        _report(report, f"{target}: {_sentence(result)}", quiet, as_json)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where the images go; made if it is not there.")
    ] = Path("noise2self-demo"),
    epochs: Epochs = "auto",
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Simulate a noisy image of cells, denoise it, and compare the result with the truth."""
    with _errors():
        config = _config(
            epochs=None if epochs == "auto" else float(epochs), device=device, seed=seed
        )
        from napari_noise2self.stacks.samples import cells
        from napari_noise2self.stacks.writing import check_free, write

        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.ome.tif" for name in ("noisy", "denoised", "truth")}
        picture = folder / "before-after.png"
        for path in (*paths.values(), picture):
            check_free(path, overwrite=overwrite)

        sample = cells(seed=seed)
        result = _run(sample.noisy, config, quiet)

        from napari_noise2self.engine.scoring import psnr

        span = float(sample.truth.max() - sample.truth.min())
        write(paths["noisy"], sample.noisy.data, sample.noisy, overwrite=overwrite)
        for name, image in (("denoised", result.image), ("truth", sample.truth)):
            write(paths[name], image, sample.noisy, dtype="float32", overwrite=overwrite)
        _write_picture(picture, sample.noisy.data, result.image)
        report = {
            "output": str(paths["denoised"]),
            "folder": str(folder),
            "shape": list(sample.noisy.shape),
            "dtype": "float32",
            "psnr_noisy": round(psnr(sample.truth, sample.noisy.data, data_range=span), 2),
            "psnr_denoised": round(psnr(sample.truth, result.image, data_range=span), 2),
            **_summary(result),
        }
        sentence = (
            f"{folder}: noisy {report['psnr_noisy']} dB, denoised {report['psnr_denoised']} dB "
            f"(PSNR at the range of the truth); {_sentence(result)}"
        )
        _report(report, sentence, quiet, as_json)


@app.command()
def noise(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A TIFF, OME-TIFF, PNG or NPY file.")
    ],
    axes: Annotated[
        str | None,
        typer.Option(help="One letter per axis, such as TZYX, where the file is wrong or silent."),
    ] = None,
    volume: Annotated[
        bool, typer.Option("--volume", help="Measure the correlation along Z too.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say what the noise of the image IN is, and how to denoise it therefore."""
    with _errors():
        from napari_noise2self.engine.noise import estimate_noise
        from napari_noise2self.stacks.reading import read

        stack = read(source)
        if axes is not None:
            stack = stack.with_axes(axes)
        for notice in stack.notices:
            _say(notice, quiet)
        report = estimate_noise(stack.data, stack.axes, volume=volume)
        if as_json:
            print(json.dumps({"input": str(source), **report.to_json()}))
            return
        for line in _noise_lines(report):
            print(line)


@app.command()
def info(
    path: Annotated[
        Path | None, typer.Argument(metavar="IN", help="An image file to describe.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print versions and devices, or what is known about the image IN."""
    with _errors():
        facts = _about_here() if path is None else _about_image(path)
        if as_json:
            print(json.dumps(facts, indent=2))
            return
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"{name:{width}}  {_plain(value)}")


def main() -> None:
    """Run the command line."""
    app(prog_name="napari-noise2self")


@contextmanager
def _errors() -> Iterator[None]:
    """End with one sentence and the exit status that fits it."""
    from napari_noise2self.engine.errors import Noise2SelfError

    try:
        yield
    except Noise2SelfError as error:
        _fail(str(error))
    except MemoryError:
        _fail("There is not enough memory for this image.")
    except BrokenPipeError:
        raise
    except OSError as error:
        _fail(f"{error.filename or 'A file'} could not be used: {error.strerror or error}.")
    except KeyboardInterrupt:
        _err.print("Interrupted: no unfinished file was left.")
        raise typer.Exit(130) from None


def _fail(sentence: str) -> NoReturn:
    _err.print(f"Error: {sentence}", markup=False)
    raise typer.Exit(1)


def _say(sentence: str, quiet: bool) -> None:
    if not quiet:
        _err.print(sentence, markup=False)


def _config(**settings: Any) -> TrainingConfig:
    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.errors import InputError

    try:
        return TrainingConfig(**settings)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def _partition(
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


def _run(stack: Stack, config: TrainingConfig, quiet: bool) -> Result:
    """Denoise with a progress bar."""
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
        console=_err,
        transient=True,
        disable=quiet or not _err.is_terminal,
    )
    with bar:
        task = bar.add_task("Starting", total=None, left="")
        from napari_noise2self.engine.events import Notice, TrainingEvent
        from napari_noise2self.engine.pipeline import denoise_events

        events = denoise_events(stack.data, axes=stack.axes, config=config)
        try:
            while True:
                event = next(events)
                if isinstance(event, Notice):
                    _say(event.message, quiet)
                    continue
                if isinstance(event, TrainingEvent):
                    phase, fraction = "Training", event.step / event.steps
                else:
                    phase, fraction = "Denoising", event.fraction
                left = ""
                if math.isfinite(event.seconds_left):
                    minutes, seconds = divmod(round(event.seconds_left), 60)
                    left = f"{minutes}:{seconds:02} left"
                bar.update(task, description=phase, total=1, completed=fraction, left=left)
        except StopIteration as stop:
            result: Result = stop.value
            if result.error is not None:
                raise result.error from None
            return result
        finally:
            events.close()


def _summary(result: Result) -> dict[str, Any]:
    """How it was made; `output` is the file in a report, so the kind has another name."""
    info = dict(result.info)
    return {"output_kind": info.pop("output"), **info}


def _sentence(result: Result) -> str:
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


def _report(report: dict[str, Any], sentence: str, quiet: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
    elif not quiet:
        print(sentence)


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


def _write_picture(path: Path, noisy: Any, denoised: Any) -> None:
    """Both images side by side at the same contrast."""
    import imagecodecs
    import numpy as np

    low, high = np.percentile(denoised, (0.1, 99.9))
    pair = np.hstack([noisy, np.full((noisy.shape[0], 4), high), denoised])
    grey = np.clip((pair - low) / max(high - low, 1e-6), 0, 1) * 255
    path.write_bytes(imagecodecs.png_encode(grey.astype(np.uint8)))


def _about_here() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    from napari_noise2self.engine.hardware import describe_devices

    packages = ("napari-noise2self", "torch", "numpy", "scikit-image", "tifffile")
    return {
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "system": platform.platform(),
        "devices": describe_devices(),
    }


def _about_image(path: Path) -> dict[str, Any]:
    import numpy as np

    from napari_noise2self.stacks.reading import read

    stack = read(path)
    comparable = stack.data if stack.data.dtype.kind in "biuf" else np.empty(0)
    finite = comparable[np.isfinite(comparable)]
    lowest, highest = (finite.min(), finite.max()) if finite.size else (None, None)
    return {
        "name": stack.name,
        "axes": stack.axes,
        "shape": list(stack.shape),
        "dtype": str(stack.dtype),
        "scale": stack.scale,
        "units": stack.units,
        "channels": stack.channel_names,
        "minimum": lowest if lowest is None else lowest.item(),
        "maximum": highest if highest is None else highest.item(),
        "notices": stack.notices,
    }


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return f"{value['name']} ({value['description']})"
    return "unknown" if value is None else str(value)
