"""The picture of the noise's correlation, for noise whose correlation is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_noise2self import estimate_noise
from napari_noise2self.engine.noise.map import REACH, noise_autocorrelation
from napari_noise2self.stacks import samples


def measured(image, axes=None):
    (found,) = noise_autocorrelation(image, estimate_noise(image, axes))
    return found


def blurred(blur, size=384, seed=0):
    white = np.random.default_rng(seed).normal(size=(size, size))
    noise = ndimage.gaussian_filter(white, blur, mode="wrap")
    return noise / noise.std()


@pytest.mark.parametrize("seed", range(3))
def test_white_noise_has_no_significant_lag(seed):
    noise = np.random.default_rng(seed).normal(100, 5, (256, 256))
    found = measured(noise)
    assert not found.significant.any()
    assert found.rho[REACH, REACH] == 1


def test_structure_is_not_drawn_as_noise():
    cells = samples.cells((256, 256)).truth.astype(float)
    noise = np.random.default_rng(1).normal(0, 0.1 * np.ptp(cells), cells.shape)
    assert np.abs(np.delete(measured(cells + noise).rho.ravel(), 2 * REACH * (REACH + 1))).max() < (
        0.08
    )


@pytest.mark.parametrize("blur", [0.5, 0.7, 1.0, (0, 0.7)])
def test_the_correlation_of_blurred_noise_is_measured(blur):
    point = np.zeros((65, 65))
    point[32, 32] = 1
    kernel = ndimage.gaussian_filter(point, blur)
    truth = ndimage.correlate(kernel, kernel, mode="constant")
    truth = (truth / truth.max())[32 - REACH : 33 + REACH, 32 - REACH : 33 + REACH]
    found = measured(100 + 20 * blurred(blur))
    # The ridge takes up to an eighth off wide correlations.
    assert np.abs(found.rho - truth).max() < 0.14
    assert found.significant[REACH, REACH + 1]
    assert found.significant[REACH + 1, REACH] == (blur != (0, 0.7))


def test_an_oblique_correlation_is_seen_where_it_is():
    white = np.random.default_rng(0).normal(size=(384, 384))
    noise = 100 + 10 * (white + 0.7 * np.roll(white, (1, -2), axis=(0, 1)))
    found = measured(noise)
    strongest = np.where(np.eye(2 * REACH + 1)[REACH][:, None] * np.eye(2 * REACH + 1)[REACH], 0, 1)
    y, x = np.unravel_index(np.argmax(found.rho * strongest), found.rho.shape)
    assert {(y - REACH, x - REACH)} <= {(1, -2), (-1, 2)}
    assert found.rho[y, x] == pytest.approx(0.7 / (1 + 0.49), abs=0.08)
    assert np.allclose(found.rho, found.rho[::-1, ::-1])


def test_what_tells_nothing_is_unknown():
    found = measured(np.full((64, 64), 7.0))
    assert np.isnan(found.rho).all()
    assert not found.significant.any()


def test_frames_of_one_scene_show_their_noise_alone():
    scene = 1000 * ndimage.gaussian_filter(np.random.default_rng(0).random((128, 128)), 0.7)
    frames = scene + np.random.default_rng(1).normal(0, 10, (16, 128, 128))
    report = estimate_noise(frames, "TYX")
    assert report.channels[0].from_frames
    (found,) = noise_autocorrelation(frames, report)
    assert not found.significant.any()
