from __future__ import annotations

import functools
import http.server
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.reading import read

DATA = np.random.default_rng(0).integers(1, 999, (3, 2, 40, 50)).astype("uint16")
AXES = [
    {"name": "t", "type": "time", "unit": "millisecond"},
    {"name": "c", "type": "channel"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
CHANNELS = [{"label": "DAPI", "color": "0000FF"}, {"label": "GFP", "color": "00ff00FF"}]


def image(axes=AXES, channels=CHANNELS, levels=("0", "1")):
    """Metadata of an image, its size said by the levels and by all of it."""
    datasets = [
        {
            "path": path,
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, 1, 0.1 * 2**n, 0.2 * 2**n][-len(axes) :]},
                {"type": "translation", "translation": [0, 0, 1.0, 2.0][-len(axes) :]},
            ],
        }
        for n, path in enumerate(levels)
    ]
    overall = [{"type": "scale", "scale": [500.0, 1, 2, 2][-len(axes) :]}]
    scales = {"axes": axes, "datasets": datasets, "coordinateTransformations": overall}
    return {"multiscales": [scales], "omero": {"channels": channels}}


def write(path, version="0.5", meta=None, data=DATA, shards=None, chunks=(1, 1, 16, 50)):
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    meta = image() if meta is None else meta
    group.attrs.update(meta if version == "0.4" else {"ome": {"version": version, **meta}})
    for name, level in (("0", data), ("1", data[..., ::2, ::2])):
        group.create_array(name, data=level, chunks=chunks, shards=shards)
    return path


@pytest.mark.parametrize(
    ("version", "shards"), [("0.4", None), ("0.5", None), ("0.5", (3, 1, 48, 50))]
)
def test_ome_zarr(tmp_path, version, shards):
    path = write(tmp_path / "cells.ome.zarr", version, shards=shards)
    stack = read(path)
    assert stack.axes == "TCYX"
    assert not isinstance(stack.data, np.ndarray)
    np.testing.assert_array_equal(stack.data, DATA)
    assert stack.scale == pytest.approx((500, None, 0.2, 0.4))
    assert stack.units == ("ms", None, "µm", "µm")
    assert stack.translate == pytest.approx((0, 0, 2, 4))
    assert stack.channel_names == ("DAPI", "GFP")
    assert stack.channel_colors == ("#0000ff", "#00ff00")
    assert stack.name == "cells"
    assert stack.notices == ()


def test_a_level_can_be_named_and_keeps_its_metadata(tmp_path):
    stack = read(write(tmp_path / "a.zarr") / "1")
    assert stack.shape == (3, 2, 20, 25)
    assert stack.size("X") == (pytest.approx(0.8), "µm")
    assert stack.name == "a_1"


