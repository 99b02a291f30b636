from __future__ import annotations

import numpy as np
import pytest

import napari_noise2self as n2s
from napari_noise2self import Denoiser, Noise2SelfError, TrainingConfig
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.region import part_of, region_from

QUICK = TrainingConfig(epochs=0.2, channels=4, depth=2, crop_size=32, batch_size=2, device="cpu")


class Guarded:
    """An array that allows to read a part of it alone."""

    def __init__(self, values, allowed):
        self.values, self.allowed = values, allowed
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, index):
        for at, (start, stop), n in zip(index, self.allowed, self.shape, strict=True):
            first, last, _ = at.indices(n) if isinstance(at, slice) else (at, at + 1, 1)
            assert start <= first
            assert last <= stop
        return self.values[index]


@pytest.fixture
def movie():
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(100, 10, (6, 48, 56)), 0, 255).astype(np.uint8)


def test_nothing_outside_is_read(movie):
    region = {"T": (2, 5), "Y": slice(8, 40), "x": (20, None)}
    guarded = Guarded(movie, [(2, 5), (8, 40), (20, 56)])
    denoiser = Denoiser(QUICK).fit(guarded, "TYX", region=region)
    assert denoiser.summary["region"] == {"T": [2, 5], "Y": [8, 40], "X": [20, 56]}
    assert denoiser.predict(movie, "TYX").shape == movie.shape


def test_the_same_part_of_the_target_teaches(movie):
    region = {"Y": (0, 32), "T": (1, 2)}
    target = Guarded(movie, [(1, 2), (0, 32), (0, 56)])
    denoiser = Denoiser(QUICK).fit(movie, "TYX", target, region=region)
    assert denoiser.summary["objective"] == "n2n"
    # Compared at held-out pixels of that part of the target, which is the movie itself.
    assert 0 < denoiser.summary["target"]["positions"] < 32 * 56


def test_masks_lie_where_they_do_on_the_whole_image(movie):
    layout = Layout.of(movie.shape, "TYX")
    part, of_part = part_of(movie, layout, {"Y": (5, 40), "X": (3, 50), "T": (4, 6)})
    data = prepare([(part, of_part)])
    assert {block.origin for block in data.blocks} == {(5, 3)}
    assert data.pixels == 2 * 35 * 47
    values = data.normalisation.invert(data.blocks[1].values)[0]
    np.testing.assert_allclose(values, movie[5, 5:40, 3:50], atol=1e-3)


def test_all_is_denoised(movie):
    for region in ({"T": (0, 1)}, {}, None):
        result = n2s.denoise(movie, axes="TYX", region=region, epochs=0.1, device="cpu")
        assert result.shape == movie.shape
        assert np.isfinite(result).all()


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ({"Z": (0, 2)}, "names the axis 'Z', and the image has TCYX"),
        ({"TY": (0, 2)}, "names the axis 'TY'"),
        ({"C": (0, 1)}, "all of the channels are needed"),
        ({"T": (0, 7)}, r"along T was \(0, 7\), which lies outside of the 6"),
        ({"T": slice(-9, None)}, "along T was -9:, which lies outside"),
        ({"T": (3, 3)}, "in which there is nothing"),
        ({"T": slice(0, 4, 2)}, "along T was 0:4:2: give a slice without a step"),
        ({"T": 3}, "along T was 3: give a slice"),
        ({"T": (0.5, 3)}, "two whole numbers"),
        ({"X": (0, 9)}, "only 9 pixels along X: at least 16"),
        ({"X": (8, 9)}, "only 1 pixel along X: at least 16"),
        ((slice(0, 3),), "name axes and their ranges"),
    ],
)
def test_what_cannot_be_learned_from_is_said_in_a_sentence(movie, region, words):
    image = np.stack([movie, movie], axis=1)
    with pytest.raises(Noise2SelfError, match=words):
        Denoiser(QUICK).fit(image, "TCYX", region=region)


def test_a_region_is_written_as_ranges():
    assert region_from("Y=0:512, x=:100,T=-3:") == {
        "Y": slice(0, 512),
        "X": slice(None, 100),
        "T": slice(-3, None),
    }
    for wrong in ("Y", "Y=5", "Y=0:5,Y=1:2", "Y=0:5:2", ""):
        with pytest.raises(Noise2SelfError, match="write ranges of axes"):
            region_from(wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("T=0:3,Q=9", r"'Q=9' lacks its colon \(Q=9:10 is that one alone\)"),
        ("T = -1", r"'T = -1' lacks its colon \(T=-1: is that one alone\)"),
        ("Y=0:5,y=1:2", "which names Y twice"),
        ("T=0:3,Y=0:5:2", "'Y=0:5:2' is no range"),
        ("T=0:3,", "a range is missing"),
    ],
)
def test_the_range_that_is_wrong_is_named(text, words):
    with pytest.raises(Noise2SelfError, match=words):
        region_from(text)


def test_the_masks_of_a_stack_are_learned_all_over_it():
    # A large stack is learned from in blocks, and these come from all of its slices.
    layout = Layout.of((64, 2048, 2048), "ZYX")
    from napari_noise2self.engine.preparation import MAX_TRAINING_PIXELS
    from napari_noise2self.engine.spread import spread_blocks

    frames = {frame for frame, _ in spread_blocks(layout, MAX_TRAINING_PIXELS)}
    assert len(frames) >= 32
    assert max(np.diff(sorted(frames))) <= 2
