from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from scipy import ndimage
from skimage.data import camera

import napari_noise2self as n2s
from napari_noise2self import Grid, Noise2SelfError
from napari_noise2self.engine.calibration import sample
from napari_noise2self.engine.calibration.calibrate import calibrate, calibrate_events
from napari_noise2self.engine.calibration.report import CalibrationEvent
from napari_noise2self.engine.calibration.search import ends, search
from napari_noise2self.engine.events import INTERVAL, Control, Notice
from napari_noise2self.engine.filters.catalogue import Parameter, chosen
from napari_noise2self.engine.layout import Layout

from ..conftest import SIGMA, scene

FAST = ["gaussian", "median"]


def mse(image, truth):
    return float(np.mean((image - truth) ** 2))


# ---------------------------------------------------------------------- search


def searched(loss, *parameters):
    """The settings that a search evaluates."""
    tried = []

    def evaluate(settings):
        tried.extend(settings)
        return [loss(**setting) for setting in settings]

    search(evaluate, parameters)
    best = min(tried, key=lambda setting: loss(**setting))
    return tried, best


@pytest.mark.parametrize("minimum", [0.11, 0.5, 1.7, 8.9])
def test_a_smooth_minimum_is_found_in_few_evaluations(minimum):
    p = Parameter("s", 0.1, 10.0, limits=(0.1, 10.0))
    # Steeper on one side than on the other.
    tried, best = searched(lambda s: s / minimum - np.log(s / minimum), p)
    # Of two decades.
    assert best["s"] == pytest.approx(minimum, rel=0.07)
    assert len(tried) <= 12


def test_the_range_is_widened_where_the_minimum_lies_beyond_it():
    p = Parameter("s", 1.0, 4.0, limits=(0.5, 100.0))
    _, best = searched(lambda s: np.log(s / 7) ** 2, p)
    assert best["s"] == pytest.approx(7, rel=0.05)
    assert ends([p], best) == []


def test_a_range_of_the_callers_is_kept_and_its_end_told():
    p = Parameter("s", 1.0, 4.0, limits=(1.0, 4.0))
    tried, best = searched(lambda s: -s, p)
    assert max(setting["s"] for setting in tried) <= 4
    assert best["s"] == pytest.approx(4)
    assert ends([p], best) == ["s"]


@pytest.mark.parametrize("minimum", [1, 3, 5, 12, 29, 30])
def test_whole_numbers_are_searched_as_such(minimum):
    p = Parameter("r", 1, 30, integer=True, limits=(1, 30))
    tried, best = searched(lambda r: abs(r - minimum), p)
    assert best["r"] == minimum
    assert all(isinstance(setting["r"], int) for setting in tried)
    values = [setting["r"] for setting in tried]
    assert len(set(values)) == len(values) <= 12


def test_two_parameters_are_searched_together():
    a = Parameter("a", 1.0, 10.0, limits=(0.1, 100.0))
    b = Parameter("b", 1.0, 10.0, limits=(0.1, 100.0))

    def loss(a, b):
        u, v = np.log(a / 4), np.log(b / 2)
        return 1 + u**2 + v**2 + u * v

    tried, best = searched(loss, a, b)
    assert loss(**best) < 1.02
    assert len(tried) <= 22


def test_listed_values_are_all_tried_beside_a_range():
    kinds = Parameter("kind", np.nan, np.nan, values=("x", "y"))
    s = Parameter("s", 0.1, 10.0, limits=(0.1, 10.0))
    tried, best = searched(lambda kind, s: (kind == "x") + np.log(s / 3) ** 2, kinds, s)
    assert {setting["kind"] for setting in tried} == {"x", "y"}
    assert best["kind"] == "y"
    assert best["s"] == pytest.approx(3, rel=0.05)


# ----------------------------------------------------------------- calibration


@pytest.fixture(scope="module")
def found(noisy, truth):
    return calibrate(noisy, FAST, truth=truth)


def test_the_loss_picks_what_the_truth_would_pick(found, noisy, truth):
    widths = np.geomspace(0.5, 6, 30)
    oracle = min(mse(ndimage.gaussian_filter(noisy, w), truth) for w in widths)
    best = found["gaussian"].best
    assert mse(best(noisy), truth) < 1.05 * oracle
    # Along a curve the loss and the true error of the same filter have their minimum together.
    for curve in found.curves:
        by_loss = min(curve.points, key=lambda p: p.loss)
        by_truth = min(curve.points, key=lambda p: p.mse)
        assert by_loss.mse < 1.05 * by_truth.mse