def test_a_container_of_several_images(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.open_group(path, zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write(path / "0", "0.4")
    write(path / "1", "0.4", data=DATA[:1])
    stack = read(path)
    assert stack.shape == DATA.shape
    assert len(stack.notices) == 1
    assert "holds 2 images" in stack.notices[0]
    assert read(path / "1").shape == DATA[:1].shape
    # Its own list of images has an order that names have not.
    zarr.open_group(path / "OME", zarr_format=2).attrs["series"] = ["1", "0"]
    assert read(path).shape == DATA[:1].shape


def test_a_group_of_several_images(tmp_path):
    meta = image()
    second = {**image(levels=("1",))["multiscales"][0], "name": "other"}
    meta["multiscales"] = [image(levels=("0",))["multiscales"][0], second]
    path = write(tmp_path / "a.zarr", meta=meta)
    (notice,) = read(path).notices
    assert f"holds 2 images: the first is used; give {path}/1 for the next." in notice
    other = read(path / "1")
    assert (other.axes, other.shape) == ("TCYX", (3, 2, 20, 25))
    assert other.size("X") == (pytest.approx(0.4), "µm")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_without_ome_metadata(tmp_path, zarr_format):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=DATA.astype(">u2"), zarr_format=zarr_format)
    stack = read(path)
    assert (stack.axes, stack.guessed) == ("TZYX", "TZYX")
    assert "guessed" in stack.notices[0]
    np.testing.assert_array_equal(stack.data[1], DATA[1])
    assert stack.data[1].dtype == np.dtype("uint16")


def test_names_of_dimensions_are_axes(tmp_path):
    names = ["time", "channel", "y", "x"]
    zarr.create_array(tmp_path / "3", data=DATA, dimension_names=names)
    old = zarr.create_array(tmp_path / "2", data=DATA, zarr_format=2)
    old.attrs["_ARRAY_DIMENSIONS"] = names
    for version in "23":
        stack = read(tmp_path / version)
        assert (stack.axes, stack.guessed, stack.notices) == ("TCYX", "", ())


@pytest.mark.parametrize(
    ("version", "shards", "lost", "words"),
    [
        ("0.4", None, "1.0.0.0", "1 of its 18 chunks (first: 1.0.0.0)"),
        ("0.5", None, "c/1/0", "3 of its 18 chunks (first: c/1/0/0/0)"),
        ("0.5", (1, 1, 48, 50), "c/1/0", "1 of its 6 shards (first: c/1/0/0/0)"),
    ],
)
def test_missing_chunks_are_refused_unless_they_are_said_to_be_empty(
    tmp_path, version, shards, lost, words
):
    path = write(tmp_path / "a.zarr", version, shards=shards)
    gone = path / "0" / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(InputError, match="copy it again") as caught:
        read(path)
    assert f"{path} lacks {words}, which would be read as 0" in str(caught.value)
    stack = read(path, empty_chunks=True)
    assert stack.notices == (f"{path} lacks {words}, which are read as 0.",)
    assert not stack.data[1, 0, :16].any()
    np.testing.assert_array_equal(stack.data[1, 1], DATA[1, 1])
    # Nobody has asked for the full resolution here.
    assert read(path / "1").notices == ()


@pytest.mark.parametrize("index_location", ["start", "end"])
def test_chunks_that_are_missing_in_a_shard(tmp_path, index_location):
    path = tmp_path / "a.zarr"
    shards = zarr.codecs.ShardingCodec(chunk_shape=(1, 16, 20), index_location=index_location)
    image = zarr.create(
        store=path, shape=(3, 40, 50), chunks=(2, 48, 60), dtype="u2", codecs=[shards]
    )
    # Zarr leaves out what is empty; beyond the edge there is nothing to be left out.
    image[:] = DATA[:, 0] + 1
    assert read(path, "TYX").notices == ()
    image[1:, 16:, 40:] = 0
    lacks = f"{path} lacks 4 of its 27 chunks (first: 1/1/2 in the shard c/0/0/0), which"
    with pytest.raises(InputError, match="copy it again") as caught:
        read(path)
    assert str(caught.value).startswith(f"{lacks} would be read as 0")
    stack = read(path, "TYX", empty_chunks=True)
    assert stack.notices == (f"{lacks} are read as 0.",)
    np.testing.assert_array_equal(stack.data[2, :, :40], DATA[2, 0, :, :40] + 1)


@pytest.mark.parametrize("index_location", ["start", "end"])
@pytest.mark.parametrize("kept", [10, 1000])
def test_a_shard_that_was_cut_off(tmp_path, index_location, kept):
    path = tmp_path / "a.zarr"
    shards = zarr.codecs.ShardingCodec(chunk_shape=(1, 16, 20), index_location=index_location)
    zarr.create(store=path, shape=(3, 40, 50), chunks=(3, 48, 60), dtype="u2", codecs=[shards])[
        :
    ] = DATA[:, 0]
    shard = path / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(InputError, match="is damaged or was cut off"):
        read(path)


def test_a_damaged_chunk_is_found_when_it_is_read(tmp_path):
    path = write(tmp_path / "a.zarr")
    (path / "0" / "c" / "2" / "1" / "0" / "0").write_bytes(b"hello")
    stack = read(path)
    layout = Layout.of(stack.shape, stack.axes)
    np.testing.assert_array_equal(layout.read(stack.data, 0), DATA[0])
    with pytest.raises(InputError, match=r"a\.zarr is damaged or was cut off: a part"):
        layout.read(stack.data, 2)


def nothing(path):
    path.mkdir()


def a_level_is_missing(path):
    write(path)
    shutil.rmtree(path / "0")


def metadata_are_cut_off(path):
    write(path)
    whole = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(whole[: len(whole) // 2])


def axes_do_not_fit(path):
    write(path, meta=image(AXES[1:]))


def no_numbers(path):
    zarr.create_array(path, data=np.array(["a", "bc"], dtype="U2"), zarr_format=2)


def a_plate(path):
    zarr.open_group(path).attrs["ome"] = {"plate": {"wells": [{"path": "A/1"}]}}


def two_arrays(path):
    group = zarr.open_group(path)
    group.create_array("a", data=DATA)
    group.create_array("b", data=DATA)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (nothing, r"no zarr\.json"),
        (a_level_is_missing, "the array '0', but it is missing"),
        (metadata_are_cut_off, "is no ZARR file or is damaged"),
        (axes_do_not_fit, r"name the axes CYX, but its array has the shape \(3, 2, 40, 50\)"),
        (no_numbers, "is not an image"),
        (a_plate, "plate of 1 wells"),
        (two_arrays, "2 arrays without OME metadata"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(tmp_path, make, words):
    path = tmp_path / "größere Daten.zarr"
    make(path)
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    assert "größere Daten.zarr" in str(caught.value)
    assert "\n" not in str(caught.value)
    if make is axes_do_not_fit:  # the user may know better
        assert read(path, "TCYX").axes == "TCYX"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path):
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}"
        http_server.shutdown()
        thread.join()


def test_over_http(tmp_path, server):
    pytest.importorskip("aiohttp")
    write(tmp_path / "a.zarr", "0.4")
    address = f"{server}/a.zarr"
    # A path object has one slash less.
    for place in (address, Path(address), f"{address}/"):
        stack = read(place)
        assert (stack.axes, stack.name) == ("TCYX", "a")
        np.testing.assert_array_equal(stack.data[2, :, 10:20], DATA[2, :, 10:20])
    assert read(f"{address}/1").size("X") == (pytest.approx(0.8), "µm")
    with pytest.raises(InputError, match="There is no Zarr at"):
        read(f"{server}/b.zarr")
    # The name of an address need not tell what lies there.
    write(tmp_path / "cells", "0.5")
    assert read(f"{server}/cells").axes == "TCYX"
    # A server need not say what it has: what is missing is found where it is read.
    (tmp_path / "a.zarr" / "0" / "2.1.0.0").unlink()
    stack = read(address)
    again = pickle.loads(pickle.dumps(stack.data))
    for image in (stack.data, again):
        np.testing.assert_array_equal(image[:2], DATA[:2])
        with pytest.raises(InputError, match=r"a\.zarr lacks chunks \(such as 0/2\.1\.0\.0\)"):
            image[2]
    assert not read(address, empty_chunks=True).data[2, 1, :16].any()
    (tmp_path / "b.tif").write_bytes(b"II*")
    with pytest.raises(InputError, match="other formats have to be downloaded first"):
        read(f"{server}/b.tif")


@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_server_that_answers_everything_alike(server, monkeypatch, status):
    pytest.importorskip("aiohttp")

    def answer(self):
        self.send_response(status)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"<html>")

    monkeypatch.setattr(Quiet, "do_GET", answer)
    with pytest.raises(InputError, match=r"There is no Zarr at .*downloaded first"):
        read(f"{server}/share/b.lif")


@pytest.mark.parametrize(("scheme", "package"), [("https", "aiohttp"), ("s3", "s3fs")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, scheme, package):
    def missing(*args, **settings):
        raise ImportError(f"Install {package} to access {scheme}")

    monkeypatch.setattr(zarr, "open", missing)
    with pytest.raises(InputError, match=rf"{package}.*napari-noise2self\[remote\]"):
        read(f"{scheme}://nowhere.invalid/a.zarr")


def test_a_public_bucket_needs_no_credentials(tmp_path, monkeypatch):
    class NoCredentialsError(Exception):
        """As botocore has it."""

    open_here = zarr.open
    write(tmp_path / "a.zarr")
    write(tmp_path / "b.zarr", "0.4")

    def bucket(address, mode, zarr_format, storage_options=None):
        if storage_options != {"anon": True}:
            raise NoCredentialsError("Unable to locate credentials")
        place = tmp_path / address.removeprefix("s3://bucket/")
        if zarr_format == 3 and not (place / "zarr.json").exists():
            # What is not there is refused where nothing may be listed.
            raise PermissionError("Forbidden")
        return open_here(place, mode=mode, zarr_format=zarr_format)

    monkeypatch.setattr(zarr, "open", bucket)
    for name in ("a", "b"):
        np.testing.assert_array_equal(read(f"s3://bucket/{name}.zarr").data[0], DATA[0])
    with pytest.raises(InputError, match=r"There is no Zarr at s3://bucket/c\.zarr"):
        read("s3://bucket/c.zarr")


def test_real_files(data_folder):
    stack = read(data_folder / "ome" / "tubhiswt4D_sub.zarr")
    assert (stack.axes, stack.shape) == ("TCZYX", (3, 1, 2, 512, 512))
    assert stack.channel_colors == ("#00ffff",)
    assert stack.notices == ()
    stack = read(data_folder / "ome" / "idr6001240_v05.zarr")
    assert (stack.axes, stack.shape) == ("CZYX", (2, 236, 68, 67))
    assert stack.channel_names == ("LaminB1", "Dapi")
    assert stack.size("Z") == (pytest.approx(0.5002, abs=1e-4), "µm")
    assert stack.data[1, 100].any()
