from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_noise2self import Denoiser, Noise2SelfError, TrainingConfig
from napari_noise2self.engine.events import Control, Notice, WritingEvent, exhaust
from napari_noise2self.stacks import disk, finishing, store, targets, writing_zarr
from napari_noise2self.stacks.export import check_export, export_events, pixels_hash, request_of
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.targets import partial_of
from napari_noise2self.stacks.unfinished import unfinished_model
from napari_noise2self.stacks.writing import write
from tests.stacks.fake_denoiser import FakeDenoiser, export, noisy

FORMATS = ["a.ome.zarr", "a.ome.tif", "a.tif"]


def pixels(path):
    return np.asarray(read(path).data)


def content(path):
    """The bytes of a file, or of all in a folder but for its record of the date."""
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file() and file.parent != path]
        return {str(file.relative_to(path)): file.read_bytes() for file in files}
    return tifffile.imread(path).tobytes()


@pytest.fixture(scope="module")
def trained():
    return Denoiser(TrainingConfig(epochs=0.2)).fit(noisy(shape=(2, 64, 64)).data)


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_is_applied_and_the_file_says_so(tmp_path, name, trained):
    stack, denoiser = noisy(shape=(2, 64, 64), dtype="float32"), trained
    events = []
    written = exhaust(export_events(denoiser, stack, tmp_path / name), events.append)
    assert written == finishing.Written(tmp_path / name, "float32", 0)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    back = read(tmp_path / name)
    np.testing.assert_allclose(
        np.asarray(back.data), denoiser.predict(stack.data), rtol=1e-5, atol=1e-2
    )
    assert (back.axes, back.scale, back.units) == (stack.axes, stack.scale, stack.units)
    if name == "a.ome.zarr":
        said = zarr.open_group(str(tmp_path / name)).attrs["noise2self"]
        assert said["score"] == pytest.approx(denoiser.summary["score"])
        assert said["settings"]["epochs"] == 0.2
        assert (said["source"], said["output"]) == ("cells", denoiser.resolved_output())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("axes", ["TYX", "CYX", "YXC"])
def test_a_stopped_export_goes_on_to_the_same_result(tmp_path, name, axes):
    stack = noisy(axes, (1700, 1030, 2) if axes == "YXC" else (5, 1030, 1700))
    export(FakeDenoiser(70), stack, tmp_path / f"whole {name}")
    control = Control()
    stopping = FakeDenoiser(70, before_region=lambda n: control.stop() if n == 2 else None)
    stopped = export(stopping, stack, tmp_path / name, control=control)
    assert (stopped.path, stopped.complete) == (partial_of(tmp_path / name), False)
    assert not (tmp_path / name).exists()
    rest = FakeDenoiser(70)
    events = []
    again = exhaust(export_events(rest, stack, tmp_path / name, resume=True), events.append)
    assert not set(map(str, rest.regions)) & set(map(str, stopping.regions))
    assert any(isinstance(event, Notice) and "before" in event.message for event in events)
    assert again.complete
    assert again.clipped == np.count_nonzero(stack.data * 70.0 > 65535) > stopped.clipped > 0
    assert content(tmp_path / name) == content(tmp_path / f"whole {name}")
    assert not partial_of(tmp_path / name).exists()


KILLED = """
import threading
from napari_noise2self.stacks import store
from tests.stacks.fake_denoiser import FakeDenoiser, export, noisy
store._SYNC_INTERVAL = -1.0
def hang(number):
    if number == 3:
        print("three regions are written", flush=True)
        threading.Event().wait()
export(FakeDenoiser(before_region=hang), noisy(shape=(9, 300, 1500)), {target!r})
"""


