from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_noise2self import Grid, Noise2SelfError, TrainingConfig

shapes = st.lists(st.integers(1, 17), min_size=2, max_size=3).map(tuple)


@st.composite
def grids_and_shapes(draw):
    shape = draw(shapes)
    width = draw(st.one_of(st.integers(2, 6), st.tuples(*[st.integers(2, 6)] * len(shape))))
    return Grid(width), shape


@given(grids_and_shapes())
def test_the_subsets_cover_every_pixel_exactly_once(case):
    grid, shape = case
    covered = sum(mask.astype(int) for mask in grid.masks(shape))
    assert covered.shape == shape
    assert (covered == 1).all()


@given(grids_and_shapes(), st.data())
def test_a_tile_has_the_labels_of_its_place_in_the_image(case, data):
    grid, shape = case
    origin = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    window = tuple(slice(o, n) for o, n in zip(origin, shape, strict=True))
    tile = tuple(n - o for o, n in zip(origin, shape, strict=True))
    np.testing.assert_array_equal(grid.labels(tile, origin), grid.labels(shape)[window])
    np.testing.assert_array_equal(grid.held_out(tile, origin), grid.held_out(shape)[window])


@given(st.integers(2, 9), st.sampled_from([2, 3]))
def test_held_out_positions_are_few_and_belong_to_one_subset(width, ndim):
    grid, shape = Grid(width), (180,) * 2 if ndim == 2 else (36,) * 3
    held_out = grid.held_out(shape)
    assert 0 < held_out.mean() <= 1 / 16 + 0.01
    assert set(grid.labels(shape)[held_out]) == {grid.held_out_subset(ndim)}


def test_targets_of_one_subset_are_a_grid_width_apart():
    rows, columns = np.nonzero(Grid((3, 5)).labels((30, 30)) == 7)
    assert set(np.diff(np.unique(rows))) == {3}
    assert set(np.diff(np.unique(columns))) == {5}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 1}, "at least 2"),
        ({"width": 2.5}, "whole numbers"),
        ({"width": True}, "whole numbers"),
        ({"width": ()}, "whole numbers"),
        ({"width": 4, "extent": 2}, "odd"),
        ({"width": 7, "extent": 7}, "at least 8"),
        ({"width": (8, 4), "extent": (1, 5)}, "at least 6"),
        ({"width": (4, 4), "extent": (1, 1, 1)}, "different numbers of axes"),
    ],
)
def test_an_impossible_grid_is_refused_with_what_to_do(settings, words):
    with pytest.raises(ValueError, match=words) as caught:
        Grid(**settings)
    assert isinstance(caught.value, Noise2SelfError)


def test_a_grid_of_two_axes_does_not_fit_a_volume():
    with pytest.raises(ValueError, match="3 spatial axes"):
        Grid((4, 4)).labels((8, 8, 8))


@pytest.mark.parametrize("grid", [None, Grid(5), Grid((2, 8, 8), (1, 3, 5))])
def test_settings_survive_json(grid):
    config = TrainingConfig(partition=grid, epochs=2.5, seed=7)
    text = config.model_dump_json()
    assert json.loads(text)["epochs"] == 2.5
    assert TrainingConfig.model_validate_json(text) == config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "'epochs' was 0"),
        ({"epochs": float("inf")}, "'epochs' was inf"),
        ({"network": "resnet"}, "'network' was 'resnet'"),
        ({"wdith": 3}, "no setting named 'wdith'"),
        ({"partition": "grid"}, "'partition' was 'grid'"),
    ],
)
def test_a_wrong_setting_is_named(settings, words):
    with pytest.raises(ValueError, match=words) as caught:
        TrainingConfig(**settings)
    assert isinstance(caught.value, Noise2SelfError)
    assert "\n" not in str(caught.value)
