from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_noise2self import Denoiser, Grid, Noise2SelfError, TrainingConfig
from napari_noise2self.engine.errors import InputError, ModelFileError
from napari_noise2self.stacks.bioimageio import export_bioimageio
from napari_noise2self.stacks.samples import cells
from napari_noise2self.stacks.stack import Stack

MODELS = Path(__file__).parents[1] / "fixtures" / "models"
NAMED = {"name": "Small", "authors": ["A. Person"]}


@pytest.fixture(scope="module")
def denoiser():
    return Denoiser.load(MODELS / "format-2b.safetensors", device="cpu")


@pytest.fixture(scope="module")
def example():
    return cells((90, 100), seed=2).noisy


@pytest.fixture(scope="module")
def package(denoiser, example, tmp_path_factory):
    """A package, where the extra is installed and works."""
    pytest.importorskip("bioimageio.core", reason="the extra 'bioimageio' is not installed")
    path = tmp_path_factory.mktemp("zoo") / "ein Modell für alle.zip"
    authors = ["A. Person", {"name": "B. Person", "affiliation": "A lab"}]
    try:
        return export_bioimageio(
            denoiser, path, name="Small cells", authors=authors, license="MIT", example=example
        )
    except InputError as error:
        if "does not work with this pydantic" in str(error):
            pytest.skip(str(error))
        raise


def unpacked(package, folder):
    with zipfile.ZipFile(package) as file:
        file.extractall(folder)
    return folder


# What the libraries warn of is theirs.
@pytest.mark.filterwarnings("ignore")
def test_a_package_passes_the_tests_of_the_zoo(package):
    from bioimageio.core import test_model as run_tests

    summary = run_tests(package, devices=["cpu"])
    assert summary.status == "passed"
    assert list(package.parent.iterdir()) == [package]


@pytest.mark.filterwarnings("ignore")
def test_another_program_gets_what_the_single_pass_is(package, denoiser):
    from bioimageio.core import create_prediction_pipeline, load_model_description
    from bioimageio.core.digest_spec import create_sample_for_model

    model = load_model_description(package)
    noisy = np.asarray(cells((128, 140), seed=4).noisy.data)
    with create_prediction_pipeline(model, devices=["cpu"]) as pipeline:
        sample = create_sample_for_model(model, inputs={"noisy": noisy[None, None]})
        whole = pipeline.predict_sample_without_blocking(sample)
        tiled = pipeline.predict_sample_with_blocking(
            create_sample_for_model(model, inputs={"noisy": noisy[None, None]})
        )
    expected = denoiser.predict(noisy, output="single-pass")
    for result in (whole, tiled):
        found = result.members["denoised"].data.to_numpy()[0, 0]
        # Half precision, and more flips in the one of them.
        assert np.abs(found - expected).mean() < 0.05 * np.abs(noisy - expected).mean()


def test_a_package_tells_what_it_is_and_holds_the_model(package, denoiser, example, tmp_path):
    folder = unpacked(package, tmp_path)
    description = (folder / "rdf.yaml").read_text(encoding="utf-8")
    for word in ("license: MIT", "name: Small cells", "B. Person", "A lab", "scale_linear"):
        assert word in description
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "single pass" in text
    assert "J-invariant" in text
    assert "MIT" in text
    test_input = np.load(folder / "test_input.npy")
    assert test_input.shape == (1, 1, 90, 100)
    np.testing.assert_array_equal(test_input[0, 0], example.data)
    again = Denoiser.load(folder / "noise2self.safetensors", device="cpu")
    np.testing.assert_array_equal(again.predict(example.data), denoiser.predict(example.data))
    assert str(Path.home()).encode() not in (folder / "weights.pt").read_bytes()


def test_an_archive_is_not_taken_for_a_model(package):
    with pytest.raises(ModelFileError, match=r"unpack it and choose noise2self\.safetensors"):
        Denoiser.load(package)