@pytest.mark.parametrize("name", ["ä b.ome.zarr", "ä b.ome.tif"])
def test_a_killed_export_goes_on_to_the_same_result(tmp_path, name):
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(target=str(tmp_path / name))],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    assert run.stdout.readline() == b"three regions are written\n"
    run.kill()
    run.communicate()
    assert not (tmp_path / name).exists()
    stack = noisy(shape=(9, 300, 1500))
    with pytest.raises(Noise2SelfError, match="--resume"):
        export(FakeDenoiser(), stack, tmp_path / name)
    rest = FakeDenoiser()
    export(rest, stack, tmp_path / name, resume=True)
    assert len(rest.regions) == 6
    export(rest, stack, tmp_path / f"whole {name}")
    assert content(tmp_path / name) == content(tmp_path / f"whole {name}")


def test_what_is_written_last_can_be_stopped_and_finished_later(tmp_path, monkeypatch):
    stack = noisy()
    monkeypatch.setattr(finishing, "INTERVAL", 0.0)
    monkeypatch.setattr(
        finishing, "build_pyramid", lambda *_, progress, **__: wait_for_stop(progress)
    )

    def wait_for_stop(progress):
        while True:
            progress(0.5)

    control = Control()
    events = export_events(FakeDenoiser(), stack, tmp_path / "a.zarr", control=control)
    written = exhaust(events, lambda e: control.stop() if isinstance(e, WritingEvent) else None)
    assert not written.complete
    monkeypatch.undo()
    rest = FakeDenoiser()
    assert export(rest, stack, tmp_path / "a.zarr", resume=True).complete
    assert rest.regions == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_told_and_what_is_done_is_kept(tmp_path, name, monkeypatch):
    stack = noisy()
    put = zarr.storage._local._put
    chunks = []

    def full(path, *args, **kwargs):
        if path.parts[-4:-3] == ("c",):
            chunks.append(path)
            if len(chunks) == 3:
                raise OSError(28, "No space left on device")
        return put(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage._local, "_put", full)
        with pytest.raises(Noise2SelfError, match=r"disk is full\..*kept in.*--resume") as caught:
            export(FakeDenoiser(), stack, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.partial"]
    rest = FakeDenoiser()
    export(rest, stack, tmp_path / name, resume=True)
    assert len(rest.regions) == 3
    np.testing.assert_array_equal(pixels(tmp_path / name), np.rint(stack.data * 0.5))


@pytest.mark.parametrize("often", [True, False])
@pytest.mark.parametrize("when", [1, 3, "at the end"])
@pytest.mark.parametrize("what", ["partial", "folder"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_was_removed_while_it_was_written_is_not_said_to_be_kept(
    tmp_path, monkeypatch, name, what, when, often
):
    monkeypatch.setattr(store, "_SYNC_INTERVAL", -1.0 if often else 1e9)
    target = tmp_path / "folder" / name
    target.parent.mkdir()
    removed = partial_of(target) if what == "partial" else target.parent
    stack = noisy()
    denoiser = FakeDenoiser(before_region=lambda n: shutil.rmtree(removed) if n == when else None)

    def hear(event):
        if when == "at the end" and event.fraction == 1:
            shutil.rmtree(removed, ignore_errors=True)

    with pytest.raises(
        Noise2SelfError, match=r"was removed meanwhile, or .* Begin again"
    ) as caught:
        exhaust(export_events(denoiser, stack, target), hear)
    assert "kept" not in str(caught.value)
    assert not removed.exists()
    monkeypatch.undo()
    if what == "partial":
        assert exhaust(export_events(FakeDenoiser(), stack, target)).complete


def test_a_disk_that_becomes_full_in_the_last_part_costs_nothing(tmp_path, monkeypatch):
    stack = noisy()
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "sync", lambda path: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(Noise2SelfError, match="disk is full"):
            export(FakeDenoiser(), stack, tmp_path / "a.ome.tif")
    assert not list(partial_of(tmp_path / "a.ome.tif").glob("*.tif"))
    rest = FakeDenoiser()
    export(rest, stack, tmp_path / "a.ome.tif", resume=True)
    assert rest.regions == []


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_dark_result_lacks_no_chunk(tmp_path, version):
    stack, target, control = noisy(), tmp_path / "a.ome.zarr", Control()
    choices = {"ome_zarr_version": version}
    stopping = FakeDenoiser(0, before_region=lambda n: control.stop() if n == 1 else None)
    assert not export(stopping, stack, target, control=control, **choices).complete
    export(FakeDenoiser(0), stack, target, resume=True, **choices)
    back = read(target)
    assert back.notices == ()
    assert not np.asarray(back.data).any()


def test_a_disk_that_is_too_small_is_told_first(tmp_path, monkeypatch):
    stack = noisy()
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(2 * 10**6))
    with pytest.raises(Noise2SelfError, match=r"up to 6\.0 MB, and 2\.0 MB are free"):
        export(FakeDenoiser(), stack, tmp_path / "a.ome.zarr")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(4 * 10**6))
    events = export_events(FakeDenoiser(), stack, tmp_path / "a.ome.zarr")
    assert "may become full" in next(events).message
    events.close()


def test_what_is_not_compressed_has_to_fit_as_it_is(tmp_path, monkeypatch):
    stack = noisy()
    pixels = 2 * np.prod(stack.shape)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(1.2 * pixels))
    check_export(FakeDenoiser(), stack, tmp_path / "a.ome.tif")
    with pytest.raises(Noise2SelfError, match="make room"):
        check_export(FakeDenoiser(), stack, tmp_path / "a.tif")


