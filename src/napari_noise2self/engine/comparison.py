"""Denoisers compared on one image without ground truth.

All of them predict the same held-out positions, from the same masked input:
one partition, whose extent covers the correlation of the noise, and one set
of positions that no network was trained on.  Their self-supervised losses
then differ as their true errors do (Batson & Royer 2019, Proposition 1).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_noise2self.engine.arrays import as_array
from napari_noise2self.engine.calibration.calibrate import calibrate_events
from napari_noise2self.engine.calibration.report import CalibrationEvent
from napari_noise2self.engine.comparison_judge import Judge, failed
from napari_noise2self.engine.config import (
    DEFAULT_NETWORKS,
    NETWORK_TITLES,
    Network,
    TrainingConfig,
)
from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.engine.events import INTERVAL, Control, Notice, TrainingEvent, exhaust
from napari_noise2self.engine.filters.catalogue import DEFAULT_FILTERS, FILTER_NAMES, named
from napari_noise2self.engine.hardware import engine_errors
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.model import Denoiser
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.noise.report import NoiseReport
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.preparation import check_image
from napari_noise2self.engine.ranking import Ranking, Row

DEFAULT_DENOISERS = (*DEFAULT_FILTERS, *DEFAULT_NETWORKS)
# What is compared is held in memory and shown: a region of something larger has to be chosen.
MOST_PIXELS = 2**24


@dataclass(frozen=True)
class ComparisonEvent:
    """How far a comparison is.

    Attributes
    ----------
    doing : str
        What is being done, in a few words.
    fraction : float
        Share of the work that is done, 0 to 1, counting denoisers alike.
    seconds, seconds_left : float
        Time spent, and expected for the denoiser that is at work.
    ranking : Ranking or None
        All rows so far, if there is a new one.
    calibration : CalibrationEvent or None
        What the calibration of the filter at work says, such as points of its curve.
    """

    doing: str
    fraction: float
    seconds: float
    seconds_left: float
    ranking: Ranking | None = None
    calibration: CalibrationEvent | None = None


@dataclass(frozen=True)
class Comparison:
    """What a comparison has found.

    Attributes
    ----------
    ranking : Ranking
    partition : mapping
        What `partition_from` reads: the same for all rows.
    noise : NoiseReport
    positions : int
        Held-out positions that all were compared on, counted per channel.
    notices : tuple of str
    stopped : bool
        Whether it was asked to stop before its end.
    seconds : float
    """

    ranking: Ranking
    partition: dict[str, Any]
    noise: NoiseReport
    positions: int
    notices: tuple[str, ...]
    stopped: bool
    seconds: float

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table: one mapping for each denoiser, best first, ready for JSON."""
        return self.ranking.to_json()

    @property
    def best(self) -> Row | None:
        """The row with the best score; None if there is none."""
        return next((row for row in self.ranking.rows if row.failure is None), None)

    def to_json(self) -> dict[str, Any]:
        """The table and what it is based on, ready for JSON."""
        return {
            "rows": self.rows,
            "partition": self.partition,
            "positions": self.positions,
            "notices": list(self.notices),
            "stopped": self.stopped,
            "seconds": self.seconds,
        }


