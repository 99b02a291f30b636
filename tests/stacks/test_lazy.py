from __future__ import annotations

import pickle

import numpy as np
import pytest

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.lazy import InMemory, Joined, Raw, View
from napari_noise2self.stacks.stack import Stack, as_dask

DATA = np.arange(3 * 4 * 6 * 5, dtype=">u2").reshape(3, 4, 6, 5)


@pytest.fixture(params=["C", "F", "joined", "view"])
def image(request, tmp_path):
    """The same image, kept in different ways."""
    path = tmp_path / "raw"
    if request.param in "CF":
        path.write_bytes(b"head" + DATA.tobytes(request.param))
        return Raw(path, DATA.dtype, DATA.shape, 4, request.param)
    if request.param == "joined":
        return Joined([InMemory(DATA[i, j], "a") for i in range(3) for j in range(4)], (3, 4), "a")
    wide = np.pad(DATA, ((0, 0), (0, 0), (2, 1), (0, 0)))
    return View(InMemory(wide[None], "a"), (0, slice(0, 3), slice(0, 4), slice(2, 8), slice(0, 5)))


@pytest.mark.parametrize(
    "index",
    [
        (),
        ...,
        1,
        -1,
        np.int64(2),
        slice(1, None),
        (0, 1, 2, 3),
        (slice(None), -2),
        (..., 4),
        (0, ..., slice(1, 4)),
        (slice(None), slice(None, None, 2), slice(5, 1, -2), slice(None, None, -1)),
        (slice(2, 2), 0),
        (slice(1, 100), slice(-3, -1)),
    ],
)
def test_it_is_indexed_like_numpy(image, index):
    part = image[index]
    np.testing.assert_array_equal(part, DATA[index])
    assert part.shape == DATA[index].shape
    assert part.dtype == np.dtype("uint16")  # in the byte order of the machine


def test_it_is_an_array_for_numpy_and_dask_and_can_be_sent_away(image):
    np.testing.assert_array_equal(np.asarray(image), DATA)
    assert np.asarray(image, np.float32).dtype == np.float32
    assert (len(image), image.ndim, image.size, image.nbytes) == (3, 4, 360, 720)
    lazy = as_dask(Stack(image, "TCYX"))
    assert lazy.chunks == ((1,) * 3, (1,) * 4, (6,), (5,))
    np.testing.assert_array_equal(lazy[1, :2, 3].compute(scheduler="synchronous"), DATA[1, :2, 3])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image))[1], DATA[1])


@pytest.mark.parametrize("index", [3, -4, (0,) * 5, (0, [1, 2]), DATA > 5, "a", None])
def test_other_indices_are_refused(image, index):
    with pytest.raises(IndexError):
        image[index]


def test_a_missing_image_of_many_is_zero():
    joined = Joined([None, InMemory(DATA[0, 0], "a")], (2,), "a")
    assert not joined[0].any()
    np.testing.assert_array_equal(joined[1], DATA[0, 0])


def test_a_file_that_is_gone_or_shorter_when_it_is_read_is_one_sentence(tmp_path):
    path = tmp_path / "Größe µ 1.raw"
    path.write_bytes(DATA.tobytes())
    image = Raw(path, DATA.dtype, DATA.shape, 0)
    path.write_bytes(DATA.tobytes()[:100])
    with pytest.raises(InputError, match=r"Größe µ 1\.raw is damaged or was cut off"):
        image[0]
    path.unlink()
    with pytest.raises(InputError, match=r"Größe µ 1\.raw could not be read: No such file"):
        image[0]
