"""``napari-noise2self preview``: the figure, and what is refused."""

from __future__ import annotations

import json

import imagecodecs
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_noise2self.cli import app
from napari_noise2self.cli.figure import WIDTH
from napari_noise2self.engine import pipeline
from napari_noise2self.engine.palette import distinct_colours


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def picture(path):
    return imagecodecs.png_decode(path.read_bytes())


@pytest.fixture
def noisy(tmp_path):
    """A noisy image with something to see in one corner."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:96, :128]
    clean = 100 + 80 * np.exp(-((y - 70) ** 2 + (x - 90) ** 2) / 200)
    path = tmp_path / "noisy.npy"
    np.save(path, rng.poisson(clean).astype(np.uint16))
    return path


def test_the_figure_shows_the_partition_its_targets_and_the_prediction(noisy, tmp_path):
    target = tmp_path / "out.png"
    result = run("preview", noisy, target, "--grid", 4, "--extent", 3, "--epochs", "0.3", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["output"] == str(target)
    assert report["partition"] == {"kind": "grid", "width": [4, 4], "extent": [3, 3]}
    assert (report["subsets"], report["leaks"]) == (16, 0)
    assert report["targets"] == 1 / 16
    assert report["hidden"] == pytest.approx(9 / 16)
    drawn = picture(target)
    assert drawn.shape[1] == WIDTH
    assert drawn.shape[0] < 1080
    # The colour of the subset that is hidden is in the picture of the targets,
    own = distinct_colours(16)[report["subset"]]
    columns = np.flatnonzero((drawn == own).all(-1).any(0))
    assert columns.min() >= WIDTH // 4
    assert columns.max() < WIDTH // 2
    # and every picture has something on it.
    for quarter in np.array_split(drawn[200:500], 4, axis=1):
        assert quarter.std() > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisy.npy", "out.png"]


@pytest.mark.parametrize(
    ("words", "partition"),
    [
        ("--partition random --subsets 9", {"kind": "random", "subsets": 9}),
        ("--partition checkerboard", {"kind": "checkerboard"}),
        ("", {"kind": "grid"}),
    ],
)
def test_every_kind_of_partition_can_be_drawn(noisy, tmp_path, words, partition):
    target = tmp_path / "out.png"
    result = run("preview", noisy, target, "--epochs", "0.05", "--json", *words.split())
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert partition.items() <= report["partition"].items()
    assert report["leaks"] == 0
    assert picture(target).ndim == 3


@pytest.mark.parametrize(
    ("axes", "words"), [("YXS", ""), ("TZYX", ""), ("TZYX", "--volume --grid 2x3x3")]
)
def test_colours_stacks_and_volumes(tmp_path, axes, words):
    rng = np.random.default_rng(0)
    shape = (48, 56, 3) if axes == "YXS" else (2, 6, 48, 56)
    source, target = tmp_path / "in.npy", tmp_path / "out.png"
    np.save(source, rng.integers(0, 200, shape).astype(np.uint8))
    words = f"{words} --epochs 0.02 --axes {axes} --json".split()
    result = run("preview", source, target, *words)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["axes"] == axes
    assert report["subsets"] == (18 if "--volume" in words else report["subsets"])
    assert report["frame"] == (0 if axes == "YXS" else 1 if "--volume" in words else 6)
    assert picture(target).shape[1] == WIDTH


def test_an_existing_file_stays_and_so_do_other_endings(noisy, tmp_path):
    target = tmp_path / "out.png"
    target.write_text("precious")
    result = run("preview", noisy, target)
    assert result.exit_code == 1
    assert "--overwrite" in result.stderr
    assert target.read_text() == "precious"
    result = run("preview", noisy, tmp_path / "out.jpg")
    assert result.exit_code == 1
    assert ".png" in result.stderr
    result = run("preview", noisy, target, "--overwrite", "--epochs", "0.02")
    assert result.exit_code == 0
    assert picture(target).shape[1] == WIDTH


def test_options_that_do_not_go_together_are_wrong_usage(noisy, tmp_path):
    result = run("preview", noisy, tmp_path / "out.png", "--partition", "random", "--grid", 4)
    assert result.exit_code == 2
    assert "--grid does not go with a random" in result.stderr.replace("\n", " ")


def test_an_interrupted_preview_leaves_no_file(noisy, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(pipeline, "denoise_events", interrupted)
    result = run("preview", noisy, tmp_path / "out.png", "--grid", 4)
    assert result.exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.npy"]


@pytest.mark.parametrize("data", [np.zeros((4, 4), np.uint8), np.ones((32, 32), bool)])
def test_what_cannot_be_learned_from_is_one_sentence(tmp_path, data):
    np.save(tmp_path / "in.npy", data)
    result = run("preview", tmp_path / "in.npy", tmp_path / "out.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The image")
    assert len(result.stderr.splitlines()) == 1