@pytest.mark.filterwarnings("ignore")
def test_volumes_with_channels_and_small_numbers_travel_too(package, tmp_path):
    rng = np.random.default_rng(0)
    image = 1e-3 * rng.normal([[[[3]]], [[[5]]]], 1, (2, 8, 32, 32))
    config = TrainingConfig(
        volume=True,
        channels=2,
        depth=1,
        epochs=0.1,
        crop_size=16,
        averaging=False,
        output="single-pass",
    )
    denoiser = Denoiser(config).fit(image, axes="CZYX")
    example = Stack(image.astype(np.float32), "CZYX")
    path = export_bioimageio(denoiser, tmp_path / "volume.zip", example=example, **NAMED)
    folder = unpacked(path, tmp_path / "parts")
    noisy, clean = (np.load(folder / f"test_{name}put.npy")[0] for name in ("in", "out"))
    assert noisy.shape == (2, 8, 32, 32)
    expected = denoiser.predict(noisy, axes="CZYX", output="single-pass")
    assert np.abs(clean - expected).mean() < 0.05 * np.abs(noisy - expected).mean()


def test_a_simulated_image_stands_in_for_an_example(package, denoiser, tmp_path):
    export_bioimageio(denoiser, package, overwrite=True, **NAMED)
    folder = unpacked(package, tmp_path)
    noisy = np.load(folder / "test_input.npy")
    assert noisy.shape == (1, 1, 256, 256)
    offset = denoiser.trained.normalisation.offset[0]
    assert abs(noisy.mean() - offset) < 1e-3 * offset


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"license": "do what you like"}, "license"),
        ({"authors": [{"name": "A", "orcid": "12"}]}, "orcid"),
        ({"authors": [{"name": "A", "github_user": "b"}]}, "affiliation, email and orcid"),
        ({"name": "a/b*"}, "name"),
        ({"example": Stack(np.ones((2, 90, 90)), "CYX")}, "has 2 channels"),
        ({"example": Stack(np.ones((12, 90)), "YX")}, "at least 18×18"),
    ],
)
def test_what_cannot_be_said_of_a_model_is_refused(package, denoiser, tmp_path, changes, words):
    with pytest.raises(InputError, match=words) as caught:
        export_bioimageio(denoiser, tmp_path / "m.zip", **{**NAMED, **changes})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_target_that_cannot_be_written_is_refused(denoiser, tmp_path):
    with pytest.raises(InputError, match=r"\.zip"):
        export_bioimageio(denoiser, tmp_path / "m.tar", **NAMED)
    (tmp_path / "taken.zip").write_text("mine")
    with pytest.raises(InputError, match="already something"):
        export_bioimageio(denoiser, tmp_path / "taken.zip", **NAMED)
    assert (tmp_path / "taken.zip").read_text() == "mine"
    with pytest.raises(InputError, match="at least one author"):
        export_bioimageio(denoiser, tmp_path / "m.zip", name="Small", authors=[])
    with pytest.raises(InputError, match="not been trained"):
        export_bioimageio(Denoiser(), tmp_path / "m.zip", **NAMED)
    pytest.importorskip("bioimageio.core")
    with pytest.raises(ModelFileError, match="could not be written"):
        export_bioimageio(denoiser, tmp_path / "missing" / "m.zip", **NAMED)


def test_without_the_extra_it_is_said_how_to_get_it(denoiser, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioimageio.core", None)
    with pytest.raises(InputError, match=r"pip install .*napari-noise2self\[bioimageio\]"):
        export_bioimageio(denoiser, tmp_path / "m.zip", **NAMED)


def test_only_the_single_pass_is_exported(denoiser, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="only the single pass can be exported"):
        export_bioimageio(denoiser, tmp_path / "m.zip", output="mixed", **NAMED)
    config = TrainingConfig(
        partition=Grid(4, 3), output="j-invariant", channels=2, depth=1, epochs=0.1, crop_size=16
    )
    other = Denoiser(config).fit(np.random.default_rng(0).normal(size=(32, 32)))
    with pytest.raises(Noise2SelfError, match="j-invariant, which hides subsets"):
        export_bioimageio(other, tmp_path / "m.zip", **NAMED)
