"""Sums and means over boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_noise2self.engine.boxes import box_mean, box_sum

SHAPES = [((2, 3, 17, 12), (5, 5)), ((1, 1, 7, 9), (1, 3)), ((2, 1, 4, 9, 11), (1, 5, 5))]


@pytest.mark.parametrize(("shape", "widths"), SHAPES)
def test_a_mean_is_that_of_what_lies_inside_of_the_image(shape, widths):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    pool = F.avg_pool3d if len(widths) == 3 else F.avg_pool2d
    around = [width // 2 for width in widths]
    expected = pool(x, widths, 1, around, count_include_pad=False)
    torch.testing.assert_close(box_mean(x, widths), expected)


@pytest.mark.parametrize(("shape", "widths"), SHAPES)
def test_a_sum_has_the_same_bits_in_a_part_of_the_image(shape, widths):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    whole = box_sum(x, widths)
    length = whole.shape[-1] - 3
    part = box_sum(x[..., 3:], widths)
    assert torch.equal(part, whole[..., 3:])
    assert part.shape[-1] == length


def test_a_constant_image_stays_as_it_is_up_to_its_border():
    x = torch.full((1, 1, 6, 7), 2.5)
    assert torch.equal(box_mean(x, (5, 5)), x)


def test_the_memory_order_does_not_matter():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 8, 9)).astype(np.float32))
    turned = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(box_sum(turned, (3, 3)), box_sum(x, (3, 3)))
