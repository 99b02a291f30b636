from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from napari_noise2self import Denoiser, Grid, TrainingConfig, psnr
from napari_noise2self.engine import schedule, training
from napari_noise2self.engine.errors import EngineError, OutOfMemoryError
from napari_noise2self.engine.events import Control, Notice, TrainingEvent
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.masking import dilate
from napari_noise2self.engine.optimizer import AdamW
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.sampling import Sampler


def sampler_of(image, config=None, partition=None):
    layout = Layout.of(image.shape)
    config = config or TrainingConfig(crop_size=32)
    return Sampler(prepare([(image, layout)]), partition or Grid(4), config, torch.device("cpu"))


def test_held_out_positions_are_never_targets():
    shape = (48, 40)
    # Grey values that tell where a pixel comes from.
    image = np.arange(np.prod(shape), dtype=float).reshape(shape)
    sampler = sampler_of(image)
    held_out = set(np.flatnonzero(Grid(4).held_out(shape)))
    rng = np.random.default_rng(0)
    offset, scale = image.mean(), image.std()
    drawn = set()
    for _ in range(100):
        _, clean, targets = sampler.batch(4, rng)
        drawn |= set(np.round(clean[targets].numpy() * scale + offset).astype(int))
    assert not drawn & held_out
    # Only some pixels of the borders, which few crops reach, are left.
    assert len(drawn) > 0.9 * (image.size - len(held_out))


def test_targets_are_hidden_and_nothing_else_is():
    image = np.random.default_rng(0).normal(size=(64, 64))
    # Held-out positions of the same subset are hidden, too: leave them aside.
    partition = Grid(5, extent=3)
    sampler = sampler_of(image, partition=partition)
    sampler.open_subsets = [k for k in sampler.open_subsets if k != partition.held_out_subset(2)]
    masked, clean, targets = sampler.batch(4, np.random.default_rng(0))
    assert targets.any()
    assert torch.equal(masked != clean, dilate(targets, (3, 3)))


def test_bad_pixels_are_hidden_and_never_targets():
    image = np.random.default_rng(0).normal(size=(64, 64))
    bad = np.random.default_rng(1).random(image.shape) < 0.2
    image[bad] = np.nan
    sampler = sampler_of(image)
    # What a bad pixel was filled with tells of its neighbours: mark it to see where it goes.
    sampler.values[0][0][torch.from_numpy(bad)] = 1e6
    rng = np.random.default_rng(0)
    for _ in range(20):
        masked, clean, targets = sampler.batch(4, rng)
        assert (clean == 1e6).any()
        assert masked.abs().max() < 1e3
        assert clean[targets].abs().max() < 1e3


def test_narrow_images_are_never_turned():
    tall = np.random.default_rng(0).normal(size=(128, 32))
    sampler = sampler_of(tall, TrainingConfig())
    assert sampler.crop == [128, 32]
    assert not sampler.turn
    wide = np.random.default_rng(0).normal(size=(96, 256))
    sampler = sampler_of(wide, TrainingConfig())
    assert sampler.crop == [96, 96]
    assert sampler.turn


def test_a_network_that_never_saw_turned_crops_is_not_turned_in_prediction():
    y, _ = np.mgrid[:32, :200]
    rng = np.random.default_rng(0)
    truth = 100 + 50 * np.sin(y * 1.2)
    image = truth + rng.normal(0, 30, truth.shape)
    config = TrainingConfig(channels=8, depth=2, epochs=60, device="cpu")
    denoiser = Denoiser(config).fit(image)
    full = np.mean((denoiser.predict(image) - truth) ** 2)
    plain = TrainingConfig(channels=8, depth=2, epochs=60, device="cpu", averaging=False)
    assert full < 1.1 * np.mean((Denoiser(plain).fit(image).predict(image) - truth) ** 2)


def test_the_loss_is_a_true_mean_over_the_targets(noisy):
    sampler = sampler_of(noisy)
    config = TrainingConfig(crop_size=32)
    net = nn.Conv2d(1, 1, 1)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    _, clean, targets = sampler.batch(4, np.random.default_rng(5))
    losses = training._step(
        net,
        AdamW(net),
        0.0,
        sampler,
        config.batch_size,
        np.random.default_rng(5),
        None,
    )
    total, count = losses.tolist()
    assert count == targets.sum()
    assert total / count == pytest.approx(float(clean[targets].square().mean()), rel=1e-5)


