"""*Compare denoisers*: ranked, shown, tiled, exported, taken for the whole; and what goes wrong."""

from __future__ import annotations

import csv
import json
import threading
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils import progress
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QCheckBox, QPushButton, QWidget

from napari_noise2self.engine import comparison as engine_module
from napari_noise2self.engine.comparison import MOST_PIXELS, ComparisonEvent
from napari_noise2self.engine.ranking import Ranking
from napari_noise2self.widgets import compare_region
from napari_noise2self.widgets.compare import CompareWidget
from napari_noise2self.widgets.compare_words import COLUMNS
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.runner import Stage
from napari_noise2self.widgets.session import State

from .conftest import TIMEOUT, noisy

QUICK = ("gaussian", "median")


def open_compare(viewer):
    _, widget = viewer.window.add_plugin_dock_widget("napari-noise2self", "Compare denoisers")
    return widget


def names(viewer):
    return [layer.name for layer in viewer.layers]


def tick_only(widget, *wanted):
    for name, box in widget.candidates.boxes.items():
        if box.isChecked() != (name in wanted):
            box.click()


def texts(widget, column):
    table = widget.results.table
    titles = [table.horizontalHeaderItem(i).text() for i in range(table.columnCount())]
    return [table.item(row, titles.index(column)).text() for row in range(table.rowCount())]


@pytest.fixture
def model(no_thread_left):
    """A viewer without its window, which is slow to open."""
    return ViewerModel()


@pytest.fixture
def opened(model, qtbot):
    """Open the dock of the viewer without a window."""

    def open_it():
        widget = CompareWidget(model)
        qtbot.addWidget(widget)
        tick_only(widget, *QUICK)
        return widget

    return open_it


@pytest.fixture
def ended(qtbot):
    """Wait until nothing is going on."""

    def wait(widget):
        comparer = widget.comparer
        qtbot.waitUntil(
            lambda: comparer.stage is Stage.IDLE and not widget.session.state.running,
            timeout=TIMEOUT,
        )

    return wait


@pytest.fixture
def compare(click, ended):
    """Click *Compare* and wait until it is done."""

    def act(widget):
        click(widget, "compare")
        assert widget.comparer.stage is Stage.COMPARING, widget.comparer.message
        ended(widget)

    return act


@pytest.fixture
def press_row(qtbot):
    """Click the row of a denoiser, in the column of its name."""

    def act(widget, name):
        table = widget.results.table
        line = texts(widget, "Denoiser").index(name)
        place = table.visualItemRect(table.item(line, 1)).center()
        qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)

    return act


@pytest.fixture
def paused(monkeypatch):
    """The engine holds after its first row until it is told to go on."""
    go, held = threading.Event(), threading.Event()
    real = engine_module.compare_events

    def slow(*arguments, control, **settings):
        events = real(*arguments, control=control, **settings)
        rows = 0
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                return stop.value
            yield event
            rows += isinstance(event, ComparisonEvent) and event.ranking is not None
            if rows == 1:
                held.set()
                while not (go.is_set() or control.stopped):
                    go.wait(0.02)
                    yield event

    monkeypatch.setattr(engine_module, "compare_events", slow)
    yield go, held
    go.set()


