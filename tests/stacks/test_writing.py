from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import ome_types
import pytest
import tifffile
from napari_builtins.io import napari_get_reader

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks import provenance, writing, writing_tiff
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.writing import check_target, write

LENGTHS = {"T": 4, "Z": 5, "C": 2, "Y": 20, "X": 30, "S": 3, "Q": 3, "U": 2}
SIZES = {"T": (2.5, "s"), "Z": (0.4, "µm"), "Y": (0.108, "µm"), "X": (0.11, "µm")}


def source(axes="YX", dtype="uint16", sizes=SIZES, **kwargs):
    shape = tuple(LENGTHS[letter] for letter in axes)
    data = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    known = [sizes.get(letter, (None, None)) for letter in axes]
    names = ("DAPI", "GFP") if "C" in axes else None
    return Stack(data, axes, [s for s, _ in known], [u for _, u in known], "cells", names, **kwargs)


@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16", "uint32", "float64"])
@pytest.mark.parametrize(
    "axes", ["YX", "TYX", "ZYX", "CYX", "ZCYX", "CZYX", "TZCYX", "YXS", "TYXS", "SYX", "XYC"]
)
def test_pixels_axes_sizes_and_names_come_back(tmp_path, axes, dtype, ending):
    stack = source(axes, dtype)
    path = tmp_path / f"out{ending}"
    written = write(path, stack.data.astype("float32"), stack)
    back = read(path)
    assert (written.path, written.dtype, written.clipped) == (path, dtype, 0)
    assert back.dtype == dtype
    assert sorted(back.axes) == sorted(axes)
    order = [axes.index(letter) for letter in back.axes]
    np.testing.assert_array_equal(back.data, stack.data.transpose(order))
    for letter in axes:
        before, after = stack.size(letter), back.size(letter)
        assert after == (before and (pytest.approx(before[0], rel=1e-5), before[1]))
    assert back.channel_names == stack.channel_names


def test_leading_axes_stay_in_the_order_of_the_source(tmp_path):
    write(tmp_path / "a.ome.tif", source("CTYX").data, source("CTYX"))
    assert read(tmp_path / "a.ome.tif").axes == "CTYX"


@pytest.mark.parametrize(("axes", "named"), [("QYX", "TYX"), ("UQYX", "TZYX"), ("TQYX", "TZYX")])
@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_axes_without_a_name_become_time_then_depth(tmp_path, axes, named, ending):
    sizes = {"Q": (3.0, "s" if named[-3] == "T" else "µm")}
    stack = source(axes, sizes=sizes)
    write(tmp_path / f"a{ending}", stack.data, stack)
    back = read(tmp_path / f"a{ending}")
    assert back.axes == named
    assert back.size(named[-3]) == stack.size("Q")


def test_axes_that_no_tiff_has_are_refused_beforehand(tmp_path):
    stack = Stack(np.zeros((2, 2, 2, 4, 4)), "WUQYX")
    with pytest.raises(Noise2SelfError, match="WUQYX"):
        check_target(tmp_path / "a.tif", stack)


def test_the_ome_xml_is_valid_and_says_what_the_source_said(tmp_path):
    write(tmp_path / "a.ome.tif", source("TZCYX").data, source("TZCYX"))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        ome = ome_types.from_xml(tiff.ome_metadata)
    pixels = ome.images[0].pixels
    assert ome.images[0].name == "cells"
    assert pixels.physical_size_x_quantity.to("nm").magnitude == pytest.approx(110)
    assert pixels.physical_size_z == 0.4
    assert pixels.time_increment == 2.5
    assert [channel.name for channel in pixels.channels] == ["DAPI", "GFP"]


def test_a_size_without_a_unit_is_not_given_one(tmp_path):
    stack = source(sizes={"Y": (2.0, None), "X": (2.0, None)})
    for name in ("a.ome.tif", "a.tif"):
        write(tmp_path / name, stack.data, stack)
        assert read(tmp_path / name).size("X") == (2.0, None)


def test_an_unknown_size_stays_unknown(tmp_path):
    stack = source(sizes={})
    for name in ("a.ome.tif", "a.tif"):
        write(tmp_path / name, stack.data, stack)
        assert read(tmp_path / name).scale == (None, None)


