"""``napari-noise2self package``."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from napari_noise2self import Denoiser, TrainingConfig
from napari_noise2self.cli import app

pytest.importorskip("bioimageio.core")


def run(*words):
    return CliRunner().invoke(app, ["package", *map(str, words)])


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model whose best output is the single pass, and an image."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).poisson(200, (128, 128)).astype("uint16")
    np.save("image.npy", image)
    config = TrainingConfig(channels=4, depth=2, crop_size=32, epochs=0.2, device="cpu")
    denoiser = Denoiser(config.model_copy(update={"output": "single-pass"})).fit(image)
    denoiser.save("waves_1.safetensors")
    mixed = Denoiser(config.model_copy(update={"output": "mixed"})).fit(image)
    mixed.save("mixed.safetensors")
    return tmp_path / "waves_1.safetensors"


def test_a_model_becomes_a_package_that_passes_the_tests_of_the_zoo(model):
    words = ("--author", "A. Name", "--author", "B", "--example", "image.npy", "--json")
    result = run(model, "waves.zip", *words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["package"] == "waves.zip"
    with zipfile.ZipFile("waves.zip") as package:
        (description,) = (name for name in package.namelist() if name.endswith(".yaml"))
        about = yaml.safe_load(package.read(description))
    assert about["name"] == "waves 1"
    assert [author["name"] for author in about["authors"]] == ["A. Name", "B"]
    again = run(model, "waves.zip", "--author", "A")
    assert again.exit_code == 1
    assert "already something" in again.stderr


def test_what_cannot_be_packed_is_told(model):
    author = ("--author", "A")
    for words, sentence in (
        ((model, "m.txt", *author), "ending in .zip"),
        ((model.with_name("missing.safetensors"), "m.zip", *author), "missing.safetensors"),
        ((model.with_name("mixed.safetensors"), "m.zip", *author), "ask for the output"),
        ((model, "m.zip", *author, "--example", "missing.npy"), "missing.npy"),
    ):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (1, ""), (words, result.output)
        assert sentence in result.stderr
    assert run(model, "m.zip").exit_code == 2
    assert not model.with_name("m.zip").exists()
