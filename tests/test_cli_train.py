"""``napari-noise2self train``, and ``denoise`` for what does not fit into memory."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_noise2self import Denoiser
from napari_noise2self.cli import app
from napari_noise2self.engine import streaming, training
from napari_noise2self.engine.errors import ModelFileError
from napari_noise2self.engine.events import TrainingEvent
from napari_noise2self.engine.model import Denoiser as EngineDenoiser
from napari_noise2self.stacks import denoise_file
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.store import PartialStore
from napari_noise2self.stacks.suits import trained_on
from napari_noise2self.stacks.writing import write

SHORT = ("--epochs", "0.02", "--device", "cpu")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def movie(seed=0, shape=(3, 48, 64)):
    rng = np.random.default_rng(seed)
    wave = 200 + 80 * np.sin(np.arange(shape[-1]) / 6)
    return rng.poisson(np.broadcast_to(wave, shape)).astype("uint16")


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder with a movie and an image."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "Bilder für Übung"
    folder.mkdir()
    stack = Stack(movie(), "TYX", (2.0, 0.1, 0.1), ("s", "µm", "µm"))
    write(folder / "a.ome.tif", stack.data, stack)
    np.save(folder / "b.npy", movie(1)[0])
    return folder


def test_one_model_is_trained_on_a_folder_and_strangers_are_left_out(images, tmp_path):
    (images / "notes.txt").write_text("no image")
    (images / "broken.tif").write_bytes((images / "a.ome.tif").read_bytes()[:500])
    result = run("train", images, "--model", "m.safetensors", *SHORT, "--seed", 3, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["model"] == "m.safetensors"
    assert [path.rpartition("/")[2] for path in report["inputs"]] == ["a.ome.tif", "b.npy"]
    left_out = " ".join(report["left_out"])
    assert "notes.txt" in left_out
    assert "broken.tif" in left_out
    assert "notes.txt" in result.stderr
    assert "Left out: " in result.stderr
    assert report["steps"] > 0
    assert report["settings"]["seed"] == 3
    assert report["output_kind"] == "mixed"  # after so few steps
    denoiser = Denoiser.load("m.safetensors", device="cpu")
    assert "and 1 more" in trained_on(denoiser)[0]
    assert "Pixels of 0.1 µm." in trained_on(denoiser)
    assert denoiser.predict(movie()[0]).shape == (48, 64)
    described = run("info", "m.safetensors")
    assert described.exit_code == 0
    assert "Pixels of 0.1 µm" in described.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == [images.name, "m.safetensors"]


def interrupted_after(steps, monkeypatch):
    """Press Ctrl-C when training has done so many steps."""
    train = EngineDenoiser.train

    def pressed(self, *args, **settings):
        events = train(self, *args, **settings)
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            if isinstance(event, TrainingEvent) and event.step >= steps:
                signal.raise_signal(signal.SIGINT)
            yield event

    monkeypatch.setattr(EngineDenoiser, "train", pressed)


@pytest.fixture
def in_the_foreground():
    """Ctrl-C as a shell hands it out, which lets jobs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_the_foreground")
def test_ctrl_c_ends_training_and_keeps_the_model(images, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(training, "INTERVAL", 0.0)
    interrupted_after(1, monkeypatch)
    result = run("train", images / "b.npy", "--model", "m.safetensors", "--epochs", 50)
    assert result.exit_code == 130
    assert "Interrupted: m.safetensors is what was learned in" in result.stderr
    denoiser = Denoiser.load("m.safetensors", device="cpu")
    assert 0 < denoiser.summary["epochs"] < 50
    assert denoiser.predict(movie()[0]).shape == (48, 64)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--model", "m.safetensors"),
        ("denoise", "out.tif", "--save-model", "m.safetensors"),
    ],
)
def test_a_model_that_has_no_room_is_saved_elsewhere(images, tmp_path, monkeypatch, words):
    save = EngineDenoiser.save

    def full(self, path):
        if path == Path("m.safetensors"):
            raise ModelFileError(f"{path} could not be written: the disk is full.")
        save(self, path)

    monkeypatch.setattr(EngineDenoiser, "save", full)
    (tmp_path / "spare").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    result = run(words[0], images / "b.npy", *words[1:], *SHORT)
    assert result.exit_code == 1
    assert "the disk is full" in result.stderr
    (saved,) = (tmp_path / "spare").glob("*/m.safetensors")
    assert str(saved) in result.stderr
    assert Denoiser.load(saved, device="cpu").summary["steps"] > 0


def test_a_second_ctrl_c_ends_the_program(images, tmp_path, monkeypatch):
    def impatient(self, *_, **__):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        yield

    monkeypatch.setattr(EngineDenoiser, "train", impatient)
    result = run("train", images / "b.npy", "--model", "m.safetensors")
    assert result.exit_code == 130
    assert "no unfinished file" in result.stderr
    assert not (tmp_path / "m.safetensors").exists()


def test_settings_and_patterns_reach_the_engine(images, monkeypatch):
    seen = {}

    def spy(self, image, axes=None, **_):
        seen.update(config=self.config, shapes=[i.shape for i in image], axes=axes)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(EngineDenoiser, "train", spy)
    words = "--grid 3 --epochs 2 --network dncnn --output mixed --seed 5 --volume --axes zyx"
    result = run(
        "train", images / "*.tif", images / "a.*", "--model", "m.safetensors", *words.split()
    )
    assert result.exit_code == 130
    config = seen["config"]
    assert (config.epochs, config.network, config.output) == (2, "dncnn", "mixed")
    assert (config.seed, config.volume, config.partition.widths(3)) == (5, True, (3, 3, 3))
    assert (seen["shapes"], seen["axes"]) == ([(3, 48, 64)], ["ZYX"])
    run("train", images / "b.npy", images / "a.ome.tif", "--model", "m.safetensors")
    assert (seen["shapes"], seen["axes"]) == ([(48, 64), (3, 48, 64)], ["YX", "TYX"])


