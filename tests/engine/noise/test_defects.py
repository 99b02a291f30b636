"""Where hot and dead pixels are said to be, in arrays of any axes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.noise.defects import defects


@pytest.mark.parametrize(
    ("axes", "shape", "hot", "dead", "frame"),
    [
        ("YX", (64, 48), (10, 20), (30, 40), 0),
        ("TYX", (3, 64, 48), (2, 10, 20), (2, 30, 40), 2),
        ("YXS", (64, 48, 3), (10, 20, 1), (30, 40, 2), 0),
        ("TCZYX", (2, 2, 3, 64, 48), (1, 0, 1, 10, 20), (1, 1, 1, 30, 40), 4),
        ("XTY", (48, 2, 64), (20, 1, 10), (40, 1, 30), 1),
    ],
)
def test_single_pixels_are_found_where_they_are(axes, shape, hot, dead, frame):
    image = np.random.default_rng(0).normal(500, 10, shape)
    image[hot], image[dead] = 50_000, 0
    found = defects(image, axes, frame=frame)
    assert found[0].tolist() == [list(hot)]
    assert found[1].tolist() == [list(dead)]


def test_a_clean_frame_has_none():
    image = np.random.default_rng(0).poisson(100, (2, 64, 64))
    image[1, 5, 5] = 50_000
    hot, dead = defects(image, frame=0)
    assert hot.shape == dead.shape == (0, 3)


def test_what_is_no_image_is_refused():
    with pytest.raises(InputError, match="bool"):
        defects(np.zeros((64, 64), bool))
