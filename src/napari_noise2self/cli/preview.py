"""``napari-noise2self preview IN OUT.png``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_noise2self.cli.console import denoised, errors, fail, finish, say
from napari_noise2self.cli.figure import Panel, draw, save
from napari_noise2self.cli.options import (
    LEARNING,
    Axes,
    Device,
    EmptyChunks,
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
    flag,
    training_config,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_noise2self.engine.inspection import Window
    from napari_noise2self.engine.layout import Layout
    from napari_noise2self.engine.partition import Partition
    from napari_noise2self.engine.pipeline import Result
    from napari_noise2self.stacks.stack import Stack

# The network learns from so many pixels along Y and X, and slices, around what is drawn.
_REACH = {2: (512, 512), 3: (16, 256, 256)}
# What is drawn is looked for in the middle of larger frames than that.
_LOOKED_AT = (64, 2048, 2048)
# Pixels across a picture: enough of them to see the pattern, few enough to see each.
_FEWEST, _MOST = 24, 48
_TINT = 0.6
# What is hidden with a target has a darker shade of its colour; what is not predicted, no grey.
_SHADE, _NOTHING = 0.45, (206, 220, 238)


def preview(
    source: Source,
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The figure, a .png file.")],
    partition: PartitionKind = None,
    grid: GridWidth = None,
    subsets: Subsets = None,
    extent: Extent = None,
    epochs: Epochs = "auto",
    axes: Axes = None,
    empty_chunks: EmptyChunks = False,
    volume: Annotated[
        bool, flag("--volume", "Lay the partition through ZYX, not slice by slice.", LEARNING)
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw what the partition J does to the image IN, as a figure for slides.

    Four pictures of one place: the subsets, the targets of one subset, the masked input, and the
    J-invariant prediction of a network on those targets, which is trained on the surroundings.
    """
    with errors():
        config = training_config(
            partition=chosen_partition(partition, grid, subsets, extent, seed),
            epochs=None if epochs == "auto" else float(epochs),
            output="j-invariant",
            device=device,
            seed=seed,
            volume=volume,
        )
        from napari_noise2self.stacks.reading import read
        from napari_noise2self.stacks.targets import check_free, check_source

        stack = read(source, axes, empty_chunks=empty_chunks)
        if target.suffix.lower() != ".png":
            fail(f"The figure is a .png file: {target} has another ending.")
        check_source(target, source, stack)
        check_free(target, overwrite=overwrite)
        for notice in stack.notices:
            say(notice, quiet)
        place, frame = _crop(stack, volume)
        if config.partition is None:
            from napari_noise2self.engine.noise.estimate import estimate_noise

            found = estimate_noise(place.data, place.axes, volume=volume).suggestion.partition
            config = config.model_copy(update={"partition": found})
        result = denoised(place, config, quiet)
        assert config.partition is not None
        picture = _Picture.of(place, config.partition, volume, result)
        save(target, picture.figure(Path(source).name), overwrite=overwrite)
        report = {
            "output": str(target),
            "input": str(source),
            "axes": stack.axes,
            "frame": frame,
            **picture.report(),
            "score": result.info["score"],
            "seconds": result.info["seconds"],
        }
        finish(report, f"{target}: {picture.name}, {picture.words()}", quiet, as_json)


