from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.reading_series import read_series


def plane(number, shape=(8, 9)):
    return np.full(shape, number, "uint16")


def write(folder, names, **settings):
    """Planes numbered in the order of the names."""
    for number, name in enumerate(names):
        tifffile.imwrite(folder / name, plane(number), **settings)


def values(stack):
    return np.asarray(stack.data)[..., 0, 0].tolist()


def test_plain_numbers_are_frames_in_natural_order(tmp_path):
    write(tmp_path, [f"img_{n}.tif" for n in (1, 2, 10, 11)])
    stack = read(tmp_path)
    assert stack.axes == "ZYX"
    assert stack.guessed == "Z"
    assert values(stack) == [0, 1, 2, 3]
    assert stack.name == tmp_path.name
    assert [n for n in stack.notices if "guessed" in n]
    # 3 to 9 are not there: said, because somebody may have lost them.
    assert [n for n in stack.notices if "7 of the numbers" in n]
    assert read(tmp_path, "tyx").axes == "TYX"


def test_letters_and_words_before_numbers_are_axes(tmp_path):
    names = [f"A1 wt_C{c}_Z{z:02}_T{t:03}.tif" for t in (5, 6) for c in (1, 2) for z in range(3)]
    write(tmp_path, names)
    stack = read(tmp_path)
    assert stack.axes == "TCZYX"
    assert stack.guessed == ""
    assert values(stack) == np.arange(12).reshape(2, 2, 3).tolist()
    assert stack.notices == ()
    one = read(tmp_path / "*_C2_Z*.tif")
    assert one.axes == "TZYX"
    assert values(one) == [[3, 4, 5], [9, 10, 11]]


def test_numbers_that_only_repeat_others_are_no_axis(tmp_path):
    write(tmp_path, [f"img_channel{c}_time{t}_{t * 97}.tif" for t in range(2) for c in range(2)])
    assert read(tmp_path).axes == "TCYX"


def test_files_may_be_stacks_and_keep_their_sizes(tmp_path):
    for t in range(2):
        tifffile.imwrite(
            tmp_path / f"t{t}.ome.tif",
            np.stack([plane(10 * t), plane(10 * t + 1)]),
            ome=True,
            metadata={"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
        )
    stack = read(tmp_path)
    assert stack.axes == "TCYX"
    assert values(stack) == [[0, 1], [10, 11]]
    assert stack.size("X") == (0.5, "µm")


def test_a_plane_is_read_alone(tmp_path):
    write(tmp_path, [f"{n}.tif" for n in range(3)])
    stack = read(tmp_path)
    (tmp_path / "1.tif").unlink()
    assert stack.data[2, 0, 0] == 2
    with pytest.raises(InputError, match=r"1\.tif"):
        stack.data[1]


def test_strangers_are_left_out_and_told(tmp_path):
    write(tmp_path, ["1.tif", "2.tif"])
    for name in ("notes.txt", "Thumbs.db", ".hidden.tif"):
        (tmp_path / name).write_text("hello")
    (tmp_path / "old").mkdir()
    stack = read(tmp_path, "tyx")
    assert stack.shape == (2, 8, 9)
    assert len(stack.notices) == 1
    assert "notes.txt" in stack.notices[0]


def empty(folder):
    pass


def only_strangers(folder):
    (folder / "notes.txt").write_text("hello")


def two_series(folder):
    write(folder, ["a_1.tif", "a_2.tif", "b_1.tif"])


def another_size(folder):
    write(folder, ["1.tif", "2.tif"])
    tifffile.imwrite(folder / "3.tif", plane(3, (8, 8)))


def a_hole(folder):
    write(folder, ["z1_c1.tif", "z1_c2.tif", "z2_c1.tif"])


def same_number(folder):
    write(folder, ["1.tif", "01.tif"])


def not_tiff(folder):
    write(folder, ["1.tif", "2.tif"])
    (folder / "2.tif").write_text("hello")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty, "is an empty folder"),
        (only_strangers, "holds no TIFF"),
        (two_series, "more than one series, as a_1.tif and b_1.tif show"),
        (another_size, r"3\.tif has the shape \(8, 8\)"),
        (a_hole, "none has C2, Z2"),
        (same_number, "files of the same number"),
        (not_tiff, r"2\.tif is no TIF file or is damaged"),
    ],
)
def test_what_is_no_series_is_refused_in_one_sentence(tmp_path, make, words):
    folder = tmp_path / "mon dossier à moi"
    folder.mkdir()
    make(folder)
    with pytest.raises(InputError, match=words) as caught:
        read(folder)
    assert "mon dossier à moi" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_nothing_is_called(tmp_path):
    with pytest.raises(InputError, match=r"no TIFF called .*img_\*\.tif"):
        read(tmp_path / "img_*.tif")


def test_the_distance_of_planes_is_what_each_file_says(tmp_path):
    for number in range(3):
        tifffile.imwrite(
            tmp_path / f"img_z{number}.ome.tif",
            np.zeros((32, 32), np.uint16),
            metadata={
                "axes": "YX",
                "PhysicalSizeX": 0.1,
                "PhysicalSizeY": 0.1,
                "PhysicalSizeZ": 0.5,
            },
        )
    stack = read_series(tmp_path)
    assert (stack.axes, stack.scale) == ("ZYX", (0.5, 0.1, 0.1))
    assert stack.units == ("µm", "µm", "µm")


@pytest.mark.parametrize("along", ["t", "z"])
def test_a_series_keeps_its_place_on_the_stage(tmp_path, along):
    for number in range(2):
        tifffile.imwrite(
            tmp_path / f"img_{along}{number}.ome.tif",
            plane(number),
            metadata={
                "axes": "YX",
                "PhysicalSizeX": 0.5,
                "PhysicalSizeY": 0.5,
                "Plane": {
                    "PositionX": [20.0],
                    "PositionXUnit": ["µm"],
                    "PositionY": [-3.0],
                    "PositionYUnit": ["µm"],
                },
            },
        )
    assert read(tmp_path).translate == (None, -3.0, 20.0)
