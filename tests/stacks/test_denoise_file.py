"""The main job from a stack to a file: what becomes of work that was interrupted or fails."""

from __future__ import annotations

import numpy as np
import pytest
from filelock import FileLock

from napari_noise2self import Denoiser, Noise2SelfError, TrainingConfig
from napari_noise2self.engine import prediction, streaming
from napari_noise2self.engine.events import Control, PredictionEvent, TrainingEvent, exhaust
from napari_noise2self.stacks import denoise_file
from napari_noise2self.stacks.denoise_file import denoise_file_events
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.targets import partial_of
from napari_noise2self.stacks.unfinished import LOCK, STATE, discard

CONFIG = TrainingConfig(
    channels=4, depth=2, crop_size=32, epochs=0.1, averaging=False, device="cpu"
)


def movie(seed):
    """Noise with empty borders, as stitched and rotated images have them."""
    data = np.zeros((2, 96, 2100), np.uint16)
    inner = data[:, 32:-32, 32:-32]
    inner[...] = np.random.default_rng(seed).poisson(100, inner.shape)
    return Stack(data, "TYX")


@pytest.fixture
def streamed(monkeypatch):
    """Everything is written region by region."""
    monkeypatch.setattr(denoise_file, "fits_in_memory", lambda size: False)
    monkeypatch.setattr(streaming, "REGION_PIXELS", 1)
    monkeypatch.setattr(streaming, "LARGEST_REGION", 1)
    for module in (prediction, streaming):
        monkeypatch.setattr(module, "INTERVAL", 0.0)


def test_a_result_is_gone_on_with_for_its_own_image_alone(tmp_path, streamed):
    target, other = tmp_path / "out.tif", movie(1)
    control = Control()
    # Predicted in several passes, so that there is something to interrupt.
    config = CONFIG.model_copy(update={"output": "j-invariant"})

    def stop(event):
        # In the second of two regions.
        if isinstance(event, PredictionEvent) and event.fraction > 0.6:
            control.stop()

    made = exhaust(denoise_file_events(movie(0), target, config, control=control), stop)
    assert not made.written.complete
    with pytest.raises(Noise2SelfError, match="begun with another image"):
        exhaust(denoise_file_events(other, target, config, resume=True))
    assert (partial_of(target) / STATE).exists()
    # Neither its pixels nor its network are taken over.
    exhaust(denoise_file_events(other, target, config, resume=True, overwrite=True))
    expected = Denoiser(config).fit(other.data, "TYX").predict(other.data, "TYX")
    expected = np.rint(expected).clip(0, None)
    np.testing.assert_array_equal(np.asarray(read(target).data), expected)


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_was_learned_outlives_a_result_that_cannot_be_written(
    tmp_path, in_memory, monkeypatch
):
    monkeypatch.setattr(denoise_file, "fits_in_memory", lambda size: in_memory)
    target = tmp_path / "out.tif"

    def take_the_name(event):
        if isinstance(event, TrainingEvent):
            target.write_bytes(b"somebody else's")

    made = exhaust(denoise_file_events(movie(0), target, CONFIG), take_the_name)
    assert "exists" in str(made.error)
    assert made.denoiser.predict(movie(0).data, "TYX").shape == (2, 96, 2100)
    assert target.read_bytes() == b"somebody else's"
    assert not list(tmp_path.glob("*.writing"))


def test_an_unfinished_result_is_removed_unless_somebody_writes_it(tmp_path):
    folder = partial_of(tmp_path / "out.tif")
    folder.mkdir()
    (folder / STATE).write_text("{}")
    with FileLock(folder / LOCK):
        discard(tmp_path / "out.tif")
        assert (folder / STATE).exists()
    discard(tmp_path / "out.tif")
    assert not folder.exists()
