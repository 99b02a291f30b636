from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks.samples import cells, nuclei


@pytest.mark.parametrize(
    ("make", "shape", "axes"), [(cells, (200, 230), "YX"), (nuclei, (6, 96, 110), "ZYX")]
)
def test_a_sample_is_its_truth_plus_noise_of_a_camera(make, shape, axes):
    sample = make(shape, seed=3)
    stack, truth = sample.noisy, sample.truth
    assert stack.shape == truth.shape == shape
    assert stack.axes == axes
    assert stack.dtype == np.uint16
    assert truth.dtype == np.float32
    assert stack.size("X") == (0.108, "µm")
    noise = stack.data - truth
    # Unbiased, stronger where there is more light, and without a neighbour's say.
    assert abs(noise.mean()) < 0.2
    bright = truth > np.percentile(truth, 90)
    assert noise[bright].std() > 1.2 * noise[~bright].std()
    along, across = noise[..., 1:].ravel(), noise[..., :-1].ravel()
    assert abs(np.corrcoef(along, across)[0, 1]) < 0.03
    # The image itself is smooth at the scale of a pixel.
    assert np.corrcoef(truth[..., 1:].ravel(), truth[..., :-1].ravel())[0, 1] > 0.9


def test_the_seed_decides():
    first, again, other = (cells((64, 64), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.noisy.data, again.noisy.data)
    assert (first.noisy.data != other.noisy.data).any()


@pytest.mark.parametrize(
    ("make", "shape"), [(cells, (1, 1)), (cells, (7, 300)), (nuclei, (1, 9, 9))]
)
def test_small_samples_can_be_made(make, shape):
    assert make(shape).noisy.shape == shape


@pytest.mark.parametrize("shape", [(0, 5), (4, 4, 4)])
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(Noise2SelfError):
        cells(shape)
