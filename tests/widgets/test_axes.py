"""How the axes of a layer are used, as it is chosen in the dock."""

from __future__ import annotations

import numpy as np
import pytest

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
