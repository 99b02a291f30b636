"""What people do while it runs, and what goes wrong in the engine."""

from __future__ import annotations

import dataclasses
import gc

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_noise2self.engine.errors import OutOfMemoryError
from napari_noise2self.engine.events import PredictionEvent
from napari_noise2self.widgets.denoise import DenoiseWidget
from napari_noise2self.widgets.result_layer import ResultLayer
from napari_noise2self.widgets.session import State

from .conftest import TIMEOUT, noisy, open_dock, result_of, session_of, train_until_told, training


def freed(engine):
    gc.collect()
    return engine.closed.is_set() and engine.out() is None


def draw_no_more(viewer):
    """Hide the canvas.

    On a software OpenGL, vispy 0.17 crashes at the next drawing after the lowest layer
    was deleted or another viewer was closed, also without this plugin.
    """
    viewer.window._qt_viewer.canvas.native.hide()


# -- stop -------------------------------------------------------------------------------


def test_stop_before_anything_was_learned(dock, viewer, engine, click, wait_for):
    def slow_start(engine, image, *, control, **_):
        while not control.stopped:
            engine.go.wait(0.05)
        yield from ()

    engine.script = slow_start
    click(dock, "train")
    assert session_of(dock).state is State.PREPARING
    click(dock, "train")
    wait_for(dock, State.IDLE)
    assert len(viewer.layers) == 1
    assert "before anything was learned" in dock.outcome.text.text()


def test_stop_in_training_goes_on_to_the_result(dock, viewer, engine, click, wait_for):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    click(dock, "train")
    assert not dock.train_button.isEnabled()
    wait_for(dock, State.DONE)
    assert (viewer.layers["cells denoised"].data == 2).all()


def test_stop_in_prediction_keeps_what_is_done(viewer, engine, click, wait_for):
    def predict_until_stopped(engine, image, *, control, out, **_):
        out[0] = 2
        while not control.stopped:
            yield PredictionEvent(0.5, 1.0, 1.0, 0)
            engine.go.wait(0.05)
        return result_of(out, complete=False)

    engine.script = predict_until_stopped
    viewer.add_image(noisy((2, 64, 64)), name="cells")
    dock = open_dock(viewer)
    click(dock, "train")
    wait_for(dock, State.PREDICTING)
    click(dock, "train")
    wait_for(dock, State.DONE)
    data = viewer.layers["cells denoised"].data
    assert (data[0] == 2).all()
    assert np.isnan(data[1]).all()
    assert "part of the layer is not denoised" in dock.outcome.text.text()


def test_stop_while_paused(dock, engine, click, wait_for):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    click(dock, "pause")
    assert session_of(dock).state is State.PAUSED
    click(dock, "train")
    wait_for(dock, State.DONE)


def test_pause_and_resume(dock, engine, click, wait_for, qtbot):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    click(dock, "pause")
    assert engine.arguments["control"].paused
    assert dock.pause_button.text() == "Res&ume"
    points = session_of(dock).points
    # Events that were under way change nothing.
    qtbot.waitUntil(lambda: session_of(dock).points > points, timeout=TIMEOUT)
    assert session_of(dock).state is State.PAUSED
    click(dock, "pause")
    assert not engine.arguments["control"].paused
    assert session_of(dock).state is State.TRAINING
    engine.go.set()
    wait_for(dock, State.DONE)


def test_a_pause_that_comes_too_late_for_training_holds_the_denoising(
    dock, engine, click, wait_for, qtbot
):
    def script(engine, image, *, axes, config, control, out, target, region):
        yield training(10)
        engine.go.wait(TIMEOUT / 1000)  # scoring: nothing is said
        while control.paused:
            control.wait_while_paused(0.05)
            yield PredictionEvent(0.0, 1.0, 1.0, None)
        out[...] = 2
        return result_of(out)

    engine.script = script
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    click(dock, "pause")
    engine.go.set()
    qtbot.waitUntil(lambda: session_of(dock).progress.fraction == 0.0, timeout=TIMEOUT)
    assert session_of(dock).state is State.PAUSED
    click(dock, "pause")
    wait_for(dock, State.DONE)


