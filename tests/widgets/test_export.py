"""*Apply and export* in a real window: models, layers, files, and what comes between."""

from __future__ import annotations

import errno
import gc
import json
import pickle
import shutil
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.utils import progress
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QMessageBox, QPushButton

from napari_noise2self import Denoiser, Noise2SelfError, TrainingConfig
from napari_noise2self.stacks.batch import Outcome
from napari_noise2self.stacks.finishing import Written
from napari_noise2self.stacks.many import Input, Job
from napari_noise2self.stacks.parts import without_parts
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.suits import remember
from napari_noise2self.stacks.targets import partial_of
from napari_noise2self.stacks.writing import write
from napari_noise2self.widgets import export_choices
from napari_noise2self.widgets.export_judge import LateAnswer, unread
from napari_noise2self.widgets.export_words import outcome_in_words
from napari_noise2self.widgets.export_worker import judge
from napari_noise2self.widgets.layers import Source, axes_of, stack_of
from napari_noise2self.widgets.runner import Stage
from napari_noise2self.widgets.session import State
from napari_noise2self.widgets.task import sentence

from .conftest import TIMEOUT, noisy, open_dock

NAME = "napari-noise2self"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of a small model, trained on a few frames."""
    config = TrainingConfig(channels=4, depth=2, epochs=1, averaging=False, device="cpu")
    denoiser = Denoiser(config).fit(noisy((3, 64, 64)))
    remember(denoiser, [Stack(noisy((3, 64, 64)), "TYX", name="movie")])
    path = tmp_path_factory.mktemp("models") / "mine.safetensors"
    denoiser.save(path)
    return path


@pytest.fixture
def dock(viewer):
    """The dock of a window with a short movie."""
    viewer.add_image(
        noisy((3, 64, 64), seed=1),
        name="cells",
        axis_labels=("t", "y", "x"),
        scale=(2, 0.1, 0.1),
        units=("s", "um", "um"),
        contrast_limits=(100, 500),
        colormap="magma",
    )
    return open_export(viewer)


def open_export(viewer):
    _, widget = viewer.window.add_plugin_dock_widget(NAME, "Apply and export")
    return widget


@pytest.fixture
def done(qtbot):
    """Wait until a dock has nothing to do."""

    def wait(dock):
        exporter = dock.exporter
        qtbot.waitUntil(lambda: exporter.stage is Stage.IDLE, timeout=TIMEOUT)

    return wait


@pytest.fixture
def judged(qtbot):
    """Wait until a dock has said whether the model suits."""

    def wait(dock):
        qtbot.waitUntil(lambda: dock.exporter.plan.doubts is not None, timeout=TIMEOUT)
        qtbot.waitUntil(lambda: not dock.exporter.plan._judge.asking, timeout=TIMEOUT)
        return dock.model.doubts.text()

    return wait


@pytest.fixture
def loaded(dock, model, done, judged):
    """The dock with the model chosen."""
    dock.exporter.load(model)
    done(dock)
    judged(dock)
    return dock


def drop(dock, *paths):
    """Drop files on a dock."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    for kind in (QDragEnterEvent, QDropEvent):
        place = QPointF(5, 5) if kind is QDropEvent else QPointF(5, 5).toPoint()
        event = kind(
            place,
            Qt.DropAction.CopyAction,
            data,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        (dock.dropEvent if kind is QDropEvent else dock.dragEnterEvent)(event)
        assert event.isAccepted()


def answer(dock, folder, name=None):
    """Name a file, or take a folder, in the dialog that is open."""
    dialog = dock.findChild(QFileDialog)
    dialog.setDirectory(str(folder))
    dialog.selectFile(name or str(folder))
    dialog.accept()


def pixels(path):
    return np.asarray(read(path).data)


def test_the_activity_dock_shows_what_is_done(loaded, click, done, tmp_path, activities):
    click(loaded, "export")
    answer(loaded, tmp_path, "out")
    done(loaded)
    assert activities
    assert all(words.startswith("Apply and export: ") for words in activities)
    assert not progress._all_instances


def test_a_model_is_loaded_described_judged_and_applied(
    dock, viewer, model, click, done, judged, notifications
):
    assert not dock.apply.isEnabled()
    click(dock, "load")
    dialog = dock.findChild(QFileDialog)
    dialog.selectFile(str(model))
    dialog.accept()
    done(dock)
    text = dock.model.about.text()
    for part in ("Images of one channel", "UNet, grid 2", "0.938 epochs", "Self-supervised score"):
        assert part in text, text
    assert judged(dock).startswith("✓ It suits the selected layer")
    dock.form.controls["output"].setCurrentIndex(2)
    click(dock, "apply")
    done(dock)
    result = viewer.layers["cells denoised"]
    source = viewer.layers["cells"]
    expected = Denoiser.load(model, device="cpu").predict(source.data, "TYX", "j-invariant")
    np.testing.assert_allclose(result.data, expected, rtol=1e-5)
    np.testing.assert_allclose(result.scale, source.scale)
    info = result.metadata["noise2self"]
    assert (info["model"], info["output"], info["axes"]) == (
        "mine.safetensors",
        "j-invariant",
        "TYX",
    )
    json.dumps(info)
    # The result is selected now, but nobody wants to denoise it again.
    assert dock.exporter.plan.layers == [source]

    # What does not suit is said, and what cannot be read leaves all as it was.
    viewer.layers.selection = {viewer.add_image(noisy((3, 64, 64)) * 3, name="bright")}
    assert dock.form.names.text() == "bright"
    assert "⚠ The grey values are" in judged(dock)
    viewer.layers["bright"].axis_labels = ("c", "y", "x")
    assert "3 channels" in judged(dock)
    bad = model.with_name("bad.safetensors")
    bad.write_bytes(pickle.dumps([1]))
    dock.exporter.load(bad)
    done(dock)
    assert "pickle" in notifications[-1].message
    assert dock.exporter.plan.model.path == model
    assert dock.export.isEnabled()


def test_a_layer_becomes_a_file_and_a_layer_that_reads_it(
    loaded, viewer, model, click, done, qtbot, tmp_path
):
    dock, source = loaded, viewer.layers["cells"]
    dock.form.controls["format"].setCurrentIndex(2)
    click(dock, "export")
    answer(dock, tmp_path, "out")
    target = tmp_path / "out.ome.zarr"
    qtbot.waitUntil(lambda: "cells denoised" in viewer.layers, timeout=TIMEOUT)
    done(dock)
    assert [entry.name for entry in tmp_path.iterdir()] == [target.name]
    stack = read(target)
    assert (stack.axes, stack.scale, stack.units) == ("TYX", (2, 0.1, 0.1), ("s", "µm", "µm"))
    expected = Denoiser.load(model, device="cpu").predict(source.data, "TYX")
    np.testing.assert_array_equal(np.asarray(stack.data), np.rint(expected))
    live = viewer.layers["cells denoised"]
    np.testing.assert_array_equal(np.asarray(live.data), np.asarray(stack.data))
    assert live.colormap.name == "magma"
    assert tuple(live.contrast_limits) == (100, 500)
    assert live.metadata["noise2self"]["file"] == str(target)
    assert dock.message.text() == "Written to out.ome.zarr."
    click(dock, "open")
    assert viewer.layers["out"].data.shape == (3, 64, 64)
    assert dock.form.names.text() == "cells"

    # Nothing is replaced unasked.
    click(dock, "export")
    box = dock.findChild(QMessageBox)
    assert f"{target} exists" in box.text()
    box.button(QMessageBox.StandardButton.Cancel).click()
    assert dock.exporter.stage is Stage.IDLE
    qtbot.waitUntil(lambda: dock.findChild(QMessageBox) is None, timeout=TIMEOUT)
    # Of the frame in view alone, as something else.
    dock.form.controls["in_view"].setCurrentIndex(1)
    dock.form.controls["dtype"].setCurrentIndex(1)
    click(dock, "export")
    dock.findChild(QMessageBox).findChild(QPushButton, "replace").click()
    done(dock)
    stack = read(target)
    at = viewer.dims.current_step[0]
    assert (stack.shape, stack.dtype) == ((1, 64, 64), np.float32)
    assert stack.translate[0] == pytest.approx(2 * at)
    np.testing.assert_allclose(
        np.asarray(stack.data)[0],
        Denoiser.load(model, device="cpu").predict(source.data[at]),
        rtol=1e-4,
    )


def test_what_was_stopped_or_closed_is_gone_on_with(
    loaded, viewer, model, click, done, qtbot, tmp_path, slow_disk
):

    dock, target = loaded, tmp_path / "out.ome.tif"
    dock.exporter.plan.name_target(target)
    click(dock, "export")
    qtbot.waitUntil(slow_disk.wrote.is_set, timeout=TIMEOUT)
    click(dock, "stop")
    slow_disk.go.set()
    done(dock)
    assert "Resume goes on" in dock.message.text()
    assert not target.exists()
    assert partial_of(target).is_dir()
    part = viewer.layers["cells denoised"].data
    assert 0 < sum(bool(part[t].any()) for t in range(3)) < 3
    # Again, and the dock is closed meanwhile.
    slow_disk.wrote.clear(), slow_disk.go.clear()
    click(dock, "resume")
    qtbot.waitUntil(slow_disk.wrote.is_set, timeout=TIMEOUT)
    viewer.window.remove_dock_widget(dock)
    slow_disk.go.set()
    assert [layer.name for layer in viewer.layers] == ["cells"]
    # A new dock knows no model, but the unfinished result does.
    again = open_export(viewer)
    again.exporter.plan.name_target(target)
    assert not again.export.isEnabled()
    qtbot.waitUntil(lambda: not _locked(target), timeout=TIMEOUT)
    click(again, "resume")
    done(again)
    assert again.message.text() == "Written to out.ome.tif."
    expected = Denoiser.load(model, device="cpu").predict(viewer.layers["cells"].data)
    np.testing.assert_array_equal(pixels(target), np.rint(expected))
    assert not again.resume.isVisibleTo(again)


def test_what_was_removed_meanwhile_is_not_offered_to_be_gone_on_with(
    loaded, click, done, qtbot, tmp_path, slow_disk
):
    dock, target = loaded, tmp_path / "results" / "out.ome.zarr"
    target.parent.mkdir()
    dock.exporter.plan.name_target(target)
    click(dock, "export")
    qtbot.waitUntil(slow_disk.wrote.is_set, timeout=TIMEOUT)
    shutil.rmtree(target.parent)
    slow_disk.go.set()
    done(dock)
    assert "was removed meanwhile" in dock.message.text()
    assert not target.parent.exists()
    assert not dock.resume.isVisibleTo(dock)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Go on (--resume in the terminal), or overwrite it (--overwrite).", "Go on, or overwrite"),
        ("2 (or 3) are there.", "2 (or 3)"),
    ],
)
def test_docks_do_not_speak_of_the_options_of_the_terminal(said, shown):
    words = sentence(Noise2SelfError(said), "testing")
    assert words.startswith(shown)
    assert "--" not in words