def test_the_menu_opens_it_and_one_click_ranks_shows_and_tiles(
    viewer, click, compare, press_row, ended, qtbot
):
    truth = noisy() * 0 + 300
    viewer.add_image(truth, name="truth", visible=False)
    source = viewer.add_image(
        noisy(), name="cells", scale=(2, 3), translate=(5, 7), contrast_limits=(200, 400)
    )
    widget = open_compare(viewer)
    tick_only(widget, *QUICK)
    compare(widget)
    assert sorted(texts(widget, "Denoiser")) == ["Gaussian", "Median"]
    assert all("±" in text for text in texts(widget, "Score"))
    assert not widget.results.table.isColumnHidden(0)

    selected = viewer.layers.selection.active
    for name in ("Median", "Gaussian", "Median", "Median"):
        press_row(widget, name)
    assert names(viewer) == ["truth", "cells", "cells: Median", "cells: Gaussian"]
    median = viewer.layers["cells: Median"]
    assert median.visible
    assert not viewer.layers["cells: Gaussian"].visible
    np.testing.assert_allclose(median.scale, source.scale)
    np.testing.assert_allclose(median.translate, source.translate)
    assert median.contrast_limits == source.contrast_limits
    assert viewer.layers.selection.active is selected

    click(widget, "tile")
    assert viewer.canvas.grid.enabled
    shown = [layer.name for layer in viewer.layers if layer.visible]
    # The source first, then the best.
    best = widget.comparer.ranking.rows[0].name
    grid = viewer.canvas.grid
    first, second = (
        grid.position(viewer.layers.index(name), viewer.layers)
        for name in ("cells", f"cells: {best}")
    )
    assert first == (0, 0)
    assert second == (0, 1)
    assert set(shown) == {"cells", "cells: Median", "cells: Gaussian"}
    click(widget, "tile")
    assert not viewer.canvas.grid.enabled
    assert [x.name for x in viewer.layers if x.visible] == ["cells", "cells: Median"]
    click(widget, "tile")
    viewer.canvas.grid.enabled = False  # napari's own button
    assert widget.results.tile.text() == "Tile"
    assert [x.name for x in viewer.layers if x.visible] == ["cells", "cells: Median"]

    del viewer.layers["cells: Median"]  # theirs to delete
    press_row(widget, "Median")
    assert "cells: Median" in names(viewer)
    source.visible = False
    np.testing.assert_array_equal(source.data, noisy())


def test_only_the_region_in_view_is_compared_and_lies_where_it_was(
    model, opened, compare, monkeypatch
):
    monkeypatch.setattr(compare_region, "LONGEST", 96)
    monkeypatch.setattr(compare_region, "SHORTEST", 64)
    stack = np.stack([noisy((400, 300), seed) for seed in range(3)])
    source = model.add_image(stack, name="stack", scale=(1, 2, 3), translate=(0, 10, 20), rotate=30)
    model.dims.set_current_step(0, 2)
    widget = opened()
    assert widget.form.region.currentData() is False
    compare(widget)
    widget.comparer.choose(widget.comparer.favourite)
    region = widget.comparer.region.window
    layer = model.layers[-1]
    assert region[0] == slice(2, 3)
    assert layer.data.shape == (1, 96, 96)
    start = [part.start for part in region]
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), source.data_to_world(start))
    np.testing.assert_allclose(
        layer.data_to_world((0, 95, 95))[1:],
        source.data_to_world([region[0].start, region[1].stop - 1, region[2].stop - 1])[1:],
    )


def test_a_layer_beyond_the_limit_can_be_compared_in_view_only(model, opened):
    assert compare_region.MOST_PIXELS == MOST_PIXELS
    model.add_image(np.broadcast_to(np.uint8(0), (5000, 5000)), name="large", multiscale=False)
    widget = opened()
    item = widget.form.region.model().item(widget.form.region.index_of(True))
    assert not item.isEnabled()
    assert widget.form.region.currentData() is False


def test_channels_come_together_and_only_one_frame(model):
    data = np.zeros((4, 3, 200, 300), np.uint8)
    layer = model.add_image(data, axis_labels=("t", "c", "y", "x"))
    region = compare_region.Region.in_view_of(model, Source.of(layer), volume=False)
    assert region.shape[:2] == (1, 3)
    assert all(n >= compare_region.SHORTEST for n in region.shape[2:])


def test_rgb_results_are_rgb(model, opened, compare):
    rgb = np.stack([noisy(seed=s) for s in range(3)], axis=-1).clip(0, 500) // 2
    model.add_image(rgb.astype(np.uint8), name="photo", rgb=True)
    widget = opened()
    tick_only(widget, "gaussian")
    compare(widget)
    widget.comparer.choose(widget.comparer.favourite)
    assert model.layers[-1].rgb
    assert model.layers[-1].data.dtype == np.uint8