def test_the_gap_between_loss_and_true_error_is_the_variance_of_the_noise(found):
    assert found.noise_variance == pytest.approx(SIGMA**2, rel=0.1)
    for curve in found.curves:
        for point in curve.points:
            assert point.loss - point.mse == pytest.approx(SIGMA**2, rel=0.06)


def test_a_truth_of_other_exposure_is_mapped_to_the_image(found, noisy, truth):
    assert not found.notices
    bright = calibrate(noisy, "gaussian", truth=40 * truth + 1000, plain=False)
    assert "mapped linearly" in bright.notices[0]
    errors = [[point.mse for point in f["gaussian"].points] for f in (bright, found)]
    assert min(errors[0]) == pytest.approx(min(errors[1]), rel=0.05)


def test_the_loss_of_the_plain_filter_misleads(found):
    points = found["gaussian"].points
    # It prefers to do nothing.
    assert min(points, key=lambda p: p.plain_loss) is points[0]
    assert min(points, key=lambda p: p.loss) is not points[0]


def test_rows_are_best_first_and_ready_for_json(found):
    rows = json.loads(json.dumps(found.to_json()))["rows"]
    assert [row["filter"] for row in rows] == ["gaussian", "median"]
    assert rows[0]["loss"] < rows[1]["loss"]
    for row, curve in zip(rows, found.curves, strict=True):
        assert row["parameters"] == curve.best.parameters
        assert row["error"] > 0
        assert row["seconds"] > 0
        assert row["evaluations"] == len(curve.points)
        assert row["failure"] is None
    assert found.best.filter.name == "gaussian"
    with pytest.raises(KeyError):
        found["nlm"]


def test_what_is_estimated_of_the_error_is_true_of_the_blind_filter(found, noisy, truth):
    for curve in found.curves:
        blind = curve.best(noisy, output="j-invariant")
        gain = 10 * np.log10(mse(noisy, truth) / mse(blind, truth))
        assert curve.score.gain_at_least < gain
        low, high = curve.score.mse_interval
        assert low < mse(blind, truth) < high


def test_mixing_gains_over_the_blind_filter(found, noisy, truth):
    for curve in found.curves:
        blind, mixed = (curve.best(noisy, output=kind) for kind in ("j-invariant", "mixed"))
        assert mse(mixed, truth) < 0.97 * mse(blind, truth)


def test_filters_are_compared_on_the_same_pixels(noisy):
    # One that is masked beside one that has a donut.
    found = calibrate(noisy, ["gaussian", "tv"], Grid(4), subsets=3, plain=False)
    one, other = (curve.held_out[0] for curve in found.curves)
    np.testing.assert_array_equal(one.observed, other.observed)
    np.testing.assert_array_equal(one.block, other.block)
    held_out = Grid(4).held_out(noisy.shape)
    assert one.observed.size == held_out.sum()
    assert found.pixels == 3 * noisy.size / 16
    assert found.partition == {"kind": "grid", "width": [4, 4], "extent": [1, 1]}
    assert all(point.plain_loss is None for curve in found.curves for point in curve.points)


def test_predictions_can_be_paired_with_those_of_a_network(noisy):
    found = calibrate(noisy, "tv", Grid(4))
    best = found.best
    (place,) = best.held_out(noisy)
    chosen = Grid(4).held_out(noisy.shape)
    blind = best(noisy, output="j-invariant")
    scale, offset = best.unit.scale[0], best.unit.offset[0]
    np.testing.assert_allclose(place.predicted * scale + offset, blind[chosen], rtol=1e-5)
    np.testing.assert_allclose(place.observed * scale + offset, noisy[chosen], rtol=1e-5)
    (during,) = found["tv"].held_out
    np.testing.assert_allclose(np.sort(during.predicted), np.sort(place.predicted), atol=1e-5)


def test_correlated_noise_is_kept_out_by_the_suggested_extent():
    truth = scene((160, 160))
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=truth.shape), 0.8)
    noisy = truth + SIGMA * noise / noise.std()
    found = calibrate(noisy, "gaussian", truth=truth)
    assert max(found.partition["extent"]) >= 3
    point = min(found["gaussian"].points, key=lambda p: p.loss)
    assert point.loss - point.mse == pytest.approx(SIGMA**2, rel=0.15)
    # One hidden pixel would let the noise through, and less smoothing would seem best.
    naive = calibrate(noisy, "gaussian", Grid(4))
    assert naive.best.parameters["width"] < 0.8 * found.best.parameters["width"]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "float16", "float64"])
