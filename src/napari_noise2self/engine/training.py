"""The training loop, a generator of frozen events.

Every step draws crops, lays the partition in the coordinates of the image,
hides one subset per crop, flips and rotates the result, and minimises the
squared error on the hidden targets (Batson & Royer 2019, section 3).  One
lattice of held-out positions is never a target; the loss there is the
self-supervised score.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.events import INTERVAL, Control, Notice, TrainingEvent
from napari_noise2self.engine.hardware import fast_dtype, is_out_of_memory
from napari_noise2self.engine.masking import dilate, replace_with_mean
from napari_noise2self.engine.partition import Grid
from napari_noise2self.engine.preparation import TrainingData

# The automatic length, in crops drawn, for an image of REFERENCE_PIXELS.
AUTO_STEPS = 150
REFERENCE_PIXELS = 512 * 512
# How often the score is taken, and on how many pixels.
SCORES_PER_RUN = 12
SCORE_PIXELS = 2**17
# Largest norm of a gradient: what keeps a network without normalisation stable.
MAX_GRADIENT = 1.0
# A score this much above the best one means that training has diverged.
DIVERGED = 1.5
MAX_RECOVERIES = 5
# The average of the weights moves by this share per step.
AVERAGE_SHARE = 0.05

Preview = Callable[[nn.Module], int | None]


@dataclass(frozen=True)
class Plan:
    """How long to train.

    Attributes
    ----------
    steps : int
    targets : float
        Targets drawn per step.
    pixels : int
        Pixels of the data: as many targets are one epoch.
    """

    steps: int
    targets: float
    pixels: int

    def epochs(self, step: int) -> float:
        """Epochs that `step` steps amount to."""
        return step * self.targets / self.pixels


class Sampler:
    """Draws batches of masked crops on the device.

    Positions, subsets and flips come from numbers drawn on the host before,
    so no step waits for the device.
    """

    def __init__(
        self,
        data: TrainingData,
        partition: Grid,
        config: TrainingConfig,
        device: torch.device,
    ) -> None:
        self.partition = partition
        self.device = device
        self.ndim = data.blocks[0].values.ndim - 1
        self.extents = partition.extents(self.ndim)
        self.subsets = partition.subsets(self.ndim)
        self.values = [torch.from_numpy(b.values).to(device) for b in data.blocks]
        self.valid = [
            None if b.valid.all() else torch.from_numpy(b.valid).to(device) for b in data.blocks
        ]
        self.labels = []
        for block in data.blocks:
            labels = partition.labels(block.values.shape[1:], block.origin)
            # -1 - label: belongs to the subset, but is held out.
            held_out = partition.held_out(block.values.shape[1:], block.origin)
            coded = np.where(held_out, -1 - labels, labels).astype(np.int16)
            self.labels.append(torch.from_numpy(coded).to(device))
        shortest = [min(v.shape[1 + a] for v in self.values) for a in range(self.ndim)]
        wanted = [config.crop_size] * self.ndim
        if self.ndim == 3:
            # As many pixels as a 2-D crop, spread over Z.
            wanted = [shortest[0], *[max(config.crop_size // 2, 16)] * 2]
            wanted[0] = min(shortest[0], 16)
        self.crop = [
            min(want, side - side % 8 if side >= 8 else side)
            for want, side in zip(wanted, shortest, strict=True)
        ]
        sizes = np.array([v[0].numel() for v in self.values], float)
        self.weights = sizes / sizes.sum()
        # Y and X may be exchanged only where they are alike.
        self.turn = self.crop[-1] == self.crop[-2] and self.extents[-1] == self.extents[-2]

    @property
    def crop_pixels(self) -> int:
        """Pixels of one crop."""
        return math.prod(self.crop)

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Masked crops, the crops as they are, and where the targets lie.

        Returns
        -------
        masked, clean : Tensor, shape (size, channels, [Z,] Y, X)
        targets : Tensor of bool, same shape
        """
        values: list[Tensor] = []
        hidden: list[Tensor] = []
        targets: list[Tensor] = []
        turned = self.turn and bool(rng.integers(2))
        for _ in range(size):
            number = int(rng.choice(len(self.values), p=self.weights))
            block, labels, valid = self.values[number], self.labels[number], self.valid[number]
            starts = [
                int(rng.integers(n - c + 1)) for n, c in zip(labels.shape, self.crop, strict=True)
            ]
            window = tuple(slice(s, s + c) for s, c in zip(starts, self.crop, strict=True))
            subset = int(rng.integers(self.subsets))
            part = labels[window]
            goal = (part == subset)[None]
            cover = goal | (part == -1 - subset)[None]
            if valid is not None:
                goal = goal & valid[(slice(None), *window)]
            else:
                goal = goal.expand(block.shape[0], *self.crop)
            axes = [axis for axis in (-1, -2) if rng.integers(2)]
            pieces = [block[(slice(None), *window)], cover, goal]
            if turned:
                pieces = [p.transpose(-1, -2) for p in pieces]
            pieces = [p.flip(axes) if axes else p for p in pieces]
            for stack, piece in zip((values, hidden, targets), pieces, strict=True):
                stack.append(piece)
        clean = torch.stack(values)
        extents = self.extents
        masked = replace_with_mean(clean, dilate(torch.stack(hidden), extents), extents)
        return masked, clean, torch.stack(targets)

    def scoring_batches(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Fixed windows spread over the data, with the held-out positions as targets."""
        subset = self.partition.held_out_subset(self.ndim)
        places = []
        side = [c * 2 if a >= self.ndim - 2 else c for a, c in enumerate(self.crop)]
        for number, labels in enumerate(self.labels):
            window = [min(s, n) for s, n in zip(side, labels.shape, strict=True)]
            counts = [n // w for n, w in zip(labels.shape, window, strict=True)]
            for index in np.ndindex(*counts):
                places.append((number, [i * w for i, w in zip(index, window, strict=True)], window))
        pixels = math.prod(places[0][2])
        most = max(SCORE_PIXELS // pixels, 1)
        chosen = np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).astype(int))
        batches = []
        for i in chosen:
            number, starts, shape = places[i]
            region = tuple(slice(s, s + w) for s, w in zip(starts, shape, strict=True))
            labels = self.labels[number][region]
            clean = self.values[number][(slice(None), *region)][None]
            held_out = (labels == -1 - subset)[None, None]
            cover = held_out | (labels == subset)[None, None]
            valid = self.valid[number]
            targets = held_out.expand(clean.shape)
            if valid is not None:
                targets = targets & valid[(slice(None), *region)]
            hidden = dilate(cover, self.extents)
            batches.append((replace_with_mean(clean, hidden, self.extents), clean, targets))
        return batches


def plan(config: TrainingConfig, pixels: int, sampler: Sampler, device: torch.device) -> Plan:
    """How many steps to train: as many epochs as asked for, or planned from the data."""
    targets = config.batch_size * sampler.crop_pixels / sampler.subsets
    if config.epochs is not None:
        steps = max(round(config.epochs * pixels / targets), 1)
    else:
        # More data deserves more steps, but far fewer than in proportion.
        growth = (pixels / REFERENCE_PIXELS) ** 0.25
        steps = round(AUTO_STEPS * min(max(growth, 0.75), 3.0))
        if device.type != "cpu":
            steps *= 4
    return Plan(steps, targets, pixels)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One cycle: a short rise to `peak`, then half a cosine down to zero."""
    warm = max(steps * 0.1, 1.0)
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


@torch.inference_mode()
def held_out_loss(
    network: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor, Tensor]],
    squared_scale: Tensor,
    dtype: torch.dtype | None,
) -> float:
    """Mean squared error at the targets of `batches`, in squared grey values."""
    was_training = network.training
    network.eval()
    total = torch.zeros((), dtype=torch.float64)
    count = 0.0
    for masked, clean, targets in batches:
        with torch.autocast(masked.device.type, dtype, enabled=dtype is not None):
            out = network(masked)
        error = (out.float() - clean).square() * squared_scale
        total += torch.where(targets, error, 0.0).sum().double().cpu()
        count += float(targets.sum())
    network.train(was_training)
    return float(total) / count if count else math.nan


