from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import napari_noise2self as n2s
from napari_noise2self.engine.scoring import HeldOut, self_supervised_score


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


def held_out_positions(error, sigma, seed, per_block=40, blocks=150):
    """A prediction whose error is alike within a square, and noise of its own per pixel."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(blocks), per_block)
    truth = rng.normal(size=block.size)
    local = error * np.repeat(rng.gamma(2, 0.5, blocks) ** 0.5, per_block)
    predicted = truth + local * rng.normal(size=block.size)
    return HeldOut(predicted, truth + rng.normal(0, sigma, block.size), block), truth


def test_the_interval_of_the_error_covers_it():
    covered = 0
    for seed in range(100):
        place, truth = held_out_positions(0.5, 1.0, seed)
        variance = [np.ones(place.predicted.size)]
        score = self_supervised_score([place], [1.0], variance)
        low, high = score.mse_interval
        covered += low <= np.mean((place.predicted - truth) ** 2) <= high
        assert score.loss == pytest.approx(score.mse + 1)
    assert covered >= 90


def test_what_is_not_known_of_the_noise_widens_the_interval():
    place, _ = held_out_positions(0.5, 1.0, 0)
    variance = [np.ones(place.predicted.size)]
    sure, vague = (
        self_supervised_score([place], [1.0], variance, error).mse_interval for error in (0, 0.1)
    )
    assert vague[1] - vague[0] > 2 * (sure[1] - sure[0])


def test_a_gain_that_cannot_be_told_is_not_stated():
    place, _ = held_out_positions(0.05, 1.0, 0)
    score = self_supervised_score([place], [1.0], [np.ones(place.predicted.size)], 0.1)
    assert score.mse_interval[0] == 0
    assert score.gain is None
    assert score.gain_at_least > 5


def test_scores_are_in_squared_grey_values_and_know_their_error():
    place, _ = held_out_positions(0.5, 1.0, 0)
    one, scaled = (self_supervised_score([place], [factor]) for factor in (1.0, 10.0))
    assert scaled.loss == pytest.approx(100 * one.loss)
    assert scaled.error == pytest.approx(100 * one.error)
    losses = [
        self_supervised_score([held_out_positions(0.5, 1, s)[0]], [1.0]).loss for s in range(60)
    ]
    assert one.error == pytest.approx(np.std(losses), rel=0.4)
    assert one.mse is None


def test_without_positions_there_is_no_score():
    empty = np.zeros(0)
    score = self_supervised_score([HeldOut(empty, empty, empty.astype(int))], [1.0])
    assert np.isnan(float(score))
    assert score.to_json()["loss"] is None
