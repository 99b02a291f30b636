"""What a partition does to the data: the masked input, and a check that nothing leaks into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.inspection import Window, grown, labels_in, spread, within
from napari_noise2self.engine.masking import masked_input
from napari_noise2self.engine.partition import Partition

# More subsets than these are checked by sample, spread over all.
MOST_CHECKED = 16


def surroundings(partition: Partition, window: Window, shape: Sequence[int]) -> Window:
    """The part of an image that the masked input of a window is computed from.

    Parameters
    ----------
    partition : Partition
    window : tuple of slice
        One per spatial axis, in the image.
    shape : sequence of int
        Spatial shape (Z)YX of the image.

    Returns
    -------
    window : tuple of slice
        A replacement looks at half the extent and one pixel more, and whether
        that is hidden is decided half an extent further away.
    """
    return grown(window, partition.extents(len(window)), shape)


@dataclass(frozen=True)
class Leakage:
    """Whether the input of a network depends on what is hidden from it.

    Attributes
    ----------
    subsets : int
        How many were hidden, one after the other.
    changed : int
        Hidden pixels that were given other values, over all of these subsets.
    leaks : int
        Pixels of the masked input that were not the same, bit by bit, after that.
    covered_once : bool
        Whether every pixel belongs to exactly one subset.
    """

    subsets: int
    changed: int
    leaks: int
    covered_once: bool


@dataclass(frozen=True)
class Block:
    """A part of an image, read with its surroundings.

    Attributes
    ----------
    values : ndarray, shape (n, [Z,] Y, X)
        Any number of images, such as channels, under the same partition.
    outer : tuple of slice
        Where it lies in the image.
    window : tuple of slice
        The part that is of interest, in the image too.
    """

    values: NDArray[Any]
    outer: Window
    window: Window

    def masked(self, partition: Partition, subset: int) -> NDArray[np.floating[Any]]:
        """The input of the network where a subset is hidden: x with s(x) in place of it.

        Parameters
        ----------
        partition : Partition
        subset : int

        Returns
        -------
        masked : ndarray of float32 or float64, shape (n, *window)
            With the replacement "mean".
        """
        x, invalid = self._tensors()
        targets = torch.from_numpy(labels_in(partition, self.outer) == subset)
        masked = _masked(x, targets, partition, invalid).numpy()
        part: NDArray[np.floating[Any]] = masked[(slice(None), *within(self.window, self.outer))]
        return part

    def check(
        self,
        partition: Partition,
        subset: int = 0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Leakage:
        """Change what is hidden and see whether the masked input changes.

        What is hidden is worked out here anew, apart from the code that hides
        it, and gets values far outside of those that the image has.

        Parameters
        ----------
        partition : Partition
        subset : int
            One that is among those that are checked.
        stopped : callable
            Asked before each subset whether to leave it at those checked so far.

        Returns
        -------
        leakage : Leakage
        """
        x, invalid = self._tensors()
        labels = labels_in(partition, self.outer)
        count = partition.subset_count(labels.ndim)
        present = np.unique(labels)
        covered = bool(present[0] >= 0 and present[-1] < count)
        step = -(-len(present) // MOST_CHECKED)
        checked = present[subset % step :: step] if step > 1 else present
        extents = partition.extents(labels.ndim)
        generator = torch.Generator().manual_seed(0)
        finite = x[torch.isfinite(x)]
        span = float(finite.max() - finite.min()) if finite.numel() else 0.0
        changed = leaks = done = 0
        for number in checked:
            if stopped():
                break
            done += 1
            targets = labels == number
            hidden = torch.from_numpy(spread(targets, extents)).expand_as(x)
            # At least one span away from where they were, up or down.
            far = (span or 1.0) * (1 + 9 * torch.rand(x.shape, generator=generator))
            far = torch.where(torch.rand(x.shape, generator=generator) < 0.5, -far, far)
            moved = torch.nan_to_num(x, posinf=0.0, neginf=0.0) + far.to(x.dtype)
            other = torch.where(hidden, moved, x)
            mask = torch.from_numpy(targets)
            before = _masked(x, mask, partition, invalid)
            after = _masked(other, mask, partition, invalid)
            changed += int((hidden & (other != x)).sum())
            leaks += int((before != after).sum())
        return Leakage(done, changed, leaks, covered)

    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        dtype = self.values.dtype
        if dtype.kind not in "uif":
            raise InputError(
                f"The image has the type {dtype}: whole or floating-point grey values are needed."
            )
        # float32 where it holds every value; torch knows no other byte order.
        wide = np.result_type(dtype, np.float32) != np.float32
        values = np.ascontiguousarray(self.values, np.float64 if wide else np.float32)
        x = torch.from_numpy(values)
        broken = ~torch.isfinite(x)
        return x, broken if bool(broken.any()) else None


def _masked(
    x: torch.Tensor, targets: torch.Tensor, partition: Partition, invalid: torch.Tensor | None
) -> torch.Tensor:
    batch = targets.expand_as(x)[:, None]
    bad = None if invalid is None else invalid[:, None]
    return masked_input(x[:, None], batch, partition, "mean", invalid=bad)[:, 0]