def test_what_was_kept_of_a_stopped_export_is_told(tmp_path):
    job = Job(Input("cells.tif"), tmp_path / "out.tif")
    nothing = Written(tmp_path / "out.tif.partial", "uint16", 0, complete=False)
    stopped = Outcome(job, "stopped", written=nothing)
    assert outcome_in_words([stopped]).endswith("before the first part was whole: nothing is kept.")
    nothing.path.mkdir()
    assert outcome_in_words([stopped]).endswith("kept in out.tif.partial: Resume goes on.")


def test_pixels_that_were_clipped_are_counted(tmp_path):
    job = Job(Input("cells.tif"), tmp_path / "out.tif")
    whole = [Outcome(job, "done", written=Written(job.target, "uint8", n)) for n in (0, 1)]
    assert "1 pixel was clipped" in outcome_in_words(whole)
    assert "2 pixels were clipped" in outcome_in_words([*whole, whole[1]])
    assert whole[1].written.clipped_in_words == "1 pixel did not fit into uint8 and was clipped"


def _locked(target):
    from filelock import FileLock, Timeout

    lock = FileLock(partial_of(target) / "noise2self.lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def test_a_dropped_folder_is_denoised_file_by_file(
    dock, viewer, model, click, done, judged, tmp_path, notifications, qtbot
):
    folder, out = tmp_path / "raw", tmp_path / "out"
    folder.mkdir(), out.mkdir()
    stack = stack_of(viewer.layers["cells"])
    for name in ("a", "b"):
        write(folder / f"{name}.tif", stack.data, stack)
    (folder / "c.tif").write_bytes(b"II*\0")
    (folder / "notes.txt").write_text("strangers")
    drop(dock, folder, model)
    done(dock)
    assert dock.exporter.plan.model.path == model
    assert "It suits" in judged(dock)
    assert not dock.apply.isVisibleTo(dock)
    click(dock, "export")
    answer(dock, out)
    done(dock)
    found = "3 images in raw; 1 other file is left out"
    qtbot.waitUntil(lambda: dock.form.names.text().startswith(found), timeout=TIMEOUT)
    assert sorted(entry.name for entry in out.iterdir()) == [
        "a_denoised.ome.tif",
        "b_denoised.ome.tif",
    ]
    assert "3 images: 2 written, 1 failed." in dock.message.text()
    assert "c.tif" in notifications[-1].message
    assert [layer.name for layer in viewer.layers] == ["cells"]
    # Those that are there stay, the rest is done.
    shutil.copy(folder / "a.tif", folder / "c.tif")
    dock.exporter.plan.take_files([folder])
    click(dock, "export")
    done(dock)
    dock.findChild(QMessageBox).findChild(QPushButton, "resume").click()
    done(dock)
    assert "1 written, 2 skipped" in dock.message.text()


