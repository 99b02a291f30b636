from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_noise2self import Grid
from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.masking import (
    NORMALISED_SPAN,
    dilate,
    masked_input,
    reflect_pad,
    replace,
    replace_with_mean,
)

REPLACEMENTS = get_args(Replacement)
AROUND = ("mean", "median", "neighbor")


@st.composite
def cases(draw):
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(4, 11)) for _ in range(ndim))
    extent = tuple(draw(st.sampled_from([1, 3])) for _ in range(ndim))
    width = tuple(draw(st.integers(e + 1, e + 3)) for e in extent)
    return Grid(width, extent), shape, draw(st.integers(1, 2)), draw(st.integers(0, 2**16))


@given(cases())
@settings(deadline=None, max_examples=60)
def test_the_mean_is_blind_to_what_a_grid_hides(case):
    grid, shape, channels, seed = case
    extents = grid.extents(len(shape))
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(1, channels, *shape)).astype(np.float32))
    for mask in grid.masks(shape):
        hidden = dilate(torch.from_numpy(mask)[None, None], extents)
        if hidden.all():
            continue
        other = torch.where(hidden, torch.from_numpy(rng.normal(size=x.shape) * 1e6).float(), x)
        first = replace_with_mean(x, hidden, extents)
        assert torch.equal(first, replace_with_mean(other, hidden, extents))
        visible = ~hidden.expand_as(x)
        assert torch.equal(first[visible], x[visible])


@pytest.mark.parametrize("replacement", REPLACEMENTS)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.sampled_from([0.05, 0.5, 0.95, 1.0]),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=30)
def test_a_replacement_is_blind_to_any_pattern_of_hidden_pixels(
    replacement, shape, share, dtype, per_channel, seed
):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(2, 2, *shape)).astype(dtype))
    hidden = torch.from_numpy(rng.random((2, 1 + per_channel, *shape)) < share)
    wild = torch.from_numpy(rng.choice([np.nan, np.inf, -1e30, 1e3], x.shape).astype(dtype))
    extents = [1] * len(shape)
    first = replace(x, hidden, extents, replacement)
    second = replace(torch.where(hidden, wild, x), hidden, extents, replacement)
    assert first.dtype == x.dtype
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)
    visible = ~hidden.expand_as(x)
    assert torch.equal(first[visible], x[visible])


