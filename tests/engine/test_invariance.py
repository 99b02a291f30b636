from __future__ import annotations

from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from napari_noise2self import (
    Checkerboard,
    Grid,
    Noise2SelfError,
    RandomPartition,
    TrainingConfig,
    j_invariant,
)
from napari_noise2self.engine.config import Replacement
from napari_noise2self.engine.networks import DnCNN, build
from napari_noise2self.engine.predictor import Predictor

REPLACEMENTS = get_args(Replacement)
CPU = torch.device("cpu")
KINDS = [
    Grid(3),
    Grid((5, 4), (1, 3)),
    RandomPartition(4),
    RandomPartition(20, (1, 3)),
    Checkerboard(),
]


@st.composite
def partitions(draw, ndim):
    kind = draw(st.sampled_from(["grid", "random", "checkerboard"]))
    if kind == "checkerboard":
        return Checkerboard()
    extent = tuple(draw(st.sampled_from([1, 3])) for _ in range(ndim))
    if kind == "grid":
        return Grid(tuple(draw(st.integers(e + 1, e + 2)) for e in extent), extent)
    subsets = draw(st.integers(2, 6) if set(extent) == {1} else st.integers(13, 30))
    return RandomPartition(subsets, extent, draw(st.integers(0, 99)))


def hidden_for(partition, subset, shape, origin=None):
    """The pixels of a subset, and them dilated by the extent."""
    mask = partition.labels(shape, origin) == subset
    return mask, ndimage.binary_dilation(mask, np.ones(partition.extents(len(shape)), bool))


def changed(image, where, rng):
    """The image with other values in some places, small ones and very large ones."""
    wild = rng.normal(size=image.shape) * rng.choice([1.0, 1e3, 1e18], image.shape)
    return np.where(where, wild, image).astype(image.dtype)


def leaking_subsets(function, partition, image, rng):
    """The subsets on which a function looks at what it must not see."""
    before = function(image)
    leaking = []
    for subset in range(partition.subset_count(image.ndim)):
        mask, hidden = hidden_for(partition, subset, image.shape)
        after = function(changed(image, hidden, rng))
        if not np.array_equal(before[mask], after[mask]):
            leaking.append(subset)
    return leaking


def unet(channels, ndim):
    return build(TrainingConfig(channels=4, depth=2), channels, ndim, 0).eval()


def dncnn(channels, ndim):
    torch_state = torch.get_rng_state()
    net = DnCNN(channels, channels, ndim, channels=6, layers=5).eval()
    torch.set_rng_state(torch_state)
    return net


NETWORKS = {
    (name, channels, ndim): make(channels, ndim)
    for name, make in (("unet", unet), ("dncnn", dncnn))
    for channels in (1, 2)
    for ndim in (2, 3)
}


@pytest.mark.parametrize("replacement", REPLACEMENTS)
@pytest.mark.parametrize("network", ["unet", "dncnn"])
@given(data=st.data())
@settings(deadline=None, max_examples=12)
def test_a_network_predicts_a_subset_without_looking_at_it(network, replacement, data):
    ndim, channels = data.draw(st.sampled_from([2, 3])), data.draw(st.sampled_from([1, 2]))
    shape = (() if ndim == 2 else (data.draw(st.integers(1, 4)),)) + tuple(
        data.draw(st.integers(5, 23)) for _ in range(2)
    )
    partition = data.draw(partitions(ndim))
    subset = data.draw(st.integers(0, partition.subset_count(ndim) - 1))
    origin = tuple(data.draw(st.integers(0, 50)) for _ in range(ndim))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    predictor = Predictor(
        NETWORKS[network, channels, ndim],
        partition,
        CPU,
        tile_pixels=data.draw(st.sampled_from([16**2, 2**20])),
        replacement=replacement,
    )
    frame = rng.normal(size=(channels, *shape)).astype(np.float32)
    valid = rng.random(frame.shape) > data.draw(st.sampled_from([0, 0.2]))
    mask, hidden = hidden_for(partition, subset, shape, origin)
    other = changed(frame, hidden | ~valid, rng)
    first = predictor.subset(frame, subset, valid, origin)
    second = predictor.subset(other, subset, valid, origin)
    assert np.array_equal(first[:, mask], second[:, mask])


