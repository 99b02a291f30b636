"""Grey values mapped by a range that was stated, not by their own mean and variance."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.masking import NORMALISED_SPAN
from napari_noise2self.engine.preparation import Normalisation, TrainingData

# Values that are looked at per channel.
MOST_SAMPLED = 2**18


def mapped_by_range(data: TrainingData, grey_range: tuple[float, float]) -> TrainingData:
    """The data with the ends of a range where random replacements end.

    So "uniform" replacements are uniform in that range.

    Parameters
    ----------
    data : TrainingData
    grey_range : (float, float)
        Where the data do not fit into it, the range that they have is taken, and a notice added.

    Returns
    -------
    data : TrainingData
    """
    low, high = grey_range
    notices = list(data.notices)
    least, most, own_low, own_high = _spread(data)
    if least < low - (high - low) or most > high + (high - low) or most - least < (high - low) / 50:
        notices.append(
            f"The grey values lie about between {own_low:.4g} and {own_high:.4g}, which does not "
            f"fit the range from {low:.4g} to {high:.4g} of the settings: their own range is taken."
        )
        low, high = own_low, own_high
        if not low < high:
            return dataclasses.replace(data, notices=notices)
    bottom, top = NORMALISED_SPAN
    scale = (high - low) / (top - bottom)
    channels = len(data.normalisation.offset)
    normalisation = Normalisation((low - bottom * scale,) * channels, (scale,) * channels)
    blocks = [
        dataclasses.replace(block, values=remapped(block.values, data.normalisation, normalisation))
        for block in data.blocks
    ]
    return dataclasses.replace(data, blocks=blocks, normalisation=normalisation, notices=notices)


def remapped(
    values: NDArray[np.float32], before: Normalisation, after: Normalisation
) -> NDArray[np.float32]:
    """Values that one map has normalised, as another one would have.

    Parameters
    ----------
    values : ndarray of float32, shape (channels, [Z,] Y, X)
    before, after : Normalisation
    """
    result = np.empty_like(values)
    for channel, plane in enumerate(values):
        slope = before.scale[channel] / after.scale[channel]
        shift = (before.offset[channel] - after.offset[channel]) / after.scale[channel]
        np.multiply(plane, slope, out=result[channel])
        result[channel] += shift
    return result


def _spread(data: TrainingData) -> tuple[float, float, float, float]:
    """Where nearly all of the grey values lie, and all but a few of them."""
    found = []
    step = max(sum(block.values[0].size for block in data.blocks) // MOST_SAMPLED, 1)
    for channel, (offset, scale) in enumerate(
        zip(data.normalisation.offset, data.normalisation.scale, strict=True)
    ):
        values = np.concatenate([b.values[channel].ravel()[::step] for b in data.blocks])
        found.append(np.percentile(values, [1, 99, 0.1, 99.9]) * scale + offset)
    low, high, lowest, highest = np.transpose(found)
    return float(low.min()), float(high.max()), float(lowest.min()), float(highest.max())
