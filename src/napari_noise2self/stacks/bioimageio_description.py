"""What a package for the BioImage Model Zoo says of a model: to programs, and to people."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.engine.torchscript import Program
    from napari_noise2self.engine.trained import Trained

# The names of the parts of a package.
WEIGHTS = "weights.pt"
MODEL = "noise2self.safetensors"
COVER = "cover.png"
TEXT = "README.md"
TEST_INPUT = "test_input.npy"
TEST_OUTPUT = "test_output.npy"

_PAPER = "Batson J, Royer L. Noise2Self: Blind Denoising by Self-Supervision. ICML 2019."
_PAPER_DOI = "10.48550/arXiv.1901.11365"
_TAGS = ("denoising", "image-restoration", "self-supervised", "noise2self", "torchscript")
# Programs add 1e-6 to a standard deviation; below this one a linear map is more exact.
_SMALL_SCALE = 1e-2

_README = """\
# {name}

{description}

Trained with napari-noise2self {version}, {from_what}.

## What it returns

The **single pass**: the network applied to the untouched image, {times}, in the grey values of its
input. The J-invariant and the mixed output of napari-noise2self hide subsets of pixels one after
another, which this format cannot express. The model for napari, which has them, is attached as
`{model}`.
{keeps}
## What it expects

- Images like those it was trained on: the same microscope, magnification, exposure and kind of
  noise. Grey values in training: {ranges}.
- Axes {axes}. Sides of at least {smallest} pixels, in steps of {step}. Halo of tiles: {halo}.
- Where noise hides the structure, a network fills in what was likely in its training images.
  Compare with the noisy image before you measure.

## How it was trained

Network {network}, partition {partition}, {steps} steps. {score}

## Validation

The package holds a test image ({kind}) and what the network makes of it. Look at the residual,
noisy minus denoised, of your own images: it should show noise alone. If it shows your structure,
train a model on your own images.

## Licence

