from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_noise2self import Checkerboard, Grid, RandomPartition, TrainingConfig
from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.sampling import Sampler

CASES = [
    (Grid(5), (70, 66)),
    (Grid((4, 8), (1, 5)), (70, 66)),
    (RandomPartition(25, seed=3), (70, 66)),
    (RandomPartition(6), (40, 90)),
    (RandomPartition(20, (1, 5)), (70, 66)),
    (Checkerboard(), (70, 66)),
    (RandomPartition(12), (5, 40, 36)),
    (Checkerboard(), (5, 40, 36)),
]


def sampler_of(image, partition, **settings):
    layout = Layout.of(image.shape, None, image.ndim == 3)
    config = TrainingConfig(crop_size=64, **settings)
    return Sampler(prepare([(image, layout)]), partition, config, torch.device("cpu"))


def places_of(shape):
    """An image of grey values that tell where a pixel comes from, and how to read them."""
    order = np.random.default_rng(7).permutation(np.prod(shape))
    # Roots, because the mean of whole numbers is a whole number now and then.
    image = np.sqrt(order.reshape(shape))
    offset, scale = image.mean(), image.std()
    where = np.argsort(order)

    def places(values):
        return where[np.round((values.double().numpy() * scale + offset) ** 2).astype(int)]

    return image, places


@pytest.mark.parametrize(("partition", "shape"), CASES)
def test_a_crop_hides_one_subset_of_the_image_and_nothing_else(partition, shape):
    ndim = len(shape)
    image, places = places_of(shape)
    labels, held_out = partition.labels(shape), partition.held_out(shape).ravel()
    sampler = sampler_of(image, partition)
    block = np.ones(partition.extents(ndim), bool)
    rng = np.random.default_rng(0)
    drawn, count = set(), 0
    for _ in range(60):
        masked, clean, targets = sampler.batch(2, rng)
        for after, before, goal in zip(masked, clean, targets, strict=True):
            place = places(before[0])
            own = labels.ravel()[place]
            chosen = goal[0].numpy()
            if not chosen.any():
                continue
            (subset,) = set(own[chosen].tolist())
            drawn |= set(place[chosen].tolist())
            count += chosen.sum()
            # All of the subset but what is held out.
            np.testing.assert_array_equal(chosen, (own == subset) & ~held_out[place])
            turned = np.abs(np.diff(place)).min() != 1
            assert sampler.turn or not turned
            around = np.swapaxes(block, -1, -2) if turned else block
            hidden = ndimage.binary_dilation(own == subset, around)
            np.testing.assert_array_equal((after != before)[0].numpy(), hidden)
    assert not drawn & set(np.flatnonzero(held_out))
    assert count / 120 == pytest.approx(sampler.targets_per_crop, rel=0.15)


@pytest.mark.parametrize(
    ("partition", "turns"),
    [
        (Checkerboard(), True),
        (RandomPartition(), True),
        (RandomPartition(25, 3), True),
        (RandomPartition(25, (1, 3)), False),
        (Grid(6, (3, 1)), False),
    ],
)
def test_axes_of_different_extents_are_never_exchanged(partition, turns):
    image = np.random.default_rng(0).normal(size=(70, 70))
    assert sampler_of(image, partition).turn == turns


@pytest.mark.parametrize("replacement", get_args(Replacement))
@pytest.mark.parametrize("partition", [Grid(4), RandomPartition(), Checkerboard()])
def test_the_same_numbers_give_the_same_crops(partition, replacement):
    image = np.random.default_rng(0).normal(size=(64, 64))
    sampler = sampler_of(image, partition, replacement=replacement)
    again = sampler_of(image, partition, replacement=replacement)
    first = sampler.batch(3, np.random.default_rng(1))
    sampler.batch(3, np.random.default_rng(2))
    for one, other in zip(first, again.batch(3, np.random.default_rng(1)), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(sampler.scoring_batches(), again.scoring_batches(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("partition", [Grid(4), RandomPartition(), Checkerboard()])
def test_every_replacement_puts_something_else_into_crops_and_scores(partition):
    image = np.random.default_rng(0).normal(size=(64, 64))
    batches = []
    for replacement in get_args(Replacement):
        sampler = sampler_of(image, partition, replacement=replacement)
        batches.append((sampler.batch(2, np.random.default_rng(1))[0], sampler.scoring_batches()))
    for i, (crops, scored) in enumerate(batches):
        for others, other_scored in batches[:i]:
            assert not torch.equal(crops, others)
            assert not torch.equal(scored[0][0], other_scored[0][0])


@pytest.mark.parametrize("partition", [Grid(4), RandomPartition(8), Checkerboard()])
def test_the_score_is_taken_on_the_held_out_positions(partition):
    image, places = places_of((70, 66))
    held_out = partition.held_out(image.shape).ravel()
    for masked, clean, targets in sampler_of(image, partition).scoring_batches():
        place = places(clean[0, 0])
        np.testing.assert_array_equal(targets[0, 0].numpy(), held_out[place])
        assert (masked != clean)[targets].all()
