from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self import Noise2SelfError, estimate_noise
from napari_noise2self.stacks.samples import (
    cells,
    filaments,
    mitochondria,
    nuclei,
    tissue,
    vesicles,
)


@pytest.mark.parametrize(
    ("make", "shape", "axes", "pixel"),
    [
        (cells, (200, 230), "YX", 0.108),
        (nuclei, (6, 96, 110), "ZYX", 0.108),
        (filaments, (200, 230), "YX", 0.108),
        (tissue, (6, 96, 110), "CZYX", 0.23),
        (vesicles, (8, 96, 110), "TYX", 0.108),
    ],
)
def test_a_sample_is_its_truth_plus_noise_of_a_camera(make, shape, axes, pixel):
    sample = make(shape, seed=3)
    stack, truth = sample.noisy, sample.truth
    assert stack.shape == truth.shape
    assert stack.shape[-len(shape) :] == shape
    assert stack.axes == axes
    assert stack.dtype == np.uint16
    assert truth.dtype == np.float32
    assert stack.size("X") == stack.size("Y") == (pixel, "µm")
    noise = stack.data - truth
    # Unbiased, stronger where there is more light, and without a neighbour's say.
    assert abs(noise.mean()) < 0.2
    bright = truth > np.percentile(truth, 90)
    assert noise[bright].std() > 1.2 * noise[~bright].std()
    along, across = noise[..., 1:].ravel(), noise[..., :-1].ravel()
    assert abs(np.corrcoef(along, across)[0, 1]) < 0.03
    # The image itself is smooth at the scale of a pixel.
    assert np.corrcoef(truth[..., 1:].ravel(), truth[..., :-1].ravel())[0, 1] > 0.9


def test_the_noise_of_a_scanner_is_correlated_along_rows_alone():
    sample = mitochondria(seed=3)
    assert sample.noisy.dtype == np.uint8
    assert sample.noisy.size("X") == (0.08, "µm")
    noise = sample.noisy.data - sample.truth
    assert abs(noise.mean()) < 0.5
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] > 0.3
    assert abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < 0.03
    # The project finds it by itself, from the noisy image.
    report = estimate_noise(sample.noisy.data)
    assert report.correlated
    assert report.extent[0] == 1 < report.extent[1]


def test_tissue_has_two_channels_with_names_and_colours():
    stack = tissue((5, 40, 40)).noisy
    assert stack.shape == (2, 5, 40, 40)
    assert stack.channel_names == ("nuclei", "membranes")
    assert stack.channel_colors == ("#00ffff", "#ff00ff")
    assert stack.size("Z") == (0.6, "µm")


def test_vesicles_move_and_bleach():
    sample = vesicles((20, 120, 120), seed=1)
    assert sample.noisy.size("T") == (0.5, "s")
    light = sample.truth - sample.truth.min()
    assert light[-1].mean() < 0.7 * light[0].mean()
    still = light / light.mean(axis=(1, 2), keepdims=True)
    assert np.corrcoef(still[0].ravel(), still[1].ravel())[0, 1] > 0.8
    assert np.corrcoef(still[0].ravel(), still[-1].ravel())[0, 1] < 0.7


@pytest.mark.parametrize("make", [cells, filaments, mitochondria])
def test_the_seed_decides(make):
    first, again, other = (make((64, 64), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.noisy.data, again.noisy.data)
    assert (first.noisy.data != other.noisy.data).any()


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (cells, (1, 1)),
        (cells, (7, 300)),
        (filaments, (1, 1)),
        (mitochondria, (7, 300)),
        (nuclei, (1, 9, 9)),
        (tissue, (1, 9, 9)),
        (vesicles, (1, 9, 9)),
    ],
)
def test_small_samples_can_be_made(make, shape):
    assert make(shape).noisy.shape[-len(shape) :] == shape


@pytest.mark.parametrize("shape", [(0, 5), (4, 4, 4)])
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(Noise2SelfError):
        cells(shape)
