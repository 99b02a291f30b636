"""The residual in the terminal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from napari_noise2self.cli import app
from napari_noise2self.stacks import samples
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.writing import write


@pytest.fixture
def images(tmp_path):
    truth = samples.cells((256, 256)).truth.astype(np.float32)
    noisy = truth + np.random.default_rng(0).normal(0, 0.1 * np.ptp(truth), truth.shape)
    for name, image in (
        ("noisy", noisy),
        ("truth", truth),
        ("smooth", ndimage.gaussian_filter(noisy, 4)),
        ("small", truth[:128]),
    ):
        np.save(tmp_path / f"{name}.npy", image.astype(np.float32))
    return tmp_path


def run(folder, denoised, *more):
    arguments = ["noise", folder / "noisy.npy", "--residual", folder / denoised, *more]
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_what_is_left_in_the_residual_is_said(images):
    good = run(images, "truth.npy")
    assert good.exit_code == 0, good.output
    assert "The residual looks like the noise" in good.stdout
    bad = run(images, "smooth.npy")
    assert "The residual contains the image" in bad.stdout
    assert "train longer" in bad.stdout


def test_and_as_json(images):
    report = json.loads(run(images, "smooth.npy", "--json").stdout)
    assert [finding["kind"] for finding in report["residual"]["findings"]] == ["image"]


def test_an_image_of_another_shape_is_refused(images):
    result = run(images, "small.npy")
    assert result.exit_code == 1
    assert "same pixels" in result.output


def test_a_result_is_compared_by_its_axes_whatever_their_order(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.stack([samples.cells((128, 128)).truth, samples.filaments((128, 128)).truth])
    truth = np.stack([truth, 2 * truth]).astype(np.float32)  # Z, C, Y, X
    noisy = Stack(rng.normal(truth, 0.1 * truth.std()).astype(np.float32), "ZCYX")
    write(tmp_path / "noisy.tif", noisy.data, noisy)
    write(tmp_path / "truth.ome.zarr", truth, noisy)
    assert read(tmp_path / "truth.ome.zarr").axes == "CZYX"
    words = ["noise", tmp_path / "noisy.tif", "--residual", tmp_path / "truth.ome.zarr", "--json"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["residual"]["findings"]
    assert "image" not in [finding["kind"] for finding in found]
