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
from napari_noise2self.stacks.targets import check_target


def noise(*shape, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def write_plain(path, data):
    """A file of any of the formats that need no metadata."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, data, compression="zlib")
    elif path.suffix == ".npy":
        np.save(path, data)
    else:
        path.write_bytes(imagecodecs.png_encode(data))


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


def several(path, names=("wide", "close/1", "close/2"), **settings):
    """Images in one file, each of another shape, size and place."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, name in enumerate(names, 1):
            metadata = {
                "axes": "CYX",
                "Name": name,
                "PhysicalSizeX": number / 10,
                "PhysicalSizeY": number / 10,
                "Channel": {"Name": [f"first {number}", f"second {number}"]},
                "Plane": {"PositionX": [number] * 2, "PositionXUnit": ["µm"] * 2},
            }
            data = np.full((2, 8 * number, 20), number, "uint16")
            writer.write(data, photometric="minisblack", metadata=metadata, **settings)
    return path


def test_only_the_first_image_of_a_file_is_used_and_the_way_to_others_is_told(tmp_path):
    path = several(tmp_path / "a.ome.tif")
    stack = read(path)
    assert (stack.shape, stack.name) == ((2, 8, 20), "a")
    (notice,) = stack.notices
    assert "holds 3 images: the first is used" in notice
    for way in (f"{path}#2", f"{path}#close/1"):
        assert way in notice
        assert read(way).name == "a_close_1"


@pytest.mark.parametrize("settings", [{}, {"compression": "zlib", "tile": (16, 16)}])
def test_another_image_of_a_file_is_named_by_its_number_or_its_name(tmp_path, settings):
    path = several(tmp_path / "a.ome.tif", **settings)
    for number, name in enumerate(("wide", "close/1", "close/2"), 1):
        for image in (number, name):
            stack = read(f"{path}#{image}")
            assert stack.shape == (2, 8 * number, 20)
            assert (np.asarray(stack.data) == number).all()
            assert stack.size("X") == (number / 10, "µm")
            assert stack.channel_names == (f"first {number}", f"second {number}")
            assert stack.translate == (None, None, number)
            assert stack.name == "a_" + name.replace("/", "_")
            assert stack.notices == ()
    assert read(f"{path}#3", "ZYX").axes == "ZYX"


def test_images_of_a_tiff_without_names_have_their_own_resolution(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in (1, 2):
            pitch = (1e4 / number,) * 2
            writer.write(
                np.full((8 * number, 20), number, "uint8"),
                resolution=pitch,
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    assert read(path).size("X") == (1.0, "µm")
    assert "give" in read(path).notices[0]
    stack = read(f"{path}#2")
    assert (stack.shape, stack.size("X"), stack.name) == ((16, 20), (2.0, "µm"), "a_2")


@pytest.mark.parametrize("image", ["4", "0", "-1", "Close/1", "", "close#1"])
def test_an_image_that_a_file_does_not_hold_is_refused_with_those_that_it_does(tmp_path, image):
    path = several(tmp_path / "a.ome.tif")
    with pytest.raises(Noise2SelfError) as caught:
        read(f"{path}#{image}")
    sentence = str(caught.value)
    assert f"{path} holds 3 images, and none that is called {image!r}" in sentence
    assert "(1 wide, 2 close/1, 3 close/2)." in sentence


def test_images_of_the_same_name_are_told_apart_by_their_numbers(tmp_path):
    path = several(tmp_path / "a.ome.tif", ("x", "y", "x"))
    with pytest.raises(Noise2SelfError, match=r"2 images called 'x': give .*a.ome.tif#1 or .*#3\."):
        read(f"{path}#x")
    assert read(f"{path}#3").name == "a_3"


@pytest.mark.parametrize("ending", [".tif", ".png", ".npy"])
def test_the_only_image_of_a_file_can_be_named_too(tmp_path, ending):
    path, data = tmp_path / f"a{ending}", noise(16, 20)
    write_plain(path, data)
    stack = read(f"{path}#1")
    np.testing.assert_array_equal(stack.data, data)
    assert stack.name == "a"
    with pytest.raises(Noise2SelfError, match=r"holds 1 image, and none that is called '2'"):
        read(f"{path}#2")


def test_what_is_called_so_is_a_file_whatever_its_name_holds(tmp_path):
    one = tmp_path / "a#2.tif"
    several(one)
    np.testing.assert_array_equal(read(one).data, read(f"{one}#1").data)
    assert read(f"{one}#2").shape == (2, 16, 20)
    # A file that has the name of an image in another file.
    several(tmp_path / "a.tif")
    np.save(tmp_path / "a.tif#2.npy", noise(4, 5))
    assert read(tmp_path / "a.tif#2.npy").shape == (4, 5)
    for missing in ("b.tif#2", "#2", f"{tmp_path.name}#2"):
        with pytest.raises(Noise2SelfError, match="There is no file"):
            read(tmp_path / missing)


def test_a_file_is_no_target_for_one_of_its_images(tmp_path):
    path = several(tmp_path / "a.ome.tif")
    stack = read(f"{path}#2")
    with pytest.raises(Noise2SelfError, match="because that is its source"):
        check_target(path, stack, overwrite=True, source=f"{path}#2")
    check_target(tmp_path / "b.ome.tif", stack, source=f"{path}#2")


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


@pytest.mark.parametrize(
    "name", ["Größe µ, 2.tif", "day #3 #1.tif", "a b/c (1)/d [x].npy", "细胞.png"]
)
def test_any_path_will_do(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = noise(16, 20)
    write_plain(path, data)
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
