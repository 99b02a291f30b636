from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

import napari_noise2self as n2s
from napari_noise2self import Denoiser, Grid, TrainingConfig
from napari_noise2self.engine.events import Notice
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.recorruption import STRENGTH
from napari_noise2self.engine.sampling import Sampler

SIGMA = 20.0
SHAPE = (192, 192)


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=SHAPE), 5)
    return 200 + 60 * smooth / smooth.std()


@pytest.fixture(scope="module")
def blotchy(scene):
    """Noise that is alike in neighbouring pixels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 0.9)
    return scene + SIGMA * noise / noise.std()


@pytest.fixture(scope="module")
def config():
    return TrainingConfig(channels=8, depth=2, crop_size=64, epochs=6, device="cpu")


@pytest.fixture(scope="module")
def trained(blotchy, config):
    return Denoiser(config).fit(blotchy)


def psnr(truth, image):
    return n2s.psnr(truth, image, data_range=255)


def sampler_of(image, config):
    noise = estimate_noise(image)
    data = prepare([(image, Layout.of(image.shape))])
    return Sampler(data, noise.suggestion.partition, config, torch.device("cpu"), noise), data


def test_correlated_noise_is_found_hidden_and_said(blotchy, config, listen):
    denoiser = Denoiser(config.model_copy(update={"epochs": 0.1}))
    events, _ = listen(denoiser.train(blotchy))
    assert min(denoiser.summary["partition"]["extent"]) >= 3
    assert any("correlated along y and x" in e.message for e in events if isinstance(e, Notice))


def test_white_noise_is_not_called_correlated(scene, config, listen):
    white = scene + np.random.default_rng(1).normal(0, SIGMA, SHAPE)
    denoiser = Denoiser(config.model_copy(update={"epochs": 0.1}))
    events, _ = listen(denoiser.train(white))
    assert denoiser.summary["partition"]["extent"] == [1, 1]
    assert not any("correlated" in e.message for e in events if isinstance(e, Notice))


def test_a_partition_that_hides_too_little_is_warned_of(blotchy, config, listen):
    narrow = config.model_copy(update={"epochs": 0.1, "partition": Grid(4)})
    denoiser = Denoiser(narrow)
    events, _ = listen(denoiser.train(blotchy))
    assert denoiser.summary["partition"]["extent"] == [1, 1]
    assert any("some of the noise will stay" in e.message for e in events if isinstance(e, Notice))


def test_as_much_noise_is_added_as_the_image_has(blotchy, config):
    """Only then is the noise of the two versions independent."""
    sampler, data = sampler_of(blotchy, config)
    rng = np.random.default_rng(0)
    products = []
    for _ in range(40):
        inputs, goals, targets = sampler.pairs(4, rng)
        middle = (inputs + STRENGTH**2 * goals) / (1 + STRENGTH**2)  # the image again
        added = (inputs - middle) / STRENGTH
        products.append(float((added**2)[targets].mean()))
    scale = data.normalisation.scale[0]
    assert np.mean(products) * scale**2 == pytest.approx(SIGMA**2, rel=0.15)


def test_held_out_positions_are_never_compared(blotchy, config):
    sampler, _ = sampler_of(blotchy, config)
    partition = sampler.partition
    held_out = partition.held_out(SHAPE)
    rng = np.random.default_rng(0)
    share = np.mean([float(sampler.pairs(4, rng)[2].float().mean()) for _ in range(30)])
    assert share == pytest.approx(1 - held_out.mean(), abs=0.01)


def test_half_of_a_step_is_masked(blotchy, scene, config):
    sampler, _ = sampler_of(blotchy, config)
    assert [sampler.masked_crops(n) for n in (4, 3, 1)] == [2, 2, 1]
    white = scene + np.random.default_rng(1).normal(0, SIGMA, SHAPE)
    assert sampler_of(white, config)[0].masked_crops(4) == 4


def test_what_it_learned_from_pairs_beats_hiding_alone(blotchy, scene, trained):
    single = psnr(scene, trained.predict(blotchy))
    hidden = psnr(scene, trained.predict(blotchy, output="j-invariant"))
    assert trained.resolved_output() == "single-pass"
    assert single > hidden + 0.5
    assert single > psnr(scene, blotchy) + 5


def test_the_mixed_output_is_better_than_the_j_invariant_one(blotchy, scene, trained):
    mixed = psnr(scene, trained.predict(blotchy, output="mixed"))
    assert mixed > psnr(scene, trained.predict(blotchy, output="j-invariant"))


def test_a_model_keeps_what_it_knows_of_the_noise(blotchy, trained, tmp_path):
    trained.save(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    for output in ("auto", "mixed"):
        np.testing.assert_array_equal(
            loaded.predict(blotchy, output=output), trained.predict(blotchy, output=output)
        )
    assert loaded.score(blotchy) == trained.score(blotchy)