def test_another_model_or_image_does_not_go_on_with_it(tmp_path):
    stack = noisy()
    control = Control()
    stopping = FakeDenoiser(before_region=lambda n: control.stop() if n == 2 else None)
    export(stopping, stack, tmp_path / "a.tif", control=control)
    assert unfinished_model(tmp_path / "a.tif").is_file()
    other = Stack(stack.data[::-1], "TYX")
    for denoiser, image, words in (
        (FakeDenoiser(0.7), stack, "another model"),
        (FakeDenoiser(), other, "another image"),
    ):
        with pytest.raises(Noise2SelfError, match=words):
            export(denoiser, image, tmp_path / "a.tif", resume=True)
    renamed = Stack(stack.data, "TYX", name="renamed")
    assert export(FakeDenoiser(), renamed, tmp_path / "a.tif", resume=True).complete
    assert unfinished_model(tmp_path / "a.tif") is None


def test_a_model_is_the_same_after_it_was_saved_and_loaded(tmp_path, trained):
    trained.save(tmp_path / "m.safetensors")
    control = Control()
    control.stop()
    stack = noisy(shape=(2, 64, 64))
    target = tmp_path / "a.ome.tif"
    with store.PartialStore.open(target, stack, fingerprint=request_of(trained, stack)) as begun:
        begun.write((slice(None),) * 3, stack.data)
    again = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    assert export(again, stack, target, resume=True).complete
    np.testing.assert_array_equal(pixels(target), stack.data)


def test_a_file_is_not_overwritten_unasked_and_then_at_the_end(tmp_path):
    stack = noisy()
    path = tmp_path / "a.ome.zarr"
    write(path, stack.data, stack)
    with pytest.raises(Noise2SelfError, match="exists"):
        export(FakeDenoiser(), stack, path)

    def still_there(_):
        np.testing.assert_array_equal(pixels(path), stack.data)

    export(FakeDenoiser(before_region=still_there), stack, path, overwrite=True)
    np.testing.assert_array_equal(pixels(path), np.rint(stack.data * 0.5))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("s.zarr", "that is its source"),
        ("s.zarr/b.ome.zarr", "inside its source"),
        ("nowhere/b.tif", "no folder"),
        ("b.png", r"ends in \.ome\.tif"),
        ("locked/b.tif", "Nothing may be written"),
    ],
)
def test_a_target_that_cannot_be_is_refused_in_one_sentence(tmp_path, monkeypatch, target, words):
    stack = noisy()
    write(tmp_path / "s.zarr", stack.data, stack)
    (tmp_path / "locked").mkdir()
    access = targets.os.access
    # The tests may run as somebody who may write everywhere.
    monkeypatch.setattr(
        targets.os, "access", lambda path, mode: path.name != "locked" and access(path, mode)
    )
    with pytest.raises(Noise2SelfError, match=words) as caught:
        export(FakeDenoiser(), stack, tmp_path / target, source=tmp_path / "s.zarr", overwrite=True)
    assert str(caught.value).count(". ") == 0
    np.testing.assert_array_equal(pixels(tmp_path / "s.zarr"), stack.data)


