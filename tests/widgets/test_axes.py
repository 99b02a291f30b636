"""How the axes of a layer are used, as it is chosen in the dock."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_noise2self.engine.errors import InputError
from napari_noise2self.widgets.denoise import DenoiseWidget
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.learning_region import region_to_learn
from napari_noise2self.widgets.session import Session, State

from .conftest import noisy, open_dock


@pytest.fixture
def stack(viewer):
    return viewer.add_image(
        noisy((4, 2, 48, 48)), name="cells", axis_labels=("z", "c", "y", "x"), scale=(2, 1, 1, 1)
    )


def choose(control, value):
    control.setCurrentIndex(control.findData(value))


def test_neighbours_channels_and_a_part(viewer, click, wait_for):
    viewer.add_image(noisy((2, 4, 2, 48, 48)), name="cells", axis_labels=tuple("tzcyx"))
    dock = open_dock(viewer)
    session: Session = dock.session
    view = dock.settings
    view.advanced.expand(animate=False)
    view.controls["epochs"].setValue(0.2)
    view.volume.setCurrentIndex(view.volume.findText("with neighbours"))
    choose(view.channels, "apart")
    choose(view.controls["region"], "frame")
    assert (session.settings.context, session.settings.volume) == (1, False)
    viewer.dims.set_point(0, 1)
    click(dock, "train")
    wait_for(dock, State.DONE, State.FAILED)
    how = viewer.layers["cells denoised"].metadata["noise2self"]
    assert (how["settings"]["context"], how["settings"]["channel_use"]) == (1, "apart")
    # Z belongs to the frame, because slices are seen with their neighbours.
    assert how["region"] == {"T": [1, 2]}
    assert np.isfinite(viewer.layers["cells denoised"].data).all()


def test_docks_of_a_viewer_agree_on_the_depth(viewer, stack):
    first, second = open_dock(viewer), open_dock(viewer)
    settings = first.session.settings
    choice = second.settings.volume
    for words, volume, context in (
        ("as a volume", True, 0),
        ("with neighbours", False, 1),
        ("slice by slice", False, 0),
    ):
        first.settings.volume.setCurrentIndex(first.settings.volume.findText(words))
        assert (settings.volume, settings.context) == (volume, context)
        assert choice.currentText() == words
    settings.volume = True
    assert first.settings.volume.currentText() == choice.currentText() == "as a volume"


def test_channels_are_asked_for_where_there_are_some(viewer, stack):
    dock = open_dock(viewer)
    assert dock.settings.channels.isVisibleTo(dock.settings.advanced.content())
    stack.axis_labels = ("t", "z", "y", "x")
    assert not dock.settings.channels.isVisibleTo(dock.settings.advanced.content())


def test_what_is_learned_from(viewer, stack):
    source = Source.of(stack)
    viewer.dims.set_point(0, 4)
    flat = (
        open_dock(viewer)
        .session.settings.config(source.axes)
        .layout(source.data.shape, source.axes)
    )
    assert region_to_learn("all", viewer, source, flat) is None
    assert region_to_learn("frame", viewer, source, flat) == {"Z": slice(2, 3)}
    seen = region_to_learn("view", viewer, source, flat)
    assert seen is not None
    assert seen["Z"] == slice(2, 3)
    assert set(seen) == {"Z", "Y", "X"}
    assert region_to_learn("ranges", viewer, source, flat, "Y=0:32") == {"Y": slice(0, 32)}
    with pytest.raises(InputError, match="outside"):
        region_to_learn("ranges", viewer, source, flat, "Y=0:64")


def test_the_part_to_learn_on_is_typed_as_in_the_terminal(viewer, engine, click, wait_for, qtbot):
    layer = viewer.add_image(noisy((9, 2, 64, 48)), name="cells", axis_labels=("t", "c", "y", "x"))
    dock, other = open_dock(viewer), DenoiseWidget(viewer)
    viewer.window.add_dock_widget(other, name="again")
    view, shown = dock.settings, dock.settings.advanced.content()
    view.advanced.expand(animate=False)
    for part in (view.ranges, view.ranges_note):
        assert not part.isVisibleTo(shown)
    choose(view.region, "ranges")
    assert view.ranges.isVisibleTo(shown)
    assert view.ranges.placeholderText() == "T=0:9,Y=0:64,X=0:48"
    assert view.ranges_note.text().startswith("Type the ranges")
    qtbot.keyClicks(view.ranges, "T=2:5,y=:3")
    qtbot.keyClick(view.ranges, Qt.Key.Key_Left)
    qtbot.keyClicks(view.ranges, "2")
    # Where it was typed, and in the other dock as well.
    assert view.ranges.text() == other.settings.ranges.text() == "T=2:5,y=:23"
    assert not view.ranges_note.isVisibleTo(shown)
    engine.go.set()
    click(dock, "train")
    assert not view.ranges.isEnabled()
    wait_for(dock, State.DONE)
    assert engine.arguments["region"] == {"T": slice(2, 5), "Y": slice(None, 23)}
    # It is the other layer that it is asked of now.
    layer.axis_labels = ("z", "c", "y", "x")
    assert view.ranges.placeholderText() == "Z=0:9,Y=0:64,X=0:48"
    assert "the axis 'T'" in view.ranges_note.text()
    choose(view.region, "all")
    for part in (view.ranges, view.ranges_note):
        assert not part.isVisibleTo(shown)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Type the ranges"),
        ("Q=0:10", "the axis 'Q', and the image has ZCYX"),
        ("C=0:1", "all of the channels"),
        ("Y=0:512", "outside of the 48"),
        ("Z=2:2", "there is nothing"),
        ("Y=0:1,Y=2:3", "each once"),
        ("<b>" + 60 * "Y", "The region was '<b>YYY"),
    ],
)
def test_ranges_that_do_not_fit_are_told_and_not_begun_with(
    viewer, stack, engine, click, wait_for, notifications, qtbot, text, why
):
    dock = open_dock(viewer)
    dock.settings.advanced.expand(animate=False)
    engine.go.set()
    click(dock, "train")
    wait_for(dock, State.DONE)
    engine.arguments = {}
    width = dock.minimumSizeHint().width()
    choose(dock.settings.region, "ranges")
    qtbot.keyClicks(dock.settings.ranges, text)
    assert why in dock.settings.ranges_note.text()
    assert dock.minimumSizeHint().width() == width
    click(dock, "train")
    assert why in notifications[-1].message
    # What was learned before is still there to be saved.
    assert not engine.arguments
    assert dock.session.state is State.DONE
    assert dock.session.outcome is not None


def test_no_file_is_asked_for_where_ranges_do_not_fit(dock, click, notifications, monkeypatch):
    choose(dock.settings.region, "ranges")
    monkeypatch.setenv("NOISE2SELF_MEMORY", "1e-5")
    click(dock, "train")
    assert "Type the ranges" in notifications[-1].message
    assert dock.findChild(QFileDialog) is None


def test_a_volume_is_previewed_where_it_is_looked_at(viewer, engine, click, wait_for):
    layer = viewer.add_image(noisy((5, 48, 64)), name="cells", axis_labels=("z", "y", "x"))
    dock = open_dock(viewer)
    dock.session.settings.volume = True
    viewer.dims.set_current_step(0, 3)
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    control = engine.arguments["control"]
    assert (control.preview_frame, control.preview_depth) == (0, 3)
    viewer.dims.set_current_step(0, 1)
    assert control.preview_depth == 1
    # In view is the plane of Z and X, and then all of the volume.
    viewer.dims.order = (1, 0, 2)
    assert control.preview_depth is None
    viewer.dims.order = (0, 1, 2)
    assert control.preview_depth == 1
    viewer.dims.ndisplay = 3
    assert control.preview_depth is None
    viewer.dims.ndisplay = 2
    engine.go.set()
    wait_for(dock, State.DONE)
    assert layer in viewer.layers
