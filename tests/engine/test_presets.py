from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_noise2self import Denoiser, RandomPartition, TrainingConfig
from napari_noise2self.engine import schedule, training
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Control
from napari_noise2self.engine.grey_range import mapped_by_range
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.presets import PRESETS
from napari_noise2self.engine.sampling import Sampler


def images(count, side=64, seed=0):
    """Images of noise in [0, 1]."""
    return np.random.default_rng(seed).uniform(0, 1, (count, side, side))


def sampler_of(stack, config):
    data = mapped_by_range(prepare([(stack, Layout.of(stack.shape))]), config.grey_range)
    return Sampler(data, config.partition, config, torch.device("cpu")), data


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_settings_of_the_paper(name):
    batch, passes, side = {
        "paper-hanzi": (64, 30, 64),
        "paper-imagenet": (32, 1, 128),
        "paper-cellnet": (64, 50, 128),
    }[name]
    config = TrainingConfig.preset(name)
    assert config.network == "unet-paper"
    assert config.partition == RandomPartition(25)
    assert config.replacement == "uniform"
    assert (config.batch_size, config.crop_size) == (batch, side)
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config
    stack = images(8, side)
    sampler, data = sampler_of(stack, config.model_copy(update={"grey_range": (0, 1)}))
    steps = schedule.plan(config, data.pixels, sampler, torch.device("cpu")).steps
    # As often as there are passes, each image is met with one subset.
    assert steps == max(round(passes * 8 / batch), 1)
    assert sampler.crop == [side, side]


def test_every_value_says_where_it_comes_from():
    for preset in PRESETS.values():
        rows = preset.to_json()
        assert {row["source"] for row in rows} == {"published", "chosen"}
        source = {row["name"]: row["source"] for row in rows}
        assert source["batch"] == source["replacement s(x)"] == "published"
        assert source["optimiser"] == source["learning rate"] == "chosen"


def test_settings_of_a_preset_can_be_changed():
    config = TrainingConfig.preset("paper-hanzi", network="dncnn", seed=3)
    assert (config.network, config.seed, config.batch_size) == ("dncnn", 3, 64)
    with pytest.raises(InputError, match=r"no preset 'paper'.*paper-hanzi, paper-imagenet"):
        TrainingConfig.preset("paper")
    with pytest.raises(InputError, match="no setting named 'colour'"):
        TrainingConfig.preset("paper-hanzi", colour=1)


def test_hidden_pixels_are_uniform_in_the_range_of_the_paper():
    # Dark images: their own range would be another one.
    stack = images(4) ** 8
    config = TrainingConfig.preset("paper-hanzi")
    sampler, data = sampler_of(stack, config)
    assert data.notices == []
    masked, clean, targets = sampler.batch(64, np.random.default_rng(0))
    offset, scale = data.normalisation.offset[0], data.normalisation.scale[0]
    hidden = masked != clean
    drawn = masked[hidden].numpy() * scale + offset
    assert -1e-5 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() <= 1 + 1e-5
    np.testing.assert_allclose(np.histogram(drawn, 4, (0, 1))[0] / drawn.size, 0.25, atol=0.02)
    assert targets[~hidden].sum() == 0
    assert hidden.float().mean() == pytest.approx(1 / 25, rel=0.1)
    grey = clean.numpy() * scale + offset
    assert grey.min() == pytest.approx(stack.min(), abs=1e-4)


@pytest.mark.parametrize("grey", [lambda x: 100 + 4000 * x, lambda x: x / 1000])
def test_images_that_do_not_fit_a_range_get_their_own(grey):
    stack = grey(images(2))
    data = prepare([(stack, Layout.of(stack.shape))])
    mapped = mapped_by_range(data, (0.0, 1.0))
    (notice,) = mapped.notices
    assert "their own range is taken" in notice
    for values, block in zip(stack, mapped.blocks, strict=True):
        np.testing.assert_allclose(
            mapped.normalisation.invert(block.values)[0], values, rtol=1e-4, atol=1e-6
        )
        assert np.abs(block.values).max() == pytest.approx(3**0.5, rel=0.02)
    assert mapped_by_range(data, (stack.min(), stack.max())).notices == []


@pytest.mark.parametrize("grey_range", [(1.0, 0.0), (2, 2), (0, float("inf")), (0, 1, 2)])
def test_a_range_goes_up(grey_range):
    with pytest.raises(InputError, match="grey_range"):
        TrainingConfig(grey_range=grey_range)


def test_the_plain_recipe_is_adam_and_nothing_else():
    stack = images(3)
    config = TrainingConfig.preset("paper-hanzi", batch_size=2, learning_rate=0.01)
    sampler, data = sampler_of(stack, config)
    nets = [nn.Conv2d(1, 1, 3, padding=1) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    plan = schedule.Plan((5,), 1.0, data.pixels)
    for _ in training.train(nets[0], sampler, plan, config, [1.0], Control()):
        pass
    optimizer = torch.optim.Adam(nets[1].parameters(), lr=0.01)
    rng = np.random.default_rng(config.seed)
    dtype = training.fast_dtype(torch.device("cpu"))
    for _ in range(5):
        masked, clean, targets = sampler.batch(2, rng)
        # Never flipped: a crop is an image.
        for crop in clean:
            assert any(np.array_equal(crop.numpy(), block.values) for block in data.blocks)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            out = nets[1](masked)
        (out.float() - clean)[targets].square().mean().backward()
        optimizer.step()
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_preset_trains_applies_and_is_saved(tmp_path):
    image = images(1)[0]
    config = TrainingConfig.preset("paper-hanzi", device="cpu", batch_size=2, epochs=0.08)
    denoiser = Denoiser(config).fit(image)
    denoised = denoiser.predict(image)
    assert denoised.shape == image.shape
    assert np.isfinite(denoised).all()
    assert not denoiser.trained.turn
    denoiser.save(tmp_path / "paper.safetensors")
    loaded = Denoiser.load(tmp_path / "paper.safetensors", device="cpu")
    assert loaded.config == denoiser.config
    np.testing.assert_array_equal(loaded.predict(image), denoised)
    np.testing.assert_array_equal(
        loaded.predict(image, output="j-invariant"),
        denoiser.predict(image, output="j-invariant"),
    )