def test_grey_values_of_any_type_and_offset(kind, truth, noisy, found):
    offset = 0 if kind == "uint8" else 1000
    image = (np.clip(noisy / 2, 0, 255) + offset).astype(kind)
    width = found["gaussian"].best.parameters["width"]
    found = calibrate(image, "gaussian", plain=False)
    assert found.best.parameters["width"] == pytest.approx(width, rel=0.1)
    assert mse(found.best(image), truth / 2 + offset) < 0.2 * (SIGMA / 2) ** 2


def test_channels_share_a_setting_in_units_of_their_own_noise(truth):
    rng = np.random.default_rng(2)
    factor = np.array([1.0, 50.0])
    image = np.stack([f * (truth + rng.normal(0, SIGMA, truth.shape)) for f in factor], axis=-1)
    found = calibrate(image, FAST, axes="YXC")
    np.testing.assert_allclose(found.scale, SIGMA * factor, rtol=0.15)
    denoised = found.best(image)
    assert denoised.shape == image.shape
    for channel, f in enumerate(factor):
        error = mse(denoised[..., channel], f * truth)
        assert error < 0.1 * (f * SIGMA) ** 2


def test_volumes_are_filtered_along_z(truth):
    clean = scene((12, 40, 44))
    image = clean + np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    whole = calibrate(image, "gaussian", axes="ZYX", volume=True)
    planes = calibrate(image, "gaussian", axes="ZYX")
    assert mse(whole.best(image), clean) < mse(planes.best(image), clean)


def test_bad_pixels_are_neither_compared_nor_spread(noisy, truth):
    image = noisy.copy()
    image[10:12, 20] = np.nan
    image[50, 60] = 1e5
    found = calibrate(image, FAST)
    assert found["gaussian"].best.parameters["width"] > 1
    # Hidden in a donut they would leave a ring, so pixels are masked here.
    assert found["median"].score.loss < 1.3 * SIGMA**2
    denoised = found["gaussian"].best(image, output="mixed")
    assert np.isnan(denoised[10:12, 20]).all()
    assert np.isfinite(np.delete(denoised, [10, 11], axis=0)).all()
    assert abs(denoised[50, 60] - truth[50, 60]) < 3 * SIGMA


def test_a_large_image_is_represented_by_windows(monkeypatch):
    monkeypatch.setattr(sample, "MOST_PIXELS", 2**14)
    monkeypatch.setattr(sample, "WINDOWS", {2: (64, 64), 3: (8, 32, 32)})
    layout = Layout.of((7, 300, 400), "TYX")
    places = sample.places(layout)
    assert len(places) == 4
    assert len({frame for frame, _ in places}) == 4
    assert len({str(region) for _, region in places}) == 4
    truth = np.stack([scene((300, 400), seed) for seed in range(3)])
    image = truth + np.random.default_rng(0).normal(0, SIGMA, truth.shape)
    found = calibrate(image, FAST, axes="TYX", truth=truth)
    assert found.pixels <= 2**14
    denoised = found.best(image)
    assert denoised.shape == image.shape
    assert mse(denoised, truth) < 0.1 * SIGMA**2


# ----------------------------------------------------------- functions of others


def test_a_function_of_the_callers_is_calibrated_over_its_ranges(noisy, truth):
    def blur(image, sigma, mode):
        return ndimage.gaussian_filter(image, sigma, mode=mode)

    wish = {"blur": (blur, {"sigma": (0.5, 6.0), "mode": ["nearest", "reflect"]})}
    found = calibrate(noisy, wish)
    assert found.best.parameters["mode"] in ("nearest", "reflect")
    assert mse(found.best(noisy), truth) < 0.1 * SIGMA**2

    def box(image, radius):
        return ndimage.uniform_filter(image, 2 * radius + 1)

    whole = calibrate(noisy, {"box": (box, {"radius": (1, 9)})})
    best = min(range(1, 10), key=lambda radius: mse(box(noisy, radius), truth))
    assert abs(whole.best.parameters["radius"] - best) <= 1


def test_a_function_of_the_callers_never_runs_beside_itself(noisy):
    inside, most = 0, 0

    def watched(image, sigma):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.001)
        inside -= 1
        return ndimage.gaussian_filter(image, sigma)

    wish = {"one": (watched, {"sigma": (0.5, 5.0)}), "two": (watched, {"sigma": (0.5, 5.0)})}
    calibrate(noisy, wish, workers=4)
    assert most == 1


