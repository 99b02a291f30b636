from __future__ import annotations

import sys
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import tifffile

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.reading import read


def test_without_bioio_the_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "cells.czi"
    path.write_bytes(b"ZISRAWFILE")
    monkeypatch.setitem(sys.modules, "bioio.plugins", None)
    monkeypatch.setitem(sys.modules, "bioio", None)
    with pytest.raises(InputError, match=r"cells\.czi.*napari-noise2self\[bioio\]"):
        read(path)


@pytest.mark.parametrize(("ending", "plugin"), [("czi", "bioio-czi"), ("oib", "bioio-bioformats")])
def test_the_plugin_that_is_missing_is_named(tmp_path, ending, plugin):
    pytest.importorskip("bioio")
    path = tmp_path / f"cells.{ending}"
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match=rf"{ending}.*pip install {plugin}"):
        read(path)


def test_a_file_is_read_lazily_through_bioio(tmp_path):
    pytest.importorskip("bioio_tifffile")
    from napari_noise2self.stacks.reading_bioio import read_bioio

    data = np.random.default_rng(0).integers(0, 99, (2, 3, 20, 30)).astype("uint16")
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "ZCYX"})
    stack = read_bioio(path)
    assert sorted(stack.axes) == sorted("ZCYX")
    order = [stack.axes.index(letter) for letter in "ZCYX"]
    np.testing.assert_array_equal(np.asarray(stack.data).transpose(order), data)
    assert stack.data.chunks == (1, 1, 20, 30)
    assert stack.size("X") is None  # bioio says 1 where it knows nothing
    assert read_bioio(path, "tcyx").axes == "TCYX"


def test_another_image_of_a_file_through_bioio(tmp_path):
    pytest.importorskip("bioio_tifffile")
    from napari_noise2self.stacks.reading_bioio import read_bioio

    path = tmp_path / "cells.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in (1, 2, 3):
            writer.write(np.full((8 * number, 20), number, "uint8"), metadata=None)
    stack = read_bioio(path)
    assert (stack.shape, stack.name) == ((8, 20), "cells")
    assert [n for n in stack.notices if n.endswith(f"give {path}#2 for the next.")]
    stack = read_bioio(path, image="3")
    assert (stack.shape, stack.name, stack.notices) == ((24, 20), "cells_3", ())
    assert (np.asarray(stack.data) == 3).all()
    with pytest.raises(InputError, match=r"holds 3 images, and none that is called '4'"):
        read_bioio(path, image="4")


class Scan:
    """A file of two scenes, as bioio has one."""

    scenes = ("Overview", "TileScan 1/Position 2")
    channel_names = ("DAPI", "GFP")
    dims = SimpleNamespace(order="TCZYX")
    physical_pixel_sizes = SimpleNamespace(Z=None, Y=0.5, X=0.5)

    def __init__(self, ome=None, frames=1, times=None):
        self.scene = 0
        self.frames = frames
        self.coords = {} if times is None else {"T": np.asarray(times)}
        self.attrs = {} if ome is None else {"processed": ome}

    def set_scene(self, number):
        self.scene = number

    @property
    def xarray_dask_data(self):
        return SimpleNamespace(attrs=self.attrs, coords=self.coords)

    @property
    def dask_data(self):
        return da.full((self.frames, 2, 1, 8, 9), self.scene, dtype="uint8", chunks=(1, 1, 1, 8, 9))


@pytest.fixture
def scan(tmp_path, monkeypatch):
    pytest.importorskip("bioio")
    from napari_noise2self.stacks import reading_bioio

    path = tmp_path / "scan.lif"
    path.write_bytes(b"")

    def made(ome=None, **more):
        monkeypatch.setattr(reading_bioio, "_opened", lambda path: Scan(ome, **more))
        return path

    return made


def test_a_scene_is_named_behind_the_file(scan):
    path = scan()
    stack = read(path)
    assert (stack.axes, stack.name) == ("CYX", "scan")
    assert "give" in stack.notices[0]
    assert f"{path}#TileScan 1/Position 2 for the next." in stack.notices[0]
    for image in ("2", "TileScan 1/Position 2"):
        stack = read(f"{path}#{image}")
        assert stack.name == "scan_TileScan 1_Position 2"
        assert np.asarray(stack.data).all()
        assert stack.data.sources == {str(path)}
    with pytest.raises(InputError, match=r"1 Overview, 2 TileScan 1/Position 2"):
        read(f"{path}#Position 2")


def test_a_file_without_pixels_is_refused(scan):
    path = scan(frames=0)
    with pytest.raises(InputError, match=rf"{path} holds no pixels"):
        read(path)


@pytest.mark.parametrize(
    ("times", "interval"), [([0, 2.5, 5], (2.5, "s")), ([0, 0, 0], None), (None, None)]
)
def test_the_time_between_frames_of_a_lif_follows_from_their_times(scan, times, interval):
    assert read(scan(frames=3, times=times)).size("T") == interval


def ome(colours, **plane):
    from ome_types.model import OME, Channel, Image, Pixels, Plane

    def image(number):
        channels = [Channel(color=c) if c else Channel() for c in colours[number]]
        planes = [Plane(the_t=0, the_c=0, the_z=0, **plane)] if number and plane else []
        pixels = Pixels(
            dimension_order="XYCZT",
            type="uint8",
            size_x=9,
            size_y=8,
            size_c=2,
            size_t=1,
            size_z=1,
            channels=channels,
            planes=planes,
            metadata_only=True,
        )
        return Image(pixels=pixels)

    return OME(images=[image(number) for number in range(len(colours))])


def test_colours_and_places_that_bioio_knows(scan):
    place = {"position_x": 0.25, "position_x_unit": "mm", "position_y": -3, "position_z": 7}
    path = scan(ome([("red", None), ("blue", "#00FF80")], **place, position_y_unit="µm"))
    first, second = read(path), read(f"{path}#2")
    assert (first.channel_colors, first.translate) == (None, None)
    assert second.channel_colors == ("#0000ff", "#00ff80")
    assert second.translate == (None, -3.0, pytest.approx(250.0))
    # It speaks of other images than the file has.
    path = scan(ome([("red", "blue")]))
    assert read(path).channel_colors is None
