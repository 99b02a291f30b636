"""What is taken as depth, and slices that are seen with their neighbours."""

from __future__ import annotations

import dataclasses
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_noise2self import Checkerboard, Denoiser, Grid, Noise2SelfError, TrainingConfig
from napari_noise2self.engine import networks
from napari_noise2self.engine.comparison import compare_events
from napari_noise2self.engine.events import Notice
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.torchscript import compiled
from tests.engine.conftest import listen_to, scene

QUICK: dict[str, Any] = {"channels": 4, "depth": 2, "crop_size": 32, "batch_size": 2}


def config(**settings):
    return TrainingConfig(**{"epochs": 0.2, "device": "cpu", **QUICK, **settings})


def stack_of(*shape, seed=0):
    return np.random.default_rng(seed).normal(scene(shape, 1), 20.0).astype(np.float32)


@pytest.fixture(scope="module")
def stack():
    return stack_of(7, 40, 48)


@pytest.fixture(scope="module")
def seen(stack):
    """A denoiser that sees one slice on either side."""
    return Denoiser(config(context=1)).fit(stack, "ZYX")


@pytest.mark.parametrize("use", ["together", "shared", "apart"])
@pytest.mark.parametrize(("context", "depth"), [(1, 5), (2, 5), (3, 2), (1, 1)])
def test_a_slice_depends_on_its_neighbours_alone(use, context, depth):
    net = networks.build(config(context=context, channel_use=use), 2, 3, 0).eval()
    assert net.halo[0] == context
    assert net.multiple == (1, 4, 4)
    image = torch.randn(1, 2, depth, 32, 32)
    with torch.inference_mode():
        plain = net(image)
        assert plain.shape == image.shape
        for z in range(depth):
            other = image.clone()
            other[:, :, z] += 1
            changed = {
                int(i) for i in (net(other) - plain).abs().amax((0, 1, 3, 4)).nonzero().ravel()
            }
            assert changed == {i for i in range(depth) if abs(i - z) <= context}


