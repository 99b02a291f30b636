from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest

import napari_noise2self as n2s
from napari_noise2self.engine import preparation, spread
from napari_noise2self.engine.bad_pixels import find_bad
from napari_noise2self.engine.errors import DeviceError, InputError
from napari_noise2self.engine.events import Control, Notice, PredictionEvent, TrainingEvent
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.pipeline import denoise_events
from napari_noise2self.engine.preparation import prepare
from tests.engine.conftest import SIGMA

CONFIG = n2s.TrainingConfig(channels=4, depth=2, crop_size=32, epochs=1, device="cpu")


@pytest.fixture
def run(listen):
    def run(image, axes=None, config=CONFIG, **options):
        return listen(denoise_events(image, axes=axes, config=config, **options))

    return run


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(100, 10, shape)


@pytest.mark.parametrize(
    ("shape", "axes", "volume"),
    [
        ((64, 64), None, False),
        ((65, 131), None, False),
        ((16, 200), None, False),
        ((3, 40, 33), None, False),
        ((40, 33, 3), "YXS", False),
        ((2, 3, 2, 24, 32), "TZCYX", False),
        ((5, 32, 40), "ZYX", True),
        ((2, 24, 24), "ZYX", True),
        ((2, 3, 24, 24), "TZYX", True),
    ],
)
def test_any_axes_come_back_in_their_shape(shape, axes, volume, run):
    config = CONFIG.model_copy(update={"volume": volume, "epochs": 0.3})
    _, result = run(noise(*shape), axes, config)
    assert result.image.shape == shape
    assert result.image.dtype == np.float32
    assert np.isfinite(result.image).all()
    assert result.complete


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "uint32", "int64", "float16", "float32", "float64", ">u2"]
)
def test_every_numeric_type_keeps_its_grey_values(dtype):
    image = noise(48, 48).astype(dtype)
    result = n2s.denoise(image, epochs=1, device="cpu")
    assert result.dtype == np.float32
    assert abs(float(result.mean()) - float(image.mean())) < 6


def test_offset_and_gain_only_offset_and_scale_the_result(run):
    image = noise(48, 48)
    plain = run(image)[1].image
    moved = run(image * 1e-3 + 1e4)[1].image
    np.testing.assert_allclose((moved - 1e4) / 1e-3, plain, atol=2)


def test_the_info_says_how_it_was_made_and_is_json(run):
    _, result = run(noise(48, 48))
    info = json.loads(json.dumps(result.info, allow_nan=False))
    assert info["partition"] == {"kind": "grid", "width": [2, 2], "extent": [1, 1]}
    assert (info["network"], info["output"], info["axes"]) == ("unet", "single-pass", "ZYX"[1:])
    assert info["score"] == pytest.approx(100, rel=0.5)
    assert info["steps"] > 0
    assert info["epochs"] == pytest.approx(1, abs=0.2)
    # With what was left open settled.
    used = CONFIG.model_copy(update={"channel_use": "together"})
    assert n2s.TrainingConfig(**info["settings"]) == used


