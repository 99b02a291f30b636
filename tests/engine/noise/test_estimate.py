"""What is said about noise that is known; benchmarks/noise.py has rates over many images."""

from __future__ import annotations

import json

import dask.array as da
import imagecodecs
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_noise2self import estimate_noise
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.noise.correlation import AxisCorrelation
from napari_noise2self.engine.noise.level import difference_gain
from napari_noise2self.engine.noise.line import clipped_moments
from napari_noise2self.engine.partition import Grid
from napari_noise2self.stacks import samples


def nuclei(size=256, seed=0):
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size))
    y, x = np.ogrid[:size, :size]
    for _ in range(size * size // 4000):
        (cy, cx), radius = rng.uniform(0, size, 2), rng.uniform(8, 18)
        inside = 1 / (1 + np.exp(np.clip(np.hypot(y - cy, x - cx) - radius, -30, 30)))
        image = np.maximum(image, rng.uniform(0.3, 1) * inside)
    return image


def thin_lines(size=256, seed=0):
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size))
    image[rng.integers(0, size, size // 30)] = 1
    image[:, rng.integers(0, size, size // 30)] = 1
    return ndimage.gaussian_filter(image, 0.7)


def cells(size=256, seed=0):
    truth = samples.cells((size, size), seed=seed).truth.astype(float)
    return (truth - truth.min()) / np.ptp(truth)


def photograph(name):
    return lambda: getattr(skimage.data, name)()[:256, :256] / 255


SCENES = {
    "flat": lambda: np.full((256, 256), 0.5),
    "nuclei": nuclei,
    "lines": thin_lines,
    "cells": cells,
    **{name: photograph(name) for name in ("camera", "brick", "grass", "gravel")},
}


def blurred(shape, blur, seed=0):
    noise = ndimage.gaussian_filter(
        np.random.default_rng(seed).normal(size=shape), blur, mode="wrap"
    )
    return noise / noise.std()


def eight_bit(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("deviation", [0.5, 5, 20, 100])
def test_white_noise_is_not_called_correlated(scene, deviation):
    truth = 50 + 150 * SCENES[scene]()
    noisy = truth + np.random.default_rng(1).normal(0, deviation, truth.shape)
    assert not estimate_noise(noisy).correlated
    assert not estimate_noise(eight_bit(noisy - 50)).correlated  # clipped at black


@pytest.mark.parametrize("photons", [1, 10, 100, 1000])
def test_nor_are_counted_photons(photons):
    report = estimate_noise(np.random.default_rng(2).poisson(photons * nuclei()).astype("uint16"))
    assert not report.correlated
    assert report.suggestion.partition == Grid(2)
    assert report.suggestion.output == "single-pass"


@pytest.mark.parametrize("scene", ["flat", "nuclei", "cells", "camera"])
@pytest.mark.parametrize("blur", [0.5, 0.7, 1.0])
def test_blurred_noise_is_found_along_both_axes(scene, blur):
    truth = 50 + 150 * SCENES[scene]()
    report = estimate_noise(truth + 40 * blurred(truth.shape, blur))
    assert all(axis.correlated for axis in report.channels[0].correlation.values())
    assert min(report.extent) >= 3
    partition = report.suggestion.partition
    assert partition.extents(2) == report.extent
    assert all(w > e for w, e in zip(partition.widths(2), report.extent, strict=True))
    assert report.suggestion.output in ("single-pass", "j-invariant")


@pytest.mark.parametrize("scene", ["flat", "nuclei", "cells", "brick"])
@pytest.mark.parametrize("transposed", [False, True])
def test_noise_along_rows_is_found_along_rows_only(scene, transposed):
    truth = 50 + 150 * SCENES[scene]()
    image = truth + 40 * blurred(truth.shape, (0, 0.6))
    report = estimate_noise(image.T if transposed else image)
    found = [axis.correlated for axis in report.channels[0].correlation.values()]
    assert found == [transposed, not transposed]
    extent = (report.extent[0], 1) if transposed else (1, report.extent[1])
    assert report.extent == extent
    assert max(extent) >= 3


def test_the_correlation_itself_is_measured_with_its_error():
    report = estimate_noise(100 + 20 * blurred((512, 512), (0, 0.7)))
    kernel = ndimage.gaussian_filter1d(np.eye(1, 33, 16)[0], 0.7)
    truth = np.correlate(kernel, kernel, "full")[32:]
    truth /= truth[0]
    axis = report.channels[0].correlation["X"]
    for lag in (1, 2, 3):
        assert abs(axis.rho[lag - 1] - truth[lag]) < 4 * axis.error[lag - 1] + 0.01
    assert axis.extent == 5


def test_anticorrelated_noise_is_found():
    white = np.random.default_rng(3).normal(0, 10, (256, 257))
    report = estimate_noise(200 + nuclei() * 20 + white[:, 1:] - 0.5 * white[:, :-1])
    axis = report.channels[0].correlation["X"]
    assert axis.correlated
    assert axis.rho[0] == pytest.approx(-0.4, abs=0.05)
    assert not report.channels[0].correlation["Y"].correlated


def camera_image(photons, gain=2.0, offset=100.0, read_noise=6.0, seed=0, size=512):
    rng = np.random.default_rng(seed)
    signal = photons * nuclei(size, seed)
    electrons = rng.poisson(signal) + rng.normal(0, read_noise / gain, signal.shape)
    truth = offset + gain * signal
    image = np.clip(np.rint(offset + gain * electrons), 0, 65535).astype(np.uint16)
    return image, truth, gain * (truth - offset) + read_noise**2


def test_the_camera_is_recovered():
    image, truth, variance = camera_image(60)
    report = estimate_noise(image)
    (channel,) = report.channels
    assert channel.gain == pytest.approx(2, rel=0.1)
    assert channel.offset == pytest.approx(100, abs=2)
    assert channel.read_noise == pytest.approx(6, rel=0.15)
    assert channel.mean_variance == pytest.approx(variance.mean(), rel=2 * report.variance_error)
    assert report.variance_error < 0.2
    assert np.median(report.variance(truth) / variance) == pytest.approx(1, rel=0.1)
    assert report.suggestion.transformation == "none"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("scene", "deviation"), [("nuclei", 3), ("grass", 20), ("lines", 10)])
def test_the_error_of_the_variance_covers_structure(scene, deviation, seed):
    truth = 50 + 150 * SCENES[scene]()
    noisy = truth + np.random.default_rng(seed).normal(0, deviation, truth.shape)
    report = estimate_noise(noisy)
    estimate = report.channels[0].mean_variance
    assert abs(estimate - deviation**2) <= 2 * report.variance_error * estimate


@pytest.mark.parametrize("photons", [1, 10, 40])
@pytest.mark.parametrize("centre", [32, 48])
def test_in_a_small_image_bright_light_has_its_share_in_the_variance(photons, centre):
    y, x = np.ogrid[:64, :64]
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=(64, 64)), 2)
    nucleus = (np.hypot(y - centre, x - centre) < 18) * (1 + 0.3 * texture / texture.std())
    light = np.maximum(ndimage.gaussian_filter(nucleus, 1.2), 0) + 0.05
    light *= photons / light.mean()
    noise = 2.1 * (rng.poisson(light) - light + rng.normal(0, 1, light.shape))
    channel = estimate_noise(2.1 * light + 100 + noise).channels[0]
    assert abs(channel.mean_variance / np.var(noise) - 1) <= 2 * channel.variance_error


def test_the_variance_of_flat_noise_is_not_biased():
    found = [
        estimate_noise(np.random.default_rng(seed).normal(50, 5, (64, 64))).channels[0]
        for seed in range(40)
    ]
    assert np.mean([channel.mean_variance for channel in found]) == pytest.approx(25, rel=0.02)


def test_the_variance_of_correlated_noise_is_not_underestimated():
    report = estimate_noise(300 + 100 * nuclei(512) + 30 * blurred((512, 512), 0.8))
    assert report.channels[0].mean_variance == pytest.approx(900, rel=0.25)


def test_clipped_noise_varies_less_than_the_line():
    rng = np.random.default_rng(4)
    truth = 200 * nuclei(512) - 4
    image = eight_bit(truth + rng.normal(0, 10, truth.shape))
    again = eight_bit(truth + rng.normal(0, 10, truth.shape))
    report = estimate_noise(image)
    (channel,) = report.channels
    assert channel.clipped_low > 0.2
    variance = np.mean((image.astype(float) - again) ** 2) / 2
    assert channel.mean_variance == pytest.approx(variance, rel=2 * report.variance_error)
    assert report.variance(1.0) < 0.6 * report.variance(100.0)


def test_the_variance_is_never_negative():
    report = estimate_noise(np.random.default_rng(5).poisson(20 * nuclei()).astype(float))
    variance = report.variance(np.linspace(-1e6, 1e6, 1001))
    assert variance.dtype == np.float64
    assert (variance >= 0).all()


def test_bad_pixels_are_counted():
    rng = np.random.default_rng(6)
    image = rng.normal(1000, 10, (256, 256))
    image[10, 20] = image[100, 101] = 60000
    image[30, 40] = image[200, 7] = image[77, 200] = 0
    image[50, 60] = np.nan
    (channel,) = estimate_noise(image).channels
    assert channel.hot * image.size == 2
    assert channel.dead * image.size == 3
    assert channel.missing * image.size == 1
    assert channel.mean_variance == pytest.approx(100, rel=0.1)


def test_frames_that_show_the_same_are_compared_with_each_other():
    rng = np.random.default_rng(7)
    frames = 200 * SCENES["gravel"]() + rng.normal(0, 5, (6, 256, 256))
    assert not estimate_noise(frames[0]).known
    report = estimate_noise(frames)
    (channel,) = report.channels
    assert channel.from_frames
    assert channel.mean_variance == pytest.approx(25, rel=0.1)
    assert not report.correlated


def test_a_fixed_pattern_is_seen_in_a_scene_that_is_flat():
    rng = np.random.default_rng(8)
    pattern = rng.normal(0, 4, (128, 128))
    frames = 100 + pattern + rng.normal(0, 5, (16, 128, 128))
    assert estimate_noise(frames).channels[0].fixed_pattern == pytest.approx(4, rel=0.15)
    assert estimate_noise(frames - pattern).channels[0].fixed_pattern == 0
    assert estimate_noise(frames[:4]).channels[0].fixed_pattern is None


def test_a_volume_has_a_third_axis():
    white = np.random.default_rng(9).normal(100, 10, (16, 96, 96))
    report = estimate_noise(white, volume=True)
    assert report.spatial_axes == "ZYX"
    assert not report.correlated
    assert report.suggestion.partition == Grid(2)
    along_z = white + np.roll(white, 1, axis=0)
    report = estimate_noise(along_z, volume=True)
    found = {name: axis.correlated for name, axis in report.channels[0].correlation.items()}
    assert found == {"Z": True, "Y": False, "X": False}
    assert report.suggestion.partition.extents(3) == (3, 1, 1)


@pytest.mark.parametrize("psf", [0.8, 1.0, 1.2, 1.5])
@pytest.mark.parametrize("photons", [100, 500])
@pytest.mark.parametrize("covered", [0.4, 0.8, 1.0])
def test_dense_labels_as_fine_as_the_point_spread_function_are_no_noise(psf, photons, covered):
    rng = np.random.default_rng(1)
    blobs = ndimage.gaussian_filter(rng.normal(size=(320, 320)), 15)
    inside = (blobs >= np.quantile(blobs, 1 - covered)).astype(float)
    emitters = rng.poisson(ndimage.gaussian_filter(inside, 2)) * rng.exponential(
        photons, (320, 320)
    )
    light = ndimage.gaussian_filter(emitters, psf)[32:-32, 32:-32] + 5
    report = estimate_noise(rng.poisson(light))
    assert not report.correlated
    assert report.suggestion.partition == Grid(2)


@pytest.mark.parametrize("name", ["gravel", "hubble_deep_field", "brick"])
def test_texture_does_not_hide_how_little_noise_there_is(name):
    image = getattr(skimage.data, name)()[:384, :384]
    truth = image.mean(-1) if image.ndim == 3 else image.astype(float)
    noisy = truth + np.random.default_rng(0).normal(0, 4, truth.shape)
    assert estimate_noise(noisy).channels[0].mean_variance < 2 * 16


@pytest.mark.parametrize("slices", [4, 5, 6])
def test_no_wider_a_grid_is_suggested_than_a_thin_volume_has_slices(slices):
    rng = np.random.default_rng(9)
    white = rng.normal(100, 10, (slices + 3, 128, 128))
    report = estimate_noise(sum(white[i : i + slices] for i in range(4)), volume=True)
    assert report.extent[0] > 1
    suggested = report.suggestion.partition
    assert suggested.widths(3)[0] <= slices
    assert suggested.extents(3)[0] <= report.extent[0]
    covered = report.covered_by(suggested)
    assert ("so thin an image" in report.suggestion.reasons[0]) == (not covered)


def test_channels_have_noise_of_their_own():
    rng = np.random.default_rng(10)
    image = np.stack([rng.normal(50, 2, (128, 128)), rng.normal(500, 20, (128, 128))], axis=-1)
    report = estimate_noise(image, "YXC")
    first, second = report.channels
    assert first.mean_variance == pytest.approx(4, rel=0.15)
    assert second.mean_variance == pytest.approx(400, rel=0.15)
    assert report.variance(500, channel=1) == pytest.approx(400, rel=0.15)


def test_the_same_for_dask_and_for_grey_values_of_any_size():
    image, _, _ = camera_image(30, size=256)
    report = estimate_noise(image)
    lazy = estimate_noise(da.from_array(image, chunks=100))
    assert lazy.to_json() == report.to_json()
    for unit in (1e-12, 1e12):
        scaled = estimate_noise(image * unit)
        assert scaled.channels[0].gain == pytest.approx(report.channels[0].gain * unit, rel=0.05)
        assert scaled.correlated == report.correlated


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64)),
        np.full((64, 64), np.nan),
        np.full((32, 32), 7, np.uint8),
        np.ones((16, 16)),
        np.random.default_rng(0).normal(size=(16, 40)),
        np.eye(64),
        1e300 * np.random.default_rng(0).normal(size=(64, 64)),
    ],
    ids=["zero", "nan", "constant", "smallest", "small", "sparse", "huge"],
)
def test_what_cannot_be_told_is_unknown(image):
    report = estimate_noise(image)
    assert not report.correlated
    assert report.variance_error > 0.25
    assert not report.known
    assert np.shape(report.variance(image)) == image.shape
    json.dumps(report.to_json(), allow_nan=False)
    assert len(report.suggestion.reasons) == 3