def test_what_was_written_is_said_only_of_what_is_chosen(loaded, click, done, tmp_path):
    dock = loaded
    click(dock, "export")
    answer(dock, tmp_path, "out")
    done(dock)
    assert dock.open.isVisibleTo(dock)
    click(dock, "apply")
    done(dock)
    assert not dock.open.isVisibleTo(dock)
    click(dock, "export")
    dock.findChild(QMessageBox).findChild(QPushButton, "replace").click()
    done(dock)
    assert dock.open.isVisibleTo(dock)
    (tmp_path / "empty").mkdir()
    drop(dock, tmp_path / "empty")
    assert not dock.message.isVisibleTo(dock)
    assert not dock.open.isVisibleTo(dock)
    click(dock, "export")
    done(dock)
    assert "holds no files" in dock.message.text()
    assert not dock.open.isVisibleTo(dock)


def test_a_layer_of_too_many_axes_can_be_opened_and_is_refused(loaded, viewer, click):
    viewer.add_image(noisy((64, 64)).reshape((1,) * 11 + (64, 64)), name="odd")
    click(loaded, "apply")
    assert "at most 12" in loaded.message.text()


def test_while_something_is_under_way_no_model_is_asked_for(loaded):
    loaded.session.state = State.TRAINING
    assert not loaded.export.isEnabled()
    assert "Denoise into files" in loaded.export.toolTip()
    loaded.session.state = State.IDLE


