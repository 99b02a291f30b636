"""A network trained on images of any axes: what `Denoiser.train` does, step by step."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_noise2self.engine import networks, training
from napari_noise2self.engine.arrays import as_array
from napari_noise2self.engine.checks import check_network, check_partition
from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.errors import InputError, OutOfMemoryError
from napari_noise2self.engine.events import Control, Notice, TrainingEvent
from napari_noise2self.engine.finisher import Finisher
from napari_noise2self.engine.grey_range import mapped_by_range
from napari_noise2self.engine.hardware import place, select_device
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.alike import most_different
from napari_noise2self.engine.noise.estimate import NoiseReport, estimate_noise
from napari_noise2self.engine.partition import Grid, Partition
from napari_noise2self.engine.preparation import TrainingData, prepare
from napari_noise2self.engine.preview import Preview
from napari_noise2self.engine.region import Region, described, part_of
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.schedule import going_on, plan
from napari_noise2self.engine.scoring import Score
from napari_noise2self.engine.sure_training import check_noise
from napari_noise2self.engine.targets import loss_against, matched, prepare_targets
from napari_noise2self.engine.trained import (
    Trained,
    averaging_of,
    best_output,
    scoring_pieces,
)

# The noise of so many images is estimated, at most.
MOST_ESTIMATED = 8
PATTERNED = (
    "Part of the noise is the same in every frame (a fixed pattern): neighbouring slices show it "
    "to the network, and some of it will stay. Subtract a dark frame, or denoise slice by slice."
)
MIXED = (
    "There is little noise {where} beside what the network cannot predict: the mixed output is "
    "taken, which keeps a part of every pixel."
)
ROUGHLY = (
    "How much noise there is could only be told roughly, for fine structure looks alike: compare "
    "the result with the image."
)


@dataclass(frozen=True)
class Lessons:
    """What is to be learned from, checked as far as it can be without reading it.

    Attributes
    ----------
    images : list of array
    layouts : list of Layout
    goals : list of array, optional
        The target of each image.
    region : mapping, optional
        The part of each image that is learned from.
    """

    images: list[Any]
    layouts: list[Layout]
    goals: list[Any] | None
    region: Region | None

    @classmethod
    def of(
        cls,
        config: TrainingConfig,
        image: Any,
        axes: str | Sequence[str | None] | None,
        target: Any,
        region: Region | None,
    ) -> Lessons:
        """From what `Denoiser.fit` takes.

        Raises
        ------
        InputError
            If there are no images, or their axes, channels or targets do not
            go together.
        """
        images = [as_array(i) for i in (image if isinstance(image, list) else [image])]
        if not images:
            raise InputError("The list of images is empty: give at least one image.")
        goals = None if target is None else matched(image, target, images)
        named = [axes] * len(images) if axes is None or isinstance(axes, str) else list(axes)
        if len(named) != len(images):
            raise InputError(
                f"There are axes for {len(named)} images, but {len(images)} images: name those of "
                f"each, or once those of all."
            )
        layouts = [
            config.layout(i.shape, letters) for i, letters in zip(images, named, strict=True)
        ]
        for layout in layouts[1:]:
            if layout.channels != layouts[0].channels:
                raise InputError(
                    f"The images have {layouts[0].channels} and {layout.channels} channels: one "
                    f"network needs images with the same number of channels."
                )
        return cls(images, layouts, goals, region)

    @property
    def parts(self) -> list[tuple[Any, Layout]]:
        """The part of each image that is learned from, unread, and what its axes are."""
        return [part_of(*p, self.region) for p in zip(self.images, self.layouts, strict=True)]

    @property
    def targets(self) -> list[tuple[Any, Layout]] | None:
        """The same part of each target."""
        if self.goals is None:
            return None
        return [part_of(*p, self.region) for p in zip(self.goals, self.layouts, strict=True)]


def fit_events(
    lessons: Lessons,
    config: TrainingConfig,
    network: nn.Module | None = None,
    *,
    warm_start: bool = False,
    control: Control,
    out: NDArray[np.float32] | None = None,
) -> Generator[Notice | TrainingEvent, None, tuple[Trained, dict[str, Any]] | None]:
    """Prepare the data, train, and take the score.

    Parameters
    ----------
    lessons : Lessons
    config : TrainingConfig
        With the objective that is meant.
    network : Module, optional
        What to train, in place; by default the one that `config` asks for.
    warm_start : bool
        Whether `network` has learned before.
    control : Control
    out : ndarray of float32, optional
        Where previews go, if there is one image.

    Yields
    ------
    event : Notice or TrainingEvent

    Returns
    -------
    trained : Trained
    summary : dict
        How it was trained.  Both are left out (None) if it was stopped before
        the first step.
    """
    began = time.monotonic()
    parts, first = lessons.parts, lessons.layouts[0]
    device = select_device(config.device)
    data = prepare(parts, control)
    if data is None:
        return None
    if config.grey_range is not None:
        data = mapped_by_range(data, config.grey_range)
    for message in data.notices:
        yield Notice(message)
    taught, targets = None, lessons.targets
    if targets is not None:
        taught = prepare_targets(targets, data, control)
        if taught is None:
            return None
        for message in taught.notices:
            yield Notice(message)
    noises = [
        estimate_noise(image, layout.axes, volume=layout.volume, depth_axis=layout.depth)
        for image, layout in _few(parts)
    ]
    noise, other = noises[0], most_different(noises)
    if other is not None and config.objective == "n2s":
        yield Notice(
            f"The noise of the images differs: of one it is {other[1]:.2g} times as strong as of "
            f"the first at the same grey values. Gains and shares are told from the first, and the "
            f"mixed output is not taken by itself: train on images of like noise, or on each alone."
        )
    partition = _partition(config, noise, data)
    for message in _warnings(config, noise, partition, taught is not None):
        yield Notice(message)
    check_partition(partition, data.blocks, first)
    own = network is not None and not warm_start
    if network is None:
        network = networks.build(config, first.channels, first.ndim, config.seed)
    network = place(network, device, first.ndim)
    sampler = Sampler(data, partition, config, device, noise, taught.blocks if taught else None)
    averaging = averaging_of(config, first)
    finisher = Finisher(data, config, sampler, noise, other is None, averaging)
    length = plan(config, data.pixels, sampler, device, finisher.can_redraw)
    schedule = config
    if warm_start:
        length, schedule = going_on(length, config, first.ndim)
    if own:
        check_network(network, first.channels, first.ndim)
    preview = None
    if out is not None and len(lessons.images) == 1:
        preview = Preview(
            lessons.images[0], first, data.normalisation, partition, device, control, out
        )
    scale = data.normalisation.scale
    steps, epochs = yield from training.train(
        network, sampler, length, schedule, scale, control, preview, finisher.redraw
    )
    if not steps:
        return None
    trained = finisher.untested(network)
    loss = None
    try:
        pieces = scoring_pieces(data.blocks, first.ndim)
        positions = trained.held_out_positions(pieces, averaging)
        trained = finisher.with_best_output(trained, positions)
        if trained.best_output != best_output(sampler) and config.output == "auto":
            yield Notice(_of_mixing(trained))
        score = trained.score(positions)
        if taught is not None:
            loss = loss_against(trained, data.blocks, taught.blocks, averaging)
    except OutOfMemoryError as error:
        score = Score.unknown()
        yield Notice(f"The score could not be taken. {error}")
    summary = _summary(config, trained, score, device, steps, epochs, time.monotonic() - began)
    learned_from = described(first, parts[0][0])
    if learned_from is not None:
        summary["region"] = learned_from
    if loss is not None:
        summary["target"] = {"loss": loss.loss, "error": loss.error, "positions": loss.positions}
    return trained, summary


def _few(parts: Sequence[tuple[Any, Layout]]) -> list[tuple[Any, Layout]]:
    """The first of many images, and some of the others."""
    return [parts[i] for i in np.unique(np.linspace(0, len(parts) - 1, MOST_ESTIMATED, dtype=int))]


def _partition(config: TrainingConfig, noise: NoiseReport, data: TrainingData) -> Partition:
    """The partition that is asked for, or that suits the noise."""
    partition = config.partition or noise.suggestion.partition
    if config.context and isinstance(partition, Grid):
        slices = min(block.values.shape[1] for block in data.blocks)
        partition = partition.beside(config.context, slices)
    return partition


def _warnings(
    config: TrainingConfig, noise: NoiseReport, partition: Partition, taught: bool
) -> list[str]:
    """What is to be said of the noise before training."""
    if config.objective == "sure":
        notice = check_noise(noise, config.noise_sd)
    else:
        notice = noise.notice(partition, automatic=config.partition is None)
    if taught:
        # Nothing is hidden from a network that learns from a target.
        return []
    found = [] if notice is None else [notice]
    if config.context and noise.patterned:
        found.append(PATTERNED)
    return found


def _of_mixing(trained: Trained) -> str:
    """What is to be said where the mixed output is taken, in some of the channels or in all."""
    mixed = [c for c, kind in enumerate(trained.kinds(trained.best_output)) if kind == "mixed"]
    *others, last = map(str, mixed)
    names = f"{', '.join(others)} and {last}" if others else last
    every = len(mixed) == len(trained.normalisation.offset)
    where = "here" if every else f"in channel{'s' if len(mixed) > 1 else ''} {names}"
    told = MIXED.format(where=where)
    return told if all(trained.noise.channels[c].known for c in mixed) else f"{told} {ROUGHLY}"


def _summary(
    config: TrainingConfig,
    trained: Trained,
    score: Score,
    device: torch.device,
    steps: int,
    epochs: float,
    seconds: float,
) -> dict[str, Any]:
    noise = trained.noise
    return {
        "objective": config.objective,
        "partition": trained.partition.description(trained.ndim),
        "network": config.network,
        "epochs": round(epochs, 4),
        "steps": steps,
        "device": device.type,
        "score": score.to_json()["loss"],
        "quality": score.to_json(),
        "noise": {"correlated": noise.correlated, "extent": list(noise.extent)},
        "seconds": round(seconds, 3),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
