"""Which output is taken where nobody says."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from skimage.data import camera

from napari_noise2self import Denoiser, psnr
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Notice
from napari_noise2self.engine.fitting import MIXED, ROUGHLY

TRUTH = camera()[120:248, 150:278].astype(float)


def fitted(sigma, config):
    """The noisy image, what was trained on it, and what was said."""
    noisy = TRUTH + np.random.default_rng(0).normal(0, sigma, TRUTH.shape)
    denoiser, said = Denoiser(config), []
    denoiser.fit(noisy, progress=lambda e: said.append(e) if isinstance(e, Notice) else None)
    return noisy, denoiser, " ".join(notice.message for notice in said)


@pytest.fixture(scope="module")
def config(small_config):
    return small_config.model_copy(update={"epochs": 12})


@pytest.mark.parametrize("sigma", [5, 8])
def test_little_noise_beside_much_detail_does_not_cost_the_detail(config, sigma, tmp_path):
    noisy, denoiser, said = fitted(sigma, config)
    assert denoiser.resolved_output() == "mixed"
    assert MIXED.format(where="here") in said
    assert (ROUGHLY in said) == (not denoiser.trained.noise.known)
    denoised = denoiser.predict(noisy)
    quality = psnr(TRUTH, denoised, data_range=255)
    assert quality > psnr(TRUTH, noisy, data_range=255)
    single = denoiser.predict(noisy, output="single-pass")
    assert quality > psnr(TRUTH, single, data_range=255) + 1
    denoiser.save(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    assert loaded.resolved_output() == "mixed"
    np.testing.assert_array_equal(loaded.predict(noisy), denoised)


def test_a_variance_that_is_hardly_known_does_not_give_noise_back(config):
    """Few photons on a black ground: no line fits how their variance rises with the signal."""
    rng = np.random.default_rng(0)
    y, x = np.indices((128, 128))
    light = np.zeros((128, 128))
    for cy, cx in rng.uniform(0, 128, (6, 2)):
        light += 30 / (1 + np.exp(np.clip(np.hypot(y - cy, x - cx) - 12, -30, 30)))
    counts = rng.poisson(light).astype(np.float32)
    denoiser = Denoiser(config).fit(counts)
    assert not denoiser.trained.noise.known
    assert denoiser.resolved_output() == "single-pass"


@pytest.mark.parametrize(("sigma", "output"), [(60, "auto"), (8, "single-pass")])
def test_much_noise_or_a_wish_leaves_it_to_the_single_pass(config, sigma, output):
    _, denoiser, said = fitted(sigma, config.model_copy(update={"output": output}))
    assert denoiser.resolved_output() == "single-pass"
    assert "mixed output" not in said


@pytest.fixture(scope="module")
def two_channels(config):
    """Little noise in the first and much in the second channel, and what was trained on them."""
    rng = np.random.default_rng(0)
    noisy = np.stack([TRUTH + rng.normal(0, sigma, TRUTH.shape) for sigma in (5, 60)])
    denoiser, said = Denoiser(config), []
    denoiser.fit(noisy, "CYX", progress=lambda e: said.append(e) if isinstance(e, Notice) else None)
    return noisy, denoiser, " ".join(notice.message for notice in said)


def test_each_channel_has_the_output_that_suits_its_noise(two_channels):
    noisy, denoiser, said = two_channels
    assert denoiser.resolved_output() == "mixed, single-pass"
    assert MIXED.format(where="in channel 0") in said
    denoised = denoiser.predict(noisy, "CYX")
    for channel, output in enumerate(("mixed", "single-pass")):
        alike = denoiser.predict(noisy, "CYX", output=output)[channel]
        np.testing.assert_array_equal(denoised[channel], alike)
        assert psnr(TRUTH, alike, data_range=255) > psnr(TRUTH, noisy[channel], data_range=255)
    # By its name as well, as a result that is gone on with has it.
    by_name = denoiser.predict(noisy, "CYX", output=denoiser.resolved_output())
    np.testing.assert_array_equal(by_name, denoised)
    events = [e.fraction for e in denoiser.predict_events(noisy, "CYX") if hasattr(e, "fraction")]
    assert events == sorted(events)


def test_outputs_of_channels_are_kept_and_are_the_same_in_parts(two_channels, tmp_path):
    noisy, denoiser, _ = two_channels
    expected = denoiser.predict(noisy, "CYX")
    denoiser.save(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    np.testing.assert_array_equal(loaded.predict(noisy, "CYX"), expected)
    lazy = loaded.predict(da.from_array(noisy, (1, 64, 64)), "CYX")
    np.testing.assert_array_equal(np.asarray(lazy), expected)


def test_outputs_of_as_many_channels_as_another_model_has_are_refused(two_channels, config):
    noisy, _, _ = two_channels
    other = Denoiser(config.model_copy(update={"epochs": 0.5})).fit(noisy[1])
    with pytest.raises(InputError, match="output was 'mixed, single-pass'"):
        other.predict(noisy[1], output="mixed, single-pass")
