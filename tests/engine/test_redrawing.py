from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_noise2self import Denoiser, TrainingConfig, psnr
from napari_noise2self.engine.events import Control, Notice, TrainingEvent
from napari_noise2self.engine.finisher import Finisher
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.noise.line import Limits, Line
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.recorruption import can_recorrupt
from napari_noise2self.engine.redrawing import Redrawing
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.schedule import CYCLES, plan
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
    monkeypatch.setattr("napari_noise2self.engine.schedule.AUTO_STEPS", 200)


SMALL = TrainingConfig(channels=16, depth=2, device="cpu", crop_size=64, batch_size=8)


class NoPairs:
    """In the place of pairs where none are to be drawn."""

    def __bool__(self):
        return False


def new_cycle_without_pairs(*_):
    return NoPairs()
    yield


def test_it_goes_on_learning_from_its_own_estimate(sample, listen, impatient, monkeypatch):
    """Better than the same cycles with hidden pixels alone: this is why it is done."""
    noisy, truth = sample
    config = SMALL.model_copy(update={"epochs": 100.0})
    gains = []
    for redraw in (Finisher.redraw, new_cycle_without_pairs):
        monkeypatch.setattr(Finisher, "redraw", redraw)
        denoiser = Denoiser(config)
        events, _ = listen(denoiser.train(noisy))
        denoised = denoiser.predict(noisy)
        gains.append(psnr(truth, denoised, data_range=1) - psnr(truth, noisy, data_range=1))
        report = [e for e in events if isinstance(e, TrainingEvent)]
        assert [e.step for e in report] == sorted(e.step for e in report)
        assert report[-1].step == report[-1].steps
        assert report[-1].epoch == report[-1].epochs == pytest.approx(100, rel=0.05)
    assert gains[0] > gains[1] + 0.1


def waiting_for_pairs(monkeypatch):
    """What is called when an estimate is being made, before its first part."""
    begun = []
    true = Finisher._redraw

    def redraw(self, network, control):
        begun.append(control)
        yield None
        return (yield from true(self, network, control))

    monkeypatch.setattr(Finisher, "_redraw", redraw)
    return begun


LONG = SMALL.model_copy(update={"epochs": 60.0, "batch_size": 4})


@pytest.fixture
def hasty(monkeypatch):
    """An automatic length of a few steps, and an event after each of them."""
    monkeypatch.setattr("napari_noise2self.engine.schedule.AUTO_STEPS", 60)
    monkeypatch.setattr("napari_noise2self.engine.training.INTERVAL", 0.0)


def test_a_stop_while_the_estimate_is_made_keeps_what_was_learned(sample, hasty, monkeypatch):
    noisy, truth = sample
    begun = waiting_for_pairs(monkeypatch)
    control, denoiser = Control(), Denoiser(LONG)
    for event in denoiser.train(noisy, control=control):
        if begun and isinstance(event, TrainingEvent):
            control.stop()
    assert len(begun) == 1
    assert 0 < denoiser.summary["steps"] < event.steps
    gained = psnr(truth, denoiser.predict(noisy), data_range=1) - psnr(truth, noisy, data_range=1)
    assert gained > 3


def test_a_pause_holds_while_the_estimate_is_made(sample, hasty, monkeypatch):
    begun = waiting_for_pairs(monkeypatch)
    control = Control()
    generator = Denoiser(LONG).train(sample[0], control=control)
    for _ in generator:
        if begun:
            break
    control.pause()
    held = [next(generator) for _ in range(4)]
    assert len({event.step for event in held}) == 1
    generator.close()


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_too_little_memory_for_the_estimate_ends_training_with_what_was_learned(
    sample, hasty, error, listen, monkeypatch
):
    def full(*_):
        raise error

    monkeypatch.setattr("napari_noise2self.engine.finisher.Redrawing", full)
    denoiser = Denoiser(LONG)
    events, trained = listen(denoiser.train(sample[0]))
    assert trained
    said = [event.message for event in events if isinstance(event, Notice)]
    assert any(text.startswith("Training ends before its time") for text in said)
    assert denoiser.predict(sample[0]).shape == sample[0].shape


def pairs_drawn(image, config, monkeypatch, axes=None):
    """The shapes of the pairs that training draws."""
    shapes = []
    true = Redrawing.pair

    def pair(self, crop, *rest):
        shapes.append(tuple(crop.shape))
        one, other = true(self, crop, *rest)
        assert one.shape == other.shape == crop.shape
        return one, other

    monkeypatch.setattr(Redrawing, "pair", pair)
    Denoiser(config).fit(image, axes)
    return shapes


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"volume": True}, (1, 4, 32, 32)),
        ({"context": 1}, (1, 4, 32, 32)),
        ({}, (1, 64, 64)),
    ],
)
def test_whatever_is_trained_sees_pairs_of_its_kind(settings, shape, hasty, monkeypatch):
    rng = np.random.default_rng(0)
    stack = rng.poisson(np.tile(np.linspace(20, 60, 96), (4, 96, 1))).astype(float)
    config = LONG.model_copy(update={"epochs": 10.0, **settings})
    found = pairs_drawn(stack, config, monkeypatch, "ZYX")
    assert found
    assert set(found) == {shape}


def test_channels_are_drawn_with_their_own_noise_and_limits():
    rng = np.random.default_rng(0)
    image = np.stack([rng.normal(100, 10, (SIDE, SIDE)), rng.normal(3, 4, (SIDE, SIDE)).clip(0)])
    data = prepare([(image, Layout.of(image.shape, "CYX"))])
    estimate = np.zeros_like(data.blocks[0].values)
    noise = estimate_noise(image, "CYX")
    made = Redrawing([estimate], data.normalisation, noise, CROP, torch.device("cpu"), 0)
    rng = np.random.default_rng(0)
    shown = torch.zeros((2, *CROP))
    noisy = np.stack(
        [data.normalisation.invert(made.pair(shown, 0, WHOLE, rng)[0].numpy()) for _ in range(50)]
    )
    for channel in (0, 1):
        assert noisy[:, channel].mean() == pytest.approx(image[channel].mean(), abs=0.3)
        assert noisy[:, channel].std() == pytest.approx(image[channel].std(), rel=0.05)
    assert noisy[:, 1].min() == pytest.approx(0, abs=1e-3)
    assert noisy[:, 0].min() < 100 - 3 * 10


def flat(sigma=10.0):
    return np.random.default_rng(0).normal(100, sigma, (96, 96))


@pytest.mark.parametrize(
    ("images", "settings"),
    [
        ([flat(), flat(40.0)], {}),
        (flat(), {"batch_size": 1}),
        (flat(), {"recipe": "plain"}),
        (np.full((96, 96), 7.0) + (flat() > 115), {}),
    ],
    ids=["images of other noise", "one crop a step", "plain recipe", "noise that is not known"],
)
def test_nothing_is_drawn_where_the_noise_is_not_that_of_the_image(
    images, settings, hasty, monkeypatch
):
    config = LONG.model_copy(update={"epochs": 20.0, **settings})
    assert pairs_drawn(images, config, monkeypatch) == []
