from __future__ import annotations

import threading

import napari
import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.qt.threading import GeneratorWorker
from napari.utils import progress
from qtpy.QtCore import QTimer

from napari_noise2self.engine.errors import DownloadError
from napari_noise2self.stacks import public
from napari_noise2self.stacks.public import IMAGES, Fetched
from napari_noise2self.stacks.stack import Stack

from .conftest import TIMEOUT

TITLE = IMAGES["kidney"].title


class Network:
    """Stands in for the network; a test says when and what arrives.

    Attributes
    ----------
    go : threading.Event
        Everything is here, or the error is.
    ended : threading.Event
        Nobody fetches any more.
    error : Exception or None
    cached : bool
        Whether it is in the cache.
    threads : list of Thread
        Where it was fetched.
    """

    def __init__(self):
        self.go, self.ended = threading.Event(), threading.Event()
        self.error, self.cached, self.threads = None, False, []

    def fetch(self, key, progress=lambda share: None):
        self.threads.append(threading.current_thread())
        try:
            while not self.go.wait(0.01) and not self.cached:
                progress(0.42)
            if self.error is not None:
                raise self.error
            pixels = np.ones((3, 20, 20, 2), np.uint16)
            stack = Stack(pixels, "ZYXC", name=IMAGES[key].title)
            return Fetched(stack, pixels * 2, IMAGES[key])
        finally:
            self.ended.set()


@pytest.fixture
def network(monkeypatch):
    fake = Network()
    monkeypatch.setattr(public, "fetch", fake.fetch)
    yield fake
    fake.go.set()


@pytest.fixture
def choose(qtbot):
    """Choose a sample in the menu, as a person does: while the window handles events."""

    def click(key="kidney"):
        done = []
        command = get_app_model().commands.execute_command
        QTimer.singleShot(0, lambda: done.append(command(f"napari-noise2self.{key}").result()))
        qtbot.waitUntil(lambda: bool(done), timeout=TIMEOUT)

    return click


@pytest.fixture
def until(qtbot):
    return lambda true: qtbot.waitUntil(true, timeout=TIMEOUT)


def bars():
    return [bar for bar in progress._all_instances if "Fetching" in bar.desc]


def said(notifications):
    return [notification.message for notification in notifications]


def test_the_window_is_alive_until_the_image_is_here(viewer, network, choose, until, notifications):
    added = []
    viewer.layers.events.inserted.connect(lambda: added.append(threading.current_thread()))
    choose()
    assert len(viewer.layers) == 0
    # What follows is done by the window while it waits.
    until(lambda: bool(bars()) and bars()[0].n == 42)
    assert TITLE in bars()[0].desc
    until(lambda: bool(notifications))
    assert said(notifications) == [f"{TITLE} (25 MB) is being fetched and opens when it is here."]
    assert len(viewer.layers) == 0
    network.go.set()
    until(lambda: len(viewer.layers) == 2)
    assert set(added) == {threading.main_thread()}
    assert threading.main_thread() not in network.threads
    truth, noisy = viewer.layers
    assert (truth.name, truth.visible) == (f"{TITLE} truth", False)
    assert viewer.layers.selection.active is noisy
    assert noisy.metadata["source"]["licence"] == "CC0"
    assert noisy.source.sample == ("napari-noise2self", "kidney")
    assert said(notifications)[1:] == [IMAGES["kidney"].credit()]
    until(lambda: not bars())


def test_what_is_in_the_cache_opens_without_a_word_of_fetching(
    viewer, network, choose, until, notifications
):
    network.cached = True
    choose()
    until(lambda: len(viewer.layers) == 2)
    assert said(notifications) == [IMAGES["kidney"].credit()]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DownloadError("The image could not be fetched."), "The image could not be fetched."),
        # A worker of napari would swallow it.
        (RuntimeError("of some library"), "The work failed: of some library"),
    ],
)
def test_an_error_is_told_once_in_a_sentence(
    viewer, network, choose, until, notifications, error, sentence
):
    network.error = error
    choose()
    until(lambda: bool(bars()))
    network.go.set()
    until(lambda: sentence in said(notifications))
    until(lambda: not bars() and not GeneratorWorker._worker_set)
    assert said(notifications).count(sentence) == 1
    assert [n.severity.value for n in notifications if n.message == sentence] == ["error"]
    assert len(viewer.layers) == 0
    network.error = None
    choose()
    until(lambda: len(viewer.layers) == 2)


@pytest.mark.parametrize("arrived", [False, True])
def test_a_closed_viewer_gets_nothing_and_fetches_no_more(
    make_napari_viewer, network, choose, until, notifications, arrived
):
    other = make_napari_viewer(show=True)
    viewer = make_napari_viewer(show=True)
    assert napari.current_viewer() is viewer
    choose()
    until(lambda: bool(bars()))
    if arrived:
        network.go.set()
        assert network.ended.wait(TIMEOUT / 1000)  # and the window does not know it yet
    viewer.close()
    until(network.ended.is_set)
    until(lambda: not GeneratorWorker._worker_set)
    assert bars() == []
    assert len(viewer.layers) == len(other.layers) == 0
    assert all("being fetched" in message for message in said(notifications))


def test_it_ends_when_napari_quits(viewer, network, choose, until, notifications):
    choose()
    until(lambda: bool(bars()))
    for worker in GeneratorWorker._worker_set:
        worker.quit()  # and then napari waits
    assert network.ended.wait(TIMEOUT / 1000)
    until(lambda: not bars())
    assert all("being fetched" in message for message in said(notifications))


def test_what_is_chosen_twice_is_fetched_once(viewer, network, choose, until, notifications):
    choose("kidney")
    until(lambda: bool(network.threads))
    choose("kidney")
    assert f"{TITLE} is being fetched already." in said(notifications)
    choose("brain")
    until(lambda: len(network.threads) == 2)
    network.go.set()
    until(lambda: len(viewer.layers) == 4)


def test_a_script_has_the_layers_when_it_goes_on(viewer, network):
    network.cached = True
    truth, noisy = viewer.open_sample("napari-noise2self", "kidney")
    assert list(viewer.layers) == [truth, noisy]
    assert network.threads == [threading.main_thread()]