def test_a_filter_that_fails_is_a_row_and_the_others_go_on(noisy):
    def broken(image, size):
        if size > 2:
            raise RuntimeError("out of luck")
        return image

    wish = {"broken": (broken, {"size": (1, 9)}), "short": lambda image: image[1:]}
    with pytest.raises(Noise2SelfError, match=r"'broken' with size=3 failed.*out of luck"):
        calibrate(noisy, {"broken": (broken, {"size": (3, 9)})})
    found = calibrate(noisy, [*chosen(wish, (1, 1)), "gaussian"])
    rows = {row["filter"]: row for row in found.rows}
    assert found.best.filter.name == "gaussian"
    assert rows["gaussian"]["failure"] is None
    assert "out of luck" in rows["broken"]["failure"]
    assert rows["short"]["loss"] is None
    assert "must return the shape" in rows["short"]["failure"]
    assert [row["filter"] for row in found.rows][-1] == "short"


def test_settings_that_give_no_numbers_are_passed_over(noisy):
    def fragile(image, sigma):
        return ndimage.gaussian_filter(image, sigma) if sigma > 1 else image * np.nan

    found = calibrate(noisy, {"fragile": (fragile, {"sigma": (0.5, 5.0)})})
    assert found.best.parameters["sigma"] > 1
    with pytest.raises(Noise2SelfError, match="NaN or infinity with every setting"):
        calibrate(noisy, {"nothing": lambda image: image * np.nan})


# -------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("image", "settings", "sentence"),
    [
        (np.full((64, 64), 7.0), {}, "constant .every pixel is 7"),
        (np.full((64, 64), np.nan), {}, "NaN or infinite"),
        (np.ones((1, 1)), {}, "only 1 pixel along Y"),
        (np.ones(64), {}, "at least two axes"),
        (np.ones((64, 64), bool), {}, "bool"),
        (np.eye(64), {"axes": "ZYX"}, "one letter per axis"),
        (np.eye(64), {"truth": np.eye(63)}, "truth has the shape"),
        (np.eye(64), {"filters": "blur"}, "no filter 'blur'"),
        (np.eye(64), {"partition": Grid((2, 4, 4))}, "spatial axes"),
        (np.eye(64), {"workers": 0}, "number of workers was 0"),
        (np.eye(64), {"partition": Grid(4), "subsets": 17}, "give 1 to 16"),
    ],
)
def test_bad_input_is_one_sentence(image, settings, sentence):
    with pytest.raises(Noise2SelfError, match=sentence) as caught:
        calibrate(image, **{"filters": "gaussian", **settings})
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------- events


def test_events_tell_every_point_and_come_slowly_enough(noisy, listen):
    times = []
    events, result = listen(
        calibrate_events(noisy, ["gaussian", "tv"]), lambda event: times.append(time.monotonic())
    )
    told = [point for event in events for point in event.points]
    assert {id(point) for point in told} == {
        id(point) for curve in result.curves for point in curve.points
    }
    assert np.diff(times).min(initial=np.inf) >= 0.9 * INTERVAL
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert events[-1].seconds_left == 0
    assert events[-1].noise_variance == result.noise_variance


def gate():
    """A slow filter that says when it runs."""
    started, release = threading.Event(), threading.Event()

    def slow(image, sigma):
        started.set()
        release.wait(20)
        return image

    return started, release, {"slow": (slow, {"sigma": (0.5, 5.0)})}


def test_a_stop_returns_what_was_found(noisy, listen):
    started, release, wish = gate()
    control = Control()
    events = calibrate_events(noisy, [*chosen(wish, (1, 1)), "gaussian"], control=control)
    points = []
    try:
        while len(points) < 3:
            points.extend(next(events).points)
        control.stop()
        _, result = listen(events)
    finally:
        release.set()
    assert started.is_set()
    assert result.stopped
    assert result.best.filter.name == "gaussian"
    assert result["slow"].best is None
    assert result.rows[-1]["filter"] == "slow"


def test_a_stop_before_any_result_is_no_error(noisy, listen):
    control = Control()
    control.stop()
    events, result = listen(calibrate_events(noisy, "gaussian", control=control))
    assert result.best is None
    assert result.rows[0]["loss"] is None
    assert len(events) == 1


def test_closing_ends_the_threads(noisy):
    started, release, wish = gate()
    events = calibrate_events(noisy, wish)
    next(events)
    assert started.wait(20)
    events.close()
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("calibration"):
            thread.join(20)
            assert not thread.is_alive()


