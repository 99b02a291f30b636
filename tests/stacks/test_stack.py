from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks.stack import Stack, unit_symbol


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
