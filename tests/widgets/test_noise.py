"""The *Noise report* in a real window: measured, shown, taken over, saved; and what goes wrong."""

from __future__ import annotations

import csv
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.components import ViewerModel
from napari.layers import Image, Points
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QAbstractScrollArea, QFileDialog, QPushButton
from scipy import ndimage

from napari_noise2self.engine.noise import estimate as noise_module
from napari_noise2self.engine.partition import Grid
from napari_noise2self.stacks import samples
from napari_noise2self.widgets.figure import BLUE
from napari_noise2self.widgets.noise import NoiseWidget
from napari_noise2self.widgets.noise_words import residual_numbers

from .conftest import TIMEOUT, open_dock

NAME = "napari-noise2self"


def scene(size=128):
    cells = samples.cells((size, size)).truth.astype(float)
    return 100 + 300 * (cells - cells.min()) / np.ptp(cells)


def white(shape=(128, 128), seed=1):
    return np.random.default_rng(seed).normal(0, 15, shape)


def open_report(viewer):
    _, widget = viewer.window.add_plugin_dock_widget(NAME, "Noise report")
    return widget


def names(viewer):
    return [layer.name for layer in viewer.layers]


@pytest.fixture
def press(qtbot, click):
    """Click a button and wait until the work is done."""

    def act(widget, name):
        click(widget, name)
        qtbot.waitUntil(lambda: not widget.inspector.busy, timeout=TIMEOUT)

    return act


@pytest.fixture
def model(no_thread_left):
    """A viewer without its window, which is slow to open."""
    return ViewerModel()


@pytest.fixture
def opened(model, qtbot):
    """Open the report of the viewer without a window."""

    def open_it():
        widget = NoiseWidget(model)
        qtbot.addWidget(widget)
        return widget

    return open_it


def add_cells(viewer):
    viewer.add_image(scene() + white(), name="cells", scale=(2, 3), translate=(5, 7))


@pytest.fixture
def report(model, opened):
    """The report of a viewer with a noisy layer."""
    add_cells(model)
    return opened()


def shown(widget, name):
    return widget.findChild(QPushButton, name).isVisibleTo(widget)


# -- the noise --------------------------------------------------------------------------


def test_the_noise_is_measured_and_shown(report, press):
    assert not shown(report, "take")
    press(report, "measure")
    text = report.noise.table.text()
    for word in ("Gain", "Offset", "Read noise", "Along y", "Along x", "Clipped", "Bad pixels"):
        assert word in text
    assert "not correlated" in text
    assert "Suggested" in report.noise.suggestion.text()
    points = report.inspector.measured.report.channels[0].points
    drawn = report.noise.transfer.table()
    assert drawn["mean (grey values)"] == points.mean
    assert np.median(points.variance) == pytest.approx(225, rel=0.2)
    assert report.noise.measure.text() == "&Measure again"


def test_the_suggestion_is_taken_over_into_the_other_docks(viewer, press, click):
    add_cells(viewer)
    report = open_report(viewer)
    denoise = open_dock(viewer)
    noise = ndimage.gaussian_filter(white(seed=2), (0, 0.8), mode="wrap")
    viewer.layers["cells"].data = scene() + noise / noise.std() * 15
    press(report, "measure")
    click(report, "take")
    partition = report.inspector.measured.report.suggestion.partition
    assert partition.extent[1] > 1
    assert report.session.settings.chosen_partition() == partition
    assert "×" in denoise.settings.controls["extent"].text()
    assert not report.noise.take.isEnabled()
    report.session.settings.take(Grid(4))
    assert report.noise.take.isEnabled()


def test_hot_and_dead_pixels_are_points_where_they_are(model, report, press):
    data = model.layers["cells"].data
    data[20, 30], data[64, 5] = 50_000, -50_000
    model.layers.selection.active = model.layers["cells"]
    press(report, "measure")
    press(report, "defects")
    layer = model.layers["cells hot pixels"]
    assert isinstance(layer, Points)
    assert layer.data.tolist() == [[20, 30], [64, 5]]
    assert list(layer.features["kind"]) == ["hot", "dead"]
    np.testing.assert_allclose(layer.data_to_world((20, 30)), (45, 97))
    assert "1 hot and 1 dead" in report.noise.message.text()
    assert model.layers.selection.active is model.layers["cells"]
    press(report, "defects")
    assert names(model) == ["cells", "cells hot pixels"]


def test_where_no_pixel_is_hot_no_layer_is_added(model, report, press):
    press(report, "measure")
    press(report, "defects")
    assert names(model) == ["cells"]
    assert "0 hot and 0 dead" in report.noise.message.text()


def test_channels_are_shown_one_by_one(model, press, opened):
    noisy = np.stack([scene() + white(seed=1), scene() + 3 * white(seed=2)])
    model.add_image(noisy, name="two", axis_labels=("c", "y", "x"))
    widget = opened()
    assert not widget.form.channel.isVisibleTo(widget)
    press(widget, "measure")
    assert widget.form.channel.isVisibleTo(widget)
    first = widget.noise.table.text()
    widget.form.channel.setCurrentIndex(1)
    assert widget.noise.table.text() != first
    assert np.median(widget.noise.transfer.table()["variance (squared grey values)"]) > 1500


