"""Every button can be pressed with Alt and its letter, which no other one has."""

from __future__ import annotations

from collections import defaultdict

import pytest
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QAbstractButton, QLabel

from .conftest import noisy

DOCKS = (
    "Denoise",
    "J partition preview",
    "Noise report",
    "Compare denoisers",
    "Apply and export",
)


def letter(text):
    return QKeySequence.mnemonic(text).toString()


@pytest.mark.parametrize("name", DOCKS)
def test_no_two_controls_share_a_letter(viewer, name):
    viewer.add_image(noisy((3, 64, 64)), name="cells", axis_labels=("z", "y", "x"))
    _, dock = viewer.window.add_plugin_dock_widget("napari-noise2self", name)
    used = defaultdict(list)
    for action in viewer.window._qt_window.menuBar().actions():
        used[letter(action.text())].append(action.text())
    for control in dock.findChildren(QAbstractButton):
        used[letter(control.text())].append(control.text())
    for label in dock.findChildren(QLabel):
        if label.buddy() is not None:
            used[letter(label.text())].append(label.text())
    used.pop("", None)
    assert {key: texts for key, texts in used.items() if len(texts) > 1} == {}
