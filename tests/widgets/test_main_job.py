"""From a noisy layer to a denoised one, with the real engine."""

from __future__ import annotations

import json
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_noise2self import Denoiser
from napari_noise2self.widgets.session import State

from .conftest import TIMEOUT, noisy, open_dock, session_of


def test_one_click_denoises(viewer, qtbot, click, wait_for):
    source = viewer.add_image(
        noisy(),
        name="cells",
        scale=(0.2, 0.1),
        translate=(5, 7),
        rotate=20,
        shear=(0.1,),
        affine=[[1, 0.1, 3], [0, 1, 4], [0, 0, 1]],
        units=("um", "um"),
        axis_labels=("y", "x"),
        colormap="magma",
        blending="additive",
        contrast_limits=(150, 450),
        gamma=0.8,
    )
    before = source.data.copy()
    dock = open_dock(viewer)
    dock.settings.controls["epochs"].setValue(3)
    click(dock, "train")
    wait_for(dock, State.DONE)

    result = viewer.layers["cells denoised"]
    assert result.data.shape == before.shape
    assert result.data.dtype == np.float32
    assert result.data.std() < before.std()
    for name in ("scale", "translate", "rotate", "shear", "contrast_limits"):
        np.testing.assert_allclose(getattr(result, name), getattr(source, name), err_msg=name)
    np.testing.assert_allclose(result.affine.affine_matrix, source.affine.affine_matrix)
    assert result.affine is not source.affine
    assert result.contrast_limits_range == source.contrast_limits_range
    for name in ("units", "axis_labels", "blending", "gamma"):
        assert getattr(result, name) == getattr(source, name), name
    assert result.colormap.name == "magma"
    info = result.metadata["noise2self"]
    assert info["complete"]
    json.dumps(info)
    np.testing.assert_array_equal(source.data, before)

    text = dock.outcome.text.text()
    assert f"{info['score']:.4g}" in text
    assert "J-invariant prediction on held-out pixels" in text
    assert "single-pass output, which they do not measure" in text
    assert dock.progress.plot is not None
    assert dock.train_button.text() == "&Train"


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (noisy((65, 131)), {}),
        (noisy((3, 64, 64)), {}),
        (noisy((8, 32, 32)), {"axis_labels": ("z", "y", "x"), "volume": True}),
        (noisy((2, 64, 64)), {"axis_labels": ("c", "y", "x")}),
        (da.from_array(noisy((2, 64, 64)), chunks=(1, 64, 64)), {}),
        (noisy().astype(np.float64) / 1e3, {}),
    ],
    ids=["odd size", "stack", "volume", "channels", "dask", "float"],
)
def test_kinds_of_images(viewer, click, wait_for, data, settings):
    settings = dict(settings)
    volume = settings.pop("volume", False)
    viewer.add_image(data, name="cells", **settings)
    dock = open_dock(viewer)
    dock.settings.controls["epochs"].setValue(2)
    dock.settings.volume.setCurrentIndex(2 * int(volume))
    click(dock, "train")
    wait_for(dock, State.DONE, State.FAILED)
    result = viewer.layers["cells denoised"]
    assert result.data.shape == data.shape
    assert np.isfinite(result.data).all()
    assert result.metadata["noise2self"]["settings"]["volume"] == volume


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_rgb_looks_like_its_source(viewer, click, wait_for, samples, kind):
    grey = noisy().astype(float) / 4
    rgb = np.stack([grey, grey / 2, grey * 1.5, np.full_like(grey, 200)][:samples], axis=-1)
    data = rgb.clip(0, 255).astype(np.uint8) if kind is np.uint8 else (rgb / 255).astype(kind)
    source = viewer.add_image(data, name="cells", rgb=True)
    dock = open_dock(viewer)
    dock.settings.controls["epochs"].setValue(3)
    click(dock, "train")
    wait_for(dock, State.DONE, State.FAILED)
    result = viewer.layers["cells denoised"]
    assert result.rgb
    assert result.data.dtype == source.data.dtype
    means = source.data.mean(axis=(0, 1))
    np.testing.assert_allclose(result.data.mean(axis=(0, 1)), means, rtol=0.15)
    np.testing.assert_array_equal(result.data[..., 3:], source.data[..., 3:])


def test_multiscale_is_denoised_at_full_resolution(viewer, click, wait_for):
    data = noisy((128, 128))
    viewer.add_image([data, data[::2, ::2]], name="cells", multiscale=True, scale=(2, 2))
    dock = open_dock(viewer)
    dock.settings.controls["epochs"].setValue(1)
    click(dock, "train")
    wait_for(dock, State.DONE, State.FAILED)
    result = viewer.layers["cells denoised"]
    assert not result.multiscale
    assert result.data.shape == data.shape
    np.testing.assert_allclose(result.scale, (2, 2))


def test_infinities_are_told(viewer, click, wait_for, notifications):
    data = noisy().astype(np.float32)
    data[3, 4], data[10, 10] = np.inf, np.nan
    viewer.add_image(data, name="cells", contrast_limits=(150, 450))
    dock = open_dock(viewer)
    dock.settings.controls["epochs"].setValue(1)
    click(dock, "train")
    wait_for(dock, State.DONE, State.FAILED)
    assert any("NaN or infinite" in told.message for told in notifications)
    assert np.isfinite(viewer.layers["cells denoised"].data).sum() >= data.size - 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.full((64, 64), 7, np.uint8), "constant"),
        (np.full((64, 64), np.nan, np.float32), "NaN"),
        (np.eye(64) > 0, "bool"),
        (np.arange(64, dtype=np.uint8).reshape(8, 8), "8 pixels"),
    ],
    ids=["constant", "all NaN", "bool", "tiny"],
)
def test_what_cannot_be_denoised_is_refused_in_a_sentence(
    viewer, click, wait_for, notifications, data, reason
):
    viewer.add_image(data, name="odd", contrast_limits=(0, 1))
    dock = open_dock(viewer)
    click(dock, "train")
    wait_for(dock, State.FAILED)
    assert [layer.name for layer in viewer.layers] == ["odd"]
    assert reason in notifications[-1].message
    assert reason in dock.outcome.text.text()
    assert dock.train_button.isEnabled()

    viewer.add_image(noisy(), name="cells")
    dock.settings.layer.setCurrentIndex(1)
    dock.settings.controls["epochs"].setValue(1)
    click(dock, "train")
    wait_for(dock, State.DONE)


def test_stop_during_start_up_and_during_training(dock, viewer, click, wait_for):
    dock.settings.controls["epochs"].setValue(10_000)
    click(dock, "train")
    click(dock, "train")  # while PyTorch or the image is being prepared
    wait_for(dock, State.IDLE, State.DONE)
    click(dock, "train")
    wait_for(dock, State.TRAINING)
    click(dock, "train")
    wait_for(dock, State.DONE)
    assert np.isfinite(viewer.layers["cells denoised"].data).all()


def test_the_model_is_saved_where_the_user_says(dock, click, wait_for, qtbot, tmp_path):
    click(dock, "train")
    wait_for(dock, State.DONE)
    click(dock, "save")
    dialog = dock.findChild(QFileDialog)
    dialog.setDirectory(str(tmp_path))
    dialog.selectFile("mine")  # without its suffix
    dialog.accept()
    saved: Path = tmp_path / "mine.safetensors"
    qtbot.waitUntil(saved.exists, timeout=TIMEOUT)
    assert Denoiser.load(saved).predict(noisy()).shape == (64, 64)
    assert session_of(dock).state is State.DONE
