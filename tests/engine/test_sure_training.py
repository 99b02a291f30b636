from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from napari_noise2self import Denoiser, Grid, TrainingConfig, estimate_noise, psnr
from napari_noise2self.engine import training
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.optimizer import AdamW
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.sure_training import check_noise

from .conftest import SIGMA


def sampler_of(image, axes=None, **settings):
    layout = Layout.of(image.shape, axes)
    data = prepare([(image, layout)])
    config = TrainingConfig(crop_size=64, objective="sure", **settings)
    noise = estimate_noise(image, axes)
    sampler = Sampler(data, Grid(4), config, torch.device("cpu"), noise)
    return sampler, data.normalisation


def test_the_loss_of_a_linear_network_is_steins_risk_by_hand(noisy):
    sampler, normalisation = sampler_of(noisy, noise_sd=SIGMA)
    sigma = SIGMA / normalisation.scale[0]
    net = nn.Conv2d(1, 1, 3, padding=1)
    found = []
    net.weight.register_hook(lambda gradient: found.append(gradient.clone()))
    total, count = training._step(
        net, AdamW(net), 0.0, sampler, 4, np.random.default_rng(5), None
    ).tolist()
    x, deviation, probes, where = sampler.risk_batch(4, np.random.default_rng(5))
    torch.testing.assert_close(deviation, torch.full_like(x, sigma))
    # For a linear map the difference along a probe is exact: 2 b · K b.
    along = nn.functional.conv2d(probes, net.weight, padding=1)
    risk = (net(x) - x).square() - sigma**2 + 2 * probes * along
    risk[where].mean().backward()
    assert total / count == pytest.approx(risk[where].mean().item(), rel=1e-4)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
    # On average, that is twice the variance times the weight of the pixel itself.
    many = [sampler.risk_batch(4, np.random.default_rng(i))[2] for i in range(30)]
    along = torch.stack([p * nn.functional.conv2d(p, net.weight, padding=1) for p in many])
    spread = along.std().item() / along.numel() ** 0.5
    assert along.mean().item() == pytest.approx(
        sigma**2 * net.weight[0, 0, 1, 1].item(), abs=5 * spread
    )


def test_nothing_is_hidden_and_held_out_positions_do_not_count():
    shape = (64, 64)
    image = np.arange(np.prod(shape), dtype=float).reshape(shape)
    sampler, normalisation = sampler_of(image, noise_sd=1.0)
    x, *_, where = sampler.risk_batch(4, np.random.default_rng(0))
    grey = x.numpy() * normalisation.scale[0] + normalisation.offset[0]
    np.testing.assert_allclose(grey, np.round(grey), atol=0.01)
    held_out = Grid(4).held_out(shape).ravel()
    np.testing.assert_array_equal(where.numpy(), ~held_out[np.round(grey).astype(int)])


def test_the_estimated_noise_follows_the_signal_and_its_correlation():
    rng = np.random.default_rng(0)
    signal = 100 + 900 * (np.arange(256)[:, None] >= 128) * np.ones(256)
    noise = ndimage.convolve1d(rng.normal(size=(256, 256)), [0.3, 1, 0.3], axis=1)
    image = signal + np.sqrt(signal) * noise / np.sqrt(1.18)
    assert estimate_noise(image).known
    sampler, normalisation = sampler_of(image)
    x, deviation, probes, _ = sampler.risk_batch(200, np.random.default_rng(1))
    grey = x * normalisation.scale[0] + normalisation.offset[0]
    for level in (100, 1000):
        # Away from the edge.
        there = (grey - level).abs() < 3 * level**0.5
        found = deviation[there].median().item() * normalisation.scale[0]
        assert found == pytest.approx(level**0.5, rel=0.2)
    white = probes / deviation
    assert white.square().mean().item() == pytest.approx(1, rel=0.1)
    # Along X as in the image: what has a direction is not turned.
    along = (white[..., 1:] * white[..., :-1]).mean().item()
    across = (white[..., 1:, :] * white[..., :-1, :]).mean().item()
    assert along > 0.3
    assert abs(across) < 0.1
    assert not sampler.turn


def test_it_learns_where_the_deviation_is_known(noisy, truth, small_config):
    config = small_config.model_copy(
        update={"objective": "sure", "noise_sd": SIGMA, "epochs": 10.0}
    )
    denoiser = Denoiser(config).fit(noisy)
    assert denoiser.summary["objective"] == "sure"
    assert denoiser.resolved_output() == "single-pass"
    gain = psnr(truth, denoiser.predict(noisy), data_range=255) - psnr(truth, noisy, data_range=255)
    assert gain > 6
    again = Denoiser(config).fit(noisy)
    np.testing.assert_array_equal(again.predict(noisy), denoiser.predict(noisy))


def test_noise_that_it_cannot_be_used_for_is_refused(noisy):
    clipped = noisy.clip(200, None)
    with pytest.raises(InputError, match=r"% of the pixels are clipped"):
        check_noise(estimate_noise(clipped), 20.0)
    known = estimate_noise(noisy)
    channel = dataclasses.replace(known.channels[0], variance_error=0.5)
    unknown = dataclasses.replace(known, channels=(channel,))
    with pytest.raises(InputError, match=r"could not be told.*noise_sd"):
        check_noise(unknown, None)
    assert check_noise(unknown, 20.0) is None
    with pytest.raises(InputError, match="for 2 channels, but the image has 1"):
        check_noise(known, (1.0, 2.0))
    assert check_noise(known, None) is None


def test_correlated_noise_is_told():
    rng = np.random.default_rng(0)
    image = 100 + ndimage.gaussian_filter(rng.normal(0, 20, (256, 256)), 1)
    noise = estimate_noise(image)
    assert noise.correlated
    assert "relies on how much" in check_noise(noise, None)
    assert "will keep some of it" in check_noise(noise, 5.0)


def test_a_deviation_belongs_to_this_objective():
    assert TrainingConfig(objective="sure", noise_sd=[1, 2.5]).noise_sd == (1.0, 2.5)
    for settings in (
        {"noise_sd": 3.0},
        {"objective": "n2n", "noise_sd": 3.0},
        {"objective": "sure", "noise_sd": -1.0},
        {"objective": "sure", "noise_sd": (1.0, float("nan"))},
    ):
        with pytest.raises(InputError, match="noise_sd"):
            TrainingConfig(**settings)
