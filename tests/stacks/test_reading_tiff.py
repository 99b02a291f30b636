from __future__ import annotations

import contextlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.many import find_images
from napari_noise2self.stacks.parts import without_parts
from napari_noise2self.stacks.provenance import read as read_record
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.tiff_metadata import calibration
from napari_noise2self.stacks.writing import write

RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 4000, (3, 2, 70, 90)).astype("uint16")
COLOURS = RNG.integers(0, 255, (3, 50, 60, 3)).astype("uint8")


def write_apart(path, planes):
    with tifffile.TiffWriter(path) as writer:
        for plane in planes:
            writer.write(plane, contiguous=False, metadata=None, rowsperstrip=9)


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (PLANES, {"photometric": "minisblack"}),
        (PLANES, {"photometric": "minisblack", "byteorder": ">"}),
        (PLANES, {"imagej": True, "metadata": {"axes": "TCYX"}}),
        (PLANES, {"photometric": "minisblack", "compression": "lzw", "rowsperstrip": 7}),
        (PLANES, {"photometric": "minisblack", "compression": "zlib", "byteorder": ">"}),
        (PLANES, {"photometric": "minisblack", "bigtiff": True, "tile": (32, 48)}),
        (
            PLANES,
            {"ome": True, "compression": "zstd", "tile": (32, 16), "metadata": {"axes": "TCYX"}},
        ),
        (PLANES[:, 0], {"photometric": "minisblack", "volumetric": True, "tile": (2, 32, 32)}),
        (
            PLANES.astype("float32"),
            {"photometric": "minisblack", "compression": "zlib", "predictor": 3},
        ),
        (COLOURS, {"photometric": "rgb", "compression": "zlib"}),
        (COLOURS, {"photometric": "rgb", "compression": "jpeg", "tile": (32, 32)}),
        (
            np.moveaxis(COLOURS, -1, 1),
            {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 32)},
        ),
        (PLANES[0, 0] > 2000, {"photometric": "minisblack"}),
        (PLANES[:, 0], None),
    ],
)
def test_every_layout_reads_like_tifffile_and_any_part_of_it(tmp_path, data, settings):
    path = tmp_path / "a.tif"
    if settings is None:
        write_apart(path, data)
    else:
        tifffile.imwrite(path, data, **settings)
    whole = tifffile.imread(path)
    image = read(path).data
    assert not isinstance(image, np.ndarray)
    np.testing.assert_array_equal(image, whole)
    for part in (
        (..., slice(5, 41), slice(30, 31)),
        (0, slice(3, 40, 2)),
        (slice(None, None, -1),),
    ):
        np.testing.assert_array_equal(image[part], whole[part])
    again = pickle.loads(pickle.dumps(image))
    with ThreadPoolExecutor(4) as threads:
        for row, part in enumerate(threads.map(lambda row: again[..., row, :], range(20))):
            np.testing.assert_array_equal(part, whole[..., row, :])


@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_only_what_is_asked_for_is_decoded_and_damage_is_found_there(tmp_path, tile):
    path = tmp_path / "a.tif"
    planes = PLANES[:, 0]
    tifffile.imwrite(path, planes, compression="zlib", tile=tile, photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[1].dataoffsets[-1]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)

    stack = read(path)
    layout = Layout.of(stack.shape, stack.axes)
    np.testing.assert_array_equal(layout.read(stack.data, 0)[0], planes[0])
    if tile is not None:  # its other tiles are whole
        np.testing.assert_array_equal(stack.data[1, :40, :40], planes[1, :40, :40])
    with pytest.raises(
        InputError, match=r"a\.tif is damaged or was cut off: a part cannot be read"
    ):
        layout.read(stack.data, 1)


def test_a_file_that_is_cut_off_after_it_was_opened(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, compression="zlib", photometric="minisblack")
    image = read(path).data
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)
    with pytest.raises(InputError, match=r"a\.tif is damaged or was cut off"):
        image[-1, -1]


