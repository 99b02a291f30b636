"""How long to train, in which cycles, and at which learning rate."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.sampling import Sampler

# The automatic length, in steps, for an image of REFERENCE_PIXELS.
AUTO_STEPS = 350
REFERENCE_PIXELS = 512 * 512
# 64x64 pixels are learned by heart, noise and all, in twice as many epochs as these; so they, and
# smaller images in proportion to their pixels, have no more, but not fewer steps than that.
SMALL_PIXELS, SMALL_EPOCHS, LEAST_STEPS = 64 * 64, 150, 80
# From so many times the automatic length on there are one, two and three cycles.  In one of half
# that length what a second one gives is lost again on smooth images and some correlated noise.
CYCLES = (0.0, 1.5, 4.0)
# Going on from trained weights takes this share of the steps, and of the rate: at the whole rate
# half of what was learned is lost.
WARM_STEPS = 0.25
WARM_RATE = 1 / 3
# Highest learning rate, for images and for volumes.
PEAK_RATE = {2: 3e-3, 3: 1e-3}
# The learning rate of the plain recipe, unless it is stated.
PLAIN_RATE = 1e-3


@dataclass(frozen=True)
class Plan:
    """How long to train.

    Attributes
    ----------
    cycles : tuple of int
        Steps of each cycle of the learning rate.
    targets : float
        Targets drawn per step.
    pixels : int
        Pixels of the data: as many targets are one epoch.
    """

    cycles: tuple[int, ...]
    targets: float
    pixels: int

    @property
    def steps(self) -> int:
        """Steps of all cycles."""
        return sum(self.cycles)

    def epochs(self, step: int) -> float:
        """Epochs that `step` steps amount to."""
        return step * self.targets / self.pixels


def plan(
    config: TrainingConfig,
    pixels: int,
    sampler: Sampler,
    device: torch.device,
    redrawn: bool = False,
) -> Plan:
    """How many steps to train: as many epochs as asked for, or planned from the data.

    Parameters
    ----------
    config : TrainingConfig
    pixels : int
        Of the whole data.
    sampler : Sampler
    device : torch.device
    redrawn : bool
        Whether there may be cycles with noise drawn anew.
    """
    targets = sampler.masked_crops(sampler.batch_size) * sampler.targets_per_crop
    # More data deserves more steps, but far fewer than in proportion.
    growth = (pixels / REFERENCE_PIXELS) ** 0.25
    automatic = round(AUTO_STEPS * min(max(growth, 0.75), 3.0))
    most = SMALL_EPOCHS * pixels / SMALL_PIXELS * pixels / targets
    automatic = min(automatic, max(round(most), LEAST_STEPS))
    if device.type != "cpu":
        automatic *= 2
    steps = automatic
    if config.epochs is not None:
        steps = max(round(config.epochs * pixels / targets), 1)
    return Plan(_cycles(steps, automatic) if redrawn else (steps,), targets, pixels)


def _cycles(steps: int, automatic: int) -> tuple[int, ...]:
    """The steps of each cycle of a training: the longer it is, the more cycles."""
    count = int(np.searchsorted(CYCLES, steps / automatic, side="right"))
    return tuple(steps * (k + 1) // count - steps * k // count for k in range(count))


def going_on(length: Plan, config: TrainingConfig, ndim: int) -> tuple[Plan, TrainingConfig]:
    """How to train a network that has learned before, where nobody says otherwise."""
    if config.epochs is None:
        length = dataclasses.replace(length, cycles=(max(round(length.steps * WARM_STEPS), 1),))
    if config.learning_rate is None and config.recipe == "default":
        rate = PEAK_RATE[2 if config.context else ndim] * WARM_RATE
        config = config.model_copy(update={"learning_rate": rate})
    return length, config


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One cycle: a short rise to `peak`, then half a cosine down to zero."""
    warm = max(steps * 0.1, 1.0)
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))
