"""Training against something else than the image itself: a second noisy image, or the truth.

The network is shown the whole image and learns to predict the target: N2N
(Lehtinen et al., "Noise2Noise", ICML 2018) where that is another noisy image of
the same scene, N2T where it is the truth.  Crops and schedule are those
of Noise2Self, and held-out positions are no targets here either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.arrays import as_array
from napari_noise2self.engine.config import Objective
from napari_noise2self.engine.errors import InputError, counted
from napari_noise2self.engine.events import Control
from napari_noise2self.engine.grey_range import remapped
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.preparation import Block, TrainingData, check_image, prepare
from napari_noise2self.engine.scoring import HeldOut, Score, self_supervised_score, squares_of
from napari_noise2self.engine.trained import Trained, scoring_pieces

# The objectives that need a target, and what it is.
WITH_TARGET: dict[Objective, str] = {
    "n2n": "a second noisy image of the same scene",
    "n2t": "the truth",
}
# The brightness of a target differs when its linear fit to the image departs by this share of the
# image's standard deviation; the noise of means over squares of this side stays well below.
DIFFERENT = 0.25
SQUARE = 8
# Blocks that are looked at for that.
MOST_BLOCKS = 64


def chosen_objective(objective: Objective, stated: bool, target: bool) -> Objective:
    """What is learned to predict.

    Parameters
    ----------
    objective : str
        What the settings say.
    stated : bool
        Whether somebody chose it, or it is the default.
    target : bool
        Whether a target was given.

    Raises
    ------
    InputError
        If a target is missing, or would not be looked at.
    """
    if objective in WITH_TARGET:
        if not target:
            raise InputError(
                f"The objective {objective!r} needs a target, and none was given: pass "
                f"{WITH_TARGET[objective]} as `target`."
            )
        return objective
    if target and stated:
        raise InputError(
            f"A target was given, but the objective {objective!r} learns from the image alone: "
            f"leave the target out, or use the objective 'n2n' for a noisy target or 'n2t' for "
            f"the truth."
        )
    return "n2n" if target else objective


def matched(image: Any, target: Any, images: Sequence[Any]) -> list[Any]:
    """The target of each image, as arrays.

    Parameters
    ----------
    image, target
        As the caller gave them: each an array, or both a list of arrays.
    images : sequence of array
        The images of `image`.

    Raises
    ------
    InputError
        If a target is missing, has another shape than its image, or holds no grey values.
    """
    if isinstance(image, list) != isinstance(target, list):
        one, other = ("a list", "one array")[:: 1 if isinstance(image, list) else -1]
        raise InputError(
            f"The images are {one} but the targets are {other}: give one target for each image, "
            f"in the same order."
        )
    targets = [as_array(t) for t in (target if isinstance(target, list) else [target])]
    if len(targets) != len(images):
        raise InputError(
            f"Given were {counted(len(images), 'image')} but {counted(len(targets), 'target')}: "
            f"give one target for each image, in the same order."
        )
    for one, other in zip(images, targets, strict=True):
        if tuple(one.shape) != tuple(other.shape):
            raise InputError(
                f"The target has the shape {tuple(other.shape)} but the image has "
                f"{tuple(one.shape)}: give a target that shows the same pixels."
            )
    return targets


@dataclass(frozen=True)
class Targets:
    """The targets of the blocks that a network is trained on.

    Attributes
    ----------
    blocks : list of Block
        One for each block of the data, mapped as the image is, so that grey values agree.
    notices : list of str
        What the user should know about them.
    """

    blocks: list[Block]
    notices: list[str]


def prepare_targets(
    targets: Sequence[tuple[Any, Layout]], data: TrainingData, control: Control | None = None
) -> Targets | None:
    """Read and clean targets as the images were, and map them by the map of the images.

    Parameters
    ----------
    targets : sequence of (array, Layout)
        In the order of the images that `data` was prepared from.
    data : TrainingData
    control : Control, optional

    Returns
    -------
    targets : Targets or None
        None if it was stopped.

    Raises
    ------
    InputError
        If a target cannot be used or all of them are constant.
    """
    try:
        for target, layout in targets:
            check_image(target, layout)
        found = prepare(targets, control)
    except InputError as error:
        # The same sentences are true of targets.
        raise InputError(re.sub(r"\b([Tt])he image\b", r"\1he target", str(error))) from None
    if found is None:
        return None
    blocks = [
        Block(
            remapped(block.values, found.normalisation, data.normalisation), block.valid, b.origin
        )
        for block, b in zip(found.blocks, data.blocks, strict=True)
    ]
    notices = []
    bad = sum(int(block.valid.size - np.count_nonzero(block.valid)) for block in blocks)
    if bad:
        notices.append(
            "1 pixel of the target is NaN, infinite or hot: nothing is learned from it."
            if bad == 1
            else f"{bad:,} pixels of the target are NaN, infinite or hot: nothing is learned from "
            f"them."
        )
    notices += brightness_notices(data, blocks)
    return Targets(blocks, notices)


def brightness_notices(data: TrainingData, targets: Sequence[Block]) -> list[str]:
    """What to say of targets whose grey values mean something else than those of the image."""
    chosen = range(0, len(targets), -(-len(targets) // MOST_BLOCKS))
    notices = []
    channels = len(data.normalisation.offset)
    for channel in range(channels):
        image = np.concatenate([_means(data.blocks[i].values[channel]) for i in chosen])
        target = np.concatenate([_means(targets[i].values[channel]) for i in chosen])
        variance = float(image.var())
        covariance = float(np.mean((image - image.mean()) * (target - target.mean())))
        slope = covariance / variance if variance > 0 else 1.0
        shift = float(target.mean() - image.mean())
        if math.hypot((slope - 1) * math.sqrt(variance), shift) <= DIFFERENT:
            continue
        offset, scale = data.normalisation.offset[channel], data.normalisation.scale[channel]
        constant = (float(target.mean()) - slope * float(image.mean())) * scale
        constant += offset * (1 - slope)
        where = f" in channel {channel}" if channels > 1 else ""
        notices.append(
            f"The brightness of the target differs from that of the image{where} (about "
            f"{slope:.3g} × image {'-' if constant < 0 else '+'} {abs(constant):.3g}): the result "
            f"gets the brightness of the target, and its self-supervised score does not hold."
        )
    return notices


def _means(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    """The means over squares, in which little of the noise is left."""
    y, x = (n - n % SQUARE for n in plane.shape[-2:])
    cut = plane[..., :y, :x].astype(np.float64)
    squares = cut.reshape(*cut.shape[:-2], y // SQUARE, SQUARE, x // SQUARE, SQUARE)
    means: NDArray[np.float64] = squares.mean(axis=(-3, -1)).ravel()
    return means


def loss_against(
    trained: Trained, blocks: Sequence[Block], targets: Sequence[Block], averaging: int
) -> Score:
    """The loss of the single pass against the targets, at the held-out positions.

    These were no targets in training, so that it is the error of the single
    pass plus the variance of the noise of the target; of the truth, that is 0.

    Parameters
    ----------
    trained : Trained
    blocks, targets : sequence of Block
    averaging : int
        As for `Trained.predictor`.
    """
    predictor = trained.predictor(averaging)
    partition, ndim = trained.partition, trained.ndim
    found = []
    pairs = zip(scoring_pieces(blocks, ndim), scoring_pieces(targets, ndim), strict=True)
    for (values, valid, origin), (goal, goal_valid, _) in pairs:
        *_, predicted = predictor.single_pass(values)
        assert isinstance(predicted, np.ndarray)
        shape = values.shape[1:]
        places = partition.held_out(shape, origin) & valid & goal_valid
        squares = squares_of(shape)
        found.append(
            [
                HeldOut(
                    predicted[channel][where].astype(np.float64),
                    goal[channel][where].astype(np.float64),
                    squares[where],
                )
                for channel, where in enumerate(places)
            ]
        )
    positions = [HeldOut.join(channel) for channel in zip(*found, strict=True)]
    return self_supervised_score(positions, trained.normalisation.scale)
