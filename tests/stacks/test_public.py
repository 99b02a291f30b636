from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import re
import socket
import threading

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_noise2self.engine.errors import DownloadError, InputError
from napari_noise2self.stacks import public
from napari_noise2self.stacks.public import IMAGES, File, PublicImage, fetch


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder on a web server of this computer, and what was asked of it."""
    folder = tmp_path / "web"
    folder.mkdir()
    monkeypatch.setenv(public.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    handler = type("Handler", (Quiet,), {"asked": []})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=folder)
    ) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{http_server.server_address[1]}", handler.asked
        http_server.shutdown()
        thread.join()


def published(folder, address, name):
    content = (folder / name).read_bytes()
    return File(f"{address}/{name}", hashlib.sha256(content).hexdigest(), 0.1)


@pytest.fixture
def image(server, monkeypatch):
    folder, address, _ = server
    noisy = np.random.default_rng(0).integers(0, 99, (3, 20, 24, 2), dtype=np.uint16)
    tifffile.imwrite(folder / "noisy.tif", noisy)
    Image.fromarray(noisy[0, :, :, 0].astype(np.uint8)).save(folder / "truth.png")
    about = PublicImage(
        "Test image",
        published(folder, address, "noisy.tif"),
        "CC0",
        "A. Person",
        truth=published(folder, address, "truth.png"),
        axes="ZYXC",
        scale=(1.0, 0.5, 0.5, None),
        units=("µm", "µm", "µm", None),
        channel_names=("a", "b"),
    )
    monkeypatch.setitem(IMAGES, "test", about)
    return noisy, about


def test_an_image_is_fetched_once_and_says_what_the_file_does_not(server, image, caplog):
    noisy, about = image
    with caplog.at_level("INFO", "napari_noise2self"):
        first = fetch("test")
    again = fetch("test")
    assert len(server[2]) == 2  # the image and its truth, and nothing more the second time
    for fetched in (first, again):
        np.testing.assert_array_equal(fetched.noisy.data, noisy)
        np.testing.assert_array_equal(fetched.truth, noisy[0, :, :, 0])
    stack = first.noisy
    assert (stack.axes, stack.name) == ("ZYXC", "Test image")
    assert stack.size("Z") == (1.0, "µm")
    assert stack.channel_names == ("a", "b")
    assert first.about == about
    assert "CC0" in caplog.text
    assert "A. Person" in caplog.text


def test_the_share_that_has_arrived_is_told(server, image, monkeypatch):
    monkeypatch.setattr(public, "_AT_ONCE", 500)
    shares = []
    fetch("test", shares.append)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    # Both files are of the same size, to say nothing of what comes between.
    assert 0.5 in shares
    assert len(set(shares)) > 5
    shares.clear()
    fetch("test", shares.append)
    assert shares == []  # it was in the cache


@pytest.mark.parametrize("when", [0.0, 0.2])
def test_whoever_is_told_can_end_it_and_nothing_is_kept(server, image, tmp_path, monkeypatch, when):
    class Enough(Exception):  # noqa: N818
        pass

    def progress(share):
        if share >= when:
            raise Enough

    monkeypatch.setattr(public, "_AT_ONCE", 500)
    with pytest.raises(Enough):
        fetch("test", progress)
    assert list((tmp_path / "cache").iterdir()) == []
    np.testing.assert_array_equal(fetch("test").noisy.data, image[0])


def test_a_file_that_is_not_the_published_one_is_refused_and_not_kept(server, image, tmp_path):
    (server[0] / "noisy.tif").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="checksum differs"):
        fetch("test")
    assert not list((tmp_path / "cache").iterdir())


def test_a_damaged_file_in_the_cache_is_fetched_again(server, image, tmp_path):
    noisy, _ = image
    fetch("test")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"damaged")
    np.testing.assert_array_equal(fetch("test").noisy.data, noisy)


def test_what_is_gone_is_told_in_a_sentence(server, image):
    (server[0] / "noisy.tif").unlink()
    with pytest.raises(DownloadError, match=r"any more \(status 404\): please report"):
        fetch("test")


def test_without_a_network_it_is_said_so(image, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    about = image[1]
    nowhere = dataclasses.replace(about.noisy, url=f"http://127.0.0.1:{port}/noisy.tif")
    monkeypatch.setitem(IMAGES, "test", dataclasses.replace(about, noisy=nowhere))
    with pytest.raises(DownloadError, match="connect to the internet") as caught:
        fetch("test")
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_named(image, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv(public.CACHE_VARIABLE, str(tmp_path / "taken"))
    with pytest.raises(DownloadError, match=f"could not be kept.*{public.CACHE_VARIABLE}"):
        fetch("test")


def test_an_unknown_image_is_refused():
    with pytest.raises(InputError, match="use one of brain"):
        fetch("cat")


@pytest.mark.parametrize("key", list(IMAGES))
def test_what_is_published_is_pinned_and_credited(key):
    about = IMAGES[key]
    for file in filter(None, (about.noisy, about.truth)):
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        # The address of a state of a repository that cannot change.
        assert re.search("/[0-9a-f]{40}/", file.url)
        assert file.url.startswith("https://")
    assert about.licence.startswith("CC")
    assert about.citation in about.credit()
