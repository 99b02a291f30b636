from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from napari_noise2self import Denoiser, Grid, TrainingConfig, denoise
from napari_noise2self.engine import training
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Control, Notice
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.optimizer import AdamW
from napari_noise2self.engine.pipeline import denoise_events
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.sampling import Sampler
from napari_noise2self.engine.targets import prepare_targets

from .conftest import SIGMA


@pytest.fixture(scope="module")
def other(truth):
    """A second noisy image of the scene."""
    return truth + np.random.default_rng(2).normal(0, SIGMA, truth.shape)


@pytest.fixture(scope="module")
def brief():
    return TrainingConfig(channels=4, depth=2, crop_size=64, epochs=1.0, device="cpu")


def taught(image, target):
    layout = Layout.of(image.shape)
    data = prepare([(image, layout)])
    return data, prepare_targets([(target, layout)], data)


def sampler_of(image, target, partition=None):
    data, targets = taught(image, target)
    config = TrainingConfig(crop_size=32)
    device = torch.device("cpu")
    return Sampler(data, partition or Grid(4), config, device, goals=targets.blocks)


def places_of(shape):
    """Two images of grey values that tell where a pixel comes from, and how to read them."""
    image = np.arange(np.prod(shape), dtype=float).reshape(shape)
    return image, image + 0.25, image.mean(), image.std()


def test_a_step_sees_the_image_unmasked_and_the_target_beside_it():
    image, target, offset, scale = places_of((48, 40))
    held_out = Grid(4).held_out(image.shape).ravel()
    sampler = sampler_of(image, target)
    rng = np.random.default_rng(0)
    drawn = np.zeros(image.size, bool)
    for _ in range(60):
        inputs, goals, targets = sampler.batch(3, rng)
        # The same pixels, flipped alike, each with its own value.
        np.testing.assert_allclose((goals - inputs).numpy() * scale, 0.25, atol=1e-2)
        places = np.round(inputs.numpy() * scale + offset).astype(int)
        # All but what is held out.
        np.testing.assert_array_equal(targets.numpy(), ~held_out[places])
        drawn[places[targets.numpy()]] = True
    assert drawn.sum() > 0.9 * (~held_out).sum()
    for inputs, goals, targets in sampler.scoring_batches():
        places = np.round(inputs.numpy() * scale + offset).astype(int)
        np.testing.assert_array_equal(targets.numpy(), held_out[places])
        np.testing.assert_allclose((goals - inputs).numpy() * scale, 0.25, atol=1e-2)


def test_loss_and_gradient_are_those_of_the_squared_error_to_the_target(noisy, other):
    sampler = sampler_of(noisy, other)
    net = nn.Conv2d(1, 1, 3, padding=1)
    found = []
    net.weight.register_hook(lambda gradient: found.append(gradient.clone()))
    total, count = training._step(
        net, AdamW(net), 0.0, sampler, 4, np.random.default_rng(5), None
    ).tolist()
    inputs, goals, targets = sampler.batch(4, np.random.default_rng(5))
    loss = (net(inputs) - goals)[targets].square().mean()
    loss.backward()
    assert total / count == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(found[0], found[1])


def test_bad_pixels_of_either_are_no_targets():
    rng = np.random.default_rng(0)
    image, target = rng.normal(200, 5, (2, 64, 64))
    image[rng.random(image.shape) < 0.1] = np.nan
    target[rng.random(image.shape) < 0.1] = np.inf
    target[20, 30] = 1e4
    _, targets = taught(image, target)
    bad = ~np.isfinite(image) | ~np.isfinite(target)
    bad[20, 30] = True
    assert not any("image" in notice for notice in targets.notices)
    assert f"{np.sum(~np.isfinite(target)) + 1} pixels of the target" in targets.notices[0]
    sampler = sampler_of(image, target)
    # Mark them to see where they go.
    sampler.values[0][0][torch.from_numpy(bad)] = 1e6
    rng = np.random.default_rng(0)
    for _ in range(20):
        inputs, goals, where = sampler.batch(4, rng)
        assert (inputs == 1e6).any()
        assert inputs[where].max() < 1e3
        assert goals[where].abs().max() < 1e3


