from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self.engine.mixing import Mixing, gain_of_mixing, share_of_prediction


def torus_spectrum(length, size=33):
    """Eigenvalues of the covariance exp(-d²/2ℓ²) on a torus."""
    d = np.minimum(np.arange(size), size - np.arange(size))
    kernel = np.exp(-(d[:, None] ** 2 + d[None] ** 2) / (2 * length**2))
    return np.fft.fft2(kernel).real


@pytest.mark.parametrize(
    ("sigma", "length", "bayes", "invariant"),
    [
        (0.5, 1, 0.1286, 0.2650),
        (0.5, 2, 0.0460, 0.0563),
        (1, 2, 0.1298, 0.1492),
        (1, 3, 0.0717, 0.0772),
    ],
)
def test_mixing_reaches_the_optimum_for_a_gaussian_process(sigma, length, bayes, invariant):
    """With the optimal J-invariant predictor, mixing is Bayes-optimal exactly."""
    k = torus_spectrum(length)

    def error(gain):
        """Mean squared error of a linear filter, from its gain at every frequency."""
        return float(np.mean((gain - 1) ** 2 * k + gain**2 * sigma**2))

    inverse = 1 / (k + sigma**2)
    # Each pixel from all the others: x - C⁻¹x / (C⁻¹)₀₀.
    predict = 1 - inverse / inverse.mean()
    loss = 1 / inverse.mean()
    assert error(predict) == pytest.approx(invariant, abs=6e-5)
    assert loss == pytest.approx(error(predict) + sigma**2)
    share = float(share_of_prediction(sigma**2, loss))
    optimum = error(k / (k + sigma**2))
    assert optimum == pytest.approx(bayes, abs=6e-5)
    assert error(share * predict + 1 - share) == pytest.approx(optimum, rel=1e-9)


@pytest.fixture
def prediction():
    """A J-invariant prediction of a signal whose noise depends on it."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 9, 40_000)
    noise = 0.6 * truth * rng.normal(size=truth.size)
    predicted = truth + 0.7 * rng.normal(size=truth.size)
    return truth, predicted, truth + noise


def variance(signal, channel):
    return (0.6 * signal) ** 2


def test_the_mixture_is_better_than_either_and_than_one_share_for_all(prediction):
    truth, predicted, observed = prediction
    mixing = Mixing.measure([predicted], [observed], variance)
    frame = [a.astype(np.float32).reshape(1, 200, 200) for a in (predicted, observed)]
    mixed = mixing.apply(*frame, np.ones((1, 200, 200), bool)).ravel()

    def error(x):
        return np.mean((x - truth) ** 2)

    share = share_of_prediction(np.mean((0.6 * truth) ** 2), np.mean((predicted - observed) ** 2))
    assert error(mixed) < 0.98 * error(share * predicted + (1 - share) * observed)
    assert error(mixed) < min(error(predicted), error(observed))
    assert all(0 <= s <= 1 for s in mixing.shares[0])


def test_where_nothing_was_measured_the_mixture_is_the_prediction(prediction):
    _, predicted, observed = prediction
    mixing = Mixing.measure([predicted], [observed], variance)
    f = predicted.astype(np.float32).reshape(1, 200, 200)
    hole = np.full(f.shape, np.nan, np.float32)
    mixed = mixing.apply(f, hole, np.zeros(f.shape, bool))
    np.testing.assert_array_equal(mixed, f)


def test_the_share_stays_between_0_and_1():
    np.testing.assert_array_equal(share_of_prediction([1, 3, 0, 1], [2, 1, 2, 0]), [0.5, 1, 0, 1])


def test_shares_survive_json(prediction):
    _, predicted, observed = prediction
    mixing = Mixing.measure([predicted], [observed], variance)
    assert Mixing.from_json(mixing.to_json()) == mixing


def test_the_gain_is_told_with_less_confidence_where_less_is_known():
    rng = np.random.default_rng(0)

    def gain(size, doubt):
        """With a variance of 1 of the noise, and of 0.5 of the error of the prediction."""
        predicted = np.zeros(size)
        observed = rng.normal(0, np.sqrt(1.5), size)
        return gain_of_mixing([predicted], [observed], lambda f, _: np.ones_like(f), doubt)

    true = 10 * np.log10(1.5)
    assert gain(10**6, 0.0) == pytest.approx(true, abs=0.05)
    assert gain(10**6, 0.2) == pytest.approx(true - 10 * np.log10(1.2), abs=0.05)
    assert gain(10**6, np.inf) == -np.inf
    few = np.array([gain(300, 0.0) for _ in range(40)])
    assert true - 0.6 < few.mean() < true - 0.2
