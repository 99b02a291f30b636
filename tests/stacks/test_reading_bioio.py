from __future__ import annotations

import sys

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
