from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from napari_noise2self import RandomPartition
from napari_noise2self.cli import app
from napari_noise2self.engine.calibration import calibrate as calibration
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.writing import write

SIGMA = 15


def run(*words):
    return CliRunner().invoke(app, ["calibrate", *(str(word) for word in words)])


@pytest.fixture
def files(tmp_path):
    """A small noisy stack with a pixel size, and its truth."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, 48, 64)), (0, 4, 4))
    truth = 200 + 60 * smooth / smooth.std()
    noisy = np.clip(truth + rng.normal(0, SIGMA, truth.shape), 0, 65535).astype("uint16")
    stack = Stack(noisy, "TYX", (2.0, 0.1, 0.1), ("s", "µm", "µm"), name="noisy")
    write(tmp_path / "noisy.tif", noisy, stack)
    np.save(tmp_path / "truth.npy", truth.astype("float32"))
    return tmp_path / "noisy.tif", tmp_path / "truth.npy"


def test_it_prints_the_table_best_first(files):
    result = run(files[0], "--filters", "median,gaussian", "--quiet")
    assert result.exit_code == 0, result.output
    head, first, second, *rest = result.stdout.splitlines()
    assert head.split()[:4] == ["filter", "parameters", "loss", "±"]
    assert "true error" not in head
    assert first.startswith("gaussian  width")
    assert " px" in first
    assert second.startswith("median    radius")
    text = "\n".join(rest)
    assert "self-supervised, of the J-invariant filter, in squared grey values" in text
    assert "The variance of the noise is" in text


def test_the_best_filter_is_applied_to_the_image(files, tmp_path):
    target = tmp_path / "out.ome.tif"
    words = ("--filters", "gaussian,median", "--truth", files[1], "--output", "mixed", "--json")
    result = run(files[0], target, *words)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["filter"] for row in report["rows"]] == ["gaussian", "median"]
    row = report["rows"][0]
    assert row["loss"] - row["mse"] == pytest.approx(SIGMA**2, rel=0.15)
    assert row["gain_at_least"] > 3
    assert (report["output"], report["output_kind"]) == (str(target), "mixed")
    before, after, truth = read(files[0]), read(target), np.load(files[1])
    assert (after.axes, after.dtype, after.scale) == (before.axes, before.dtype, before.scale)
    assert np.mean((after.data - truth) ** 2) < 0.3 * np.mean((before.data - truth) ** 2)
    again = run(files[0], target)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


def test_options_reach_the_engine(files, monkeypatch):
    seen = {}

    def spy(image, **settings):
        seen.update(settings, shape=image.shape)
        raise KeyboardInterrupt

    monkeypatch.setattr(calibration, "calibrate", spy)
    words = "--filters nlm,tv --partition random --subsets 9 --extent 1x3 --seed 4 --axes zyx"
    assert run(files[0], *words.split(), "--volume").exit_code == 130
    assert seen["filters"] == ["nlm", "tv"]
    assert seen["partition"] == RandomPartition(9, (1, 3), 4)
    assert (seen["axes"], seen["volume"], seen["truth"]) == ("ZYX", True, None)
    run(files[0])
    assert seen["filters"] is None
    assert seen["partition"] is None


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--filters", "blur"], 1, "no filter 'blur'"),
        (["--grid", "1"], 2, "grid width"),
        (["--axes", "YX"], 1, "axes"),
        (["--truth", "missing.tif"], 1, "missing.tif"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(files, words, status, sentence):
    result = run(files[0], *words)
    assert result.exit_code == status
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_a_filter_that_fails_is_told_below_the_table(files, monkeypatch):
    from napari_noise2self.engine.filters import catalogue

    monkeypatch.setattr(catalogue, "installed", lambda name: False)
    result = run(files[0], "--filters", "gaussian,bm3d")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("BM3D is not installed: pip install")
    alone = run(files[0], "--filters", "bm3d")
    assert alone.exit_code == 1
    assert "noncommercial" in alone.stderr