def test_events_tell_the_way_from_start_to_end(run):
    events, _ = run(noise(64, 64))
    kinds = [type(event) for event in events]
    assert kinds.index(PredictionEvent) > max(
        i for i, kind in enumerate(kinds) if kind is TrainingEvent
    )
    fractions = [e.fraction for e in events if isinstance(e, PredictionEvent)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert any(e.score is not None for e in events if isinstance(e, TrainingEvent))
    with pytest.raises(AttributeError):
        events[0].step = 3


def test_the_preview_is_the_result_array_itself(listen):
    stack = noise(3, 48, 48)
    out = np.full(stack.shape, np.nan, np.float32)
    config = CONFIG.model_copy(update={"epochs": 3.0})
    generator = denoise_events(stack, config=config, control=Control(1), out=out)
    for event in generator:
        if isinstance(event, TrainingEvent) and event.frame is not None:
            break
    assert event.frame == 1
    assert np.isfinite(out[1]).all()
    assert np.isnan(out[[0, 2]]).all()
    events, result = listen(generator)
    assert result.image is out
    frames = [e.frame for e in events if isinstance(e, PredictionEvent) and e.frame is not None]
    # The frame in view is finished first.
    assert frames == [1, 0, 2]
    assert np.isfinite(out).all()


@pytest.mark.parametrize("settings", [{"volume": True}, {"context": 1}])
def test_of_a_volume_the_slice_in_view_is_previewed(settings):
    stack = noise(6, 48, 48)
    out = np.full(stack.shape, np.nan, np.float32)
    config = CONFIG.model_copy(update={"epochs": 3.0, **settings})
    control = Control(0)
    control.preview_depth = 4
    generator = denoise_events(stack, axes="ZYX", config=config, control=control, out=out)
    for event in generator:
        if isinstance(event, TrainingEvent) and event.frame is not None:
            break
    generator.close()
    assert np.isfinite(out[4]).all()
    assert np.isnan(np.delete(out, 4, 0)).all()


def test_a_stop_in_training_still_denoises_and_a_second_one_ends_that(listen):
    stack = noise(3, 48, 48)
    control = Control()
    # Longer than anything that comes before the first event.
    config = CONFIG.model_copy(update={"epochs": 1000.0})
    generator = denoise_events(stack, config=config, control=control)
    next(generator)
    control.stop()

    def stop_again(event):
        if isinstance(event, PredictionEvent) and event.frame == 0:
            control.stop()

    events, result = listen(generator, stop_again)
    assert any("was stopped" in event.message for event in events if isinstance(event, Notice))
    assert not result.complete
    assert not result.info["complete"]
    assert np.isfinite(result.image[0]).all()
    assert np.isnan(result.image[1:]).all()


def test_a_stop_before_anything_was_learned_has_no_result(run):
    control = Control()
    control.stop()
    assert run(noise(48, 48), control=control) == ([], None)


def test_missing_values_stay_and_do_not_spread(run):
    image = noise(64, 64)
    image[5:9, 7] = np.nan
    image[30, 30] = np.inf
    events, result = run(image)
    missing = ~np.isfinite(image)
    np.testing.assert_array_equal(result.image[missing], image[missing].astype(np.float32))
    assert np.isfinite(result.image[~missing]).all()
    assert any("5 pixels are NaN" in e.message for e in events if isinstance(e, Notice))


def test_one_pixel_is_one_pixel(run):
    image = noise(64, 64)
    image[5, 7] = np.nan
    image[30, 30] = 1e4
    told = [e.message for e in run(image)[0] if isinstance(e, Notice)]
    assert any(said.startswith("1 pixel is NaN or infinite: it was") for said in told)
    assert any(said.startswith("1 hot pixel was found: it was") for said in told)


def test_hot_pixels_are_found_and_replaced_but_the_image_of_a_point_is_kept(run):
    image = noise(64, 64)
    image[20, 20] = 60_000
    events, result = run(image.astype(np.uint16))
    assert any("1 hot pixel was" in e.message for e in events if isinstance(e, Notice))
    assert result.image[20, 20] < 200
    y, x = np.mgrid[-32:32, -32:32]
    point = image * 0 + 100 + 5000 * np.exp(-(y**2 + x**2) / 2 / 0.8**2)
    assert not find_bad(point[None])[1].any()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.ones((32, 32)), "constant"),
        (np.zeros((32, 32), np.uint8), "constant"),
        (np.full((32, 32), np.nan), "NaN"),
        (np.full((32, 32), np.inf), "NaN or infinite"),
        (np.ones((32, 32), bool), "bool"),
        (np.ones((32, 32), complex), "complex"),
        (np.full((32, 32), "a"), "type"),
        (np.float64(3), "at least two axes"),
        (np.ones(50), "at least two axes"),
        (np.ones((32, 0)), "at least one pixel"),
        (noise(32, 9), "9 pixels along X"),
        (noise(1, 9), "only 1 pixel along Y and 9 pixels along X"),
        (noise(8, 9), "8 pixels along Y and 9 pixels along X"),
        (noise(32, 32) * 1e300, "too large"),
    ],
)
def test_what_cannot_be_denoised_is_refused_in_one_sentence(image, words):
    with pytest.raises(InputError, match=words) as caught:
        n2s.denoise(image, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_grid_too_wide_for_the_image_is_refused():
    with pytest.raises(InputError, match="at most 32"):
        n2s.denoise(noise(32, 32), partition=n2s.Grid(40))


def test_a_missing_device_is_refused():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceError, match="'cuda' was asked for"):
        n2s.denoise(noise(32, 32), device="cuda")


