"""Denoising from one store into another, region by region, in bounded memory.

While a region is computed, the next ones are read and the one before is written.
A region is read with the margin that its prediction looks at, so that what is
written is what the prediction of the whole array in memory would be.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.arrays import read_part
from napari_noise2self.engine.bad_pixels import HotRule
from napari_noise2self.engine.errors import InputError, Noise2SelfError, OutputError, first_line
from napari_noise2self.engine.events import INTERVAL, Control, Notice, PredictionEvent, exhaust
from napari_noise2self.engine.hardware import engine_errors, memory_budget
from napari_noise2self.engine.layout import CHANNEL_AXES, Layout
from napari_noise2self.engine.prediction import Method, Progress, watched
from napari_noise2self.engine.preparation import Frame
from napari_noise2self.engine.windows import Box, Place, Reach, cut, shifted, sides

# Pixels of a region, counted per channel: enough that its margin costs little, and few
# enough that something is finished, and kept, every few seconds.
REGION_PIXELS = 2**22
# Where the source is stored in larger chunks, up to these: each is then read once.
LARGEST_REGION = 2**24
# Where workers share them, each is to have at least so many, unless they were smaller than this.
REGIONS_EACH = 4
LEAST_REGION = 2**19
# So many regions are read while one is computed: a distant store answers late, but many at once.
AHEAD = 3
# What a pixel of a region takes in memory: as read, once more for each ahead; twice as result.
BYTES_PER_PIXEL = 40

Region = tuple[slice, ...]


class Sink(Protocol):
    """Where a denoised array goes, region by region."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """Per axis of the array, the size of what is written at once.

        Regions are unions of whole chunks, cut at the end of the array.
        """

    def has(self, region: Region) -> bool:
        """Whether all of a region was written in an earlier run."""

    def write(self, region: Region, values: NDArray[np.float32]) -> None:
        """Keep the values of a region; called from one thread at a time."""


@dataclass(frozen=True)
class Slab:
    """A region of an array as it was read, with its margin.

    Attributes
    ----------
    values : ndarray
        Axes as in the array.
    start : tuple of int
        Where it begins in the frames of the array, per spatial axis.
    """

    values: NDArray[Any]
    start: tuple[int, ...]

    @classmethod
    def read(cls, image: Any, layout: Layout, region: Region, reach: Reach | None) -> Slab:
        """Read a region of an array of the shape of `layout`."""
        place = Place.around(spatial(layout, region), layout.spatial_shape, reach)
        index = list(region)
        for letter, part in zip(layout.spatial_axes, place.read, strict=True):
            index[layout.axes.index(letter)] = part
        return cls(read_part(image, tuple(index)), place.origin)


@dataclass
class Values:
    """What a region becomes, frame after frame.

    Attributes
    ----------
    array : ndarray of float32
        Of the shape of the region.
    frames : int
        How many frames of it are there, from the first on.
    """

    array: NDArray[np.float32]
    frames: int = 0

    @classmethod
    def of(cls, region: Region) -> Values:
        """Nothing yet of a region."""
        return cls(np.empty([part.stop - part.start for part in region], np.float32))


def spatial(layout: Layout, region: Region) -> Box:
    """The part of the frames that a region covers."""
    return tuple(region[layout.axes.index(letter)] for letter in layout.spatial_axes)


def plan(
    layout: Layout,
    chunks: Sequence[int],
    reach: Reach | None,
    source: Sequence[int] | None = None,
    workers: int = 1,
) -> list[Region]:
    """The regions that an array is denoised in, frame after frame.

    Parameters
    ----------
    layout : Layout
    chunks : sequence of int
        Per axis, what is written at once: regions are unions of whole chunks.
    reach : Reach or None
        None if whole frames are needed.
    source : sequence of int, optional
        Per axis, what is read at once.
    workers : int
        How many share the regions: each is to have some, so that all end
        together, but none so small that it is mostly margin.

    Returns
    -------
    regions : list of tuple of slice
        One slice per axis of the array; channels are never parted.
    """
    room = memory_budget() // 4 // BYTES_PER_PIXEL
    whole = CHANNEL_AXES if reach is not None else CHANNEL_AXES + layout.spatial_axes

    def units(*kinds: Sequence[int]) -> list[int]:
        return [
            n if letter in whole else min(math.lcm(*sizes), n)
            for letter, n, *sizes in zip(layout.axes, layout.shape, *kinds, strict=True)
        ]

    size = units(chunks)
    pixels = min(REGION_PIXELS, room)
    if workers > 1:
        share = math.prod(layout.shape) // (workers * REGIONS_EACH)
        pixels = min(pixels, max(share, LEAST_REGION))
    if source is not None:
        together = units(chunks, source)
        if math.prod(together) <= min(LARGEST_REGION, room):
            size, pixels = together, max(pixels, math.prod(together))
    unit = list(size)
    places = [layout.axes.index(letter) for letter in layout.spatial_axes]
    if reach is not None:
        left = pixels * math.prod(unit[i] for i in places) / math.prod(unit)
        least = [unit[i] for i in places]
        wanted = sides(layout.spatial_shape, reach.margin, left, least)
        for i, side in zip(places, wanted, strict=True):
            n = layout.shape[i]
            size[i] = n if side >= n else side // unit[i] * unit[i]
    more = pixels // math.prod(size)
    for letter in reversed(layout.frame_axes):
        i = layout.axes.index(letter)
        count = max(min(more, -(-layout.shape[i] // unit[i])), 1)
        size[i] = min(count * unit[i], layout.shape[i])
        more //= count
        if size[i] < layout.shape[i]:
            break
    order = layout.frame_axes + "".join(a for a in layout.axes if a not in layout.frame_axes)
    lines = [
        [slice(start, min(start + size[i], n)) for start in range(0, n, size[i])]
        for i, n in ((layout.axes.index(a), layout.size(a)) for a in order)
    ]
    back = [order.index(letter) for letter in layout.axes]
    return [tuple(parts[i] for i in back) for parts in itertools.product(*lines)]


def chunks_of(image: Any) -> tuple[int, ...] | None:
    """What an array reads at once, if it tells: zarr's chunks, or the largest of dask's."""
    chunks = getattr(image, "chunks", None)
    if not isinstance(chunks, tuple) or len(chunks) != len(image.shape):
        return None
    sizes = [max(c) if isinstance(c, tuple) and c else c for c in chunks]
    return tuple(sizes) if all(isinstance(c, int) and c > 0 for c in sizes) else None


def frames_of(layout: Layout, region: Region) -> NDArray[np.intp]:
    """The numbers of the frames that a region has a part of, in order."""
    numbers = np.zeros(1, np.intp)
    for letter in layout.frame_axes:
        part = region[layout.axes.index(letter)]
        line = np.arange(part.start, part.stop)
        numbers = (numbers[:, None] * layout.size(letter) + line).ravel()
    return numbers


def _pieces(layout: Layout, region: Region, chunks: Sequence[int]) -> list[Region]:
    """A region in the smallest parts of whole frames and whole chunks, one after the other."""
    for letter in layout.frame_axes:
        axis = layout.axes.index(letter)
        whole = region[axis]
        if whole.stop - whole.start > 1:
            starts = range(whole.start, whole.stop, chunks[axis])
            parts = [slice(start, min(start + chunks[axis], whole.stop)) for start in starts]
            return [(*region[:axis], part, *region[axis + 1 :]) for part in parts]
    return [region]


def _joined(pieces: Sequence[Region]) -> Region:
    """The region from the first of such parts to the last."""
    return tuple(
        slice(first.start, last.stop) for first, last in zip(pieces[0], pieces[-1], strict=True)
    )


def region_of(layout: Layout, index: Sequence[slice]) -> Region:
    """A region as it was asked for, with all its ends spelled out.

    Raises
    ------
    InputError
        If it does not lie in the array, has steps, or lacks channels.
    """
    if len(index) == len(layout.shape) and all(isinstance(part, slice) for part in index):
        ends = [part.indices(n) for part, n in zip(index, layout.shape, strict=True)]
        region = tuple(slice(start, stop) for start, stop, _ in ends)
        if all(start < stop and step == 1 for start, stop, step in ends) and all(
            part.stop - part.start == n
            for letter, part, n in zip(layout.axes, region, layout.shape, strict=True)
            if letter in CHANNEL_AXES
        ):
            return region
    raise InputError(
        f"The region {tuple(index)} cannot be denoised in an image of the shape {layout.shape}: "
        f"give one slice per axis, with a step of 1 and all of the channels."
    )


class Ledger:
    """What of an array is done, and what is left to do.

    Parameters
    ----------
    layout : Layout
    regions : sequence of tuple of slice
        See `plan`.
    sink : Sink
        Which may have some of them.
    first : int, optional
        The frame in view: its regions come first.

    Attributes
    ----------
    todo : list of tuple of slice
        What was left to do at the beginning.
    """

    def __init__(
        self, layout: Layout, regions: Sequence[Region], sink: Sink, first: int | None = None
    ) -> None:
        self._layout = layout
        self._missing = np.full(layout.frames, math.prod(layout.spatial_shape))
        self.todo: list[Region] = []
        for region in regions:
            for there, pieces in itertools.groupby(
                _pieces(layout, region, sink.chunks), key=sink.has
            ):
                part = _joined(list(pieces))
                if there:
                    self.enter(part)
                else:
                    self.todo.append(part)
        if first is not None:
            self.todo.sort(key=lambda region: first not in frames_of(layout, region))

    def enter(self, region: Region) -> int | None:
        """Note that a region is done; the last frame that has become whole by it."""
        frames = frames_of(self._layout, region)
        self._missing[frames] -= self._pixels(region)
        whole = frames[self._missing[frames] == 0]
        return int(whole[-1]) if whole.size else None

    def work(self, region: Region) -> int:
        """What a region is of the work of `progress`."""
        return frames_of(self._layout, region).size * self._pixels(region)

    def progress(self) -> Progress:
        """How far all is; nothing of what is done later is in it."""
        total = self._layout.frames * math.prod(self._layout.spatial_shape)
        return Progress(total, total - float(self._missing.sum()))

    @property
    def complete(self) -> bool:
        """Whether every frame is whole."""
        return not self._missing.any()

    def _pixels(self, region: Region) -> int:
        """How many pixels of each of its frames a region has."""
        return math.prod(part.stop - part.start for part in spatial(self._layout, region))


def predict_region(
    method: Method,
    slab: Slab,
    layout: Layout,
    region: Region,
    rule: HotRule,
    progress: Progress,
    control: Control,
    values: Values,
) -> Generator[Notice | PredictionEvent, None, None]:
    """Denoise one region of an array, frame after frame.

    Parameters
    ----------
    method : Method
    slab : Slab
        What was read for the region.
    layout : Layout
        That of the whole array.
    region : tuple of slice
    rule : HotRule
    progress : Progress
    control : Control
    values : Values
        Where they go.  Some frames are missing if it was stopped.

    Yields
    ------
    event : Notice or PredictionEvent
    """
    box = spatial(layout, region)
    inner, read = layout.with_shape(values.array.shape), layout.with_shape(slab.values.shape)
    places = method.windows(box, layout)
    for number in range(inner.frames):
        for place in places:
            frame = Frame.of(
                slab.values, read, method.normalisation, number, rule, place, slab.start
            )
            result = yield from watched(method.apply(frame), place.pixels, progress, control)
            if result is None:
                return
            here = shifted(place.box, [-part.start for part in box])
            inner.write(values.array, number, frame.restore(result), here)
        values.frames = number + 1


def predicted_region(
    method: Method, slab: Slab, layout: Layout, region: Region, rule: HotRule
) -> NDArray[np.float32]:
    """What `predict_region` returns."""
    values = Values.of(region)
    # Nobody can stop it.
    exhaust(predict_region(method, slab, layout, region, rule, Progress(1.0), Control(), values))
    return values.array


def stream(
    method: Method,
    image: Any,
    layout: Layout,
    sink: Sink,
    control: Control,
) -> Generator[Notice | PredictionEvent, None, bool]:
    """Denoise an array into a sink.

    Parameters
    ----------
    method : Method
    image : array of the shape of `layout`
        Read from a thread.
    layout : Layout
    sink : Sink
    control : Control
        What is complete when it stops has been written.

    Yields
    ------
    event : Notice or PredictionEvent
        `frame` is the last frame that has become complete in the sink.

    Returns
    -------
    complete : bool
    """
    regions = plan(layout, sink.chunks, method.reach, chunks_of(image))
    ledger = Ledger(layout, regions, sink, control.preview_frame)
    todo = ledger.todo
    progress = ledger.progress()
    yield progress.event()
    if not todo:
        return True
    rule = HotRule.of(image, layout, control)
    # What has been computed is kept whatever happens; what was not yet read is not needed then.
    with _threads("read", AHEAD, drop=True) as reader, _threads("write", 1, drop=False) as writer:
        slabs: deque[Future[Slab]] = deque()
        behind: tuple[Region, Future[None]] | None = None
        for number, region in enumerate(todo):
            # The one that is needed now, and those after it.
            for later in todo[number + len(slabs) : number + 1 + AHEAD]:
                slabs.append(reader.submit(Slab.read, image, layout, later, method.reach))
            yield from _waiting(slabs[0], progress, control)
            if control.stopped:
                break
            slab = slabs.popleft().result()
            values = Values.of(region)
            try:
                yield from predict_region(
                    method, slab, layout, region, rule, progress, control, values
                )
            except BaseException:
                # Whole frames of it are kept, also where an interrupt ends the work within it.
                _keep(writer, sink, layout, region, values)
                raise
            del slab
            if behind is not None:
                yield from _written(behind, ledger, progress, control)
            behind = _keep(writer, sink, layout, region, values)
            del values
            if behind is None or behind[0] != region:
                break
        if behind is not None:
            yield from _written(behind, ledger, progress, control)
    return ledger.complete


def _keep(
    writer: ThreadPoolExecutor, sink: Sink, layout: Layout, region: Region, values: Values
) -> tuple[Region, Future[None]] | None:
    """Write what there is of a region, in whole chunks; None if that is nothing."""
    left, filled = values.frames, []
    for piece in _pieces(layout, region, sink.chunks):
        left -= frames_of(layout, piece).size
        if left < 0:
            break
        filled.append(piece)
    if not filled:
        return None
    part = _joined(filled)
    array = values.array[_within(region, part)]
    return part, writer.submit(_write, sink, part, array)


def _within(region: Region, part: Region) -> Region:
    """Where a part of a region lies in an array of the region."""
    return tuple(
        slice(p.start - whole.start, p.stop - whole.start)
        for p, whole in zip(part, region, strict=True)
    )


def predict_lazily(method: Method, image: Any, layout: Layout, rule: Any) -> Any:
    """The denoised array as a dask array, of which nothing is computed yet.

    Parameters
    ----------
    method : Method
    image : dask array of the shape of `layout`
    layout : Layout
    rule : dask Delayed
        Of the `HotRule` of the array.

    Returns
    -------
    denoised : dask array of float32
        A block is a frame, or a part of a large one.
    """
    import dask.array as da

    shape, reach = layout.spatial_shape, method.reach
    lines = [[part] for part in Place.whole(shape).read]
    depth = [0] * layout.ndim
    if reach is not None:
        depth = [-(-m // s) * s for m, s in zip(reach.margin, reach.step, strict=True)]
        least = [min(2 * d + s, n) for d, s, n in zip(depth, reach.step, shape, strict=True)]
        most = sides(shape, reach.margin, max(REGION_PIXELS // layout.channels, 1), least)
        lines = [cut(*line) for line in zip(Place.whole(shape).read, most, reach.step, strict=True)]
    else:
        method.windows(Place.whole(shape).read, layout)  # or it is refused
    places = [layout.axes.index(letter) for letter in layout.spatial_axes]
    chunks: dict[int, Any] = {
        axis: 1 if letter in layout.frame_axes else -1 for axis, letter in enumerate(layout.axes)
    }
    for axis, line in zip(places, lines, strict=True):
        chunks[axis] = tuple(part.stop - part.start for part in line)
    parts = image.rechunk(chunks)
    around = {a: d for a, d, line in zip(places, depth, lines, strict=True) if len(line) > 1}
    wide = parts
    if around:
        borders = dict.fromkeys(around, "none")
        wide = da.overlap.overlap(parts, around, borders)  # type: ignore[no-untyped-call]

    def predict_block(
        block: NDArray[Any], rule: HotRule, block_id: tuple[int, ...]
    ) -> NDArray[np.float32]:
        region = [slice(0, n) for n in block.shape]
        start = []
        for axis, line, d in zip(places, lines, depth, strict=True):
            region[axis] = line[block_id[axis]]
            start.append(max(region[axis].start - d, 0))
        with engine_errors():
            return predicted_region(method, Slab(block, tuple(start)), layout, tuple(region), rule)

    return wide.map_blocks(
        predict_block,
        rule=rule,
        chunks=parts.chunks,
        dtype=np.float32,
        meta=np.empty((0,) * image.ndim, np.float32),
    )


def _write(sink: Sink, region: Region, values: NDArray[np.float32]) -> None:
    try:
        sink.write(region, values)
    except Noise2SelfError:
        raise
    except Exception as error:
        raise OutputError(
            f"The result could not be written ({first_line(error)}): "
            f"check that there is room where it goes, and that you may write there."
        ) from error


def _written(
    behind: tuple[Region, Future[None]],
    ledger: Ledger,
    progress: Progress,
    control: Control,
) -> Generator[Notice | PredictionEvent, None, None]:
    """Wait until a region has been written, also if a stop was asked for."""
    region, future = behind
    while not future.done():
        yield from _waiting(future, progress, control)
        if control.stopped:
            break
    future.result()
    frame = ledger.enter(region)
    if frame is not None:
        yield progress.event(frame=frame)


def _waiting(
    future: Future[Any], progress: Progress, control: Control
) -> Generator[Notice | PredictionEvent, None, None]:
    """Wait for a thread, or for a stop, and go on to tell how far the work is."""
    while not wait([future], INTERVAL).done and not control.stopped:
        yield progress.event()


@contextmanager
def _threads(name: str, count: int, drop: bool) -> Iterator[ThreadPoolExecutor]:
    """Threads that have ended when the work is left, in whatever way.

    With `drop` they leave what they have not begun.
    """
    pool = ThreadPoolExecutor(count, f"noise2self-{name}")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=drop)