def test_what_cannot_be_trained_on_names_the_file(images, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the work must not start")

    monkeypatch.setattr(EngineDenoiser, "train", never)
    np.save(images / "two.npy", movie()[:2])
    (tmp_path / "there.safetensors").write_text("precious")
    stack = Stack(movie()[:2], "CYX")
    write(images / "two.ome.tif", stack.data, stack)
    model = ("--model", "m.safetensors")
    for words, sentence in (
        ((images / "a.ome.tif", images / "two.ome.tif", *model), "two.ome.tif has 2 channels"),
        ((images / "b.npy", *model, "--axes", "TYX"), "b.npy"),
        ((images / "b.npy", *model, "--volume"), "lack Z"),
        ((images / "missing.tif", *model), "missing.tif"),
        ((images / "x*", *model), "No file matches"),
        ((images, "--model", "m.tif"), "A model is a .safetensors file"),
        ((images, "--model", "there.safetensors"), "exists"),
        ((images, "--model", "nowhere/m.safetensors"), "no folder"),
    ):
        result = run("train", *words)
        assert (result.exit_code, result.stdout) == (1, ""), (words, result.output)
        assert sentence in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert run("train", images).exit_code == 2
    assert (tmp_path / "there.safetensors").read_text() == "precious"
    assert not (tmp_path / "m.safetensors").exists()


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A movie of two regions that is said to be large."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(denoise_file, "_MOST_PIXELS", 1)
    monkeypatch.setattr(streaming, "REGION_PIXELS", 1)
    monkeypatch.setattr(streaming, "INTERVAL", 0.0)
    path = tmp_path / "large.npy"
    np.save(path, movie(shape=(16, 2000)))
    return path


def interrupt_after(count, monkeypatch):
    """Interrupt the work in the writing of so many regions."""
    enter = streaming.Ledger.enter
    seen = []

    def interrupted(self, region):
        seen.append(region)
        if len(seen) == count:
            raise KeyboardInterrupt
        return enter(self, region)

    monkeypatch.setattr(streaming.Ledger, "enter", interrupted)


def test_a_large_stack_is_streamed_and_an_interruption_costs_no_training(large, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        result = run("denoise", large, "out.ome.zarr", *SHORT)
    assert result.exit_code == 130
    assert "out.ome.zarr.partial; --resume goes on" in result.stderr
    # Said before training, not after it.
    with monkeypatch.context() as patch:
        patch.setattr(EngineDenoiser, "train", lambda *_, **__: 1 / 0)
        again = run("denoise", large, "out.ome.zarr", *SHORT)
        assert again.exit_code == 1
        assert "--resume" in again.stderr
        result = run("denoise", large, "out.ome.zarr", *SHORT, "--resume", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["output"] == "out.ome.zarr"
    assert report["steps"] > 0
    assert "nothing is trained anew" in result.stderr
    words = ("--save-model", "m.safetensors", "--quiet")
    assert run("denoise", large, "whole.ome.zarr", *SHORT, *words).exit_code == 0
    pixels = [np.asarray(read(large.with_name(f"{n}.ome.zarr")).data) for n in ("out", "whole")]
    np.testing.assert_array_equal(*pixels)
    expected = Denoiser.load("m.safetensors", device="cpu").predict(np.load(large))
    assert np.abs(expected.round() - pixels[0]).max() <= 1
    assert sorted(path.name for path in large.parent.iterdir()) == [
        "large.npy",
        "m.safetensors",
        "out.ome.zarr",
        "whole.ome.zarr",
    ]


def test_training_is_not_lost_with_the_first_region(large, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartialStore, "_write", interrupted)
        result = run("denoise", large, "out.ome.zarr", *SHORT)
    assert result.exit_code == 130
    assert "--resume goes on" in result.stderr
    monkeypatch.setattr(EngineDenoiser, "train", lambda *_, **__: 1 / 0)
    result = run("denoise", large, "out.ome.zarr", *SHORT, "--resume")
    assert result.exit_code == 0, result.output
    assert "nothing is trained anew" in result.stderr


def test_what_does_not_fit_into_memory_is_streamed(large, monkeypatch):
    monkeypatch.setattr(denoise_file, "_MOST_PIXELS", 10**9)
    monkeypatch.setattr(denoise_file, "_BYTES", 2**60)
    interrupt_after(1, monkeypatch)
    assert run("denoise", large, "out.ome.zarr", *SHORT).exit_code == 130
    assert large.with_name("out.ome.zarr.partial").is_dir()


def test_an_unfinished_result_that_is_overwritten_is_gone(large, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        run("denoise", large, "out.tif", *SHORT)
    assert large.with_name("out.tif.partial").is_dir()
    monkeypatch.setattr(denoise_file, "_MOST_PIXELS", 10**9)
    assert run("denoise", large, "out.tif", *SHORT, "--overwrite").exit_code == 0
    assert sorted(path.name for path in large.parent.iterdir()) == ["large.npy", "out.tif"]


def test_a_disk_that_is_too_small_is_told_before_training(large, monkeypatch):
    from collections import namedtuple

    from napari_noise2self.stacks import disk

    monkeypatch.setattr(EngineDenoiser, "train", lambda *_, **__: 1 / 0)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(1000))
    result = run("denoise", large, "out.ome.tif")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "make room" in result.stderr
    assert [path.name for path in large.parent.iterdir()] == ["large.npy"]
