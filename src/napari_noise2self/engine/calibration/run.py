"""The calibration of one filter, beside those of others.

Each filter is searched in a thread of its own, which mostly waits: what is
computed, one subset of one window for one setting, runs in a pool that all
filters share.  So a single filter keeps all cores busy, and the memory is that
of as many images as there are workers.
"""

from __future__ import annotations

import functools
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.calibration.pixels import Pixels
from napari_noise2self.engine.calibration.report import Point
from napari_noise2self.engine.calibration.search import Setting, expected_evaluations, search
from napari_noise2self.engine.errors import EngineError, Noise2SelfError, OutOfMemoryError
from napari_noise2self.engine.events import INTERVAL, Control
from napari_noise2self.engine.filters.catalogue import Filter
from napari_noise2self.engine.scoring import HeldOut

# The loss of a setting that gives no numbers: finite, so that a search can compute with it.
_UNUSABLE = 1e30

Values = NDArray[np.float32]
# For each window and channel, the output at the compared pixels.
Outputs = list[list[Values]]
Jobs = list[list[list[Future[Values]]]]


class Stopped(Exception):  # noqa: N818 - not an error
    """The calibration was asked to stop, or nobody listens any more."""


@dataclass(frozen=True)
class Best:
    """The best setting so far, and what it predicts."""

    point: Point
    positions: list[HeldOut]


@dataclass(frozen=True)
class Shared:
    """What the calibrations of several filters share.

    Attributes
    ----------
    pixels : Pixels
    pool : Executor
        Where filters run.
    points : SimpleQueue of Point
        Where evaluations are told.
    control : Control
    closed : threading.Event
        Set when nobody listens any more.
    alone : Lock
        Held by the one filter that must not run beside itself.
    plain : bool
        Whether the plain filters are evaluated, too.
    """

    pixels: Pixels
    pool: Executor
    points: queue.SimpleQueue[Point]
    control: Control
    closed: threading.Event
    alone: threading.Lock
    plain: bool

    def check(self) -> None:
        """Wait while paused; raise `Stopped` if the work is to end."""
        while self.control.paused and not self.closed.is_set():
            self.control.wait_while_paused(INTERVAL)
        if self.control.stopped or self.closed.is_set():
            raise Stopped


class Run:
    """The calibration of one filter.

    Other threads may read its attributes at any time: each is replaced as a whole.

    Attributes
    ----------
    filter : Filter
    points : tuple of Point
    best : Best or None
    seconds : float
        Time spent in the filter.
    expected : int
        How many evaluations it will probably take.
    finished : bool
    error : Noise2SelfError or None
        Why it failed.
    """

    def __init__(self, filter_: Filter, shared: Shared) -> None:
        self.filter = filter_
        self.points: tuple[Point, ...] = ()
        self.best: Best | None = None
        self.seconds = 0.0
        self.expected = expected_evaluations(filter_.parameters)
        self.finished = False
        self.error: Noise2SelfError | None = None
        self._shared = shared
        self._clock = threading.Lock()

    def search(self) -> None:
        """Find the best parameters; an error of the filter is kept."""
        try:
            search(self._losses, self.filter.parameters)
            if self.best is None:
                self.error = EngineError(
                    f"The filter {self.filter.name!r} returned NaN or infinity with every setting."
                )
        except Stopped:
            pass
        except Noise2SelfError as error:
            self.error = error
        except MemoryError:
            self.error = OutOfMemoryError(
                f"There is not enough memory for the filter {self.filter.name!r}."
            )
        finally:
            self.finished = True

    def _losses(self, settings: Sequence[Setting]) -> list[float]:
        self.expected = max(self.expected, len(self.points) + len(settings))
        if not self.filter.parallel:
            return [self._judge(setting, *self._start(setting)) for setting in settings]
        started = [(setting, *self._start(setting)) for setting in settings]
        return [self._judge(setting, blind, plain) for setting, blind, plain in started]

    def _judge(self, setting: Setting, blind_jobs: Jobs, plain_jobs: Jobs) -> float:
        pixels = self._shared.pixels
        blind, plain = _gather(blind_jobs), _gather(plain_jobs) if self._shared.plain else None
        if not all(np.isfinite(values).all() for window in blind for values in window):
            return _UNUSABLE
        positions = pixels.positions(blind)
        score = pixels.score(positions, gain=False)
        point = Point(
            self.filter.name,
            setting,
            score.loss,
            score.error,
            None if plain is None else pixels.score(pixels.positions(plain), gain=False).loss,
            pixels.true_error(blind),
            None if plain is None else pixels.true_error(plain),
        )
        if self.best is None or point.loss < self.best.point.loss:
            self.best = Best(point, positions)
        self.points = (*self.points, point)
        self._shared.points.put(point)
        return point.loss

    def _start(self, setting: Setting) -> tuple[Jobs, Jobs]:
        """The jobs whose results, joined, are the blind and the plain output at compared pixels."""
        pixels = self._shared.pixels
        blind: Jobs = []
        plain: Jobs = []
        for window in pixels.windows:
            blind.append([])
            plain.append([])
            for number, (channel, scored) in enumerate(
                zip(window.channels, window.scored, strict=True)
            ):
                whole = functools.partial(channel.filtered, self.filter, setting)
                if self.filter.donut is not None and channel.valid.all():
                    at_once = functools.partial(
                        channel.donut, self.filter, setting, pixels.partition
                    )
                    jobs = [self._submit(at_once, scored)]
                else:
                    subset_of = window.labels.ravel()[scored]
                    jobs = [
                        self._submit(
                            functools.partial(whole, window.masked[number, subset]), places
                        )
                        for subset in pixels.subsets
                        if (places := scored[subset_of == subset]).size
                    ]
                blind[-1].append(jobs)
                if self._shared.plain:
                    plain[-1].append([self._submit(whole, scored)])
        return blind, plain

    def _submit(self, function: Callable[[], Any], places: NDArray[np.int64]) -> Future[Values]:
        if self.filter.parallel:
            return self._shared.pool.submit(self._timed, function, places)
        done: Future[Values] = Future()
        with self._shared.alone:
            done.set_result(self._timed(function, places))
        return done

    def _timed(self, function: Callable[[], Any], places: NDArray[np.int64]) -> Values:
        self._shared.check()
        began = time.perf_counter()
        try:
            values: Values = function().ravel()[places]
            return values
        finally:
            with self._clock:
                self.seconds += time.perf_counter() - began


def _gather(jobs: Jobs) -> Outputs:
    nothing = np.zeros(0, np.float32)
    return [
        [np.concatenate([nothing, *(job.result() for job in channel)]) for channel in window]
        for window in jobs
    ]


def seconds_left(runs: Sequence[Run], workers: int) -> float:
    """What is left, from the mean time of an evaluation: of all filters where one has none yet."""
    known = [run.seconds / len(run.points) for run in runs if run.points]
    if not known:
        return math.inf
    typical = sum(known) / len(known)
    left = 0.0
    for run in runs:
        if not run.finished:
            each = run.seconds / len(run.points) if run.points else typical
            left += each * max(run.expected - len(run.points), 1)
    return left / min(workers, len(runs) if len(runs) > 1 else workers)
