"""Which images words stand for, and where their results go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_noise2self.engine.errors import InputError
from napari_noise2self.stacks.many import Input, find_images, name_of, plan


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with images, strangers, a Zarr, and unfinished things."""
    folder = tmp_path / "Tag 1 Übung"
    for name in (
        "a10.tif",
        "a2.tif",
        "b.ome.tif",
        "notes.txt",
        "photo.jpg",
        "Thumbs.db",
        ".hidden.tif",
        "c.zarr/zarr.json",
        "c.zarr/0/piece.tif",
        "d.tif.partial/state.json",
        "deeper/e.czi",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return folder


def names(found):
    return [Path(given.path).name for given in found.inputs]


def test_a_folder_stands_for_the_images_in_it(place):
    found = find_images([place])
    assert names(found) == ["a2.tif", "a10.tif", "b.ome.tif", "c.zarr"]
    assert [Path(path).name for path in found.strangers] == ["notes.txt", "photo.jpg"]
    assert not any(given.named for given in found.inputs)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/a*.tif", ["a2.tif", "a10.tif"]),
        ("**/*.czi", ["e.czi"]),
        ("T*", ["a2.tif", "a10.tif", "b.ome.tif", "c.zarr"]),
        ("**", ["a2.tif", "a10.tif", "b.ome.tif", "c.zarr", "e.czi"]),
        ("*/*.zarr", ["c.zarr"]),
    ],
)
def test_patterns_are_expanded_where_no_shell_has_done_so(place, pattern, expected):
    assert names(find_images([pattern])) == expected
    assert names(find_images([str(place.parent / pattern)])) == expected


def test_each_image_is_there_once_and_what_was_named_is_taken(place):
    text, picture = place / "notes.txt", place / "a2.tif"
    found = find_images([place, picture, text, os.path.relpath(picture), place / "missing.tif"])
    assert names(found) == ["a2.tif", "a10.tif", "b.ome.tif", "c.zarr", "notes.txt", "missing.tif"]
    assert [given.named for given in found.inputs] == [True, False, False, False, True, True]
    assert [Path(path).name for path in found.strangers] == ["photo.jpg"]


def test_a_zarr_an_address_a_series_and_a_name_with_brackets_are_one_image_each(place):
    (place / "x[1].tif").write_bytes(b"x")
    words = [place / "c.zarr", "https://host/path/f.zarr", place / "x[1].tif"]
    found = find_images(words)
    assert [given.path for given in found.inputs] == list(map(str, words))
    assert [given.name for given in found.inputs] == ["c", "f", "x[1]"]
    assert names(find_images([place], series=True)) == [place.name]


def test_where_there_is_no_image_it_is_said(place):
    (place.parent / "empty").mkdir()
    (place.parent / "texts").mkdir()
    (place.parent / "texts" / "a.txt").write_text("x")
    for word, sentence in (
        ("empty", "holds no files"),
        ("texts", "only a.txt"),
        ("nothing*.tif", "No file matches"),
    ):
        with pytest.raises(InputError, match=sentence):
            find_images([word])


def targets(planned):
    return [job.target.as_posix() for job in planned.jobs]


def test_one_image_becomes_a_file_and_many_go_into_a_folder(place):
    one, two = find_images([place / "a2.tif"]), find_images([place / "*.ome.tif", place / "a2.tif"])
    assert targets(plan(one, "out.ome.zarr")) == ["out.ome.zarr"]
    assert targets(plan(one, "out")) == ["out/a2_denoised.tif"]
    assert targets(plan(one, "out.tif/")) == ["out.tif/a2_denoised.tif"]
    assert targets(plan(two, "out")) == ["out/b_denoised.ome.tif", "out/a2_denoised.tif"]
    (place / "there").mkdir()
    assert targets(plan(one, place / "there", kind="ome-zarr")) == [
        f"{place.as_posix()}/there/a2_denoised.ome.zarr"
    ]
    assert targets(plan(find_images([place / "deeper"]), "out")) == ["out/e_denoised.ome.tif"]
    with pytest.raises(InputError, match="one file, and there are 2 images"):
        plan(two, "out.tif")
    with pytest.raises(InputError, match=r"does not end in \.ome\.zarr"):
        plan(one, "out.tif", kind="ome-zarr")


@pytest.mark.parametrize(
    ("pattern", "kind", "expected"),
    [
        ("{name}{suffix}", None, "a2.tif"),
        ("{parent}/{name}_{number:03}{suffix}", "ome-tiff", "Tag 1 Übung/a2_007.ome.tif"),
        ("{model}-{name}.ome.zarr", None, "m-a2.ome.zarr"),
        ("{name}.tif", "imagej", "a2.tif"),
    ],
)
def test_names_follow_the_pattern(place, pattern, kind, expected):
    source = Input(str(place / "a2.tif"))
    assert name_of(source, pattern, kind, 7, {"model": "m"}) == expected


@pytest.mark.parametrize(
    ("pattern", "kind", "sentence"),
    [
        ("{nme}{suffix}", None, r"may hold \{name\}, \{suffix\}"),
        ("{name.__class__.x}{suffix}", None, "may hold"),
        ("{}{suffix}", None, "may hold"),
        ("{name", None, "may hold"),
        ("../{name}{suffix}", None, "leads out"),
        ("/tmp/{name}{suffix}", None, "leads out"),
        ("{name}", None, r"end it in \{suffix\}"),
        ("{name}.png", "imagej", r"does not end in \.tif"),
        ("{name}.tif", "ome-tiff", r"does not end in \.ome\.tif"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(place, pattern, kind, sentence):
    with pytest.raises(InputError, match=sentence):
        name_of(Input(str(place / "a2.tif")), pattern, kind)


def test_no_result_replaces_an_image_or_another_result(place):
    (place / "a2_denoised.tif").write_bytes(b"x")
    found = find_images([place])
    planned = plan(found, place)
    # Found beside the images, it is the result of an earlier run.
    assert [Path(path).name for path in planned.results] == ["a2_denoised.tif"]
    assert "a2_denoised_denoised.tif" not in str(planned.jobs)
    with pytest.raises(InputError, match="is one of the images"):
        plan(find_images([place / "a2.tif", place / "a2_denoised.tif"]), place)
    with pytest.raises(InputError, match="is one of the images"):
        plan(find_images([place / "a2.tif"]), place, pattern="{name}{suffix}")
    with pytest.raises(InputError, match=r"would both become .*\{parent\}"):
        plan(find_images([place / "a2.tif", place.parent / "a2.tif"]), "out")


def test_images_of_one_file_are_told_apart(tmp_path):
    for name in ("scan[1].lif", "scan.ome.tif"):
        (tmp_path / name).write_bytes(b"x")
    words = [f"{tmp_path / 'scan[1].lif'}#{image}" for image in ("1", "Series/2")]
    found = find_images([*words, f"{tmp_path / 'scan.ome.tif'}#2"])
    assert [given.name for given in found.inputs] == ["scan[1]_1", "scan[1]_Series_2", "scan_2"]
    assert [given.weight for given in found.inputs] == [1, 1, 1]
    targets = [job.target.name for job in plan(found, tmp_path / "out").jobs]
    assert targets == [
        "scan[1]_1_denoised.ome.tif",
        "scan[1]_Series_2_denoised.ome.tif",
        "scan_2_denoised.ome.tif",
    ]
