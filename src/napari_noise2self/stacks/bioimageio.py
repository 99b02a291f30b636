"""A trained denoiser as a package of the BioImage Model Zoo, for deepImageJ, ilastik and others.

What travels is the *single pass*: the network as TorchScript, its normalisation
as pre- and postprocessing, and what tiling has to know.  The J-invariant and
the mixed output apply the network once per subset of a partition, which the
format has no words for.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError, ModelFileError, counted
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.bioimageio_description import (
    COVER,
    MODEL,
    TEST_INPUT,
    TEST_OUTPUT,
    TEXT,
    WEIGHTS,
    readme,
    sentence,
)
from napari_noise2self.stacks.bioimageio_description import (
    description as described,
)
from napari_noise2self.stacks.stack import Stack

if TYPE_CHECKING:
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.engine.torchscript import Program
    from napari_noise2self.engine.trained import Trained

    Author = str | Mapping[str, str]

Image = NDArray[np.float32]

# Sides of the test image, per number of spatial axes: enough to look at, small enough to travel.
_SIDES = {2: (256, 256), 3: (16, 128, 128)}


def export_bioimageio(
    denoiser: Denoiser,
    path: str | os.PathLike[str],
    *,
    name: str,
    authors: Sequence[Author],
    description: str = "",
    license: str = "CC-BY-4.0",  # noqa: A002 as the format calls it
    example: Stack | None = None,
    output: str = "auto",
    averaging: int = 2,
    overwrite: bool = False,
) -> Path:
    """Write a trained denoiser as a package that other programs can run.

    The package passes the validation of `bioimageio.core`, or is not written.

    Parameters
    ----------
    denoiser : Denoiser
        Trained.
    path : path-like
        The ``.zip`` file to be.
    name : str
        Name of the model: letters, digits, spaces, dashes, brackets.
    authors : sequence of str or mapping
        Names, or mappings with "name" and any of "affiliation", "email" and
        "orcid".
    description : str
        What the model was trained on, in one or two sentences.
    license : str
        Identifier of the licence of the model in the SPDX list.
    example : Stack, optional
        An image of the kind that it was trained on: the middle of its first
        frame goes into the package for tests and as its picture.  A
        simulated one by default.
    output : {"auto", "single-pass"}
        "auto" refuses a model whose best output is not the single pass.
    averaging : int
        How many flips and rotations the exported network averages over, 1 to
        8: two bring most of the gain in twice the time.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        If the extra is not installed, the denoiser is not trained, its output
        cannot be exported, or a name, author, licence or example cannot be used.
    ModelFileError
        If the file cannot be written, or the package does not pass validation.
    """
    target = Path(path)
    _check_target(target, overwrite)
    people = _people(name, authors)
    trained = denoiser.trained
    _check_output(denoiser, output)
    if trained.noise.spatial_axes[0] == "T":
        raise InputError(
            "The model takes time as depth, and a package of the Model Zoo knows depth in space "
            "alone: train with Z, or slice by slice."
        )
    if not 1 <= averaging <= 8:
        raise InputError(f"The averaging was {averaging}: give a number from 1 to 8.")
    _require_extra()
    from napari_noise2self.engine.torchscript import compiled

    settings = denoiser.config.model_dump()
    never_flipped = not settings["averaging"] or settings.get("recipe") == "plain"
    program = compiled(trained, 1 if never_flipped else averaging)
    noisy = _example_image(trained, program, example)
    clean = trained.normalisation.invert(program(trained.normalisation.apply(noisy)[None])[0])
    # Beside the target, so that it can be moved there in one step.
    try:
        folder = tempfile.TemporaryDirectory(prefix=".bioimageio-", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    with folder as place, _silent():
        parts = Path(place)
        about = {
            "name": name.strip(),
            "authors": people,
            "description": description.strip() or sentence(trained),
            "license": license,
        }
        try:
            program.save(parts / WEIGHTS)
            denoiser.save(parts / MODEL)
            np.save(parts / TEST_INPUT, noisy[None])
            np.save(parts / TEST_OUTPUT, clean[None])
            _save_cover(parts / COVER, noisy, clean)
            text = readme(about, denoiser, program, example is not None)
            (parts / TEXT).write_text(text, encoding="utf-8")
            package = _packed(parts, described(parts, about, denoiser, program))
            _validate(package)
            package.replace(target)
        except OSError as error:
            raise _unwritable(target, error) from error
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix.lower() != ".zip":
        raise InputError(f"The file {target} should be a package: give it a name ending in .zip.")
    if target.is_dir() or (target.exists() and not overwrite):
        raise InputError(
            f"There is already something at {target}: give another name, or allow overwriting."
        )


def _people(name: str, authors: Sequence[Author]) -> list[dict[str, str]]:
    people = [{"name": a} if isinstance(a, str) else dict(a) for a in authors]
    if not people or not name.strip():
        raise InputError("A model of the Model Zoo needs a name and at least one author.")
    for person in people:
        # Not more: a GitHub account would be looked up in the network.
        unknown = person.keys() - {"name", "affiliation", "email", "orcid"}
        if unknown or "name" not in person:
            raise InputError(
                f"The author {person!r} cannot be used: give a name, and any of affiliation, "
                f"email and orcid."
            )
    return people


def _check_output(denoiser: Denoiser, output: str) -> None:
    if output not in ("auto", "single-pass"):
        raise InputError(
            f"The output was {output!r}: only the single pass can be exported, because the others "
            f"hide subsets of pixels one after another, which other programs cannot do."
        )
    best = denoiser.resolved_output()
    if output == "auto" and best != "single-pass":
        raise InputError(
            f"The best output of this model is {best}, which hides subsets of pixels one after "
            f"another and cannot be exported: ask for the output 'single-pass' to export that, "
            f"which may keep noise that neighbouring pixels share, or lose detail."
        )


def _require_extra() -> None:
    try:
        import bioimageio.core  # noqa: F401
    except ImportError as error:
        raise InputError(
            "To export to the BioImage Model Zoo, bioimageio.core is needed: "
            'pip install "napari-noise2self[bioimageio]".'
        ) from error


def _unwritable(target: Path, error: OSError) -> ModelFileError:
    return ModelFileError(
        f"The package could not be written to {target}: {error.strerror or error}. Choose a "
        f"folder that exists and that you may write to."
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what the libraries log and warn of: what matters is raised."""
    import warnings

    from loguru import logger

    names = ("bioimageio.core", "bioimageio.spec")
    for name in names:
        logger.disable(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in names:
            logger.enable(name)


# ------------------------------------------------------------------ the test image


def _example_image(trained: Trained, program: Program, example: Stack | None) -> Image:
    """A noisy image in grey values, of shape (channels, [Z,] Y, X)."""
    sides = [
        -(-max(side, least) // step) * step
        for side, least, step in zip(
            _SIDES[trained.ndim], program.smallest, program.step, strict=True
        )
    ]
    if example is None:
        return _simulated(trained, sides)
    depth = trained.noise.spatial_axes[0]
    layout = Layout.of(example.shape, example.axes, trained.ndim == 3, depth)
    channels = len(trained.normalisation.offset)
    if layout.channels != channels:
        raise InputError(
            f"The example has {counted(layout.channels, 'channel')}, but the model was trained on "
            f"{channels}."
        )
    shape = layout.spatial_shape
    # Smaller than that is allowed, but not smaller than the network can take.
    sides = [
        min(side, n // step * step)
        for side, n, step in zip(sides, shape, program.step, strict=True)
    ]
    if any(side < least for side, least in zip(sides, program.smallest, strict=True)):
        raise InputError(
            f"The example has {'×'.join(map(str, shape))} pixels: at least "
            f"{'×'.join(map(str, program.smallest))} are needed."
        )
    region = tuple(
        slice((n - side) // 2, (n - side) // 2 + side) for n, side in zip(shape, sides, strict=True)
    )
    return np.nan_to_num(np.asarray(layout.read(example.data, 0, region), np.float32))


def _simulated(trained: Trained, sides: Sequence[int]) -> Image:
    """A simulated image in the range of grey values that the model was trained on."""
    from napari_noise2self.stacks.samples import cells, nuclei

    normalised = []
    for seed in range(len(trained.normalisation.offset)):
        sample = nuclei(tuple(sides), seed) if trained.ndim == 3 else cells(tuple(sides), seed)  # type: ignore[arg-type]
        grey = np.asarray(sample.noisy.data, np.float32)
        normalised.append((grey - grey.mean()) / grey.std())
    return trained.normalisation.invert(np.stack(normalised))


def _save_cover(path: Path, noisy: Image, clean: Image) -> None:
    """The first channel, in the middle of the stack: noisy on the left, denoised on the right."""
    from PIL import Image as Picture

    planes = [image[0].reshape(-1, *image.shape[-2:]) for image in (noisy, clean)]
    planes = [plane[len(plane) // 2] for plane in planes]
    low, high = np.percentile(planes[0], (0.2, 99.8))
    both = np.concatenate(planes, axis=1)
    grey = np.clip((both - low) / max(high - low, 1e-6), 0, 1)
    Picture.fromarray((255 * grey).astype(np.uint8)).save(path)


# ------------------------------------------------------------------ the package


def _packed(parts: Path, fields: dict[str, Any]) -> Path:
    """Check the description and pack it with the parts that it names."""
    from bioimageio.spec import ValidationContext, save_bioimageio_package
    from bioimageio.spec.model import v0_5
    from pydantic import ValidationError

    try:
        # Warnings about what a description could say beside are not asked for.
        with ValidationContext(warning_level=50):
            model = v0_5.ModelDescr.model_validate(fields)
            return Path(save_bioimageio_package(model, output_path=parts / "package.zip"))
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: Any) -> InputError:
    first = error.errors()[0]
    reason = str(first["msg"]).removeprefix("Value error, ").splitlines()[0].rstrip(".")
    if "index_key" in reason:  # what bioimageio.spec before 0.5.13 meets with pydantic 2.14
        return InputError(
            "The bioimageio.spec that is installed does not work with this pydantic: "
            'pip install "pydantic<2.14".'
        )
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function"))
    return InputError(
        f"The description of the package cannot be used: the {where or 'description'} was "
        f"{str(first['input'])[:80]!r}, but {reason[0].lower()}{reason[1:]}."
    )


def _validate(package: Path) -> None:
    """Run the tests of `bioimageio.core` on the package."""
    from bioimageio.core import test_model

    summary = test_model(package, working_dir=package.parent, devices=["cpu"])
    if summary.status != "failed":
        return
    reasons = [error.msg for detail in summary.details for error in detail.errors]
    reason = (" ".join(reasons).strip().splitlines() or ["no reason was given"])[0]
    raise ModelFileError(
        f"The package does not pass the validation of bioimageio.core ({reason}): please report "
        f"it, with the settings of the model."
    )
