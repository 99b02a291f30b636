from __future__ import annotations

import contextlib
import math
import threading
import weakref

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, ones

from napari_noise2self import Denoiser, Grid, RandomPartition, TrainingConfig
from napari_noise2self.engine import memory, prediction, streaming
from napari_noise2self.engine.bad_pixels import HotRule
from napari_noise2self.engine.errors import InputError, OutOfMemoryError, OutputError
from napari_noise2self.engine.events import Control, Notice, exhaust
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.streaming import chunks_of, plan
from napari_noise2self.engine.windows import Reach


class MemorySink:
    """Keeps the regions in an array, and remembers them."""

    def __init__(self, shape, chunks):
        self.chunks = chunks
        self.out = np.full(shape, np.nan, np.float32)
        self.there = np.zeros(shape, np.uint8)
        self.written = []

    def has(self, region):
        return bool(self.there[region].all())

    def write(self, region, values):
        assert values.dtype == np.float32
        self.out[region] = values
        self.there[region] += 1
        self.written.append(region)


def stack(*shape, seed=0):
    """Noise with hot pixels and missing values."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 10, shape).astype(np.float32)
    places = rng.choice(image.size, 24, replace=False)
    image.reshape(-1)[places] = [5000] * 12 + [np.nan] * 12
    return image


def fitted(image, axes=None, **options):
    config = TrainingConfig(
        channels=4, depth=2, crop_size=32, epochs=0.1, averaging=False, device="cpu", **options
    )
    return Denoiser(config).fit(image, axes)


@pytest.fixture
def small(monkeypatch):
    """Windows and regions so small that a small image has many."""

    def shrink(window, region):
        monkeypatch.setattr(prediction, "WINDOW_PIXELS", window)
        monkeypatch.setattr(streaming, "REGION_PIXELS", region)

    return shrink


CASES = [
    ((3, 83, 71), "TYX", (2, 16, 20), "single-pass", {}),
    ((90, 2, 61), "YTX", (32, 2, 16), "mixed", {"partition": Grid(4, extent=3)}),
    (
        (77, 70, 2),
        "YXC",
        (20, 32, 1),
        "j-invariant",
        {"partition": RandomPartition(4), "replacement": "uniform"},
    ),
    ((2, 21, 2, 50, 45), "TZCYX", (1, 8, 1, 16, 16), "single-pass", {"volume": True}),
    ((12, 40, 37), "ZYX", (5, 16, 16), "j-invariant", {"volume": True, "partition": Grid(2)}),
]


@pytest.mark.parametrize(("shape", "axes", "chunks", "output", "options"), CASES)
def test_however_it_is_read_the_result_is_the_same(shape, axes, chunks, output, options, small):
    image = stack(*shape)
    denoiser = fitted(image, axes, **options)
    averaged = denoiser.config.model_copy(update={"averaging": not options.get("volume")})
    denoiser.config = averaged
    whole = denoiser.predict(image, axes, output)
    depth = 4 if options.get("volume") else 1
    small(32**2 * depth, 48**2 * depth)

    sink = MemorySink(shape, chunks)
    assert exhaust(denoiser.predict_stream(image, axes, output, sink=sink))
    # Every region once, and always whole chunks.
    assert (sink.there == 1).all()
    assert len(sink.written) > 1
    for region in sink.written:
        for part, chunk, n in zip(region, chunks, shape, strict=True):
            assert part.start % chunk == 0
            assert part.stop % chunk == 0 or part.stop == n

    lazy = denoiser.predict(da.from_array(image, chunks=40), axes, output)
    region = sink.written[-1]
    results = {
        "streamed": (sink.out, whole),
        "in windows": (denoiser.predict(image, axes, output), whole),
        "lazily": (lazy.compute(scheduler="synchronous"), whole),
        "one region": (denoiser.predict_region(image, region, axes, output), whole[region]),
    }
    assert np.isnan(whole).sum() == 12
    for found, expected in results.values():
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


@pytest.fixture(scope="module")
def movie():
    return stack(6, 64, 64)


@pytest.fixture(scope="module")
def denoiser(movie):
    return fitted(movie)


def test_what_was_stopped_is_finished_later_to_the_same_result(movie, denoiser, small):
    small(2**22, 2 * 64**2)
    sink = MemorySink(movie.shape, (2, 64, 64))
    control = Control()
    events = denoiser.predict_stream(movie, sink=sink, control=control)
    complete = exhaust(events, lambda event: control.stop() if event.frame is not None else None)
    assert not complete
    first = len(sink.written)
    assert 0 < first < 3
    # Other regions than before: what has been written in part is written again.
    small(2**22, 64**2)
    fractions = []
    assert exhaust(
        denoiser.predict_stream(movie, sink=sink), lambda event: fractions.append(event.fraction)
    )
    assert fractions[0] == pytest.approx(first / 3)
    assert (sink.there == 1).all()
    np.testing.assert_allclose(sink.out, denoiser.predict(movie), rtol=1e-6)
    # Nothing is left to do, so nothing is read.
    assert exhaust(denoiser.predict_stream(Gone(movie), sink=sink))


@pytest.mark.parametrize("how", ["stopped", "closed", "interrupted"])
@pytest.mark.parametrize(
    ("shape", "axes", "chunks", "kept"),
    [
        ((6, 64, 64), "TYX", (1, 64, 64), 3),
        ((6, 64, 64), "TYX", (2, 64, 64), 2),
        ((6, 64, 64), "TYX", (4, 64, 64), 0),
        ((64, 6, 64), "YTX", (64, 1, 64), 3),
        ((3, 2, 64, 64), "TZYX", (1, 1, 64, 64), 2),
    ],
)
def test_whole_frames_of_a_region_that_was_not_finished_are_kept(
    denoiser, small, monkeypatch, shape, axes, chunks, kept, how
):
    image = stack(*shape)
    small(32**2, 2**22)
    monkeypatch.setattr(prediction, "INTERVAL", 0.0)
    sink, control = MemorySink(shape, chunks), Control()
    # A part of the fourth of six frames is done.
    events = denoiser.predict_stream(image, axes, sink=sink, control=control)
    with contextlib.suppress(KeyboardInterrupt):
        for event in events:
            if event.fraction > 3.1 / 6:
                if how == "interrupted":
                    events.throw(KeyboardInterrupt)
                (events.close if how == "closed" else control.stop)()
    frames = 6 * np.count_nonzero(sink.there) / sink.there.size
    assert frames == kept
    fractions = []
    rest = denoiser.predict_stream(image, axes, sink=sink)
    assert exhaust(rest, lambda event: fractions.append(event.fraction))
    assert fractions[0] == pytest.approx(kept / 6)
    assert (sink.there == 1).all()
    np.testing.assert_allclose(sink.out, denoiser.predict(image, axes), rtol=1e-6)


class Gone:
    """An array whose file is gone, but for the frames before `frame`."""

    def __init__(self, image, frame=0):
        self.image, self.frame = image, frame
        self.shape, self.dtype = image.shape, image.dtype

    def __getitem__(self, index):
        if index[0].stop > self.frame if isinstance(index[0], slice) else not self.frame:
            raise ValueError("chunk 7 is damaged\nand more")
        return self.image[index]


def no_threads_left():
    return not [t for t in threading.enumerate() if t.name.startswith("noise2self")]


def test_what_cannot_be_read_is_told_and_what_was_done_is_kept(movie, denoiser, small):
    small(2**22, 64**2)
    sink = MemorySink(movie.shape, (1, 64, 64))
    with pytest.raises(InputError, match=r"could not be read \(chunk 7 is damaged\)"):
        exhaust(denoiser.predict_stream(Gone(movie, 3), sink=sink))
    assert len(sink.written) == 3
    assert no_threads_left()


def test_what_cannot_be_written_is_told(movie, denoiser, small):
    small(2**22, 64**2)
    sink = MemorySink(movie.shape, (1, 64, 64))

    def full(region, values):
        raise OSError(28, "No space left on device")

    sink.write = full
    with pytest.raises(OutputError, match="No space left on device"):
        exhaust(denoiser.predict_stream(movie, sink=sink))
    assert no_threads_left()


def test_a_closed_generator_leaves_no_thread(movie, denoiser, small):
    small(2**22, 64**2)
    sink = MemorySink(movie.shape, (1, 64, 64))
    events = denoiser.predict_stream(movie, sink=sink)
    while next(events).frame is None:
        pass
    events.close()
    assert no_threads_left()
    assert 1 <= len(sink.written) < 6


def test_a_pause_is_one_and_ends(movie, denoiser):
    sink, control = MemorySink(movie.shape, (1, 64, 64)), Control()
    control.pause()
    events = denoiser.predict_stream(movie, sink=sink, control=control)
    assert [next(events).fraction for _ in range(3)] == [0, 0, 0]
    assert not sink.written
    control.resume()
    assert exhaust(events)


def test_the_frame_in_view_comes_first_and_frames_are_told_when_they_are_whole(denoiser, small):
    image = stack(3, 96, 96)
    small(2**22, 48**2)
    sink = MemorySink(image.shape, (1, 48, 48))
    told = []

    def hear(event):
        if event.frame is not None:
            told.append(event.frame)
            assert sink.there[event.frame].all()

    assert exhaust(denoiser.predict_stream(image, sink=sink, control=Control(1)), hear)
    assert told == [1, 0, 2]


class Sharpening(nn.Module):
    """As good as nothing, in no time."""

    halo = (1, 1)
    multiple = (1, 1)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.most = math.inf

    def forward(self, x):
        if x[0, 0].numel() > self.most:
            raise RuntimeError("CUDA out of memory")
        return self.layer(x)


@pytest.fixture(scope="module")
def fast():
    config = TrainingConfig(
        crop_size=32, epochs=0.1, averaging=False, output="single-pass", device="cpu"
    )
    return Denoiser(config, Sharpening()).fit(stack(64, 64))


class Counting:
    """An array made when it is read; counts how much of it is alive at once."""

    dtype = np.dtype(np.uint16)

    def __init__(self, *shape):
        self.shape = shape
        self.alive = self.most = 0

    def __getitem__(self, index):
        sizes = [1 if isinstance(i, int) else i.stop - i.start for i in index]
        part = np.full(sizes, 7, np.uint16)
        part += np.arange(part.shape[-1], dtype=np.uint16)
        self._count(part.size)
        weakref.finalize(part, self._count, -part.size)
        return part[tuple(0 if isinstance(i, int) else slice(None) for i in index)]

    def _count(self, size):
        self.alive += size
        self.most = max(self.most, self.alive)


class CountingSink:
    """Forgets what it is given, and counts how much of it is alive at once."""

    def __init__(self, chunks):
        self.chunks = chunks
        self.alive = self.most = self.pixels = 0

    def has(self, region):
        return False

    def write(self, region, values):
        self.alive += values.size
        self.most = max(self.most, self.alive)
        self.pixels += values.size
        weakref.finalize(values, self._forget, values.size)

    def _forget(self, size):
        self.alive -= size


@pytest.mark.parametrize("shape", [(6, 64, 64), (200, 64, 64), (1, 900, 900)])
def test_memory_depends_neither_on_the_frames_nor_on_their_size(shape, fast, small, monkeypatch):
    region = 4 * 64**2
    small(region, region)
    monkeypatch.setattr("napari_noise2self.engine.bad_pixels.HOT_PIXELS", 2**12)
    source, sink = Counting(*shape), CountingSink((1, 32, 32))
    assert exhaust(fast.predict_stream(source, sink=sink))
    assert sink.pixels == math.prod(shape)
    # One region is computed and some are read, each with its margin; one is written.
    assert source.most < (1 + streaming.AHEAD) * region * 2
    assert sink.most <= 2 * region


def test_regions_are_read_beside_each_other_where_a_store_answers_late(fast, small, monkeypatch):
    small(1, 1)
    together = threading.Barrier(2)

    class Late(Counting):
        def __getitem__(self, index):
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(timeout=20)  # for another read
            return super().__getitem__(index)

    rule = HotRule((0.0,), (math.inf,))
    monkeypatch.setattr(streaming.HotRule, "of", lambda *_: rule)
    source, sink = Late(4, 64, 64), CountingSink((1, 64, 64))
    assert exhaust(fast.predict_stream(source, sink=sink))
    assert not together.broken


def test_too_large_tiles_become_smaller_and_that_is_said(fast):
    image = stack(1, 200, 180)
    whole = fast.predict(image)
    sink, said = MemorySink(image.shape, (1, 64, 64)), []
    network = fast.trained.network
    network.most = 2**13
    try:
        assert exhaust(fast.predict_stream(image, sink=sink), said.append)
    finally:
        network.most = math.inf
    notices = [event for event in said if isinstance(event, Notice)]
    assert "smaller tiles" in notices[0].message
    assert len(notices) < 5
    np.testing.assert_allclose(sink.out, whole, rtol=1e-6)


class Centred(nn.Module):
    """Depends on all of the frame, so it cannot be parted."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(ones(1))

    def forward(self, x):
        return self.gain * (x - x.mean(dim=(2, 3), keepdim=True))


