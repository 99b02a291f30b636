"""What a network learns from, where there is another layer to learn from."""

from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self.widgets.session import State

from .conftest import noisy, open_dock, session_of


def offered(dock):
    box = dock.settings.target
    return [box.itemText(i) for i in range(box.count())] if box.isVisibleTo(dock) else []


def choose(dock, text):
    box = dock.settings.target
    box.setCurrentIndex(box.findText(text))


def test_it_is_asked_only_where_another_layer_shows_the_same_pixels(viewer):
    cells = viewer.add_image(noisy(), name="cells")
    dock = open_dock(viewer)
    assert offered(dock) == []
    assert not dock.settings._target_label.isVisibleTo(dock)
    viewer.add_labels(np.zeros((64, 64), int), name="labels")
    viewer.add_image(noisy((64, 32)), name="smaller")
    viewer.add_image(noisy(), name="cells denoised", metadata={"noise2self": {}})
    assert offered(dock) == []
    again = viewer.add_image(noisy(seed=1), name="again")
    assert offered(dock) == ["itself", "noisy: again", "clean: again"]
    again.name = "long exposure"
    assert offered(dock) == ["itself", "noisy: long exposure", "clean: long exposure"]
    dock.settings.layer.setCurrentIndex(dock.settings.layer.findText("long exposure"))
    assert offered(dock) == ["itself", "noisy: cells", "clean: cells"]
    dock.settings.layer.setCurrentIndex(dock.settings.layer.findText("smaller"))
    assert offered(dock) == []
    viewer.layers.remove(again)
    session_of(dock).settings.layer = cells
    assert offered(dock) == []


def test_colours_are_taught_by_colours(viewer):
    colours = np.zeros((64, 64, 3), np.uint8)
    viewer.add_image(colours, rgb=True, name="photograph")
    dock = open_dock(viewer)
    viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=False, name="stack")
    assert offered(dock) == []
    viewer.add_image(np.zeros((64, 64, 4), np.uint8), rgb=True, name="with opacity")
    assert offered(dock) == ["itself", "noisy: with opacity", "clean: with opacity"]


@pytest.mark.parametrize(("text", "objective"), [("noisy", "n2n"), ("clean", "n2t")])
def test_the_choice_reaches_the_engine_and_the_result_says_so(
    dock, viewer, engine, click, wait_for, text, objective
):
    again = viewer.add_image(noisy(seed=1), name="again")
    choose(dock, f"{text}: again")
    click(dock, "train")
    assert not dock.settings.target.isEnabled()
    engine.go.set()
    wait_for(dock, State.DONE)
    assert engine.arguments["config"].objective == objective
    assert engine.arguments["target"] is again.data
    result = viewer.layers["cells denoised"]
    assert result.metadata["noise2self"]["target"] == {"layer": "again"}
    # The result is not offered, and the choice stays.
    assert offered(dock) == ["itself", "noisy: again", "clean: again"]
    assert dock.settings.target.currentText() == f"{text}: again"
    choose(dock, "itself")
    click(dock, "train")
    wait_for(dock, State.DONE)
    assert engine.arguments["config"].objective == "n2s"
    assert engine.arguments["target"] is None
    assert "target" not in viewer.layers["cells denoised [1]"].metadata["noise2self"]


def test_a_target_that_is_gone_or_does_not_fit_is_forgotten(dock, viewer):
    settings = session_of(dock).settings
    again = viewer.add_image(noisy(seed=1), name="again")
    choose(dock, "clean: again")
    assert settings.target.layer is again
    viewer.add_image(noisy((32, 32)), name="smaller")
    assert settings.target is not None
    dock.settings.layer.setCurrentIndex(dock.settings.layer.findText("smaller"))
    assert settings.target is None
    dock.settings.layer.setCurrentIndex(dock.settings.layer.findText("cells"))
    assert dock.settings.target.currentText() == "itself"
    choose(dock, "noisy: again")
    settings.layer = again
    assert settings.target is None
    settings.layer = viewer.layers["cells"]
    choose(dock, "noisy: again")
    viewer.layers.remove(again)
    assert settings.target is None
    assert offered(dock) == []


def test_learning_from_a_clean_layer(dock, viewer, click, wait_for):
    y, x = np.ogrid[:64, :64]
    clean = 300 + 100 * np.sin(y / 9.0) * np.cos(x / 7.0)
    viewer.add_image(clean, name="truth")
    choose(dock, "clean: truth")
    click(dock, "train")
    wait_for(dock, State.DONE)
    info = viewer.layers["cells denoised"].metadata["noise2self"]
    assert info["objective"] == info["settings"]["objective"] == "n2t"
    assert info["target"]["layer"] == "truth"
    text = dock.outcome.text.text()
    assert "Learned from a clean image." in text
    assert f"{info['target']['loss']:.4g}" in text


def test_a_target_whose_pixels_were_replaced_meanwhile_is_refused(
    dock, viewer, click, wait_for, notifications
):
    again = viewer.add_image(noisy(seed=1), name="again")
    choose(dock, "noisy: again")
    again.data = noisy((32, 32))
    click(dock, "train")
    wait_for(dock, State.FAILED)
    assert "The target has the shape (32, 32)" in session_of(dock).message