def test_resume_says_that_it_keeps_its_own_settings(dock):
    assert "begun with" in dock.resume.toolTip()


def test_names_that_look_like_rich_text_are_shown_as_they_are(loaded, viewer):
    viewer.layers["cells"].name = "<b>cells</b>"
    assert loaded.form.names.text() == "<b>cells</b>"
    for label in (loaded.form.names, loaded.message, loaded.model.doubts, loaded.work.detail):
        assert label.textFormat() == Qt.TextFormat.PlainText


def test_each_of_several_layers_is_named_at_the_end(loaded, viewer, click, done):
    viewer.add_image(noisy((64, 64)), name="other")
    viewer.layers.selection = set(viewer.layers)
    click(loaded, "apply")
    done(loaded)
    said = loaded.message.text()
    assert "cells denoised was made" in said
    assert "other denoised was made" in said


def test_axes_are_corrected_here_too_and_several_layers_go_to_a_folder(
    loaded, viewer, click, done, judged, tmp_path, qtbot
):
    dock = loaded
    other = viewer.add_image(noisy((2, 64, 64), seed=2), name="z/slices")
    assert dock.exporter.plan.layers == [other]
    line = dock.form.axes
    assert (line.text(), line.note.text()) == ("ZYX", "guessed from the shape")
    line.selectAll()
    qtbot.keyClicks(line, "tyx")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert axes_of(other) == "TYX"
    assert Source.of(other).stack().axes == "TYX"
    viewer.layers.selection = set(viewer.layers)
    assert dock.form.names.text() == "cells, z/slices"
    judged(dock)
    doing = set()
    dock.exporter.progressed.connect(lambda: doing.add(dock.exporter.doing))
    click(dock, "export")
    answer(dock, tmp_path)
    done(dock)
    assert any("z/slices" in said for said in doing), doing
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["cells denoised.ome.tif", "z_slices denoised.ome.tif"]
    assert {"cells denoised", "z/slices denoised"} <= {layer.name for layer in viewer.layers}
    assert dock.message.text() == "2 images: 2 written."