def compare(
    image: Any,
    denoisers: Sequence[Any] | None = None,
    partition: Partition | None = None,
    axes: str | None = None,
    *,
    volume: bool = False,
    truth: Any = None,
    epochs: float | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Callable[[Notice | ComparisonEvent], None] | None = None,
) -> Comparison:
    """Rank denoisers on an image, without ground truth.

    Parameters
    ----------
    image : array_like
        Of at most 16 million pixels: crop larger ones.
    denoisers : sequence, optional
        Names of filters as in `calibrate`, "unet", "dncnn" or "unet-paper" for networks
        that are trained on the image, paths of saved models, and trained
        `Denoiser` objects; by default all filters but BM3D and both networks.
    partition : Grid, RandomPartition or Checkerboard, optional
        The same for all; by default a grid of width 4, or what
        `estimate_noise` suggests where the noise is correlated.
    axes : str, optional
        As for `denoise`.
    volume : bool
        Whether Z is a spatial axis.
    truth : array_like, optional
        The clean image, for PSNR and SSIM; nothing is ranked by it.
    epochs : float, optional
        Length of the training of networks; automatic by default.
    device : {"auto", "cuda", "mps", "cpu"}
    seed : int
    progress : callable, optional
        Called with each event.

    Returns
    -------
    comparison : Comparison
        ``.rows``: mappings, best first.

    Raises
    ------
    InputError
        If the image or a setting cannot be used, or every denoiser fails.
        One of several that fails becomes a row that says why.

    References
    ----------
    J. Batson, L. Royer, "Noise2Self: Blind Denoising by Self-Supervision",
    ICML 2019, sections 3 and 4.
    """
    events = compare_events(
        image,
        denoisers,
        partition,
        axes,
        volume=volume,
        truth=truth,
        epochs=epochs,
        device=device,
        seed=seed,
    )
    return exhaust(events, progress)


def compare_events(
    image: Any,
    denoisers: Sequence[Any] | None = None,
    partition: Partition | None = None,
    axes: str | None = None,
    *,
    volume: bool = False,
    truth: Any = None,
    epochs: float | None = None,
    device: str = "auto",
    seed: int = 0,
    plain: bool = False,
    control: Control | None = None,
) -> Generator[Notice | ComparisonEvent, None, Comparison]:
    """The same as a generator of events, which can be stopped.

    Parameters
    ----------
    image, denoisers, partition, axes, volume, truth, epochs, device, seed
        As for `compare`.
    plain : bool
        Whether the loss of the plain filters is measured, too, to draw it.
    control : Control, optional
        `stop` ends it with the rows that are complete.

    Yields
    ------
    event : Notice or ComparisonEvent

    Returns
    -------
    comparison : Comparison

    Raises
    ------
    Noise2SelfError
        As `compare`.
    """
    began = time.monotonic()
    control = control or Control()
    filters, networks, models = _sorted_out(DEFAULT_DENOISERS if denoisers is None else denoisers)
    with engine_errors():
        image = np.asarray(as_array(image))
        layout = Layout.of(image.shape, axes, volume)
        check_image(image, layout)
        if image.size > MOST_PIXELS:
            raise InputError(
                f"The image has {image.size / 1e6:.0f} million pixels: compare on a part of at "
                f"most {MOST_PIXELS / 1e6:.0f} million."
            )
        if truth is not None:
            truth = np.asarray(as_array(truth))
            if truth.shape != image.shape:
                raise InputError(
                    f"The truth has the shape {truth.shape} and the image {image.shape}: they "
                    f"must be equal."
                )
        noise = estimate_noise(image, axes, volume=volume)
        used = noise.comparison_partition if partition is None else partition
        used.extents(layout.ndim)
        judge = Judge(image, layout, noise, used, truth)
        count = len(filters) + len(networks) + len(models)
        rows: list[Row] = []
        notices: list[str] = []

        def event(
            doing: str,
            done: float,
            left: float = math.nan,
            fresh: bool = False,
            calibration: CalibrationEvent | None = None,
        ) -> ComparisonEvent:
            seconds = time.monotonic() - began
            ranking = Ranking.of(rows) if fresh else None
            fraction = min(done / count, 1.0)
            return ComparisonEvent(doing, fraction, seconds, left, ranking, calibration)

        told = noise.notice(used, automatic=partition is None)
        if told is not None:
            notices.append(told)
            yield Notice(told)
        # One by one, each on all cores: the first rows are there early, and a stop keeps them.
        for name in filters:
            if control.stopped:
                break
            title = named(name, used.extents(layout.ndim)).title
            rows.append((yield from _calibrated(name, title, judge, control, event, plain, rows)))
            yield event(title, len(rows), fresh=True)
        for name in networks:
            if control.stopped:
                break
            config = TrainingConfig(
                network=name,
                partition=used,
                epochs=epochs,
                device=device,
                seed=seed,
                volume=volume,
            )
            title = NETWORK_TITLES[name]
            rows.append((yield from _trained(title, config, judge, control, event, len(rows))))
            yield event(title, len(rows), fresh=True)
        for model in models:
            if control.stopped:
                break
            title = _title(model)
            yield event(f"Applying {title}", len(rows))
            rows.append(judge.model(title, model, device))
            yield event(title, len(rows), fresh=True)
        if not control.stopped and all(row.failure is not None for row in rows):
            raise InputError(rows[0].failure or "No denoiser could be used.")
    positions = max((sum(e.size for e in row.errors) for row in rows), default=0)
    return Comparison(
        ranking=Ranking.of(rows),
        partition=used.description(layout.ndim),
        noise=noise,
        positions=positions,
        notices=tuple(notices),
        stopped=control.stopped,
        seconds=time.monotonic() - began,
    )


