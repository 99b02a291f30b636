"""The training loop, a generator of frozen events.

Every step draws crops, lays the partition in the coordinates of the image,
hides one subset per crop, flips and rotates the result, and minimises the
squared error on the hidden targets (Batson & Royer 2019, section 3).  One
lattice of held-out positions is never a target; the loss there is the
self-supervised score.  With goals from elsewhere nothing is hidden, and the
score is the loss against them at these positions; with the noise known,
Stein's risk estimate can be minimised instead.

A long training has several cycles: after the first the network also learns from
its own estimate of the image with noise drawn anew, see `redrawing`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.events import INTERVAL, Control, Notice, TrainingEvent
from napari_noise2self.engine.hardware import fast_dtype, is_out_of_memory
from napari_noise2self.engine.networks_axes import independent
from napari_noise2self.engine.optimizer import AdamW
from napari_noise2self.engine.redrawing import Redrawing
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.schedule import PEAK_RATE, PLAIN_RATE, Plan, learning_rate
from napari_noise2self.engine.sure_training import STEP, risk

# How often the score is taken.
SCORES_PER_RUN = 12
# Largest norm of a gradient: what keeps a network without normalisation stable.
MAX_GRADIENT = 1.0
WEIGHT_DECAY = 1e-4
# A score this much above the best one means that training has diverged.
DIVERGED = 1.5
# More room for goals from elsewhere, in normalised units: there may be no noise in the score.
GOAL_SLACK = 0.05
MAX_RECOVERIES = 5
# The average of the weights moves by this share per step.
AVERAGE_SHARE = 0.05

Preview = Callable[[nn.Module], int | None]
# Makes the pairs of the next cycle from the network; None if training has to end.
Redraw = Callable[[nn.Module, Control], Generator[Notice | None, None, Redrawing | None]]


@torch.inference_mode()
def held_out_loss(
    network: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor, Tensor]],
    dtype: torch.dtype | None,
) -> tuple[list[float], int]:
    """The squared errors at the targets of `batches`.

    Returns
    -------
    totals : list of float
        Sum per channel, in squared units of the normalised data.
    count : int
        Number of targets, counted per channel.
    """
    was_training = network.training
    network.eval()
    totals = np.zeros(batches[0][1].shape[1])
    count = 0
    for masked, clean, targets in batches:
        with torch.autocast(masked.device.type, dtype, enabled=dtype is not None):
            out = network(masked)
        error = torch.where(targets, out.float() - clean, 0.0).square()
        totals += error.transpose(0, 1).flatten(1).sum(1).cpu().numpy()
        count += int(targets.sum())
    network.train(was_training)
    return totals.tolist(), count


@torch.inference_mode()
def _better_than_the_mean(
    network: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor, Tensor]],
    dtype: torch.dtype | None,
) -> bool:
    """Whether hidden pixels are predicted better than by the mean grey value.

    By at least three standard errors of the paired differences: on pure noise
    either of the two can be ahead by chance.
    """
    network.eval()
    means = _means(batches)
    gains = []
    for masked, clean, targets in batches:
        with torch.autocast(masked.device.type, dtype, enabled=dtype is not None):
            out = network(masked).float()
        gains.append(((clean - means).square() - (out - clean).square())[targets])
    gain = torch.cat(gains)
    if not gain.numel():
        return True
    return bool(gain.mean() > 3 * gain.std(correction=0) / gain.numel() ** 0.5)


def _means(batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The mean of what is to be predicted, per channel; not 0 for data mapped by a range."""
    axes = [0, *range(2, batches[0][1].ndim)]
    total = sum(torch.where(targets, clean, 0.0).sum(axes) for _, clean, targets in batches)
    count = sum(targets.sum(axes) for *_, targets in batches)
    means = torch.as_tensor(total) / torch.as_tensor(count).clamp(min=1)
    return means.reshape(-1, *[1] * (len(axes) - 1))


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
    scale: Sequence[float],
    control: Control,
    preview: Preview | None = None,
    redraw: Redraw | None = None,
) -> Generator[Notice | TrainingEvent, None, tuple[int, float]]:
    """Train `network` in place.

    Parameters
    ----------
    network : Module
        On the device of `sampler`.
    sampler : Sampler
    plan : Plan
    config : TrainingConfig
    scale : sequence of float
        Grey values per unit of the normalised data, for each channel.
    control : Control
        `stop` ends training with the best weights so far.
    preview : callable, optional
        Called now and then with the network as it would be handed over;
        returns the frame of the output it has filled, or None.
    redraw : callable, optional
        Makes the pairs of all cycles but the first from the network that the
        one before has left; needed if there are several.

    Yields
    ------
    event : TrainingEvent or Notice

    Returns
    -------
    steps : int
        The steps that were done; 0 if stopped before the first.
    epochs : float
        What they amount to.
    """
    scoring = sampler.scoring_batches()
    cycles = _Cycles(
        network, sampler, config, scoring, preview, _Report(plan, scale, sampler.device)
    )
    for steps in plan.cycles:
        if cycles.report.step:
            assert redraw is not None
            pairing = None
            if not control.stopped:
                pairing = yield from cycles.waited(redraw(network, control), control)
            if pairing is None:
                break
            sampler.pairing = pairing
        yield from cycles.run(steps, control)
    report = cycles.report
    if report.step and not _better_than_the_mean(network, scoring, fast_dtype(sampler.device)):
        yield Notice(
            f"{'Hidden pixels' if sampler.goals is None else 'The target'} could not be "
            f"predicted better than by the mean grey value: training was too short, or no "
            f"structure stands out of the noise. Do not use this result."
        )
    return report.step, report.targets / plan.pixels


