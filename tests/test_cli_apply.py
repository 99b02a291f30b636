"""``napari-noise2self apply``: one model, many images, and everything that can go wrong."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import namedtuple

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from napari_noise2self import Denoiser, TrainingConfig
from napari_noise2self.cli import app
from napari_noise2self.engine import streaming
from napari_noise2self.stacks import batch, disk, targets
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.writing import write
from tests.stacks.test_parts import pixels
from tests.stacks.test_parts import write as write_part

CONFIG = TrainingConfig(channels=4, depth=2, crop_size=32, epochs=0.05, device="cpu")
SIZE = {"scale": (2.0, 0.1, 0.1), "units": ("s", "µm", "µm")}


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def movie(seed=0, shape=(3, 48, 64)):
    rng = np.random.default_rng(seed)
    wave = 200 + 80 * np.sin(np.arange(shape[-1]) / 6)
    return rng.poisson(np.broadcast_to(wave, shape)).astype("uint16")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "waves.safetensors"
    denoiser = Denoiser(CONFIG).fit(movie(), "TYX")
    denoiser.save(path)
    return path


@pytest.fixture
def model(trained, tmp_path, monkeypatch):
    """A model in a folder with images, in which the command is run."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained, "m.safetensors")
    folder = tmp_path / "Tag 1 Übung"
    folder.mkdir()
    stack = Stack(movie(), "TYX", **SIZE)
    write(folder / "a2.ome.tif", stack.data, stack)
    write(folder / "a10.tif", movie(1), stack)
    write(folder / "b.ome.zarr", movie(2), stack)
    return folder


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_image_of_a_folder_becomes_a_file_that_keeps_what_the_source_said(model, tmp_path):
    (model / "notes.txt").write_text("no image")
    result = run("apply", "m.safetensors", model, "out")
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert files(out) == ["a10_denoised.tif", "a2_denoised.ome.tif", "b_denoised.ome.zarr"]
    denoiser = Denoiser.load("m.safetensors", device="cpu")
    for number, name in enumerate(("a2_denoised.ome.tif", "a10_denoised.tif")):
        after = read(out / name)
        assert (after.axes, after.dtype) == ("TYX", np.uint16)
        assert after.scale == pytest.approx(SIZE["scale"])
        expected = denoiser.predict(movie(number), "TYX").round()
        np.testing.assert_array_equal(np.asarray(after.data), expected)
    said = zarr.open_group(out / "b_denoised.ome.zarr").attrs["noise2self"]
    assert said["model"] == "m.safetensors"
    for words in ("a10_denoised.tif", "3 images in", "3 done", "Results are in out"):
        assert words in result.stdout
    assert "failed" not in result.stdout
    assert "notes.txt" in result.stderr


