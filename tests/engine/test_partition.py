from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_noise2self as n2s
from napari_noise2self import (
    Checkerboard,
    Denoiser,
    Grid,
    Noise2SelfError,
    RandomPartition,
    TrainingConfig,
)

shapes = st.lists(st.integers(1, 17), min_size=2, max_size=3).map(tuple)
KINDS = [Grid((4, 6), (1, 3)), RandomPartition(30, (1, 3), seed=5), Checkerboard()]


@st.composite
def partitions_and_shapes(draw):
    shape = draw(shapes)
    width = draw(st.one_of(st.integers(2, 6), st.tuples(*[st.integers(2, 6)] * len(shape))))
    random = RandomPartition(draw(st.integers(2, 40)), seed=draw(st.integers(0, 2**63 - 1)))
    return draw(st.sampled_from([Grid(width), random, Checkerboard()])), shape


@given(partitions_and_shapes())
def test_the_subsets_cover_every_pixel_exactly_once(case):
    partition, shape = case
    masks = list(partition.masks(shape))
    assert len(masks) == partition.subset_count(len(shape))
    covered = sum(mask.astype(int) for mask in masks)
    assert covered.shape == shape
    assert (covered == 1).all()
    labels = partition.labels(shape)
    assert labels.dtype == np.int32
    for subset, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, labels == subset)


@given(partitions_and_shapes(), st.data())
def test_a_tile_has_the_labels_of_its_place_in_the_image(case, data):
    partition, shape = case
    origin = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    window = tuple(slice(o, n) for o, n in zip(origin, shape, strict=True))
    tile = tuple(n - o for o, n in zip(origin, shape, strict=True))
    np.testing.assert_array_equal(partition.labels(tile, origin), partition.labels(shape)[window])
    held_out = partition.held_out(shape)
    np.testing.assert_array_equal(partition.held_out(tile, origin), held_out[window])


def few_and_of_one_subset(partition, ndim):
    shape = (180,) * 2 if ndim == 2 else (36,) * 3
    held_out = partition.held_out(shape)
    assert 0 < held_out.mean() <= 1 / 16
    assert set(partition.labels(shape)[held_out]) == {partition.held_out_subset(ndim)}
    return held_out


@given(st.integers(2, 9), st.sampled_from([2, 3]))
def test_held_out_positions_of_a_grid_are_few_and_belong_to_one_subset(width, ndim):
    few_and_of_one_subset(Grid(width), ndim)


@given(st.integers(2, 60), st.sampled_from([2, 3]), st.integers(0, 2**40))
@settings(max_examples=40)
def test_held_out_positions_of_a_random_partition_are_few_and_belong_to_one_subset(
    subsets, ndim, seed
):
    few_and_of_one_subset(RandomPartition(subsets, seed=seed), ndim)


@pytest.mark.parametrize("ndim", [2, 3])
def test_held_out_positions_of_a_checkerboard_are_few_and_of_one_colour(ndim):
    held_out = few_and_of_one_subset(Checkerboard(), ndim)
    assert held_out.mean() > 1 / 20


def test_a_checkerboard_alternates_along_every_axis():
    for shape in ((6, 7), (4, 5, 6)):
        labels = Checkerboard().labels(shape)
        for axis in range(len(shape)):
            assert (np.diff(labels, axis=axis) != 0).all()


def test_a_random_partition_is_one_by_chance():
    partition = RandomPartition(25)
    labels = partition.labels((500, 500))
    counts = np.bincount(labels.ravel(), minlength=25)
    # Chi-squared with 24 degrees of freedom: 60 is passed once in 10 000 seeds.
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 60
    for axis in (0, 1):
        for lag in (1, 2, 4, 25):
            same = np.roll(labels, lag, axis) == labels
            assert same.mean() == pytest.approx(1 / 25, abs=0.002)
    assert (labels == RandomPartition(25, seed=1).labels((500, 500))).mean() < 0.05
    assert (labels == partition.labels((500, 500), (500, 0))).mean() < 0.05


def test_a_random_partition_stays_the_same_for_ever():
    """Models that were saved know their held-out positions by the seed alone."""
    partition = RandomPartition(9, seed=3)
    assert RandomPartition(9).labels((2, 4)).tolist() == [[0, 1, 4, 5], [8, 3, 2, 2]]
    assert partition.labels((1, 8), (7, 1000)).tolist() == [[4, 0, 5, 0, 4, 3, 7, 2]]
    assert partition.labels((1, 1, 8), (5, 7, 1000)).tolist() == [[[8, 2, 0, 5, 8, 2, 2, 5]]]
    assert np.flatnonzero(partition.held_out((1, 100), (7, 1000))).tolist() == [
        4,
        9,
        33,
        43,
        49,
        58,
        69,
        78,
        92,
        95,
    ]


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


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"subsets": 1}, "number of subsets was 1: give one whole number from 2"),
        ({"subsets": (4, 4)}, "number of subsets was"),
        ({"subsets": 2.0}, "number of subsets was 2.0"),
        ({"seed": -1}, "seed of the partition was -1"),
        ({"seed": True}, "seed of the partition was True"),
        ({"extent": 4}, "odd"),
        ({"extent": 9}, "hides 96.3% .* use at least 36 subsets"),
        ({"extent": (3, 3, 9)}, "hides 96.3% .* 3 spatial axes"),
    ],
)
def test_an_impossible_random_partition_is_refused_with_what_to_do(settings, words):
    with pytest.raises(ValueError, match=words) as caught:
        RandomPartition(**settings)
    assert isinstance(caught.value, Noise2SelfError)