class _Cycles:
    """One cycle of the learning rate after the other, and what stays from one to the next."""

    def __init__(
        self,
        network: nn.Module,
        sampler: Sampler,
        config: TrainingConfig,
        scoring: Sequence[tuple[Tensor, Tensor, Tensor]],
        preview: Preview | None,
        report: _Report,
    ) -> None:
        self.network, self.sampler, self.scoring = network, sampler, scoring
        self.preview, self.report = preview, report
        self.dtype = fast_dtype(sampler.device)
        self.rng = np.random.default_rng(config.seed)
        self.plain = config.recipe == "plain"
        self.batch_size = sampler.batch_size
        ndim = 2 if config.context else sampler.ndim
        self.peak = config.learning_rate or (PLAIN_RATE if self.plain else PEAK_RATE[ndim])
        self.recoveries = 0

    def waited(
        self,
        work: Generator[Notice | None, None, Redrawing | None],
        control: Control,
    ) -> Generator[Notice | TrainingEvent, None, Redrawing | None]:
        """What `work` returns, with events while it lasts, and pauses."""
        while True:
            try:
                said = next(work)
            except StopIteration as stop:
                pairing: Redrawing | None = stop.value
                return pairing
            if said is not None:
                yield said
            yield from self._pause(control)
            if self.report.due:
                yield self.report.event()

    def _pause(self, control: Control) -> Iterator[TrainingEvent]:
        """Events for as long as it is to be paused."""
        while control.paused:
            since = time.monotonic()
            control.wait_while_paused(INTERVAL)
            self.report.began += time.monotonic() - since
            yield self.report.event()

    def run(self, steps: int, control: Control) -> Generator[Notice | TrainingEvent, None, None]:
        """Train for so many steps, and leave the best weights in the network."""
        network, sampler, report, plain = self.network, self.sampler, self.report, self.plain
        dtype, device = self.dtype, sampler.device
        weight_decay = 0.0 if plain else WEIGHT_DECAY
        optimizer = AdamW(network, weight_decay)
        average = _Average(network)
        score_every = max(report.plan.steps // SCORES_PER_RUN, 10)

        def score() -> float:
            totals, count = held_out_loss(average.network, self.scoring, dtype)
            report.score = report.grey(totals, count)
            return sum(totals) / count if count else math.nan

        best, best_score = _snapshot(average.network), score()
        report.score = None
        slack = 0.0 if sampler.goals is None else GOAL_SLACK
        next_preview = time.monotonic()
        step = 0
        network.train()
        while step < steps and not control.stopped:
            yield from self._pause(control)
            if control.stopped:
                break
            rate = self.peak if plain else learning_rate(step, steps, self.peak)
            try:
                losses = _step(
                    network,
                    optimizer,
                    rate,
                    sampler,
                    self.batch_size,
                    self.rng,
                    dtype,
                    clip=not plain,
                )
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.batch_size == 1:
                    raise
                self.batch_size //= 2
                optimizer.forget()
                yield Notice(
                    f"The {device.type} ran out of memory: training goes on with "
                    f"{self.batch_size} crops per step."
                )
                continue
            report.add(losses, report.plan.targets * self.batch_size / sampler.batch_size)
            step += 1
            last = step == steps
            average.update(1 if plain else max(1 / step, AVERAGE_SHARE, min(8 / steps, 1)))

            if last or step % score_every == 0:
                now_score = score()
                if now_score < best_score:
                    best, best_score = _snapshot(average.network), now_score
                elif (
                    math.isfinite(best_score)
                    and not now_score < DIVERGED * best_score + slack
                    and not plain
                    and self.recoveries < MAX_RECOVERIES
                    and not last
                ):
                    self.recoveries += 1
                    self.peak /= 3 * self.recoveries
                    network.load_state_dict(best)
                    average.network.load_state_dict(best)
                    optimizer = AdamW(network, weight_decay)
                    yield Notice(
                        "The held-out score became much worse, and training was taken back to "
                        "its best state; it goes on with a smaller learning rate."
                    )
            if self.preview is not None and not last and time.monotonic() >= next_preview:
                since = time.monotonic()
                report.frame = self.preview(average.network)
                # Previews may take a tenth of the time.
                now = time.monotonic()
                next_preview = now + max(0.4, 9 * (now - since))
            if last or report.due:
                yield report.event()

        if step:
            final = score()
            # The last weights, unless they are clearly not the best ones.
            worse = math.isfinite(best_score) and not final <= 1.02 * best_score and not plain
            network.load_state_dict(best if worse else average.network.state_dict())
        network.eval()


class _Report:
    """Gathers what the next event will say; losses stay on the device until then."""

    def __init__(self, plan: Plan, scale: Sequence[float], device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.step = 0
        self.targets = 0.0
        self.score: float | None = None
        self.frame: int | None = None
        self.began = self._last = time.monotonic()
        self._squares = [factor**2 for factor in scale]
        self._losses = torch.zeros(len(scale) + 1, device=device)

    @property
    def due(self) -> bool:
        """Whether the last event is long enough ago."""
        return time.monotonic() - self._last >= INTERVAL

    def grey(self, totals: Sequence[float], count: float) -> float | None:
        """The mean of squared errors, in squared grey values."""
        total = sum(t * square for t, square in zip(totals, self._squares, strict=True))
        return total / count if count else None

    def add(self, losses: Tensor, targets: float) -> None:
        """Count a step: its squared errors per channel and, last, their number."""
        self.step += 1
        self.targets += targets
        self._losses += losses

    def event(self) -> TrainingEvent:
        """The event, and a clean sheet for the next."""
        *totals, count = self._losses.tolist()
        loss = self.grey(totals, count)
        seconds = time.monotonic() - self.began
        event = TrainingEvent(
            step=self.step,
            steps=self.plan.steps,
            epoch=self.targets / self.plan.pixels,
            epochs=self.plan.epochs(self.plan.steps),
            loss=math.nan if loss is None else loss,
            score=self.score,
            seconds=seconds,
            seconds_left=(
                seconds / self.step * (self.plan.steps - self.step) if self.step else math.nan
            ),
            frame=self.frame,
            device=self.device.type,
        )
        self._losses.zero_()
        self.score = self.frame = None
        self._last = time.monotonic()
        return event


def _step(
    network: nn.Module,
    optimizer: AdamW,
    rate: float,
    sampler: Sampler,
    batch_size: int,
    rng: np.random.Generator,
    dtype: torch.dtype | None,
    clip: bool = True,
) -> Tensor:
    """One step; the squared errors per channel at masked targets and, last, their number."""
    masked_crops = sampler.masked_crops(batch_size)
    with torch.autocast(sampler.device.type, dtype, enabled=dtype is not None):
        if sampler.probes is not None:
            error, targets = _risk(network, sampler, batch_size, rng)
        else:
            error, targets = _error(network, sampler, masked_crops, batch_size, rng)
    counts = targets.flatten(1).sum(1)
    losses = error.flatten(1).sum(1)
    # Masked crops and pairs count alike, however few targets the former have.
    loss = losses[:masked_crops].sum() / counts[:masked_crops].sum().clamp(min=1)
    if masked_crops < batch_size:
        loss = loss + losses[masked_crops:].sum() / counts[masked_crops:].sum().clamp(min=1)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip:
        for part in independent(network):
            nn.utils.clip_grad_norm_(part.parameters(), MAX_GRADIENT)
    optimizer.step(rate)
    totals = error[:masked_crops].detach().transpose(0, 1).flatten(1).sum(1)
    return torch.cat([totals, counts[:masked_crops].sum()[None]])


def _error(
    network: nn.Module, sampler: Sampler, masked_crops: int, size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The squared error at the targets of masked crops, then of pairs; and where targets are."""
    inputs, goals, targets = sampler.batch(masked_crops, rng)
    if masked_crops < size:
        parts = zip((inputs, goals, targets), sampler.pairs(size - masked_crops, rng), strict=True)
        inputs, goals, targets = (torch.cat(pair) for pair in parts)
    out = network(inputs)
    return torch.where(targets, out.float() - goals, 0.0).square(), targets


def _risk(
    network: nn.Module, sampler: Sampler, size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Stein's risk estimate, instead of a squared error, and where it counts."""
    crops, deviation, probes, targets = sampler.risk_batch(size, rng)
    out = network(torch.cat([crops, crops + STEP * probes, crops - STEP * probes])).float()
    return torch.where(targets, risk(out, crops, deviation, probes), 0.0), targets
