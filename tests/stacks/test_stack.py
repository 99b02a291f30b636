from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks.axes import from_shape
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack, as_dask, unit_symbol
from napari_noise2self.stacks.writing import write


@pytest.mark.parametrize(
    ("unit", "symbol"),
    [
        ("micron", "µm"),
        ("micrometer", "µm"),
        ("um", "µm"),
        ("\\u00B5m", "µm"),
        ("\u03bcm", "µm"),
        ("nm", "nm"),
        ("sec", "s"),
        ("pixel", None),
        ("", None),
        (None, None),
        ("furlong", "furlong"),
    ],
)
def test_units_have_one_symbol(unit, symbol):
    assert unit_symbol(unit) == symbol


def test_sequences_become_tuples_and_missing_sizes_none():
    stack = Stack(np.zeros((3, 4, 5)), "zyx", scale=[None, 1, 2], units=["", "micron", "micron"])
    assert stack.axes == "ZYX"
    assert stack.scale == (None, 1.0, 2.0)
    assert stack.units == (None, "µm", "µm")
    assert stack.size("X") == (2.0, "µm")
    assert stack.size("Z") is None
    assert stack.size("T") is None


@pytest.mark.parametrize(
    "settings",
    [
        {"axes": "YX"},
        {"axes": "YYX"},
        {"axes": "TZC"},
        {"axes": "ZYX", "scale": (1.0, 1.0)},
        {"axes": "ZYX", "scale": (1.0, 1.0, 0.0)},
        {"axes": "ZYX", "scale": (1.0, 1.0, float("nan"))},
        {"axes": "ZYX", "units": ("µm",)},
        {"axes": "CYX", "channel_names": ("one",)},
        {"axes": "CYX", "channel_colors": ("#ff0000",)},
        {"axes": "ZYX", "channel_colors": ("red",)},
        {"axes": "ZYX", "translate": (0, 0)},
        {"axes": "ZYX", "translate": (0, 0, float("inf"))},
    ],
)
def test_a_description_that_does_not_fit_is_refused(settings):
    with pytest.raises(Noise2SelfError):
        Stack(np.zeros((3, 4, 5)), **settings)


def test_renamed_axes_keep_their_sizes_only_with_their_letters():
    stack = Stack(np.zeros((3, 4, 5)), "ZYX", scale=(0.5, 0.1, 0.1), units=("µm",) * 3)
    renamed = stack.with_axes("TYX")
    assert renamed.axes == "TYX"
    assert renamed.scale == (None, 0.1, 0.1)
    assert renamed.units == (None, "µm", "µm")


def test_channel_names_stay_with_their_axis():
    stack = Stack(np.zeros((2, 4, 5)), "CYX", channel_names=("DAPI", "GFP"))
    assert stack.with_axes("CXY").channel_names == ("DAPI", "GFP")
    assert stack.with_axes("TYX").channel_names is None


def test_colours_have_one_form_and_stay_with_their_axis():
    stack = Stack(np.zeros((2, 4, 5)), "CYX", channel_colors=["00FF00", "#ff00FFff"])
    assert stack.channel_colors == ("#00ff00", "#ff00ff")
    assert stack.with_axes("CXY").channel_colors == stack.channel_colors
    assert stack.with_axes("TYX").channel_colors is None


def test_a_place_stays_with_its_axis():
    stack = Stack(np.zeros((2, 4, 5)), "ZYX", translate=(1, 2, 3))
    assert stack.with_axes("t y x").translate == (None, 2.0, 3.0)
    assert Stack(np.zeros((2, 4, 5)), "ZYX").with_axes("TYX").translate is None


def test_a_guess_is_told_until_somebody_says_what_the_axes_are():
    sentence = from_shape(3).notice((2, 4, 5))
    stack = Stack(np.zeros((2, 4, 5)), "ZYX", guessed="ZYX", notices=("another", sentence))
    assert stack.axes_words == sentence
    corrected = stack.with_axes("ZYX")  # right as it was, but now it is known
    assert corrected.notices == ("another",)
    assert corrected.guessed == ""
    assert corrected.axes_words == "Axes ZYX, told by the user."


def test_as_dask_reads_planes_one_by_one():
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    lazy = as_dask(Stack(data, "TCYX"))
    assert lazy.chunks == ((1, 1), (1, 1, 1), (4,), (5,))
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), data)
    assert as_dask(Stack(lazy, "TCYX")) is lazy


def test_names_that_files_cannot_hold_are_made_ones_that_they_can(tmp_path):
    names = ("a\x00b", "Zelle \udcfc")
    stack = Stack(np.zeros((2, 32, 32), np.uint16), "CYX", name="a\x07\udcfc", channel_names=names)
    assert stack.name == "a?"
    assert stack.channel_names == ("ab", "Zelle ?")
    for target in ("a.ome.tif", "a.tif", "a.ome.zarr"):
        write(tmp_path / target, stack.data, stack, provenance={"source": stack.name})
        assert read(tmp_path / target).shape == (2, 32, 32)
