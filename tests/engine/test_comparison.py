from __future__ import annotations

import json
import math

import numpy as np
import pytest

import napari_noise2self as n2s
from napari_noise2self import TrainingConfig
from napari_noise2self.engine.comparison import ComparisonEvent, compare, compare_events
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Control
from napari_noise2self.engine.ranking import Ranking, Row, difference
from napari_noise2self.engine.scoring import Score
from napari_noise2self.stacks.samples import cells

SHORT = {"epochs": 2.0, "device": "cpu"}


@pytest.fixture(scope="module")
def sample():
    return cells((192, 208), seed=2)


@pytest.fixture(scope="module")
def comparison(sample):
    return compare(sample.noisy.data, ["median", "jpeg2000", "unet"], truth=sample.truth, **SHORT)


def test_the_score_ranks_as_the_true_errors_do(comparison, sample):
    rows = comparison.ranking.rows
    assert sorted(row.name for row in rows) == ["JPEG 2000", "Median", "UNet"]
    assert [row.score.loss for row in rows] == sorted(row.score.loss for row in rows)
    assert comparison.best is rows[0]
    errors = []
    for row in rows:
        apply = getattr(row.denoiser, "predict", row.denoiser)
        blind = apply(sample.noisy.data, output="j-invariant")
        errors.append(float(np.mean((blind - sample.truth) ** 2)))
        assert row.seconds > 0
        assert 0 < row.ssim <= 1
    ranks = comparison.ranking.ranks
    assert len(set(ranks)) > 1
    for k in range(1, len(rows)):
        assert ranks[k] == ranks[k - 1] or errors[k] > errors[k - 1]


