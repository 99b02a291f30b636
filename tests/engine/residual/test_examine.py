"""What is said of residuals whose truth is known; benchmarks/residual.py has rates."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage

from napari_noise2self import estimate_noise
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.residual.bands import BANDS, expected_shares, split
from napari_noise2self.engine.residual.examine import examine_residual
from napari_noise2self.engine.residual.map import CELL
from napari_noise2self.stacks import samples


def scene(size=256, seed=0):
    cells = samples.cells((size, size), seed=seed).truth.astype(float)
    return 100 + 300 * (cells - cells.min()) / np.ptp(cells)


def white(size=256, seed=1, deviation=15.0):
    return np.random.default_rng(seed).normal(0, deviation, (size, size))


def blurred(size=256, seed=1, deviation=15.0, width=(0.0, 0.8)):
    noise = ndimage.gaussian_filter(white(size, seed), width, mode="wrap")
    return noise * deviation / noise.std()


def kinds(report):
    return [finding.kind for finding in report.findings]


def test_bands_add_up_to_the_image():
    image = scene(64)[None]
    assert np.allclose(sum(split(image)), image)
    assert len(split(image)) == len(BANDS)


@pytest.mark.parametrize("width", [0.7, (0, 1.0)])
def test_the_expected_share_of_each_band_is_that_of_the_noise(width):
    point = np.zeros((65, 65))
    point[32, 32] = 1
    kernel = ndimage.gaussian_filter(point, width)
    rho = ndimage.correlate(kernel, kernel, mode="constant")
    rho /= rho.max()
    shares = expected_shares([rho[33:39, 32], rho[32, 33:39]])
    noise = blurred(1024, deviation=1.0, width=width)[None]
    measured = [np.var(band) for band in split(noise)]
    assert np.allclose(shares[:4], measured[:4], rtol=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_noise_alone_is_nothing_to_tell(seed):
    truth = scene(seed=seed)
    report = examine_residual(truth + white(seed=seed), truth)
    assert report.findings == ()
    assert "looks like the noise" in report.summary
    (channel,) = report.channels
    assert channel.variance_ratio == pytest.approx(1, abs=0.15)
    assert channel.kept < 0.02
    assert not channel.correlation.significant.any()


@pytest.mark.parametrize("width", [2, 4])
def test_an_image_smoothed_away_is_found_in_the_residual_and_where(width):
    truth = scene()
    noisy = truth + white()
    report = examine_residual(noisy, ndimage.gaussian_filter(noisy, width))
    (finding,) = (f for f in report.findings if f.kind == "image")
    assert "where there is detail" in finding.sentence
    assert "train longer" in finding.remedy
    assert report.channels[0].likeness > 0.3
    # The map is high where the difference to the truth is large.
    lost = np.square(truth - ndimage.gaussian_filter(truth, width))
    cells = lost.reshape(256 // CELL, CELL, 256 // CELL, CELL).mean(axis=(1, 3))
    structure = report.map.structure[0]
    assert structure.shape == cells.shape
    assert np.median(structure[cells > np.quantile(cells, 0.95)]) > 2
    assert np.median(structure[cells < np.quantile(cells, 0.3)]) < 1.3


def test_noise_left_in_the_image_is_found():
    truth, noise = scene(), white()
    report = examine_residual(truth + noise, truth + 0.6 * noise)
    assert kinds(report) == ["noise"]
    assert report.channels[0].kept == pytest.approx(0.36, abs=0.06)
    assert np.median(report.map.variance) == pytest.approx(0.16, abs=0.04)


def test_correlated_noise_left_in_the_image_is_told_with_the_remedy():
    truth, noise = scene(), blurred()
    predicted = 0.5 * (np.roll(noise, 1, axis=1) + np.roll(noise, -1, axis=1))
    noisy = truth + noise
    assert estimate_noise(noisy).extent == (1, 5)
    report = examine_residual(noisy, truth + 0.9 * predicted)
    (finding,) = report.findings
    assert finding.kind == "correlated noise"
    assert "whiter than the noise" in finding.sentence
    assert "1×5" in finding.remedy
    assert examine_residual(noisy, truth).findings == ()


def test_correlated_noise_is_shown_by_the_maps():
    truth, noise = scene(), blurred()
    report = examine_residual(truth + noise, truth)
    assert np.median(report.map.correlation) == pytest.approx(0.34, abs=0.08)  # 0.68 along x alone
    assert np.median(report.map.structure) == pytest.approx(1, abs=0.25)


def test_a_shift_of_brightness_is_told():
    truth = scene()
    report = examine_residual(truth + white(), truth - 10)
    assert "brightness" in kinds(report)
    assert "darker" in report.findings[-1].sentence
    assert report.channels[0].mean == pytest.approx(10, abs=0.5)


def test_channels_are_examined_one_by_one():
    truth = np.stack([scene(seed=0), scene(seed=1)])
    noisy = truth + np.stack([white(seed=2), white(seed=3)])
    denoised = np.stack([truth[0], ndimage.gaussian_filter(noisy[1], 4)])
    report = examine_residual(noisy, denoised, "CYX")
    assert {finding.channel for finding in report.findings} == {1}
    assert "of channel 2" in report.findings[0].sentence


def test_bad_pixels_do_not_count():
    truth = scene()
    noisy = truth + white()
    noisy[10:14, 20:24] = np.nan
    noisy[100, 100] = 1e5
    denoised = truth.copy()
    denoised[200:, 200:] = np.nan
    report = examine_residual(noisy, denoised)
    assert report.findings == ()
    assert np.isfinite(report.map.variance).all()


def test_an_unknown_noise_is_said_to_be_unknown():
    constant = np.full((64, 64), 5.0)
    report = examine_residual(constant, constant)
    assert report.findings == ()
    assert "cannot be told" in report.summary or "too small" in report.summary
    json.dumps(report.to_json(), allow_nan=False)


def test_a_small_image_is_no_error():
    rng = np.random.default_rng(0)
    report = examine_residual(rng.normal(100, 5, (20, 20)), np.full((20, 20), 100.0))
    assert report.findings == ()


def test_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"\(64, 64\).*\(32, 64\)"):
        examine_residual(np.zeros((64, 64)), np.zeros((32, 64)))
    with pytest.raises(InputError, match="bool"):
        examine_residual(np.zeros((64, 64), bool), np.zeros((64, 64)))


def test_of_a_large_lazy_stack_little_is_read():
    read = []

    def block(block_info):
        place = block_info[None]["chunk-location"]
        read.append(place)
        return np.random.default_rng(place).normal(100, 5, (1, 512, 512)).astype(np.float32)

    noisy = da.map_blocks(
        block, chunks=((1,) * 400, (512,) * 4, (512,) * 4), dtype=np.float32, meta=np.zeros(0)
    )
    report = examine_residual(noisy, da.full_like(noisy, 100.0), frame=3)
    assert report.map.frame == 3
    assert report.findings == ()
    assert len(read) < 200  # of 6 400


def test_the_report_is_plain_json():
    truth = scene()
    report = examine_residual(truth + white(), ndimage.gaussian_filter(truth, 4))
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert plain["findings"][0]["kind"] == "image"
    assert len(plain["channels"][0]["ratios"]) == len(plain["places"])


def test_one_infinite_pixel_does_not_spoil_the_report():
    rng = np.random.default_rng(0)
    truth = np.broadcast_to(100 + 20 * np.sin(np.arange(128) / 9), (128, 128))
    noisy = rng.normal(truth, 5.0).astype(np.float32)
    denoised = truth.astype(np.float32)
    clean = examine_residual(noisy, denoised)
    noisy[5, 7] = denoised[5, 7] = np.inf
    spoiled = examine_residual(noisy, denoised)
    assert [f.kind for f in spoiled.findings] == [f.kind for f in clean.findings]
    assert "nan" not in json.dumps(spoiled.to_json()).lower()
