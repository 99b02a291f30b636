from __future__ import annotations

import errno

import imagecodecs
import numpy as np
import pytest
import tifffile

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.store import PartialStore


def noise(*shape, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def sizes(stack):
    return {letter: stack.size(letter) for letter in stack.axes if stack.size(letter) is not None}


def test_imagej_hyperstack(tmp_path):
    path = tmp_path / "cells.tif"
    data = noise(4, 3, 2, 16, 20)
    tifffile.imwrite(
        path,
        data,
        imagej=True,
        resolution=(1 / 0.108, 1 / 0.2),
        metadata={
            "axes": "TZCYX",
            "unit": "micron",
            "spacing": 0.4,
            "finterval": 2.5,
            "Labels": ["DAPI", "GFP"] * 12,
        },
    )
    stack = read(path)
    np.testing.assert_array_equal(stack.data, data)
    assert stack.axes == "TZCYX"
    assert stack.scale == pytest.approx((2.5, 0.4, None, 0.2, 0.108))
    assert stack.units == ("s", "µm", None, "µm", "µm")
    assert stack.channel_names == ("DAPI", "GFP")
    assert stack.name == "cells"


def test_imagej_without_a_calibration_has_none(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(5, 16, 20), imagej=True, metadata={"axes": "ZYX"})
    assert sizes(read(tmp_path / "a.tif")) == {}


def test_labels_of_planes_are_no_channel_names(tmp_path):
    metadata = {"axes": "TCYX", "Labels": ["a", "b", "c", "d"]}
    tifffile.imwrite(tmp_path / "a.tif", noise(2, 2, 16, 20), imagej=True, metadata=metadata)
    assert read(tmp_path / "a.tif").channel_names is None


def test_ome_tiff(tmp_path):
    path = tmp_path / "cells.ome.tif"
    data = noise(2, 3, 16, 20)
    metadata = {
        "axes": "CZYX",
        "PhysicalSizeX": 108.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.2,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": 0.4,
        "Channel": {"Name": ["DAPI", "GFP"]},
    }
    tifffile.imwrite(path, data, ome=True, metadata=metadata, compression="zlib")
    stack = read(path)
    np.testing.assert_array_equal(stack.data, data)
    assert stack.axes == "CZYX"
    assert stack.scale == (None, 0.4, 0.2, 108.0)
    assert stack.units == (None, "µm", "µm", "nm")
    assert stack.channel_names == ("DAPI", "GFP")
    assert stack.name == "cells"


@pytest.mark.parametrize(
    ("unit", "place"),
    [("mm", pytest.approx((None, 250.0))), ("reference frame", None), ("pixel", None)],
)
def test_the_place_on_the_stage_is_told_in_the_unit_of_the_pixels(tmp_path, unit, place):
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.5,
        "Plane": {"PositionX": [0.25], "PositionXUnit": [unit]},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((20, 20), "uint8"), metadata=metadata)
    assert read(tmp_path / "a.ome.tif").translate == place


def test_axes_without_a_name_are_guessed_and_that_is_told(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(2, 5, 16, 20), photometric="minisblack")
    stack = read(path)
    assert stack.axes == "TZYX"
    assert stack.guessed == "TZ"
    assert len(stack.notices) == 1
    assert "guessed" in stack.notices[0]
    assert read(path, "czyx").notices == ()


