from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from napari_noise2self import Noise2SelfError
from napari_noise2self.stacks import disk, store
from napari_noise2self.stacks.file_image import regions
from napari_noise2self.stacks.stack import Stack
from napari_noise2self.stacks.store import PartialStore
from napari_noise2self.stacks.unfinished import STATE, unfinished


@pytest.fixture(autouse=True)
def every_region_at_once(monkeypatch):
    """Regions are brought to the disk one by one, not every two seconds."""
    monkeypatch.setattr(store, "_SYNC_INTERVAL", -1.0)


def image(shape=(3, 1100, 1600), axes="TYX"):
    data = np.random.default_rng(0).integers(0, 1000, shape).astype("uint16")
    return Stack(data, axes)


def parts(begun):
    return list(regions(begun.array.shape, begun.chunks))


def fill(begun, data, count=None):
    for region in parts(begun)[:count]:
        if not begun.has(region):
            begun.write(region, data[region].astype("float32"))


@pytest.mark.parametrize("axes", ["TYX", "XYT", "YXC"])
def test_regions_in_any_order_make_the_array(tmp_path, axes):
    stack = image((5, 1030, 1700) if axes == "TYX" else (1600, 1030, 2), axes)
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        for region in reversed(parts(begun)):
            assert not begun.has(region)
            begun.write(region, stack.data[region])
            assert begun.has(region)
        assert begun.complete
        assert begun.array.shape == stack.shape
        np.testing.assert_array_equal(begun.array[1:3, :, 1], stack.data[1:3, :, 1])
        np.testing.assert_array_equal(np.asarray(begun.array), stack.data)


def test_what_is_done_can_be_seen_while_the_rest_is_zero(tmp_path):
    stack = image()
    with PartialStore.open(tmp_path / "a.tif", stack) as begun:
        shown = begun.array
        assert not shown[0].any()
        fill(begun, stack.data, 1)
        first = parts(begun)[0]
        np.testing.assert_array_equal(shown[first], stack.data[first])
        assert 0 < begun.fraction < 1


def test_a_region_that_is_not_made_of_whole_chunks_is_refused(tmp_path):
    stack = image()
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        for part in (slice(0, 10), slice(5, None)):
            with pytest.raises(ValueError, match="whole chunks"):
                begun.write((slice(None), part, slice(None)), stack.data[:, part])


def test_the_work_goes_on_where_it_ended_and_the_clipped_are_counted_once(tmp_path):
    stack = image()
    bright = stack.data.astype("float32")
    bright[:, :10, :10] = 70000
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        fill(begun, bright, 3)
        done = begun.clipped
    assert 0 < done < 300
    assert unfinished(tmp_path / "a.ome.zarr")
    with PartialStore.open(tmp_path / "a.ome.zarr", stack, resume=True) as again:
        assert [again.has(region) for region in parts(again)].count(True) == 3
        assert again.clipped == done
        fill(again, bright)
        assert again.finish().clipped == 300
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_only_what_is_on_the_disk_is_said_to_be_done(tmp_path, monkeypatch):
    stack = image()
    on_disk = set()

    def sync(path):
        on_disk.add(path)

    monkeypatch.setattr(disk, "sync", sync)
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        write_state = begun._write_state

        def checked():
            done = sum(b - a for a, b in runs_after(write_state, begun))
            chunks = [p for p in on_disk if p.is_file() and "c" in p.parts]
            assert done == len(chunks)
            assert begun.level / "zarr.json" in on_disk
            assert {chunk.parent for chunk in chunks} <= on_disk

        monkeypatch.setattr(begun, "_write_state", checked)
        fill(begun, stack.data)


def runs_after(write_state, begun):
    write_state()
    return json.loads((begun.folder / STATE).read_text())["done"]


def test_a_region_that_could_not_be_brought_to_the_disk_does_not_count(tmp_path, monkeypatch):
    stack = image()
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        fill(begun, stack.data, 2)

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(store, "sync_all", full)
            with pytest.raises(Noise2SelfError, match="disk is full"):
                fill(begun, stack.data, 3)
        assert [begun.has(region) for region in parts(begun)].count(True) == 2


