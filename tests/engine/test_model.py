from __future__ import annotations

import copy
import errno
import os
import pickle
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from napari_noise2self import Denoiser, Grid, TrainingConfig, psnr
from napari_noise2self.engine import trained as trained_module
from napari_noise2self.engine.errors import DeviceError, InputError, ModelFileError


@pytest.fixture(scope="module")
def quick():
    return TrainingConfig(channels=4, depth=2, crop_size=32, epochs=1, device="cpu")


def test_a_loaded_model_predicts_bit_identically(trained, noisy, tmp_path):
    path = tmp_path / "model.safetensors"
    trained.save(path)
    loaded = Denoiser.load(path, device="cpu")
    for output in ("single-pass", "j-invariant"):
        np.testing.assert_array_equal(
            loaded.predict(noisy, output=output), trained.predict(noisy, output=output)
        )
    assert loaded.summary == trained.summary
    assert loaded.config == trained.config
    assert loaded.score(noisy) == trained.score(noisy)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_model_of_the_dncnn_keeps_its_running_statistics(noisy, tmp_path):
    config = TrainingConfig(network="dncnn", crop_size=16, batch_size=1, epochs=0.02, device="cpu")
    denoiser = Denoiser(config).fit(noisy[:32, :32])
    denoiser.save(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    np.testing.assert_array_equal(
        loaded.predict(noisy[:32, :32]), denoiser.predict(noisy[:32, :32])
    )


def test_a_warm_start_goes_on_from_what_was_learned(trained, noisy, truth):
    denoiser = Denoiser(TrainingConfig(device="cpu"))
    with pytest.raises(InputError, match="not been trained"):
        denoiser.fit(noisy, warm_start=True)
    denoiser._trained = trained.trained
    before = copy.deepcopy(trained.trained.network.state_dict())
    denoiser.config = trained.config.model_copy(update={"epochs": 0.05})
    denoiser.fit(noisy, warm_start=True)
    assert denoiser.summary["steps"] <= 5
    # Whoever else has the network keeps it as it was.
    for name, value in trained.trained.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    learned = psnr(truth, denoiser.predict(noisy), data_range=255)
    anew = Denoiser(denoiser.config).fit(noisy)
    assert learned > psnr(truth, anew.predict(noisy), data_range=255) + 1
    with pytest.raises(InputError, match="1 channel and"):
        denoiser.fit(np.stack([noisy, noisy]), "CYX", warm_start=True)


def test_a_network_of_ones_own_is_trained_saved_and_loaded(noisy, truth, tmp_path):
    def blur():
        return nn.Sequential(
            nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 5, padding=2)
        )

    config = TrainingConfig(crop_size=64, epochs=40, learning_rate=1e-2, device="cpu")
    denoiser = Denoiser(config, blur()).fit(noisy)
    assert denoiser.summary["network"] == "custom"
    result = denoiser.predict(noisy)
    assert psnr(truth, result, data_range=255) > psnr(truth, noisy, data_range=255) + 3
    denoiser.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="pass it as"):
        Denoiser.load(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu", network=blur())
    np.testing.assert_array_equal(loaded.predict(noisy), result)


def test_images_of_different_sizes_train_one_network(noisy, quick):
    denoiser = Denoiser(quick).fit([noisy, noisy[:40, :50]])
    assert denoiser.predict(noisy[:33, :70]).shape == (33, 70)


def test_images_with_different_channels_do_not(noisy, quick):
    with pytest.raises(InputError, match="1 and 2 channels"):
        Denoiser(quick).fit([noisy[None], np.stack([noisy, noisy])], axes="CYX")


def test_dask_in_dask_out_frame_by_frame(noisy, quick):
    stack = np.stack([noisy, noisy[::-1]])
    denoiser = Denoiser(quick).fit(da.from_array(stack, chunks=(1, 30, 40)))
    lazy = denoiser.predict(da.from_array(stack, chunks=(2, 50, 50)))
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == (stack.shape, np.float32)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), denoiser.predict(stack))


def test_large_data_is_averaged_over_fewer_flips(noisy, quick, monkeypatch):
    config = quick.model_copy(update={"output": "single-pass"})
    denoiser = Denoiser(config).fit(noisy)
    full = denoiser.predict(noisy)
    monkeypatch.setattr(trained_module, "FULL_AVERAGING_PIXELS", noisy.size)
    stack = np.stack([noisy, noisy])
    fewer = denoiser.predict(stack)
    np.testing.assert_array_equal(denoiser.predict(noisy), full)
    assert not np.array_equal(fewer[0], full)
    lazy = denoiser.predict(da.from_array(stack))
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), fewer)


def test_the_output_follows_the_partition(noisy, quick):
    wide = Denoiser(quick.model_copy(update={"partition": Grid(4, extent=3)})).fit(noisy)
    asked = Denoiser(quick.model_copy(update={"output": "j-invariant"})).fit(noisy)
    assert wide.resolved_output() == "mixed"
    assert asked.resolved_output() == "j-invariant"
    assert wide.resolved_output("single-pass") == "single-pass"


def test_an_untrained_denoiser_says_so(noisy, tmp_path):
    for call in (
        lambda d: d.predict(noisy),
        lambda d: d.score(noisy),
        lambda d: d.save(tmp_path / "m.safetensors"),
    ):
        with pytest.raises(InputError, match="not been trained"):
            call(Denoiser())


def test_an_image_with_other_channels_is_refused(trained, noisy):
    with pytest.raises(InputError, match="has 2 channels, but the model was trained on 1"):
        trained.predict(np.stack([noisy, noisy]), axes="CYX")


