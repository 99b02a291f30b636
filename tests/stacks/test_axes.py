from __future__ import annotations

import pytest

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks.axes import (
    Axes,
    checked,
    from_labels,
    from_ngff,
    from_shape,
    from_tifffile,
)


@pytest.mark.parametrize(
    ("ndim", "letters"), [(2, "YX"), (3, "ZYX"), (4, "TZYX"), (5, "QTZYX"), (6, "UQTZYX")]
)
def test_a_shape_alone_is_a_guess_without_channels_and_colours(ndim, letters):
    found = from_shape(ndim)
    assert found.letters == letters
    assert set(found.guessed) == set(letters)


@pytest.mark.parametrize(
    ("labels", "letters", "guessed"),
    [
        (("t", "c", "z", "y", "x"), "TCZYX", ""),
        (("Time", "Channel", "Plane", "Row", "Column"), "TCZYX", ""),
        ((None, "", "y", "x"), "TZYX", "TZ"),
        (("x", "y", "c"), "XYC", ""),
        (("t", "t", "y", "x"), "TZYX", "TZYX"),  # a letter twice
        (("y", "c", "a", "b"), "ZCYX", "ZYX"),  # X is missing
    ],
)
def test_labels(labels, letters, guessed):
    source = "the axis labels" if letters != guessed else ""
    assert from_labels(labels) == Axes(letters, guessed, source)


@pytest.mark.parametrize(
    ("axes", "letters", "guessed"),
    [
        ([{"name": "t", "type": "time"}, {"name": "y"}, {"name": "x"}], "TYX", ""),
        ([{"name": "lambda", "type": "channel"}, {"name": "y"}, {"name": "x"}], "CYX", ""),
        ([{"name": "angle"}, {"name": "y"}, {"name": "x"}], "ZYX", "Z"),
        (["c", "y", "x"], "CYX", ""),  # version 0.3
        (None, "ZYX", "ZYX"),
    ],
)
def test_ome_zarr(axes, letters, guessed):
    found = from_ngff(axes, 3)
    assert (found.letters, found.guessed) == (letters, guessed)


def test_the_first_ome_zarr_had_five_axes_without_names():
    assert from_ngff(None, 5) == Axes("TCZYX", "", "the OME-Zarr metadata")


@pytest.mark.parametrize(
    ("axes", "letters", "guessed"),
    [
        ("TZCYX", "TZCYX", ""),
        ("IYX", "ZYX", "Z"),
        ("QQYX", "TZYX", "TZ"),
        ("QYXS", "ZYXS", "Z"),
        ("PTYX", "PTYX", ""),
        ("TTYX", "ZTYX", "Z"),  # the inner one keeps its name
    ],
)
def test_tiff(axes, letters, guessed):
    assert from_tifffile(axes, "the file") == Axes(letters, guessed, "the file")


def test_what_was_guessed_is_said_and_what_was_told_names_who_did():
    told = from_tifffile("TCYX", "the OME metadata")
    assert told.notice((2, 2, 8, 8)) is None
    assert told.words((2, 2, 8, 8)) == "Axes TCYX, told by the OME metadata."
    guess = from_shape(3)
    assert guess.notice((5, 8, 9)) == guess.words((5, 8, 9))
    assert "Axes ZYX, guessed from the shape (5, 8, 9)" in guess.words((5, 8, 9))
    assert "--axes" in guess.words((5, 8, 9))
    assert "guessed (Z) from" in from_tifffile("TQYX", "the file").words((2, 3, 8, 8))
    assert from_shape(2).notice((8, 9)) is None  # nothing else was possible


@pytest.mark.parametrize("text", ["tzyx", "T Z Y X", "T,Z,Y,X", "t-z-y-x", " TZYX "])
def test_what_is_typed_is_understood(text):
    assert checked(text, (2, 3, 8, 8)) == "TZYX"


@pytest.mark.parametrize("text", ["tyx", "ttyx", "tzcx", "", "12yx"])
def test_what_does_not_fit_is_refused(text):
    with pytest.raises(Noise2SelfError):
        checked(text, (2, 3, 8, 8))
