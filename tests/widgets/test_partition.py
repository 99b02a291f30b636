"""The *J partition preview* in a real window: what is seen, and what never happens."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import dask.array as da
import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractScrollArea, QApplication, QPushButton

from napari_noise2self.engine import leakage
from napari_noise2self.engine.inspection import figures
from napari_noise2self.engine.leakage import Block
from napari_noise2self.engine.masking import masked_input
from napari_noise2self.engine.noise import estimate as noise_module
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.partition import Checkerboard, Grid, RandomPartition
from napari_noise2self.widgets.partition import PartitionWidget
from napari_noise2self.widgets.partition_layers import HIDDEN, TARGET
from napari_noise2self.widgets.partition_words import figures_in_words
from napari_noise2self.widgets.scene import LARGEST
from napari_noise2self.widgets.session import Settings, State

from .conftest import TIMEOUT, noisy, open_dock

NAME = "napari-noise2self"


def open_preview(viewer):
    """Open the dock the way the menu does, with all of the image in view."""
    _, widget = viewer.window.add_plugin_dock_widget(NAME, "J partition preview")
    QApplication.processEvents()
    viewer.reset_view()
    return widget


def draw_no_more(viewer):
    """Hide the canvas: on a software OpenGL, vispy may crash after a layer was deleted."""
    viewer.window._qt_viewer.canvas.native.hide()


def names(viewer):
    return [layer.name for layer in viewer.layers]


@pytest.fixture
def checked(qtbot):
    """Wait until the data in view have answered."""

    def answered(widget):
        preview = widget.preview
        shown = preview.shown
        if shown is None or preview._soon.isActive() or preview._timer.isActive():
            return False
        return bool(shown.error) or not (shown.leakage is None or shown.masked is None)

    def wait(widget):
        qtbot.waitUntil(lambda: answered(widget), timeout=TIMEOUT)
        return widget.preview.shown

    return wait


@pytest.fixture
def preview(viewer, checked):
    """The dock of a window with one noisy layer."""
    viewer.add_image(noisy(), name="cells")
    widget = open_preview(viewer)
    checked(widget)
    return widget


# -- what is seen -----------------------------------------------------------------------


def test_subsets_targets_and_masked_input_are_layers_over_the_image(viewer, preview, checked):
    preview.form.controls["width"].setValue(4)
    shown = checked(preview)
    assert names(viewer) == ["cells", "cells J partition", "cells J targets"]
    subsets = viewer.layers["cells J partition"]
    assert isinstance(subsets, Labels)
    np.testing.assert_array_equal(subsets.data, Grid(4).labels((64, 64)) + 1)
    targets = viewer.layers["cells J targets"].data == TARGET
    np.testing.assert_array_equal(targets, Grid(4).labels((64, 64)) == 0)
    preview.layer_choice.boxes["masked"].click()
    layer = viewer.layers["cells masked input"]
    assert isinstance(layer, Image)
    source = viewer.layers["cells"]
    np.testing.assert_array_equal(layer.data[~targets], source.data[~targets])
    around = source.data[19:22, 11:14].astype(float)
    assert layer.data[20, 12] == pytest.approx((around.sum() - around[1, 1]) / 8)
    np.testing.assert_array_equal(layer.contrast_limits, source.contrast_limits)
    assert shown.leakage.leaks == 0


def test_the_targets_of_a_wide_block_are_shown_with_it(viewer, preview, checked):
    preview.form.controls["width"].setValue(6)
    preview.form.controls["extent"].set_value((1, 3))
    preview.form.edited.emit("extent", (1, 3))
    checked(preview)
    data = viewer.layers["cells J targets"].data
    assert (data == TARGET).sum() == 11 * 11
    np.testing.assert_array_equal(data[6, 5:8], [HIDDEN, TARGET, HIDDEN])
    assert not (data[5] == HIDDEN).any()


def test_the_words_say_what_one_would_count(preview, checked):
    preview.form.controls["width"].setValue(4)
    checked(preview)
    text = preview.words.figures.text()
    for words in ("16 subsets", "256 pixels each", "6.2", "exactly once", "Nothing leaks", "all"):
        assert words in text, words
    preview.form.controls["extent"].setValue(3)
    checked(preview)
    assert "56.2" in preview.words.figures.text()


def test_one_is_counted_as_one():
    assert "of 1 pixel each" in figures_in_words(figures(Grid(64), (64, 64)))
    assert "1 of them is empty" in figures_in_words(figures(Checkerboard(), (1, 1)))


def test_the_pictures_are_close_ups(preview):
    views = preview.pictures.views
    assert not any(view.image.isNull() for view in views.values())
    # The donut of an automatic grid: the mean of eight.
    assert views["donut"]._texts[0, 0] == "1/8"
    shown = {views["subsets"].image.pixelColor(x, y).name() for x in range(2) for y in range(2)}
    assert len(shown) == preview.preview.shown.figures.subsets == 4
    for control in (
        *preview.form.controls.values(),
        preview.walk.slider,
        *preview.findChildren(QPushButton),
        *preview.layer_choice.boxes.values(),
    ):
        assert control.accessibleName(), control
        assert len(control.toolTip()) > 10, control


def test_a_leak_is_told(viewer, monkeypatch, checked):
    def leaky(x, targets, *arguments, **keywords):
        return masked_input(x, targets, *arguments, **keywords) + x * 1e-3

    monkeypatch.setattr(leakage, "masked_input", leaky)
    viewer.add_image(noisy(), name="cells")
    widget = open_preview(viewer)
    assert checked(widget).leakage.leaks > 0
    assert "It leaks" in widget.words.figures.text()
    assert "Nothing leaks" not in widget.words.figures.text()


def test_the_slider_and_the_play_button_walk_through_the_subsets(viewer, preview, checked, qtbot):
    preview.form.controls["width"].setValue(3)
    checked(preview)
    preview.walk.slider.setValue(4)
    data = viewer.layers["cells J targets"].data
    np.testing.assert_array_equal(data == TARGET, Grid(3).labels((64, 64)) == 4)
    assert "subset 5 of 9" in preview.walk.text.text()
    checked(preview)
    preview.walk.slider.setValue(8)
    qtbot.mouseClick(preview.walk.play, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: preview.walk.slider.value() == 1, timeout=TIMEOUT)  # and round
    assert preview.walk.play.text() == "P&ause"
    qtbot.mouseClick(preview.walk.play, Qt.MouseButton.LeftButton)
    assert not preview.walk._timer.isActive()


def test_fewer_subsets_than_the_slider_was_at(preview, checked):
    preview.form.controls["width"].setValue(8)
    checked(preview)
    preview.walk.slider.setValue(60)
    preview.form.controls["width"].setValue(2)
    assert checked(preview).subset == 3
    assert preview.walk.slider.maximum() == 3


# -- settings are those of Denoise --------------------------------------------------------


def test_both_docks_show_and_edit_the_same_settings(viewer, preview, checked):
    denoise = open_dock(viewer)
    denoise.settings.controls["width"].setValue(5)
    assert preview.form.controls["width"].get_value() == 5
    assert checked(preview).figures.subsets == 25
    preview.form.controls["partition"].setCurrentIndex(1)
    preview.form.controls["subsets"].setValue(11)
    assert denoise.settings.controls["partition"].currentText() == "random"
    assert denoise.settings.controls["subsets"].value() == 11
    assert not denoise.settings.controls["width"].isEnabled()
    assert denoise.settings.controls["subsets"].isEnabled()
    assert checked(preview).partition == RandomPartition(11)
    preview.form.controls["partition"].setCurrentIndex(2)
    assert checked(preview).partition == Checkerboard()
    assert not denoise.settings.controls["extent"].isEnabled()


def test_the_kind_of_partition_reaches_the_engine():
    assert Settings(partition="checkerboard", extent=3).chosen_partition() == Checkerboard()
    random = Settings(partition="random", subsets=30, extent=(1, 3), seed=2)
    assert random.config("YX").partition == RandomPartition(30, (1, 3), 2)
    assert Settings(extent=(1, 3)).chosen_partition() == Grid((4, 6), (1, 3))
    settings = Settings(partition="random")
    settings.take(Grid((2, 5), (1, 3)))
    assert settings.chosen_partition() == Grid((2, 5), (1, 3))


def test_one_number_per_axis_can_be_typed(preview, qtbot, checked):
    width = preview.form.controls["width"]
    width.selectAll()
    qtbot.keyClicks(width, "3x5")
    qtbot.keyClick(width, Qt.Key.Key_Return)
    assert preview.session.settings.width == (3, 5)
    assert width.text() == "3×5"
    assert checked(preview).figures.subsets == 15
    width.selectAll()
    qtbot.keyClicks(width, "automatic")
    qtbot.keyClick(width, Qt.Key.Key_Return)
    assert preview.session.settings.width is None
    width.stepUp()
    assert preview.session.settings.width == 2
    width.selectAll()
    qtbot.keyClicks(width, "automatic")
    qtbot.keyClick(width, Qt.Key.Key_Return)
    assert preview.session.settings.width is None


def test_settings_are_locked_while_a_network_is_trained(viewer, preview, engine, wait_for, click):
    denoise = open_dock(viewer)
    click(denoise, "train")
    wait_for(denoise, State.TRAINING)
    assert not preview.form.controls["width"].isEnabled()
    engine.go.set()
    wait_for(denoise, State.DONE)
    assert preview.form.controls["width"].isEnabled()


def test_a_contradiction_is_one_sentence_and_ends_with_it(viewer, preview, checked):
    preview.form.controls["width"].setValue(3)
    preview.form.controls["extent"].setValue(7)
    preview.preview.update()
    assert "at least 8" in preview.words.figures.text()
    assert not viewer.layers["cells J partition"].visible
    preview.form.controls["width"].setValue(9)
    checked(preview)
    assert viewer.layers["cells J partition"].visible


def test_the_suggestion_is_measured_and_taken(viewer, qtbot, checked):
    rng = np.random.default_rng(0)
    white = rng.normal(0, 20, (256, 257))
    rows = (white[:, 1:] + white[:, :-1]) / 2
    viewer.add_image((300 + rows).astype(np.float32), name="lines")
    widget = open_preview(viewer)
    checked(widget)
    assert not widget.words.take.isEnabled()
    qtbot.mouseClick(widget.words.measure, Qt.MouseButton.LeftButton)
    assert "Estimating" in widget.words.suggestion.text()
    qtbot.waitUntil(lambda: widget.preview.shown.measured, timeout=TIMEOUT)
    expected = estimate_noise(viewer.layers["lines"].data).suggestion.partition
    assert expected.extents(2)[1] >= 3
    # What "automatic" will be is known now.
    assert widget.preview.shown.partition == expected
    qtbot.mouseClick(widget.words.take, Qt.MouseButton.LeftButton)
    assert widget.session.settings.chosen_partition() == expected
    checked(widget)
    assert not widget.words.take.isEnabled()


def test_a_failed_estimate_is_one_sentence(preview, monkeypatch, qtbot):
    def fails(*_, **__):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(noise_module, "estimate_noise", fails)
    qtbot.mouseClick(preview.words.measure, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "no such thing" in preview.words.suggestion.text(), timeout=TIMEOUT)
    assert preview.words.measure.isEnabled()


# -- layers of every kind -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        (
            (400, 300),
            {
                "scale": (0.5, 0.25),
                "translate": (-20, 3),
                "rotate": 20,
                "shear": [0.1],
                "affine": np.array([[2, 0, 5], [0, 2, 1], [0, 0, 1]]),
                "units": ("um", "um"),
                "axis_labels": ("y", "x"),
            },
        ),
        (
            (5, 400, 300),
            {
                "scale": (4, 0.5, 0.25),
                "translate": (7, -20, 3),
                "units": ("s", "um", "um"),
                "axis_labels": ("t", "y", "x"),
            },
        ),
    ],
    ids=["turned", "movie"],
)
def test_layers_lie_where_their_source_lies(viewer, checked, shape, attributes):
    source = viewer.add_image(noisy(shape), name="source", **attributes)
    widget = open_preview(viewer)
    widget.layer_choice.boxes["masked"].click()
    if len(shape) == 3:
        viewer.dims.set_current_step(0, 3)
    viewer.scene.camera.zoom *= 3
    scene = checked(widget).scene
    start = np.array([part.start for part in scene.region])
    assert (start > 0).all()
    for name in ("source J partition", "source J targets", "source masked input"):
        layer = viewer.layers[name]
        assert layer.data.shape == scene.shape
        for step in (0, 9):
            place = np.array([0] * (len(shape) - 2) + [step, step // 2])
            np.testing.assert_allclose(
                layer.data_to_world(place), source.data_to_world(start + place)
            )
        assert layer.units == source.units
        assert layer.axis_labels == source.axis_labels


def test_a_slice_of_a_volume(viewer, checked):
    data = noisy((6, 40, 48))
    viewer.add_image(data, name="stack")
    widget = open_preview(viewer)
    widget.layer_choice.boxes["masked"].click()
    viewer.dims.set_current_step(0, 2)
    for volume in (False, True):
        widget.session.settings.volume = volume
        widget.session.settings.width = (2, 3, 4) if volume else 3
        shown = checked(widget)
        assert shown.scene.shape == (1, 40, 48)
        labels = viewer.layers["stack J partition"].data[0] - 1
        whole = Grid((2, 3, 4)).labels(data.shape)[2] if volume else Grid(3).labels((40, 48))
        np.testing.assert_array_equal(labels, whole)
        masked = viewer.layers["stack masked input"].data[0]
        y, x = np.argwhere(labels[5:-5, 5:-5] == shown.subset)[0] + 5
        around = data[2, y - 1 : y + 2, x - 1 : x + 2].astype(float)
        expected = (around.sum() - float(data[2, y, x])) / (around.size - 1)
        assert masked[y, x] == pytest.approx(expected, rel=1e-6)
        assert shown.leakage.leaks == 0


def test_planes_across_a_stack(viewer, checked):
    data = noisy((9, 40, 48))
    viewer.add_image(data, name="stack")
    widget = open_preview(viewer)
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 7)
    shown = checked(widget)
    assert shown.scene.shape == (9, 1, 48)
    labels = viewer.layers["stack J partition"].data[:, 0] - 1
    np.testing.assert_array_equal(labels, np.tile(Grid(2).labels((40, 48))[7], (9, 1)))
    viewer.dims.ndisplay = 3
    assert np.prod(checked(widget).scene.shape) <= 40 * 48


def test_colours(viewer, checked):
    rng = np.random.default_rng(0)
    data = rng.uniform(0, 1, (40, 40, 4)).astype(np.float32)
    viewer.add_image((255 * data).astype(np.uint8), rgb=True, name="colours")
    widget = open_preview(viewer)
    widget.layer_choice.boxes["masked"].click()
    for dtype in (np.uint8, np.float32):
        expected = data[..., :3] if dtype is np.float32 else viewer.layers["colours"].data[..., :3]
        if dtype is np.float32:
            viewer.layers["colours"].data = data
        shown = checked(widget)
        layer = viewer.layers["colours masked input"]
        assert layer.rgb
        assert layer.data.dtype == dtype
        hidden = shown.labels == shown.subset
        np.testing.assert_array_equal(layer.data[~hidden], expected[~hidden])
        assert (layer.data[hidden] != expected[hidden]).mean() > 0.5
        assert not any(view.image.isNull() for view in widget.pictures.views.values())


def test_odd_images_can_be_looked_at(viewer, checked):
    viewer.add_image(np.full((32, 32), 7.0), name="odd", contrast_limits=(0, 10))
    widget = open_preview(viewer)
    widget.form.controls["width"].setValue(4)
    for data in (
        np.where(np.eye(32) > 0, np.nan, 1.0).astype(np.float32),
        np.arange(6).reshape(2, 3).astype(np.int64),
    ):
        shown = checked(widget)
        assert not shown.error
        assert shown.leakage.leaks == 0
        viewer.layers["odd"].data = data
        viewer.reset_view()
    assert checked(widget).leakage.leaks == 0
    assert "narrower than the grid" in widget.words.figures.text()


def test_a_multiscale_layer_shows_its_full_resolution(viewer, checked):
    full = noisy((300, 280))
    viewer.add_image([full, full[::2, ::2]], multiscale=True, name="pyramid")
    widget = open_preview(viewer)
    widget.layer_choice.boxes["masked"].click()
    shown = checked(widget)
    assert shown.scene.layout.spatial_shape == (300, 280)
    region = shown.scene.region
    visible = shown.labels != shown.subset
    masked = viewer.layers["pyramid masked input"].data
    np.testing.assert_array_equal(masked[visible], full[region][visible])


def test_without_a_layer_there_is_a_sentence(viewer):
    widget = open_preview(viewer)
    assert "open an image first" in widget.words.figures.text()
    assert not widget.walk.isEnabled()
    viewer.add_image(noisy(), name="late")
    assert "late J partition" in viewer.layers


# -- large and lazy -----------------------------------------------------------------------


def test_of_a_large_lazy_layer_only_what_is_in_view_is_read(viewer, checked):
    read = []

    def chunk(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.ones((1, 500, 500), np.uint16)

    data = da.map_blocks(
        chunk, chunks=((1,) * 50, (500,) * 40, (500,) * 40), dtype=np.uint16, meta=np.empty(0)
    )
    viewer.add_image(data, name="large", contrast_limits=(0, 2), multiscale=False, visible=False)
    read.clear()
    widget = open_preview(viewer)
    scene = checked(widget).scene
    assert scene.shape == (1, LARGEST, LARGEST)
    assert len(set(read)) <= 4
    viewer.scene.camera.zoom = 30
    viewer.scene.camera.center = (0, 15_000, 2_000)
    viewer.dims.set_current_step(0, 44)
    scene = checked(widget).scene
    frame, y, x = scene.region
    assert frame.start == 44
    assert y.start < 15_000 < y.stop
    assert x.start < 2_000 < x.stop
    assert y.stop - y.start < 60
    assert set(read[-2:]) <= {(44, i, j) for i in (29, 30) for j in (3, 4)}


def test_late_answers_never_overwrite_newer_ones(viewer, qtbot, monkeypatch, checked):
    release, entered = threading.Event(), threading.Event()
    original = Block.masked

    def slow_for_grid_7(block, partition, subset):
        if partition == Grid(7):
            entered.set()
            release.wait(TIMEOUT / 1000)
        return original(block, partition, subset)

    monkeypatch.setattr(Block, "masked", slow_for_grid_7)
    viewer.add_image(noisy(), name="cells")
    widget = open_preview(viewer)
    widget.layer_choice.boxes["masked"].click()
    widget.form.controls["width"].setValue(7)
    qtbot.waitUntil(entered.is_set, timeout=TIMEOUT)
    # The overlay does not wait for the data.
    assert viewer.layers["cells J partition"].data.max() == 49
    widget.form.controls["width"].setValue(3)
    shown = checked(widget)
    before = viewer.layers["cells masked input"].data.copy()
    release.set()
    qtbot.waitUntil(lambda: not widget.preview.inquiry.busy, timeout=TIMEOUT)
    assert shown.partition == Grid(3)
    np.testing.assert_array_equal(viewer.layers["cells masked input"].data, before)
    assert "9 subsets" in widget.words.figures.text()


def test_data_that_cannot_be_read_are_one_sentence(viewer, checked):
    broken = threading.Event()

    def chunk():
        if broken.is_set():
            raise RuntimeError("the disk is gone")
        return np.ones((64, 64))

    data = da.map_blocks(chunk, chunks=((64,), (64,)), dtype=float, meta=np.empty(0))
    viewer.add_image(data, name="disk", contrast_limits=(0, 2))
    broken.set()
    widget = open_preview(viewer)
    assert "the disk is gone" in checked(widget).error
    assert "the disk is gone" in widget.words.figures.text()
    broken.clear()
    widget.form.controls["width"].setValue(4)
    assert not checked(widget).error


# -- layers come and go -------------------------------------------------------------------


def test_the_selection_the_source_and_the_choices_stay_as_they_were(viewer, checked):
    first = viewer.add_image(noisy(), name="first")
    second = viewer.add_image(noisy(), name="second")
    before = first.data.copy()
    viewer.layers.selection = {first, second}
    widget = open_preview(viewer)
    widget.layer_choice.boxes["masked"].click()
    checked(widget)
    assert set(viewer.layers.selection) == {first, second}
    np.testing.assert_array_equal(first.data, before)
    # What only illustrates is not offered for denoising.
    box = open_dock(viewer).settings.layer
    assert [box.itemText(i) for i in range(box.count())] == ["first", "second"]


def test_layers_go_with_the_dock(viewer, preview, checked):
    draw_no_more(viewer)
    preview.layer_choice.boxes["masked"].click()
    checked(preview)
    assert len(viewer.layers) == 4
    viewer.window.remove_dock_widget(preview)
    assert names(viewer) == ["cells"]
    again = open_preview(viewer)
    checked(again)
    assert names(viewer) == ["cells", "cells J partition", "cells J targets"]


def test_layers_go_with_their_source(viewer, checked):
    viewer.add_image(noisy(), name="below")
    viewer.add_image(noisy(), name="cells")
    widget = open_preview(viewer)
    checked(widget)
    draw_no_more(viewer)
    viewer.layers.remove("cells")
    checked(widget)
    assert names(viewer) == ["below", "below J partition", "below J targets"]
    viewer.layers["below"].name = "renamed"
    checked(widget)
    assert names(viewer) == ["renamed", "renamed J partition", "renamed J targets"]


def test_layers_may_be_deleted_and_hidden_by_hand(viewer, preview, checked):
    draw_no_more(viewer)
    boxes = preview.layer_choice.boxes
    viewer.layers.remove("cells J partition")
    assert not boxes["subsets"].isChecked()
    viewer.layers["cells J targets"].visible = False
    assert not boxes["targets"].isChecked()
    preview.form.controls["width"].setValue(5)
    checked(preview)
    assert "cells J partition" not in viewer.layers
    assert not viewer.layers["cells J targets"].visible
    boxes["subsets"].click()
    boxes["targets"].click()
    assert viewer.layers["cells J partition"].visible
    assert viewer.layers["cells J targets"].visible
    assert names(viewer)[-1] == "cells J targets"


def test_data_exchanged_under_the_preview(viewer, preview, checked):
    draw_no_more(viewer)
    viewer.layers["cells"].data = noisy((3, 40, 30))
    checked(preview)
    assert viewer.layers["cells J partition"].data.shape == (1, 40, 30)


def test_zoom_to_the_pixels(viewer, preview, qtbot, checked):
    viewer.layers["cells"].data = noisy((2000, 2000))
    checked(preview)
    qtbot.mouseClick(preview.findChild(QPushButton, "zoom"), Qt.MouseButton.LeftButton)
    shape = checked(preview).scene.shape
    assert 30 <= min(shape) <= 45


# -- docks, viewers, looks ----------------------------------------------------------------


def test_closing_the_dock_leaves_nothing_behind(viewer, preview, qtbot):
    draw_no_more(viewer)
    preview.walk.play.click()
    kept = weakref.ref(preview.preview)
    viewer.window.remove_dock_widget(preview)
    assert not preview.walk._timer.isActive()

    def gone():
        gc.collect()
        return kept() is None

    qtbot.waitUntil(gone, timeout=TIMEOUT)
    viewer.scene.camera.zoom = 3
    viewer.dims.ndisplay = 2


def test_closing_the_dock_while_data_are_read(viewer, qtbot):
    release = threading.Event()
    ready = threading.Event()

    def chunk():
        if ready.is_set():
            release.wait(TIMEOUT / 1000)
        return np.ones((64, 64))

    data = da.map_blocks(chunk, chunks=((64,), (64,)), dtype=float, meta=np.empty(0))
    viewer.add_image(data, name="slow", contrast_limits=(0, 2))
    ready.set()
    widget = open_preview(viewer)
    qtbot.waitUntil(lambda: widget.preview.inquiry.busy, timeout=TIMEOUT)
    draw_no_more(viewer)
    viewer.window.remove_dock_widget(widget)
    release.set()
    assert names(viewer) == ["slow"]


def test_two_viewers_share_nothing(make_napari_viewer, no_thread_left, checked):
    widgets = []
    for name in ("first", "second"):
        viewer = make_napari_viewer(show=True)
        viewer.add_image(noisy(), name=name)
        widgets.append((viewer, open_preview(viewer)))
    (one, first), (two, second) = widgets
    first.form.controls["width"].setValue(5)
    first.walk.slider.setValue(3)
    checked(first)
    checked(second)
    assert second.session.settings.width is None
    assert second.walk.slider.value() == 0
    assert names(two) == ["second", "second J partition", "second J targets"]
    draw_no_more(one)
    draw_no_more(two)


def test_the_menu_entry_opens_the_dock_with_the_active_layer(viewer):
    for name in ("first", "second"):
        viewer.add_image(noisy(), name=name)
    viewer.layers.selection.active = viewer.layers["first"]
    get_app_model().commands.execute_command(f"{NAME}.partition_active").result()
    dock = viewer.window.dock_widgets[f"J partition preview ({NAME})"]
    assert isinstance(dock, PartitionWidget)
    assert dock.form.layer.currentText() == "first"
    assert "first J partition" in viewer.layers


def test_it_fits_beside_the_picture_and_scrolls(viewer, preview, qtbot):
    viewer.window.resize(1280, 800)
    open_dock(viewer)
    area = preview.findChild(QAbstractScrollArea)
    content = area.widget()
    qtbot.waitUntil(
        lambda: content.minimumSizeHint().width() <= area.viewport().width(), timeout=TIMEOUT
    )
    assert preview.minimumSizeHint().width() <= 330
    assert viewer.window._qt_window.width() <= 1280
    assert viewer.window._qt_window.height() <= 800


def test_opening_the_dock_imports_no_torch():
    code = (
        "import sys\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "import numpy\n"
        "from napari.components import ViewerModel\n"
        "from napari_noise2self.widgets.partition import PartitionWidget\n"
        "viewer = ViewerModel()\n"
        "viewer.add_image(numpy.zeros((32, 32)), contrast_limits=(0, 1))\n"
        "widget = PartitionWidget(viewer)\n"
        "print('torch' in sys.modules, [layer.name for layer in viewer.layers][1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "False ['Image J partition', 'Image J targets']", done.stderr


def test_a_movie_is_parted_as_it_is_trained(viewer, checked):
    viewer.add_image(noisy((6, 40, 48)), name="movie", axis_labels=("t", "y", "x"))
    widget, denoise = open_preview(viewer), open_dock(viewer)
    choice = widget.form.controls["volume"]
    assert choice.accessibleName() == "Denoise T"
    choice.setCurrentIndex(choice.findText("with neighbours"))
    assert denoise.settings.volume.currentText() == "with neighbours"
    shown = checked(widget)
    assert shown.partition == Grid(2).beside(1, 6)
    assert shown.scene.layout.spatial_axes == "TYX"
    widget.session.settings.extent = (1, 3, 3)
    assert checked(widget).partition.extents(3) == (1, 3, 3)
    widget.session.settings.extent = 1
    choice.setCurrentIndex(choice.findText("as a volume"))
    assert checked(widget).scene.layout.ndim == 3
    assert not widget.preview.message