def test_what_the_file_of_a_layer_says_is_not_lost(viewer, click, done, qtbot, model, tmp_path):
    data = noisy((3, 64, 64))
    sizes = (2, 0.1, 0.1), ("s", "µm", "µm")
    names = ("GFP",), ("#00ff00",)
    stack = Stack(data, "TYX", *sizes, channel_names=names[0], channel_colors=names[1])
    path = tmp_path / "movie.ome.tif"
    write(path, data, stack)
    viewer.open(str(path), plugin="napari")  # whose reader keeps pixels alone
    dock = open_export(viewer)
    qtbot.waitUntil(lambda: dock.form.axes.text() == "TYX", timeout=TIMEOUT)
    assert dock.form.axes.note.text() == "told by the OME metadata"
    dock.exporter.load(model)
    done(dock)
    click(dock, "export")  # beside the file that it was read from
    done(dock)
    back = read(tmp_path / "movie denoised.ome.tif")
    assert (back.axes, back.scale, back.units) == ("TYX", *sizes)
    assert (back.channel_names, back.channel_colors) == names
    assert axes_of(viewer.layers["movie.ome denoised"]) == "TYX"


def test_layers_are_denoised_one_after_the_other_until_it_is_stopped(
    loaded, viewer, click, done, qtbot, monkeypatch, activities
):
    predict, held, go = Denoiser.predict_events, threading.Event(), threading.Event()

    def slow(*arguments, **settings):
        for event in predict(*arguments, **settings):
            yield event
            if getattr(event, "frame", None) is not None:
                held.set()
                go.wait(TIMEOUT / 1000)

    monkeypatch.setattr(Denoiser, "predict_events", slow)
    both = {viewer.add_image(noisy(seed=seed), name=f"image {seed}") for seed in (1, 2)}
    viewer.layers.selection = both
    activities.clear()
    click(loaded, "apply")
    qtbot.waitUntil(lambda: bool(activities), timeout=TIMEOUT)
    go.set()
    done(loaded)
    made = ["image 1 denoised", "image 2 denoised"]
    assert [layer.name for layer in viewer.layers][-2:] == made
    assert len(activities) == 1
    for name in made:
        viewer.layers.remove(name)
    # Also where the one under way is complete by then, none follows.
    held.clear(), go.clear()
    viewer.layers.selection = both
    click(loaded, "apply")
    qtbot.waitUntil(held.is_set, timeout=TIMEOUT)
    click(loaded, "stop")
    go.set()
    done(loaded)
    assert [layer.name for layer in viewer.layers if layer.name in made] == made[:1]
    assert loaded.message.text() == "image 1 denoised was made with mine.safetensors."
    assert loaded.apply.isEnabled()