def _sorted_out(denoisers: Sequence[Any]) -> tuple[list[str], list[Network], list[Any]]:
    """Filters, networks and models that were asked for."""
    if isinstance(denoisers, str):
        denoisers = [denoisers]
    filters: list[str] = []
    networks: list[Network] = []
    models: list[Any] = []
    for wish in denoisers:
        if wish in FILTER_NAMES:
            filters.append(wish)
        elif wish in NETWORK_TITLES:
            networks.append(wish)
        elif isinstance(wish, Denoiser | Path) or str(wish).endswith(".safetensors"):
            models.append(wish)
        else:
            raise InputError(
                f"There is no denoiser {wish!r}: use "
                f"{', '.join((*FILTER_NAMES, *NETWORK_TITLES))}, or the path of a model."
            )
    for names in (filters, networks):
        if len(set(names)) < len(names):
            raise InputError(f"The denoisers were {', '.join(names)}: name each once.")
    if not (filters or networks or models):
        raise InputError("There is no denoiser to compare: name at least one.")
    return filters, networks, models


def _title(model: Any) -> str:
    return "A trained model" if isinstance(model, Denoiser) else Path(model).stem


def _calibrated(
    name: str,
    title: str,
    judge: Judge,
    control: Control,
    event: Callable[..., ComparisonEvent],
    plain: bool,
    rows: Sequence[Row],
) -> Generator[ComparisonEvent, None, Row]:
    """Calibrate a filter on the image."""
    calibration = calibrate_events(
        judge.image,
        name,
        judge.partition,
        judge.layout.axes,
        volume=judge.layout.volume,
        truth=judge.truth,
        plain=plain,
        control=control,
    )
    doing = f"Calibrating {title}"
    yield event(doing, len(rows))
    try:
        while True:
            part = next(calibration)
            if isinstance(part, CalibrationEvent):
                done = len(rows) + 0.9 * part.fraction
                yield event(doing, done, part.seconds_left, calibration=part)
    except StopIteration as stop:
        curve = stop.value.curves[0]
        if control.stopped:
            return failed(title, InputError("Stopped before it was calibrated."))
    except Noise2SelfError as error:
        return failed(title, error)
    finally:
        calibration.close()
    return judge.filter(curve)


def _trained(
    title: str,
    config: TrainingConfig,
    judge: Judge,
    control: Control,
    event: Callable[..., ComparisonEvent],
    done: int,
) -> Generator[ComparisonEvent, None, Row]:
    """Train a network on the image."""
    began = time.monotonic()
    denoiser = Denoiser(config)
    training = denoiser.train(judge.image, judge.layout.axes, control=control)
    last = -math.inf
    yield event(f"Training {title}", done)
    try:
        while True:
            part = next(training)
            if isinstance(part, TrainingEvent) and time.monotonic() - last >= INTERVAL:
                last = time.monotonic()
                # The result takes about a tenth of the time.
                yield event(
                    f"Training {title}", done + 0.9 * part.step / part.steps, part.seconds_left
                )
    except StopIteration as stop:
        if not stop.value or control.stopped:
            return failed(title, InputError("Stopped before it was trained."))
    except Noise2SelfError as error:
        return failed(title, error)
    finally:
        training.close()
    return judge.network(title, denoiser, began)
