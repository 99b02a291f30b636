from __future__ import annotations

import json

import imagecodecs
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_noise2self import Checkerboard, Denoiser, Grid, RandomPartition
from napari_noise2self.cli import app
from napari_noise2self.engine import pipeline
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.writing import write


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def noisy(tmp_path):
    """A small noisy hyperstack with a pixel size."""
    rng = np.random.default_rng(0)
    wave = 200 + 80 * np.sin(np.arange(64) / 6)
    data = rng.poisson(np.broadcast_to(wave, (3, 48, 64))).astype("uint16")
    stack = Stack(data, "TYX", (2.0, 0.1, 0.1), ("s", "µm", "µm"), name="waves")
    return write(tmp_path / "noisy.tif", data, stack).path


def test_denoise_writes_the_image_with_everything_the_source_said(noisy, tmp_path):
    target = tmp_path / "out.ome.tif"
    words = ("--epochs", "0.2", "--grid", "4", "--seed", "1", "--device", "cpu")
    result = run("denoise", noisy, target, *words, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["output"] == str(target)
    assert report["shape"] == [3, 48, 64]
    assert report["axes"] == "TYX"
    assert report["dtype"] == "uint16"
    assert report["device"] == "cpu"
    assert report["network"] == "unet"
    assert report["partition"]["kind"] == "grid"
    assert report["steps"] > 0
    assert report["epochs"] > 0
    assert report["seconds"] > 0
    assert report["score"] > 0
    before, after = read(noisy), read(target)
    assert (after.axes, after.shape, after.dtype) == (before.axes, before.shape, before.dtype)
    assert after.scale == pytest.approx(before.scale)
    assert after.units == before.units
    assert (np.asarray(after.data) != np.asarray(before.data)).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisy.tif", "out.ome.tif"]


def test_options_reach_the_engine(noisy, tmp_path, monkeypatch):
    seen = {}

    def spy(image, *, axes, config, **_):
        seen.update(axes=axes, config=config)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(pipeline, "denoise_events", spy)
    words = "--grid 2x4x6 --extent 1x1x3 --epochs 2.5 --network dncnn --output j-invariant"
    words += " --axes zyx --volume --device cpu --seed 7"
    run("denoise", noisy, tmp_path / "out.tif", *words.split())
    config = seen["config"]
    assert seen["axes"] == "ZYX"
    assert config.partition.widths(3) == (2, 4, 6)
    assert config.partition.extents(3) == (1, 1, 3)
    assert (config.epochs, config.network, config.output) == (2.5, "dncnn", "j-invariant")
    assert (config.volume, config.device, config.seed) == (True, "cpu", 7)
    run("denoise", noisy, tmp_path / "out.tif", "--epochs", "auto", "--grid", "6")
    assert seen["config"].epochs is None
    assert seen["config"].partition.widths(2) == (6, 6)
    run("denoise", noisy, tmp_path / "out.tif")
    assert seen["config"].partition is None


@pytest.mark.parametrize(
    ("words", "partition"),
    [
        ("--partition grid", None),
        ("--partition grid --grid 5", Grid(5)),
        ("--extent 1", Grid(4)),
        ("--extent 1x3", Grid((4, 6), (1, 3))),
        ("--partition grid --grid 4x9 --extent 1x7", Grid((4, 9), (1, 7))),
        ("--partition random", RandomPartition(25)),
        ("--partition random --seed 9", RandomPartition(25, seed=9)),
        ("--partition random --subsets 40 --extent 3x5", RandomPartition(40, (3, 5))),
        ("--partition checkerboard", Checkerboard()),
    ],
)
def test_the_options_of_a_partition_go_together(noisy, tmp_path, monkeypatch, words, partition):
    seen = []

    def spy(image, *, axes, config, **_):
        seen.append(config.partition)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(pipeline, "denoise_events", spy)
    run("denoise", noisy, tmp_path / "out.tif", *words.split())
    assert seen == [partition]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--subsets 30", "--subsets does not go with a grid partition"),
        ("--partition grid --subsets 30", "use --partition random"),
        ("--partition random --grid 4", "--grid does not go with a random partition"),
        ("--partition checkerboard --grid 4", "--grid does not go with a checkerboard"),
        ("--partition checkerboard --extent 3", "use --partition grid or random"),
        ("--partition random --subsets 1", "whole number from 2"),
        ("--partition random --subsets 4 --extent 7", "use at least 22 subsets"),
        ("--extent 2", "odd whole numbers"),
        ("--partition stripes", "stripes"),
    ],
)
def test_options_that_contradict_each_other_end_with_status_2(noisy, tmp_path, words, sentence):
    result = run("denoise", noisy, tmp_path / "out.tif", *words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    # The terminal folds long sentences into a frame.
    assert sentence in " ".join(result.stderr.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.tif"]


def test_float32_and_the_model_on_request(noisy, tmp_path):
    target, model = tmp_path / "out.tif", tmp_path / "waves.safetensors"
    words = ("--epochs", "0.1", "--dtype", "float32", "--save-model", model, "--quiet")
    result = run("denoise", noisy, target, *words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    written = tifffile.imread(target)
    assert written.dtype == np.float32
    again = Denoiser.load(model).predict(tifffile.imread(noisy), axes="TYX")
    np.testing.assert_array_equal(again, written)


def test_a_model_never_takes_the_place_of_an_image(noisy, tmp_path):
    before = noisy.read_bytes()
    for model in (noisy, tmp_path / "out.tif", tmp_path / "model.tif"):
        words = ("--epochs", "0.1", "--save-model", model, "--overwrite")
        result = run("denoise", noisy, tmp_path / "out.tif", *words)
        assert result.exit_code == 1
        assert ".safetensors" in result.stderr
    assert noisy.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.tif"]


@pytest.mark.parametrize(
    "words",
    [
        ("denoise",),
        ("denoise", "in.tif", "out.tif", "--nonsense"),
        ("denoise", "in.tif", "out.tif", "--epochs", "many"),
        ("denoise", "in.tif", "out.tif", "--epochs", "0"),
        ("denoise", "in.tif", "out.tif", "--epochs", "nan"),
        ("denoise", "in.tif", "out.tif", "--grid", "2y4"),
        ("denoise", "in.tif", "out.tif", "--grid", "1"),
        ("denoise", "in.tif", "out.tif", "--grid", "4", "--extent", "5"),
        ("denoise", "in.tif", "out.tif", "--network", "other"),
        ("nonsense",),
    ],
)
def test_wrong_usage_ends_with_status_2(words):
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


def test_failures_end_with_status_1_and_one_sentence(noisy, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the work must not start")

    monkeypatch.setattr(pipeline, "denoise_events", never)
    (tmp_path / "text.tif").write_text("hello")
    (tmp_path / "there.tif").write_text("precious")
    out = tmp_path / "out.tif"
    for words in (
        (tmp_path / "missing.tif", out),
        (tmp_path / "text.tif", out),
        (noisy, tmp_path / "there.tif"),
        (noisy, tmp_path / "out.png"),
        (noisy, tmp_path / "nowhere" / "out.tif"),
        (noisy, out, "--axes", "TZYX"),
        (noisy, noisy, "--overwrite"),
        (noisy, "s3://bucket/out.ome.zarr"),
        (noisy, out, "--save-model", tmp_path / "there.tif"),
    ):
        result = run("denoise", *words, "--json")
        assert result.exit_code == 1, words
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.endswith(".\n")
        assert not out.exists()
    assert (tmp_path / "there.tif").read_text() == "precious"


def test_an_interruption_ends_with_status_130_and_leaves_nothing(noisy, tmp_path, monkeypatch):
    closed = []

    def interrupted(*args, **kwargs):
        try:
            raise KeyboardInterrupt
            yield
        finally:
            closed.append(True)

    monkeypatch.setattr(pipeline, "denoise_events", interrupted)
    result = run("denoise", noisy, tmp_path / "out.tif", "--json")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Interrupted" in result.stderr
    assert closed
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.tif"]


def test_overwrite_replaces_the_file(noisy, tmp_path):
    target = tmp_path / "out.tif"
    target.write_text("old")
    result = run("denoise", noisy, target, "--epochs", "0.1", "--overwrite")
    assert result.exit_code == 0
    assert read(target).shape == (3, 48, 64)
    assert str(target) in result.stdout


def test_demo_leaves_images_and_says_how_good_they_are(tmp_path):
    folder = tmp_path / "demo"
    result = run("demo", folder, "--epochs", "0.3", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["psnr_denoised"] > report["psnr_noisy"] + 2
    assert report["score"] > 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "before-after.png",
        "denoised.ome.tif",
        "noisy.ome.tif",
        "truth.ome.tif",
    ]
    noisy = read(folder / "noisy.ome.tif")
    assert noisy.dtype == np.uint16
    assert noisy.size("X") == (0.108, "µm")
    assert read(folder / "denoised.ome.tif").dtype == np.float32
    picture = imagecodecs.png_decode((folder / "before-after.png").read_bytes())
    assert picture.shape[0] == noisy.shape[0]
    assert picture.std() > 10

    again = run("demo", folder)
    assert again.exit_code == 1
    assert "exists" in again.stderr


def test_info_names_versions_and_devices():
    facts = json.loads(run("info", "--json").stdout)
    assert {"napari-noise2self", "torch", "numpy", "python", "devices"} <= set(facts)
    assert "cpu" in {device["name"] for device in facts["devices"] if device["available"]}
    assert "cpu" in run("info").stdout


def test_info_describes_an_image(noisy):
    facts = json.loads(run("info", noisy, "--json").stdout)
    assert facts["axes"] == "TYX"
    assert facts["shape"] == [3, 48, 64]
    assert facts["scale"] == pytest.approx([2.0, 0.1, 0.1])
    assert facts["units"] == ["s", "µm", "µm"]
    assert "uint16" in run("info", noisy).stdout


@pytest.mark.parametrize("pixel", [np.nan, 1 + 2j, True])
def test_info_describes_images_that_cannot_be_denoised(tmp_path, pixel):
    np.save(tmp_path / "a.npy", np.full((4, 4), pixel))
    facts = json.loads(run("info", tmp_path / "a.npy", "--json").stdout)
    assert facts["shape"] == [4, 4]


def test_noise_says_what_it_is_and_how_to_denoise_it(noisy):
    result = run("noise", noisy)
    assert result.exit_code == 0, result.output
    for word in ("gain", "offset", "read noise", "along y", "along x", "suggestion", "--grid 2"):
        assert word in result.stdout
    assert run("noise", noisy, "--volume", "--axes", "ZYX").stdout.count("along") == 3


def test_noise_as_json_is_one_object(noisy):
    result = run("noise", noisy, "--json")
    report = json.loads(result.stdout)
    assert report["axes"] == "TYX"
    assert report["correlated"] is False
    assert report["suggestion"]["partition"] == {"kind": "grid", "width": 2, "extent": 1}
    assert len(report["suggestion"]["reasons"]) == 3
    (channel,) = report["channels"]
    assert channel["mean_variance"] == pytest.approx(np.mean(read(noisy).data), rel=0.2)


def test_noise_of_what_has_none_is_unknown(tmp_path):
    path = tmp_path / "flat.npy"
    np.save(path, np.zeros((64, 64), np.float32))
    result = run("noise", path)
    assert result.exit_code == 0, result.output
    assert "unknown" in result.stdout
    assert json.loads(run("noise", path, "--json").stdout)["variance_error"] is None
    np.save(path, np.zeros((64, 64), bool))
    assert run("noise", path).exit_code == 1
