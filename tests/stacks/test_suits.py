"""What is said of a model and an image that do, or do not, suit each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from napari_noise2self import Denoiser, TrainingConfig
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.suits import remember, suitability, trained_on

QUICK = TrainingConfig(channels=4, depth=2, crop_size=32, epochs=0.02, device="cpu")
SIZE = {"scale": (0.1, 0.1), "units": ("µm", "µm")}


def scene(gain=2.0, offset=100.0, light=60.0, width=0.0, seed=0, shape=(256, 256)):
    """An image with photon noise, blurred over so many pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    clean = light * (1.2 + np.sin(y / 23) * np.cos(x / 31))
    noise = rng.poisson(clean) - clean
    if width:
        noise = ndimage.gaussian_filter(noise, width) / (2 * np.sqrt(np.pi) * width) ** -1
    return (gain * (clean + noise) + offset).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Trained on one image, saved and loaded."""
    stack = Stack(scene(), "YX", **SIZE, name="day 1")
    denoiser = Denoiser(QUICK).fit(stack.data)
    remember(denoiser, [stack, stack])
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    denoiser.save(path)
    return Denoiser.load(path, device="cpu")


def test_it_is_told_what_a_model_was_trained_on(model):
    words = " ".join(trained_on(model))
    for part in (
        "one channel: day 1 and 1 more",
        "0.1 µm",
        "Grey values of 245 ± 61",
        "not correlated",
    ):
        assert part in words


def test_a_model_that_was_told_nothing_says_the_rest(model):
    other = Denoiser(model.config)
    other._trained = model.trained
    words = " ".join(trained_on(other))
    assert "Grey values" in words
    assert "µm" not in words
    assert suitability(other, Stack(scene(seed=1), "YX", scale=(9, 9), units=("µm", "µm"))) == []


def test_nothing_is_said_of_an_image_like_those_it_was_trained_on(model):
    assert suitability(model, Stack(scene(seed=1), "YX", **SIZE)) == []
    movie = Stack(np.stack([scene(seed=i) for i in range(3)]), "TYX")
    assert suitability(model, movie) == []
    # A little darker costs little.
    assert suitability(model, Stack(scene(light=40, seed=2), "YX")) == []


@pytest.mark.parametrize(
    ("image", "sentences"),
    [
        (scene() * 16, ["The grey values are", "The noise is"]),
        (scene() - 400, ["The grey values are"]),
        (scene(gain=8, light=15), ["The noise is 2 times as strong"]),
        (scene(gain=0.5, light=240), ["The noise is only 0.49 times as strong"]),
        (scene(width=1.5), ["is correlated here", "some of it will stay"]),
    ],
)
def test_what_is_other_is_told_in_a_sentence_each(model, image, sentences):
    said = suitability(model, Stack(image, "YX"))
    for sentence in sentences:
        assert any(sentence in words for words in said), said
    assert all(words.endswith(".") and "\n" not in words for words in said)


def test_a_model_for_correlated_noise_is_not_for_white_noise():
    stack = Stack(scene(width=1.5), "YX")
    denoiser = Denoiser(QUICK).fit(stack.data)
    assert denoiser.trained.noise.correlated
    assert suitability(denoiser, stack) == []
    said = suitability(denoiser, Stack(scene(), "YX"))
    assert any("was correlated where the model was trained" in words for words in said)


def test_other_pixels_are_told_where_both_sizes_are_known(model):
    def said(size, unit):
        return suitability(model, Stack(scene(), "YX", scale=(size,) * 2, units=(unit,) * 2))

    assert said(0.12, "µm") == said(0.65, "mm") == []
    (sentence,) = said(0.65, "µm")
    assert "0.65 µm wide" in sentence
    assert "0.1 µm in what" in sentence


def test_channels_have_their_own_sentences_and_their_order(model):
    image = np.stack([scene(), scene(gain=4, offset=900, light=100)])
    stack = Stack(image, "CYX", channel_names=("nuclei", "membranes"))
    denoiser = Denoiser(QUICK).fit(image, "CYX")
    remember(denoiser, [stack])
    assert "(nuclei, membranes)" in trained_on(denoiser)[0]
    assert suitability(denoiser, stack) == []
    swapped = dataclasses.replace(stack, data=image[::-1], channel_names=("membranes", "nuclei"))
    said = suitability(denoiser, swapped)
    assert "order membranes, nuclei" in said[0]
    assert any("The grey values of the channel membranes" in words for words in said)


def test_what_cannot_be_applied_is_the_only_sentence(model):
    (sentence,) = suitability(model, Stack(np.stack([scene()] * 2), "CYX"))
    assert "2 channels, but the model was trained on 1" in sentence
    volumes = Denoiser(model.config.model_copy(update={"volume": True}))
    volumes._trained = model.trained
    (sentence,) = suitability(volumes, Stack(np.stack([scene()] * 2), "TYX"))
    assert "lack Z" in sentence


def test_a_large_stack_is_not_read_as_a_whole(model):
    frame = scene(shape=(512, 512))
    read = []

    class Spy:
        shape, dtype, ndim = (500, 512, 512), frame.dtype, 3

        def __getitem__(self, index):
            part = np.broadcast_to(frame, self.shape)[index]
            read.append(part.size)
            return part

    assert all("noise" not in words for words in suitability(model, Stack(Spy(), "TYX")))
    assert sum(read) < 2**22


def test_an_image_without_any_number_is_told(model):
    said = suitability(model, Stack(np.full((64, 64), np.nan, np.float32), "YX"))
    assert any("No pixel" in words for words in said)


@pytest.mark.parametrize("use", ["volume", "context"])
def test_other_slices_are_told(use):
    config = QUICK.model_copy(update={use: 1, "crop_size": 16})
    volume = np.stack([scene(seed=n, shape=(64, 64)) for n in range(8)])
    about = {"units": ("µm",) * 3, "name": "day 1"}
    stack = Stack(volume, "ZYX", scale=(1.0, 0.1, 0.1), **about)
    denoiser = Denoiser(config).fit(volume, "ZYX")
    remember(denoiser, [stack])
    assert not any("slices" in words for words in suitability(denoiser, stack))
    thin = Stack(volume, "ZYX", scale=(0.2, 0.1, 0.1), **about)
    assert any("0.2 µm apart, but 1 µm" in words for words in suitability(denoiser, thin))


def test_neighbours_along_another_axis_are_told():
    movie = np.stack([scene(seed=n, shape=(64, 64)) for n in range(8)])
    denoiser = Denoiser(QUICK.model_copy(update={"context": 1})).fit(movie, "TYX")
    remember(denoiser, [Stack(movie, "TYX")])
    assert not any("slices" in words for words in suitability(denoiser, Stack(movie, "TYX")))
    words = " ".join(suitability(denoiser, Stack(movie, "ZYX")))
    assert "lie along Z here, and lay along T" in words