def test_a_pyramid_is_read_in_full_resolution(tmp_path):
    path = tmp_path / "a.ome.tif"
    settings = {"tile": (16, 16), "compression": "zlib"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(PLANES[0], subifds=1, metadata={"axes": "CYX"}, **settings)
        writer.write(PLANES[0, :, ::2, ::2], subfiletype=1, **settings)
    stack = read(path)
    np.testing.assert_array_equal(stack.data, PLANES[0])
    assert stack.notices == ()


def ome_in_two_files(folder):
    """Two frames, each in a file of its own."""
    parts = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="2">'
        f'<UUID FileName="part {t}.ome.tif">urn:uuid:{t}</UUID></TiffData>'
        for t in range(2)
    )
    for t in range(2):
        xml = (
            f'<?xml version="1.0" encoding="UTF-8"?>'
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{t}">'
            f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCTZ" Type="uint16" '
            f'SizeX="90" SizeY="70" SizeC="2" SizeT="2" SizeZ="1">'
            f'<Channel ID="Channel:0:0" Name="DAPI" Color="65535"/>'
            f'<Channel ID="Channel:0:1" Name="GFP" Color="16711935"/>{parts}'
            f'<Plane TheT="0" TheC="0" TheZ="0" DeltaT="10" DeltaTUnit="ms"/>'
            f'<Plane TheT="1" TheC="0" TheZ="0" DeltaT="260" DeltaTUnit="ms"/>'
            f"</Pixels></Image></OME>"
        )
        with tifffile.TiffWriter(folder / f"part {t}.ome.tif") as writer:
            for plane in PLANES[t]:
                writer.write(plane, contiguous=False, metadata=None, description=xml)
    return folder / "part 0.ome.tif"


@pytest.mark.parametrize(
    ("taken", "place"),
    [
        ({"DeltaT": [12.5, 15.0]}, 12500),  # in seconds, unless somebody says otherwise
        ({"DeltaT": [0.25, 0.3], "DeltaTUnit": ["min", "min"]}, 15000),
        ({"DeltaT": [12.5, 15.0], "DeltaTUnit": ["reference frame"] * 2}, None),
        ({"PositionX": [4.0, 4.0], "PositionXUnit": ["mm", "mm"]}, None),
    ],
)
def test_the_time_of_the_first_frame_in_the_unit_of_the_interval(tmp_path, taken, place):
    metadata = {
        "axes": "TYX",
        "TimeIncrement": 2500.0,
        "TimeIncrementUnit": "ms",
        "PhysicalSizeX": 1.0,
        "Plane": taken,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", PLANES[:2, 0], metadata=metadata)
    stack = read(tmp_path / "a.ome.tif")
    assert stack.size("T") == (2500.0, "ms")
    assert (stack.translate or (None,))[0] == (place and pytest.approx(place))


def test_ome_tiff_in_several_files(tmp_path):
    path = ome_in_two_files(tmp_path)
    stack = read(path)
    assert stack.axes == "TCYX"
    np.testing.assert_array_equal(stack.data, PLANES[:2])
    assert stack.channel_names == ("DAPI", "GFP")
    assert stack.channel_colors == ("#0000ff", "#00ff00")
    assert stack.size("T") == (250.0, "ms")  # no time increment, but the time of each plane
    assert stack.translate == (10.0, None, None, None)
    np.testing.assert_array_equal(read(tmp_path).data, PLANES[:2])  # the folder is the same image


def test_a_missing_file_of_an_ome_tiff_is_refused_unless_it_is_said_to_be_empty(tmp_path):
    path = ome_in_two_files(tmp_path)
    (tmp_path / "part 1.ome.tif").unlink()
    lacks = f"{path} lacks 2 of its 4 planes (first: T1 C0; part 1.ome.tif is not beside it), which"
    for place in (path, tmp_path):
        with pytest.raises(InputError, match=r"copy it again.* \(--empty-chunks") as caught:
            read(place)
        assert str(caught.value).startswith(f"{lacks} would be read as 0: ")
        stack = read(place, empty_chunks=True)
        assert not np.asarray(stack.data[1]).any()
        np.testing.assert_array_equal(stack.data[0], PLANES[0])
        assert stack.notices == (f"{lacks} are read as 0.",)
    # One of several in a folder, too.
    tifffile.imwrite(tmp_path / "part 2.tif", PLANES[:2])
    with pytest.raises(InputError, match="lacks 2 of its 4 planes"):
        read(tmp_path)


def test_colours_of_imagej(tmp_path):
    ramp = np.arange(256, dtype="uint8")
    tables = [np.stack([ramp * 0, ramp, ramp * 0]), np.stack([ramp, ramp * 0, ramp])]
    tifffile.imwrite(
        tmp_path / "a.tif",
        PLANES[0],
        imagej=True,
        metadata={"axes": "CYX", "LUTs": tables, "mode": "composite"},
    )
    assert read(tmp_path / "a.tif").channel_colors == ("#00ff00", "#ff00ff")
    one = Stack(PLANES[0][0], "YX", channel_colors=("#00ffff",))
    assert read(write(tmp_path / "b.tif", one.data, one).path).channel_colors == ("#00ffff",)


def test_ome_metadata_that_do_not_fit_the_pages_are_told(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, PLANES[:, 0], ome=True, metadata={"axes": "TYX"})
    # The comment is as long as before, so that nothing else of the file changes.
    path.write_bytes(path.read_bytes().replace(b'SizeT="3"', b'SizeT="5"'))
    # As after an acquisition that ended early; the file may have got another name since.
    path = path.rename(tmp_path / "b.ome.tif")
    with pytest.raises(InputError, match=r"lacks 2 of its 5 planes \(first: T3\), which would"):
        read(path)
    stack = read(path, empty_chunks=True)
    assert stack.shape == (5, 70, 90)
    assert "lacks 2 of its 5 planes (first: T3), which are read as 0." in stack.notices[0]
    path.write_bytes(path.read_bytes().replace(b'SizeX="90"', b'SizeX="80"'))
    stack = read(path)
    np.testing.assert_array_equal(stack.data, PLANES[:, 0])
    assert any("do not fit" in notice for notice in stack.notices)


@pytest.mark.parametrize(
    ("other", "way"),
    [("Pos0.ome.tif", "give that one for all of it"), ("cells.companion.ome", "is not read")],
)
def test_a_file_that_another_one_describes_names_that(tmp_path, other, way):
    xml = (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<BinaryOnly MetadataFile="{other}" UUID="urn:uuid:1"/></OME>'
    )
    path = tmp_path / "Pos0_1.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        for plane in PLANES[:, 0]:
            writer.write(plane, contiguous=False, metadata=None, description=xml)
    stack = read(path, "TYX")
    (notice,) = stack.notices
    assert notice.startswith(f"{path} is a part of an image that {other} describes: ")
    assert way in notice
    np.testing.assert_array_equal(stack.data, PLANES[:, 0])


def test_axes_of_the_user_overrule_the_file_and_must_fit_it(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, imagej=True, metadata={"axes": "TCYX"})
    assert read(path, "z c y x").axes == "ZCYX"
    with pytest.raises(InputError, match="give one letter per axis"):
        read(path, "ZYX")


def test_metadata_that_cannot_be_understood_cost_no_pixels(tmp_path):
    image = np.arange(3 * 32 * 48, dtype=np.uint16).reshape(3, 32, 48)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        image,
        description="<?xml version='1.0'?><OME>\x01</OME>",
        metadata=None,
        ome=False,
        photometric="minisblack",
    )
    stack = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(np.asarray(stack.data), image)