def test_the_target_is_mapped_as_the_image_is(noisy):
    data, targets = taught(noisy, (3 * noisy + 7).astype(np.float32))
    grey = data.normalisation.invert(targets.blocks[0].values)
    np.testing.assert_allclose(grey[0], 3 * noisy + 7, rtol=1e-4)


def test_another_brightness_is_told_and_noise_is_not(truth, noisy, other):
    assert taught(noisy, other)[1].notices == []
    assert taught(noisy, truth)[1].notices == []
    # Hardly anything but noise.
    weak = [200 + 0.05 * (x - 200) + 0.95 * (x - truth) for x in (noisy, other)]
    assert taught(*weak)[1].notices == []
    (notice,) = taught(noisy, 3 * other - 100)[1].notices
    assert re.search(r"about (2\.9|3)\S* × image - \d", notice)
    channels = np.stack([noisy, noisy])
    layout = Layout.of(channels.shape, "CYX")
    data = prepare([(channels, layout)])
    (notice,) = prepare_targets([(np.stack([other, other + 90]), layout)], data).notices
    assert "in channel 1" in notice


def test_a_target_is_noisy_unless_it_is_said_to_be_the_truth(noisy, truth, other, brief):
    by_default = Denoiser(brief).fit(noisy, target=other)
    assert by_default.config.objective == by_default.summary["objective"] == "n2n"
    stated = Denoiser(brief.model_copy(update={"objective": "n2t"})).fit(noisy, target=truth)
    assert stated.config.objective == stated.summary["objective"] == "n2t"
    without = Denoiser(brief).fit(noisy)
    assert without.config.objective == without.summary["objective"] == "n2s"
    assert "target" not in without.summary
    # One denoiser can be trained in both ways, one after the other.
    assert by_default.fit(noisy).summary["objective"] == "n2s"


def test_the_loss_against_the_truth_is_the_error_where_it_was_no_target(noisy, truth, brief):
    config = brief.model_copy(update={"objective": "n2t"})
    denoiser = Denoiser(config).fit(noisy, target=truth)
    single = denoiser.predict(noisy)
    np.testing.assert_array_equal(single, denoiser.predict(noisy, output="single-pass"))
    where = Grid(2).held_out(noisy.shape)
    error = np.mean((single - truth)[where] ** 2)
    assert denoiser.summary["target"]["loss"] == pytest.approx(error, rel=1e-4)
    assert denoiser.summary["target"]["positions"] == where.sum()


def test_targets_decide_what_is_learned_and_seeds_repeat_it(noisy, truth, other, brief):
    longer = brief.model_copy(update={"epochs": 10.0})
    first = Denoiser(longer).fit(noisy, target=other).predict(noisy)
    np.testing.assert_array_equal(Denoiser(longer).fit(noisy, target=other).predict(noisy), first)
    brighter = Denoiser(longer).fit(noisy, target=other + 500).predict(noisy)
    assert brighter.mean() == pytest.approx(first.mean() + 500, abs=100)
    seeded = longer.model_copy(update={"seed": 1})
    assert not np.array_equal(Denoiser(seeded).fit(noisy, target=other).predict(noisy), first)


def test_the_schedule_does_not_depend_on_the_objective(noisy, other, brief):
    steps = {
        Denoiser(brief.model_copy(update={"partition": partition}))
        .fit(noisy, target=target)
        .summary["steps"]
        for target in (None, other)
        for partition in (Grid(3),)
    }
    assert len(steps) == 1