def test_what_was_just_trained_is_offered_and_can_be_fine_tuned(
    viewer, click, done, wait_for, judged, qtbot, tmp_path
):
    viewer.add_image(noisy((64, 64)), name="cells")
    dock, denoise = open_export(viewer), open_dock(viewer)
    denoise.settings.controls["epochs"].setValue(1)
    click(denoise, "train")
    assert not dock.model.load.isEnabled()
    qtbot.waitUntil(lambda: dock.exporter.plan.model is not None, timeout=TIMEOUT)
    qtbot.waitUntil(lambda: not dock.session.state.running, timeout=TIMEOUT)
    assert "cells" in dock.model.about.text()
    judged(dock)
    first = dock.exporter.plan.model
    click(dock, "tune")
    done(dock)
    tuned = dock.exporter.plan.model
    assert tuned is not first
    assert tuned.name.endswith("fine-tuned")
    assert "Fine-tuned from just trained" in dock.model.about.text()
    assert first.denoiser.trained is not tuned.denoiser.trained
    # Both can be chosen, and another training takes the place of the first alone.
    assert dock.exporter.plan.models == [first, tuned]
    click(denoise, "train")
    wait_for(denoise, State.DONE)
    assert [known for known in dock.exporter.plan.models if known in (first, tuned)] == [tuned]
    assert dock.exporter.plan.model is tuned
    done(dock)
    judged(dock)
    click(dock, "save")
    answer(dock, tmp_path, "tuned")
    assert Denoiser.load(tmp_path / "tuned.safetensors").summary["tuned_from"] == first.name
    assert dock.exporter.plan.model.name == "tuned.safetensors"
    assert not dock.model.save.isVisibleTo(dock)


def test_the_viewer_is_closed_while_it_exports(
    make_napari_viewer,
    no_thread_left,
    model,
    click,
    done,
    qtbot,
    tmp_path,
    slow_disk,
):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(noisy((3, 64, 64)), name="cells", axis_labels=("t", "y", "x"))
    dock = open_export(viewer)
    dock.exporter.load(model)
    done(dock)

    target = tmp_path / "out.ome.tif"
    dock.exporter.plan.name_target(target)
    click(dock, "export")
    qtbot.waitUntil(slow_disk.wrote.is_set, timeout=TIMEOUT)
    viewer.close()
    slow_disk.go.set()
    qtbot.waitUntil(lambda: not _locked(target), timeout=TIMEOUT)
    assert not target.exists()
    assert partial_of(target).is_dir()


def test_a_layer_that_lacks_an_axis_of_the_model_leaves_the_dock_alive(
    viewer, click, done, tmp_path, notifications
):
    config = TrainingConfig(channels=4, depth=2, crop_size=32, epochs=0.1, volume=True)
    Denoiser(config).fit(noisy((8, 48, 48)), "ZYX").save(tmp_path / "volume.safetensors")
    viewer.add_image(noisy((64, 64)), name="flat")
    dock = open_export(viewer)
    dock.exporter.load(tmp_path / "volume.safetensors")
    done(dock)
    click(dock, "apply")
    done(dock)
    assert "lack Z" in notifications[-1].message
    assert [layer.name for layer in viewer.layers] == ["flat"]
    assert dock.apply.isEnabled()


def test_what_is_typed_stays_until_it_is_said(loaded, qtbot, monkeypatch):
    dock = loaded
    line = dock.form.where
    # Without a window manager no window has the focus.
    monkeypatch.setattr(line, "hasFocus", lambda: True)
    line.selectAll()
    qtbot.keyClicks(line, "/tmp/mine.tif")
    dock.exporter.changed.emit()  # as when the model was judged
    assert line.text() == "/tmp/mine.tif"
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert str(dock.exporter.plan.choices.target("tiff")).endswith("mine.tif")


