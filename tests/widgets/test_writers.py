from __future__ import annotations

import dask.array as da
import numpy as np
import ome_types
import pytest
import tifffile
import yaozarrs
import zarr
from napari import plugins
from napari._app_model import get_app_model
from napari.components import ViewerModel
from napari.layers import Image
from npe2 import plugin_manager
from qtpy.QtWidgets import QFileDialog

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks.reading import read
from napari_noise2self.widgets.writers import write_ome_tiff, write_ome_zarr

LOOKS = {
    "name": "nuclei denoised",
    "scale": (2.5, 0.3, 0.108, 0.11),
    "translate": (0.0, -4.0, 10.0, 20.0),
    "units": ("s", "um", "um", "um"),
    "axis_labels": ("t", "z", "y", "x"),
    "colormap": "green",
    "metadata": {"noise2self": {"score": 1.5, "network": "unet"}},
}


@pytest.fixture(autouse=True)
def discovered():
    if "napari-noise2self" not in plugin_manager.instance():
        plugins._initialize_plugins()


def pixels():
    return np.random.default_rng(0).integers(0, 999, (2, 3, 30, 40)).astype("uint16")


def saved(layer, path):
    viewer = ViewerModel()
    viewer.add_layer(layer)
    return viewer.layers.save(str(path), plugin="napari-noise2self")


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.tiff", "a.ome.zarr"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_saved_layer_keeps_what_its_file_can_say(tmp_path, name, lazy):
    data = da.from_array(pixels(), chunks=(1, 1, 30, 40)) if lazy else pixels()
    path = tmp_path / name
    layer = Image(data, contrast_limits=(0, 999), **LOOKS)
    assert saved(layer, path) == [str(path)]
    back = read(path)
    np.testing.assert_array_equal(np.asarray(back.data), pixels())
    assert (back.axes, back.dtype, back.name) == ("TZYX", "uint16", "a")
    assert back.scale == LOOKS["scale"]
    assert back.units == ("s", "µm", "µm", "µm")
    assert back.channel_colors == ("#00ff00",)
    if name == "a.ome.zarr":
        yaozarrs.validate_zarr_store(str(path))
        assert back.translate == LOOKS["translate"]
        said = zarr.open_group(str(path)).attrs.asdict()
        assert said["noise2self"]["network"] == "unet"
        assert said["ome"]["multiscales"][0]["name"] == "nuclei denoised"
    else:
        with tifffile.TiffFile(path) as tiff:
            ome = ome_types.from_xml(tiff.ome_metadata)
        assert ome.images[0].name == "nuclei denoised"
        first = ome.images[0].pixels.planes[0]
        assert (first.position_z, first.position_y, first.position_x) == (-4, 10, 20)
        assert dict(ome.structured_annotations[0].value)["network"] == "unet"


def test_the_suffix_alone_chooses_these_writers(tmp_path):
    viewer = ViewerModel()
    viewer.add_image(pixels(), scale=(1, 2, 3, 4))
    viewer.layers.save(str(tmp_path / "a.ome.tif"))
    assert read(tmp_path / "a.ome.tif").scale == (None, 2.0, 3.0, 4.0)


def test_the_full_resolution_and_colours_are_saved(tmp_path):
    pyramid = [pixels()[0, 0], pixels()[0, 0, ::2, ::2]]
    saved(Image(pyramid, multiscale=True), tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "a.ome.tif").data), pyramid[0])
    rgb = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype("uint8")
    saved(Image(rgb, rgb=True), tmp_path / "b.ome.tif")
    assert read(tmp_path / "b.ome.tif").axes == "YXS"


def test_what_a_file_cannot_keep_is_told(tmp_path, notifications):
    saved(Image(pixels()[0, 0]), tmp_path / "a.ome.tif")
    assert notifications == []
    saved(Image(pixels()[0, 0], rotate=30), tmp_path / "b.ome.tif")
    assert "no rotation" in notifications[0].message


def test_a_zarr_is_not_replaced_for_no_dialog_asks(tmp_path):
    saved(Image(pixels()), tmp_path / "a.ome.zarr")
    with pytest.raises(Noise2SelfError, match="exists"):
        saved(Image(pixels() + 1), tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "a.ome.zarr").data), pixels())


@pytest.fixture
def save_as(viewer, monkeypatch):
    """Save the only layer as the menu does, with a format and a name chosen in the dialog."""

    def save(layer, path, form):
        viewer.layers.clear()
        viewer.add_layer(layer)

        def choose(*_, filter, **__):  # noqa: A002 -- Qt's name
            return str(path), next(f for f in filter.split(";;") if form in f)

        monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
        save_selected = "napari.window.file.save_layers_dialog.selected"
        get_app_model().commands.execute_command(save_selected).result()

    return save


@pytest.mark.parametrize(
    ("form", "name", "becomes"),
    [
        ("OME-TIFF", "cells denoised", "cells denoised.ome.tif"),
        ("OME-TIFF", "0.5 um", "0.5 um.ome.tif"),
        ("OME-TIFF", "cells.ome.tiff", "cells.ome.tiff"),
        ("OME-TIFF", "cells.OME.TIF", "cells.OME.TIF"),
        ("OME-TIFF", "cells.ome", "cells.ome.tif"),
        ("OME-TIFF", "cells.tif", "cells.ome.tif"),
        ("OME-Zarr", "cells denoised", "cells denoised.ome.zarr"),
        ("OME-Zarr", "cells.ome.zarr", "cells.ome.zarr"),
        ("OME-Zarr", "cells.zarr", "cells.zarr"),
    ],
)
def test_a_name_in_the_dialog_gets_the_ending_of_the_format(
    tmp_path, save_as, notifications, form, name, becomes
):
    save_as(Image(pixels(), **LOOKS), tmp_path / name, form)
    assert [path.name for path in tmp_path.iterdir()] == [becomes]
    assert read(tmp_path / becomes).scale == LOOKS["scale"]
    assert notifications == []


@pytest.mark.parametrize(
    ("write", "ending"), [(write_ome_tiff, ".ome.tif"), (write_ome_zarr, ".ome.zarr")]
)
def test_what_has_the_name_with_the_ending_is_not_replaced(tmp_path, write, ending):
    first, path = pixels()[0, 0], tmp_path / f"cells{ending}"
    assert write(str(tmp_path / "cells"), first, {}) == [str(path)]
    with pytest.raises(Noise2SelfError, match=r"exists and was not replaced.*name\.$") as caught:
        write(str(tmp_path / "cells"), first + 1, {})
    assert not isinstance(caught.value, ValueError)  # napari would look for another writer
    assert "terminal" not in str(caught.value)
    np.testing.assert_array_equal(np.asarray(read(path).data), first)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_the_dialog_asked_about_is_replaced(tmp_path, save_as):
    for value in (1, 2):
        save_as(Image(np.full((20, 20), value, np.uint8)), tmp_path / "a.ome.tif", "OME-TIFF")
    assert np.all(np.asarray(read(tmp_path / "a.ome.tif").data) == 2)