def test_sorting_by_a_column_and_back(model, opened, compare):
    model.add_image(noisy(), name="cells")
    widget = opened()
    compare(widget)
    table = widget.results.table
    ranked = texts(widget, "Denoiser")
    column = list(texts_titles(table)).index("Denoiser")
    table.sortItems(column, Qt.SortOrder.DescendingOrder)
    assert texts(widget, "Denoiser") == ["Median", "Gaussian"]
    table.sortItems(0, Qt.SortOrder.AscendingOrder)
    assert texts(widget, "Denoiser") == ranked


def texts_titles(table):
    return [table.horizontalHeaderItem(i).text() for i in range(table.columnCount())]


def test_a_truth_adds_psnr_ssim_and_the_true_curve(model, opened, compare):
    clean = 300 + 100 * np.sin(np.arange(64) / 9.0)[:, None] * np.cos(np.arange(64) / 7.0)
    model.add_image(clean, name="truth")
    model.add_image(np.zeros((3, 3)), name="of another shape")
    model.add_image(noisy(), name="cells")
    widget = opened()
    assert [widget.form.truth.itemText(i) for i in range(2)] == ["none", "truth"]
    assert widget.form.truth.count() == 2
    assert "PSNR (dB)" in COLUMNS
    compare(widget)
    assert "PSNR (dB)" not in texts_titles(widget.results.table)
    widget.form.truth.setCurrentIndex(1)
    compare(widget)
    assert all(float(text) > 10 for text in texts(widget, "PSNR (dB)"))
    curve = widget.comparer.curves.of("median")
    assert curve.best.mse == min(point.mse for point in curve.points)


def test_the_curve_is_drawn_and_can_be_saved(model, opened, compare, tmp_path):
    model.add_image(noisy(), name="cells")
    widget = opened()
    tick_only(widget, "gaussian", "bilateral")
    compare(widget)
    figure = widget.curves.figure
    choice = widget.curves.choice
    assert [choice.itemText(i) for i in range(1, 3)] == ["Gaussian", "Bilateral"]
    choice.setCurrentIndex(1)
    curve = widget.comparer.curves.of("gaussian")
    drawn = [label.text for _, label in figure.item.legend.items]
    assert drawn == ["J-invariant", "plain (misleading)", "noise variance", "minimum"]
    figure.save(tmp_path / "curve.csv")
    rows = list(csv.DictReader((tmp_path / "curve.csv").read_text().splitlines()))
    losses = [float(row["J-invariant loss (squared grey values)"]) for row in rows]
    assert len(rows) == len(curve.points) >= 5
    assert min(losses) == curve.best.loss == pytest.approx(900, rel=0.25)
    gap = float(rows[0]["noise variance (squared grey values)"])
    assert gap == pytest.approx(900, rel=0.2)
    # The plain filter's loss is smallest where it denoises least.
    plain = [float(row["plain loss (squared grey values)"]) for row in rows]
    assert plain.index(min(plain)) == 0 != losses.index(min(losses))
    figure.save(tmp_path / "curve.png")
    figure.save(tmp_path / "curve.svg")
    assert QImage(str(tmp_path / "curve.png")).width() >= 1000
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_the_table_is_copied_and_exported(model, opened, compare, tmp_path):
    model.add_image(noisy(), name="cells")
    widget = opened()
    compare(widget)
    as_csv, as_markdown = widget.results.copy.menu().actions()
    as_csv.trigger()
    rows = list(csv.DictReader(QApplication.clipboard().text().splitlines()))
    assert [row["denoiser"] for row in rows] == texts(widget, "Denoiser")
    assert float(rows[0]["self-supervised score (squared grey values)"]) > 800
    as_markdown.trigger()
    lines = QApplication.clipboard().text().splitlines()
    assert lines[0].startswith("| Rank | Denoiser |")
    assert len(lines) == 4
    widget.results.save(tmp_path / "table.csv")
    assert "denoiser" in (tmp_path / "table.csv").read_text(encoding="utf-8")
    widget.results.save(tmp_path / "table.json")
    told = json.loads((tmp_path / "table.json").read_text())
    assert told["image"]["name"] == "cells"
    assert told["partition"]["kind"] == "grid"
    assert told["settings"]["denoisers"] == ["median", "gaussian"]
    assert told["rows"][0]["settings"]["parameters"]
    assert "napari-noise2self" in told["versions"]


