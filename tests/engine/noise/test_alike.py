from __future__ import annotations

import numpy as np
import pytest
from skimage.data import camera

from napari_noise2self import Denoiser
from napari_noise2self.engine.events import Notice
from napari_noise2self.engine.noise.alike import most_different
from napari_noise2self.engine.noise.estimate import estimate_noise

TRUTH = np.tile(np.linspace(50, 150, 128), (128, 1))


def noisy(gain, read_noise, seed=0, truth=TRUTH):
    rng = np.random.default_rng(seed)
    return rng.poisson(truth / gain) * gain + rng.normal(0, read_noise, truth.shape)


def test_exposures_by_one_camera_are_alike_however_bright_they_are():
    images = [noisy(2, 3), noisy(2, 3, 1), noisy(2, 3, 2, TRUTH * 1.7), noisy(2, 3, 3, TRUTH / 3)]
    assert most_different([estimate_noise(image) for image in images]) is None


def test_the_one_that_differs_most_is_found():
    reports = [estimate_noise(noisy(*camera)) for camera in ((1, 2), (4, 4), (9, 6), (1, 2))]
    number, factor = most_different(reports)
    assert number == 2
    assert factor == pytest.approx(3, rel=0.15)
    number, factor = most_different(reports[::-1][1:])
    assert (number, factor) == (2, pytest.approx(1 / 3, rel=0.15))


def test_noise_that_is_not_known_is_not_compared():
    assert most_different([estimate_noise(noisy(1, 2)), estimate_noise(TRUTH.round())]) is None
    assert most_different([estimate_noise(noisy(1, 2))]) is None


def test_what_is_told_of_one_image_is_not_done_to_noisier_ones(small_config):
    """The little noise of the first is no reason to give the others theirs back."""
    rng = np.random.default_rng(0)
    detail = camera()[:192, 150:342].astype(float)
    images = [detail + rng.normal(0, sigma, detail.shape) for sigma in (8, 40)]
    config = small_config.model_copy(update={"epochs": 6})
    said = []
    denoiser = Denoiser(config).fit(images, progress=said.append)
    text = " ".join(event.message for event in said if isinstance(event, Notice))
    assert "noise of the images differs" in text
    assert denoiser.resolved_output() == "single-pass"
    alone = Denoiser(config).fit(images[0])
    assert alone.resolved_output() == "mixed"