def test_pages_without_metadata_are_frames(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in noise(3, 16, 20):
            writer.write(page, metadata=None)
    assert read(tmp_path / "a.tif").axes == "ZYX"


@pytest.mark.parametrize(
    ("pixels_per_cm", "size"), [(10000 / 0.108, (0.108, "µm")), (72 / 2.54, None)]
)
def test_resolution_of_a_plain_tiff_counts_if_it_is_a_microscopes(tmp_path, pixels_per_cm, size):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        noise(16, 20),
        resolution=(pixels_per_cm, pixels_per_cm),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    found = read(path).size("X")
    assert found == (size and (pytest.approx(size[0]), size[1]))


def test_only_the_first_image_of_a_file_is_used_and_that_is_told(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(noise(16, 20))
        writer.write(noise(8, 8))
    stack = read(tmp_path / "a.ome.tif")
    assert stack.shape == (16, 20)
    assert len(stack.notices) == 1
    assert "2 images" in stack.notices[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("samples", "axes"), [((), "YX"), ((3,), "YXS")])
def test_png(tmp_path, dtype, samples, axes):
    path = tmp_path / "a.png"
    data = noise(16, 20, *samples, dtype=dtype)
    path.write_bytes(imagecodecs.png_encode(data))
    stack = read(path)
    np.testing.assert_array_equal(stack.data, data)
    assert stack.axes == axes
    assert stack.dtype == dtype
    assert stack.notices == ()


@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize(
    ("ending", "samples", "axes"), [(".png", 2, "YX"), (".png", 4, "YXS"), (".tif", 4, "YXS")]
)
def test_transparency_is_left_out_and_told_unless_it_is_none(
    tmp_path, ending, samples, axes, opaque
):
    path = tmp_path / f"a{ending}"
    data = noise(16, 20, samples, dtype="uint8")
    if opaque:
        data[..., -1] = 255
    if ending == ".png":
        path.write_bytes(imagecodecs.png_encode(data))
    else:
        tifffile.imwrite(path, data, photometric="rgb", extrasamples=["unassalpha"])
    stack = read(path)
    assert stack.axes == axes
    np.testing.assert_array_equal(stack.data, data[..., 0] if axes == "YX" else data[..., :3])
    assert len(stack.notices) == (0 if opaque else 1)


def test_npy(tmp_path):
    data = noise(3, 16, 20, dtype="int64")
    np.save(tmp_path / "a.npy", data)
    stack = read(tmp_path / "a.npy")
    np.testing.assert_array_equal(stack.data, data)
    assert stack.axes == "ZYX"
    assert stack.dtype == np.int64


def bad_files(folder):
    (folder / "text.tif").write_text("hello")
    (folder / "text.png").write_text("hello")
    (folder / "text.npy").write_text("hello")
    (folder / "empty.tif").touch()
    (folder / "table.csv").write_text("1,2")
    (folder / "folder.tif").mkdir()
    np.save(folder / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "scalar.npy", np.float32(1))
    np.save(folder / "nothing.npy", np.zeros((0, 4)))
    with (folder / "several.npy").open("wb") as file:
        np.savez(file, a=np.zeros((4, 4)))


@pytest.mark.parametrize(
    "name",
    [
        "text.tif",
        "text.png",
        "text.npy",
        "empty.tif",
        "table.csv",
        "folder.tif",
        "pickle.npy",
        "scalar.npy",
        "nothing.npy",
        "several.npy",
        "missing.tif",
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(tmp_path, name):
    bad_files(tmp_path)
    with pytest.raises(Noise2SelfError) as caught:
        read(tmp_path / name)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    if name not in ("scalar.npy", "nothing.npy"):
        assert name in sentence


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tif", imagecodecs.png_encode(noise(16, 20))),
        ("a.png", b"II*\x00 and more"),
        ("a.npy", b"\x89HDF\r\n\x1a\n"),
        ("a.tiff", b"PK\x03\x04"),
    ],
)
def test_a_file_of_another_kind_than_its_name_says(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Noise2SelfError, match=r"by its content, not what its name says"):
        read(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    np.save(path, noise(16, 20))

    def forbidden(self, *args, **settings):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "open", forbidden)
    with pytest.raises(Noise2SelfError, match=r"a\.npy could not be read: Permission denied\."):
        read(path)


@pytest.mark.parametrize("name", ["Größe µ, 2.tif", "a b/c (1)/d [x].npy", "细胞.png"])
def test_any_path_will_do(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = noise(16, 20)
    if path.suffix == ".tif":
        tifffile.imwrite(path, data, compression="zlib")
    elif path.suffix == ".npy":
        np.save(path, data)
    else:
        path.write_bytes(imagecodecs.png_encode(data))
    for given in (path, str(path)):
        np.testing.assert_array_equal(read(given).data, data)
        assert read(given).name == path.stem


def test_npy_is_read_where_it_is_indexed_and_refused_when_cut_off(tmp_path):
    path = tmp_path / "a.npy"
    data = np.asfortranarray(noise(3, 16, 20, dtype=">u2"))
    np.save(path, data)
    stack = read(path)
    assert not isinstance(stack.data, np.ndarray)
    np.testing.assert_array_equal(stack.data[1:, 3], data[1:, 3])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Noise2SelfError, match="cut off"):
        read(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"imagej": True},
        {"ome": True},
        {"ome": True, "compression": "zlib"},
        {"ome": True, "compression": "zlib", "tile": (32, 32)},
        {"photometric": "minisblack"},
    ],
)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.95])
def test_a_tiff_that_was_cut_off_is_refused(tmp_path, settings, kept):
    whole, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    tifffile.imwrite(whole, noise(6, 64, 64), **settings)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(Noise2SelfError, match=r"cut\.tif"):
        read(cut)


def test_what_is_unfinished_is_not_taken_for_a_whole_image(tmp_path):
    stack = Stack(noise(2, 64, 64), "TYX")
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as store:
        store.write((slice(None),) * 3, stack.data)
    assert (tmp_path / "a.ome.zarr.partial" / "zarr.json").exists()
    with pytest.raises(Noise2SelfError, match=r"unfinished result.*read a\.ome\.zarr when"):
        read(tmp_path / "a.ome.zarr.partial")


def test_a_model_is_no_image(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"x")
    with pytest.raises(Noise2SelfError, match="is a model, not an image"):
        read(tmp_path / "m.safetensors")


def test_real_files(data_folder):
    hyperstack = read(data_folder / "neubias" / "xyzc_16bit__dna_conf_wf.tif")
    assert hyperstack.axes == "ZCYX"
    assert hyperstack.size("Z") == (pytest.approx(0.4994, abs=1e-4), "µm")
    assert hyperstack.size("X") == (pytest.approx(0.5119, abs=1e-4), "µm")
    channels = read(data_folder / "ome" / "miro_20ms_cyx.ome.tif")
    assert channels.channel_names == ("c1", "mitochondria")
    movie = read(data_folder / "timelapse" / "membrane_2d_timelapse.tif")
    assert movie.axes == "ZYX"
    assert movie.guessed == "Z"