def test_dask_in_dask_out():
    image = da.from_array(noise(2, 32, 32), chunks=(1, 16, 32))
    lazy = n2s.denoise(image, epochs=0.5, device="cpu")
    assert isinstance(lazy, da.Array)
    assert np.isfinite(lazy.compute(scheduler="synchronous")).all()


def test_the_source_is_never_changed(run):
    image = noise(48, 48)
    image[3, 3] = np.nan
    before = image.copy()
    run(image)
    np.testing.assert_array_equal(image, before)


def test_frames_share_one_normalisation_so_bleaching_survives(run):
    stack = np.stack([noise(64, 64, seed=i) * f for i, f in enumerate((1.0, 0.7, 0.5))])
    config = CONFIG.model_copy(update={"epochs": 10.0})
    _, result = run(stack, config=config)
    np.testing.assert_allclose(result.image.mean(axis=(1, 2)), stack.mean(axis=(1, 2)), rtol=0.02)


def test_a_large_stack_is_represented_by_blocks_from_all_of_it(monkeypatch):
    monkeypatch.setattr(preparation, "MAX_TRAINING_PIXELS", 8 * 32 * 32)
    monkeypatch.setitem(spread.BLOCK_SHAPES, 2, (32, 32))
    image = noise(10, 70, 64)
    read = []

    class Spy:
        shape, dtype = image.shape, image.dtype

        def __getitem__(self, index):
            part = image[index]
            read.append((index[0], part.size))
            return part

    data = prepare([(Spy(), Layout.of(image.shape))])
    assert data is not None
    assert len({block.origin for block in data.blocks}) >= 5
    assert sum(size for _, size in read) <= 8 * 32 * 32
    frames = [frame for frame, _ in read]
    assert min(frames) <= 1
    assert max(frames) >= 8
    assert data.pixels == image.size
    for (frame, _), block in zip(read, data.blocks, strict=True):
        y, x = block.origin
        part = image[frame, y : y + 32, x : x + 32][None]
        np.testing.assert_allclose(data.normalisation.invert(block.values), part, rtol=1e-5)


def test_the_blocks_of_a_long_movie_come_from_everywhere():
    # As many places as frames would be in step with each other.
    layout = Layout.of((256, 2048, 2048))
    regions = spread.spread_blocks(layout, 2**26)
    assert len({str(region) for _, region in regions}) == 4
    assert len({frame for frame, _ in regions}) == len(regions) == 64
    assert spread.spread_blocks(layout, 2**26) == regions


@pytest.mark.parametrize(("count", "axes"), [(20, "YX"), (200, "YX"), (20, "CYX"), (20, "ZYX")])
def test_many_images_take_no_more_memory_than_few(monkeypatch, count, axes):
    monkeypatch.setattr(preparation, "MAX_TRAINING_PIXELS", 2**19)
    shape = {"YX": (400, 300), "CYX": (2, 200, 300), "ZYX": (12, 150, 160)}[axes]
    image = noise(*shape)
    layout = Layout.of(shape, axes, volume=axes == "ZYX")
    data = prepare([(image, layout)] * count)
    assert data is not None
    assert len(data.blocks) >= 4
    assert sum(block.values.size for block in data.blocks) <= 2**19
    assert all(n >= 128 for block in data.blocks for n in block.values.shape[-2:])
    assert data.pixels == count * image.size // layout.channels


