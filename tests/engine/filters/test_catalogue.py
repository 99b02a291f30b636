from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_noise2self import Checkerboard, Grid, Noise2SelfError, RandomPartition
from napari_noise2self.engine.filters import catalogue, dictionary, donut
from napari_noise2self.engine.filters.bilateral import bilateral
from napari_noise2self.engine.filters.blind import Channel

SETTINGS = {
    "median": {"radius": 2},
    "gaussian": {"width": 1.2},
    "bilateral": {"strength": 3.0, "width": 1.5},
    "tv": {"strength": 1.0},
    "nlm": {"strength": 0.8},
    "wavelet": {"strength": 1.0},
    "dictionary": {"threshold": 2.7},
    "jpeg2000": {"strength": 1.0},
}


def channel(shape, seed=0, scale=1.0, offset=0.0):
    rng = np.random.default_rng(seed)
    clean = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    clean *= 5 / clean.std()
    noisy = clean + rng.normal(size=shape)
    return Channel(noisy.astype(np.float32), np.ones(shape, bool), offset, scale), clean


def error(image, clean):
    return float(np.mean((image - clean) ** 2))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("shape", [(40, 47), (5, 24, 26)])
def test_every_filter_denoises_planes_and_volumes(name, shape):
    image, clean = channel(shape)
    filter_ = catalogue.named(name, (1,) * len(shape))
    output = image.filtered(filter_, SETTINGS[name])
    assert output.dtype == np.float32
    assert error(output, clean) < 0.8 * error(image.values, clean)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "partition", [Grid(4), Grid((4, 6), (1, 3)), RandomPartition(9), Checkerboard()], ids=str
)
def test_the_blind_version_does_not_see_what_is_hidden(name, partition):
    image, _ = channel((32, 36))
    filter_ = catalogue.named(name, partition.extents(2))
    labels = partition.labels(image.values.shape)
    # A subset with pixels at the corner, at borders and inside.
    subset = int(labels[0, 0])
    before = image.j_invariant(filter_, SETTINGS[name], partition, labels, [subset])
    hidden = ndimage.binary_dilation(labels == subset, np.ones(partition.extents(2)))
    for target in [(0, 0), *np.argwhere(labels == subset)[7::40].tolist()]:
        block = tuple(
            slice(max(t - e // 2, 0), t + e // 2 + 1)
            for t, e in zip(target, partition.extents(2), strict=True)
        )
        changed = image.values.copy()
        # All that is hidden together, for filters that are masked; the own block, for donuts.
        where = np.zeros(changed.shape, bool)
        where[block] = True
        if filter_.donut is None:
            where = hidden
        changed[where] += np.random.default_rng(1).normal(0, 50, where.sum()).astype(np.float32)
        other = Channel(changed, image.valid, 0.0, 1.0)
        after = other.j_invariant(filter_, SETTINGS[name], partition, labels, [subset])
        assert after[tuple(target)] == before[tuple(target)]


@pytest.mark.parametrize("extents", [(1, 1), (3, 5), (1, 3, 3)])
def test_donuts_predict_every_pixel_blindly(extents):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(14, 17, 15)[: len(extents)]).astype(np.float32)
    spans = [range(n) for n in image.shape]
    for number in range(25):
        pixel = tuple(int(rng.choice(span)) for span in spans) if number else (1,) * image.ndim
        block = tuple(
            slice(max(p - e // 2, 0), p + e // 2 + 1) for p, e in zip(pixel, extents, strict=True)
        )
        changed = image.copy()
        changed[block] += 1000
        for function, size in ((donut.median, 3), (donut.gaussian, 2.0), (donut.gaussian, 0.3)):
            before, after = (function(x, size, extents)[pixel] for x in (image, changed))
            assert before == after
        # The filter without a hole does see it.
        assert donut.gaussian(image, 2.0)[pixel] != donut.gaussian(changed, 2.0)[pixel]


def test_the_median_is_that_of_scipy_away_from_the_borders():
    image = np.random.default_rng(0).normal(size=(20, 22))
    y, x = np.ogrid[-2:3, -2:3]
    disk = y**2 + x**2 <= 4
    plain, hollow = donut.median(image, 2), donut.median(image, 2, (1, 1))
    inside = (slice(2, -2), slice(2, -2))
    np.testing.assert_array_equal(
        plain[inside], ndimage.median_filter(image, footprint=disk)[inside]
    )
    disk[2, 2] = False
    np.testing.assert_array_equal(
        hollow[inside], ndimage.median_filter(image, footprint=disk)[inside]
    )
    # The corner has five neighbours in the disk and itself: the larger of the middle ones.
    corner = [image[0, 0], image[0, 1], image[0, 2], image[1, 0], image[1, 1], image[2, 0]]
    assert plain[0, 0] == sorted(corner)[3]
    assert hollow[0, 0] == sorted(corner[1:])[2]


def test_the_bilateral_filter_averages_what_is_near_and_alike():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(9, 8)).astype(np.float32)
    filtered = bilateral(image, 0.7, 1.2)
    y, x = np.mgrid[:9, :8]
    for pixel in [(0, 0), (4, 5), (8, 3)]:
        dy, dx = y - pixel[0], x - pixel[1]
        weight = np.exp(-(dy**2 + dx**2) / (2 * 1.2**2))
        weight *= np.exp(-((image - image[pixel]) ** 2) / (2 * 0.7**2))
        weight[(abs(dy) > 3) | (abs(dx) > 3)] = 0
        assert filtered[pixel] == pytest.approx((weight * image).sum() / weight.sum(), rel=1e-5)


def test_a_gaussian_keeps_a_constant_up_to_its_borders():
    image = np.full((16, 19), 7.0)
    for extents in (None, (1, 1), (3, 5)):
        np.testing.assert_allclose(donut.gaussian(image, 1.5, extents), 7, rtol=1e-6)


def test_the_dictionary_learns_atoms_that_suit_the_image():
    rng = np.random.default_rng(0)
    # Stripes at an angle that cosines along the axes need many atoms for.
    y, x = np.mgrid[:96, :96]
    clean = 4 * np.sign(np.sin((2 * x + 5 * y) / 9)).astype(np.float32)
    noisy = (clean + rng.normal(size=clean.shape)).astype(np.float32)
    learned = error(dictionary.dictionary(noisy, 2.8), clean)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionary, "_TURNS", 0)
        cosines = error(dictionary.dictionary(noisy, 2.8), clean)
    assert learned < 0.75 * cosines


def test_compression_errs_as_much_as_it_is_asked_to():
    image, _ = channel((96, 96))
    for strength in (0.5, 1.0):
        filter_ = catalogue.named("jpeg2000", (1, 1))
        output = image.filtered(filter_, {"strength": strength})
        assert np.sqrt(error(output, image.values)) == pytest.approx(strength, rel=0.15)


def test_functions_of_the_caller_get_grey_values_of_their_own():
    image, _ = channel((20, 20), scale=40.0, offset=1000.0)
    seen = {}

    def spy(values, power):
        seen["mean"], seen["power"] = values.mean(), power
        values += 1  # an own copy
        return values

    (own,) = catalogue.chosen({"spy": (spy, {"power": [1, 2]})}, (1, 1))
    before = image.values.copy()
    output = image.filtered(own, {"power": 2})
    assert seen["power"] == 2
    assert seen["mean"] == pytest.approx(1000 + 40 * before.mean(), abs=5)
    np.testing.assert_array_equal(image.values, before)
    np.testing.assert_allclose(output, before + 1 / 40, atol=1e-4)


def fails(values):
    raise KeyError("no such key")


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (fails, "'mine' failed with KeyError: 'no such key'"),
        (lambda values: values[1:], r"shape \(20, 20\) into one of \(19, 20\)"),
        (lambda values: values > 0, "returns the type bool"),
    ],
)
def test_a_filter_that_misbehaves_is_named_in_one_sentence(function, sentence):
    (own,) = catalogue.chosen({"mine": function}, (1, 1))
    with pytest.raises(Noise2SelfError, match=sentence):
        channel((20, 20))[0].filtered(own, {})


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ("blur", "no filter 'blur': use median"),
        ([], "name at least one"),
        (["nlm", "nlm"], "each once"),
        ({"nlm": {"h": (1, 2)}}, "'nlm' has no parameter 'h': use strength"),
        ({"mine": 3}, "must be a function"),
        ({"mine": (abs, {"size": (5, 1)})}, "range of 'size' of the filter 'mine'"),
        ({"mine": (abs, {"size": []})}, "give .lowest, highest., or a list"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(wish, sentence):
    with pytest.raises(ValueError, match=sentence):
        catalogue.chosen(wish, (1, 1))


def test_without_bm3d_it_says_what_to_install_and_its_licence(monkeypatch):
    monkeypatch.setattr(catalogue, "installed", lambda name: False)
    bm3d = catalogue.named("bm3d", (1, 1))
    with pytest.raises(Noise2SelfError, match=r"napari-noise2self\[bm3d\].*noncommercial"):
        channel((20, 20))[0].filtered(bm3d, {"strength": 1.0})
    assert "bm3d" not in [f.name for f in catalogue.chosen(None, (1, 1))]


def test_bm3d_denoises_where_it_is_installed():
    pytest.importorskip("bm3d")
    image, clean = channel((48, 52))
    output = image.filtered(catalogue.named("bm3d", (1, 1)), {"strength": 1.0})
    assert error(output, clean) < 0.5


def test_a_donut_reaches_beyond_its_hole():
    (radius,) = catalogue.named("median", (7, 9)).parameters
    assert radius.low == 4
    image, clean = channel((40, 40))
    predicted = donut.median(image.values, int(radius.low), (7, 9))
    assert error(predicted, clean) < np.var(clean)


def test_radii_of_a_median_reach_beyond_the_hidden_block():
    (median,) = catalogue.chosen({"median": {"radius": (1, 6)}}, (5, 5))
    (radius,) = median.parameters
    assert (radius.low, radius.high, radius.limits) == (3, 6, (3, 6))
    (median,) = catalogue.chosen({"median": {"radius": [1, 2, 3, 4]}}, (5, 5))
    assert median.parameters[0].values == (3, 4)
    with pytest.raises(Noise2SelfError, match="at least 3"):
        catalogue.chosen({"median": {"radius": [1, 2]}}, (5, 5))
    (median,) = catalogue.chosen({"median": {"radius": (1, 6)}}, (1, 1))
    assert median.parameters[0].low == 1
