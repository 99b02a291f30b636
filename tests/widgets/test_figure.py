"""Plots that can be saved, apart from any dock."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from qtpy.QtGui import QImage

from napari_noise2self.widgets.plot import LossPlot
from napari_noise2self.widgets.session import Curve


@pytest.fixture
def plot(qtbot):
    figure = LossPlot()
    qtbot.addWidget(figure)
    return figure


def test_the_numbers_of_training_are_saved_by_epoch(plot, tmp_path):
    # So far apart that the plot is logarithmic; the numbers are not.
    plot.show_curves(Curve([0.5, 1.0, 1.5], [900.0, 30.0, 20.0]), Curve([1.0], [25.0]))
    plot.save(tmp_path / "training.csv")
    with (tmp_path / "training.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][0] == "epoch"
    assert all("squared grey values" in title for title in rows[0][1:])
    assert rows[1:] == [["0.5", "900.0", ""], ["1.0", "30.0", "25.0"], ["1.5", "20.0", ""]]


def test_a_plot_without_points_has_no_rows(plot, tmp_path):
    plot.show_curves(Curve(), Curve())
    plot.save(tmp_path / "training.csv")
    assert len((tmp_path / "training.csv").read_text().splitlines()) == 1


@pytest.mark.parametrize("suffix", [".png", ".svg", ".csv"])
def test_a_folder_that_is_not_there_is_an_error(plot, tmp_path, suffix):
    with pytest.raises(OSError, match="nowhere"):
        plot.save(tmp_path / "nowhere" / f"plot{suffix}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk is full here")
@pytest.mark.parametrize("suffix", [".png", ".svg", ".csv"])
def test_a_full_disk_is_an_error(plot, tmp_path, notifications, suffix):
    path = tmp_path / f"plot{suffix}"
    path.symlink_to("/dev/full")
    plot._save_and_tell(path)
    assert (
        notifications[-1].message == f"{path.name} could not be written: No space left on device."
    )


def test_a_picture_that_cannot_be_made_is_an_error(plot, tmp_path, monkeypatch):
    monkeypatch.setattr(QImage, "save", lambda *_: False)
    with pytest.raises(OSError, match="picture"):
        plot.save(tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


def test_a_saved_picture_can_be_read(plot, tmp_path):
    plot.show_curves(Curve([0.5, 1.0], [900.0, 30.0]), Curve([1.0], [25.0]))
    plot.save(tmp_path / "plot.png")
    assert QImage(str(tmp_path / "plot.png")).width() == 1600