def test_a_model_that_learned_from_a_target_is_fine_tuned_without(
    viewer, click, done, wait_for, qtbot
):
    viewer.add_image(noisy((64, 64), seed=1), name="second")
    viewer.add_image(noisy((64, 64)), name="cells")
    dock, denoise = open_export(viewer), open_dock(viewer)
    denoise.settings.controls["epochs"].setValue(1)
    target = denoise.settings.target
    target.setCurrentIndex(target.findText("noisy: second"))
    click(denoise, "train")
    wait_for(denoise, State.DONE)
    click(dock, "tune")
    done(dock)
    assert dock.exporter.plan.model.name.endswith("fine-tuned")
    assert dock.exporter.plan.model.denoiser.summary["objective"] == "n2s"


def folder_of(tmp_path, layer):
    """A folder with two images."""
    folder = tmp_path / "raw"
    folder.mkdir()
    stack = stack_of(layer)
    for name in ("a", "b"):
        write(folder / f"{name}.tif", stack.data, stack)
    return folder


@pytest.mark.parametrize(
    ("asked", "number", "said"),
    [
        ("iterdir", errno.EACCES, "Permission denied"),
        ("is_dir", errno.ESTALE, "Stale file handle"),
    ],
    ids=["unreadable", "share that is gone"],
)
def test_a_folder_that_cannot_be_read_is_told(
    loaded, viewer, judged, tmp_path, monkeypatch, asked, number, said
):
    folder, before = folder_of(tmp_path, viewer.layers["cells"]), getattr(Path, asked)

    def fails(path):
        if path == folder:
            raise OSError(number, said, str(path))
        return before(path)

    monkeypatch.setattr(Path, asked, fails)
    loaded.exporter.plan.take_files([folder])
    assert judged(loaded) == f"⚠ {folder} could not be read: {said}."
    assert loaded.form.names.text() == "raw"
    assert loaded.exporter.plan.known_work() is None


def test_what_cannot_even_be_asked_is_told(qtbot):
    def fails():
        raise OSError(errno.EIO, "Input/output error", "cells.tif")

    answer = LateAnswer(judge, fails, unread)
    answer.ask_again()
    qtbot.waitUntil(lambda: answer.value is not None, timeout=TIMEOUT)
    assert answer.value == ["cells.tif could not be read: Input/output error."]


def test_no_choice_makes_the_window_wait_for_many_files(
    loaded, viewer, judged, tmp_path, monkeypatch, qtbot
):
    threads = set()

    def watched(function):
        def watch(*arguments):
            threads.add(threading.current_thread())
            return function(*arguments)

        return watch

    for name in ("find_images", "unfinished"):
        monkeypatch.setattr(export_choices, name, watched(getattr(export_choices, name)))
    dock, out = loaded, tmp_path / "out"
    out.mkdir()
    dock.exporter.plan.take_files([folder_of(tmp_path, viewer.layers["cells"])])
    dock.exporter.plan.name_target(out)
    for name in ("format", "dtype", "output"):
        dock.form.controls[name].setCurrentIndex(1)
    judged(dock)
    qtbot.waitUntil(lambda: dock.exporter.plan.known_work() is not None, timeout=TIMEOUT)
    assert dock.form.names.text() == "2 images in raw"
    assert [target.name for target in dock.exporter.plan.known_work().targets] == [
        "a_denoised.tif",
        "b_denoised.tif",
    ]
    assert threads
    assert threading.main_thread() not in threads
    # What they become does not depend on these.
    threads.clear()
    work = dock.exporter.plan.known_work()
    for name in ("dtype", "output"):
        dock.form.controls[name].setCurrentIndex(0)
    assert dock.exporter.plan.known_work() is work
    assert not threads


