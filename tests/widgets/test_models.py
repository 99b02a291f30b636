"""What needs no window: axes of layers, settings, curves, words."""

from __future__ import annotations

import math

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_noise2self.engine.errors import InputError
from napari_noise2self.widgets.layers import Source, axes_note, axes_of, known_axes, name_axes
from napari_noise2self.widgets.progress_view import describe, duration, summarise
from napari_noise2self.widgets.session import (
    MAX_CURVE_POINTS,
    Curve,
    Outcome,
    Progress,
    Session,
    Settings,
    State,
)


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (None, "QTZYX"),
        (("t", "c", "z", "y", "x"), "TCZYX"),
        (("Time", "Channel", "Plane", "Row", "Column"), "TCZYX"),
        (("", "", "t", "y", "x"), "QZTYX"),
        (("x", "y", "c", "z", "t"), "XYCZT"),
        (("c", "a", "b", "d", "e"), "CTZYX"),
        (("t", "t", "z", "y", "x"), "QTZYX"),  # a letter twice
        (("y", "c", "z", "a", "b"), "TCZYX"),  # X is missing
    ],
)
def test_axes_of_a_layer(labels, axes):
    layer = Image(np.zeros((2, 2, 2, 8, 8)), axis_labels=labels, contrast_limits=(0, 1))
    assert axes_of(layer) == axes


def test_axes_that_the_user_named_stand_until_they_do_not_fit():
    layer = Image(np.zeros((3, 2, 8, 8)), contrast_limits=(0, 1))
    assert axes_note(known_axes(layer)) == "guessed from the shape"
    name_axes(layer, "c z y x")
    assert axes_of(layer) == "CZYX"
    assert axes_note(known_axes(layer)) == "told by you"
    with pytest.raises(InputError, match="CZY"):
        name_axes(layer, "CZY")
    layer.data = np.zeros((3, 8, 8))
    assert axes_of(layer) == "ZYX"
    name_axes(layer, "TYX")
    name_axes(layer, "")
    assert axes_of(layer) == "ZYX"
    layer.axis_labels = ("", "y", "x")
    assert (
        axes_note(known_axes(layer)) == "Z guessed from the shape, the rest told by the axis labels"
    )


def test_axes_of_rgb():
    assert axes_of(Image(np.zeros((3, 8, 8, 3)), rgb=True)) == "ZYXS"
    assert axes_of(Image(np.zeros((8, 8)))) == "YX"


def test_a_source_is_lazy_and_without_opacity():
    data = da.zeros((2, 32, 32, 4), np.uint8, chunks=1)
    source = Source.of(Image(data, rgb=True, name="cells"))
    assert isinstance(source.data, da.Array)
    assert source.data.shape == (2, 32, 32, 3)
    assert source.axes == "ZYXS"
    assert source.position((1.2, 5, 9)) == (1, 5, 9, 0)


def test_no_layer_is_an_error():
    with pytest.raises(InputError, match="open an image"):
        Source.of(None)


def test_settings_make_a_config():
    assert Settings().config("ZYX").partition is None
    assert Settings(width=6).config("YX").partition.width == 6
    assert Settings(extent=7).config("YX").partition.width == 10
    assert not Settings(volume=True).config("YX").volume
    assert Settings(volume=True).config("ZYX").volume
    movie = Settings(volume=True).config("TCYX")
    assert (movie.volume, movie.depth_axis, movie.channel_use) == (True, "T", "auto")
    seen = Settings(context=1, channel_use="apart")
    assert (seen.config("ZCYX").context, seen.config("ZCYX").channel_use) == (1, "apart")
    assert seen.config("TYX").depth_axis == "T"
    assert (seen.config("YX").context, seen.config("YXS").channel_use) == (0, "auto")
    assert Settings(volume=True, context=1).config("ZYX").context == 0
    with pytest.raises(InputError, match="at least 8"):
        Settings(width=4, extent=7).config("YX")


def test_a_long_curve_is_thinned_out():
    curve = Curve()
    for i in range(10 * MAX_CURVE_POINTS):
        curve.append(i, i)
    curve.append(1.0, math.nan)
    assert MAX_CURVE_POINTS / 2 <= len(curve.x) <= MAX_CURVE_POINTS
    assert curve.x == curve.y == sorted(curve.x)
    assert curve.x[-1] == 10 * MAX_CURVE_POINTS - 1


def test_a_session_says_what_changes():
    session = Session()
    seen = []
    session.events.state.connect(seen.append)
    session.settings.events.width.connect(seen.append)
    session.begin()
    session.settings.width = 5
    session.end(State.IDLE, "over")
    assert seen == [State.PREPARING, 5, State.IDLE]


def test_states_say_what_can_be_clicked():
    assert {s for s in State if not s.running} == {State.IDLE, State.DONE, State.FAILED}
    assert not State.STOPPING.can_stop
    assert {s for s in State if s.can_pause} == {
        State.TRAINING,
        State.PAUSED,
        State.PREDICTING,
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_duration(seconds, words):
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == words


def test_progress_in_words():
    assert describe(Progress()) == ""
    words = describe(Progress(0.5, 12.0, epoch=0.5, epochs=1.0, loss=123.456))
    assert words == "epoch 0.50 of 1.00 · loss 123.5 · 12\N{NO-BREAK SPACE}s left"


def test_the_score_says_what_it_measures():
    def outcome(**info):
        return summarise(Outcome("<a> denoised", None, {"seconds": 2, **info}, True))

    assert "2\N{NO-BREAK SPACE}s" in outcome(score=None)
    assert "score" not in outcome(score=None)
    assert "do not measure" in outcome(score=4.0, output="single-pass")
    assert "do not measure" not in outcome(score=4.0, output="j-invariant")