@pytest.mark.parametrize("replacement", ["neighbor", "uniform"])
@pytest.mark.parametrize("partition", KINDS)
def test_the_averaged_output_does_not_look_either(partition, replacement):
    rng = np.random.default_rng(0)
    predictor = Predictor(
        NETWORKS["unet", 1, 2], partition, CPU, averaging=8, replacement=replacement
    )

    def predict(image):
        *_, result = predictor.j_invariant(image[None])
        return result[0]

    frame = rng.normal(size=(13, 15)).astype(np.float32)
    assert leaking_subsets(predict, partition, frame, rng) == []
    # Chance is the same in every prediction.
    assert np.array_equal(predict(frame), predict(frame))


FILTERS = {
    "median": partial(ndimage.median_filter, size=3),
    "gaussian": partial(ndimage.gaussian_filter, sigma=1.5),
    "tv": partial(denoise_tv_chambolle, weight=0.3, max_num_iter=8),
}


@pytest.mark.parametrize("replacement", REPLACEMENTS)
@pytest.mark.parametrize("name", FILTERS)
@given(data=st.data())
@settings(deadline=None, max_examples=4)
def test_a_filter_made_j_invariant_does_not_look(name, replacement, data):
    ndim = data.draw(st.sampled_from([2, 3]))
    shape = tuple(data.draw(st.integers(1 if ndim == 3 else 4, 9)) for _ in range(ndim))
    partition = data.draw(partitions(ndim))
    subset = data.draw(st.integers(0, partition.subset_count(ndim) - 1))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    invariant = j_invariant(FILTERS[name], partition, replacement)
    image = rng.normal(size=shape).astype(dtype)
    mask, hidden = hidden_for(partition, subset, shape)
    first, second = invariant(image), invariant(changed(image, hidden, rng))
    assert np.array_equal(first[mask], second[mask])


