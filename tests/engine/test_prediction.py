from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_noise2self import Checkerboard, Grid, RandomPartition, TrainingConfig
from napari_noise2self.engine.errors import OutOfMemoryError
from napari_noise2self.engine.networks import DnCNN, build
from napari_noise2self.engine.predictor import Predictor, symmetries
from napari_noise2self.engine.windows import Place

CPU = torch.device("cpu")


def network(channels=1, ndim=2):
    config = TrainingConfig(channels=4, depth=2)
    return build(config, channels, ndim, 0).eval()


def predict(net, frame, partition=None, output="single_pass", **options):
    predictor = Predictor(net, partition or Grid(4), CPU, **options)
    *_, result = getattr(predictor, output)(frame)
    return result


def random_frame(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("output", ["single_pass", "j_invariant"])
@pytest.mark.parametrize(("ndim", "shape"), [(2, (1, 81, 110)), (3, (2, 4, 45, 50))])
@pytest.mark.parametrize("averaging", [1, 8])
def test_tiles_leave_no_seam(output, ndim, shape, averaging):
    net = network(shape[0], ndim)
    frame = random_frame(*shape)
    partition = Grid(3) if ndim == 2 else Grid((2, 2, 2))
    whole = predict(net, frame, partition, output, averaging=averaging)
    tiled = predict(
        net, frame, partition, output, averaging=averaging, tile_pixels=32**2 * (1, 4)[ndim - 2]
    )
    np.testing.assert_allclose(tiled, whole, atol=2e-5)


REPLACEMENTS = ["mean", "median", "neighbor", "uniform", "zero"]


@st.composite
def windows(draw):
    """A frame, a part of it, and how to predict it."""
    ndim = draw(st.sampled_from([2, 3]))
    # Long enough for windows that touch neither end.
    shape = draw(st.permutations([draw(st.integers(10, 20)), draw(st.integers(130, 200))]))
    shape = [draw(st.integers(1, 4))] * (ndim - 2) + shape
    box = []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        box.append(slice(start, min(start + draw(st.integers(1, 40)), n)))
    wide = Grid(4, extent=3) if ndim == 2 else Grid((2, 4, 2), extent=(1, 3, 1))
    partition = draw(st.sampled_from([Grid(2), wide, RandomPartition(3), Checkerboard()]))
    options = {
        "partition": partition,
        "replacement": draw(st.sampled_from(REPLACEMENTS)),
        "averaging": draw(st.sampled_from([1, 4])),
        "tile_pixels": draw(st.sampled_from([32**2, 2**18])),
    }
    return ndim, shape, tuple(box), options, draw(st.integers(0, 2**16))


@given(windows(), st.sampled_from(["single_pass", "j_invariant"]))
@settings(deadline=None, max_examples=25)
def test_a_window_is_predicted_as_the_whole_frame_is(case, output):
    ndim, shape, box, options, seed = case
    predictor = Predictor(network(1, ndim), device=CPU, **options)
    frame = random_frame(1, *shape, seed=seed)
    valid = np.random.default_rng(seed).random(frame.shape) > 0.1
    place = Place.around(box, shape, predictor.reach(shape, masked=output == "j_invariant"))
    read, inside = (slice(None), *place.read), (slice(None), *box)
    more = [valid] if output == "j_invariant" else []
    *_, whole = getattr(predictor, output)(frame, *more)
    *_, part = getattr(predictor, output)(frame[read], *[v[read] for v in more], place=place)
    np.testing.assert_allclose(part, whole[inside], atol=2e-5)


@pytest.mark.parametrize("partition", [Grid(2), Grid(6, extent=5), RandomPartition(2)])
def test_a_hole_wider_than_any_surrounding_is_the_same_in_a_window(partition):
    frame, valid = random_frame(1, 20, 260), np.ones((1, 20, 260), bool)
    valid[..., 3:-3] = False
    predictor = Predictor(network(), partition, CPU)
    box = (slice(0, 20), slice(150, 160))
    place = Place.around(box, frame.shape[1:], predictor.reach(frame.shape[1:], masked=True))
    assert place.read[1].start >= 64
    assert place.read[1].stop < 256
    read = (slice(None), *place.read)
    *_, whole = predictor.j_invariant(frame, valid)
    *_, part = predictor.j_invariant(frame[read], valid[read], place)
    np.testing.assert_allclose(part, whole[:, :, 150:160], atol=2e-5)


def test_the_dncnn_is_seamless_too():
    net = DnCNN(channels=8, layers=7).eval()
    frame = random_frame(1, 80, 70)
    np.testing.assert_allclose(
        predict(net, frame, tile_pixels=24**2), predict(net, frame), atol=2e-5
    )


@st.composite
def hidden_cases(draw):
    """A frame, a subset, and the frame changed at will where that subset hides it."""
    ndim = draw(st.sampled_from([2, 3]))
    shape = (draw(st.integers(1, 2)), *((4,) if ndim == 3 else ()))
    shape += (draw(st.integers(9, 24)), draw(st.integers(9, 24)))
    extent = tuple(draw(st.sampled_from([1, 3])) for _ in range(ndim))
    partition = Grid(tuple(draw(st.integers(e + 1, e + 2)) for e in extent), extent)
    subset = draw(st.integers(0, partition.subset_count(ndim) - 1))
    seed = draw(st.integers(0, 2**16))
    frame = random_frame(*shape, seed=seed)
    mask = partition.labels(shape[1:]) == subset
    hidden = np.zeros_like(mask)
    for index in np.argwhere(mask):
        block = (
            slice(max(i - e // 2, 0), i + e // 2 + 1) for i, e in zip(index, extent, strict=True)
        )
        hidden[tuple(block)] = True
    other = np.where(hidden, random_frame(*shape, seed=seed + 1) * 1e3, frame)
    return partition, subset, mask, frame, other


@given(hidden_cases(), st.sampled_from([16**2, 2**20]))
@settings(deadline=None, max_examples=25)
def test_a_subset_is_predicted_without_looking_at_it(case, tile_pixels):
    partition, subset, mask, frame, other = case
    predictor = Predictor(
        network(len(frame), frame.ndim - 1), partition, CPU, tile_pixels=tile_pixels
    )
    first, second = predictor.subset(frame, subset), predictor.subset(other, subset)
    np.testing.assert_array_equal(first[:, mask], second[:, mask])


@pytest.mark.parametrize("partition", [Grid(3), Grid((4, 5), extent=(1, 3))])
def test_the_averaged_j_invariant_output_does_not_look_either(partition):
    net = network(2)
    frame = random_frame(2, 21, 18)
    first = predict(net, frame, partition, "j_invariant", averaging=8)
    for subset in (0, 4, 8):
        mask = partition.labels(frame.shape[1:]) == subset
        other = np.where(mask, 1e3, frame).astype(np.float32)
        second = predict(net, other, partition, "j_invariant", averaging=8)
        np.testing.assert_array_equal(first[:, mask], second[:, mask])
        assert not np.array_equal(first, second)


def test_what_fills_a_bad_pixel_tells_nothing_of_its_neighbours():
    net, partition = network(), Grid(4)
    valid = np.random.default_rng(3).random((1, 40, 36)) > 0.3
    frame = random_frame(1, 40, 36)
    filled = np.where(valid, frame, random_frame(1, 40, 36, seed=9))
    predictor = Predictor(net, partition, CPU)
    *_, first = predictor.j_invariant(frame, valid)
    *_, second = predictor.j_invariant(filled, valid)
    np.testing.assert_array_equal(first, second)


class Downsampling(nn.Module):
    """Works on multiples of 16 only, and does not say so."""

    def forward(self, x):
        assert all(n % 16 == 0 for n in x.shape[2:])
        return x


def test_a_network_that_needs_round_sizes_gets_them():
    frame = random_frame(1, 37, 50)
    np.testing.assert_array_equal(predict(Downsampling(), frame), frame)


def test_deep_volumes_are_tiled_along_z_too():
    net = network(1, 3)
    frame = random_frame(1, 60, 24, 24)
    shapes = []
    net.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[2]))
    tiled = predict(net, frame, Grid(2), tile_pixels=10 * 24**2)
    assert max(shapes) < 60
    np.testing.assert_allclose(tiled, predict(net, frame, Grid(2)), atol=2e-5)


def test_the_single_pass_sees_the_pixel():
    net = network()
    frame = random_frame(1, 32, 32)
    other = frame.copy()
    other[0, 16, 16] += 100
    assert predict(net, frame)[0, 16, 16] != predict(net, other)[0, 16, 16]


def test_averaging_makes_the_output_follow_the_flips_of_the_input():
    net = network()
    frame = random_frame(1, 40, 48)
    turned = np.ascontiguousarray(frame.transpose(0, 2, 1)[:, ::-1])
    expected = predict(net, frame, averaging=8).transpose(0, 2, 1)[:, ::-1]
    np.testing.assert_allclose(predict(net, turned, averaging=8), expected, atol=2e-5)


@pytest.mark.parametrize("turn", [True, False])
def test_the_symmetries_are_all_different_and_start_with_none(turn):
    every = symmetries(8, turn)
    assert len(set(every)) == len(every) == (8 if turn else 4)
    assert every[0] == (False, ())
    assert symmetries(2, turn) == every[:2]


def test_rows_and_columns_are_not_exchanged_where_they_differ():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape[2:]))
            return x

    predict(Spy(), random_frame(1, 20, 30), averaging=8, turn=False)
    assert len(set(seen)) == 1
    assert len(seen) == 4


