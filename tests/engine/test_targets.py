from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_noise2self import Grid, TrainingConfig
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.targets import prepare_targets

from .conftest import SIGMA

SHORT = {"channels": 8, "depth": 2, "crop_size": 64, "epochs": 1.0, "device": "cpu"}


@pytest.fixture(scope="module")
def other(truth):
    """A second noisy image of the scene."""
    return truth + np.random.default_rng(2).normal(0, SIGMA, truth.shape)


def taught_sampler(image, target, partition=None):
    layout = Layout.of(image.shape)
    data = prepare([(image, layout)])
    taught = prepare_targets([(target, layout)], data)
    config = TrainingConfig(crop_size=32)
    device = torch.device("cpu")
    return Sampler(data, partition or Grid(4), config, device, goals=taught.blocks), taught


def places_of(shape):
    """Two images of grey values that tell where a pixel comes from, and how to read them."""
    image = np.arange(np.prod(shape), dtype=float).reshape(shape)
    return image, image + 0.25, image.mean(), image.std()


def test_a_step_sees_the_image_unmasked_and_the_target_beside_it():
    image, target, offset, scale = places_of((48, 40))
    held_out = Grid(4).held_out(image.shape)
    sampler, _ = taught_sampler(image, target)
    rng = np.random.default_rng(0)
    drawn = np.zeros(image.size, bool)
    for _ in range(60):
        inputs, goals, targets = sampler.batch(3, rng)
        # The same pixels, flipped alike, each with its own value.
        np.testing.assert_allclose((goals - inputs).numpy() * scale, 0.25, atol=1e-2)
        places = np.round(inputs.numpy() * scale + offset).astype(int)
        # All but what is held out.
        np.testing.assert_array_equal(targets.numpy(), ~held_out.ravel()[places])
        drawn[places[targets.numpy()]] = True
    assert drawn.sum() > 0.9 * (~held_out).sum()
    for inputs, goals, targets in sampler.scoring_batches():
        places = np.round(inputs.numpy() * scale + offset).astype(int)
        np.testing.assert_array_equal(targets.numpy(), held_out.ravel()[places])
        np.testing.assert_allclose((goals - inputs).numpy() * scale, 0.25, atol=1e-2)
