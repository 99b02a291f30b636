"""A stack shared between the workers of a real dask cluster on this machine."""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dask.system import CPU_COUNT
from typer.testing import CliRunner

from napari_noise2self import Denoiser, Noise2SelfError, TrainingConfig
from napari_noise2self.cli import app
from napari_noise2self.engine import streaming
from napari_noise2self.engine.errors import ClusterError, InputError
from napari_noise2self.engine.events import Control, PredictionEvent, exhaust
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.windows import Reach
from napari_noise2self.stacks import distributed
from napari_noise2self.stacks.export import export_events
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.targets import partial_of
from napari_noise2self.stacks.writing import write
from tests.stacks.fake_denoiser import noisy
from tests.stacks.test_export import content

dask_distributed = pytest.importorskip("distributed")
# A frame is the least that is written at once.
FRAMES = 6
SHAPE = (FRAMES, 300, 1500)
SMALL = TrainingConfig(epochs=0.1, device="cpu", channels=4, depth=1, averaging=False)
# What a worker is told to do: to die once it has written a region, before it can say so; and to
# leave behind what zarr had not finished then.
DEADLY = """
import os, signal
from napari_noise2self.stacks.store import PartialStore
put = PartialStore.put
def put_and_die(store, region, values):
    put(store, region, values)
    (store.level / "c" / "0.123.partial").write_bytes(b"half a chunk")
    os.kill(os.getpid(), signal.SIGKILL)
PartialStore.put = put_and_die
"""
DENOISERS = "sum(type(o).__name__ == 'Denoiser' for o in __import__('gc').get_objects())"