def test_training_denoises(noisy, truth, trained):
    noise = psnr(truth, noisy, data_range=255)
    assert psnr(truth, trained.predict(noisy), data_range=255) > noise + 7


def test_the_score_is_the_error_plus_the_variance_of_the_noise(noisy, truth, trained):
    """Proposition 1 of the paper, at the held-out positions."""
    predicted = trained.predict(noisy, output="j-invariant")
    where = Grid(2).held_out(noisy.shape)
    noise = np.mean((noisy - truth)[where] ** 2)
    error = np.mean((predicted - truth)[where] ** 2)
    # What is left is twice the mean product of noise and error, of mean 0 as they are independent.
    product = 2 * np.sqrt(noise * error / where.sum())
    loss = float(trained.score(noisy))
    assert loss == pytest.approx(np.mean((predicted - noisy)[where] ** 2), rel=1e-3)
    assert loss == pytest.approx(error + noise, abs=3 * product)
    assert trained.summary["score"] == pytest.approx(float(trained.score(noisy)), rel=1e-5)


def test_the_same_seed_gives_the_same_result(noisy, small_config):
    short = small_config.model_copy(update={"epochs": 2.0})
    first, second = (Denoiser(short).fit(noisy).predict(noisy) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = Denoiser(short.model_copy(update={"seed": 1})).fit(noisy).predict(noisy)
    assert not np.array_equal(first, other)


def test_global_random_numbers_and_defaults_are_left_alone(noisy, small_config):
    config = small_config.model_copy(update={"epochs": 1.0})
    numbers, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    Denoiser(config).fit(noisy).predict(noisy)
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_epochs_count_targets_over_pixels(noisy, small_config, listen):
    config = small_config.model_copy(update={"epochs": 5.0, "partition": Grid(4)})
    events, _ = listen(Denoiser(config).train(noisy))
    last = [event for event in events if isinstance(event, TrainingEvent)][-1]
    assert last.step == last.steps
    assert last.epoch == last.epochs == pytest.approx(5, rel=0.1)
    # 4 crops of 64² hold 1024 targets, the image 10752 pixels.
    assert last.steps == pytest.approx(5 * noisy.size / 1024, rel=0.02)


def test_epochs_count_the_targets_that_were_drawn():
    image = np.random.default_rng(0).normal(size=(64, 64))
    for partition in (Grid(2), Grid(4), Grid(6)):
        sampler = sampler_of(image, partition=partition)
        rng = np.random.default_rng(0)
        drawn = [int(sampler.batch(4, rng)[2].sum()) for _ in range(150)]
        assert min(drawn) > 0
        assert np.mean(drawn) == pytest.approx(4 * sampler.targets_per_crop, rel=0.03)


def test_an_automatic_plan_grows_far_slower_than_the_data(noisy):
    config = TrainingConfig()
    sampler = sampler_of(noisy, config)
    steps = [
        schedule.plan(config, side**2, sampler, torch.device("cpu")).steps
        for side in (64, 512, 2048, 10**5)
    ]
    assert steps == sorted(steps)
    assert steps[0] > 50
    assert steps[-1] <= 4 * steps[1]


def test_a_small_image_is_not_learned_by_heart():
    """More than 150 times each pixel of 64x64, and the held-out score rises again."""
    config, epochs, steps = TrainingConfig(), [], []
    for side in (32, 64, 96):
        image = np.random.default_rng(0).normal(size=(side, side))
        sampler = sampler_of(image, config, Grid(2))
        found = schedule.plan(config, side**2, sampler, torch.device("cpu"))
        epochs.append(found.epochs(found.steps))
        steps.append(found.steps)
    assert epochs[0] < epochs[1] < 151 < epochs[2]
    assert 80 <= steps[0] < steps[1] < steps[2]


def test_a_stop_keeps_what_was_learned(noisy, truth, small_config, listen):
    control = Control()
    denoiser = Denoiser(small_config)
    generator = denoiser.train(noisy, control=control)
    for event in generator:
        if isinstance(event, TrainingEvent) and event.step > event.steps // 3:
            break
    control.stop()
    events, trained = listen(generator)
    assert trained
    assert len(events) <= 1
    assert denoiser.summary["steps"] < event.steps
    better = psnr(truth, denoiser.predict(noisy), data_range=255)
    assert better > psnr(truth, noisy, data_range=255) + 3


def test_a_stop_before_the_first_step_leaves_it_untrained(noisy, small_config, listen):
    control = Control()
    control.stop()
    denoiser = Denoiser(small_config)
    events, trained = listen(denoiser.train(noisy, control=control))
    assert not trained
    assert events == []
    assert denoiser.summary == {}


def test_a_pause_holds_training_and_resume_goes_on(noisy, small_config, listen):
    config = small_config.model_copy(update={"epochs": 10.0})
    control = Control()
    generator = Denoiser(config).train(noisy, control=control)
    first = next(generator)
    control.pause()
    held = [next(generator) for _ in range(3)]
    assert {event.step for event in held} == {held[0].step}
    assert held[0].step <= first.step + 1
    control.resume()
    events, trained = listen(generator)
    assert trained
    last = [event for event in events if isinstance(event, TrainingEvent)][-1]
    assert last.step == last.steps


def test_a_stop_ends_a_pause(noisy, small_config, listen):
    control = Control()
    generator = Denoiser(small_config).train(noisy, control=control)
    next(generator)
    control.pause()
    control.stop()
    _, trained = listen(generator)
    assert trained


def test_closing_the_generator_frees_the_network(noisy, small_config):
    net = nn.Conv2d(1, 1, 3, padding=1)
    alive = weakref.ref(net)
    generator = Denoiser(small_config, net).train(noisy)
    del net
    next(generator)
    generator.close()
    del generator
    gc.collect()
    assert alive() is None


def test_an_unstable_training_recovers_and_is_reported(noisy, truth, small_config, listen):
    wild = small_config.model_copy(update={"learning_rate": 3.0})
    denoiser = Denoiser(wild)
    events, trained = listen(denoiser.train(noisy))
    assert trained
    assert any("taken back" in event.message for event in events if isinstance(event, Notice))
    better = psnr(truth, denoiser.predict(noisy), data_range=255)
    assert better > psnr(truth, noisy, data_range=255)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("epochs", [0.1, 20])
def test_a_training_that_learned_nothing_says_so(seed, epochs, small_config, listen):
    empty = np.random.default_rng(seed).normal(size=(96, 112))
    events, _ = listen(Denoiser(small_config.model_copy(update={"epochs": epochs})).train(empty))
    assert any("mean grey value" in event.message for event in events if isinstance(event, Notice))


class Exploding(nn.Module):
    """Fails like PyTorch does, from a given call on."""

    def __init__(self, message, calls=3, batch=0):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.message, self.calls, self.batch = message, calls, batch

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0 and len(x) > self.batch:
            raise RuntimeError(self.message)
        return self.conv(x)


def test_a_failure_of_torch_leaves_as_an_error_of_the_package(noisy, small_config):
    with pytest.raises(EngineError, match="cuDNN error") as caught:
        Denoiser(small_config, Exploding("cuDNN error\nand a long trace")).fit(noisy)
    assert not isinstance(caught.value, RuntimeError)
    assert "\n" not in str(caught.value)


def test_out_of_memory_makes_the_batch_smaller(noisy, small_config, listen):
    config = small_config.model_copy(update={"epochs": 2.0})
    denoiser = Denoiser(config, Exploding("CUDA out of memory", batch=1))
    events, trained = listen(denoiser.train(noisy))
    assert trained
    assert any("1 crops per step" in e.message for e in events if isinstance(e, Notice))


def test_out_of_memory_for_good_is_told(noisy, small_config):
    with pytest.raises(OutOfMemoryError, match="close other programs"):
        Denoiser(small_config, Exploding("CUDA out of memory")).fit(noisy)


def test_y_and_x_are_not_exchanged_where_they_differ(noisy):
    assert sampler_of(noisy).turn
    assert not sampler_of(noisy, partition=Grid(5, extent=(1, 3))).turn


def test_scores_are_of_grey_values_whatever_their_size(noisy, small_config):
    config = small_config.model_copy(update={"epochs": 20.0})
    plain = Denoiser(config).fit(noisy).summary["score"]
    huge = Denoiser(config).fit(noisy * 1e25).summary["score"]
    assert huge == pytest.approx(plain * 1e50, rel=0.05)


def test_a_bright_channel_does_not_decide_for_a_dim_one(listen, noisy, small_config):
    config = small_config.model_copy(update={"epochs": 20.0})
    denoiser = Denoiser(config).fit(np.stack([noisy * 1e4, noisy]), "CYX")
    result = denoiser.predict(np.stack([noisy * 1e4, noisy]), "CYX")
    assert np.std(result[1] - noisy) == pytest.approx(np.std(result[0] / 1e4 - noisy), rel=0.2)