def test_the_blurred_slice_is_its_own():
    # With nothing learned the network gives about the blurred slice, without its neighbours.
    net = networks.build(config(context=1), 1, 3, 0).eval()
    with torch.no_grad():
        net.network.head.weight.zero_()
        image = torch.zeros(1, 1, 3, 32, 32)
        image[:, :, 0] = 1
        np.testing.assert_allclose(net(image)[0, 0].mean((1, 2)), [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("partition", [None, Grid(3, 1), Grid((2, 4), (1, 3)), Checkerboard()])
def test_a_slice_with_neighbours_is_predicted_without_its_targets(stack, partition):
    denoiser = Denoiser(config(context=1, partition=partition)).fit(stack, "ZYX")
    used = denoiser.trained.partition
    labels = used.labels(stack.shape)
    subset = 1
    hidden = labels == subset
    reach = [2 * (e // 2) + 1 for e in used.extents(3)]
    dilated = ndimage.binary_dilation(hidden, np.ones(reach, bool))
    other = np.where(dilated, stack[::-1, ::-1] + 40, stack)
    one, two = (denoiser.predict(image, "ZYX", output="j-invariant") for image in (stack, other))
    # Filling pixels that look bad could differ, so nothing may be hot here.
    np.testing.assert_array_equal(one[hidden], two[hidden])
    assert not np.array_equal(one, two)


def test_nothing_is_hidden_in_the_neighbours_of_a_target():
    assert Grid(2).beside(1, 9) == Grid((2, 2, 2), (1, 1, 1))
    assert Grid(2).beside(2, 9) == Grid((3, 2, 2), (1, 1, 1))
    assert Grid(2).beside(3, 2) == Grid((2, 2, 2), (1, 1, 1))
    assert Grid((4, 5), (1, 3)).beside(1, 9) == Grid((2, 4, 5), (1, 1, 3))
    assert Grid((4, 4, 6), (3, 1, 5)).beside(3, 9) == Grid((5, 4, 6), (3, 1, 5))
    grid = Grid(2).beside(2, 9)
    labels = grid.labels((7, 8, 8))
    for z in range(7):
        beside = [i for i in range(7) if 0 < abs(i - z) <= 2]
        assert not set(np.unique(labels[z])) & set(np.unique(labels[beside]))


def test_regions_give_what_the_whole_stack_gives(stack, seen, tmp_path):
    for output in ("single-pass", "j-invariant"):
        whole = seen.predict(stack, "ZYX", output=output)
        region = (slice(2, 4), slice(8, 30), slice(0, 48))
        part = seen.predict_region(stack, region, "ZYX", output)
        np.testing.assert_allclose(part, whole[region], rtol=1e-4)
        lazy = da.from_array(stack, (3, 20, 48))
        np.testing.assert_allclose(seen.predict(lazy, "ZYX", output), whole, rtol=1e-4)
    seen.save(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    assert loaded.config.context == 1
    np.testing.assert_array_equal(loaded.predict(stack, "ZYX"), seen.predict(stack, "ZYX"))


def test_only_the_slices_beside_are_read_for_a_region(stack):
    deep = np.concatenate([stack] * 12)
    denoiser = Denoiser(config(context=1, averaging=False)).fit(stack, "ZYX")
    region = (slice(40, 42), slice(0, 40), slice(0, 48))
    slab = denoiser.read_region(deep, region, "ZYX", "single-pass")
    assert slab.values.shape[0] <= 10


def test_neighbours_help_where_they_show_the_same():
    flat = scene((48, 48), 2)
    truth = np.broadcast_to(flat, (8, 48, 48))
    noisy = np.random.default_rng(0).normal(truth, 60)
    errors = []
    for context in (0, 1):
        settings = config(context=context, epochs=3, averaging=False, seed=1)
        result = Denoiser(settings).fit(noisy, "ZYX").predict(noisy, "ZYX")
        errors.append(float(np.mean((result - truth) ** 2)))
    assert errors[1] < 0.9 * errors[0]


def test_time_is_depth_where_there_is_no_z_or_if_asked():
    axes = {"TYX": "TYX", "ZYX": "ZYX", "TZCYX": "ZYX", "TCYX": "TYX"}
    sizes = {"T": 5, "Z": 6, "C": 2, "Y": 32, "X": 40}
    for letters, spatial in axes.items():
        shape = [sizes[letter] for letter in letters]
        assert config(context=1).layout(shape, letters).spatial_axes == spatial
    layout = config(context=1, depth_axis="T").layout((5, 6, 32, 40), "TZYX")
    assert (layout.spatial_axes, layout.frame_axes) == ("TYX", "Z")
    layout = config(volume=True, depth_axis="T").layout((5, 32, 40), "TYX")
    assert layout.frame_shape == (1, 5, 32, 40)
    assert config(context=1).layout((5, 32, 40)).spatial_axes == "ZYX"


def test_time_as_depth_is_learned_from_and_previewed(stack):
    movie = np.stack([stack, stack[::-1]], axis=1)
    for settings in (config(volume=True, depth_axis="T"), config(context=1, depth_axis="T")):
        denoiser = Denoiser(settings).fit(movie, "TZYX")
        assert denoiser.predict(movie, "TZYX").shape == movie.shape
        assert denoiser.trained.noise.spatial_axes == "TYX"


def test_the_noise_of_a_movie_is_told_from_its_frames():
    image = scene((64, 64), 3)
    movie = np.random.default_rng(1).normal(image, 10.0, (24, 64, 64))
    report = estimate_noise(movie, "TYX", volume=True, depth_axis="T")
    assert report.channels[0].from_frames
    assert report.channels[0].mean_variance == pytest.approx(100, rel=0.1)
    assert not report.correlated


def test_a_fixed_pattern_is_told_where_neighbours_are_seen():
    rng = np.random.default_rng(2)
    pattern = rng.normal(0, 6, (96, 96))
    movie = rng.normal(200 + pattern, 10.0, (16, 96, 96))
    for context, told in ((1, True), (0, False)):
        events, _ = listen_to(Denoiser(config(context=context, epochs=0.01)).train(movie, "TYX"))
        words = [event.message for event in events if isinstance(event, Notice)]
        assert any("fixed pattern" in sentence for sentence in words) is told


def test_what_does_not_go_together_is_said(stack):
    for settings, words in (
        ({"context": 1, "volume": True}, "shows all of its slices already"),
        ({"context": -1}, "greater than or equal to 0"),
        ({"depth_axis": "C"}, "'Z' or 'T'"),
    ):
        with pytest.raises(Noise2SelfError, match=words):
            config(**settings)
    with pytest.raises(Noise2SelfError, match="neither Z nor T"):
        Denoiser(config(context=1)).fit(stack, "CYX")
    with pytest.raises(Noise2SelfError, match="lack T"):
        Denoiser(config(context=1, depth_axis="T")).fit(stack, "ZYX")
    with pytest.raises(Noise2SelfError, match="denoise slice by slice"):
        Denoiser(config(context=1)).fit(stack[:1], "ZYX")
    with pytest.raises(Noise2SelfError, match="leave channel_use and context out"):
        Denoiser(config(context=1), torch.nn.Conv2d(1, 1, 1))


def test_the_program_of_a_model_with_neighbours_is_the_model(seen):
    program = compiled(dataclasses.replace(seen.trained))
    shape = tuple(n + 2 * m for n, m in zip(program.smallest, program.step, strict=True))
    values = np.random.default_rng(0).normal(size=(1, 1, *shape)).astype(np.float32)
    *_, expected = seen.trained.predictor(exact=True).single_pass(values[0])
    inner = tuple(slice(h, n - h) for n, h in zip(shape, program.halo, strict=True))
    found = program(values)[0, 0]
    np.testing.assert_allclose(found[inner], expected[0][inner], atol=1e-4)


def test_a_model_with_neighbours_is_compared_where_depth_is_hidden_too(stack, seen):
    for volume, failed in ((True, False), (False, True)):
        events = compare_events(stack, ["gaussian", seen], axes="ZYX", volume=volume, device="cpu")
        _, comparison = listen_to(events)
        (row,) = [row for row in comparison.rows if row["denoiser"] == "A trained model"]
        assert bool(row["failure"]) is failed
        assert failed or row["score"] > 0