def test_a_model_of_another_dimensionality_leaves_nothing(tmp_path, trained):
    with pytest.raises(Noise2SelfError, match="lack Z"):
        export(FakeDenoiser(volume=True), noisy(), tmp_path / "a.ome.zarr")
    with pytest.raises(Noise2SelfError, match="channels"):
        export(trained, noisy("CYX"), tmp_path / "a.ome.zarr")
    assert not list(tmp_path.iterdir())


def test_a_volume_is_written_in_blocks_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(writing_zarr, "_LARGE", 2**20)
    stack = noisy("ZYX", (40, 300, 500))
    for name in FORMATS:
        denoiser = FakeDenoiser(volume=True)
        export(denoiser, stack, tmp_path / name)
        assert len(denoiser.regions) > 1
        np.testing.assert_array_equal(pixels(tmp_path / name), np.rint(stack.data * 0.5))


def test_an_error_of_the_engine_keeps_what_is_done(tmp_path):
    stack = noisy()

    def fail(number):
        if number == 2:
            raise Noise2SelfError("The device is gone.")

    with pytest.raises(Noise2SelfError, match="gone"):
        export(FakeDenoiser(before_region=fail), stack, tmp_path / "a.ome.zarr")
    rest = FakeDenoiser()
    export(rest, stack, tmp_path / "a.ome.zarr", resume=True)
    assert len(rest.regions) == 3
    shutil.rmtree(tmp_path / "a.ome.zarr")
    failing = FakeDenoiser(before_region=lambda _: fail(2))
    with pytest.raises(Noise2SelfError, match="gone"):
        export(failing, stack, tmp_path / "a.ome.zarr")
    assert not list(tmp_path.iterdir())


def test_images_of_one_shape_are_told_apart_wherever_they_differ():
    rng = np.random.default_rng(0)
    image = np.zeros((12, 3, 200, 200), np.uint16)
    image[..., 50:-50, 50:-50] = rng.poisson(100, (12, 3, 100, 100))
    shifted = np.roll(image, 1, axis=-1)
    assert pixels_hash(image) != pixels_hash(shifted)
    assert pixels_hash(image) == pixels_hash(image.copy())
    # No corner is looked at twice while a frame is not looked at.
    changed = 0
    for frame in range(12):
        other = image.copy()
        other[frame] += 1
        changed += pixels_hash(other) != pixels_hash(image)
    assert changed >= 8
    assert pixels_hash(image[0, 0, :20, :20]) == pixels_hash(np.zeros((20, 20), np.uint16))


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.tif"])
def test_a_link_is_replaced_and_what_it_stands_for_is_left(tmp_path, name):
    real = tmp_path / "elsewhere" / name
    real.parent.mkdir()
    stack = noisy()
    write(real, stack.data, stack)
    before = content(real)
    (tmp_path / name).symlink_to(real, target_is_directory=real.is_dir())
    assert export(FakeDenoiser(), stack, tmp_path / name, overwrite=True).complete
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "elsewhere"])
    assert not (tmp_path / name).is_symlink()
    assert content(real) == before


def test_no_file_of_the_source_is_replaced(tmp_path):
    for number in (1, 2):
        tifffile.imwrite(tmp_path / f"img_{number}.tif", noisy().data[0])
    stack = read(tmp_path / "img_*.tif")
    os.link(tmp_path / "img_1.tif", tmp_path / "linked.tif")
    for name in ("img_2.tif", "linked.tif"):
        with pytest.raises(Noise2SelfError, match="that is its source"):
            export(
                FakeDenoiser(),
                stack,
                tmp_path / name,
                overwrite=True,
                source=tmp_path / "img_*.tif",
            )
    assert read(tmp_path / "img_*.tif").shape == stack.shape
