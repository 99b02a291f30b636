"""How the channels of an image are shared out among networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_noise2self import Denoiser, Grid, Noise2SelfError, TrainingConfig
from napari_noise2self.engine import networks
from napari_noise2self.engine.networks_axes import independent
from tests.engine.conftest import scene

QUICK = {"epochs": 0.3, "channels": 4, "depth": 2, "crop_size": 32, "batch_size": 2}


def config(use, **more):
    return TrainingConfig(**{**QUICK, "device": "cpu", "channel_use": use, **more})


@pytest.fixture(scope="module")
def two():
    """Two channels of different scenes and grey values."""
    rng = np.random.default_rng(3)
    image = np.stack([scene((2, 48, 64), 1), 1000 + 9 * scene((2, 48, 64), 2)])
    return image + rng.normal(0, 1, image.shape) * np.array([20, 150])[:, None, None, None]


def trained_on(two, use):
    return Denoiser(config(use)).fit(two, "CTYX")


@pytest.mark.parametrize("use", ["shared", "apart"])
def test_channels_by_themselves_tell_nothing_of_each_other(two, use, tmp_path):
    denoiser = trained_on(two, use)
    other = two.copy()
    other[1] = other[1][:, ::-1] * 1.1
    assert float(denoiser.score(two, "CTYX")) > 0
    denoiser.save(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    for output in ("single-pass", "j-invariant"):
        result = denoiser.predict(two, "CTYX", output=output)
        assert np.isfinite(result).all()
        changed = denoiser.predict(other, "CTYX", output=output)
        np.testing.assert_array_equal(result[0], changed[0])
        assert not np.array_equal(result[1], changed[1])
        np.testing.assert_array_equal(loaded.predict(two, "CTYX", output=output), result)


def test_channels_together_do(two):
    denoiser = trained_on(two, "together")
    other = two.copy()
    other[1] = other[1][:, ::-1]
    first, changed = (denoiser.predict(image, "CTYX")[0] for image in (two, other))
    assert not np.array_equal(first, changed)


def test_channels_are_kept_apart_unless_it_is_said_otherwise(two):
    settings = TrainingConfig(**QUICK, device="cpu")
    denoiser = Denoiser(settings).fit(two, "CTYX")
    other = two.copy()
    other[1] = other[1][:, ::-1] * 1.1
    first, changed = (denoiser.predict(image, "CTYX")[0] for image in (two, other))
    np.testing.assert_array_equal(first, changed)
    assert denoiser.config.channel_use == "apart"


@pytest.mark.parametrize(
    ("axes", "shape", "use"),
    [
        ("YX", (64, 64), "together"),
        ("YXS", (64, 64, 3), "together"),
        ("CYX", (5, 64, 64), "apart"),
        # Each would take as long as one.
        ("CYX", (6, 64, 64), "together"),
    ],
)
def test_how_channels_are_seen_follows_from_what_they_are(axes, shape, use):
    settings = TrainingConfig()
    assert settings.channels_of(settings.layout(shape, axes)) == use
    asked = TrainingConfig(channel_use="shared")
    assert asked.channels_of(asked.layout(shape, axes)) == "shared"


def test_how_channels_are_seen_is_settled_for_each_image_anew(two):
    denoiser = Denoiser(TrainingConfig(**QUICK, device="cpu")).fit(two, "CTYX")
    colours = np.moveaxis(two[:, 0], 0, -1)[..., [0, 1, 1]]
    assert denoiser.fit(colours, "YXS").config.channel_use == "together"
    assert denoiser.fit(two, "CTYX").config.channel_use == "apart"


def test_a_shared_network_treats_channels_alike(two):
    denoiser = Denoiser(config("shared", averaging=False, output="single-pass")).fit(two, "CTYX")
    shift, scale = denoiser.trained.normalisation.offset, denoiser.trained.normalisation.scale
    exchanged = (two[::-1] - np.reshape(shift[::-1], (2, 1, 1, 1))) / np.reshape(
        scale[::-1], (2, 1, 1, 1)
    ) * np.reshape(scale, (2, 1, 1, 1)) + np.reshape(shift, (2, 1, 1, 1))
    one, other = (denoiser.predict(image, "CTYX") for image in (two, exchanged))
    np.testing.assert_allclose(
        (one[0] - shift[0]) / scale[0], (other[1] - shift[1]) / scale[1], atol=1e-3
    )


def test_each_channel_may_have_a_network():
    net = networks.build(config("apart"), 3, 2, 0)
    alone = networks.build(config("apart"), 1, 2, 0)
    assert len(independent(net)) == 3
    assert (net.halo, net.multiple) == (alone.halo, alone.multiple)
    image = torch.randn(2, 3, 24, 32)
    with torch.inference_mode():
        result = net.eval()(image)
        np.testing.assert_array_equal(result[:, 1:2], alone.eval()(image[:, 1:2]))
    # One channel needs none of this.
    assert independent(alone) == [alone]
    assert type(alone) is type(networks.build(config("together"), 1, 2, 0))


def test_volumes_colours_and_large_grids_go_with_it():
    image = np.random.default_rng(0).normal(50, 9, (4, 32, 32, 3))
    denoiser = Denoiser(config("apart", volume=True, partition=Grid(3))).fit(image, "ZYXS")
    assert denoiser.predict(image, "ZYXS").shape == image.shape


def test_a_network_of_ones_own_sees_all_channels():
    with pytest.raises(Noise2SelfError, match="leave channel_use and context out"):
        Denoiser(config("apart"), torch.nn.Conv2d(1, 1, 1))