def test_another_process_writes_and_this_one_marks(tmp_path):
    stack = image()
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        other = PartialStore.attach(begun.folder)
        assert other.chunks == begun.chunks
        for region in parts(begun):
            begun.mark(region, other.put(region, stack.data[region].astype("float32") - 1))
        lowest = begun.finish().clipped
    assert lowest == np.count_nonzero(stack.data == 0)


def test_an_unfinished_result_is_neither_used_nor_replaced_unasked(tmp_path):
    stack = image()
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        fill(begun, stack.data, 1)
    with pytest.raises(Noise2SelfError, match=r"--resume.*--overwrite"):
        PartialStore.open(tmp_path / "a.ome.zarr", stack)
    with PartialStore.open(tmp_path / "a.ome.zarr", stack, overwrite=True) as afresh:
        assert not afresh.fraction
        fill(afresh, stack.data, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fingerprint": {"model": "b"}}, "another model"),
        ({"dtype": "float32"}, "another format or type of pixels"),
        ({"like": image((3, 1100, 1600), "ZYX")}, "other axes"),
        ({"like": image((2, 1100, 1600))}, "another shape"),
    ],
)
def test_what_was_begun_otherwise_is_not_gone_on_with(tmp_path, change, words):
    request = {"like": image(), "fingerprint": {"model": "a"}, "resume": True}
    with PartialStore.open(tmp_path / "a.ome.zarr", **request) as begun:
        fill(begun, image().data, 1)
    with pytest.raises(Noise2SelfError, match=f"begun with.*{words}.*--overwrite.*remove it"):
        PartialStore.open(tmp_path / "a.ome.zarr", **{**request, **change})
    with PartialStore.open(tmp_path / "a.ome.zarr", **request) as again:
        assert again.fraction
    changed = PartialStore.open(tmp_path / "a.ome.zarr", overwrite=True, **{**request, **change})
    assert not changed.fraction
    changed.discard()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1, "request": null}'])
def test_a_damaged_state_is_told(tmp_path, text):
    stack = image()
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        fill(begun, stack.data, 1)
    (begun.folder / STATE).write_text(text)
    with pytest.raises(Noise2SelfError, match=r"overwrite it .*, or remove it\."):
        PartialStore.open(tmp_path / "a.ome.zarr", stack, resume=True)
    PartialStore.open(tmp_path / "a.ome.zarr", stack, overwrite=True).discard()


def test_nothing_of_somebody_elses_is_removed(tmp_path):
    mine = tmp_path / "a.tif.partial"
    mine.mkdir()
    (mine / "precious.txt").write_text("precious")
    for choice in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(Noise2SelfError, match="in the way"):
            PartialStore.open(tmp_path / "a.tif", image(), **choice)
    assert (mine / "precious.txt").read_text() == "precious"


def test_two_do_not_write_the_same_result(tmp_path):
    stack = image()
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        fill(begun, stack.data, 1)
        for choice in ({"overwrite": True}, {"resume": True}):
            with pytest.raises(Noise2SelfError, match="another process"):
                PartialStore.open(tmp_path / "a.ome.zarr", stack, **choice)
        assert begun.fraction
    PartialStore.open(tmp_path / "a.ome.zarr", stack, resume=True).discard()


def test_a_result_that_ended_as_it_was_begun_is_begun_again(tmp_path):
    stack = image()
    begun = PartialStore.open(tmp_path / "a.ome.zarr", stack)
    begun.release()  # as a killed process does
    shutil.rmtree(begun.level)
    with PartialStore.open(tmp_path / "a.ome.zarr", stack, resume=True) as again:
        fill(again, stack.data)
        assert again.finish().complete


def test_a_result_with_nothing_in_it_is_not_kept(tmp_path):
    with PartialStore.open(tmp_path / "a.ome.zarr", image()):
        pass
    assert not list(tmp_path.iterdir())


def test_a_result_that_is_not_complete_does_not_become_a_file(tmp_path):
    stack = image()
    with PartialStore.open(tmp_path / "a.ome.zarr", stack) as begun:
        fill(begun, stack.data, 2)
        with pytest.raises(Noise2SelfError, match="not complete"):
            begun.finish()
    assert not (tmp_path / "a.ome.zarr").exists()
