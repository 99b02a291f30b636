"""Which output is taken where nobody says."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import camera

from napari_noise2self import Denoiser, psnr
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
    assert MIXED in said
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
    assert MIXED not in said