def test_files_of_one_image_are_one_image_among_many_files(
    loaded, viewer, click, done, tmp_path, qtbot, monkeypatch
):
    threads = set()

    def watched(*arguments):
        threads.add(threading.current_thread())
        return without_parts(*arguments)

    monkeypatch.setattr(export_choices, "without_parts", watched)
    dock, folder, out = loaded, folder_of(tmp_path, viewer.layers["cells"]), tmp_path / "out"
    out.mkdir()
    frames = noisy((3, 64, 64)).round().astype(np.uint16)
    files = [f"c{t}.ome.tif" for t in range(3)]
    for file, frame in zip(files, frames, strict=True):
        tifffile.imwrite(folder / file, frame, metadata=None, description=in_several_files(files))
    dock.exporter.plan.take_files([folder])
    dock.exporter.plan.name_target(out)
    qtbot.waitUntil(lambda: dock.exporter.plan.known_work() is not None, timeout=TIMEOUT)
    assert dock.form.names.text() == "3 images in raw; 2 files are read as part of another"
    # At once, although nobody has looked again.
    dock.exporter.plan.look_at_disk()
    assert dock.exporter.plan.known_work() is None
    click(dock, "export")
    done(dock)
    qtbot.waitUntil(lambda: "3 written" in dock.message.text(), timeout=TIMEOUT)
    assert read(out / "c0_denoised.ome.tif").shape == (3, 64, 64)
    assert len(list(out.iterdir())) == 3
    assert threading.main_thread() not in threads


def in_several_files(files):
    """What an OME-TIFF says of an image of which each frame is in a file of its own."""
    planes = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{file}">urn:uuid:{file}</UUID></TiffData>'
        for t, file in enumerate(files)
    )
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" '
        f'SizeX="64" SizeY="64" SizeC="1" SizeZ="1" SizeT="{len(files)}">'
        f'<Channel ID="Channel:0:0"/>{planes}</Pixels></Image></OME>'
    )


def test_many_files_are_gone_on_with_as_long_as_some_are_unfinished(
    loaded, viewer, click, done, qtbot, tmp_path, slow_disk
):
    dock, out = loaded, tmp_path / "out"
    out.mkdir()
    dock.exporter.plan.take_files([folder_of(tmp_path, viewer.layers["cells"])])
    dock.exporter.plan.name_target(out)
    qtbot.waitUntil(lambda: dock.exporter.plan.known_work() is not None, timeout=TIMEOUT)
    assert not dock.resume.isVisibleTo(dock)
    click(dock, "export")
    qtbot.waitUntil(slow_disk.wrote.is_set, timeout=TIMEOUT)
    click(dock, "stop")
    slow_disk.go.set()
    done(dock)
    qtbot.waitUntil(lambda: dock.resume.isVisibleTo(dock), timeout=TIMEOUT)
    click(dock, "resume")
    done(dock)
    # It is not offered for a moment either, until somebody has looked.
    assert not dock.resume.isVisibleTo(dock)
    qtbot.waitUntil(lambda: dock.exporter.plan.known_work() is not None, timeout=TIMEOUT)
    assert not dock.resume.isVisibleTo(dock)
    assert sorted(entry.name for entry in out.iterdir()) == [
        "a_denoised.ome.tif",
        "b_denoised.ome.tif",
    ]


def test_a_closed_dock_holds_neither_models_nor_layers(
    viewer, click, done, wait_for, qtbot, tmp_path
):
    viewer.add_image(noisy(), name="below")
    viewer.add_image(noisy(), name="cells")
    dock, denoise = open_export(viewer), open_dock(viewer)
    denoise.settings.controls["epochs"].setValue(1)
    click(denoise, "train")
    wait_for(denoise, State.DONE)
    click(dock, "apply")
    done(dock)
    exporter = dock.exporter
    exporter.plan.name_target(tmp_path / "out.ome.tif")
    assert exporter.plan.known_work() is not None
    model, layer = weakref.ref(exporter.plan.model), weakref.ref(viewer.layers["cells"])
    # The dock and what it knew may be kept by whoever opened it.
    viewer.window.remove_dock_widget(dock)
    viewer.layers.remove("cells")

    def freed():
        gc.collect()
        return model() is None and layer() is None

    qtbot.waitUntil(freed, timeout=TIMEOUT)
    assert exporter is not None
