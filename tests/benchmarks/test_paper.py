"""The parts of the paper's experiments that could be wrong without looking wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

PAPER = Path(__file__).parents[2] / "benchmarks" / "paper"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch):
    """The scripts import each other by their plain names; afterwards these names are free again."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(PAPER.parent))
    monkeypatch.syspath_prepend(str(PAPER))
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(PAPER.parent):
            del sys.modules[name]


def test_the_optimum_of_a_gaussian_process_is_reached_by_mixing():
    from gaussian_process import ORACLE, row

    for (sigma, length), expected in ORACLE.items():
        found = row(sigma, length)
        exact = [found["bayes"], found["j_invariant"], found["mixed"]]
        assert exact == pytest.approx(expected, abs=1e-4)
        drawn = [found["drawn_bayes"], found["drawn_j_invariant"], found["drawn_mixed"]]
        assert drawn == pytest.approx(expected, rel=0.02)


def test_outputs_are_rescaled_as_the_paper_says_and_as_its_code_does():
    from metric import quality, rescaled

    rng = np.random.default_rng(0)
    truth = rng.random((16, 16, 3))
    image = 5 - 3 * truth + rng.normal(0, 1, truth.shape)
    matched = rescaled(truth, image, "matched")
    assert matched.mean() == pytest.approx(truth.mean())
    assert matched.std() == pytest.approx(truth.std())
    fitted = rescaled(truth, image, "fitted")
    slope, offset = np.polyfit(image.ravel(), truth.ravel(), 1)
    assert fitted == pytest.approx(slope * image + offset)
    # 10 log10(255² / 5²) for an image that is off by 5 everywhere.
    assert quality([truth], [truth + 5], 255, "as it is") == pytest.approx(34.15, abs=0.01)
    assert quality([truth], [3 * image + 1], 1) == pytest.approx(quality([truth], [image], 1))


@pytest.mark.parametrize("kind", ["hanzi", "natural", "camera", "gaussian"])
def test_the_two_noisy_versions_are_independent(kind):
    import datasets

    noise = getattr(datasets, f"{kind}_noise")
    peak = 255 if kind in ("natural", "gaussian") else 1
    truth = np.full((4, 64, 64), 0.5 * peak, np.float32)
    rng = np.random.default_rng(0)
    one, other = noise(truth, rng), noise(truth, rng)
    assert one.dtype == np.float32
    assert one.std() > 0.05 * peak
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05
    if kind != "gaussian":
        assert one.min() >= 0
        assert one.max() <= peak


def test_four_tenths_of_a_character_are_black():
    import datasets

    class NoNormalNoise:
        def __init__(self) -> None:
            self.integers = np.random.default_rng(0).integers

        def standard_normal(self, shape, dtype):
            return np.zeros(shape, dtype)

    tiles = datasets.hanzi_noise(np.ones((20, 64, 64), np.float32), NoNormalNoise())
    # 2048 draws of 63² places miss a place with a probability of exp(-2048 / 3969).
    assert np.mean(tiles == 0) == pytest.approx(0.39, abs=0.01)
    assert (tiles[:, 63] == 1).all()


def test_the_parts_to_train_and_to_test_on_share_no_image():
    import datasets

    train, test = datasets.PHOTOGRAPHS["train"], datasets.PHOTOGRAPHS["test"]
    assert not set(train) & set(test)
    order = datasets.characters()
    assert len(set(order)) == len(order) == datasets.CHARACTERS
    assert sum(datasets.FULL["hanzi"]) == datasets.CHARACTERS * datasets.TILES
    # Whole characters: the tiles of one are all in the same part.
    assert datasets.FULL["hanzi"][0] % datasets.TILES == 0