def waves(shape):
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    return np.broadcast_to(300 + 100 * np.sin(y / 9) * np.cos(x / 7), shape)


def along_rows(rng, shape):
    return ndimage.gaussian_filter1d(rng.normal(0, 60, shape), 1, axis=-1)


NOISES = {
    "white": lambda rng, shape: (waves(shape) + rng.normal(0, 30, shape)).round().astype("u2"),
    "photons": lambda rng, shape: rng.poisson(waves(shape) / 30).astype(np.uint8),
    "correlated": lambda rng, shape: waves(shape) + along_rows(rng, shape),
    "clipped": lambda rng, shape: (waves(shape) + rng.normal(0, 200, shape)).clip(250, 350),
    "missing": lambda rng, shape: np.where(
        rng.random(shape) < 0.1, np.nan, rng.normal(0, 30, shape)
    ),
    "none": lambda _, shape: waves(shape),
    "sparse": lambda rng, shape: (rng.random(shape) < 0.01).astype(np.uint8),
}
SIDES = st.one_of(st.integers(16, 40), st.integers(16, 300))


@given(
    st.sampled_from(sorted(NOISES)),
    st.sampled_from(["YX", "ZYX", "TYX", "CYX", "TCYX", "CZYX"]),
    st.lists(st.integers(1, 9), min_size=2, max_size=2),
    st.tuples(SIDES, SIDES),
    st.booleans(),
    st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_shape_there_is_a_report(noise, axes, leading, sides, volume, seed):
    shape = (*leading[: len(axes) - 2], *sides)
    image = NOISES[noise](np.random.default_rng(seed), shape)
    report = estimate_noise(image, axes, volume=volume and "Z" in axes)
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    "shape", [(16, 300), (17, 300), (20, 200), (24, 96), (31, 64), (300, 17), (2, 17, 300)]
)
def test_white_noise_in_an_image_too_narrow_for_its_spectrum_is_measured(shape):
    rng = np.random.default_rng(0)
    report = estimate_noise(NOISES["white"](rng, shape))
    # Structure is not told from noise there, so the bounds are wide.
    assert 30**2 / 3 < report.channels[0].mean_variance < 3 * 30**2


