"""What the preview of a partition says: drawn, counted and checked on data."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_noise2self.engine import leakage
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.inspection import (
    donut,
    figures,
    grown,
    hidden_in,
    labels_in,
    within,
)
from napari_noise2self.engine.leakage import Block, surroundings
from napari_noise2self.engine.masking import dilate, masked_input
from napari_noise2self.engine.palette import VISION, distinct_colours, seen_as
from napari_noise2self.engine.partition import Checkerboard, Grid, Partition, RandomPartition

PARTITIONS = [
    Grid(2),
    Grid(3),
    Grid((4, 6), (1, 3)),
    Grid(9, 7),
    RandomPartition(7),
    RandomPartition(30, (3, 1)),
    Checkerboard(),
]
partitions = st.sampled_from(PARTITIONS)


def whole_hidden(partition: Partition, shape: tuple[int, ...], subset: int) -> np.ndarray:
    targets = torch.from_numpy(partition.labels(shape) == subset)[None, None]
    return dilate(targets, partition.extents(len(shape)))[0, 0].numpy()


@st.composite
def windows(draw):
    shape = tuple(draw(st.integers(12, 40)) for _ in range(2))
    window = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        window.append(slice(start, draw(st.integers(start + 1, size))))
    return shape, tuple(window)


@settings(deadline=None, max_examples=40)
@given(partitions, windows(), st.integers(0, 10**6))
def test_a_window_shows_what_the_whole_image_has_there(partition, place, number):
    shape, window = place
    subset = number % partition.subset_count(2)
    np.testing.assert_array_equal(labels_in(partition, window), partition.labels(shape)[window])
    np.testing.assert_array_equal(
        hidden_in(partition, shape, window, subset), whole_hidden(partition, shape, subset)[window]
    )


@settings(deadline=None, max_examples=40)
@given(partitions, windows(), st.integers(0, 10**6))
def test_the_masked_input_of_a_window_is_that_of_the_whole_image(partition, place, number):
    shape, window = place
    subset = number % partition.subset_count(2)
    image = np.random.default_rng(number).normal(100, 10, (2, *shape)).astype(np.float32)
    outer = surroundings(partition, window, shape)
    block = Block(image[(slice(None), *outer)], outer, window)
    targets = torch.from_numpy(partition.labels(shape) == subset)[None, None]
    whole = masked_input(torch.from_numpy(image)[:, None], targets.expand(2, 1, *shape), partition)
    masked = block.masked(partition, subset)
    expected = whole[:, 0].numpy()[(slice(None), *window)]
    if partition.crowded and partition.extent != 1:
        # Where nothing around is visible, it comes from further away than was read.
        assert np.isclose(masked, expected, rtol=1e-6).mean() > 0.5
        assert np.abs(masked - 100).max() < 60
    else:
        np.testing.assert_allclose(masked, expected, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(partitions, windows(), st.integers(0, 10**6))
def test_the_donut_is_what_a_target_is_replaced_with(partition, place, number):
    shape, window = place
    subset = number % partition.subset_count(2)
    found = donut(partition, shape, window, subset)
    if found is None:
        assert not (partition.labels(shape)[window] == subset).any()
        return
    assert partition.labels(shape)[found.target] == subset
    assert not found.weights[found.hidden].any()
    assert found.hidden[tuple(n // 2 for n in found.hidden.shape)]
    if not found.weights.any():
        return
    image = np.random.default_rng(number).normal(size=shape)
    targets = torch.from_numpy(partition.labels(shape) == subset)[None, None]
    masked = masked_input(torch.from_numpy(image)[None, None], targets, partition)[0, 0].numpy()
    reach = [n // 2 for n in found.weights.shape]
    box = tuple(slice(n, n + 2 * r + 1) for n, r in zip(found.target, reach, strict=True))
    around = np.pad(image, [(r, r) for r in reach])[box]
    assert (around * found.weights).sum() == pytest.approx(masked[found.target])


def test_the_donut_of_a_grid_and_of_a_checkerboard():
    shape, window = (30, 30), (slice(10, 20), slice(10, 20))
    ring = donut(Grid(4), shape, window, 5)
    np.testing.assert_allclose(ring.weights, np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]) / 8)
    cross = donut(Checkerboard(), shape, window, 1)
    np.testing.assert_allclose(cross.weights, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4)
    wide = donut(Grid((4, 6), (1, 3)), shape, window, 5)
    assert wide.weights.shape == (3, 5)
    assert wide.hidden.sum() == 3
    assert wide.weights.max() == pytest.approx(1 / 12)


@settings(deadline=None, max_examples=60)
@given(partitions, st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_figures_are_what_one_would_count(partition, shape):
    said = figures(partition, shape)
    counts = np.bincount(partition.labels(shape).ravel(), minlength=said.subsets)
    assert len(counts) == said.subsets
    if isinstance(partition, RandomPartition):
        assert not said.exact
        assert said.fewest == said.most == round(shape[0] * shape[1] / said.subsets)
        return
    assert said.exact
    assert said.empty == (counts == 0).sum()
    assert (said.fewest, said.most) == (counts[counts > 0].min(), counts.max())
    assert said.targets == 1 / said.subsets


@pytest.mark.parametrize("partition", PARTITIONS, ids=str)
def test_the_share_of_hidden_pixels(partition):
    shape = (360, 360)
    found = [
        whole_hidden(partition, shape, s).mean() for s in range(min(partition.subset_count(2), 9))
    ]
    assert figures(partition, shape).hidden == pytest.approx(np.mean(found), rel=0.03)


def read(image, partition, window):
    shape = image.shape[1:]
    outer = surroundings(partition, window, shape)
    return Block(image[(slice(None), *outer)], outer, window)


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "int32", "float32", "float64"])
@pytest.mark.parametrize("partition", PARTITIONS, ids=str)
def test_nothing_leaks(partition, dtype):
    image = np.random.default_rng(0).uniform(0, 200, (1, 40, 48)).astype(dtype)
    found = read(image, partition, (slice(8, 36), slice(0, 30))).check(partition)
    assert found.leaks == 0
    assert found.covered_once
    assert found.changed >= found.subsets * 40
    count = partition.subset_count(2)
    assert found.subsets == count if count <= leakage.MOST_CHECKED else 8 <= found.subsets <= 16


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_nothing_leaks_in_odd_images(value):
    image = np.full((1, 32, 32), value, np.float32)
    image[0, :4, :4] = 1.0
    block = read(image, Grid(3), (slice(0, 32), slice(0, 32)))
    assert block.check(Grid(3)).leaks == 0
    assert np.isfinite(block.masked(Grid(3), 4)).all()


def test_a_volume_is_checked_too():
    partition = Grid((2, 4, 4))
    image = np.random.default_rng(0).normal(size=(2, 7, 20, 20))
    found = read(image, partition, (slice(3, 4), slice(4, 16), slice(4, 16))).check(partition, 3)
    assert found.leaks == 0
    assert 8 <= found.subsets <= leakage.MOST_CHECKED


def test_a_check_that_is_stopped_says_how_far_it_came():
    image = np.random.default_rng(0).normal(size=(1, 20, 20))
    block = read(image, Grid(3), (slice(0, 20), slice(0, 20)))
    asked = iter([False, False, True])
    assert block.check(Grid(3), stopped=lambda: next(asked)).subsets == 2


@pytest.mark.parametrize(
    ("partition", "careless"),
    [
        # A 3×3 mean without its centre looks at other targets,
        (RandomPartition(5), Grid(3)),
        # as does one on a checkerboard,
        (Checkerboard(), Grid(3)),
        # and a hole of one pixel is too small for an extent of three.
        (Grid(6, 3), Grid(6)),
    ],
    ids=str,
)
def test_the_check_finds_a_leak(monkeypatch, partition, careless):
    def blurred(x, targets, *_, **__):
        kernel = torch.ones(1, 1, 3, 3, dtype=x.dtype) / 8
        kernel[..., 1, 1] = 0
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return torch.where(targets, torch.nn.functional.conv2d(padded, kernel), x)

    image = np.random.default_rng(0).normal(size=(1, 30, 30))
    block = read(image, partition, (slice(0, 30), slice(0, 30)))
    monkeypatch.setattr(leakage, "masked_input", blurred)
    assert block.check(partition).leaks > 100
    # For another partition the same replacement is right.
    assert read(image, careless, (slice(0, 30), slice(0, 30))).check(careless).leaks == 0


def test_what_is_no_grey_value_is_refused():
    window = (slice(0, 8), slice(0, 8))
    with pytest.raises(InputError, match="complex64"):
        Block(np.zeros((1, 8, 8), np.complex64), window, window).masked(Grid(3), 0)


def test_margins_end_with_the_image():
    window = (slice(2, 5), slice(7, 9))
    outer = grown(window, (3, 3), (20, 10))
    assert outer == (slice(0, 8), slice(4, 10))
    assert within(window, outer) == (slice(2, 5), slice(3, 5))


# -- colours ------------------------------------------------------------------------------


@pytest.mark.parametrize("eye", VISION)
def test_every_eye_tells_the_colours_of_sixteen_subsets_apart(eye):
    lab = seen_as(distinct_colours(16), VISION[eye])
    # About six times what is just seen side by side.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > 12


def test_colours_stand_out_from_any_grey():
    lab = seen_as(distinct_colours(64), VISION["all cones"])
    assert np.hypot(lab[:, 1], lab[:, 2]).min() > 15
    assert lab[:, 0].min() > 30
    assert len(np.unique(distinct_colours(64), axis=0)) == 64
    np.testing.assert_array_equal(distinct_colours(70)[64:], distinct_colours(6))