def test_one_that_fails_leaves_the_others_unharmed(model, tmp_path):
    content = (model / "a2.ome.tif").read_bytes()
    (model / "cut.tif").write_bytes(content[: len(content) // 2])
    np.save(model / "two.npy", np.stack([movie()[0]] * 2))
    result = run("apply", "m.safetensors", model, "out/", "--axes", "TYX", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    states = {row["input"].rpartition("/")[2]: row["state"] for row in report["files"]}
    assert states == {
        "a2.ome.tif": "done",
        "a10.tif": "done",
        "b.ome.zarr": "done",
        "cut.tif": "failed",
        "two.npy": "done",
    }
    (reason,) = (row["reason"] for row in report["files"] if row["state"] == "failed")
    assert "cut off" in reason
    assert reason in result.stderr
    assert len(files(tmp_path / "out")) == 4
    quiet = run("apply", "m.safetensors", model, "out", "--quiet", "--resume")
    assert (quiet.exit_code, quiet.stdout) == (1, "")
    assert quiet.stderr.startswith("Error: ")
    assert quiet.stderr.count("\n") == 1


def test_an_image_in_several_files_is_one_image(model, tmp_path):
    names = ["c1.ome.tif", "c2.ome.tif"]
    for name, frame in zip(names, movie(shape=(2, 40, 50)), strict=True):
        write_part(model, name, frame, pixels("c", names, 2))
    words = (model / "a10.tif", *(model / name for name in names))
    result = run("apply", "m.safetensors", *words, "out", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["left_out"] == [str(model / "c2.ome.tif")]
    assert "1 file is read as part of an image in several files" in result.stderr
    assert files(tmp_path / "out") == ["a10_denoised.tif", "c1_denoised.ome.tif"]
    assert read(tmp_path / "out" / "c1_denoised.ome.tif").shape == (2, 40, 50)
    (model / "c2.ome.tif").rename(tmp_path / "c2.ome.tif")
    result = run("apply", "m.safetensors", model, "out2", "--json")
    assert result.exit_code == 1
    assert "c2.ome.tif is not beside it" in result.stderr


def test_what_exists_is_skipped_until_somebody_says_otherwise(model, tmp_path):
    run("apply", "m.safetensors", model / "a*", "out", "--quiet")
    first = tmp_path / "out" / "a10_denoised.tif"
    first.write_bytes(b"precious")
    again = run("apply", "m.safetensors", model / "a*", "out")
    assert again.exit_code == 0
    assert "2 skipped" in again.stdout
    assert "The result exists" in again.stdout
    assert run("apply", "m.safetensors", model / "a*", "out", "--resume").exit_code == 0
    assert first.read_bytes() == b"precious"
    assert run("apply", "m.safetensors", model / "a*", "out", "--overwrite").exit_code == 0
    assert read(first).shape == (3, 48, 64)


def test_one_image_can_become_one_file_of_any_format(model, tmp_path):
    for name, more in (
        ("x.ome.tif", ["--dtype", "float32"]),
        ("y.tif", ["--output", "j-invariant"]),
        ("z.ome.zarr", ["--ome-zarr-version", "0.4"]),
    ):
        result = run("apply", "m.safetensors", model / "a2.ome.tif", name, *more)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"{name}: denoised in")
        assert read(tmp_path / name).shape == (3, 48, 64)
    assert read(tmp_path / "x.ome.tif").dtype == np.float32
    assert (tmp_path / "z.ome.zarr" / ".zattrs").exists()
    before = (tmp_path / "y.tif").read_bytes()
    again = run("apply", "m.safetensors", model / "a2.ome.tif", "y.tif")
    assert again.exit_code == 1
    assert "exists" in again.stderr
    assert "--overwrite" in again.stderr
    assert (tmp_path / "y.tif").read_bytes() == before


def test_names_and_formats_are_as_asked_for(model, tmp_path):
    words = ("--name", "{parent}/{number:02} {name}{suffix}", "--format", "ome-zarr")
    result = run("apply", "m.safetensors", model / "a*.tif", "out", *words)
    assert result.exit_code == 0, result.output
    assert files(tmp_path / "out" / model.name) == ["01 a2.ome.zarr", "02 a10.ome.zarr"]
    wrong = run("apply", "m.safetensors", model, "out", "--name", "{nme}")
    assert wrong.exit_code == 1
    assert "{name}" in wrong.stderr


@pytest.fixture
def in_parts(model, monkeypatch):
    """The image a10.tif is so wide that it is denoised in three regions."""
    monkeypatch.setattr(streaming, "REGION_PIXELS", 1)
    monkeypatch.setattr(streaming, "LARGEST_REGION", 1)
    monkeypatch.setattr(streaming, "INTERVAL", 0.0)
    (model / "a10.tif").unlink()
    write(model / "a10.tif", movie(1, (2, 24, 2100)), Stack(movie(1, (2, 24, 2100)), "TYX"))
    return model


@pytest.fixture
def interrupt(monkeypatch):
    """What runs a command that is interrupted in the second file, after two of its regions."""
    at = batch._Progress.at

    def interrupted(self, phase, fraction):
        if self._number == 2 and fraction > 0.5:
            raise KeyboardInterrupt
        return at(self, phase, fraction)

    def run_interrupted(*words):
        with monkeypatch.context() as patch:
            patch.setattr(batch._Progress, "at", interrupted)
            return run(*words)

    return run_interrupted


@pytest.fixture
def interrupted(in_parts, interrupt):
    return interrupt("apply", "m.safetensors", in_parts, "out", "--json")


def test_replacing_goes_on_where_it_was_interrupted(in_parts, interrupt, tmp_path):
    config = TrainingConfig(epochs=0.02, seed=9, device="cpu")
    Denoiser(config).fit(movie()).save("other.safetensors")
    run("apply", "other.safetensors", in_parts, "out", "--quiet")
    begun = interrupt("apply", "m.safetensors", in_parts, "out", "--overwrite", "--quiet")
    assert begun.exit_code == 130
    # Nothing is replaced unless that is said again, and what is done is not done twice.
    again = run("apply", "m.safetensors", in_parts, "out", "--resume", "--json")
    rows = json.loads(again.stdout)["files"]
    assert [row["state"] for row in rows] == ["skipped"] * 3
    assert "unfinished" in rows[1]["reason"]
    words = ("apply", "m.safetensors", in_parts, "out", "--resume", "--overwrite", "--json")
    rows = json.loads(run(*words).stdout)["files"]
    assert [row["state"] for row in rows] == ["skipped", "done", "done"]
    assert any("were done before" in words for words in rows[1]["warnings"])
    run("apply", "m.safetensors", in_parts, "whole", "--quiet")
    for name in files(tmp_path / "whole"):
        np.testing.assert_array_equal(
            *(np.asarray(read(f / name).data) for f in (tmp_path / "out", tmp_path / "whole"))
        )


def test_an_interruption_keeps_what_is_done_and_resume_finishes_it(interrupted, model, tmp_path):
    assert interrupted.exit_code == 130
    states = [row["state"] for row in json.loads(interrupted.stdout)["files"]]
    assert states == ["done", "interrupted", "not begun"]
    assert "--resume" in interrupted.stderr
    out = tmp_path / "out"
    assert files(out) == ["a10_denoised.tif.partial", "a2_denoised.ome.tif"]
    # Nobody said what to do with it.
    assert run("apply", "m.safetensors", model / "a10.tif", "out").exit_code == 0
    assert files(out) == ["a10_denoised.tif.partial", "a2_denoised.ome.tif"]
    result = run("apply", "m.safetensors", model, "out", "--resume", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["state"] for row in report["files"]] == ["skipped", "done", "done"]
    assert any("were done before" in words for words in report["files"][1]["warnings"])
    run("apply", "m.safetensors", model, "whole", "--quiet")
    for name in ("a10_denoised.tif", "b_denoised.ome.zarr"):
        np.testing.assert_array_equal(
            *(np.asarray(read(f / name).data) for f in (out, tmp_path / "whole"))
        )


def test_a_warning_says_that_the_model_does_not_suit(model):
    np.save("bright.npy", movie().astype(np.float32) * 100)
    result = run("apply", "m.safetensors", "bright.npy", "out.tif", "--axes", "TYX", "--json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)["files"]
    assert any("trained on" in words for words in row["warnings"])
    assert "bright.npy: The grey values are" in result.stderr


def text(path):
    path.write_text("hello")


def a_pickle(path):
    path.write_bytes(pickle.dumps({"weights": [1, 2]}))


def half_a_model(path):
    path.write_bytes(path.with_name("m.safetensors").read_bytes()[:-100])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "There is no model file"),
        (text, "is a text file, not a model"),
        (a_pickle, "can run a stranger's code"),
        (half_a_model, "its end is missing"),
    ],
)
def test_a_file_that_is_no_model_is_one_sentence(model, tmp_path, make, sentence):
    make(tmp_path / "wrong.safetensors")
    result = run("apply", "wrong.safetensors", model, "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_images_that_do_not_fit_the_model_fail_one_by_one(model, tmp_path):
    np.save(model / "c.npy", movie(shape=(2, 48, 64)))
    result = run("apply", "m.safetensors", model / "c.npy", "out.tif", "--axes", "CYX")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 channels, but the model was trained on 1" in result.stderr
    volumes = Denoiser(CONFIG.model_copy(update={"volume": True, "crop_size": 16}))
    volumes.fit(movie(shape=(8, 32, 32)), "ZYX").save("v.safetensors")
    result = run("apply", "v.safetensors", model / "a2.ome.tif", "out.tif")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "lack Z" in result.stderr
    result = run("apply", "m.safetensors", model / "a2.ome.tif", "out.tif", "--axes", "YX")
    assert result.exit_code == 1
    assert "name 2 axes" in result.stderr
    assert files(tmp_path) == [model.name, "m.safetensors", "v.safetensors"]


def chunk_of(folder):
    chunks = [path for path in (folder / "0").rglob("*") if path.name.isdecimal()]
    return next(path for path in chunks if path.is_file())


def test_a_damaged_chunk_is_one_sentence_and_nothing_is_written(model, tmp_path):
    chunk = chunk_of(model / "b.ome.zarr")
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2])
    result = run("apply", "m.safetensors", model / "b.ome.zarr", "out.ome.zarr")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "damaged" in result.stderr
    assert not (tmp_path / "out.ome.zarr").exists()


