"""Any function of an image made J-invariant."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.masking import masked_input
from napari_noise2self.engine.partition import Partition

Function = Callable[..., Any]


def j_invariant(
    function: Function, partition: Partition, replacement: Replacement = "mean"
) -> Callable[..., NDArray[Any]]:
    """Make the J-invariant version of a function of an image.

    For each subset J of the partition, the pixels of J (dilated by the extent
    of the partition) are replaced by what is known from the visible ones, the
    function is applied, and its result is taken on J.  The value at a pixel
    then does not depend on the value that was there, so for noise that is
    independent between pixels the squared difference from the noisy image
    tells how good the function is.

    Parameters
    ----------
    function : callable
        Takes an array and returns one of the same shape, such as a filter of
        SciPy or scikit-image.
    partition : Grid, RandomPartition or Checkerboard
    replacement : {"mean", "median", "neighbor", "uniform", "zero"}
        The mean or the median of the visible pixels around, one of them by
        chance, a random number between the lowest and the highest visible
        pixel, or 0.  Chance is the same in every call.

    Returns
    -------
    invariant : callable
        ``invariant(image, *args, channel_axis=None, **kwargs)`` takes an
        array of two or three spatial axes, and one of channels if
        `channel_axis` names it, and returns a float array of its shape.
        Further arguments are passed on.  `channel_axis` is passed on where
        the function has a parameter of that name; otherwise the function is
        applied to each channel by itself.

        The function is given, and the result is, float64 for float64 and for
        integers of 32 bits and more; float32 for everything else.  NaN and
        infinities are always hidden, so the function never meets them.

    Raises
    ------
    InputError
        If the replacement is unknown.  When called: if the image or
        `channel_axis` cannot be used, or the function returns another shape.

    References
    ----------
    J. Batson, L. Royer, "Noise2Self: Blind Denoising by Self-Supervision",
    ICML 2019, eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import uniform_filter
    >>> smooth = j_invariant(uniform_filter, Grid(4))  # doctest: +SKIP
    >>> loss = np.mean((smooth(noisy, size=5) - noisy) ** 2)  # doctest: +SKIP
    """
    if replacement not in get_args(Replacement):
        raise InputError(
            f"The replacement was {replacement!r}: use one of {', '.join(get_args(Replacement))}."
        )
    passed_on = _takes_channel_axis(function)

    def invariant(
        image: ArrayLike, *args: Any, channel_axis: int | None = None, **kwargs: Any
    ) -> NDArray[Any]:
        array = _checked(image, channel_axis)
        if channel_axis is not None and passed_on:
            kwargs["channel_axis"] = channel_axis
        channels = array[None] if channel_axis is None else np.moveaxis(array, channel_axis, 0)
        x = torch.from_numpy(np.ascontiguousarray(channels))[None]
        broken = ~torch.isfinite(x)
        invalid = broken if bool(broken.any()) else None
        result = np.zeros_like(array)
        # Views: what is written into them is written into `result`.
        parts = result[None] if channel_axis is None else np.moveaxis(result, channel_axis, 0)
        for subset, mask in enumerate(partition.masks(channels.shape[1:])):
            if not mask.any():
                continue
            masked = masked_input(
                x,
                torch.from_numpy(mask)[None, None],
                partition,
                replacement,
                invalid=invalid,
                generator=torch.Generator().manual_seed(subset),
                span=None,
            )[0].numpy()
            if channel_axis is None:
                outputs = _applied(function, masked[0], args, kwargs)[None]
            elif passed_on:
                # In the memory order of the image, for functions that care.
                whole = np.ascontiguousarray(np.moveaxis(masked, 0, channel_axis))
                outputs = np.moveaxis(_applied(function, whole, args, kwargs), channel_axis, 0)
            else:
                outputs = np.stack([_applied(function, part, args, kwargs) for part in masked])
            for part, output in zip(parts, outputs, strict=True):
                part[mask] = output[mask]
        return result

    return invariant


def _takes_channel_axis(function: Function) -> bool:
    try:
        return "channel_axis" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Some functions that are written in C do not tell.
        return False


def _checked(image: ArrayLike, channel_axis: int | None) -> NDArray[Any]:
    array = np.asarray(image)
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"The image has the type {array.dtype}: give integers or floating-point numbers."
        )
    if channel_axis is not None and not -array.ndim <= channel_axis < array.ndim:
        raise InputError(
            f"The channel axis was {channel_axis} but the image has {array.ndim} axes: give one "
            f"from {-array.ndim} to {array.ndim - 1}."
        )
    spatial = array.ndim - (channel_axis is not None)
    if spatial not in (2, 3) or not array.size:
        raise InputError(
            f"The image has the shape {array.shape}: give two or three spatial axes with at least "
            f"one pixel each, and name the axis of channels as channel_axis."
        )
    kind = np.result_type(array.dtype, np.float32)
    # torch knows no longer floats, and no foreign byte order.
    return array.astype(np.float32 if kind == np.float32 else np.float64)


def _applied(
    function: Function, image: NDArray[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> NDArray[Any]:
    output = np.asarray(function(image, *args, **kwargs))
    if output.shape != image.shape:
        raise InputError(
            f"The function turns an image of shape {image.shape} into one of {output.shape}: it "
            f"must return the shape it is given."
        )
    return output
