from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_noise2self import Denoiser, TrainingConfig, psnr
from napari_noise2self.engine.events import Control, TrainingEvent
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.noise.line import Limits, Line
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.recorruption import can_recorrupt
from napari_noise2self.engine.redrawing import Redrawing
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.training import CYCLES, plan
from napari_noise2self.stacks.samples import cells

SIDE = 256
CROP = (64, 64)
WHOLE = (slice(0, 64), slice(0, 64))


def redrawing_of(image):
    """Pairs of a flat estimate: the mean of the image."""
    data = prepare([(image, Layout.of(image.shape))])
    estimate = np.zeros_like(data.blocks[0].values)
    made = Redrawing(
        [estimate], data.normalisation, estimate_noise(image), CROP, torch.device("cpu"), 0
    )
    return made, data.normalisation


def drawn(redrawing, normalisation, count=200):
    """Many noisy versions, in grey values, and the last target."""
    rng = np.random.default_rng(0)
    shown = torch.zeros((1, *CROP))
    pairs = [redrawing.pair(shown, 0, WHOLE, rng) for _ in range(count)]
    noisy = np.stack([normalisation.invert(pair[0].numpy())[0] for pair in pairs])
    return noisy, pairs[-1][1].numpy()


def test_the_input_is_the_estimate_with_the_noise_of_the_image():
    image = np.random.default_rng(0).poisson(30.0, (SIDE, SIDE)) * 2.0 + 10
    noisy, target = drawn(*redrawing_of(image))
    assert not target.any()
    assert noisy.mean() == pytest.approx(70, rel=0.01)
    assert noisy.var() == pytest.approx(120, rel=0.05)
    # Drawn anew each time, and for each pixel.
    assert np.abs(np.corrcoef(noisy[:50].reshape(50, -1))[np.triu_indices(50, 1)]).max() < 0.1


def test_what_was_clipped_is_clipped_again_around_the_same_mean():
    image = np.clip(np.random.default_rng(0).normal(12, 10, (SIDE, SIDE)), 0, 255).round()
    noisy, _ = drawn(*redrawing_of(image))
    assert noisy.min() == pytest.approx(0, abs=1e-3)
    assert np.mean(noisy < 0.5) == pytest.approx(np.mean(image < 0.5), abs=0.03)
    assert noisy.mean() == pytest.approx(image.mean(), abs=0.3)
    assert noisy.std() == pytest.approx(image.std(), rel=0.05)


def test_correlated_noise_is_drawn_as_correlated_as_it_is():
    rng = np.random.default_rng(0)
    white = rng.normal(0, 10, (SIDE, SIDE + 1))
    image = 100 + (white[:, 1:] + white[:, :-1]) / np.sqrt(2)
    noisy, _ = drawn(*redrawing_of(image))
    noise = noisy - noisy.mean()
    beside = [np.mean(np.delete(noise, -1, a) * np.delete(noise, 0, a)) for a in (2, 1)]
    np.testing.assert_allclose(np.array(beside) / noise.var(), [0.5, 0.0], atol=0.06)
    # Not always at the same places: few fields are drawn, and each is shifted by chance.
    assert len({float(version[0, 0]) for version in noisy}) > 100


@pytest.mark.parametrize("limits", [Limits(), Limits(low=0), Limits(high=255), Limits(0, 255)])
def test_the_mean_before_clipping_gives_the_mean_after(limits):
    line = Line(1.0, 100.0, 0.0, 0.0, 255.0, limits)
    recorded = np.array([6.0, 60, 200, 248])
    before = line.before_clipping(recorded)
    noise = np.random.default_rng(0).normal(size=(10**5, 1)) * np.sqrt(line.unclipped(before))
    after = np.clip(before + noise, limits.low, limits.high).mean(0)
    np.testing.assert_allclose(after, recorded, atol=0.3)


def planned(epochs, image, **settings):
    config = TrainingConfig(device="cpu", epochs=epochs, **settings)
    noise = estimate_noise(image)
    data = prepare([(image, Layout.of(image.shape))])
    sampler = Sampler(data, noise.suggestion.partition, config, torch.device("cpu"), noise)
    assert not can_recorrupt(noise, sampler.partition)
    return plan(config, data.pixels, sampler, torch.device("cpu"), True)


def test_a_longer_training_has_more_cycles_and_its_length_stays_what_was_asked_for():
    image = np.random.default_rng(0).normal(100, 10, (SIDE, SIDE))
    usual = planned(None, image)
    epochs = usual.epochs(usual.steps)
    _, two, three = CYCLES
    assert 1 < two < three
    assert len(usual.cycles) == 1
    for times, cycles in (
        (1e-9, 1),
        (0.95 * two, 1),
        (1.05 * two, 2),
        (0.95 * three, 2),
        (1.05 * three, 3),
        (40, 3),
    ):
        found = planned(times * epochs, image)
        assert len(found.cycles) == cycles
        assert found.steps == max(round(times * usual.steps), 1)
        assert max(found.cycles) - min(found.cycles) < cycles


@pytest.fixture(scope="module")
def sample():
    made = cells((160, 160), seed=1)
    return np.asarray(made.noisy.data), made.truth


@pytest.fixture
def impatient(monkeypatch):
    """An automatic length of which a test can wait for twice as much."""
    monkeypatch.setattr("napari_noise2self.engine.training.AUTO_STEPS", 200)


SMALL = TrainingConfig(channels=16, depth=2, device="cpu", crop_size=64, batch_size=8)


def test_it_goes_on_learning_from_its_own_estimate(sample, listen, impatient, monkeypatch):
    """Better than as many steps with hidden pixels alone: this is why it is done."""
    noisy, truth = sample
    results, reports = [], []
    for cycles in (CYCLES, CYCLES[:1]):
        monkeypatch.setattr("napari_noise2self.engine.training.CYCLES", cycles)
        denoiser = Denoiser(SMALL.model_copy(update={"epochs": 100.0}))
        events, _ = listen(denoiser.train(noisy))
        results.append(psnr(truth, denoiser.predict(noisy), data_range=float(np.ptp(truth))))
        reports.append([e for e in events if isinstance(e, TrainingEvent)])
    assert results[0] > results[1]
    for report in reports:
        assert [e.step for e in report] == sorted(e.step for e in report)
        assert report[-1].step == report[-1].steps
        assert report[-1].epoch == report[-1].epochs == pytest.approx(100, rel=0.05)
    assert reports[0][-1].steps == reports[1][-1].steps


def test_a_stop_while_noise_is_drawn_anew_keeps_what_was_learned(sample, impatient, monkeypatch):
    noisy, truth = sample
    control = Control()
    monkeypatch.setattr(
        "napari_noise2self.engine.redrawing.Redrawing.pair",
        lambda *_: pytest.fail("It should have stopped before."),
    )
    denoiser = Denoiser(SMALL.model_copy(update={"epochs": 100.0}))
    for event in denoiser.train(noisy, control=control):
        if isinstance(event, TrainingEvent) and event.step == event.steps // 2:
            control.stop()
    assert 0 < denoiser.summary["steps"] < event.steps
    gained = psnr(truth, denoiser.predict(noisy), data_range=1) - psnr(truth, noisy, data_range=1)
    assert gained > 3