def test_a_network_that_must_see_whole_frames_does_or_is_refused(small, monkeypatch):
    image = stack(3, 64, 80)
    config = TrainingConfig(crop_size=32, epochs=0.1, averaging=False, device="cpu")
    denoiser = Denoiser(config, Centred()).fit(image)
    whole = denoiser.predict(image)
    small(16**2, 16**2)
    sink = MemorySink(image.shape, (1, 16, 16))
    assert exhaust(denoiser.predict_stream(image, sink=sink))
    assert len(sink.written) == 3
    np.testing.assert_array_equal(sink.out, whole)
    monkeypatch.setenv(memory.VARIABLE, "0.0001")
    for refused in (
        lambda: denoiser.predict(image),
        lambda: denoiser.predict(da.from_array(image)),
        lambda: exhaust(denoiser.predict_stream(image, sink=MemorySink(image.shape, (1, 16, 16)))),
    ):
        with pytest.raises(OutOfMemoryError, match="whole frames, and one of 64×80 pixels"):
            refused()


@pytest.mark.parametrize(
    "region",
    [
        (slice(0, 2), slice(0, 9)),
        (0, slice(0, 9), slice(0, 9)),
        (slice(0, 2), slice(5, 5), slice(0, 9)),
        (slice(0, 2), slice(0, 9, 2), slice(0, 9)),
    ],
)
def test_a_region_that_is_none_is_refused(region, movie, denoiser):
    with pytest.raises(InputError, match="one slice per axis"):
        denoiser.predict_region(movie, region)