# -- the residual -----------------------------------------------------------------------


def test_an_image_that_was_smoothed_away_is_said_and_shown(viewer, press, click):
    add_cells(viewer)
    report = open_report(viewer)
    noisy = viewer.layers["cells"].data
    smooth = ndimage.gaussian_filter(noisy, 4)
    viewer.add_image(noisy * 0, name="other")
    viewer.add_image(np.zeros((5, 5)), name="small")
    viewer.add_image(smooth.astype(np.float32), name="cells denoised", metadata={"noise2self": {}})
    box = report.residual.denoised
    assert [box.itemText(i) for i in range(box.count())] == ["cells denoised", "other"]
    press(report, "examine")
    assert "contains the image" in report.residual.text.text()
    assert report.inspector.measured is not None  # measured on the way
    assert max(report.residual.bands.table()["energy over that of the noise"]) > 3
    click(report, "map")
    layer = viewer.layers["cells residual map"]
    assert isinstance(layer, Image)
    assert layer.data.shape == (16, 16)
    # Its pixels are 8 × 8 of the source, and cover them.
    np.testing.assert_allclose(layer.extent.world, viewer.layers["cells"].extent.world, atol=13)
    np.testing.assert_allclose(layer.data_to_world((0, 0)), (5 + 7, 7 + 10.5))
    # Aides are offered nowhere.
    assert box.count() == 2


@pytest.mark.parametrize(("kept", "words"), [(0.0, "none found"), (0.2, "at least 20%")])
def test_noise_that_is_left_is_told_where_there_is_some(kept, words):
    noise = SimpleNamespace(mean_variance=1.0, line=True)
    channel = SimpleNamespace(
        variance_ratio=1.0, level_known=True, kept=kept, noise=noise, mean=0.0
    )
    assert f"Noise left in the denoised layer: {words}." in residual_numbers(channel)


def test_of_a_good_result_nothing_is_told(model, report, press):
    model.add_image(scene().astype(np.float32), name="cells denoised")
    press(report, "examine")
    assert "looks like the noise" in report.residual.text.text()


def test_the_map_of_a_stack_with_channels_lies_over_the_frame_in_view(model, press, click, opened):
    shape = (3, 2, 64, 96)
    model.add_image(100 + white(shape), name="stack", axis_labels=("t", "c", "y", "x"))
    model.add_image(np.full(shape, 100.0), name="flat")
    widget = opened()
    widget.form.layer.setCurrentIndex(0)
    assert widget.session.settings.layer is model.layers["stack"]
    model.dims.set_current_step(0, 2)
    press(widget, "examine")
    click(widget, "map")
    layer = model.layers["stack residual map"]
    assert layer.data.shape == (1, 2, 8, 12)
    assert layer.translate[0] == 2


def test_rgb_is_examined(model, press, click, opened):
    truth = np.repeat(scene()[..., None] / 2, 3, axis=2)
    noisy = (truth + white(truth.shape)).clip(0, 255).astype(np.uint8)
    model.add_image(noisy, name="photo", rgb=True)
    model.add_image(truth.astype(np.uint8), name="truth", rgb=True)
    widget = opened()
    widget.form.layer.setCurrentIndex(0)
    press(widget, "examine")
    assert widget.form.channel.count() == 3
    click(widget, "map")
    assert model.layers["photo residual map"].data.shape == (16, 16)


# -- what goes wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((64, 64), bool), "bool"),
        (np.zeros((1, 1)), "at least"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence_and_the_dock_goes_on(
    model, press, image, sentence, opened
):
    model.add_image(image, name="bad")
    widget = opened()
    press(widget, "measure")
    message = widget.noise.message.text()
    assert sentence in message
    assert "Traceback" not in message
    model.add_image(scene() + white(), name="good")
    widget.session.settings.layer = model.layers["good"]
    assert widget.noise.message.text() == ""
    press(widget, "measure")
    assert "Suggested" in widget.noise.suggestion.text()


@pytest.mark.parametrize("image", [np.full((64, 64), 3.0), np.full((64, 64), np.nan)])
def test_an_image_without_noise_is_unknown(model, press, image, opened):
    model.add_image(image, name="empty", contrast_limits=(0, 1))
    widget = opened()
    press(widget, "measure")
    assert "unknown" in widget.noise.table.text()
    assert widget.noise.transfer.table()["fit"] == ()


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), OSError("disk away")])
def test_an_error_of_any_kind_leaves_the_dock_ready(report, press, monkeypatch, error):
    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(noise_module, "estimate_noise", fail)
        press(report, "measure")
    assert "The noise could not be measured" in report.noise.message.text()
    press(report, "measure")
    assert report.inspector.measured is not None


