"""Work in threads, apart from any dock."""

from __future__ import annotations

import gc
import threading

from napari_noise2self.widgets.task import Task

from .conftest import TIMEOUT


def test_a_task_that_nobody_keeps_says_what_it_found(qtbot):
    go, found, ended = threading.Event(), [], []

    def work(dropped):
        go.wait(TIMEOUT / 1000)
        yield "found"

    Task(work, on_result=found.append, on_error=found.append, on_end=ended.append)
    gc.collect()
    go.set()
    qtbot.waitUntil(lambda: len(ended) == 1, timeout=TIMEOUT)
    assert found == ["found"]


def test_a_dropped_task_says_only_that_it_has_ended(qtbot):
    go, found, ended = threading.Event(), [], []

    def work(dropped):
        go.wait(TIMEOUT / 1000)
        yield "found"

    Task(work, on_result=found.append, on_error=found.append, on_end=ended.append).drop()
    gc.collect()
    go.set()
    qtbot.waitUntil(lambda: len(ended) == 1, timeout=TIMEOUT)
    assert not found