@pytest.mark.parametrize("unit", [None, "frames"])
@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_an_interval_in_no_unit_that_ome_knows_is_kept_and_given_none(tmp_path, unit, ending):
    stack = source("TYX", sizes={**SIZES, "T": (2.5, unit)})
    path = tmp_path / f"a{ending}"
    for record in (None, RECORD):
        write(path, stack.data, stack, provenance=record, overwrite=True)
        assert read(path).size("T") == (2.5, unit)
    assert "TimeIncrement" not in provenance.read(path)
    with tifffile.TiffFile(path) as tiff:
        pixels = ome_types.from_xml(tiff.ome_metadata, validate=True).images[0].pixels
    assert pixels.time_increment is None


@pytest.mark.parametrize("axes", ["YX", "TYX", "CYX"])
@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_the_name_of_a_single_channel_comes_back(tmp_path, axes, ending):
    data = np.zeros([1 if letter == "C" else 8 for letter in axes], "uint16")
    stack = Stack(data, axes, channel_names=("DAPI",))
    write(tmp_path / f"a{ending}", data, stack)
    assert read(tmp_path / f"a{ending}").channel_names == ("DAPI",)


def test_plain_tif_is_a_hyperstack_where_imagej_loses_nothing(tmp_path):
    def flavour(stack):
        write(tmp_path / "a.tif", stack.data, stack, overwrite=True)
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            return "imagej" if tiff.is_imagej else "ome" if tiff.is_ome else "other"

    assert flavour(source("TZCYX")) == "imagej"
    assert flavour(source("YX", "int16")) == "ome"
    assert flavour(source("CTYX")) == "ome"
    assert flavour(replace(source("YX"), channel_names=("DAPI",))) == "ome"
    assert flavour(source("YXS", "uint16")) == "ome"
    assert flavour(source("ZYX", sizes={**SIZES, "Z": (400.0, "nm")})) == "ome"


def test_integers_are_rounded_and_clipped_and_the_clipped_are_counted(tmp_path):
    stack = Stack(np.zeros((2, 3), "uint8"), "YX")
    result = np.array([[-3, -0.4, 1.5], [254.6, 255.4, 300]], "float32")
    written = write(tmp_path / "a.tif", result, stack)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), [[0, 0, 2], [255, 255, 255]])
    assert written.clipped == 2


def test_float32_on_request_and_for_types_that_tiff_has_not(tmp_path):
    result = np.array([[-1.5, 2.25]], "float32")
    for name, dtype, choice in (
        ("a.ome.tif", "uint16", "float32"),
        ("b.ome.tif", "int64", "source"),
        ("c.ome.tif", "float16", "source"),
    ):
        written = write(tmp_path / name, result, Stack(result.astype(dtype), "YX"), dtype=choice)
        assert written.dtype == "float32"
        np.testing.assert_array_equal(tifffile.imread(tmp_path / name), result)


