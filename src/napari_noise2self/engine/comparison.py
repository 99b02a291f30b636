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
from numpy.typing import NDArray

from napari_noise2self.engine.arrays import as_array
from napari_noise2self.engine.calibration.calibrate import calibrate_events
from napari_noise2self.engine.calibration.calibrated import CalibratedFilter
from napari_noise2self.engine.calibration.report import CalibrationEvent
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
from napari_noise2self.engine.scoring import HeldOut, Score, psnr, self_supervised_score, ssim

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
        judge = _Judge(image, layout, noise, used, truth)
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


def _failed(name: str, error: Exception) -> Row:
    return Row(name, "", {}, Score.unknown(), 0.0, failure=str(error))


def _calibrated(
    name: str,
    title: str,
    judge: _Judge,
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
            return _failed(title, InputError("Stopped before it was calibrated."))
    except Noise2SelfError as error:
        return _failed(title, error)
    finally:
        calibration.close()
    return judge.filter(curve)


def _trained(
    title: str,
    config: TrainingConfig,
    judge: _Judge,
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
            return _failed(title, InputError("Stopped before it was trained."))
    except Noise2SelfError as error:
        return _failed(title, error)
    finally:
        training.close()
    return judge.network(title, denoiser, began)


class _Judge:
    """The image, and the positions at which every denoiser is judged."""

    def __init__(
        self,
        image: NDArray[Any],
        layout: Layout,
        noise: NoiseReport,
        partition: Partition,
        truth: NDArray[Any] | None,
    ) -> None:
        self.image = image
        self.layout = layout
        self.noise = noise
        self.partition = partition
        self.truth = truth

    def filter(self, curve: Any) -> Row:
        """The row of a calibrated filter."""
        began = time.monotonic()
        best: CalibratedFilter | None = curve.best
        if best is None:
            return _failed(curve.title, InputError(curve.failure or "Stopped too early."))
        try:
            positions = [
                place.in_grey(offset, scale)
                for place, offset, scale in zip(
                    best.held_out(self.image, self.layout.axes),
                    best.unit.offset,
                    best.unit.scale,
                    strict=True,
                )
            ]
            result = best(self.image, self.layout.axes)
        except Noise2SelfError as error:
            return _failed(curve.title, error)
        words = f"{str(best).removeprefix(f'{curve.filter}, ')}, {best.output}"
        settings = {
            "filter": curve.filter,
            "parameters": dict(best.parameters),
            "output": best.output,
        }
        return self._row(
            curve.title,
            words,
            settings,
            positions,
            result,
            best,
            curve.seconds + time.monotonic() - began,
        )

    def network(self, title: str, denoiser: Denoiser, began: float) -> Row:
        """The row of a network that was trained on this image."""
        summary = denoiser.summary
        words = f"{summary['epochs']:.3g} epochs, {denoiser.resolved_output()}"
        settings = denoiser.config.model_dump(mode="json")
        return self._of_denoiser(title, words, settings, denoiser, began)

    def model(self, title: str, model: Any, device: str) -> Row:
        """The row of a model that was trained before, judged with this partition."""
        began = time.monotonic()
        try:
            denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model, device=device)
            self._check_depth(denoiser)
        except Noise2SelfError as error:
            return _failed(title, error)
        settings = {"model": title if isinstance(model, Denoiser) else str(model)}
        words = f"{denoiser.config.network}, {denoiser.resolved_output()}"
        return self._of_denoiser(title, words, settings, denoiser, began)

    def _check_depth(self, denoiser: Denoiser) -> None:
        """Pixels that are hidden in slices are others than those of a volume."""
        together = denoiser.config.layout(self.image.shape, self.layout.axes).spatial_axes
        if together != self.layout.spatial_axes:
            as_what = "as a volume" if len(together) == 3 else "slice by slice"
            raise InputError(
                f"The model sees {together} together, and it is compared on pixels that are hidden "
                f"along {self.layout.spatial_axes}: compare {as_what}."
            )

    def _of_denoiser(
        self, title: str, words: str, settings: dict[str, Any], denoiser: Denoiser, began: float
    ) -> Row:
        try:
            positions = denoiser.held_out(self.image, self.layout.axes, self.partition)
            result = np.asarray(denoiser.predict(self.image, self.layout.axes))
        except Noise2SelfError as error:
            return _failed(title, error)
        seconds = time.monotonic() - began
        return self._row(title, words, settings, positions, result, denoiser, seconds)

    def _row(
        self,
        name: str,
        words: str,
        settings: dict[str, Any],
        positions: Sequence[HeldOut],
        result: NDArray[np.float32],
        denoiser: Any,
        seconds: float,
    ) -> Row:
        variance = None
        if self.noise.known:
            variance = [
                self.noise.variance(place.predicted, channel)
                for channel, place in enumerate(positions)
            ]
        grey = [1.0] * len(positions)
        score = self_supervised_score(positions, grey, variance, self.noise.variance_error)
        errors = tuple((place.predicted - place.observed) ** 2 for place in positions)
        blocks = tuple(place.block for place in positions)
        quality = self._against_truth(result)
        return Row(
            name, words, settings, score, seconds, result, denoiser, *quality, None, errors, blocks
        )

    def _against_truth(self, result: NDArray[np.float32]) -> tuple[float | None, float | None]:
        """PSNR and SSIM at the range of the truth; SSIM as the mean over planes."""
        if self.truth is None:
            return None, None
        truth = self.truth.astype(np.float64)
        good = np.isfinite(truth) & np.isfinite(result)
        if not good.any():
            return None, None
        span = float(np.ptp(truth[good]))
        if not span > 0:
            return None, None
        ratio = psnr(truth[good], result[good], data_range=span)
        if not good.all() or min(self.layout.spatial_shape[-2:]) < 11:
            return ratio, None
        likeness = []
        for frame in range(self.layout.frames):
            planes = [
                self.layout.read(array, frame).reshape(-1, *self.layout.spatial_shape[-2:])
                for array in (truth, result)
            ]
            likeness += [ssim(a, b, data_range=span) for a, b in zip(*planes, strict=True)]
        return ratio, float(np.mean(likeness))