def test_a_hidden_nan_does_not_reach_its_surroundings():
    x = torch.ones(1, 1, 8, 8)
    x[..., 3, 3] = torch.nan
    hidden = torch.isnan(x)
    assert torch.equal(replace_with_mean(x, hidden, (1, 1)), torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize("replacement", AROUND)
def test_a_constant_image_stays_constant_up_to_its_corners(replacement):
    x = torch.full((1, 2, 9, 7), 5.0)
    for mask in Grid(2).masks((9, 7)):
        replaced = replace(x, torch.from_numpy(mask)[None, None], (1, 1), replacement)
        torch.testing.assert_close(replaced, x)


def around(image, y, x, hidden, reach=1):
    """The visible pixels in the box around one, borders reflected."""
    reflected = [np.pad(a, reach, mode="reflect") for a in (image, hidden)]
    box, cover = (a[y : y + 2 * reach + 1, x : x + 2 * reach + 1] for a in reflected)
    return box[~cover]


@pytest.mark.parametrize("extent", [1, 3])
@pytest.mark.parametrize(("replacement", "expected"), [("mean", np.mean), ("median", np.median)])
def test_the_mean_and_the_median_are_those_of_the_visible_pixels_around(
    replacement, expected, extent
):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(12, 10)).astype(np.float32)
    grid = Grid(extent + 2, extent)
    targets = torch.from_numpy(grid.labels(image.shape) == 0)[None, None]
    hidden = dilate(targets, (extent, extent))
    replaced = replace(torch.from_numpy(image)[None, None], hidden, (extent,) * 2, replacement)
    cover = hidden[0, 0].numpy()
    for y, x in np.argwhere(cover):
        values = around(image, y, x, cover, extent // 2 + 1)
        assert replaced[0, 0, y, x].item() == pytest.approx(expected(values), abs=1e-5)


@pytest.mark.parametrize("replacement", ["mean", "median", "neighbor"])
def test_hidden_pixels_of_a_volume_are_replaced_from_their_own_slice(replacement):
    # Of slices far apart, those beside a pixel say nothing of it.
    levels = torch.tensor([0.0, 1000.0, -50.0, 7.0])
    x = levels[None, None, :, None, None].expand(1, 1, 4, 8, 8).contiguous()
    targets = torch.zeros(1, 1, 4, 8, 8, dtype=torch.bool)
    targets[..., ::2, ::2, ::2] = True
    assert torch.equal(masked_input(x, targets, Grid(2), replacement), x)


def test_a_neighbor_is_one_of_the_visible_pixels_around_by_chance():
    image = np.arange(400, dtype=np.float32).reshape(20, 20)
    cover = Grid(2).labels(image.shape) == 3
    x, hidden = (torch.from_numpy(a)[None, None] for a in (image, cover))
    steps = set()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        replaced = replace(x, hidden, (1, 1), "neighbor", generator=generator)[0, 0].numpy()
        for row, column in np.argwhere(cover):
            assert replaced[row, column] in around(image, row, column, cover)
        steps |= set((replaced - image)[1:-1, 1:-1][cover[1:-1, 1:-1]])
    assert steps == {-21, -20, -19, -1, 1, 19, 20, 21}


def test_which_neighbor_it_is_does_not_depend_on_any_value():
    rng = np.random.default_rng(0)
    hidden = torch.from_numpy(rng.random((1, 1, 24, 24)) < 0.2)
    order = torch.arange(24.0 * 24).reshape(1, 1, 24, 24)
    x = torch.from_numpy(rng.normal(size=order.shape)).float()
    chosen = replace(order, hidden, (1, 1), "neighbor", crowded=False).long()
    replaced = replace(x, hidden, (1, 1), "neighbor", crowded=False)
    assert torch.equal(replaced, x.flatten()[chosen.flatten()].reshape(x.shape))


@pytest.mark.parametrize("replacement", ["neighbor", "uniform"])
def test_chance_follows_its_generator(replacement):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 16, 16))).float()
    hidden = torch.from_numpy(Grid(2).labels((16, 16)) == 0)[None, None]

    def replaced(seed):
        generator = torch.Generator().manual_seed(seed)
        return replace(x, hidden, (1, 1), replacement, generator=generator)

    state = torch.get_rng_state()
    assert torch.equal(replaced(1), replaced(1))
    assert not torch.equal(replaced(1), replaced(2))
    assert torch.equal(replace(x, hidden, (1, 1), replacement), replaced(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_uniform_numbers_fill_their_span():
    x = torch.full((1, 2, 64, 64), 3.0)
    x[:, 0, 1::2] = -1.0
    x[:, 1, 1::2] = 7.0
    hidden = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    hidden[..., ::2] = True
    own = replace(x, hidden, (1, 1), "uniform")
    for channel, (low, high) in enumerate([(-1, 3), (3, 7)]):
        values = own[0, channel][hidden[0, 0]]
        assert low <= values.min() < low + 0.1
        assert high - 0.1 < values.max() <= high
    given_span = replace(x, hidden, (1, 1), "uniform", span=NORMALISED_SPAN)
    values = given_span[hidden.expand_as(x)]
    assert values.mean().item() == pytest.approx(0, abs=0.05)
    assert values.var().item() == pytest.approx(1, abs=0.05)


def test_zero_is_zero():
    x = torch.full((1, 1, 8, 8), 3.0)
    hidden = torch.from_numpy(Grid(2).labels((8, 8)) == 0)[None, None]
    assert set(replace(x, hidden, (1, 1), "zero")[hidden].tolist()) == {0.0}


@pytest.mark.parametrize("replacement", AROUND)
def test_where_nothing_around_is_visible_it_comes_from_further_away(replacement):
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    hidden = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    hidden[..., 0, 0] = hidden[..., 6, 5] = False
    replaced = replace(image, hidden, (1, 1), replacement)[0, 0]
    visible = image[0, 0, 6, 5].item()
    assert (replaced[5:, 4:7] == visible).all()
    # Two pixels away, in the same block of 2x2 and of 4x4.
    assert replaced[4, 4] == visible
    assert replaced[7, 7] == visible
    # Three quarters away from the first, where the smallest block has both.
    assert replaced[7, 0] == visible / 2
    assert replaced[3, 3] == 0
    assert replace(image, torch.ones_like(hidden), (1, 1), replacement).abs().max() == 0


def test_an_extent_hides_the_block_around_each_target():
    targets = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    targets[..., 4, 4] = True
    hidden = dilate(targets, (3, 5))[0, 0]
    rows, columns = torch.nonzero(hidden, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 2, 6)
    assert hidden.sum() == 15


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 9))
def test_reflection_works_on_images_narrower_than_the_reach(height, width, reach):
    x = np.arange(height * width, dtype=np.float32).reshape(1, 1, height, width)
    padded = reflect_pad(torch.from_numpy(x), (reach, reach)).numpy()
    np.testing.assert_array_equal(padded[0, 0], np.pad(x[0, 0], reach, mode="reflect"))