class WholeMean(nn.Module):
    """Normalises over the whole image, so it cannot be tiled."""

    def forward(self, x):
        return x - x.mean(dim=(2, 3), keepdim=True)


def test_a_network_with_image_wide_normalisation_is_applied_to_whole_frames():
    frame = random_frame(1, 60, 60) + np.linspace(0, 9, 60, dtype=np.float32)
    np.testing.assert_array_equal(
        predict(WholeMean(), frame, tile_pixels=256), predict(WholeMean(), frame)
    )


class Limited(nn.Module):
    """Runs out of memory above a number of pixels."""

    halo = (0, 0)
    multiple = (1, 1)

    def __init__(self, pixels):
        super().__init__()
        self.pixels = pixels

    def forward(self, x):
        if x[0, 0].numel() > self.pixels:
            raise RuntimeError("CUDA out of memory")
        return x


def test_out_of_memory_makes_the_tiles_smaller():
    frame = random_frame(1, 300, 260)
    np.testing.assert_allclose(predict(Limited(2**13), frame), frame, atol=1e-6)


def test_out_of_memory_in_the_smallest_tile_is_told():
    with pytest.raises(OutOfMemoryError, match="300×260"):
        predict(Limited(10), random_frame(1, 300, 260))


def test_progress_rises_to_one():
    predictor = Predictor(network(), Grid(4), CPU, tile_pixels=32**2)
    *fractions, _ = predictor.single_pass(random_frame(1, 70, 70))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