def test_channels_and_depth_count_towards_the_memory_of_training():
    for shape, axes in (((1000, 2048, 2048), "ZYX"), ((10, 8, 2048, 2048), "TCYX")):
        layout = Layout.of(shape, axes, volume=axes == "ZYX")
        regions = spread.spread_blocks(layout, 2**26 // layout.channels)
        pixels = sum(np.prod([part.stop - part.start for part in region]) for _, region in regions)
        assert 2**25 <= pixels * layout.channels <= 2**26


def test_lone_photons_are_not_hot_pixels():
    counts = np.random.default_rng(0).poisson(0.0005, (1, 512, 512))
    assert not find_bad(counts)[1].any()


def test_a_single_slice_is_no_volume():
    with pytest.raises(InputError, match="slice by slice"):
        n2s.denoise(noise(1, 32, 32), volume=True)


def test_an_unknown_output_is_refused():
    denoiser = n2s.Denoiser(CONFIG).fit(noise(32, 32))
    with pytest.raises(InputError, match="'singlepass': use one of auto, single-pass"):
        denoiser.predict(noise(32, 32), output="singlepass")


def test_a_source_that_cannot_be_read_is_told():
    class Gone:
        shape, dtype = (32, 32), np.dtype(float)

        def __getitem__(self, index):
            raise OSError("the network drive is away")

    with pytest.raises(InputError, match="network drive is away"):
        n2s.denoise(Gone())


def test_a_default_of_double_precision_does_no_harm():
    import torch

    torch.set_default_dtype(torch.float64)
    try:
        assert run_once().dtype == np.float32
    finally:
        torch.set_default_dtype(torch.float32)


def run_once():
    return n2s.Denoiser(CONFIG).fit(noise(32, 32)).predict(noise(32, 32))


def test_a_failure_while_denoising_keeps_what_was_learned_and_done(run, monkeypatch):
    stack = noise(3, 32, 32)
    whole = preparation.Frame.of.__func__

    def fails_late(cls, image, layout, normalisation, frame, *rest):
        if frame == 2:
            raise RuntimeError("CUDA error: the device went away")
        return whole(cls, image, layout, normalisation, frame, *rest)

    monkeypatch.setattr(preparation.Frame, "of", classmethod(fails_late))
    _, result = run(stack)
    assert not result.complete
    assert "went away" in str(result.error)
    assert np.isfinite(result.image[:2]).all()
    assert np.isnan(result.image[2]).all()
    monkeypatch.undo()
    assert np.isfinite(result.denoiser.predict(stack)).all()


def test_the_library_raises_a_failure_while_denoising(monkeypatch):
    def fails(*arguments):
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(preparation.Frame, "of", fails)
    with pytest.raises(n2s.Noise2SelfError, match="CUDA error"):
        n2s.denoise(noise(32, 32), epochs=1, device="cpu")


def test_a_stop_is_heard_between_the_reads_of_a_large_stack(run):
    control = Control()
    image = noise(50, 32, 32)
    read = []

    class Slow:
        shape, dtype = image.shape, image.dtype

        def __getitem__(self, index):
            read.append(index)
            control.stop()
            return image[index]

    assert run(Slow(), control=control) == ([], None)
    assert len(read) == 1


def test_where_nobody_listens_notices_are_logged(caplog):
    image = noise(64, 64)
    image[5, 5] = np.nan
    n2s.denoise(image, device="cpu", epochs=0.2)
    assert "NaN" in caplog.text
    caplog.clear()
    n2s.Denoiser(CONFIG).fit(image, progress=lambda _: None)
    assert caplog.text == ""


def test_a_score_speaks_of_the_noise_of_its_image(trained, truth):
    noisier = truth + np.random.default_rng(2).normal(0, 3 * SIGMA, truth.shape)
    score = trained.score(noisier)
    assert score.noise_variance == pytest.approx(9 * SIGMA**2, rel=0.25)