def test_what_cannot_be_denoised_is_refused():
    with pytest.raises(InputError, match="bool"):
        estimate_noise(np.zeros((64, 64), bool))
    with pytest.raises(InputError, match="at least 16"):
        estimate_noise(np.zeros((8, 64)))


def test_shot_noise_over_a_large_range_suggests_a_square_root():
    ramp = np.linspace(2, 400, 256) * np.ones((256, 1))
    report = estimate_noise(10 + np.random.default_rng(11).poisson(ramp))
    assert report.suggestion.transformation == "square root"


def test_same_image_same_report():
    image, _, _ = camera_image(10, size=256)
    before = image.copy()
    assert estimate_noise(image) == estimate_noise(image)
    assert (image == before).all()


def test_blurred_noise_loses_variance_in_differences():
    assert difference_gain([], 1) == 1
    rho = (0.5, 0.25, 0.125, 0.0625)
    assert difference_gain(rho, 1) == pytest.approx((6 - 4 + 0.5) / 6)
    assert difference_gain(rho, 2) == pytest.approx((6 - 2 + 0.125) / 6)


def test_moments_of_clipped_noise():
    rng = np.random.default_rng(12)
    drawn = np.clip(rng.normal(1, 2, 400_000), 0, 3)
    mean, variance = clipped_moments(np.array([1.0]), np.array([2.0]), 0, 3)
    assert mean[0] == pytest.approx(drawn.mean(), abs=0.01)
    assert variance[0] == pytest.approx(drawn.var(), rel=0.01)


