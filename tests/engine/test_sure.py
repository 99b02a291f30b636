from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_noise2self import Denoiser
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.sure import probe, sure

SHAPE = (256, 256)


@pytest.fixture(scope="module")
def smooth():
    rng = np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(rng.normal(size=SHAPE), 3, mode="wrap")
    return np.clip(100 + 30 * blurred / blurred.std(), 20, None)


@pytest.mark.parametrize("lags", [((), ()), ((), (0.6, 0.2)), ((0.5, 0.1), (0.5, 0.1))])
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_it_is_the_error_of_a_filter(smooth, lags, width):
    """Also where the noise is correlated, which the diagonal form would miss."""
    noise = probe(SHAPE, lags, np.random.default_rng(1))
    noise *= 20 / noise.std()

    def blur(x):
        return ndimage.gaussian_filter(x, (0, width, width), mode="wrap")

    image = (smooth + noise)[None]
    estimate, spread, variance = sure(blur, image, lambda s: np.full(s.shape, 400.0), [lags])
    error = np.mean((blur(image) - smooth) ** 2)
    assert estimate == pytest.approx(error, abs=max(0.06 * error, 5 * spread))
    assert variance == 400


def test_it_is_the_error_where_the_noise_depends_on_the_signal(smooth):
    rng = np.random.default_rng(1)
    image = (smooth + rng.normal(size=SHAPE) * np.sqrt(3 * smooth))[None]

    def blur(x):
        return ndimage.gaussian_filter(x, (0, 1, 1))

    estimate, _, _ = sure(blur, image, lambda signal: 3 * signal, [((), ())])
    assert estimate == pytest.approx(np.mean((blur(image) - smooth) ** 2), rel=0.1)


def test_probes_have_the_correlation_asked_for():
    noise = probe((512, 512), [(), (0.6, 0.2)], np.random.default_rng(0))
    assert noise.var() == pytest.approx(1, rel=0.02)
    assert np.mean(noise[:, 1:] * noise[:, :-1]) == pytest.approx(0.6, abs=0.02)
    assert np.mean(noise[:, 2:] * noise[:, :-2]) == pytest.approx(0.2, abs=0.02)
    assert np.mean(noise[1:] * noise[:-1]) == pytest.approx(0, abs=0.02)


def test_the_risk_of_an_output_is_a_number_below_the_noise(noisy, trained):
    risk = trained.score(noisy, method="sure")
    assert risk.output == "single-pass"
    assert 0 < float(risk) < 400
    assert risk.gain is not None
    assert risk.gain > 0


def test_clipped_noise_and_unknown_methods_are_refused(noisy, trained: Denoiser):
    with pytest.raises(InputError, match="clipped"):
        trained.score(np.clip(noisy, np.percentile(noisy, 4), None), method="sure")
    with pytest.raises(InputError, match="self-supervised or sure"):
        trained.score(noisy, method="magic")


def test_pixels_that_were_made_up_do_not_count():
    rng = np.random.default_rng(0)
    image = rng.normal(50.0, 5.0, (1, 64, 64))
    valid = np.ones(image.shape, bool)
    valid[..., :24] = False
    filled = np.where(valid, image, 50.0)  # without noise
    mse, _, level = sure(
        lambda x: 50 + 0.5 * (x - 50),
        filled,
        lambda s: np.full(s.shape, 25.0),
        [[(), ()]],
        valid=valid,
    )
    # Half of the noise is left, and nothing else is wrong.
    assert mse == pytest.approx(25 / 4, rel=0.15)
    assert level == 25