def test_a_failure_while_denoising_keeps_the_model_and_what_is_done(
    dock, viewer, engine, click, wait_for
):
    def script(engine, image, *, axes, config, control, out, target, region):
        yield training(10)
        out[:32] = 2
        result = result_of(out, complete=False)
        return dataclasses.replace(result, error=OutOfMemoryError("The memory was not enough."))

    engine.script = script
    click(dock, "train")
    wait_for(dock, State.DONE)
    assert (viewer.layers["cells denoised"].data[:32] == 2).all()
    text = dock.outcome.text.text()
    assert "Part of the layer is not denoised. The memory was not enough." in text
    assert dock.outcome.save.isEnabled()


def test_an_unforeseen_error_at_the_end_leaves_the_dock_ready(
    dock, engine, click, wait_for, monkeypatch
):
    def fails(*arguments):
        raise ValueError("could not broadcast")

    with monkeypatch.context() as patch:
        patch.setattr(ResultLayer, "complete", fails)
        engine.go.set()
        click(dock, "train")
        wait_for(dock, State.FAILED)
    assert "could not broadcast" in dock.outcome.text.text()
    click(dock, "train")
    wait_for(dock, State.DONE)


# -- train again ------------------------------------------------------------------------


def test_train_again_at_once_after_success_stop_and_failure(dock, viewer, engine, click, wait_for):
    def fail(engine, *_, **__):
        yield training(1)
        raise RuntimeError("the device fell off the bus")

    engine.go.set()
    click(dock, "train")
    wait_for(dock, State.DONE)
    click(dock, "train")
    wait_for(dock, State.DONE)
    engine.script = fail
    click(dock, "train")
    wait_for(dock, State.FAILED)
    engine.script = train_until_told
    engine.go.clear()
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    click(dock, "train")
    wait_for(dock, State.DONE)
    click(dock, "train")
    engine.go.set()
    wait_for(dock, State.DONE)
    names = [layer.name for layer in viewer.layers]
    assert sum("denoised" in name for name in names) == 4


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("mat1 and mat2 cannot be multiplied"), "mat1 and mat2"),
        (RuntimeError("CUDA out of memory"), "out of memory"),
        (MemoryError(), "not enough memory"),
        (OutOfMemoryError("The device has no room."), "The device has no room."),
        (KeyError("a bug"), "a bug"),
    ],
    ids=["RuntimeError", "CUDA out of memory", "MemoryError", "known", "bug"],
)
def test_errors_in_the_engine_become_notifications(
    dock, viewer, engine, click, wait_for, notifications, error, cause
):
    def fail(engine, *_, out, **__):
        out[:] = 1
        yield training(1, frame=0)
        raise error

    engine.script = fail
    click(dock, "train")
    wait_for(dock, State.FAILED)
    assert cause in notifications[-1].message
    assert str(notifications[-1].severity) == "error"
    assert cause in dock.outcome.text.text()
    # No layer is left that says "denoised" and is not.
    assert [layer.name for layer in viewer.layers] == ["cells"]
    assert dock.train_button.isEnabled()
    assert dock.train_button.text() == "&Train"
    assert dock.settings.layer.isEnabled()