@st.composite
def plans(draw):
    axes = "".join(draw(st.permutations(draw(st.sampled_from(["YX", "TYX", "TCYX", "ZYX"])))))
    shape = [draw(st.integers(1, 200)) for _ in axes]
    chunks = [draw(st.integers(1, 250)) for _ in axes]
    source = draw(st.none() | st.just([draw(st.integers(1, 250)) for _ in axes]))
    layout = Layout.of(shape, axes, volume="Z" in axes)
    ndim = layout.ndim
    reach = draw(st.none() | st.just(Reach((8,) * ndim, (4,) * ndim)))
    return layout, chunks, reach, source, draw(st.sampled_from([2**6, 2**12, 2**16]))


@given(plans())
@settings(deadline=None, max_examples=80)
def test_regions_cover_an_array_once_with_whole_chunks(case):
    layout, chunks, reach, source, pixels = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "REGION_PIXELS", pixels)
        patch.setattr(streaming, "LARGEST_REGION", 4 * pixels)
        regions = plan(layout, chunks, reach, source)
    assert sum(math.prod(p.stop - p.start for p in region) for region in regions) == math.prod(
        layout.shape
    )
    whole = "CS" + (layout.spatial_axes if reach is None else "")
    least = math.prod(
        n if letter in whole else min(chunk, n)
        for letter, chunk, n in zip(layout.axes, chunks, layout.shape, strict=True)
    )
    for region in regions:
        for letter, part, chunk, n in zip(layout.axes, region, chunks, layout.shape, strict=True):
            assert part.start % chunk == 0 or letter in whole
            assert part.stop % chunk == 0 or part.stop == n
            assert part == slice(0, n) or letter not in whole
        assert math.prod(p.stop - p.start for p in region) <= max(least, 4 * pixels)
    # Frame after frame.
    firsts = [streaming.frames_of(layout, region)[0] for region in regions]
    assert firsts == sorted(firsts)


def test_regions_follow_what_the_source_reads_at_once():
    layout = Layout.of((4, 4096, 4096))
    reach = Reach((40, 40), (8, 8))
    pages = plan(layout, (1, 512, 512), reach, (1, 4096, 4096))
    assert pages == [(slice(i, i + 1), slice(0, 4096), slice(0, 4096)) for i in range(4)]
    assert chunks_of(da.zeros((5, 9), chunks=(2, 4))) == (2, 4)
    assert chunks_of(np.zeros((5, 9))) is None