@pytest.mark.parametrize("partition", KINDS)
def test_a_filter_itself_looks_at_every_subset(partition):
    """What the tests above would say if nothing were hidden."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(18, 15))
    subsets = list(range(partition.subset_count(2)))
    assert leaking_subsets(FILTERS["gaussian"], partition, image, rng) == subsets
    identity = j_invariant(np.positive, partition)
    assert leaking_subsets(identity, partition, image, rng) == []


def naively(partition, footprint):
    """A J-invariant filter but for its replacement, which takes hidden neighbours too."""

    def function(image):
        replaced = ndimage.convolve(image, footprint / footprint.sum(), mode="mirror")
        result = np.zeros_like(image)
        for mask in partition.masks(image.shape):
            smooth = ndimage.gaussian_filter(np.where(mask, replaced, image), 1.0)
            result[mask] = smooth[mask]
        return result

    return function


EIGHT = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]) / 1.0
FOUR = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 1.0


@pytest.mark.parametrize(
    ("partition", "footprint", "leaks"),
    [
        (RandomPartition(4), EIGHT, True),
        (RandomPartition(25), EIGHT, True),
        (Checkerboard(), EIGHT, True),
        (Grid(4, extent=3), EIGHT, True),
        # The neighbours that it takes are visible, so these are not naive at all.
        (Checkerboard(), FOUR, False),
        (Grid(3), EIGHT, False),
    ],
)
def test_a_replacement_that_sees_hidden_pixels_is_found_leaking(partition, footprint, leaks):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(21, 20))
    assert bool(leaking_subsets(naively(partition, footprint), partition, image, rng)) == leaks


def test_statistics_of_the_whole_image_leak():
    invariant = j_invariant(FILTERS["gaussian"], Grid(4))

    def normalised(image):
        return invariant((image - image.mean()) / image.std())

    rng = np.random.default_rng(0)
    image = rng.normal(size=(16, 16))
    assert leaking_subsets(normalised, Grid(4), image, rng) == list(range(16))


def test_the_result_on_a_subset_is_that_of_the_function_on_the_masked_image():
    """Equation 3 of the paper, pixel by pixel."""
    image = np.random.default_rng(0).normal(size=(9, 8))
    partition, smooth = Grid(4), FILTERS["gaussian"]
    result = j_invariant(smooth, partition, "zero")(image)
    assert result.dtype == np.float64
    labels = partition.labels(image.shape)
    for place in np.ndindex(image.shape):
        masked = np.where(labels == labels[place], 0, image)
        assert result[place] == smooth(masked)[place]


@pytest.mark.parametrize("partition", [Grid(4), RandomPartition(16), Checkerboard()])
def test_its_loss_is_the_true_error_plus_the_variance_of_the_noise(partition):
    """Proposition 1 of the paper, which does not hold for the filter itself."""
    rng = np.random.default_rng(0)
    truth = 10 * ndimage.gaussian_filter(rng.normal(size=(256, 256)), 4)
    noisy = truth + rng.normal(size=truth.shape)
    smooth = partial(ndimage.gaussian_filter, sigma=1.5)

    def loss_and_error(result):
        return np.mean((result - noisy) ** 2), np.mean((result - truth) ** 2)

    loss, error = loss_and_error(j_invariant(smooth, partition)(noisy))
    assert loss == pytest.approx(error + 1, rel=0.02)
    loss, error = loss_and_error(smooth(noisy))
    assert loss < 0.95 * (error + 1)


@pytest.mark.parametrize(
    ("given_type", "worked_in"),
    [
        ("uint8", "float32"),
        ("uint16", "float32"),
        ("float16", "float32"),
        (">f4", "float32"),
        ("int32", "float64"),
        ("uint64", "float64"),
        (">f8", "float64"),
        ("longdouble", "float64"),
    ],
)
def test_it_works_in_floats(given_type, worked_in):
    seen = set()

    def function(image):
        seen.add(str(image.dtype))
        return image

    image = np.full((8, 9), 200).astype(given_type)
    result = j_invariant(function, Grid(2))(image)
    assert seen == {worked_in}
    assert str(result.dtype) == worked_in
    assert (result == 200).all()


@pytest.mark.parametrize("channel_axis", [0, 1, 2, -1])
def test_channels_are_apart_unless_the_function_knows_of_them(channel_axis):
    image = np.random.default_rng(0).normal(size=(6, 10, 12))
    shapes = []

    def blind(image, size):
        shapes.append((image.shape, None))
        return ndimage.median_filter(image, size=size)

    def knowing(image, size, *, channel_axis=None):
        shapes.append((image.shape, channel_axis))
        sizes = [size] * 3
        sizes[channel_axis] = 1
        return ndimage.median_filter(image, size=sizes)

    results = [
        j_invariant(function, Checkerboard())(image, 3, channel_axis=channel_axis)
        for function in (blind, knowing)
    ]
    np.testing.assert_array_equal(*results)
    channels = image.shape[channel_axis]
    plane = tuple(np.delete(image.shape, channel_axis).tolist())
    assert shapes == [(plane, None)] * 2 * channels + [(image.shape, channel_axis)] * 2
    first = j_invariant(blind, Checkerboard())(np.moveaxis(image, channel_axis, 0)[0], size=3)
    np.testing.assert_array_equal(np.moveaxis(results[0], channel_axis, 0)[0], first)


def test_functions_of_scikit_image_get_the_channel_axis():
    image = np.random.default_rng(0).normal(size=(12, 14, 3))
    invariant = j_invariant(partial(denoise_nl_means, h=0.8), Grid(2))
    coupled = invariant(image, channel_axis=-1)
    alone = invariant(image[..., 0])
    assert coupled.shape == image.shape
    # Its patches are alike when they are so in all channels.
    assert not np.allclose(coupled[..., 0], alone)


def test_nan_and_infinities_never_reach_the_function():
    image = np.random.default_rng(0).normal(size=(20, 20))
    image[3, 4], image[10:13, 10:13] = np.nan, np.inf

    def function(image):
        assert np.isfinite(image).all()
        return ndimage.gaussian_filter(image, 1)

    for partition in KINDS:
        assert np.isfinite(j_invariant(function, partition)(image)).all()


def test_the_image_is_left_as_it_was():
    image = np.random.default_rng(0).normal(size=(8, 8))
    before = image.copy()

    def function(image):
        image[:] = 7
        return image

    assert (j_invariant(function, Grid(2))(image) == 7).all()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "settings", "words"),
    [
        (np.zeros(5), {}, r"shape \(5,\): give two or three spatial axes"),
        (np.zeros((2, 3, 4, 5)), {}, "name the axis of channels"),
        (np.zeros((4, 5)), {"channel_axis": 0}, "two or three spatial axes"),
        (np.zeros((0, 5)), {}, "at least one pixel"),
        (np.zeros((4, 5, 3)), {"channel_axis": 3}, "channel axis was 3 .* from -3 to 2"),
        (np.zeros((4, 5), bool), {}, "type bool"),
        (np.zeros((4, 5), complex), {}, "type complex128"),
        ([["a", "b"]], {}, "give integers or floating-point"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused(image, settings, words):
    with pytest.raises(ValueError, match=words) as caught:
        j_invariant(np.positive, Grid(2))(image, **settings)
    assert isinstance(caught.value, Noise2SelfError)


def test_a_function_of_another_shape_and_an_unknown_replacement_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\) into one of \(5, 4\)"):
        j_invariant(np.transpose, Grid(2))(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="replacement was 'blur': use one of mean, median"):
        j_invariant(np.positive, Grid(2), "blur")
