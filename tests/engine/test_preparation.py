from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_noise2self.engine import bad_pixels
from napari_noise2self.engine.bad_pixels import HotRule, fill_bad, find_bad
from napari_noise2self.engine.events import Control
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.preparation import Frame, Normalisation, prepare
from napari_noise2self.engine.windows import BAD_REACH, Place, Reach


def with_defects(*shape, dtype=np.float32, seed=0, one_of=40):
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 10, shape)
    count = image.size // one_of
    places = rng.choice(image.size, 2 * count, replace=False)
    image.reshape(-1)[places[:count]] = rng.uniform(4000, 9000, count)
    if np.dtype(dtype).kind == "f":
        image.reshape(-1)[places[count:]] = rng.choice([np.nan, np.inf, -np.inf], count)
    return image.astype(dtype)


def hot_by_the_book(plane, middle, threshold):
    """One pixel after the other."""
    hot = np.zeros(plane.shape, bool)
    for y, x in np.ndindex(plane.shape):
        value = float(plane[y, x])
        if not np.isfinite(value) or value <= threshold:
            continue
        around = plane[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].astype(float).ravel()
        others = np.sort(around[np.isfinite(around)])[:-1]
        hot[y, x] = bool(others.size) and others[-1] - middle < 0.2 * (value - middle)
    return hot


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.float64])
def test_hot_pixels_are_those_that_stand_alone(dtype):
    image = with_defects(1, 40, 33, dtype=dtype)
    rule = HotRule((100.0,), (1000.0,))
    missing, hot = find_bad(image, rule)
    np.testing.assert_array_equal(missing, ~np.isfinite(image))
    assert hot.any()
    np.testing.assert_array_equal(hot[0], hot_by_the_book(image[0], 100, 1000))


def test_what_is_hot_in_a_bright_frame_follows_from_the_whole_stack():
    rng = np.random.default_rng(0)
    stack = rng.normal(100, 5, (20, 64, 64))
    stack[7] += 2000  # a flash: nothing in it stands alone
    stack[3, 10, 10] = 30_000
    layout = Layout.of(stack.shape)
    rule = HotRule.of(stack, layout)
    found = [int(find_bad(frame[None], rule)[1].sum()) for frame in stack]
    assert found == [int(i == 3) for i in range(20)]


def test_the_rule_is_made_from_few_small_parts_of_all_of_a_large_stack():
    class Spy:
        shape, dtype = (1000, 2000, 3000), np.dtype(np.uint16)

        def __init__(self):
            self.read = []

        def __getitem__(self, index):
            part = np.random.default_rng(index[0]).poisson(
                50, [i.stop - i.start for i in index[1:]]
            )
            self.read.append((index[0], part.size))
            return part

    image = Spy()
    layout = Layout.of(image.shape)
    rule = HotRule.of(image, layout)
    assert rule == HotRule.of(image, layout)
    assert rule.middle == (50,)
    assert 60 < rule.threshold[0] < 300
    frames, sizes = zip(*image.read[: len(image.read) // 2], strict=True)
    assert sum(sizes) <= bad_pixels.HOT_PIXELS
    assert min(frames) < 20
    assert max(frames) > 980
    control = Control()
    control.stop()
    before = len(image.read)
    assert before > 10 * bad_pixels.READERS
    HotRule.of(image, layout, control)
    assert len(image.read) == before + bad_pixels.READERS


def test_an_empty_or_sparse_channel_has_no_hot_pixels():
    image = np.full((3, 32, 32), np.nan)
    image[1] = 0
    image[1, 4, 5] = 1
    image[2] = 7
    rule = HotRule.from_parts([image])
    assert rule.threshold == (math.inf,) * 3
    assert not find_bad(image, rule)[1].any()


def test_a_hole_is_filled_with_the_mean_of_what_is_good_around_it():
    image = np.arange(42.0).reshape(1, 6, 7)
    bad = np.zeros(image.shape, bool)
    bad[0, 2, 3] = bad[0, 2, 4] = bad[0, 0, 0] = True
    image[bad] = [np.nan, np.inf, 1e30]
    filled = fill_bad(image, bad)
    np.testing.assert_allclose(filled[0, 2, 3], np.mean([9, 10, 11, 16, 23, 24, 25]))
    np.testing.assert_allclose(filled[0, 0, 0], np.mean([1, 7, 8]))
    np.testing.assert_array_equal(filled[~bad], image[~bad])


def test_far_from_anything_good_the_mean_of_the_stack_is_put():
    image = np.full((1, 1, 20, 20), np.nan)
    image[..., :3] = 130
    frame = Frame.of(image[0], Layout.of((1, 20, 20)), Normalisation((100.0,), (10.0,)), 0)
    assert set(frame.values[0, 5].tolist()) == {3.0, 0.0}
    assert (frame.values[0, :, :4] == 3).all()
    assert (frame.values[0, :, 4:] == 0).all()


@st.composite
def cut_out(draw):
    shape = draw(st.tuples(st.integers(5, 40), st.integers(5, 40)))
    box = []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        box.append(slice(start, draw(st.integers(start + 1, n))))
    return shape, tuple(box), draw(st.integers(0, 2**16))


@given(cut_out())
@settings(deadline=None, max_examples=50)
def test_a_window_is_prepared_as_the_whole_frame_is(case):
    shape, box, seed = case
    image = with_defects(2, *shape, seed=seed)
    layout = Layout.of(image.shape, "CYX")
    rule, normalisation = HotRule.of(image, layout), Normalisation((90.0, 110.0), (9.0, 11.0))
    whole = Frame.of(image, layout, normalisation, 0, rule)
    place = Place.around(box, shape, Reach((BAD_REACH,) * 2, (1, 1)))
    part = Frame.of(image, layout, normalisation, 0, rule, place)
    inside, kept = (slice(None), *box), (slice(None), *place.keep)
    np.testing.assert_array_equal(part.values[kept], whole.values[inside])
    np.testing.assert_array_equal(part.valid[kept], whole.valid[inside])
    # In grey values again, with what was missing where it was.
    back = part.restore(part.values[kept])
    np.testing.assert_array_equal(back, whole.restore(whole.values)[inside])
    np.testing.assert_array_equal(np.isfinite(back), np.isfinite(image[inside]))


def test_training_learns_from_all_but_what_the_stack_shows_to_be_bad():
    stack = with_defects(4, 64, 64, one_of=2000)
    data = prepare([(stack, Layout.of(stack.shape))])
    assert data is not None
    rule = HotRule.of(stack, Layout.of(stack.shape))
    for block, frame in zip(data.blocks, stack, strict=True):
        missing, hot = find_bad(frame[None], rule)
        np.testing.assert_array_equal(block.valid, ~(missing | hot))
        assert np.isfinite(block.values).all()
        assert np.abs(block.values).max() < 10
    assert [notice[:9] for notice in data.notices] == ["8 pixels ", "8 hot pix"]