def test_a_result_that_does_not_fit_is_not_begun_without_a_file(
    dock, engine, click, wait_for, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setenv("NOISE2SELF_MEMORY", "1e-5")
        click(dock, "train")
        dock.findChild(QFileDialog).reject()
    assert session_of(dock).state is State.IDLE
    assert not engine.arguments
    engine.go.set()
    click(dock, "train")
    wait_for(dock, State.DONE)


def test_no_layer_is_refused(viewer, click, notifications):
    dock = open_dock(viewer)
    click(dock, "train")
    assert "open an image first" in notifications[-1].message


def test_a_run_that_fails_at_once_leaves_no_empty_plot(dock, viewer, engine, click, wait_for):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    engine.go.set()
    wait_for(dock, State.DONE)
    assert dock.progress.plot.isVisibleTo(dock)
    draw_no_more(viewer)
    viewer.layers.clear()
    click(dock, "train")
    wait_for(dock, State.FAILED)
    assert not dock.progress.plot.isVisibleTo(dock)


def test_a_contradiction_in_the_settings_is_refused(dock, engine, click, notifications):
    dock.settings.controls["width"].setValue(2)
    dock.settings.controls["extent"].setValue(7)
    click(dock, "train")
    assert session_of(dock).state is State.FAILED
    assert "at least 8" in notifications[-1].message


# -- layers come and go -----------------------------------------------------------------


def test_the_source_is_deleted_while_training(dock, viewer, engine, click, wait_for):
    draw_no_more(viewer)
    viewer.layers["cells"].scale = (3, 3)
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    viewer.layers.remove("cells")
    viewer.dims.set_point(0, 12)
    engine.go.set()
    wait_for(dock, State.DONE)
    np.testing.assert_allclose(viewer.layers["cells denoised"].scale, (3, 3))


def test_the_source_is_renamed_while_training(dock, viewer, engine, click, wait_for):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    viewer.layers["cells"].name = "nuclei"
    assert dock.settings.layer.currentText() == "nuclei"
    engine.go.set()
    wait_for(dock, State.DONE)
    assert "cells denoised" in viewer.layers


def test_the_data_of_the_source_change_while_training(dock, viewer, engine, click, wait_for):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    viewer.layers["cells"].data = np.zeros((3, 32, 32))
    viewer.dims.set_point(0, 2)
    engine.go.set()
    wait_for(dock, State.DONE)
    assert viewer.layers["cells denoised"].data.shape == (64, 64)


def test_the_result_gets_other_data_while_training(dock, viewer, engine, click, wait_for, qtbot):
    click(dock, "train")
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=TIMEOUT)
    viewer.layers["cells denoised"].data = np.zeros((3, 3), np.float32)
    click(dock, "train")
    wait_for(dock, State.DONE)
    mine, result = viewer.layers[1:]
    assert mine.data.shape == (3, 3)
    assert not mine.metadata["noise2self"]
    assert (result.data == 2).all()
    assert result.metadata["noise2self"]["score"] == 90


def test_the_result_is_deleted_while_training(dock, viewer, engine, click, wait_for, qtbot):
    click(dock, "train")
    qtbot.waitUntil(lambda: "cells denoised" in viewer.layers, timeout=TIMEOUT)
    viewer.layers.remove("cells denoised")
    points = session_of(dock).points
    qtbot.waitUntil(lambda: session_of(dock).points > points + 2, timeout=TIMEOUT)
    assert "cells denoised" not in viewer.layers
    engine.go.set()
    wait_for(dock, State.DONE)
    assert (viewer.layers["cells denoised"].data == 2).all()


def test_a_deleted_result_frees_its_memory(dock, viewer, engine, click, wait_for, qtbot):
    engine.go.set()
    click(dock, "train")
    wait_for(dock, State.DONE)
    assert engine.out() is viewer.layers["cells denoised"].data
    viewer.layers.remove("cells denoised")
    qtbot.waitUntil(lambda: freed(engine), timeout=TIMEOUT)


# -- closing ----------------------------------------------------------------------------


def test_closing_the_dock_ends_the_work(dock, viewer, engine, click, wait_for, qtbot):
    click(dock, "train")
    qtbot.waitUntil(lambda: "cells denoised" in viewer.layers, timeout=TIMEOUT)
    viewer.window.remove_dock_widget(dock)
    assert [layer.name for layer in viewer.layers] == ["cells"]
    qtbot.waitUntil(lambda: freed(engine), timeout=TIMEOUT)
    again = open_dock(viewer)
    assert again is not dock
    engine.go.set()
    click(again, "train")
    wait_for(again, State.DONE)


def test_hiding_the_dock_does_not(dock, viewer, engine, click, wait_for):
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    dock.parentWidget().hide()
    engine.go.set()
    wait_for(dock, State.DONE)