def test_a_pause_holds_the_work(noisy, listen):
    calls = []

    def counted(image, sigma):
        calls.append(sigma)
        return ndimage.gaussian_filter(image, sigma)

    control = Control()
    events = calibrate_events(noisy, {"counted": (counted, {"sigma": (0.5, 5.0)})}, control=control)
    control.pause()
    event = next(events)
    assert isinstance(event, CalibrationEvent)
    assert not event.points
    assert not calls
    control.resume()
    listen(events)
    assert calls


def test_the_same_result_however_many_threads(noisy):
    one, four = (calibrate(noisy, ["gaussian", "tv"], workers=n) for n in (1, 4))
    for curve in one.curves:
        other = four[curve.filter]
        assert other.best.parameters == curve.best.parameters
        assert other.score == curve.score


def test_an_unknown_noise_is_said_and_no_gain_stated(monkeypatch, noisy, listen):
    from napari_noise2self.engine.calibration import calibrate as calibration
    from napari_noise2self.engine.noise import estimate as noise

    real = calibration.estimate_noise

    def unknown(image, axes, volume):
        report = real(image, axes, volume=volume)
        nothing = noise._unknown(Layout.of(image.shape, axes, volume))
        return type(report)(report.axes, report.spatial_axes, (nothing,), report.suggestion)

    monkeypatch.setattr(calibration, "estimate_noise", unknown)
    events, result = listen(calibrate_events(noisy, "gaussian"))
    assert isinstance(events[0], Notice)
    assert "rough guess" in events[0].message
    assert result.scale[0] == pytest.approx(SIGMA, rel=0.15)
    assert result.noise_variance is None
    assert result.rows[0]["gain"] is None
    with pytest.raises(Noise2SelfError, match="mixed output needs"):
        result.best(noisy, output="mixed")


def test_the_donut_figure_of_the_paper():
    # The camera of today's scikit-image, noise of 0.1; loss and PSNR of the donut median.
    clean = camera() / 255
    noise = 0.1 * np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    noisy = np.clip(clean + noise, 0, 1)
    found = calibrate(noisy, {"median": {"radius": [1, 2, 3, 4, 5, 6]}}, Grid(4), truth=clean)
    assert found.pixels == noisy.size
    points = found["median"].points
    losses = [0.01462, 0.01172, 0.01145, 0.01172, 0.01242, 0.01297]
    assert [point.loss for point in points] == pytest.approx(losses, rel=0.01)
    decibels = [-10 * np.log10(point.mse) for point in points]
    assert decibels == pytest.approx([22.32, 25.42, 25.87, 25.41, 24.42, 23.77], rel=0.01)
    plain = [0.00844, 0.00970, 0.01054, 0.01117, 0.01207, 0.01271]
    assert [point.plain_loss for point in points] == pytest.approx(plain, rel=0.015)
    assert found.best.parameters == {"radius": 3}
    mixed = found.best(noisy, output="mixed")
    assert n2s.psnr(clean, mixed, data_range=1) == pytest.approx(26.91, rel=0.01)


def test_what_a_widget_needs_of_it_imports_no_torch():
    names = ("calibration.report", "filters.catalogue", "events")
    code = "".join(f"import napari_noise2self.engine.{name};" for name in names)
    code += "import sys; assert not {'torch', 'skimage', 'pywt'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_public():
    assert n2s.calibrate is calibrate


def test_the_output_with_the_smaller_error_is_applied(noisy, truth):
    # What JPEG 2000 keeps of the noise for structure, its J-invariant version cannot.
    found = calibrate(noisy, "jpeg2000", Grid(4), plain=False).best
    assert found.output == "mixed"
    errors = {output: mse(found(noisy, output=output), truth) for output in ("auto", "single-pass")}
    assert errors["auto"] < errors["single-pass"]
    np.testing.assert_array_equal(found(noisy), found(noisy, output="mixed"))


@pytest.mark.parametrize("name", ["nlm", "tv", "gaussian"])
def test_little_noise_that_is_not_known_costs_no_detail(name):
    truth = camera()[120:248, 150:278].astype(float)
    noisy = truth + np.random.default_rng(0).normal(0, 5, truth.shape)
    assert not n2s.estimate_noise(noisy).known
    best = calibrate(noisy, name).best
    assert best.output == "mixed"
    raw, plain, mixed = (
        n2s.psnr(truth, image, data_range=255)
        for image in (noisy, best(noisy, output="single-pass"), best(noisy))
    )
    assert mixed > plain
    assert mixed > raw