def test_the_number_of_subsets_that_is_advised_is_enough_and_no_more_than_that():
    assert RandomPartition(36, 9).extents(2) == (9, 9)
    with pytest.raises(ValueError, match="36 subsets"):
        RandomPartition(35, 9)
    # A volume hides more around a target than an image.
    with pytest.raises(ValueError, match="3 spatial axes"):
        RandomPartition(36, 9).labels((8, 8, 8))


def test_a_partition_of_two_axes_does_not_fit_a_volume():
    for partition in (Grid((4, 4)), RandomPartition(extent=(1, 3))):
        with pytest.raises(ValueError, match="3 spatial axes"):
            partition.labels((8, 8, 8))


@pytest.mark.parametrize(
    ("extent", "grid"),
    [(1, Grid(4)), (7, Grid(10, 7)), ((1, 5), Grid((4, 8), (1, 5)))],
)
def test_the_grid_for_an_extent_leaves_three_rows_visible(extent, grid):
    assert Grid.for_extent(extent) == grid
    assert Grid.for_extent((1, 3, 3)) == Grid((2, 6, 6), (1, 3, 3))


@pytest.mark.parametrize(
    "partition", [None, Grid(5), Grid((2, 8, 8), (1, 3, 5)), RandomPartition(30, seed=2), *KINDS]
)
def test_settings_survive_json(partition):
    config = TrainingConfig(partition=partition, epochs=2.5, seed=7, replacement="median")
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
        ({"replacement": "blur"}, "'replacement' was 'blur'"),
        ({"partition": "grid"}, "'partition' was 'grid'"),
        ({"partition": Grid}, "'partition' was"),
        ({"partition": {"kind": "stripes"}}, "use one of grid, random, checkerboard"),
        ({"partition": {"width": 4}}, "kind of partition was None"),
        ({"partition": {"kind": "grid", "wdith": 4}}, "no setting 'wdith': use width, extent"),
        ({"partition": {"kind": "checkerboard", "extent": 3}}, "no setting 'extent'"),
        ({"partition": {"kind": "random", "subsets": 0}}, "number of subsets was 0"),
    ],
)
def test_a_wrong_setting_is_named(settings, words):
    with pytest.raises(ValueError, match=words) as caught:
        TrainingConfig(**settings)
    assert isinstance(caught.value, Noise2SelfError)
    assert "\n" not in str(caught.value)


def test_a_description_spells_out_every_axis_on_request():
    described = Grid((4, 6), (1, 3)).description(2)
    assert described == {"kind": "grid", "width": [4, 6], "extent": [1, 3]}
    described = RandomPartition(30, 3).description(2)
    assert described == {"kind": "random", "subsets": 30, "extent": [3, 3], "seed": 0}
    assert Checkerboard().description(3) == {"kind": "checkerboard"}


@pytest.fixture
def quick():
    return TrainingConfig(channels=4, depth=1, crop_size=32, epochs=0.2, device="cpu")


@pytest.mark.parametrize("partition", KINDS)
def test_a_model_file_keeps_its_partition_and_replacement(noisy, quick, tmp_path, partition):
    config = quick.model_copy(update={"partition": partition, "replacement": "neighbor"})
    denoiser = Denoiser(config).fit(noisy)
    assert denoiser.summary["partition"] == partition.description(2)
    denoiser.save(tmp_path / "model.safetensors")
    loaded = Denoiser.load(tmp_path / "model.safetensors", device="cpu")
    assert (loaded.config.partition, loaded.config.replacement) == (partition, "neighbor")
    np.testing.assert_array_equal(
        loaded.predict(noisy, output="j-invariant"), denoiser.predict(noisy, output="j-invariant")
    )
    assert loaded.score(noisy) == denoiser.score(noisy)


@pytest.mark.parametrize("partition", KINDS)
def test_every_kind_of_partition_denoises(noisy, truth, partition):
    config = TrainingConfig(partition=partition, channels=8, depth=2, crop_size=64, epochs=20)
    denoised = Denoiser(config).fit(noisy).predict(noisy, output="j-invariant")
    before = n2s.psnr(truth, noisy, data_range=255)
    assert n2s.psnr(truth, denoised, data_range=255) > before + 5


def test_denoise_takes_every_kind_of_partition(noisy):
    outputs = [
        n2s.denoise(noisy, partition=partition, epochs=0.05, device="cpu") for partition in KINDS
    ]
    assert all(np.isfinite(output).all() for output in outputs)
    assert not np.array_equal(outputs[0], outputs[1])


def test_more_subsets_than_an_image_has_room_for_are_refused(noisy):
    with pytest.raises(ValueError, match="use at most 672 subsets"):
        n2s.denoise(noisy, partition=RandomPartition(5000), device="cpu")