{license}
"""


def version() -> str:
    """The version of this package."""
    return importlib.metadata.version("napari-noise2self")


def sentence(trained: Trained) -> str:
    """What a model is, where its author did not say."""
    what = "volumes" if trained.ndim == 3 else "images"
    return f"Removes noise from microscopy {what} like those that it was trained on."


def readme(
    about: Mapping[str, Any], denoiser: Denoiser, program: Program, real_example: bool
) -> str:
    """The documentation of a package, in Markdown.

    Parameters
    ----------
    about : mapping
        With "name", "description" and "license".
    denoiser : Denoiser
    program : Program
    real_example : bool
        Whether the test image is one of the author's.
    """
    trained, summary = denoiser.trained, denoiser.summary
    best = denoiser.resolved_output()
    ranges = "; ".join(
        f"mean {offset:.6g}, standard deviation {scale:.6g}"
        for offset, scale in zip(
            trained.normalisation.offset, trained.normalisation.scale, strict=True
        )
    )
    score = summary.get("score")
    return _README.format(
        **about,
        version=version(),
        from_what={
            "n2n": "on pairs of noisy images (Noise2Noise)",
            "n2t": "on noisy images and their clean counterparts",
            "sure": "on noisy images alone (by Stein's unbiased risk estimate)",
        }.get(summary.get("objective", ""), "on noisy images alone (Noise2Self)"),
        times="once"
        if program.averaging == 1
        else f"averaged over {program.averaging} flips or rotations",
        model=MODEL,
        keeps=""
        if best == "single-pass"
        else "\n**This is not the output that suits the model best, which is "
        f"{best}:** noise that neighbouring pixels share may stay, or detail be lost.\n",
        ranges=ranges,
        axes="channel, z, y, x" if trained.ndim == 3 else "channel, y, x",
        smallest=_times(program.smallest),
        step=_times(program.step),
        halo="none, the network sees all of an image"
        if program.halo is None
        else _times(program.halo),
        network=denoiser.config.network,
        partition=trained.partition.description(trained.ndim),
        steps=summary.get("steps", "an unknown number of"),
        score=""
        if score is None
        else f"The self-supervised score was {score:.6g} squared grey values: the mean squared "
        f"difference between pixels that were never targets and what the others predict for them. "
        f"It holds the noise as well as the error, and speaks of the J-invariant prediction, not "
        f"of this output.",
        kind="a part of a real one" if real_example else "simulated",
    )


def _times(numbers: Sequence[int]) -> str:
    return "×".join(map(str, numbers))


def description(
    parts: Path, about: Mapping[str, Any], denoiser: Denoiser, program: Program
) -> dict[str, Any]:
    """The resource description of a package, as `bioimageio.spec` takes it.

    Parameters
    ----------
    parts : Path
        The folder of the parts.
    about : mapping
        With "name", "description", "authors" and "license".
    denoiser : Denoiser
    program : Program
    """
    import torch
    from bioimageio.spec.model import v0_5

    trained = denoiser.trained
    return {
        "type": "model",
        "format_version": v0_5.ModelDescr.implemented_format_version,
        **about,
        "covers": [{"source": parts / COVER}],
        "documentation": {"source": parts / TEXT},
        "attachments": [{"source": parts / MODEL}],
        "cite": [{"text": _PAPER, "doi": _PAPER_DOI}],
        "tags": [*_TAGS, f"{trained.ndim}d", denoiser.config.network],
        "inputs": [_input(parts, trained, program)],
        "outputs": [_output(parts, trained, program)],
        "weights": {
            "torchscript": {
                "source": parts / WEIGHTS,
                "pytorch_version": torch.__version__.split("+")[0],
            }
        },
        "config": {"noise2self": {"version": version(), "output": "single-pass"}},
    }


def _input(parts: Path, trained: Trained, program: Program) -> dict[str, Any]:
    sizes = [
        {"min": least, "step": step}
        for least, step in zip(program.smallest, program.step, strict=True)
    ]
    offset = [float(o) for o in trained.normalisation.offset]
    scale = [float(s) for s in trained.normalisation.scale]
    normalise: dict[str, Any] = {"id": "fixed_zero_mean_unit_variance"}
    if min(scale) < _SMALL_SCALE:
        normalise = _linear(
            [1 / s for s in scale], [-o / s for o, s in zip(offset, scale, strict=True)]
        )
    elif len(scale) > 1:
        normalise["kwargs"] = {"mean": offset, "std": scale, "axis": "channel"}
    else:
        normalise["kwargs"] = {"mean": offset[0], "std": scale[0]}
    return {
        "id": "noisy",
        "description": "The noisy image, in the grey values of its source.",
        "axes": _axes(trained, sizes, None),
        "data": {"type": "float32"},
        "test_tensor": {"source": parts / TEST_INPUT},
        "preprocessing": [normalise, {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}],
        "pad": {"mode": "reflect"},
    }


def _output(parts: Path, trained: Trained, program: Program) -> dict[str, Any]:
    sizes = [{"tensor_id": "noisy", "axis_id": letter} for letter in _letters(trained)]
    scale = [float(s) for s in trained.normalisation.scale]
    offset = [float(o) for o in trained.normalisation.offset]
    return {
        "id": "denoised",
        "description": "The single pass of the network, in the grey values of the input.",
        "axes": _axes(trained, sizes, program.halo),
        "data": {"type": "float32"},
        "test_tensor": {"source": parts / TEST_OUTPUT},
        "postprocessing": [_linear(scale, offset)],
    }


def _letters(trained: Trained) -> str:
    return "zyx"[-trained.ndim :]


def _axes(trained: Trained, sizes: Sequence[Any], halo: Sequence[int] | None) -> list[Any]:
    channels = [f"channel{number}" for number in range(len(trained.normalisation.offset))]
    axes: list[Any] = [{"type": "batch"}, {"type": "channel", "channel_names": channels}]
    for number, (letter, size) in enumerate(zip(_letters(trained), sizes, strict=True)):
        axis = {"type": "space", "id": letter, "size": size}
        if halo is not None and halo[number]:
            axis["halo"] = halo[number]
        axes.append(axis)
    return axes


def _linear(gain: list[float], offset: list[float]) -> dict[str, Any]:
    """A step that multiplies and then adds, for each channel if there are several."""
    several = {"axis": "channel", "gain": gain, "offset": offset}
    return {
        "id": "scale_linear",
        "kwargs": several if len(gain) > 1 else {"gain": gain[0], "offset": offset[0]},
    }