def test_without_a_layer_the_buttons_say_so(model, press, click, opened):
    widget = opened()
    press(widget, "measure")
    assert "open an image first" in widget.noise.message.text()
    click(widget, "examine")
    assert "denoise first" in widget.residual.text.text()


def test_changed_data_are_not_taken_for_the_measured_ones(model, report, press):
    press(report, "measure")
    model.layers["cells"].data = scene()
    assert report.inspector.measured is None
    assert "measure again" in report.noise.message.text()
    assert not shown(report, "take")


@pytest.fixture
def slow(monkeypatch):
    """A measurement that lasts until it is told to end."""
    go = threading.Event()
    measure = noise_module.estimate_noise

    def wait(*arguments, **options):
        go.wait(TIMEOUT / 1000)
        return measure(*arguments, **options)

    monkeypatch.setattr(noise_module, "estimate_noise", wait)
    yield go
    go.set()


def test_a_cancelled_measurement_says_nothing_more(report, slow, click, qtbot):
    click(report, "measure")
    assert report.noise.bar.isVisibleTo(report)
    assert report.noise.measure.text() == "C&ancel"
    click(report, "measure")
    slow.set()
    qtbot.wait(50)
    assert report.inspector.measured is None
    assert not report.noise.bar.isVisibleTo(report)


def test_a_late_answer_for_another_layer_is_dropped(model, report, slow, click, qtbot):
    click(report, "measure")
    model.add_image(scene(), name="second")
    report.session.settings.layer = model.layers["second"]
    slow.set()
    qtbot.wait(50)
    assert report.inspector.measured is None


def test_closing_the_dock_while_it_measures_leaves_nothing_behind(viewer, slow, click):
    add_cells(viewer)
    report = open_report(viewer)
    click(report, "measure")
    inspector = report.inspector
    viewer.window.remove_dock_widget(report)
    assert report.inspector is None
    slow.set()
    assert inspector.measured is None
    viewer.layers["cells"].data = scene()  # nobody listens any longer


# -- looks ------------------------------------------------------------------------------


def test_plots_and_their_numbers_are_saved(report, press, tmp_path):
    press(report, "measure")
    for figure in (report.noise.transfer, report.noise.correlation):
        picture = tmp_path / "figure.png"
        figure.save(picture)
        image = QImage(str(picture))
        assert image.width() == 1600
        colours = {image.pixelColor(x, y).rgb() for x in range(0, 1600, 7) for y in (100, 300, 500)}
        assert len(colours) > 3
        figure.save(tmp_path / "figure.svg")
        assert "<svg" in (tmp_path / "figure.svg").read_text()
    report.noise.transfer.save(tmp_path / "points.csv")
    with (tmp_path / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["variance (squared grey values)"]) > 100
    report.noise.correlation.save(tmp_path / "lags.csv")
    assert len((tmp_path / "lags.csv").read_text().splitlines()) == 13 * 13 + 1


def test_saving_through_the_menu(report, press, qtbot, tmp_path):
    press(report, "measure")
    menu = report.noise.transfer.save_button.menu()
    assert [action.text() for action in menu.actions()] == [
        "Picture (PNG)…",
        "Drawing (SVG)…",
        "Numbers (CSV)…",
    ]
    menu.actions()[2].trigger()
    dialog = report.noise.transfer.findChild(QFileDialog)
    dialog.setDirectory(str(tmp_path))
    dialog.selectFile(str(tmp_path / "points.csv"))
    dialog.accept()
    qtbot.waitUntil(lambda: (tmp_path / "points.csv").exists(), timeout=TIMEOUT)


def test_a_file_that_cannot_be_written_is_told(report, press, notifications, tmp_path):
    press(report, "measure")
    report.noise.transfer._save_and_tell(tmp_path / "nowhere" / "plot.png")
    assert "plot.png could not be written" in notifications[-1].message


def test_the_plots_follow_the_theme(model, report, press):
    press(report, "measure")
    for theme in ("light", "dark"):
        model.theme = theme
        colour = report.noise.transfer._points.opts["symbolBrush"].color().name()
        assert colour == BLUE[theme == "dark"]


def test_the_dock_fits_into_a_small_window(viewer, press):
    add_cells(viewer)
    report = open_report(viewer)
    press(report, "measure")
    viewer.window._qt_window.resize(1280, 800)
    area = report.findChild(QAbstractScrollArea)
    assert area.widget().minimumSizeHint().width() <= 380
    assert area.horizontalScrollBarPolicy() == Qt.ScrollBarPolicy.ScrollBarAlwaysOff


def test_the_menu_entry_opens_the_report_of_the_active_layer(viewer):
    viewer.add_image(scene(), name="first")
    viewer.add_image(scene(), name="second")
    viewer.layers.selection.active = viewer.layers["first"]
    get_app_model().commands.execute_command(f"{NAME}.noise_active").result()
    widget = viewer.window._qt_window.findChild(NoiseWidget)
    assert widget.session.settings.layer is viewer.layers["first"]
