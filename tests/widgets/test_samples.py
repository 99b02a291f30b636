from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Layer
from npe2 import PluginManifest

from napari_noise2self.stacks import public
from napari_noise2self.stacks.public import IMAGES, Fetched
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.widgets import commands

SHAPES = {
    "filaments": ("yx", 2),
    "mitochondria": ("yx", 2),
    "tissue": ("czyx", 4),
    "vesicles": ("tyx", 3),
}


@pytest.mark.parametrize("key", SHAPES)
def test_a_simulated_sample_lies_over_its_hidden_truth(key):
    truth, noisy = (Layer.create(*data) for data in getattr(commands, f"sample_{key}")())
    axes, ndim = SHAPES[key]
    assert noisy.axis_labels == tuple(axes)
    assert noisy.ndim == truth.ndim == ndim
    assert noisy.visible
    assert not truth.visible
    assert truth.name == f"{noisy.name} truth"
    assert tuple(truth.scale) == tuple(noisy.scale)
    assert str(noisy.units[-1]) == "micrometer"


def test_a_public_image_shows_its_licence_and_whom_to_credit(monkeypatch, notifications):
    stack = Stack(np.ones((20, 20), np.uint8), "YX", name="brain")
    about = IMAGES["brain"]
    monkeypatch.setattr(public, "fetch", lambda key: Fetched(stack, stack.data, IMAGES[key]))
    truth, noisy = (Layer.create(*data) for data in commands.public_brain())
    assert not truth.visible
    for layer in (truth, noisy):
        assert layer.metadata["source"]["licence"] == "CC BY-SA 4.0"
        assert layer.metadata["source"]["citation"] == about.citation
    assert [n.message for n in notifications] == [about.credit()]


def test_every_public_image_is_in_the_menu_with_its_licence():
    manifest = PluginManifest.from_distribution("napari-noise2self")
    samples = {sample.key: sample for sample in manifest.contributions.sample_data}
    for key, about in IMAGES.items():
        assert about.licence in samples[key].display_name
        assert samples[key].command == f"napari-noise2self.public_{key}"
        assert callable(getattr(commands, f"public_{key}"))