def test_one_channel_is_one_channel(noisy):
    config = TrainingConfig(channels=4, crop_size=16, batch_size=1, epochs=0.02, device="cpu")
    model = Denoiser(config).fit(np.stack([noisy, noisy]), axes="CYX")
    with pytest.raises(InputError, match="has 1 channel, but the model was trained on 2"):
        model.predict(noisy)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def strangers(folder):
    (folder / "text.safetensors").write_text("hello")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "pickle.safetensors").write_bytes(pickle.dumps(Evil()))
    safetensors.torch.save_file({"a": torch.zeros(3)}, folder / "other.safetensors")
    safetensors.torch.save_file(
        {"a": torch.zeros(3)}, folder / "json.safetensors", metadata={"noise2self": "[1]"}
    )
    (folder / "folder.safetensors").mkdir()
    return sorted(folder.iterdir())


def test_a_file_that_is_no_model_is_refused_without_running_it(tmp_path, capsys):
    for path in strangers(tmp_path):
        with pytest.raises(ModelFileError, match=path.name):
            Denoiser.load(path)
    with pytest.raises(ModelFileError, match="no model file"):
        Denoiser.load(tmp_path / "missing.safetensors")
    assert capsys.readouterr().out == ""


def test_a_truncated_model_is_refused(trained, tmp_path):
    path = tmp_path / "m.safetensors"
    trained.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="damaged"):
        Denoiser.load(path)


def test_a_model_that_cannot_be_written_leaves_nothing(trained, tmp_path):
    with pytest.raises(ModelFileError, match="could not be written") as caught:
        trained.save(tmp_path / "missing" / "m.safetensors")
    assert f"there is no folder {tmp_path / 'missing'}. Choose" in str(caught.value)
    (tmp_path / "taken").mkdir()
    with pytest.raises(ModelFileError, match=r"could not be written to .*that is a folder"):
        trained.save(tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full. Make room"),
        (errno.EDQUOT, "the disk is full. Make room"),
        (errno.EACCES, "you may not write there"),
        (errno.EROFS, "you may not write there"),
        (errno.EIO, "input/output error"),
    ],
)
def test_why_a_model_could_not_be_written_is_said_in_words(
    trained, tmp_path, monkeypatch, number, words
):
    def write_bytes(path, content):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(ModelFileError) as caught:
        trained.save(tmp_path / "m.safetensors")
    said = str(caught.value)
    assert words in said
    assert "Errno" not in said
    assert ".partial" not in said


def test_a_file_in_the_place_of_the_folder_is_named(trained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match=r"there is no folder .*file\. Choose"):
        trained.save(tmp_path / "file" / "m.safetensors")


def test_the_custom_network_must_be_given():
    with pytest.raises(InputError, match=r"torch\.nn\.Module"):
        Denoiser(TrainingConfig(network="custom"))


def test_a_network_that_cannot_work_is_refused_before_training(noisy, quick):
    with pytest.raises(InputError, match="no parameters"):
        Denoiser(quick, nn.Identity())
    with pytest.raises(InputError, match="must return the shape"):
        Denoiser(quick, nn.Conv2d(1, 3, 3, padding=1)).fit(noisy)
    with pytest.raises(InputError, match=r"fails on a tensor of shape \(1, 1, 32, 32\) \(KeyError"):
        Denoiser(quick, Clumsy()).fit(noisy)


class Clumsy(nn.Conv2d):
    """A network with an error of its own."""

    def __init__(self):
        super().__init__(1, 1, 3, padding=1)

    def forward(self, image):
        return {}[image.shape]


def test_weights_that_are_used_twice_are_saved(noisy, quick, tmp_path):
    def tied():
        first = nn.Conv2d(1, 1, 3, padding=1)
        second = nn.Conv2d(1, 1, 3, padding=1)
        second.weight = first.weight
        return nn.Sequential(first, second)

    denoiser = Denoiser(quick, tied()).fit(noisy)
    denoiser.save(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu", network=tied())
    np.testing.assert_array_equal(loaded.predict(noisy), denoiser.predict(noisy))


def test_images_of_different_axes_train_one_model(noisy, quick):
    images = [noisy, np.stack([noisy, noisy]), noisy[:, None]]
    denoiser = Denoiser(quick.model_copy(update={"epochs": 0.01}))
    denoiser.fit(images, axes=["YX", "TYX", "YCX"])
    assert denoiser.predict(images[1]).shape == images[1].shape
    with pytest.raises(InputError, match="axes for 2 images, but 3 images"):
        denoiser.fit(images, axes=["YX", "TYX"])


def test_what_a_loaded_model_learned_from_does_not_bind_it(noisy, quick, tmp_path):
    other = noisy[::-1].copy()
    denoiser = Denoiser(quick).fit(noisy, target=other)
    assert denoiser.summary["objective"] == "n2n"
    denoiser.save(tmp_path / "m.safetensors")
    loaded = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    assert loaded.fit(noisy, warm_start=True).summary["objective"] == "n2s"
    loaded.save(tmp_path / "m.safetensors")
    again = Denoiser.load(tmp_path / "m.safetensors", device="cpu")
    assert again.fit(noisy, target=other, warm_start=True).summary["objective"] == "n2n"


def test_a_device_that_nobody_knows_is_not_a_damaged_file(trained, tmp_path):
    trained.save(tmp_path / "m.safetensors")
    with pytest.raises(DeviceError, match="'gpu' is unknown"):
        Denoiser.load(tmp_path / "m.safetensors", device="gpu")


def test_a_network_that_returns_no_tensor_is_refused(noisy, quick):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return self.layer(x), x

    with pytest.raises(InputError, match="returns a tuple"):
        Denoiser(quick, Pair()).fit(noisy)