def real_image(folder, name):
    return imagecodecs.imread(folder / name)


@pytest.mark.parametrize("frame", [1, 2, 3, 4])
def test_the_camera_that_interpolates_is_recognised(data_folder, frame):
    report = estimate_noise(real_image(data_folder, f"fmd/WideField_BPAE_R_raw{frame}.png"))
    y, x = (report.channels[0].correlation[letter] for letter in "YX")
    assert y.correlated
    assert x.correlated
    assert {y.extent, x.extent} <= {5, 7, 9}
    assert report.channels[0].mean_variance == pytest.approx(154, rel=0.25)
    assert report.suggestion.output == "single-pass"


def test_noise_along_the_rows_of_a_laser_scanner_is_recognised(data_folder):
    report = estimate_noise(real_image(data_folder, "hagen/mito-confocal_low.png"))
    assert report.extent == (1, 3)
    assert report.channels[0].correlation["X"].rho[0] == pytest.approx(0.3, abs=0.05)
    assert report.channels[0].clipped_low > 0.4
    assert report.suggestion.partition.extents(2) == (1, 3)


@pytest.mark.parametrize(
    "name",
    [
        *(f"fmd/Confocal_BPAE_R_raw{i}.png" for i in (1, 2, 3, 4)),
        *(f"fmd/{field}_raw1.png" for field in ("Confocal_MICE", "TwoPhoton_BPAE_G")),
        "fmd/Confocal_BPAE_B_raw1.png",
        "fmd/Confocal_BPAE_G_raw1.png",
        *(f"hagen/{field}_low.png" for field in ("nucleus", "actin-60x-noise1", "membrane")),
    ],
)
def test_real_white_noise_is_not_called_correlated(data_folder, name):
    assert not estimate_noise(real_image(data_folder, name)).correlated


def test_real_hot_pixels_are_counted(data_folder):
    import tifffile

    image = tifffile.imread(data_folder / "neubias/xyc_16bit__membranes_nuclei_hot_pixel.tif")
    for channel, plane in zip(estimate_noise(image, "CYX").channels, image, strict=True):
        assert channel.hot * plane.size == pytest.approx(1)


def test_nothing_measured_is_not_correlated():
    assert AxisCorrelation().extent == 1
    assert not AxisCorrelation().correlated


def test_texture_makes_the_variance_less_certain():
    """The part of the error that differences along one axis only show."""
    noise = np.random.default_rng(0).normal(0, 5, (300, 300))
    errors = [
        estimate_noise(scene + noise).variance_error
        for scene in (np.full(noise.shape, 100.0), skimage.data.camera()[:300, :300].astype(float))
    ]
    assert errors[0] < 0.05
    # Chance and the misfit of the line alone would make it 0.19.
    assert errors[1] > 0.2