def test_a_filter_denoises_the_whole_stack(model, opened, compare, click, ended, monkeypatch):
    monkeypatch.setattr(compare_region, "LONGEST", 64)
    stack = np.stack([noisy((100, 90), seed) for seed in range(3)])
    model.add_image(stack, name="stack", scale=(5, 2, 2))
    widget = opened()
    tick_only(widget, "gaussian")
    compare(widget)
    filter_ = widget.comparer.favourite.denoiser
    click(widget, "whole")
    ended(widget)
    result = model.layers["stack denoised"]
    np.testing.assert_allclose(result.scale, (5, 2, 2))
    assert result.metadata["noise2self"]["settings"]["filter"] == "gaussian"
    assert result.metadata["noise2self"]["complete"]
    np.testing.assert_allclose(result.data, filter_(stack), rtol=1e-5)


def test_a_network_is_trained_on_the_whole_layer_with_its_settings(
    model, opened, compare, click, ended, engine
):
    layer = model.add_image(noisy(), name="cells")
    widget = opened()
    widget.session.settings.epochs = 1.0
    tick_only(widget, "unet")
    compare(widget)
    # What was chosen in Denoise since then, or before, is not what was compared.
    widget.session.settings.epochs = 7.0
    widget.session.settings.region = "frame"
    widget.session.settings.channel_use = "shared"
    engine.go.set()
    click(widget, "whole")
    ended(widget)
    assert widget.session.state is State.DONE
    # A layer with channels, denoised next, is not bound by what this one settled.
    assert widget.session.settings.channel_use == "auto"
    config = engine.arguments["config"]
    assert config.network == "unet"
    assert config.epochs == 1.0
    assert engine.arguments["region"] is None
    assert engine.arguments["target"] is None
    assert config.partition.description(2) == widget.comparer.comparison.partition
    assert widget.session.settings.layer is layer
    assert "cells denoised" in names(model)


def test_a_saved_model_takes_part_and_one_that_cannot_be_read_says_why(
    model, opened, compare, press_row, click, ended, tmp_path
):
    import napari_noise2self as n2s

    n2s.Denoiser(n2s.TrainingConfig(epochs=0.5, device="cpu")).fit(noisy()).save(
        tmp_path / "mine.safetensors"
    )
    (tmp_path / "broken.safetensors").write_text("not a model")
    model.add_image(noisy(), name="cells")
    widget = opened()
    tick_only(widget)
    for name in ("mine", "broken"):
        widget.candidates.model_chosen.emit(tmp_path / f"{name}.safetensors")
    assert {"mine", "broken"} <= {b.text() for b in widget.findChildren(QCheckBox)}
    compare(widget)
    assert texts(widget, "Denoiser") == ["mine", "broken"]
    assert texts(widget, "Score")[1] == "failed"
    press_row(widget, "broken")
    assert "broken.safetensors" in widget.results.detail.text()
    click(widget, "whole")  # with the best one, as this one has no result
    ended(widget)
    assert model.layers["cells denoised"].metadata["noise2self"]["denoiser"] == "mine"


def test_stop_keeps_the_complete_rows(model, opened, click, ended, qtbot, paused):
    _, held = paused
    model.add_image(noisy(), name="cells")
    widget = opened()
    click(widget, "compare")
    qtbot.waitUntil(held.is_set, timeout=TIMEOUT)
    qtbot.waitUntil(lambda: widget.comparer.ranking is not None, timeout=TIMEOUT)
    assert texts(widget, "Denoiser") == ["Median"]
    assert not widget.results.whole.isEnabled()
    assert not widget.form.layer.isEnabled()
    click(widget, "compare")
    ended(widget)
    assert texts(widget, "Denoiser")[0] == "Median"
    assert "Stopped" in widget.message.text()
    assert widget.results.whole.isEnabled()
    assert widget.findChild(QPushButton, "compare").text() == "&Compare"


