"""Any filter calibrated by the self-supervised loss, without ground truth.

A J-invariant filter cannot follow the noise of the pixel that it predicts, so
its mean squared difference from the noisy image is its true error plus the
variance of the noise, and has its minimum where the true error has it (Batson
& Royer 2019, section 3.1).  The filter with the same parameters is then
applied to the whole image, or its J-invariant version mixed with the image.
"""

from __future__ import annotations

import concurrent.futures as futures
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_noise2self.engine.arrays import as_array
from napari_noise2self.engine.calibration.calibrated import CalibratedFilter
from napari_noise2self.engine.calibration.report import (
    Calibration,
    CalibrationEvent,
    Curve,
    Point,
    by_loss,
)
from napari_noise2self.engine.calibration.run import Run, Shared, seconds_left
from napari_noise2self.engine.calibration.sample import collect
from napari_noise2self.engine.calibration.search import ends
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import INTERVAL, Control, Notice, exhaust
from napari_noise2self.engine.filters.catalogue import Filters, chosen
from napari_noise2self.engine.hardware import engine_errors
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.mixing import Mixing, gain_of_mixing
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.preparation import check_image
from napari_noise2self.engine.scoring import Score

# How long nothing is said while a slow filter runs.
_HEARTBEAT = 0.5
# By about so many dB a plain filter is better than its J-invariant version.
MIXED_FROM = 1.0

CalibrationEvents = Generator[Notice | CalibrationEvent, None, Calibration]


def calibrate(
    image: Any,
    filters: Filters | None = None,
    partition: Partition | None = None,
    axes: str | None = None,
    *,
    volume: bool = False,
    truth: Any = None,
    subsets: int | str | None = None,
    plain: bool = True,
    workers: int | None = None,
    progress: Callable[[Notice | CalibrationEvent], None] | None = None,
) -> Calibration:
    """Find the best parameters of filters, and the best filter, for a noisy image.

    Parameters
    ----------
    image : array_like
        NumPy, dask, or whatever has a shape and a dtype and can be indexed.
    filters : str, sequence or mapping, optional
        "median", "gaussian", "bilateral", "tv", "nlm", "bm3d", "wavelet",
        "dictionary", "jpeg2000": one or several; all but BM3D by default.
        Or a mapping of such names to ranges of their parameters,
        ``{"median": {"radius": (1, 6)}}``, and of other names to functions of
        your own with theirs, ``{"mine": (function, {"sigma": (0.5, 5.0)})}``.
        A function gets an array ([Z,] Y, X) in grey values, and returns one
        of the same shape.  A range of whole numbers is searched in whole
        numbers; a list holds all values to try.
    partition : Grid, RandomPartition or Checkerboard, optional
        The same for all filters.  By default a grid of width 4, or what
        `estimate_noise` suggests where the noise is correlated.
    axes : str, optional
        One letter per axis, as in "TCZYX".  None: the last two are YX and
        leading ones count frames.  Channels are filtered each by itself, with
        one setting: strengths are multiples of each channel's own noise.
    volume : bool
        Whether Z is filtered together with Y and X.
    truth : array_like, optional
        The clean image, to see the true errors; nothing is chosen by it.
    subsets : int or "all", optional
        How many subsets of the partition are hidden, one at a time.  By
        default so many that some ten thousand pixels are compared, at most
        8; all where every filter has a donut (median, Gaussian).
    plain : bool
        Whether the loss of the plain filters is measured, too.
    workers : int, optional
        Threads; by default one for each core.
    progress : callable, optional
        Called with each event.

    Returns
    -------
    calibration : Calibration
        ``.rows``: mappings, best first; ``.best``: the calibrated filter, to
        be called with an image; ``.curves``: all that was evaluated.

    Raises
    ------
    InputError
        If the image, the truth or a setting cannot be used.
    Noise2SelfError
        If no filter could be calibrated.  Of several, one that fails becomes
        a row that says why.

    References
    ----------
    J. Batson, L. Royer, "Noise2Self: Blind Denoising by Self-Supervision",
    ICML 2019, section 3.1.

    Examples
    --------
    >>> calibration = calibrate(noisy, ["median", "nlm"])  # doctest: +SKIP
    >>> denoised = calibration.best(noisy)  # doctest: +SKIP
    """
    events = calibrate_events(
        image,
        filters,
        partition,
        axes,
        volume=volume,
        truth=truth,
        subsets=subsets,
        plain=plain,
        workers=workers,
    )
    return exhaust(events, progress)