@pytest.fixture(scope="module")
def cluster():
    names = ("OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        before = [os.environ.get(name) for name in names]
        with distributed.connect("local:2") as two_processes:
            yield distributed.Cluster(two_processes.client, threads=1)
        assert [os.environ.get(name) for name in names] == before


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, an image, and what the one makes of the other without a cluster."""
    folder = tmp_path_factory.mktemp("shared")
    stack = noisy(shape=SHAPE)
    write(folder / "in.ome.zarr", stack.data, stack)
    denoiser = Denoiser(SMALL).fit(stack.data[:1, :64, :64])
    denoiser.save(folder / "m.safetensors")
    exhaust(export_events(denoiser, stack, folder / "whole.ome.zarr", dtype="float32"))
    return SimpleNamespace(
        source=folder / "in.ome.zarr",
        model=folder / "m.safetensors",
        whole=folder / "whole.ome.zarr",
        denoiser=denoiser,
        stack=read(folder / "in.ome.zarr"),
    )


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    monkeypatch.setattr(streaming, "REGION_PIXELS", 2**12)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The last digit of a float depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def export(place, target, predict=None, progress=None, **choices):
    more = {} if predict is None else {"predict": predict}
    events = export_events(
        place.denoiser,
        place.stack,
        target,
        dtype="float32",
        source=place.source,
        **more,
        **choices,
    )
    return exhaust(events, progress)


def apply(*words):
    return CliRunner().invoke(app, ["apply", *map(str, words)])


def test_a_worker_that_is_killed_changes_nothing(tmp_path, cluster, place):
    client = cluster.client
    address, victim = next(iter(client.run(os.getpid).items()))
    client.run(exec, DEADLY, {}, workers=[address])
    events = []
    written = export(place, tmp_path / "a.ome.zarr", cluster.predict_events, events.append)
    assert written.complete
    assert victim not in client.run(os.getpid).values()
    assert content(tmp_path / "a.ome.zarr") == content(place.whole)
    told = [event for event in events if isinstance(event, PredictionEvent)]
    assert {event.frame for event in told} == {None, *range(FRAMES)}
    fractions = [event.fraction for event in told]
    assert (fractions, fractions[-1]) == (sorted(fractions), 1.0)
    # A cluster lives on, and has other work: nothing of this stays in its memory.
    assert not any(client.run(eval, DENOISERS).values())


def test_an_export_goes_on_with_a_cluster_or_without_one(tmp_path, cluster, place, monkeypatch):
    monkeypatch.setattr(distributed, "_AHEAD", 0)
    monkeypatch.setattr(distributed, "_LEAST", 1)
    target = tmp_path / "a.ome.zarr"
    frames = []

    def note(event):
        if getattr(event, "frame", None) is not None:
            frames.append(event.frame)

    def stopped(predict, **choices):
        control = Control()

        def stop(event):
            note(event)
            if frames:
                control.stop()

        written = export(place, target, predict, stop, control=control, **choices)
        assert (written.path, written.complete) == (partial_of(target), False)

    stopped(cluster.predict_events)
    stopped(None, resume=True)
    assert export(place, target, cluster.predict_events, note, resume=True).complete
    # Nothing was done twice.
    assert sorted(frames) == list(range(FRAMES))
    assert content(target) == content(place.whole)


def test_the_terminal_shares_the_work(tmp_path, cluster, place):
    address = cluster.client.scheduler.address
    words = ("--device", "cpu", "--scheduler", address)
    result = apply(place.model, place.source, tmp_path / "a.ome.tif", *words)
    assert result.exit_code == 0, result.output
    assert f"2 workers at {address}" in result.stderr
    there, here = read(tmp_path / "a.ome.tif"), read(place.whole)
    assert there.dtype == place.stack.dtype
    np.testing.assert_allclose(np.asarray(there.data), np.asarray(here.data), atol=0.51)


def test_workers_here_have_their_share_of_the_cores(cluster):
    share = str(max(CPU_COUNT // 2, 1))
    assert set(cluster.client.run(os.getenv, "OMP_NUM_THREADS").values()) == {share}


def test_what_a_worker_does_not_see_is_said_and_what_is_done_is_kept(tmp_path, cluster, place):
    target = tmp_path / "a.ome.zarr"
    other = noisy(shape=SHAPE)
    write(tmp_path / "other.ome.zarr", other.data[::-1], other)
    control = Control()
    begun = lambda event: control.stop() if getattr(event, "frame", None) is not None else None  # noqa: E731
    assert not export(place, target, progress=begun, control=control).complete

    class Elsewhere:
        folder = tmp_path / "nowhere.partial"

        def __init__(self, sink):
            self.sink = sink

        def __getattr__(self, name):
            return getattr(self.sink, name)

    def predict(*args, sink, source, **choices):
        return cluster.predict_events(*args, sink=Elsewhere(sink), source=source, **choices)

    def reading(path):
        return lambda *args, source, **choices: cluster.predict_events(
            *args, source=path, **choices
        )

    for lying, words in (
        (predict, "does not see .*nowhere"),
        (reading(tmp_path / "missing.tif"), "cannot read .* path: There is no file"),
        (reading(tmp_path / "other.ome.zarr"), "another image"),
        (reading(None), "in memory cannot be shared"),
    ):
        with pytest.raises(Noise2SelfError, match=words) as caught:
            export(place, target, lying, resume=True)
        assert str(caught.value).count(". ") == 0
    assert export(place, target, resume=True).complete
    assert content(target) == content(place.whole)


def test_a_network_of_ones_own_is_not_sent(place, cluster):
    own = Denoiser(network=torch.nn.Conv2d(1, 1, 3, padding=1))
    with pytest.raises(InputError, match="of your own"):
        exhaust(cluster.predict_events(own, place.stack, sink=None, source=place.source))


def test_a_scheduler_that_goes_away_is_told_and_what_is_done_is_kept(tmp_path, place, monkeypatch):
    monkeypatch.setattr(distributed, "_LEAST", 1)
    monkeypatch.setattr(distributed, "_AHEAD", 0)
    monkeypatch.setattr(distributed, "_CONNECTING", 1)
    target = tmp_path / "a.ome.zarr"
    with dask_distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp", dashboard_address=":0", silence_logs=50
    ) as here:

        def end(event):
            if getattr(event, "frame", None) == 1:
                here.close()

        with distributed.connect(here.scheduler_address) as found:
            predict = distributed.Cluster(found.client, threads=1).predict_events
            with pytest.raises(ClusterError, match="was lost"):
                export(place, target, predict, end)
    assert export(place, target, resume=True).complete
    assert content(target) == content(place.whole)


def test_a_cluster_that_is_not_there_is_said_in_one_sentence(tmp_path, place, monkeypatch):
    monkeypatch.setattr(distributed, "_CONNECTING", 0.1)
    files = (place.model, place.source, tmp_path / "a.tif")
    for address, words in (
        ("tcp://127.0.0.1:1", "No dask scheduler answers at tcp://127.0.0.1:1"),
        ("nonsense://here", "No dask scheduler answers at nonsense://here"),
        (tmp_path / "none.json", "There is no scheduler file"),
    ):
        result = apply(*files, "--scheduler", address)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
    assert apply(*files, "--scheduler", "local:0").exit_code == 2
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = apply(*files, "--scheduler", "local:2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert 'pip install "napari-noise2self[distributed]"' in result.stderr
    assert not list(tmp_path.iterdir())


def test_each_worker_gets_some_regions():
    layout, reach = Layout.of((100, 512, 512)), Reach((32, 32), (8, 8))
    chunks = (2, 512, 512)
    for workers in (2, 5, 12):
        regions = streaming.plan(layout, chunks, reach, workers=workers)
        assert len(regions) >= 4 * workers
        assert sum(part[0].stop - part[0].start for part in regions) == 100
    # Not smaller than what is worth the way.
    assert len(streaming.plan(layout, chunks, reach, workers=1000)) == 50


def test_workers_take_the_gpus_in_turn(monkeypatch):
    from napari_noise2self.stacks.distributed_worker import LocalWorker

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    ignored = []
    monkeypatch.setattr(signal, "signal", lambda *what: ignored.append(what))
    plugin = LocalWorker(distributed._cuda_devices())
    for name, device in ((0, "GPU-a"), (1, "GPU-b"), (2, "GPU-a")):
        plugin.setup(SimpleNamespace(name=name))
        assert os.environ["CUDA_VISIBLE_DEVICES"] == device
    # Ctrl-C in a terminal reaches all processes, and one of them has to end the others.
    assert set(ignored) == {(signal.SIGINT, signal.SIG_IGN)}