class _Average:
    """A running average of the weights: calmer than the weights while they move."""

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._pairs = list(
            zip(self.network.parameters(), network.parameters(), strict=True)
        ) + list(zip(self.network.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def update(self, share: float) -> None:
        """Move the average by `share` of the way to the present weights."""
        for mean, now in self._pairs:
            if mean.is_floating_point():
                mean.lerp_(now, share)
            else:
                mean.copy_(now)


def _snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def train(
    network: nn.Module,
    sampler: Sampler,
    plan: Plan,
    config: TrainingConfig,
    squared_scale: Tensor,
    control: Control,
    preview: Preview | None = None,
) -> Generator[Notice | TrainingEvent, None, int]:
    """Train `network` in place.

    Parameters
    ----------
    network : Module
        On the device of `sampler`.
    sampler : Sampler
    plan : Plan
    config : TrainingConfig
    squared_scale : Tensor, shape (channels, 1, 1[, 1])
        Squared grey values per squared unit of the normalised data.
    control : Control
        `stop` ends training with the best weights so far.
    preview : callable, optional
        Called now and then with the network as it would be handed over;
        returns the frame of the output it has filled, or None.

    Yields
    ------
    event : TrainingEvent or Notice

    Returns
    -------
    steps : int
        The steps that were done; 0 if stopped before the first.
    """
    device = sampler.device
    dtype = fast_dtype(device)
    rng = np.random.default_rng(config.seed)
    optimizer = _optimizer(network, config)
    average = _Average(network)
    batch_size = config.batch_size
    scoring = sampler.scoring_batches()
    score_every = max(plan.steps // SCORES_PER_RUN, 10)
    squared_scale = squared_scale.to(device)

    best = _snapshot(average.network)
    best_score = held_out_loss(average.network, scoring, squared_scale, dtype)
    rate_factor, recoveries = 1.0, 0
    loss_sum, loss_count = torch.zeros((), device=device), 0
    score: float | None = None
    frame: int | None = None
    began = last_event = time.monotonic()
    paused = 0.0
    step = 0
    next_preview = began
    network.train()
    while step < plan.steps and not control.stopped:
        if control.paused:
            since = time.monotonic()
            control.wait_while_paused(INTERVAL)
            paused += time.monotonic() - since
            yield _event(plan, step, math.nan, None, None, began + paused, device)
            continue
        rate = rate_factor * learning_rate(step, plan.steps, config.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        try:
            loss = _step(network, optimizer, sampler, batch_size, rng, dtype, squared_scale)
        except RuntimeError as error:
            if not is_out_of_memory(error) or batch_size == 1:
                raise
            batch_size //= 2
            optimizer.zero_grad(set_to_none=True)
            yield Notice(
                f"The {device.type} ran out of memory: training goes on with {batch_size} crops "
                f"per step."
            )
            continue
        loss_sum += loss
        loss_count += 1
        step += 1
        average.update(max(1 / step, AVERAGE_SHARE, min(8 / plan.steps, 1)))

        if step % score_every == 0 or step == plan.steps:
            score = held_out_loss(average.network, scoring, squared_scale, dtype)
            if score < best_score:
                best, best_score = _snapshot(average.network), score
            elif not score < DIVERGED * best_score and recoveries < MAX_RECOVERIES:
                recoveries += 1
                rate_factor /= 3 * recoveries
                network.load_state_dict(best)
                average.network.load_state_dict(best)
                optimizer = _optimizer(network, config)
                yield Notice(
                    "Training became unstable and was taken back to its best state; it goes on "
                    "with a smaller learning rate."
                )
        now = time.monotonic()
        if preview is not None and step < plan.steps and now >= next_preview:
            frame = preview(average.network)
            spent = time.monotonic() - now
            # Previews may take a tenth of the time.
            next_preview = time.monotonic() + max(0.4, 9 * spent)
        if now - last_event >= INTERVAL or step == plan.steps:
            mean = float(loss_sum) / max(loss_count, 1)
            yield _event(plan, step, mean, score, frame, began + paused, device)
            last_event = time.monotonic()
            loss_sum.zero_()
            loss_count, score, frame = 0, None, None

    if step:
        final = held_out_loss(average.network, scoring, squared_scale, dtype)
        # The last weights, unless they are clearly not the best ones.
        kept = average.network.state_dict() if final <= 1.02 * best_score else best
        network.load_state_dict(kept)
        if not min(final, best_score) < float(squared_scale.mean()):
            yield Notice(
                "Hidden pixels could not be predicted better than by the mean grey value: training "
                "was too short, or no structure stands out of the noise. Do not use this result."
            )
    network.eval()
    return step


def _optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=1e-4, foreach=True
    )


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    sampler: Sampler,
    batch_size: int,
    rng: np.random.Generator,
    dtype: torch.dtype | None,
    squared_scale: Tensor,
) -> Tensor:
    masked, clean, targets = sampler.batch(batch_size, rng)
    with torch.autocast(sampler.device.type, dtype, enabled=dtype is not None):
        out = network(masked)
    error = torch.where(targets, out.float() - clean, 0.0).square()
    count = targets.sum().clamp(min=1)
    (error.sum() / count).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return (error.detach() * squared_scale).sum() / count


def _event(
    plan: Plan,
    step: int,
    loss: float,
    score: float | None,
    frame: int | None,
    began: float,
    device: torch.device,
) -> TrainingEvent:
    seconds = time.monotonic() - began
    return TrainingEvent(
        step=step,
        steps=plan.steps,
        epoch=plan.epochs(step),
        epochs=plan.epochs(plan.steps),
        loss=loss,
        score=score,
        seconds=seconds,
        seconds_left=seconds / step * (plan.steps - step) if step else math.nan,
        frame=frame,
        device=device.type,
    )