def test_scores_and_held_out_positions_stay_those_of_the_j_invariant_prediction(
    noisy, other, brief
):
    config = brief.model_copy(update={"partition": Grid(6, extent=3)})
    denoiser = Denoiser(config).fit(noisy, target=other)
    assert denoiser.resolved_output() == "single-pass"
    predicted = denoiser.predict(noisy, output="j-invariant")
    where = Grid(6, extent=3).held_out(noisy.shape)
    loss = np.mean((predicted - noisy)[where] ** 2)
    assert denoiser.summary["score"] == pytest.approx(loss, rel=1e-3)
    (place,) = denoiser.held_out(noisy, partition=Grid(4))
    assert place.predicted.size == Grid(4).held_out(noisy.shape).sum()


def test_a_model_says_what_it_was_trained_on(noisy, truth, brief, tmp_path):
    config = brief.model_copy(update={"objective": "n2t"})
    Denoiser(config).fit(noisy, target=truth).save(tmp_path / "model.safetensors")
    loaded = Denoiser.load(tmp_path / "model.safetensors", device="cpu")
    assert loaded.config.objective == loaded.summary["objective"] == "n2t"
    assert loaded.resolved_output() == "single-pass"
    with pytest.raises(InputError, match="needs a target"):
        loaded.fit(noisy)


def test_lists_of_images_have_lists_of_targets(noisy, other, brief):
    images, targets = [noisy, noisy[:64].astype(np.float32)], [other, other[:64].astype(np.uint16)]
    denoiser = Denoiser(brief).fit(images, target=targets)
    assert denoiser.summary["objective"] == "n2n"
    for wrong, words in (
        (targets[:1], "2 images but 1 target:"),
        (other, "images are a list but the targets are one array"),
        (targets[::-1], "shape"),
    ):
        with pytest.raises(InputError, match=words):
            Denoiser(brief).fit(images, target=wrong)
    with pytest.raises(InputError, match="images are one array but the targets are a list"):
        Denoiser(brief).fit(noisy, target=targets)


@pytest.mark.parametrize(
    ("objective", "target", "words"),
    [
        ("n2n", None, "'n2n' needs a target.*second noisy image"),
        ("n2t", None, "'n2t' needs a target.*the truth"),
        ("n2s", np.zeros, "'n2s' learns from the image alone"),
        ("sure", np.zeros, "'sure' learns from the image alone"),
        ("n2n", lambda shape: np.zeros((*shape, 2)), "target has the shape .* but the image"),
        ("n2n", lambda shape: np.zeros(shape, bool), "The target is bool"),
        ("n2n", lambda shape: np.ones(shape, complex), "The target has the type complex128"),
        ("n2n", np.ones, "The target is constant"),
        ("n2n", lambda shape: np.full(shape, np.nan), "Every pixel of the target"),
    ],
)
def test_what_does_not_go_together_is_refused(noisy, brief, objective, target, words):
    config = TrainingConfig(**{**brief.model_dump(), "objective": objective})
    with pytest.raises(InputError, match=words) as raised:
        Denoiser(config).fit(noisy, target=None if target is None else target(noisy.shape))
    assert str(raised.value).count(". ") == 0


def test_the_main_job_takes_a_target(noisy, other, truth, brief, listen):
    events, result = listen(denoise_events(noisy, config=brief, target=other))
    assert result.info["objective"] == result.info["settings"]["objective"] == "n2n"
    assert result.info["output"] == "single-pass"
    assert math.isfinite(result.info["target"]["loss"])
    assert not any(isinstance(event, Notice) and "target" in event.message for event in events)
    json.dumps(result.info)
    said = []
    denoise(noisy, target=truth + 300, objective="n2t", epochs=0.1, progress=said.append)
    assert any("brightness of the target" in getattr(event, "message", "") for event in said)


def test_a_stop_ends_the_reading_of_targets(noisy, other, brief, listen):
    control = Control()
    control.stop()
    assert listen(Denoiser(brief).train(noisy, target=other, control=control)) == ([], False)