def _crop(stack: Stack, volume: bool) -> tuple[Stack, int]:
    """The part of the middle frame that has most to see, as channels of a frame, and its number."""
    from napari_noise2self.engine.layout import Layout
    from napari_noise2self.engine.preparation import check_image
    from napari_noise2self.stacks.stack import Stack

    layout = Layout.of(stack.shape, stack.axes, volume)
    check_image(stack.data, layout)
    number = layout.frames // 2
    looked_at = tuple(
        slice(max(n - most, 0) // 2, max(n - most, 0) // 2 + min(n, most))
        for n, most in zip(layout.spatial_shape, _LOOKED_AT[-layout.ndim :], strict=True)
    )
    values = layout.read(stack.data, number, looked_at)
    centre = _liveliest(values)
    parts = []
    for middle, size, full in zip(centre, _REACH[layout.ndim], values.shape[1:], strict=True):
        start = min(max(middle - size // 2, 0), max(full - size, 0))
        parts.append(slice(start, start + size))
    cropped = values[(slice(None), *parts)]
    axes = "C" + layout.spatial_axes
    part = Stack(cropped, axes, name=stack.name)
    return part, number


def _liveliest(values: NDArray[Any]) -> tuple[int, ...]:
    """Where the grey values, without the noise of single pixels, vary most."""
    import numpy as np
    from scipy import ndimage

    image = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0).mean(0)
    small = (1, 4, 4)[-image.ndim :]
    wide = (1, 32, 32)[-image.ndim :]
    smooth = ndimage.uniform_filter(image - image.mean(), small)
    spread = ndimage.uniform_filter(smooth**2, wide) - ndimage.uniform_filter(smooth, wide) ** 2
    return tuple(int(n) for n in np.unravel_index(int(spread.argmax()), image.shape))


@dataclass(frozen=True)
class _Picture:
    """One plane of a window, and all that is drawn of it."""

    layout: Layout
    partition: Partition
    window: Window
    subset: int
    values: NDArray[np.uint8]
    masked: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    labels: NDArray[np.int32]
    hidden: NDArray[np.bool_]
    leaks: int
    network: str

    @classmethod
    def of(cls, place: Stack, partition: Partition, volume: bool, result: Result) -> _Picture:
        """Choose a window and look at it."""
        import numpy as np

        from napari_noise2self.engine.inspection import hidden_in, labels_in
        from napari_noise2self.engine.layout import Layout
        from napari_noise2self.engine.leakage import Block, surroundings

        layout = Layout.of(place.shape, place.axes, volume)
        frame = layout.read(place.data, 0)
        side = _side(partition, layout.ndim)
        parts = []
        for middle, full in zip(_liveliest(frame), frame.shape[1:], strict=True):
            start = min(max(middle - side // 2, 0), max(full - side, 0))
            parts.append(slice(start, min(start + side, full)))
        if volume:  # one slice of it is drawn
            at = frame.shape[1] // 2
            parts[0] = slice(at, at + 1)
        window = tuple(parts)
        labels = labels_in(partition, window)
        # A subset in the middle: the first ones of a grid hug the corner.
        present = np.unique(labels)
        subset = int(present[len(present) // 2])
        outer = surroundings(partition, window, layout.spatial_shape)
        block = Block(frame[(slice(None), *outer)], outer, window)
        restored = layout.read(result.image, 0)
        inner = (slice(None), *window)
        finite = frame[np.isfinite(frame)]
        low, high = np.percentile(finite, (0.5, 99.8))
        if layout.channels != 3:
            finite = frame[0][np.isfinite(frame[0])]
            low, high = np.percentile(finite, (0.5, 99.8))

        def drawn(image: NDArray[Any]) -> NDArray[np.uint8]:
            plane = image[:, 0] if image.ndim == 4 else image
            plane = plane if len(plane) == 3 else np.repeat(plane[:1], 3, axis=0)
            grey = (np.nan_to_num(plane.astype(float)) - low) / max(float(high - low), 1e-12)
            bytes_: NDArray[np.uint8] = (np.clip(grey, 0, 1) * 255).round().astype(np.uint8)
            return bytes_.transpose(1, 2, 0)

        hidden = hidden_in(partition, layout.spatial_shape, window, subset)
        around = " × ".join(map(str, frame.shape[1:]))
        network = f"A UNet after {result.info['steps']} steps on {around} pixels around"
        return cls(
            layout,
            partition,
            window,
            subset,
            drawn(frame[inner]),
            drawn(block.masked(partition, subset)),
            drawn(restored[inner]),
            labels.reshape(labels.shape[-2:]),
            hidden.reshape(hidden.shape[-2:]),
            block.check(partition, subset).leaks,
            network,
        )

    @property
    def name(self) -> str:
        """The partition in a few words."""
        from napari_noise2self.engine.inspection import name_of

        return name_of(self.partition, self.layout.ndim)

    def report(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        from napari_noise2self.engine.inspection import figures

        numbers = figures(self.partition, self.layout.spatial_shape)
        return {
            "partition": self.partition.description(self.layout.ndim),
            "subsets": numbers.subsets,
            "subset": self.subset,
            "targets": numbers.targets,
            "hidden": numbers.hidden,
            "leaks": self.leaks,
        }

    def words(self) -> str:
        """The numbers in words."""
        numbers = self.report()
        words = f"{numbers['subsets']} subsets, {numbers['targets']:.1%} of the pixels are targets"
        if numbers["hidden"] > 1.001 * numbers["targets"]:
            words += f" and {numbers['hidden']:.1%} are hidden"
        words += " at a time; "
        if self.leaks:
            return words + f"{self.leaks} pixels of the masked input change with what is hidden"
        return words + "nothing leaks: the masked input is the same whatever is hidden"

    def figure(self, name: str) -> bytes:
        """The figure as a PNG."""
        import numpy as np

        from napari_noise2self.engine.palette import distinct_colours

        colours = distinct_colours(self.report()["subsets"])
        targets = (self.labels == self.subset)[..., None]
        tinted = (1 - _TINT) * self.values + _TINT * colours[self.labels]
        own = colours[self.subset]
        marked = np.where(self.hidden[..., None], _SHADE * own, self.values)
        marked = np.where(targets, own, marked)
        predicted = np.where(targets, self.predicted, _NOTHING)
        block = "" if self.hidden.sum() == targets.sum() else " The darker shade is hidden too."
        panels = (
            Panel(
                "Partition J",
                "Every pixel belongs to one subset; each subset has a colour.",
                tinted.round().astype(np.uint8),
            ),
            Panel("Targets", f"One subset is predicted at a time.{block}", marked.astype(np.uint8)),
            Panel(
                "Masked input",
                "What the network sees: hidden pixels are the mean of visible ones around.",
                self.masked,
            ),
            Panel(
                "Prediction on J",
                f"{self.network}; drawn on the targets only.",
                predicted.astype(np.uint8),
            ),
        )
        words = self.words()
        title = f"{name}: {self.name}"
        return draw(title, f"{words[0].upper()}{words[1:]}.", panels)


def _side(partition: Partition, ndim: int) -> int:
    """A few periods of the partition, in pixels."""
    widths = getattr(partition, "widths", None)
    period = max(widths(ndim) if widths else partition.extents(ndim))
    return min(max(3 * period, _FEWEST), _MOST)