def test_microscope_formats_say_their_pixel_sizes():
    def opened(**said):
        plain = {"is_ome": False, "is_imagej": False, "is_lsm": False, "is_stk": False}
        return SimpleNamespace(**plain | said)

    zeiss = {"VoxelSizeX": 1e-7, "VoxelSizeY": 1e-7, "VoxelSizeZ": 5e-7, "TimeIntervall": 2.0}
    sizes = calibration(opened(is_lsm=True, lsm_metadata=zeiss)).sizes
    assert sizes["X"] == (pytest.approx(0.1), "µm")
    assert sizes["Z"] == (pytest.approx(0.5), "µm")
    assert sizes["T"] == (2.0, "s")
    metamorph = {
        "XCalibration": 0.2,
        "YCalibration": 0.2,
        "CalibrationUnits": "um",
        "ZDistance": np.array([0.5, 0.5]),
    }
    sizes = calibration(opened(is_stk=True, stk_metadata=metamorph)).sizes
    assert sizes == {"X": (0.2, "µm"), "Y": (0.2, "µm"), "Z": (0.5, "µm")}


@pytest.mark.parametrize(
    "look",
    [
        read,
        read_record,
        lambda path: without_parts(find_images([path.parent])),
    ],
    ids=["the image", "its record", "its parts"],
)
def test_what_tifffile_says_of_a_broken_file_is_not_said_twice(tmp_path, caplog, look):
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((3, 64, 64), "u2"), metadata={"axes": "TYX"})
    whole = (tmp_path / "a.ome.tif").read_bytes()
    for name, content in (
        ("b.ome.tif", whole[: len(whole) // 2]),
        ("c.ome.tif", whole[:4] + (10**6).to_bytes(4, "little") + whole[8:]),
        ("d.ome.tif", b"II*\0\0\0\0\0"),
    ):
        (tmp_path / name).write_bytes(content)
        with contextlib.suppress(InputError):
            look(tmp_path / name)
    assert [record for record in caplog.records if record.name == "tifffile"] == []
    # Whoever else uses tifffile hears it as before.
    with tifffile.TiffFile(tmp_path / "c.ome.tif"):
        pass
    assert "invalid offset to first page" in caplog.text
