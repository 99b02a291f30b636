from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import Control
from napari_noise2self.stacks import disk, room
from napari_noise2self.stacks.many import Held, Job, find_images, plan
from napari_noise2self.stacks.room import check_room
from napari_noise2self.stacks.stack import Stack
from tests.stacks.fake_denoiser import FakeDenoiser

PIXELS = np.zeros((4, 50, 50), "uint16")


@pytest.fixture
def free(monkeypatch):
    """Says how many bytes are free on the disk."""
    usage = namedtuple("usage", "free")

    def set_free(count):
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage(count))

    return set_free


def jobs(folder, kind=None, count=5):
    for number in range(count):
        np.save(folder / f"{number}.npy", PIXELS)
    return plan(find_images([folder]), folder / "new" / "out", kind=kind).jobs


def checked(some, dtype="source", control=None, denoiser=None):
    reading = {"axes": "TYX"}
    return check_room(denoiser or FakeDenoiser(), some, dtype, reading, control or Control())


@pytest.mark.parametrize(
    ("kind", "dtype", "least", "most"),
    [
        ("imagej", "source", 5 * PIXELS.nbytes, 5 * PIXELS.nbytes),
        ("ome-tiff", "source", 2.5 * PIXELS.nbytes, 5 * PIXELS.nbytes),
        ("ome-zarr", "float32", 8 * PIXELS.nbytes, 10 * PIXELS.nbytes),
    ],
)
def test_results_have_to_fit_together(tmp_path, free, kind, dtype, least, most):
    some = jobs(tmp_path, kind)
    free(least - 1)
    with pytest.raises(InputError, match=r"5 results take up to .* give fewer images at once"):
        checked(some, dtype)
    free(least)
    assert len(checked(some, dtype)) == (most > least)
    free(most)
    assert checked(some, dtype) == []
    assert not (tmp_path / "new").exists()


def test_what_is_not_known_at_once_counts_nothing(tmp_path, free, monkeypatch):
    some = jobs(tmp_path, "imagej")
    free(4 * PIXELS.nbytes)
    (tmp_path / "3.npy").write_bytes(b"no image")
    assert checked(some) == []
    np.save(tmp_path / "3.npy", PIXELS[0])  # of other axes
    assert checked(some) == []
    np.save(tmp_path / "3.npy", PIXELS)
    assert checked(some, denoiser=FakeDenoiser(volume=True)) == []
    stopped = Control()
    stopped.stop()
    assert checked(some, control=stopped) == []
    monkeypatch.setattr(room, "_MOST", 4)
    assert checked(some) == []
    free(4 * PIXELS.nbytes - 1)
    with pytest.raises(InputError, match="4 results take up to 80"):
        checked(some)


def test_images_that_are_open_count_as_they_are(tmp_path, free):
    stack = Stack(PIXELS, "TYX")
    some = [Job(Held(name, stack=stack), tmp_path / f"{name}.tif") for name in "ab"]
    free(2 * PIXELS.nbytes - 1)
    with pytest.raises(InputError, match="2 results"):
        checked(some)