def test_a_zarr_that_lacks_chunks_fails_alone_unless_they_are_said_to_be_empty(model, tmp_path):
    chunk_of(model / "b.ome.zarr").unlink()
    result = run("apply", "m.safetensors", model, "out", "--json")
    assert result.exit_code == 1
    rows = {row["input"].rpartition("/")[2]: row for row in json.loads(result.stdout)["files"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "a2.ome.tif": "done",
        "a10.tif": "done",
        "b.ome.zarr": "failed",
    }
    reason = rows["b.ome.zarr"]["reason"]
    assert "b.ome.zarr lacks 1 of its 1 chunks" in reason
    assert result.stderr.splitlines() == [f"Error: {reason}"]
    assert files(tmp_path / "out") == ["a10_denoised.tif", "a2_denoised.ome.tif"]
    result = run("apply", "m.safetensors", model, "out", "--empty-chunks", "--json")
    assert result.exit_code == 0
    row = json.loads(result.stdout)["files"][2]
    assert row["state"] == "done"
    assert "which are read as 0" in row["warnings"][0]
    # What was made of it lacks nothing, dark as it is.
    assert run("noise", "out/b_denoised.ome.zarr").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("denoise", "IN", "out.tif", "--epochs", "0.05", "--device", "cpu"),
        ("train", "IN", "--model", "new.safetensors", "--epochs", "0.05", "--device", "cpu"),
        ("calibrate", "IN", "out.tif", "--filters", "gaussian"),
        ("noise", "IN"),
        ("noise", "Tag 1 Übung/a10.tif", "--residual", "IN"),
        ("preview", "IN", "out.png", "--epochs", "0.05", "--device", "cpu"),
    ],
)
@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("a.zarr", "a.zarr lacks 1 of its 3 chunks (first: c/2/0/0)"),
        ("a.ome.tif", "a.ome.tif lacks 1 of its 3 planes (first: T2)"),
    ],
)
def test_every_command_refuses_an_image_that_lacks_parts(model, tmp_path, words, name, lacks):
    frames = np.random.default_rng(0).poisson(90, (2, 48, 64)).astype("f4")
    if name == "a.zarr":
        image = zarr.create_array(
            tmp_path / "a.zarr", shape=(3, 48, 64), dtype="f4", chunks=(1, 48, 64)
        )
        image[:2] = frames
    else:
        tifffile.imwrite(name, frames, metadata={"axes": "TYX"})
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content.replace(b'SizeT="2"', b'SizeT="3"'))
    before = files(tmp_path)
    command = [name if word == "IN" else word for word in words]
    result = run(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert lacks in result.stderr
    assert files(tmp_path) == before
    assert run(*command, "--empty-chunks", "--axes", "TYX").exit_code == 0
    assert run("info", name).exit_code == 0


def test_results_that_do_not_fit_together_are_told_before_the_first(model, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    # Enough for each of them, and for two.
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(30_000))
    result = run("apply", "m.safetensors", model, "out/", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    (sentence,) = result.stderr.splitlines()
    assert "3 results take up to 55.3 kB, and 30.0 kB are free on the disk of out:" in sentence
    assert not (tmp_path / "out").exists()
    result = run("apply", "m.safetensors", model / "a*", "out/")
    assert result.exit_code == 0, result.output
    assert "2 results take up to 36.9 kB" in result.stderr
    # What is there already takes no more.
    for words in ((), ("--overwrite",)):
        result = run("apply", "m.safetensors", model, "out/", *words)
        assert result.exit_code == 0, result.output
        assert "results take" not in result.stderr
    assert len(files(tmp_path / "out")) == 3


def test_a_full_disk_is_one_sentence_and_nothing_is_half_written(in_parts, tmp_path, monkeypatch):
    model = in_parts
    before = files(model)
    put = zarr.storage._local._put
    count = []

    def full(path, *args, **kwargs):
        if path.parts[-4:-3] == ("c",):
            count.append(path)
            if len(count) > 1:
                raise OSError(28, "No space left on device")
        return put(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage._local, "_put", full)
        result = run("apply", "m.safetensors", model / "a10.tif", "out.ome.tif")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the disk is full" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out.ome.tif").exists()
    result = run("apply", "m.safetensors", model / "a10.tif", "out.ome.tif", "--resume")
    assert result.exit_code == 0, result.output
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(1000))
    result = run("apply", "m.safetensors", model / "a2.ome.tif", "small.tif")
    assert result.exit_code == 1
    assert "make room" in result.stderr
    assert not (tmp_path / "small.tif").exists()
    assert files(model) == before