def calibrate_events(
    image: Any,
    filters: Filters | None = None,
    partition: Partition | None = None,
    axes: str | None = None,
    *,
    volume: bool = False,
    truth: Any = None,
    subsets: int | str | None = None,
    plain: bool = True,
    workers: int | None = None,
    control: Control | None = None,
) -> CalibrationEvents:
    """The same as a generator of events, which can be stopped.

    Parameters
    ----------
    image, filters, partition, axes, volume, truth, subsets, plain, workers
        As for `calibrate`.
    control : Control, optional
        `stop` ends the search; what was found so far is returned.

    Yields
    ------
    event : Notice or CalibrationEvent
        At most every 0.1 s.

    Returns
    -------
    calibration : Calibration

    Raises
    ------
    Noise2SelfError
        As `calibrate`.
    """
    began = time.perf_counter()
    control = control or Control()
    if workers is not None and not (isinstance(workers, (int, np.integer)) and workers >= 1):
        raise InputError(f"The number of workers was {workers!r}: give a whole number from 1 on.")
    with engine_errors():
        image, truth = (a if a is None else as_array(a) for a in (image, truth))
        layout = Layout.of(image.shape, axes, volume)
        check_image(image, layout)
        if truth is not None and tuple(truth.shape) != layout.shape:
            raise InputError(
                f"The truth has the shape {tuple(truth.shape)} and the image {layout.shape}: they "
                f"must be equal."
            )
        # A partition or a filter that cannot be used is refused before anything long.
        if partition is not None:
            partition.extents(layout.ndim)
        chosen(filters, (1,) * layout.ndim)
        noise = estimate_noise(image, axes, volume=volume)
        used = noise.comparison_partition if partition is None else partition
        wanted = chosen(filters, used.extents(layout.ndim))
        pixels = collect(
            image,
            layout,
            used,
            noise,
            truth=truth,
            subsets=subsets,
            donuts=all(filter_.donut is not None for filter_ in wanted),
        )
        notices = []
        told = noise.notice(used, partition is None)
        if told is not None:
            notices.append(told)
        if not pixels.unit.known:
            notices.append(
                "The noise could not be told from the structure: strengths are multiples of a "
                "rough guess of its deviation, and no gain is stated."
            )
        if pixels.mapped:
            notices.append(
                "The truth is of other brightness than the image: it was mapped linearly to its "
                "grey values before they were compared."
            )
        for notice in notices:
            yield Notice(notice)
        count = int(workers or _cores())
        pool = futures.ThreadPoolExecutor(count, "calibration")
        shared = Shared(
            pixels, pool, queue.SimpleQueue(), control, threading.Event(), threading.Lock(), plain
        )
        runs = [Run(filter_, shared) for filter_ in wanted]
        yield from _listen(runs, shared, began, count)
        stopped = control.stopped
        curves = sorted((_curve(run, shared, layout) for run in runs), key=by_loss)
    if not stopped and curves[0].best is None:
        raise next(run.error for run in runs if run.error is not None)
    return Calibration(
        curves=tuple(curves),
        noise_variance=pixels.noise_variance,
        partition=used.description(layout.ndim),
        subsets=len(pixels.subsets),
        pixels=pixels.count,
        scale=pixels.unit.scale,
        notices=tuple(notices),
        stopped=stopped,
        seconds=time.perf_counter() - began,
    )


def _cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _listen(
    runs: Sequence[Run], shared: Shared, began: float, workers: int
) -> Generator[CalibrationEvent, None, None]:
    """Search in threads, and tell what is found."""
    searches = futures.ThreadPoolExecutor(len(runs), "calibration-search")
    pending = {searches.submit(run.search) for run in runs}
    told, fraction = -math.inf, 0.0
    try:
        # A first stop is obeyed at once: what a filter still computes is not waited for.
        while pending and not shared.control.stopped:
            done, pending = futures.wait(pending, INTERVAL / 2, futures.FIRST_COMPLETED)
            for search in done:
                search.result()
            now = time.perf_counter()
            fresh = not shared.points.empty()
            if pending and now - told >= (INTERVAL if fresh else _HEARTBEAT):
                left = seconds_left(runs, workers)
                spent = now - began
                fraction = max(fraction, spent / (spent + left) if math.isfinite(left) else 0.0)
                told = now
                yield _event(shared, fraction, spent, left)
        # Two events are never closer than the interval.
        time.sleep(max(told + INTERVAL - time.perf_counter(), 0.0))
        yield _event(shared, 1.0, time.perf_counter() - began, 0.0)
    finally:
        shared.closed.set()
        for pool in (searches, shared.pool):
            pool.shutdown(wait=False, cancel_futures=True)


def _event(shared: Shared, fraction: float, seconds: float, left: float) -> CalibrationEvent:
    points = []
    while not shared.points.empty():
        points.append(shared.points.get())
    pixels = shared.pixels
    return CalibrationEvent(tuple(points), fraction, seconds, left, pixels.noise_variance)


def _sorted(run: Run) -> tuple[Point, ...]:
    """The evaluations by their parameters, where these can be compared."""
    names = [p.name for p in run.filter.parameters]
    try:
        return tuple(sorted(run.points, key=lambda point: [point.parameters[n] for n in names]))
    except TypeError:
        return run.points


def _curve(run: Run, shared: Shared, layout: Layout) -> Curve:
    """What was found out about a filter, and the filter with its best parameters."""
    pixels, best = shared.pixels, run.best
    failure = None if run.error is None else str(run.error)
    common = (run.filter.name, run.filter.title, run.filter.family)
    if best is None:
        return Curve(*common, (), None, Score.unknown(), None, [], run.seconds, (), failure)
    mixing, gain = None, None
    if pixels.noise.estimated:
        places = (
            [place.predicted for place in best.positions],
            [place.observed for place in best.positions],
        )
        mixing = Mixing.measure(*places, pixels.variance)
        gain = gain_of_mixing(*places, pixels.variance, pixels.noise.doubt)
    score = pixels.score(best.positions)
    calibrated = CalibratedFilter(
        run.filter,
        best.point.parameters,
        pixels.unit,
        pixels.partition,
        layout.axes,
        layout.volume,
        mixing,
    )
    if not pixels.noise.known:
        # Stein's risk cannot tell, but that details cost more than so little noise can be seen.
        if gain is not None and gain >= MIXED_FROM:
            calibrated = replace(calibrated, output="mixed")
    elif not shared.control.stopped:
        first = pixels.windows[0].channels
        frame = np.stack([c.values * c.scale + c.offset for c in first])
        valid = np.stack([c.valid for c in first])
        calibrated = calibrated.with_better_output(frame, valid, pixels.noise, score)
    return Curve(
        *common,
        _sorted(run),
        calibrated,
        score,
        best.point.mse,
        pixels.held_out(best.positions),
        run.seconds,
        tuple(ends(run.filter.parameters, best.point.parameters)),
        failure,
    )
