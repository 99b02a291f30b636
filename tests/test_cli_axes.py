from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_noise2self.cli import app
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.writing import write

QUICK = ("--epochs", "0.1", "--device", "cpu", "--json")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def stack(tmp_path):
    """A small noisy stack with two channels."""
    rng = np.random.default_rng(0)
    data = rng.poisson(90, (4, 2, 32, 48)).astype("uint16")
    return write(tmp_path / "in.ome.tif", data, Stack(data, "ZCYX", name="in")).path


def test_learning_from_a_region_alone(stack, tmp_path):
    region = ("--region", "Z=0:2,x=:32")
    done = run("denoise", stack, tmp_path / "out.ome.tif", *region, *QUICK)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["shape"] == [4, 2, 32, 48]
    model = tmp_path / "m.safetensors"
    trained = run("train", stack, "--model", model, *region, *QUICK)
    assert trained.exit_code == 0, trained.output
    assert model.exists()


@pytest.mark.parametrize(
    ("region", "status", "words"),
    [("Z:0-2", 2, "write ranges of axes"), ("T=0:2", 1, "the image has ZCYX")],
)
def test_a_region_that_is_none_is_refused(stack, tmp_path, region, status, words):
    result = run("denoise", stack, tmp_path / "out.ome.tif", "--region", region, *QUICK)
    assert result.exit_code == status
    assert words in " ".join(result.output.replace("│", " ").split())


def test_the_use_of_channels_is_kept_with_the_model(stack, tmp_path):
    model = tmp_path / "m.safetensors"
    trained = run("train", stack, "--model", model, "--channels", "apart", *QUICK)
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["settings"]["channel_use"] == "apart"
    applied = run("apply", model, stack, tmp_path / "out.ome.tif", "--device", "cpu", "--json")
    assert applied.exit_code == 0, applied.output


def test_what_is_seen_along_depth(stack, tmp_path):
    model = tmp_path / "m.safetensors"
    words = ("--context", "1", "--depth-axis", "z", *QUICK)
    trained = run("train", stack, "--model", model, *words)
    assert trained.exit_code == 0, trained.output
    settings = json.loads(trained.stdout)["settings"]
    assert (settings["context"], settings["depth_axis"]) == (1, "Z")
    target = tmp_path / "out.ome.zarr"
    applied = run("apply", model, stack, target, "--device", "cpu", "--json")
    assert applied.exit_code == 0, applied.output
    target = tmp_path / "other.ome.zarr"
    refused = run("denoise", stack, target, "--context", "1", "--depth-axis", "T", *QUICK)
    assert refused.exit_code == 1
    assert "lack T" in refused.output
    refused = run("denoise", stack, target, "--context", "1", "--volume", *QUICK)
    assert refused.exit_code == 2
