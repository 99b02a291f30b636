"""Layers whose result does not fit into memory: it goes to a file, and is seen all the time."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QFileDialog, QMessageBox, QPushButton

from napari_noise2self.engine.errors import OutputError
from napari_noise2self.stacks.lazy import LazyArray
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.store import PartialStore
from napari_noise2self.stacks.unfinished import unfinished_model
from napari_noise2self.widgets import layers
from napari_noise2self.widgets.session import State

from .conftest import TIMEOUT, noisy, open_dock, session_of


@pytest.fixture
def full(monkeypatch):
    """No result fits into memory."""
    monkeypatch.setattr(layers, "fits_in_memory", lambda size: False)


@pytest.fixture
def dock(viewer, full):
    """The dock of a window with a stack from elsewhere, set to learn briefly."""
    data = da.from_array(noisy((3, 64, 64)), chunks=(1, 64, 64))
    viewer.add_image(
        data,
        name="cells",
        axis_labels=("t", "y", "x"),
        scale=(2, 0.1, 0.1),
        units=("s", "um", "um"),
    )
    widget = open_dock(viewer)
    widget.settings.controls["epochs"].setValue(1)
    return widget


def choose(dock, folder, name):
    """Name a file in the dialog that is open."""
    dialog = dock.findChild(QFileDialog)
    dialog.setDirectory(str(folder))
    dialog.selectFile(name)
    dialog.accept()


def test_the_result_goes_to_a_file_and_is_a_layer_at_once(
    dock, viewer, click, wait_for, qtbot, tmp_path
):
    assert "does not fit into memory" in dock.room.text()
    dock.settings.controls["epochs"].setValue(10)
    click(dock, "train")
    assert session_of(dock).state is State.IDLE
    choose(dock, tmp_path, "mine")
    qtbot.waitUntil(lambda: "cells denoised" in viewer.layers, timeout=TIMEOUT)
    result = viewer.layers["cells denoised"]
    assert isinstance(result.data, LazyArray)
    # The preview of the frame in view, before anything is written.
    assert result.data[viewer.dims.current_step[0]].any()
    wait_for(dock, State.DONE)
    path = tmp_path / "mine.ome.zarr"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    stack = read(path)
    assert (stack.axes, stack.scale, stack.units) == ("TYX", (2, 0.1, 0.1), ("s", "µm", "µm"))
    np.testing.assert_array_equal(np.asarray(result.data), np.asarray(stack.data))
    assert result.data.dtype == np.uint16
    np.testing.assert_allclose(result.scale, (2, 0.1, 0.1))
    assert result.metadata["noise2self"]["file"] == str(path)
    assert result.metadata["noise2self"]["trained_on"]["names"] == ["cells"]
    assert "Written to mine.ome.zarr" in dock.outcome.text.text()
    assert dock.train_button.isEnabled()


def test_nothing_is_replaced_unasked(dock, click, wait_for, qtbot, tmp_path):
    (tmp_path / "mine.ome.tif").write_text("precious")
    click(dock, "train")
    dialog = dock.findChild(QFileDialog)
    dialog.selectNameFilter(next(f for f in dialog.nameFilters() if "TIFF" in f))
    choose(dock, tmp_path, "mine")
    box = dock.findChild(QMessageBox)
    assert "mine.ome.tif exists" in box.text()
    box.button(QMessageBox.StandardButton.Cancel).click()
    assert session_of(dock).state is State.IDLE
    assert (tmp_path / "mine.ome.tif").read_text() == "precious"
    qtbot.waitUntil(lambda: dock.findChild(QMessageBox) is None, timeout=TIMEOUT)
    click(dock, "train")
    dialog = dock.findChild(QFileDialog)
    dialog.selectNameFilter(next(f for f in dialog.nameFilters() if "TIFF" in f))
    choose(dock, tmp_path, "mine")
    dock.findChild(QMessageBox).findChild(QPushButton, "replace").click()
    wait_for(dock, State.DONE)
    assert read(tmp_path / "mine.ome.tif").shape == (3, 64, 64)


def test_what_was_learned_is_kept_where_the_disk_is_full(
    dock, viewer, click, wait_for, tmp_path, monkeypatch, notifications
):
    def fail(store, region, values):
        raise OutputError("The disk is full.")

    monkeypatch.setattr(PartialStore, "write", fail)
    click(dock, "train")
    choose(dock, tmp_path, "mine")
    wait_for(dock, State.DONE)
    assert "The disk is full." in notifications[-1].message
    assert [layer.name for layer in viewer.layers] == ["cells"]
    assert unfinished_model(tmp_path / "mine.ome.zarr").exists()
    assert dock.outcome.save.isVisibleTo(dock)


def test_closing_the_dock_leaves_what_is_done(dock, viewer, click, qtbot, tmp_path, slow_disk):

    click(dock, "train")
    choose(dock, tmp_path, "mine")
    qtbot.waitUntil(slow_disk.wrote.is_set, timeout=TIMEOUT)
    viewer.window.remove_dock_widget(dock)
    assert [layer.name for layer in viewer.layers] == ["cells"]
    slow_disk.go.set()
    pool = QThreadPool.globalInstance()
    qtbot.waitUntil(lambda: pool.activeThreadCount() == 0, timeout=TIMEOUT)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.ome.zarr.partial"]
    assert unfinished_model(tmp_path / "mine.ome.zarr").exists()


def test_what_was_stopped_is_gone_on_with_in_apply_and_export(
    dock, viewer, click, wait_for, qtbot, tmp_path, slow_disk
):

    click(dock, "train")
    choose(dock, tmp_path, "mine")
    qtbot.waitUntil(slow_disk.wrote.is_set, timeout=TIMEOUT)
    wait_for(dock, State.PREDICTING)
    click(dock, "train")
    slow_disk.go.set()
    wait_for(dock, State.DONE)
    assert "Go on with it in the dock Apply and export" in dock.outcome.text.text()
    part = np.asarray(viewer.layers["cells denoised"].data)
    assert 0 < sum(frame.any() for frame in part) < 3
    _, export = viewer.window.add_plugin_dock_widget("napari-noise2self", "Apply and export")
    click(export, "resume")
    qtbot.waitUntil(lambda: "Written to" in export.message.text(), timeout=TIMEOUT)
    assert [layer.name for layer in viewer.layers] == ["cells", "cells denoised"]
    whole = np.asarray(viewer.layers["cells denoised"].data)
    assert all(frame.any() for frame in whole)
    for before, after in zip(part, whole, strict=True):
        if before.any():
            np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(whole, np.asarray(read(tmp_path / "mine.ome.zarr").data))