@pytest.mark.parametrize("paused", [False, True])
def test_closing_the_viewer_ends_the_work(
    make_napari_viewer, no_thread_left, engine, click, wait_for, qtbot, paused
):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(noisy(), name="cells")
    dock = open_dock(viewer)
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    if paused:
        click(dock, "pause")
    viewer.close()
    qtbot.waitUntil(lambda: freed(engine), timeout=TIMEOUT)


def test_napari_can_quit_the_worker(dock, engine, click, wait_for, qtbot):
    # What napari does to workers when its window is closed or it exits.
    from napari.qt.threading import GeneratorWorker

    click(dock, "train")
    wait_for(dock, State.TRAINING)
    for worker in list(GeneratorWorker._worker_set):
        worker.quit()
    wait_for(dock, State.IDLE)
    qtbot.waitUntil(lambda: freed(engine), timeout=TIMEOUT)


# -- docks and viewers ------------------------------------------------------------------


def test_two_docks_of_one_viewer_show_one_state(dock, viewer, engine, click, wait_for, qtbot):
    other = DenoiseWidget(viewer)
    viewer.window.add_dock_widget(other, name="again")
    other.settings.controls["width"].setValue(6)
    assert dock.settings.controls["width"].value() == 6
    click(dock, "train")
    wait_for(other, State.TRAINING)
    assert other.train_button.text() == "S&top"
    # One of two docks may go.
    viewer.window.remove_dock_widget(dock)
    assert session_of(other).state is State.TRAINING
    click(other, "train")
    wait_for(other, State.DONE)


def test_two_viewers_share_nothing(make_napari_viewer, no_thread_left, engine, click, wait_for):
    docks = []
    for name in ("first", "second"):
        viewer = make_napari_viewer(show=True)
        viewer.add_image(noisy(), name=name)
        docks.append((viewer, open_dock(viewer)))
    (one, first), (two, second) = docks
    click(first, "train")
    wait_for(first, State.TRAINING)
    draw_no_more(one)
    second.settings.controls["width"].setValue(6)
    assert session_of(second).state is State.IDLE
    assert second.train_button.text() == "&Train"
    assert session_of(first).settings.width is None
    two.close()
    assert session_of(first).state is State.TRAINING
    engine.go.set()
    wait_for(first, State.DONE)
    assert "first denoised" in one.layers


# -- the preview ------------------------------------------------------------------------


def test_the_preview_follows_the_slice_in_view(viewer, engine, click, wait_for, qtbot):
    viewer.add_image(noisy((4, 64, 64)), name="cells", scale=(5, 1, 1))
    viewer.dims.set_current_step(0, 2)
    dock = open_dock(viewer)
    click(dock, "train")
    qtbot.waitUntil(lambda: "cells denoised" in viewer.layers, timeout=TIMEOUT)
    data = viewer.layers["cells denoised"].data
    assert (data[2] == 1).all()
    viewer.dims.set_current_step(0, 3)
    qtbot.waitUntil(lambda: (data[3] == 1).all(), timeout=TIMEOUT)
    assert np.isnan(data[:2]).all()
    engine.go.set()
    wait_for(dock, State.DONE)
    assert viewer.layers["cells denoised"].data is data


def test_the_preview_can_be_switched_off(dock, viewer, engine, click, wait_for, qtbot):
    preview = dock.settings.controls["preview"]
    dock.settings.advanced.expand(animate=False)
    preview.click()
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    points = session_of(dock).points
    qtbot.waitUntil(lambda: session_of(dock).points > points, timeout=TIMEOUT)
    assert "cells denoised" not in viewer.layers
    preview.click()  # and on again
    qtbot.waitUntil(lambda: "cells denoised" in viewer.layers, timeout=TIMEOUT)
    engine.go.set()
    wait_for(dock, State.DONE)


def test_many_small_frames_do_not_flood_the_window(viewer, engine, click, wait_for):
    viewer.add_image(noisy((500, 32, 32)), name="cells")
    dock = open_dock(viewer)
    shown = []
    session_of(dock).events.progress.connect(shown.append)
    engine.go.set()
    click(dock, "train")
    wait_for(dock, State.DONE)
    assert len(shown) < 100
    assert (viewer.layers["cells denoised"].data == 2).all()
