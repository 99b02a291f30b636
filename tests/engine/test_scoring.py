from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import napari_noise2self as n2s


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 255, (32, 40))
    return truth, truth + rng.normal(0, 10, truth.shape)


def test_psnr_and_ssim_agree_with_scikit_image(pair):
    truth, image = pair
    assert n2s.psnr(truth, image, data_range=255) == pytest.approx(
        peak_signal_noise_ratio(truth, image, data_range=255)
    )
    assert n2s.ssim(truth, image, data_range=255) == pytest.approx(
        structural_similarity(
            truth, image, data_range=255, gaussian_weights=True, use_sample_covariance=False
        )
    )


def test_equal_images_have_infinite_psnr(pair):
    assert n2s.psnr(pair[0], pair[0], data_range=1) == np.inf


def test_unsigned_integers_do_not_wrap_around():
    truth, image = np.array([[0, 10]], np.uint8), np.array([[10, 0]], np.uint8)
    assert n2s.psnr(truth, image, data_range=255) == pytest.approx(28.13, abs=0.01)


def test_scale_invariant_psnr_ignores_gain_and_offset(pair):
    truth, image = pair
    assert n2s.scale_invariant_psnr(truth, image) == pytest.approx(
        n2s.scale_invariant_psnr(truth, 0.01 * image + 500)
    )


def test_pairs_that_cannot_be_compared_are_refused(pair):
    truth, image = pair
    with pytest.raises(ValueError, match="must be equal"):
        n2s.psnr(truth, image[1:], data_range=1)
    with pytest.raises(ValueError, match="positive"):
        n2s.psnr(truth, image, data_range=0)
    with pytest.raises(ValueError, match="constant"):
        n2s.scale_invariant_psnr(np.ones((9, 9)), np.ones((9, 9)))
