"""Blocks spread over all of an array, which stand for it where it is too large to be seen whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from napari_noise2self.engine.layout import Layout

# Shapes of the blocks, by the number of spatial axes.
BLOCK_SHAPES = {2: (1024, 1024), 3: (32, 256, 256)}
# Where many images share the room, the blocks are smaller, but hold at least one crop.
LEAST_SHAPES = {2: (128, 128), 3: (8, 128, 128)}


def spread_blocks(
    layout: Layout, most: int, shapes: Mapping[int, Sequence[int]] = BLOCK_SHAPES
) -> list[tuple[int, tuple[slice, ...]]]:
    """Which parts of which frames stand for an array.

    Parameters
    ----------
    layout : Layout
    most : int
        Pixels that all parts have together, at most and about.
    shapes : mapping
        Shape of a block, by the number of spatial axes.

    Returns
    -------
    blocks : list of (int, tuple of slice)
        Number of the frame, and the part of it; all of every frame where that
        is not too much.
    """
    shape = layout.spatial_shape
    if layout.frames * math.prod(shape) <= most:
        whole = tuple(slice(0, n) for n in shape)
        return [(frame, whole) for frame in range(layout.frames)]
    sides = [min(side, n) for side, n in zip(shapes[layout.ndim], shape, strict=True)]
    least = LEAST_SHAPES[layout.ndim]
    while math.prod(sides) > most:
        spare = [side / enough for side, enough in zip(sides, least, strict=True)]
        longest = spare.index(max(spare))
        if spare[longest] <= 1:
            break
        sides[longest] = max(sides[longest] // 2, least[longest])
    starts = [
        [min(start, n - side) for start in range(0, n, side)]
        for n, side in zip(shape, sides, strict=True)
    ]
    places = list(itertools.product(*starts))
    count = min(max(most // math.prod(sides), 1), layout.frames * len(places))
    # Frames evenly, places by chance: in step with each other they would miss most places.
    order = np.random.default_rng(0).permutation(len(places))
    regions = []
    for number in range(count):
        place = places[order[number % len(places)]]
        region = tuple(slice(s, s + side) for s, side in zip(place, sides, strict=True))
        regions.append((number * layout.frames // count, region))
    return regions