def test_a_target_that_may_not_be_written_is_one_sentence(model, tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    access = targets.os.access
    # The tests may run as somebody who may write everywhere.
    monkeypatch.setattr(
        targets.os, "access", lambda path, mode: path.name != "locked" and access(path, mode)
    )
    result = run("apply", "m.safetensors", model / "a10.tif", "locked/")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Nothing may be written to the folder locked" in result.stderr
    (tmp_path / "text").write_text("x")
    result = run("apply", "m.safetensors", model, "text")
    assert result.exit_code == 1
    assert "one file, and there are 3 images" in result.stderr
    assert not files(tmp_path / "locked")


def test_the_source_and_other_results_are_never_replaced(model):
    content = (model / "a10.tif").read_bytes()
    for words in (
        (model / "a10.tif", model / "a10.tif"),
        (model, model, "--name", "{name}{suffix}"),
        (model / "a2.ome.tif", model / "a10.tif", model, "--name", "a10.tif"),
        (model / "b.ome.zarr", model / "b.ome.zarr" / "in.tif"),
    ):
        result = run("apply", "m.safetensors", *words, "--overwrite")
        assert (result.exit_code, result.stdout) == (1, ""), words
        assert len(result.stderr.splitlines()) == 1
    assert (model / "a10.tif").read_bytes() == content


def test_an_error_that_nobody_thought_of_costs_one_image_alone(model, monkeypatch, caplog):
    def odd(denoiser, stack):
        if stack.shape[0] == 3 and stack.name.startswith("a10"):
            raise ValueError("odd")
        return []

    monkeypatch.setattr("napari_noise2self.stacks.suits.suitability", odd)
    result = run("apply", "m.safetensors", model, "out", "--json")
    assert result.exit_code == 1
    states = [row["state"] for row in json.loads(result.stdout)["files"]]
    assert states == ["done", "failed", "done"]
    assert "unexpected ValueError (odd)" in result.stderr
    assert "a10.tif failed" in caplog.text


def test_wrong_usage_ends_with_status_2():
    for words in (
        ("apply",),
        ("apply", "m", "a.tif"),
        ("apply", "m", "a", "b", "--format", "png"),
        ("apply", "a.tif", "m.safetensors", "out.tif"),
    ):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (2, "")


def test_an_interruption_of_a_single_image_claims_nothing(in_parts, tmp_path, monkeypatch):
    def interrupt(self, phase, fraction):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch._Progress, "at", interrupt)
    result = run("apply", "m.safetensors", in_parts / "a2.ome.tif", "out.tif")
    assert result.exit_code == 130
    assert result.stdout == "out.tif: not begun\n"
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("out", ["s3://bucket/out.ome.zarr", "https://host.invalid/out/"])
def test_results_are_not_written_to_an_address_nor_to_a_folder_called_so(model, tmp_path, out):
    before = files(tmp_path)
    for words in (
        ("apply", "m.safetensors", model / "a10.tif", out),
        ("denoise", model / "a10.tif", out),
    ):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"Results cannot be written to {out}".rstrip("/") in result.stderr
    assert files(tmp_path) == before


def test_a_slash_does_not_make_a_folder_of_a_zarr(model, tmp_path):
    assert run("apply", "m.safetensors", model / "a2.ome.tif", "out.ome.zarr").exit_code == 0
    before = files(tmp_path / "out.ome.zarr")
    result = run("apply", "m.safetensors", model / "a10.tif", "out.ome.zarr/", "--overwrite")
    assert result.exit_code == 0, result.output
    assert files(tmp_path / "out.ome.zarr") == before
    (tmp_path / "out.ome.zarr").rename(tmp_path / "plate")
    result = run("apply", "m.safetensors", model / "a10.tif", "plate")
    assert result.exit_code != 0
    assert "is a Zarr, and no folder for results" in result.stderr
