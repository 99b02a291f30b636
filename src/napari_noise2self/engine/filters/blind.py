"""A classical filter applied to a channel of an image, plainly and blindly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_noise2self.engine.errors import EngineError, InputError, Noise2SelfError
from napari_noise2self.engine.filters.catalogue import Filter
from napari_noise2self.engine.masking import masked_input
from napari_noise2self.engine.partition import Partition

Plane = NDArray[np.float32]
# Beyond so many deviations of the noise, float32 grey values would lose digits.
_FAR = 1e4


@dataclass(frozen=True)
class Channel:
    """A channel of a piece of an image in units of its noise.

    Attributes
    ----------
    values : ndarray of float32, shape ([Z,] Y, X)
        The noise has the standard deviation 1; bad pixels are filled.
    valid : ndarray of bool, same shape
        False where a pixel was bad.
    offset, scale : float
        Grey values are ``values * scale + offset``.
    """

    values: Plane
    valid: NDArray[np.bool_]
    offset: float
    scale: float

    @classmethod
    def of(
        cls, plane: NDArray[Any], valid: NDArray[np.bool_], offset: float, scale: float
    ) -> Channel:
        """From grey values; in double precision, as a large offset would eat the digits."""
        values = ((plane.astype(np.float64) - offset) / scale).astype(np.float32)
        return cls(values, valid, offset, scale)

    def masked(self, targets: NDArray[np.bool_], partition: Partition) -> Plane:
        """The values with `targets` and the blocks around them replaced."""
        x = torch.from_numpy(self.values)[None, None]
        invalid = None if self.valid.all() else torch.from_numpy(~self.valid)[None, None]
        hidden = torch.from_numpy(np.ascontiguousarray(targets))[None, None]
        return masked_input(x, hidden, partition, invalid=invalid)[0, 0].numpy()

    def filtered(
        self, filter_: Filter, parameters: Mapping[str, Any], values: Plane | None = None
    ) -> Plane:
        """The output of a filter, for these values or others in the same units.

        Raises
        ------
        Noise2SelfError
            If the filter fails, or returns another shape.
        """
        values = self.values if values is None else values
        if not filter_.grey:
            return _checked(filter_, parameters, values, filter_.function, {})
        kind = np.float64 if abs(self.offset) > _FAR * self.scale else np.float32
        grey = (values.astype(np.float64) * self.scale + self.offset).astype(kind)
        output = _checked(filter_, parameters, grey, filter_.function, {})
        return ((output.astype(np.float64) - self.offset) / self.scale).astype(np.float32)

    def donut(
        self, filter_: Filter, parameters: Mapping[str, Any], partition: Partition
    ) -> Plane | None:
        """The J-invariant output at all pixels at once, where the filter has one.

        None where it has none or where pixels are bad: what they were filled
        with has seen the pixels around.
        """
        if filter_.donut is None or not self.valid.all():
            return None
        extents = partition.extents(self.values.ndim)
        return _checked(filter_, parameters, self.values, filter_.donut, {"extents": extents})

    def j_invariant(
        self,
        filter_: Filter,
        parameters: Mapping[str, Any],
        partition: Partition,
        labels: NDArray[np.int32],
        subsets: Sequence[int] | None = None,
    ) -> Plane:
        """The J-invariant output, of all subsets or of some; 0 at the others."""
        at_once = self.donut(filter_, parameters, partition)
        if at_once is not None:
            return at_once
        result = np.zeros_like(self.values)
        if subsets is None:
            subsets = range(partition.subset_count(self.values.ndim))
        for subset in subsets:
            targets = labels == subset
            if targets.any():
                masked = self.masked(targets, partition)
                result[targets] = self.filtered(filter_, parameters, masked)[targets]
        return result


def _checked(
    filter_: Filter,
    parameters: Mapping[str, Any],
    image: NDArray[Any],
    function: Any,
    more: Mapping[str, Any],
) -> NDArray[Any]:
    settings = ", ".join(f"{name}={shown(value)}" for name, value in parameters.items())
    asked = f"The filter {filter_.name!r}" + (f" with {settings}" if settings else "")
    try:
        output = np.asarray(function(image, **parameters, **more))
    except (Noise2SelfError, MemoryError):
        raise
    except Exception as error:
        # Whatever a caller's function raises; the rest of the sentence is theirs.
        reason = " ".join(str(error).split()) or "no reason given"
        raise EngineError(f"{asked} failed with {type(error).__name__}: {reason}.") from error
    if output.shape != image.shape:
        raise InputError(
            f"{asked} turns an image of shape {image.shape} into one of {output.shape}: it must "
            f"return the shape it is given."
        )
    if output.dtype.kind not in "uif":
        raise InputError(
            f"{asked} returns the type {output.dtype}: it must return whole or floating-point "
            f"grey values."
        )
    return output if filter_.grey else output.astype(np.float32, copy=False)


def shown(value: Any) -> str:
    """A value of a parameter, short."""
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
