from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_noise2self import Grid
from napari_noise2self.engine.masking import dilate, reflect_pad, replace_with_mean


@st.composite
def cases(draw):
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(4, 11)) for _ in range(ndim))
    extent = tuple(draw(st.sampled_from([1, 3])) for _ in range(ndim))
    width = tuple(draw(st.integers(e + 1, e + 3)) for e in extent)
    return Grid(width, extent), shape, draw(st.integers(1, 2)), draw(st.integers(0, 2**16))


@given(cases())
@settings(deadline=None, max_examples=60)
def test_the_replacement_is_blind_to_what_is_hidden(case):
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


def test_a_hidden_nan_does_not_reach_its_surroundings():
    x = torch.ones(1, 1, 8, 8)
    x[..., 3, 3] = torch.nan
    hidden = torch.isnan(x)
    assert torch.equal(replace_with_mean(x, hidden, (1, 1)), torch.ones(1, 1, 8, 8))


def test_a_constant_image_stays_constant_up_to_its_corners():
    x = torch.full((1, 2, 9, 7), 5.0)
    for mask in Grid(2).masks((9, 7)):
        replaced = replace_with_mean(x, torch.from_numpy(mask)[None, None], (1, 1))
        torch.testing.assert_close(replaced, x)


def test_the_replacement_is_the_mean_of_the_eight_neighbours_with_reflected_borders():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(12, 10)).astype(np.float32)
    mask = Grid(3).labels(image.shape) == 0
    replaced = replace_with_mean(
        torch.from_numpy(image)[None, None], torch.from_numpy(mask)[None, None], (1, 1)
    )[0, 0].numpy()
    padded = np.pad(image, 1, mode="reflect")
    for y, x in np.argwhere(mask):
        block = padded[y : y + 3, x : x + 3]
        expected = (block.sum() - block[1, 1]) / 8
        assert replaced[y, x] == pytest.approx(expected, abs=1e-5)


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