def test_all_are_compared_on_the_same_pixels(comparison):
    first, *others = comparison.ranking.rows
    for row in others:
        for mine, theirs in zip(first.blocks, row.blocks, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert [e.size for e in row.errors] == [e.size for e in first.errors]
    assert comparison.positions == sum(e.size for e in first.errors)
    for row in comparison.ranking.rows:
        assert row.score.loss == pytest.approx(np.mean(np.concatenate(row.errors)))


def test_results_are_images_and_the_table_is_json(comparison, sample):
    for row in comparison.ranking.rows:
        assert row.result.shape == sample.noisy.data.shape
        assert n2s.psnr(sample.truth, row.result, data_range=np.ptp(sample.truth)) == (
            pytest.approx(row.psnr)
        )
    table = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert table["rows"][0]["rank"] == 1
    assert table["partition"]["kind"] == "grid"


def test_settings_of_a_row_make_its_result_again(sample):
    found = compare(sample.noisy.data, ["unet"], **SHORT).ranking.rows[0]
    config = TrainingConfig.model_validate(found.settings)
    again = n2s.Denoiser(config).fit(sample.noisy.data).predict(sample.noisy.data)
    np.testing.assert_array_equal(again, found.result)


def test_the_same_model_twice_is_a_tie(sample, tmp_path):
    noisy = sample.noisy.data
    good = n2s.Denoiser(TrainingConfig(**SHORT)).fit(noisy)
    good.save(tmp_path / "good.safetensors")
    found = compare(noisy, [good, tmp_path / "good.safetensors"], device="cpu")
    assert found.ranking.ranks == (1, 1)
    assert found.ranking.tied == (True, True)
    assert {row["denoiser"] for row in found.rows} == {"A trained model", "good"}


def row_of(name, errors):
    errors, blocks = (np.asarray(errors, float),), (np.arange(len(errors)) // 20,)
    score = Score(float(errors[0].mean()), 0.0, len(errors[0]))
    return Row(name, "", {}, score, 0.0, errors=errors, blocks=blocks)


def test_ties_are_decided_by_differences_not_by_the_spread_of_the_errors():
    rng = np.random.default_rng(0)
    hard = 100 * rng.exponential(size=2000)  # what is hard for one is hard for all
    rows = [
        row_of("best", hard + 10 + rng.normal(size=2000)),
        row_of("alike", hard + 10.01 + rng.normal(size=2000)),
        row_of("worse", hard + 11 + rng.normal(size=2000)),
    ]
    ranking = Ranking.of(rows[::-1])
    assert ranking.rows[2].name == "worse"
    assert ranking.ranks == (1, 1, 3)
    # Compared as if they were independent, all three would be tied.
    assert difference(rows[2], rows[0])[0] < np.std(hard) / 2000**0.5


def test_a_difference_is_known_better_than_the_scores(comparison):
    first, second = comparison.ranking.rows[:2]
    mean, error = difference(second, first)
    assert mean == pytest.approx(second.score.loss - first.score.loss)
    assert error < math.hypot(first.score.error, second.score.error)
    assert difference(first, first) == (0, 0)


def test_one_that_fails_is_a_row_that_says_why_and_the_others_go_on(sample, tmp_path):
    missing = tmp_path / "missing.safetensors"
    found = compare(sample.noisy.data, ["gaussian", missing])
    assert [row["denoiser"] for row in found.rows] == ["Gaussian", "missing"]
    assert "missing.safetensors" in found.rows[1]["failure"]
    assert found.rows[1]["rank"] is None
    assert found.rows[1]["score"] is None


def test_a_stop_ends_it_with_what_is_complete(sample):
    control = Control()
    events = compare_events(sample.noisy.data, ["gaussian", "unet"], control=control)
    try:
        while True:
            event = next(events)
            if isinstance(event, ComparisonEvent) and event.doing.startswith("Training"):
                control.stop()
    except StopIteration as stop:
        found = stop.value
    assert found.stopped
    assert [row["denoiser"] for row in found.rows] == ["Gaussian", "UNet"]
    assert found.rows[1]["failure"] == "Stopped before it was trained."


def test_progress_never_goes_back(sample):
    events = []
    compare(sample.noisy.data, ["gaussian", "median"], progress=events.append)
    fractions = [event.fraction for event in events if isinstance(event, ComparisonEvent)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_the_curves_of_filters_come_with_the_events(sample):
    noisy = sample.truth + np.random.default_rng(0).normal(0, 5, sample.truth.shape)
    events = list(compare_events(noisy, ["median"], truth=sample.truth, plain=True))
    heard = [e.calibration for e in events if isinstance(e, ComparisonEvent) and e.calibration]
    points = [point for part in heard for point in part.points]
    assert {point.filter for point in points} == {"median"}
    best = min(points, key=lambda point: point.loss)
    assert best.parameters == events[-1].ranking.rows[0].settings["parameters"]
    # What the plain filter takes away says nothing; the truth does.
    assert best.plain_loss != min(point.plain_loss for point in points)
    assert best.mse == min(point.mse for point in points)
    assert best.loss - best.mse == pytest.approx(25, rel=0.1)
    assert heard[0].noise_variance == pytest.approx(25, rel=0.1)


def test_a_stop_keeps_the_filters_that_are_complete(sample):
    control = Control()
    events = compare_events(sample.noisy.data, ["gaussian", "nlm", "tv"], control=control)
    try:
        while True:
            event = next(events)
            if isinstance(event, ComparisonEvent) and event.doing.endswith("Non-local means"):
                control.stop()
    except StopIteration as stop:
        found = stop.value
    assert found.stopped
    assert found.best.name == "Gaussian"
    assert found.rows[1]["failure"] == "Stopped before it was calibrated."


@pytest.mark.parametrize(
    ("image", "settings", "words"),
    [
        (np.ones((64, 64)), {}, "constant"),
        (np.zeros((64, 64)), {"denoisers": ["sharpen"]}, "'sharpen'"),
        (np.zeros((64, 64)), {"denoisers": ["unet", "unet"]}, "once"),
        (np.zeros((64, 64)), {"denoisers": []}, "at least one"),
        (np.zeros((64, 64)), {"truth": np.zeros((3, 3))}, r"\(3, 3\)"),
        (np.zeros((64, 64)), {"axes": "TCZYX"}, "axes"),
        (np.broadcast_to(np.float32(0), (5000, 5000)), {}, "25 million"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(image, settings, words):
    with pytest.raises(InputError, match=words):
        compare(image, **{"denoisers": ["gaussian"], **settings})


def test_ranks_of_rows_without_a_score_are_none():
    failed = Row("x", "", {}, Score.unknown(), 0.0, failure="why")
    assert Ranking.of([failed]).ranks == (None,)
    assert Ranking.of([]).rows == ()


def test_filters_and_networks_are_compared_on_the_same_pixels():
    rng = np.random.default_rng(0)
    wave = 1000 + 500 * np.sin(np.arange(64) / 7)
    stack = np.stack([rng.normal(100, 1, (64, 64)), rng.normal(wave, 30, (64, 64))])
    y, x = np.argwhere(n2s.Grid(4).held_out((64, 64)))[20]
    stack[0, y, x] = 200  # stands out of its frame, and not of the stack
    best = n2s.calibrate(stack, "gaussian", n2s.Grid(4)).best
    config = n2s.TrainingConfig(
        partition=n2s.Grid(4), channels=4, depth=2, crop_size=32, epochs=0.2, device="cpu"
    )
    network = n2s.Denoiser(config).fit(stack)
    by_filter, by_network = best.held_out(stack), network.held_out(stack)
    assert len(by_filter[0].observed) == len(by_network[0].observed)
    # In grey values, and in units of the noise.
    correlation = np.corrcoef(by_filter[0].observed, by_network[0].observed)[0, 1]
    assert correlation == pytest.approx(1)