def test_a_file_is_not_overwritten_unasked(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("precious")
    with pytest.raises(Noise2SelfError, match="exists"):
        check_target(path)
    with pytest.raises(Noise2SelfError, match="exists"):
        write(path, source().data, source())
    assert path.read_text() == "precious"
    write(path, source().data, source(), overwrite=True)
    np.testing.assert_array_equal(tifffile.imread(path), source().data)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    save = writing.save_tiff

    def save_and_somebody_else_saves_too(*args):
        path.write_text("precious")
        return save(*args)

    monkeypatch.setattr(writing, "save_tiff", save_and_somebody_else_saves_too)
    with pytest.raises(Noise2SelfError, match="exists"):
        write(path, source().data, source())
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    assert path.read_text() == "precious"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_is_left(tmp_path, monkeypatch, error):
    def fail(path, *_):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(writing, "save_tiff", fail)
    expected = Noise2SelfError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write(tmp_path / "a.tif", source().data, source())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a", "folder.tif", "nowhere/a.tif"])
def test_a_target_that_cannot_be_is_refused_in_one_sentence(tmp_path, name):
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(Noise2SelfError) as caught:
        check_target(tmp_path / name, overwrite=True)
    assert str(caught.value).endswith(".")


def test_a_result_of_another_shape_is_refused(tmp_path):
    with pytest.raises(Noise2SelfError, match="shape"):
        write(tmp_path / "a.tif", np.zeros((4, 4)), source())


COLOURS = ("#0000ff", "#00ff80")
RECORD = {"score": 1.5, "partition": {"kind": "grid", "width": [2, 2]}, "note": "<µ> & more"}


@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_colours_come_back(tmp_path, ending):
    stack = source("TZCYX", channel_colors=COLOURS)
    write(tmp_path / f"a{ending}", stack.data, stack)
    assert read(tmp_path / f"a{ending}").channel_colors == COLOURS


@pytest.mark.parametrize("axes", ["TZCYX", "YXS"])
@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_tifffile_and_napari_read_the_same_pixels(tmp_path, axes, ending):
    stack = source(axes, "uint8")
    path = str(tmp_path / f"a{ending}")
    write(path, stack.data, stack)
    np.testing.assert_array_equal(tifffile.imread(path), stack.data)
    ((shown, *_),) = napari_get_reader(path)(path)
    np.testing.assert_array_equal(np.asarray(shown), stack.data)


def test_ome_has_colours_positions_and_provenance(tmp_path):
    stack = source("TZCYX", channel_colors=COLOURS, translate=(5.0, 1.0, None, -2.0, 3.5))
    write(tmp_path / "a.ome.tif", stack.data, stack, provenance=RECORD)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        ome = ome_types.from_xml(tiff.ome_metadata, validate=True)
    pixels = ome.images[0].pixels
    assert [channel.color.as_rgb_tuple(alpha=False) for channel in pixels.channels] == [
        (0, 0, 255),
        (0, 255, 128),
    ]
    last = pixels.planes[-1]
    assert (last.the_t, last.the_z, last.the_c) == (3, 4, 1)
    assert (last.position_x, last.position_y) == (3.5, -2.0)
    assert last.position_z == pytest.approx(1 + 4 * 0.4)
    assert last.delta_t == pytest.approx(5 + 3 * 2.5)
    (annotation,) = ome.structured_annotations
    said = dict(annotation.value)
    assert annotation.namespace == "napari-noise2self"
    assert (said["score"], said["note"]) == ("1.5", "<µ> & more")
    assert json.loads(said["partition"]) == RECORD["partition"]
    assert said["source"] == "cells"
    assert ome.creator.startswith("napari-noise2self")


def test_imagej_has_colours_and_provenance(tmp_path):
    stack = source("CYX", channel_colors=COLOURS)
    write(tmp_path / "a.tif", stack.data, stack, provenance=RECORD)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_imagej
        metadata = tiff.imagej_metadata
    assert metadata["mode"] == "composite"
    assert [tuple(table[:, -1]) for table in metadata["LUTs"]] == [(0, 0, 255), (0, 255, 128)]
    assert "noise2self score = 1.5\n" in metadata["Info"]


@pytest.mark.parametrize("ending", [".ome.tif", ".tif", ".ome.zarr"])
def test_the_record_is_read_back(tmp_path, ending):
    stack = source("TYX")
    path = tmp_path / f"a{ending}"
    write(path, stack.data, stack)
    assert "score" not in provenance.read(path)
    write(path, stack.data, stack, provenance=RECORD, overwrite=True)
    found = provenance.read(path)
    assert {key: found[key] for key in RECORD} == RECORD


def test_what_is_no_result_has_no_record(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"no image")
    assert provenance.read(tmp_path / "a.tif") == {}
    assert provenance.read(tmp_path / "missing.tif") == {}
    assert provenance.read(tmp_path) == {}


@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
def test_the_place_of_an_image_comes_back(tmp_path, ending):
    stack = source("ZYX", translate=(1.0, -2.0, 3.0))
    write(tmp_path / f"a{ending}", stack.data, stack)
    assert read(tmp_path / f"a{ending}").translate == pytest.approx((1, -2, 3))


def test_imagej_is_told_which_pixel_lies_at_the_origin(tmp_path):
    stack = source("YX", translate=(-2.0, 3.0))
    write(tmp_path / "a.tif", stack.data, stack)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_imagej
        metadata = tiff.imagej_metadata
    height, width = (size for size in stack.scale)
    assert metadata["yorigin"] == pytest.approx(2 / height)
    assert metadata["xorigin"] == pytest.approx(-3 / width)


@pytest.mark.parametrize("unit", ["s", "ms", "h"])
@pytest.mark.parametrize("ending", [".ome.tif", ".tif", ".ome.zarr"])
def test_the_time_of_the_first_frame_comes_back(tmp_path, ending, unit):
    stack = source("TYX", sizes={**SIZES, "T": (2.5, unit)}, translate=(12.5, 2.0, 3.0))
    write(tmp_path / f"a{ending}", stack.data, stack)
    back = read(tmp_path / f"a{ending}")
    write(tmp_path / f"b{ending}", back.data, back)
    for stack in (back, read(tmp_path / f"b{ending}")):
        assert stack.translate == pytest.approx((12.5, 2, 3))
        assert stack.size("T") == (pytest.approx(2.5), unit)


def test_when_the_first_plane_was_exposed_makes_no_other_format(tmp_path):
    stack = source("TYX", translate=(0.03, 0.0, 0.0))
    write(tmp_path / "a.tif", stack.data, stack)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_imagej


def test_a_place_in_time_is_not_lost_in_a_tif(tmp_path):
    stack = source("TYX", translate=(5.0, 2.0, 3.0))
    write(tmp_path / "a.tif", stack.data, stack)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        plane = ome_types.from_xml(tiff.ome_metadata).images[0].pixels.planes[0]
    assert (plane.delta_t, plane.position_y, plane.position_x) == (5, 2, 3)


class Watched:
    """A lazy array that knows how much of it was read at once, and how often each pixel."""

    def __init__(self, data, chunks):
        self.data, self.shape, self.dtype, self.chunks = data, data.shape, data.dtype, chunks
        self.most = self.read = 0

    def __getitem__(self, index):
        part = self.data[index]
        self.most, self.read = max(self.most, part.size), self.read + part.size
        return part


@pytest.mark.parametrize("ending", [".ome.tif", ".tif"])
@pytest.mark.parametrize("axes", ["TZYX", "TZYXS", "XYZT"])
def test_what_is_lazy_is_read_once_and_never_as_a_whole(tmp_path, axes, ending):
    stack = source(axes, "uint8")
    chunks = [3 if letter == "Z" else n for letter, n in zip(axes, stack.shape, strict=True)]
    chunks[axes.index("T")] = 1
    lazy = Watched(stack.data, tuple(chunks))
    write(tmp_path / f"a{ending}", lazy, stack)
    back = read(tmp_path / f"a{ending}")
    order = [axes.index(letter) for letter in back.axes]
    np.testing.assert_array_equal(np.asarray(back.data), stack.data.transpose(order))
    assert lazy.most <= np.prod(chunks)
    assert lazy.read == stack.data.size


@pytest.mark.parametrize("axes", ["ZYX", "YXS"])
def test_large_planes_are_written_in_tiles_and_large_files_as_bigtiff(tmp_path, monkeypatch, axes):
    monkeypatch.setattr(writing_tiff, "_TILED", 2**12)
    monkeypatch.setattr(writing_tiff, "_TILE", 64)
    monkeypatch.setattr(writing_tiff, "_BIG", 2**12)
    shape = (3, 70, 150) if axes == "ZYX" else (70, 150, 3)
    data = np.random.default_rng(0).integers(0, 255, shape).astype("uint8")
    lazy = Watched(data, shape)
    write(tmp_path / "a.ome.tif", lazy, Stack(data, axes))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.is_bigtiff
        assert tiff.pages[0].is_tiled
        np.testing.assert_array_equal(tiff.asarray(), data)


def test_the_source_itself_is_never_the_target(tmp_path):
    write(tmp_path / "a.tif", source().data, source())
    with pytest.raises(Noise2SelfError, match="its source"):
        check_target(tmp_path / "a.tif", source=tmp_path / "b" / ".." / "a.tif", overwrite=True)
    check_target(tmp_path / "a.tif", source="https://example.org/a.tif", overwrite=True)
