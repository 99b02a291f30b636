"""The dock itself: its controls, its looks, and what napari's menus lead to."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref

import napari.settings
import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.utils import progress
from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractScrollArea, QApplication, QFileDialog, QMessageBox

from napari_noise2self.engine.errors import ModelFileError
from napari_noise2self.widgets import preferences
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.session import State

from .conftest import TIMEOUT, FakeDenoiser, noisy, open_dock, session_of

NAME = "napari-noise2self"


# -- controls ---------------------------------------------------------------------------


def test_only_images_are_offered_and_the_active_one_is_chosen(viewer):
    viewer.add_image(noisy(), name="first")
    viewer.add_image(noisy(), name="second")
    viewer.add_labels(np.zeros((64, 64), int), name="labels")
    viewer.layers.selection.active = viewer.layers["first"]
    dock = open_dock(viewer)
    box = dock.settings.layer
    assert [box.itemText(i) for i in range(box.count())] == ["first", "second"]
    assert box.currentText() == "first"


def test_the_layer_box_follows_the_layer_list(viewer):
    dock = open_dock(viewer)
    box = dock.settings.layer
    assert box.count() == 0
    first = viewer.add_image(noisy(), name="first")
    assert box.currentText() == "first"
    viewer.add_image(noisy(), name="second")
    assert box.currentText() == "first"
    first.name = "renamed"
    assert box.currentText() == "renamed"
    viewer.layers.move(0, 2)
    assert [box.itemText(i) for i in range(box.count())] == ["second", "renamed"]
    assert box.currentText() == "renamed"
    box.setCurrentIndex(0)
    assert session_of(dock).settings.layer is viewer.layers["second"]


def test_depth_is_offered_only_where_there_is_one(viewer):
    viewer.add_image(noisy(), name="flat")
    dock = open_dock(viewer)
    assert not dock.settings.volume.isEnabled()
    viewer.add_image(noisy((4, 64, 64)), name="deep")
    dock.settings.layer.setCurrentIndex(1)
    assert dock.settings.volume.isEnabled()
    viewer.add_image(noisy((4, 64, 64)), name="movie", axis_labels=("t", "y", "x"))
    dock.settings.layer.setCurrentIndex(2)
    assert dock.settings.volume.isEnabled()
    assert dock.settings.volume.accessibleName() == "Denoise T"


def test_axes_are_corrected_in_one_place_for_all_docks(viewer, qtbot, notifications):
    viewer.add_image(noisy((4, 64, 64)), name="movie")
    dock = open_dock(viewer)
    dock.settings.advanced.expand(animate=False)
    line = dock.settings.axes
    assert (line.text(), line.note.text()) == ("ZYX", "guessed from the shape")
    line.selectAll()
    qtbot.keyClicks(line, "tyx")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert (line.text(), line.note.text()) == ("TYX", "told by you")
    assert dock.settings.volume.accessibleName() == "Denoise T"
    assert Source.of(viewer.layers["movie"]).axes == "TYX"
    line.selectAll()
    qtbot.keyClicks(line, "tyxx")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert "letters" in notifications[-1].message or "axes" in notifications[-1].message
    assert line.text() == "TYX"
    line.clear()
    line.setModified(True)
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert line.text() == "ZYX"
    viewer.layers["movie"].axis_labels = ("time", "y", "x")
    assert (line.text(), line.note.text()) == ("TYX", "told by the axis labels")


def test_every_choice_reaches_the_engine(dock, engine, click, wait_for):
    controls = dock.settings.controls
    controls["width"].setValue(6)
    controls["epochs"].setValue(1.5)
    controls["network"].setCurrentIndex(1)
    controls["device"].setCurrentIndex(2)
    controls["output"].setCurrentIndex(2)
    controls["extent"].setValue(3)
    controls["seed"].setValue(7)
    engine.go.set()
    click(dock, "train")
    wait_for(dock, State.DONE)
    config = engine.arguments["config"]
    assert (config.partition.width, config.partition.extent) == (6, 3)
    assert (config.epochs, config.network, config.device) == (1.5, "dncnn", "cpu")
    assert (config.output, config.seed) == ("j-invariant", 7)


def test_a_typed_even_block_becomes_odd(dock, qtbot):
    extent = dock.settings.controls["extent"]
    dock.settings.advanced.expand(animate=False)
    extent.selectAll()
    qtbot.keyClicks(extent, "4")
    qtbot.keyClick(extent, Qt.Key.Key_Return)
    assert extent.value() == 5
    assert session_of(dock).settings.extent == 5


def test_controls_are_locked_while_it_runs(dock, engine, click, wait_for):
    click(dock, "train")
    assert not dock.settings.layer.isEnabled()
    assert dock.settings.controls["preview"].isEnabled()
    engine.go.set()
    wait_for(dock, State.DONE)
    assert dock.settings.layer.isEnabled()


def test_absent_devices_are_grey_once_torch_is_loaded(dock, engine, click, wait_for):
    import torch

    engine.go.set()
    click(dock, "train")
    wait_for(dock, State.DONE)
    model = dock.settings.device.model()
    enabled = {
        dock.settings.device.itemData(i): model.item(i).isEnabled()
        for i in range(dock.settings.device.count())
    }
    assert enabled["auto"]
    assert enabled["cpu"]
    if "cuda" in enabled:
        assert enabled["cuda"] == torch.cuda.is_available()


def test_controls_have_names_and_tips_and_are_reached_by_tab(dock, viewer, qtbot):
    dock.settings.advanced.expand(animate=False)
    controls = [*dock.settings.controls.values(), dock.train_button, dock.pause_button]
    for control in controls:
        assert control.accessibleName(), control
        assert len(control.toolTip()) > 10, control
    viewer.window._qt_window.activateWindow()
    dock.settings.layer.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is dock.settings.layer, timeout=TIMEOUT)
    order = []
    while QApplication.focusWidget() is not dock.train_button:
        assert QApplication.focusWidget() not in order, "the train button is never reached"
        order.append(QApplication.focusWidget())
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    reached = [w.objectName() for w in order if w.objectName() in dock.settings.controls]
    enabled = [name for name, w in dock.settings.controls.items() if w.isEnabled()]
    assert reached == enabled


def test_the_train_button_works_by_keyboard(dock, engine, qtbot, wait_for):
    dock.train_button.setFocus()
    qtbot.keyClick(dock.train_button, Qt.Key.Key_Space)
    wait_for(dock, State.TRAINING)
    qtbot.keyClick(dock.train_button, Qt.Key.Key_Space)
    wait_for(dock, State.DONE)


def test_a_double_click_starts_once_and_does_not_stop(dock, engine, wait_for):
    # What a window sends: the second press is another kind of event.
    for event in (QTest.mouseClick, QTest.mouseDClick, QTest.mouseRelease):
        event(dock.train_button, Qt.MouseButton.LeftButton)
    wait_for(dock, State.TRAINING)
    QTest.mouseClick(dock.train_button, Qt.MouseButton.LeftButton)
    wait_for(dock, State.DONE)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_arrow_of_a_fold_has_the_colour_of_the_theme(viewer, dock, theme):
    viewer.theme = theme
    button = dock.settings.advanced.toggleButton()
    # An icon would be drawn once, in the colour of no theme.
    assert button.icon().isNull()
    assert button.text() == "▸ Advanced"
    dock.settings.advanced.expand(animate=False)
    assert button.text() == "▾ Advanced"


def test_the_wheel_scrolls_past_controls_without_focus(dock):
    from qtpy.QtCore import QPoint, QPointF
    from qtpy.QtGui import QWheelEvent

    network = dock.settings.controls["network"]
    dock.train_button.setFocus()
    centre = QPointF(network.rect().center())
    event = QWheelEvent(
        centre,
        QPointF(network.mapToGlobal(centre.toPoint())),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(network, event)
    assert network.currentText() == "UNet"


def test_a_closed_dock_holds_no_layer(viewer, qtbot):
    viewer.add_image(noisy(), name="cells")
    viewer.add_image(noisy(seed=1), name="second")
    dock = open_dock(viewer)
    dock.settings.layer.setCurrentIndex(dock.settings.layer.findText("cells"))
    target = dock.settings.target
    target.setCurrentIndex(target.findText("noisy: second"))
    layer = weakref.ref(viewer.layers["second"])
    viewer.window.remove_dock_widget(dock)
    viewer.layers.remove("second")

    def freed():
        gc.collect()
        return layer() is None

    qtbot.waitUntil(freed, timeout=TIMEOUT)
    assert target.count() == 1


# -- looks ------------------------------------------------------------------------------


def test_it_fits_beside_the_picture(dock, viewer, engine, click, wait_for, qtbot):
    viewer.window.resize(1280, 800)
    dock.settings.advanced.expand(animate=False)
    click(dock, "train")
    engine.go.set()
    wait_for(dock, State.DONE)
    area = dock.findChild(QAbstractScrollArea)
    content = area.widget()
    qtbot.waitUntil(
        lambda: content.minimumSizeHint().width() <= area.viewport().width(), timeout=TIMEOUT
    )
    assert dock.minimumSizeHint().width() <= 320
    assert viewer.window._qt_window.width() <= 1280


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_plot_has_the_colours_of_the_theme(viewer, dock, engine, click, wait_for, theme):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    engine.go.set()
    wait_for(dock, State.DONE)
    viewer.theme = theme
    plot = dock.progress.plot
    drawn = plot.plot.backgroundBrush().color().name()
    assert drawn == plot_colour(theme, "background")
    assert plot.item.getAxis("left").textPen().color().name() == plot_colour(theme, "text")


def plot_colour(theme: str, name: str) -> str:
    from qtpy.QtGui import QColor

    return QColor(getattr(get_theme(theme), name).as_hex()).name()


def test_the_plot_shows_what_was_reported(dock, engine, click, wait_for):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    engine.go.set()
    wait_for(dock, State.DONE)
    x, y = dock.progress.plot._loss.getData()
    assert len(x) == session_of(dock).points
    assert set(y) == {100.0}
    assert set(dock.progress.plot._score.getData()[1]) == {90.0}


# -- napari's own places ----------------------------------------------------------------


def test_the_activity_dock_shows_the_progress(dock, engine, click, wait_for, qtbot):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    qtbot.waitUntil(lambda: len(progress._all_instances) == 1, timeout=TIMEOUT)
    (bar,) = progress._all_instances
    qtbot.waitUntil(lambda: bar.n > 0, timeout=TIMEOUT)
    assert "training" in bar.desc
    engine.go.set()
    wait_for(dock, State.DONE)
    qtbot.waitUntil(lambda: not progress._all_instances, timeout=TIMEOUT)


def test_the_menu_entry_opens_the_dock_with_the_active_layer(viewer):
    for name in ("first", "second"):
        viewer.add_image(noisy(), name=name)
    viewer.layers.selection.active = viewer.layers["first"]
    commands = get_app_model().commands
    commands.execute_command(f"{NAME}.denoise_active").result()
    dock = viewer.window.dock_widgets[f"Denoise ({NAME})"]
    assert dock.settings.layer.currentText() == "first"
    viewer.layers.selection.active = viewer.layers["second"]
    commands.execute_command(f"{NAME}.denoise_active").result()
    assert dock.settings.layer.currentText() == "second"
    assert dock.isVisible()


@pytest.mark.parametrize("key", ["cells", "nuclei"])
def test_sample_data(viewer, key):
    truth, layer = viewer.open_sample(NAME, key)
    assert layer.data.dtype == np.uint16
    assert truth.data.shape == layer.data.shape
    assert not truth.visible
    assert viewer.layers.selection.active is layer
    assert layer.scale[-1] == pytest.approx(0.108)
    assert str(layer.units[-1]) == "micrometer"
    assert open_dock(viewer).settings.layer.currentText() == layer.name


def test_the_preferences_decide_what_a_new_dock_starts_with(viewer, monkeypatch):
    page = napari.settings.get_plugin_settings(NAME).denoise
    monkeypatch.setattr(page, "device", "cpu")
    monkeypatch.setattr(page, "live_preview", False)
    dock = open_dock(viewer)
    assert dock.settings.device.currentText() == "CPU"
    assert not dock.settings.controls["preview"].isChecked()


def test_a_preferred_device_of_another_kind_of_computer_is_ignored(viewer, monkeypatch):
    page = napari.settings.get_plugin_settings(NAME).denoise
    monkeypatch.setattr(page, "device", "mps")
    monkeypatch.setattr(sys, "platform", "linux")
    assert preferences.preferences().device == "auto"


def test_without_a_page_of_preferences_there_are_defaults(monkeypatch):
    monkeypatch.delattr(napari.settings, "get_plugin_settings")
    assert preferences.preferences() == preferences.Preferences("auto", True)


def test_a_model_is_not_overwritten_unasked(dock, engine, click, wait_for, qtbot, tmp_path):
    taken = tmp_path / "taken.safetensors"
    taken.write_text("precious")
    engine.go.set()
    click(dock, "train")
    wait_for(dock, State.DONE)
    click(dock, "save")
    dialog = dock.findChild(QFileDialog)
    dialog.setDirectory(str(tmp_path))
    dialog.selectFile("taken")
    asked = []

    def refuse() -> None:
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            asked.append(box.text())
            box.button(QMessageBox.StandardButton.No).click()

    from qtpy.QtCore import QTimer

    timer = QTimer()
    timer.timeout.connect(refuse)
    timer.start(10)
    dialog.accept()
    timer.stop()
    assert asked
    assert taken.read_text() == "precious"
    dialog.reject()


def test_a_model_that_cannot_be_saved_is_one_sentence(
    dock, engine, click, wait_for, notifications, monkeypatch, tmp_path
):
    def refused(self, path):
        raise ModelFileError("The model could not be written.")

    monkeypatch.setattr(FakeDenoiser, "save", refused)
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    click(dock, "train")
    wait_for(dock, State.DONE)
    dock._controller.save_model(tmp_path / "m.safetensors")
    assert notifications[-1].message == "The model could not be written."


def test_opening_the_dock_imports_no_torch():
    code = (
        "import sys\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from napari.components import ViewerModel\n"
        "from napari_noise2self.widgets.denoise import DenoiseWidget\n"
        "viewer = ViewerModel()\n"
        "widget = DenoiseWidget(viewer)\n"
        "print('torch' in sys.modules, 'pyqtgraph' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["False", "False"], done.stderr