def test_a_stop_at_once_says_so(model, opened, click, ended, monkeypatch):
    real = engine_module.compare_events

    def hesitant(*arguments, control, **settings):
        while not control.stopped:
            threading.Event().wait(0.02)
        return (yield from real(*arguments, control=control, **settings))

    monkeypatch.setattr(engine_module, "compare_events", hesitant)
    model.add_image(noisy(), name="cells")
    widget = opened()
    click(widget, "compare")
    click(widget, "compare")
    assert widget.findChild(QPushButton, "compare").text() == "Stopping…"
    ended(widget)
    assert widget.message.text() == "Stopped before any denoiser was done."
    assert widget.results.isHidden()


def test_closing_ends_the_work_and_frees_it(model, opened, click, qtbot, paused):
    model.add_image(noisy(), name="cells")
    widget = opened()
    click(widget, "compare")
    qtbot.waitUntil(lambda: widget.comparer.ranking is not None, timeout=TIMEOUT)
    result = weakref.ref(widget.comparer.ranking.rows[0].result)
    control = widget.comparer._control
    parent = QWidget()
    widget.setParent(parent)
    widget.setParent(None)
    assert control.stopped
    assert widget.comparer is None
    qtbot.waitUntil(lambda: result() is None, timeout=TIMEOUT)


def test_removing_the_layer_ends_the_work(model, opened, click, qtbot, paused):
    model.add_image(noisy(), name="cells")
    widget = opened()
    click(widget, "compare")
    qtbot.waitUntil(lambda: widget.comparer.ranking is not None, timeout=TIMEOUT)
    model.layers.clear()
    assert widget.comparer.stage is Stage.IDLE
    assert "removed" in widget.message.text()
    assert not widget.results.whole.isEnabled()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((64, 64), 7, np.uint8), "constant"),
        (np.full((64, 64), np.nan), "NaN"),
        (np.ones((1, 1)), ""),
        (None, "no image layer"),
    ],
)
def test_bad_input_is_a_sentence_and_the_panel_works_on(
    model, opened, click, ended, compare, image, words
):
    if image is not None:
        model.add_image(image, name="bad", contrast_limits=(0, 1))
    widget = opened()
    click(widget, "compare")
    ended(widget)
    assert widget.message.text().endswith(".")
    assert words in widget.message.text()
    model.add_image(noisy(), name="cells")
    widget.session.settings.layer = model.layers["cells"]
    compare(widget)
    assert not widget.message.text()
    assert texts(widget, "Denoiser")


def test_each_denoiser_says_what_it_does(opened):
    widget = opened()
    assert len(widget.candidates.fold.toggleButton().toolTip()) > 20
    for box in widget.candidates.boxes.values():
        assert len(box.toolTip()) > 30, box.text()


def test_nothing_ticked_is_said(model, opened, click):
    model.add_image(noisy(), name="cells")
    widget = opened()
    tick_only(widget)
    click(widget, "compare")
    assert "tick at least one" in widget.message.text()


def test_the_activity_dock_shows_what_is_done(model, opened, compare, activities):
    model.add_image(noisy(), name="cells")
    compare(opened())
    assert activities
    assert all(words.startswith("Compare: ") for words in activities)
    assert not progress._all_instances


def test_ties_are_said_in_words(model, opened, compare):
    model.add_image(noisy(), name="cells")
    widget = opened()
    compare(widget)
    comparer = widget.comparer
    row = comparer.ranking.rows[0]
    comparer.ranking = Ranking((row, row), (1, 1))
    comparer.changed.emit()
    assert [text.replace("\xa0", " ") for text in texts(widget, "Rank")] == ["1 =", "1 ="]
    assert "tied with" in widget.results.table.item(0, 0).toolTip()


def test_two_viewers_share_nothing(model, opened, compare, qtbot):
    model.add_image(noisy(), name="cells")
    other = ViewerModel()
    other.add_image(noisy(), name="others")
    widget = opened()
    second = CompareWidget(other)
    qtbot.addWidget(second)
    compare(widget)
    assert second.comparer.ranking is None
    assert second.comparer.choices.ticked != widget.comparer.choices.ticked
    assert names(other) == ["others"]
