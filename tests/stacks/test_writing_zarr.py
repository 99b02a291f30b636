from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pytest
import yaozarrs
import zarr
from napari_builtins.io import napari_get_reader

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks import writing_zarr
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.targets import partial_of
from napari_noise2self.stacks.writing import write

LENGTHS = {"T": 3, "C": 2, "Z": 4, "Y": 300, "X": 517, "S": 3, "Q": 3}
SIZES = {"T": (2.5, "s"), "Z": (0.4, "µm"), "Y": (0.108, "µm"), "X": (0.11, "µm")}


def source(axes="TCZYX", dtype="uint16", sizes=SIZES, **kwargs):
    shape = tuple(LENGTHS[letter] for letter in axes)
    data = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    known = [sizes.get(letter, (None, None)) for letter in axes]
    if "C" in axes:
        kwargs = {
            "channel_names": ("DAPI", "GFP"),
            "channel_colors": ("#0000ff", "#00ff00"),
        } | kwargs
    return Stack(data, axes, [s for s, _ in known], [u for _, u in known], "cells", **kwargs)


def levels(path):
    group = zarr.open_group(str(path), mode="r")
    return [group[key] for key in sorted(group.array_keys())]


def ome(path):
    attributes = zarr.open_group(str(path), mode="r").attrs.asdict()
    return attributes.get("ome", attributes)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(
    ("axes", "stored", "dtype"),
    [("TCZYX", "TCZYX", "uint16"), ("XYC", "CYX", "float32"), ("YXS", "CYX", "uint8")],
)
def test_what_is_written_is_valid_and_comes_back(tmp_path, version, axes, stored, dtype):
    stack = source(axes, dtype)
    path = tmp_path / "größe 1.ome.zarr"
    record = {"score": 1.5, "settings": {"epochs": float("inf")}}
    written = write(path, stack.data, stack, ome_zarr_version=version, provenance=record)
    assert (written.path, written.dtype, written.clipped) == (path, dtype, 0)
    yaozarrs.validate_zarr_store(str(path))
    assert zarr.open_group(str(path)).metadata.zarr_format == {"0.5": 3, "0.4": 2}[version]
    order = [axes.replace("S", "C").index(letter) for letter in stored]
    expected = stack.data.transpose(order)
    np.testing.assert_array_equal(levels(path)[0][:], expected)
    ((shown, *_),) = napari_get_reader(str(path))(str(path))
    np.testing.assert_array_equal(np.asarray(shown[0]), expected)
    back = read(path)
    assert (back.axes, back.dtype) == (stored, dtype)
    np.testing.assert_array_equal(np.asarray(back.data), expected)
    for letter in stored:
        assert back.size(letter) == stack.size(letter)
    if "C" in axes:
        assert back.channel_names == stack.channel_names
        assert back.channel_colors == stack.channel_colors
    attributes = zarr.open_group(str(path)).attrs.asdict()
    said = attributes["noise2self"]
    assert (said["score"], said["source"], said["software"]) == (1.5, "cells", "napari-noise2self")
    assert said["settings"]["epochs"] is None
    assert not [p.name for p in path.iterdir() if "noise2self" in p.name]


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_the_reader_of_ome_zarr_finds_all_of_it(tmp_path, version):
    pytest.importorskip("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    stack = source(translate=(None, None, 1.0, 3.0, 4.0))
    path = tmp_path / "cells.ome.zarr"
    write(path, stack.data, stack, ome_zarr_version=version)
    (node,) = Reader(parse_url(path))()
    np.testing.assert_array_equal(np.asarray(node.data[0]), stack.data)
    assert [level.shape for level in node.data] == [level.shape for level in levels(path)]
    assert [axis["name"] for axis in node.metadata["axes"]] == list("tczyx")
    assert [axis.get("unit") for axis in node.metadata["axes"]][-2:] == ["micrometer"] * 2
    scale, place = node.metadata["coordinateTransformations"][0]
    assert scale["scale"] == pytest.approx([2.5, 1, 0.4, 0.108, 0.11])
    assert place["translation"] == pytest.approx([0, 0, 1, 3, 4])
    assert node.metadata["channel_names"] == ["DAPI", "GFP"]
    np.testing.assert_array_equal(
        [table[-1] for table in node.metadata["colormap"]], [(0, 0, 1), (0, 1, 0)]
    )


def test_every_level_is_the_mean_of_the_one_before_and_lies_where_it_does(tmp_path):
    stack = source("CYX", "float32", translate=(None, 10.0, -3.0))
    write(tmp_path / "a.zarr", stack.data, stack)
    first, second, third = levels(tmp_path / "a.zarr")
    assert (second.shape, third.shape) == ((2, 150, 259), (2, 75, 130))
    whole = np.asarray(first[:, :300, :516])
    mean = whole.reshape(2, 150, 2, 258, 2).mean((2, 4))
    np.testing.assert_allclose(second[:, :, :258], mean, rtol=1e-6)
    np.testing.assert_allclose(second[:, 3, 258], first[:, 6:8, 516].mean(1), rtol=1e-6)
    places = [
        level["coordinateTransformations"]
        for level in ome(tmp_path / "a.zarr")["multiscales"][0]["datasets"]
    ]
    assert [place[0]["scale"] for place in places] == [
        [1, 0.108, 0.11],
        [1, 0.216, 0.22],
        [1, 0.432, 0.44],
    ]
    np.testing.assert_allclose(
        [place[1]["translation"] for place in places],
        [[0, 10, -3], [0, 10.054, -2.945], [0, 10.162, -2.835]],
    )
    assert read(tmp_path / "a.zarr").translate[1:] == (10.0, -3.0)


@pytest.mark.parametrize(
    ("pitch", "depths"),
    [(0.05, (16, 8, 4)), (0.108, (16, 8, 4)), (0.3, (16, 16, 16)), (None, (16, 16, 16))],
)
def test_planes_are_joined_until_voxels_are_cubes(tmp_path, pitch, depths):
    size = (pitch, "µm") if pitch else (None, None)
    stack = Stack(
        np.zeros((16, 600, 600), "uint8"), "ZYX", (size[0], 0.108, 0.108), (size[1], "µm", "µm")
    )
    write(tmp_path / "a.zarr", stack.data, stack)
    assert tuple(level.shape[0] for level in levels(tmp_path / "a.zarr")) == depths
    yaozarrs.validate_zarr_store(str(tmp_path / "a.zarr"))


def test_a_large_image_has_few_files_and_no_chunk_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(writing_zarr, "_LARGE", 2**22)
    stack = Stack(np.zeros((40, 256, 300), "uint16"), "TYX")
    write(tmp_path / "a.zarr", da.from_array(stack.data, chunks=(3, 256, 300)), stack)
    (level, smaller) = levels(tmp_path / "a.zarr")
    assert (level.chunks, level.shards) == ((1, 256, 300), (40, 256, 300))
    assert smaller.shards is None
    assert (tmp_path / "a.zarr" / "0" / "c" / "0" / "0" / "0").is_file()
    write(tmp_path / "b.zarr", stack.data, stack, ome_zarr_version="0.4")
    assert levels(tmp_path / "b.zarr")[0].chunks == (6, 256, 300)
    for path in (tmp_path / "a.zarr", tmp_path / "b.zarr"):
        yaozarrs.validate_zarr_store(str(path))
        # What lacks chunks is refused, at every level.
        for level in (path, path / "1"):
            assert not np.asarray(read(level).data).any()


def test_channels_are_shown_between_their_own_grey_values(tmp_path):
    data = np.zeros((2, 64, 64), "uint16")
    data[0], data[1] = np.arange(64), 1000
    write(tmp_path / "a.zarr", data, Stack(data, "CYX"))
    first, second = (channel["window"] for channel in ome(tmp_path / "a.zarr")["omero"]["channels"])
    assert (first["min"], first["max"]) == (0, 65535)
    assert 0 <= first["start"] < 1
    assert 62 < first["end"] <= 63
    assert second["start"] == 1000 < second["end"]


def test_an_unknown_size_stays_unknown(tmp_path):
    stack = source("YX", sizes={"Y": (2.0, None), "X": (None, None)})
    write(tmp_path / "a.zarr", stack.data, stack)
    (axis_y, axis_x) = ome(tmp_path / "a.zarr")["multiscales"][0]["axes"]
    assert "unit" not in axis_y
    assert "unit" not in axis_x
    assert read(tmp_path / "a.zarr").channel_names is None


@pytest.mark.parametrize(("axes", "advice"), [("CYXS", "OME-TIFF"), ("WUQYX", "letters of TZCYX")])
def test_axes_that_it_cannot_hold_are_refused(tmp_path, axes, advice):
    stack = Stack(np.zeros([3] * (len(axes) - 2) + [8, 8]), axes)
    if axes == "CYXS":
        stack = Stack(np.zeros((2, 8, 8, 3)), axes)
    with pytest.raises(Noise2SelfError, match=advice):
        write(tmp_path / "a.ome.zarr", stack.data, stack)
    with pytest.raises(Noise2SelfError, match=r"0\.5 and 0\.4"):
        write(tmp_path / "a.ome.zarr", source("YX").data, source("YX"), ome_zarr_version="0.3")
    assert not list(tmp_path.iterdir())


def test_an_existing_zarr_is_replaced_when_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.ome.zarr"
    stack = source("YX")
    write(path, stack.data, stack)
    with pytest.raises(Noise2SelfError, match="exists"):
        write(path, stack.data, stack)

    def full(*_):
        np.testing.assert_array_equal(levels(path)[0][:], stack.data)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing_zarr, "_shrink_block", full)
        with pytest.raises(Noise2SelfError, match="disk is full"):
            write(path, stack.data + 1, stack, overwrite=True)
    np.testing.assert_array_equal(levels(path)[0][:], stack.data)
    assert list(tmp_path.iterdir()) == [path]
    write(path, stack.data + 1, stack, overwrite=True)
    np.testing.assert_array_equal(levels(path)[0][:], stack.data + 1)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_no_zarr_is_never_replaced(tmp_path):
    path = tmp_path / "a.zarr"
    path.mkdir()
    (path / "precious.txt").write_text("precious")
    with pytest.raises(Noise2SelfError, match="no Zarr"):
        write(path, source("YX").data, source("YX"), overwrite=True)
    assert (path / "precious.txt").read_text() == "precious"


def test_an_unfinished_export_is_not_replaced_by_another_result(tmp_path):
    path = partial_of(tmp_path / "a.zarr")
    path.mkdir()
    (path / "noise2self-state.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(Noise2SelfError, match="unfinished"):
        write(tmp_path / "a.zarr", source("YX").data, source("YX"))
    assert path.is_dir()
