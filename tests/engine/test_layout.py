from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout


@pytest.mark.parametrize(
    ("axes", "volume", "frames", "frame_shape"),
    [
        ("YX", False, 1, (1, 4, 5)),
        ("TYX", False, 2, (1, 4, 5)),
        ("YXS", False, 1, (3, 4, 5)),
        ("CYX", False, 1, (2, 4, 5)),
        ("TZCYX", False, 6, (2, 4, 5)),
        ("TZCYX", True, 2, (2, 3, 4, 5)),
        ("XYZ", True, 1, (1, 3, 4, 5)),
    ],
)
def test_frames_of_any_axes_are_read_and_written_back(axes, volume, frames, frame_shape):
    sizes = {"T": 2, "Z": 3, "C": 2, "Y": 4, "X": 5, "S": 3}
    shape = tuple(sizes[letter] for letter in axes)
    array = np.arange(np.prod(shape)).reshape(shape)
    layout = Layout.of(shape, axes, volume)
    assert layout.frames == frames
    assert layout.frame_shape == frame_shape
    out = np.zeros_like(array)
    for frame in range(frames):
        values = layout.read(array, frame)
        assert values.shape == frame_shape
        layout.write(out, frame, values)
    np.testing.assert_array_equal(out, array)


def test_a_frame_is_named_by_any_position_in_it():
    layout = Layout.of((3, 4, 2, 8, 9), "TZCYX")
    assert layout.frame_at((2, 1, 0, 5, 5)) == 9
    assert layout.index(9) == (2, 1, slice(None), slice(None), slice(None))
    assert layout.frame_at((99, -1, 0, 0, 0)) == 8


def test_leading_axes_are_frames_unless_said_otherwise():
    layout = Layout.of((5, 6, 7, 3))
    assert (layout.frames, layout.frame_shape) == (30, (1, 7, 3))
    assert Layout.of((5, 6, 7, 3), volume=True).frame_shape == (1, 6, 7, 3)


@pytest.mark.parametrize(
    ("shape", "axes", "volume", "words"),
    [
        ((), None, False, "at least two axes"),
        ((7,), None, False, "at least two axes"),
        ((0, 5), None, False, "at least one pixel"),
        ((4, 5), "TYX", False, "name 3 axes"),
        ((4, 5), "YY", False, "each named once"),
        ((4, 5), "ZX", False, "lack Y"),
        ((4, 5), None, True, "lack Z"),
    ],
)
def test_axes_that_do_not_fit_are_refused(shape, axes, volume, words):
    with pytest.raises(InputError, match=words):
        Layout.of(shape, axes, volume)
