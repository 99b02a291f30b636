"""Whether a model suits an image, in words: what it was trained on, and what is other here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.stack import Stack

if TYPE_CHECKING:
    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.engine.noise.report import NoiseReport
    from napari_noise2self.engine.trained import Trained

# Where the summary of a model says what it was trained on.
KEY = "trained_on"
# Names of files that are kept; of more, the number.
_MOST_NAMES = 20

# The grey values of an image are looked at in so many frames, and so many pixels of each.
_FRAMES = 4
_SIDE = 512
# From where on a model does noticeably worse, as benchmarks/suitability.py has it: the mean darker
# or brighter by so many deviations of what it was trained on, the deviation smaller or larger
# by such a factor; a model stands darker images much better than brighter ones.
_SHIFT = (-2.0, 3.0)
_SPREAD = (0.2, 3.0)
# The same for the deviation of the noise, and for the pixel size.
_NOISE = 1.5
_PIXEL = 1.5


def remember(denoiser: Denoiser, stacks: Sequence[Stack]) -> None:
    """Have a model know what it was trained on, which is saved with it.

    Parameters
    ----------
    denoiser : Denoiser
        Trained.
    stacks : sequence of Stack
        What it was trained on, in order.
    """
    first = stacks[0]
    denoiser.summary[KEY] = {
        "names": [stack.name for stack in stacks[:_MOST_NAMES]],
        "images": len(stacks),
        "axes": first.axes,
        "shape": list(first.shape),
        "dtype": str(np.dtype(first.dtype)),
        "scale": list(first.scale or ()),
        "units": list(first.units or ()),
        "channels": None if first.channel_names is None else list(first.channel_names),
    }


def trained_on(denoiser: Denoiser) -> list[str]:
    """What a model was trained on, in a few sentences.

    Parameters
    ----------
    denoiser : Denoiser
        Trained; what `remember` was not told is left out.
    """
    trained = denoiser.trained
    about = _about(denoiser)
    channels = len(trained.normalisation.offset)
    what = "Volumes" if denoiser.config.volume else "Images"
    what += " of one channel" if channels == 1 else f" of {channels} channels"
    names = about.get("channels")
    if names and channels == len(names) > 1:
        what += f" ({', '.join(names)})"
    if about.get("names"):
        count = int(about["images"])
        first = about["names"][0]
        what += f": {first}" + (f" and {count - 1} more" if count > 1 else "")
    sentences = [f"{what}."]
    size = _pixel(about)
    if size is not None:
        sentences.append(f"Pixels of {_length(*size)}.")
    ranges = [
        f"{offset:.4g} ± {scale:.3g}"
        for offset, scale in zip(
            trained.normalisation.offset, trained.normalisation.scale, strict=True
        )
    ]
    sentences.append(f"Grey values of {', '.join(ranges)}.")
    noise = trained.noise
    deviations = [
        f"{math.sqrt(channel.mean_variance):.3g}" if channel.known else "unknown"
        for channel in noise.channels
    ]
    correlated = "correlated between neighbours" if noise.correlated else "not correlated"
    sentences.append(f"Noise with a deviation of {', '.join(deviations)}, {correlated}.")
    return sentences


def suitability(denoiser: Denoiser, stack: Stack) -> list[str]:
    """What speaks against applying a model to a stack.

    Only some windows of a few frames are read.

    Parameters
    ----------
    denoiser : Denoiser
        Trained.
    stack : Stack

    Returns
    -------
    sentences : list of str
        Empty if nothing does.  Where it cannot be applied at all, the one
        sentence that says why.

    Raises
    ------
    InputError
        If the stack cannot be read.
    """
    from napari_noise2self.engine.noise.estimate import estimate_noise

    try:
        denoiser.check(stack.data, stack.axes)
    except InputError as error:
        return [str(error)]
    trained = denoiser.trained
    layout = denoiser.config.layout(stack.shape, stack.axes)
    about = _about(denoiser)
    sample = _sample(stack.data, layout)
    found = estimate_noise(stack.data, stack.axes, volume=layout.volume, depth_axis=layout.depth)
    sentences = [_other_order(about, stack), _other_pixels(about, stack)]
    if layout.ndim == 3:
        sentences.append(_other_depth(denoiser.config, about, stack, layout.depth))
    for channel, values in enumerate(sample):
        where = _where(stack, layout, channel)
        sentences += [
            _other_range(trained, channel, values, where),
            _other_noise(trained.noise, found, channel, values, where),
        ]
    sentences.append(_other_correlation(trained, found))
    return [sentence for sentence in sentences if sentence]


def _about(denoiser: Denoiser) -> dict[str, Any]:
    about = denoiser.summary.get(KEY)
    return about if isinstance(about, dict) else {}


def _sample(image: Any, layout: Layout) -> list[NDArray[np.float64]]:
    """Finite grey values of each channel, from the middle and the corners of a few frames."""
    shape = layout.spatial_shape
    sides = [min(_SIDE, n) for n in shape[-2:]]
    numbers = sorted({round(i) for i in np.linspace(0, layout.frames - 1, _FRAMES)})
    parts: list[NDArray[Any]] = []
    for turn, number in enumerate(numbers):
        corner = turn / max(len(numbers) - 1, 1) if len(numbers) > 1 else 0.5
        region = [
            slice(round(corner * (n - side)), round(corner * (n - side)) + side)
            for n, side in zip(shape[-2:], sides, strict=True)
        ]
        depths = [slice(n // 2, n // 2 + 1) for n in shape[:-2]]
        part = layout.read(image, number, (*depths, *region))
        parts.append(part.reshape(layout.channels, -1))
    values = np.concatenate(parts, axis=1).astype(np.float64)
    return [channel[np.isfinite(channel)] for channel in values]


def _where(stack: Stack, layout: Layout, channel: int) -> str:
    """Which channel is spoken of, where there are several."""
    if layout.channels == 1:
        return ""
    names = stack.channel_names
    named = names is not None and len(names) == layout.channels
    return f" of the channel {names[channel]}" if named else f" of channel {channel + 1}"  # type: ignore[index]


def _other_order(about: dict[str, Any], stack: Stack) -> str | None:
    before, now = about.get("channels"), stack.channel_names
    if not before or now is None or len(now) < 2 or list(now) == list(before):
        return None
    if sorted(before) != sorted(now):
        return None  # the same stain has many names
    return (
        f"The channels are in the order {', '.join(now)}, but the model was trained on "
        f"{', '.join(before)}: bring them into that order."
    )


def _other_pixels(about: dict[str, Any], stack: Stack) -> str | None:
    sizes = _other_size(about, stack, "X")
    if sizes is None:
        return None
    now, before = sizes
    return (
        f"A pixel is {now} wide, but {before} in what the model was trained on: the same "
        f"structures look other to it."
    )


def _other_depth(
    config: TrainingConfig, about: dict[str, Any], stack: Stack, depth: str
) -> str | None:
    """Whether slices follow each other along another axis, or at another distance."""
    axes = about.get("axes")
    if not axes:
        return None
    before = config.depth_axis or ("T" if config.context and "Z" not in axes else "Z")
    if before != depth:
        return (
            f"The slices lie along {depth} here, and lay along {before} in what the model was "
            f"trained on: train on such a stack, or name the axes otherwise."
        )
    sizes = _other_size(about, stack, depth)
    if sizes is None:
        return None
    return (
        f"The slices are {sizes[0]} apart, but {sizes[1]} in what the model was trained on: the "
        f"same structures look other to it."
    )


def _other_size(about: dict[str, Any], stack: Stack, letter: str) -> tuple[str, str] | None:
    """The distance of pixels along an axis now and before, if they are known and differ."""
    before, size = _pixel(about, letter), stack.size(letter)
    if before is None or size is None or size[1] is None or size[1] != before[1]:
        return None
    if 1 / _PIXEL < size[0] / before[0] < _PIXEL:
        return None
    return _length(*size), _length(*before)


def _pixel(about: dict[str, Any], letter: str = "X") -> tuple[float, str] | None:
    """Distance of pixels along an axis and its unit, if the model knows it."""
    axes, scale, units = (about.get(key) or () for key in ("axes", "scale", "units"))
    if letter not in axes or not len(axes) == len(scale) == len(units):
        return None
    axis = axes.index(letter)
    if not scale[axis] or not units[axis]:
        return None
    return float(scale[axis]), str(units[axis])


def _length(size: float, unit: str | None) -> str:
    return f"{size:.3g} {unit}"


def _other_range(
    trained: Trained, channel: int, values: NDArray[np.float64], where: str
) -> str | None:
    if not values.size:
        return f"No pixel{where} that was looked at has a grey value."
    offset, scale = (getattr(trained.normalisation, name)[channel] for name in ("offset", "scale"))
    mean, spread = float(values.mean()), float(values.std())
    shift, factor = (mean - offset) / scale, spread / scale
    if _SHIFT[0] <= shift <= _SHIFT[1] and _SPREAD[0] <= factor <= _SPREAD[1]:
        return None
    return (
        f"The grey values{where} are {mean:.4g} ± {spread:.3g}, but {offset:.4g} ± {scale:.3g} in "
        f"what the model was trained on: train on such an image, or bring it to that range."
    )


def _other_noise(
    before: NoiseReport,
    now: NoiseReport,
    channel: int,
    values: NDArray[np.float64],
    where: str,
) -> str | None:
    """Whether the noise at the same grey values is stronger or weaker."""
    if not (before.channels[channel].known and now.channels[channel].known and values.size):
        return None
    signal = np.percentile(values, (10, 50, 90))
    then, today = (float(report.variance(signal, channel).mean()) for report in (before, now))
    if not (then > 0 and today > 0):
        return None
    factor = math.sqrt(today / then)
    if 1 / _NOISE < factor < _NOISE:
        return None
    effect = "some will stay" if factor > 1 else "detail may be smoothed away with it"
    only = "" if factor > 1 else "only "
    return (
        f"The noise{where} is {only}{factor:.2g} times as strong as that of what the model was "
        f"trained on, at the same grey values: {effect}."
    )


def _other_correlation(trained: Trained, now: NoiseReport) -> str | None:
    """Whether the noise of neighbouring pixels is correlated only here, or only there."""
    if now.correlated and not now.covered_by(trained.partition):
        needed = "×".join(map(str, now.extent))
        return (
            f"The noise of neighbouring pixels is correlated here, and was not where the model "
            f"was trained: some of it will stay; train on this image, so that {needed} "
            f"pixels are hidden together."
        )
    measured = any(axis.rho for channel in now.channels for axis in channel.correlation.values())
    if trained.noise.correlated and measured and not now.correlated:
        return (
            "The noise of neighbouring pixels was correlated where the model was trained, and is "
            "not here: the model takes fine detail for noise, and one trained on this image "
            "would keep it."
        )
    return None
