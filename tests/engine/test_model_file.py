from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from napari_noise2self import Denoiser, Noise2SelfError, TrainingConfig
from napari_noise2self.engine.errors import ModelFileError
from napari_noise2self.engine.model_file import FORMAT, KEY, write_model

MODELS = Path(__file__).parents[1] / "fixtures" / "models"
NAMES = sorted(path.stem for path in MODELS.glob("*.safetensors"))
NEWEST = MODELS / f"{NAMES[-1]}.safetensors"


def contents(path):
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return weights, json.loads(file.metadata()[KEY])


def copy(path, target, **changes):
    weights, description = contents(path)
    description.update(changes)
    text = json.dumps({k: v for k, v in description.items() if v is not ...})
    safetensors.torch.save_file(weights, target, {KEY: text})
    return target


def check(denoiser, name):
    expected = np.load(MODELS / f"{name}.npz")
    axes = str(expected["axes"]) if "axes" in expected else None
    for key in set(expected) - {"image", "axes"}:
        found = denoiser.predict(expected["image"], axes, output=key.replace("_", "-"))
        # Some processors compute in half precision.
        np.testing.assert_allclose(found, expected[key], atol=0.03 * expected[key].std())


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_every_format_loads_and_predicts_as_ever(name, tmp_path):
    denoiser = Denoiser.load(MODELS / f"{name}.safetensors", device="cpu")
    check(denoiser, name)
    assert denoiser.summary["steps"] > 0
    # Saved again, it is a model of the present format and still the same.
    denoiser.save(tmp_path / "again.safetensors")
    assert contents(tmp_path / "again.safetensors")[1]["format"] == FORMAT
    check(Denoiser.load(tmp_path / "again.safetensors", device="cpu"), name)


def test_the_present_format_has_a_fixture():
    assert FORMAT in {contents(MODELS / f"{name}.safetensors")[1]["format"] for name in NAMES}


def test_what_a_description_does_not_say_has_a_default(tmp_path):
    _, description = contents(NEWEST)
    path = copy(
        NEWEST,
        tmp_path / "m.safetensors",
        best_output="single-pass",
        config={k: v for k, v in description["config"].items() if k in ("channels", "depth")},
        **dict.fromkeys(("noise", "mixing", "summary", "turn", "architecture"), ...),
    )
    denoiser = Denoiser.load(path, device="cpu")
    check(denoiser, NEWEST.stem)
    assert denoiser.summary == {}
    with pytest.raises(Noise2SelfError, match="noise of the training image could not be told"):
        denoiser.predict(np.ones((20, 20)), output="mixed")


def test_what_is_not_known_of_a_description_is_passed_over(tmp_path):
    _, description = contents(NEWEST)
    noise = description["noise"]
    noise["channels"][0]["colour"] = "pink"
    path = copy(
        NEWEST,
        tmp_path / "m.safetensors",
        config={**description["config"], "fashion": 1},
        noise={**noise, "smell": 2},
        note="hello",
    )
    check(Denoiser.load(path, device="cpu"), NEWEST.stem)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": FORMAT + 1}, "newer version"),
        ({"format": 0}, "not a model"),
        ({"architecture": "transformer"}, "'transformer' is unknown"),
        ({"config": []}, "not a model"),
        ({"noise": [3]}, "not a model"),
        ({"partition": {"kind": "spiral"}}, "not a model"),
        ({"normalisation": ...}, "not a model"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(tmp_path, changes, words):
    path = copy(NEWEST, tmp_path / "m.safetensors", **changes)
    with pytest.raises(ModelFileError, match=words):
        Denoiser.load(path)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def archive(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, "")
    return buffer.getvalue()


def pt(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


WHOLE = NEWEST.read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pt", pt(Evil()), "can run a stranger's code"),
        ("a.pth", pt({"w": torch.zeros(2)}), "can run a stranger's code"),
        ("a.pkl", pickle.dumps(Evil()), "can run a stranger's code"),
        ("a.txt", "Grüße".encode(), "is a text file"),
        ("a.json", b'{"a": 1}', "is a text file"),
        ("a.safetensors", b"", "is empty"),
        ("b.safetensors", WHOLE[:5], "not a model"),
        ("c.safetensors", WHOLE[:500], "its end is missing"),
        ("d.safetensors", WHOLE[:-1], "its end is missing"),
        ("e.safetensors", WHOLE + b"more", "not a model"),
        ("f.safetensors", WHOLE.replace(b"noise2self", b"something1"), "another program"),
        ("g.safetensors", bytes(range(256)) * 9, "not a model"),
        ("a.zip", archive("folder/rdf.yaml"), "BioImage Model Zoo"),
        ("b.zip", archive("image.tif"), "zip archive"),
        ("c.zip", archive("image.tif")[:20], "zip archive"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    ],
)
def test_a_stranger_is_named_in_one_sentence_and_not_run(tmp_path, capsys, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=words) as caught:
        Denoiser.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message
    assert capsys.readouterr().out == ""


def test_a_folder_and_nothing_at_all_are_named_too(tmp_path):
    with pytest.raises(ModelFileError, match="is a folder"):
        Denoiser.load(tmp_path)
    with pytest.raises(ModelFileError, match="There is no model file"):
        Denoiser.load(tmp_path / "nothing.safetensors")


def test_half_precision_is_not_written(tmp_path):
    weights = {
        "a": torch.full((2,), 0.5, dtype=torch.bfloat16),
        "b": torch.full((2,), 0.5, dtype=torch.float16),
        "c": torch.ones(2, dtype=torch.int64),
    }
    write_model(tmp_path / "m.safetensors", weights, {})
    found, _ = contents(tmp_path / "m.safetensors")
    assert [found[k].dtype for k in "abc"] == [torch.float32, torch.float32, torch.int64]
    assert found["a"].tolist() == [0.5, 0.5]


def test_an_older_volume_model_keeps_its_network(tmp_path):
    """The description of format 1 for a volume: the blocks of that network in three dimensions."""
    from napari_noise2self.engine.networks_former import FormerUNet

    network = FormerUNet(1, 1, 3, 2, 1)
    description = {
        "format": 1,
        "config": {**TrainingConfig(channels=2, depth=1, volume=True).model_dump(mode="json")},
        "partition": {"width": [2, 4, 4], "extent": [1, 1, 3]},
        "ndim": 3,
        "normalisation": {"offset": [0.0], "scale": [1.0]},
        "summary": {},
    }
    path = tmp_path / "volume.safetensors"
    safetensors.torch.save_file(network.state_dict(), path, {KEY: json.dumps(description)})
    denoiser = Denoiser.load(path, device="cpu")
    assert denoiser.resolved_output() == "j-invariant"
    image = np.random.default_rng(0).normal(size=(3, 16, 16))
    assert np.isfinite(denoiser.predict(image, axes="ZYX", output="single-pass")).all()


@pytest.mark.parametrize("blurred", [True, False])
def test_a_dncnn_stays_what_it_was(tmp_path, blurred):
    image = np.random.default_rng(0).poisson(100, (32, 32)).astype(float)
    config = TrainingConfig(network="dncnn", crop_size=16, batch_size=1, epochs=0.02, device="cpu")
    denoiser = Denoiser(config).fit(image)
    assert denoiser.trained.network.blurred
    if not blurred:
        # As all of them were before.
        denoiser.trained.network.blurred = False
    for name in ("once", "twice"):
        denoiser.save(tmp_path / f"{name}.safetensors")
        loaded = Denoiser.load(tmp_path / f"{name}.safetensors", device="cpu")
        assert loaded.trained.network.blurred == blurred
        np.testing.assert_array_equal(loaded.predict(image), denoiser.predict(image))
        denoiser = loaded


@pytest.mark.parametrize(
    "changes",
    [
        {"best_output": "mixed, single-pass, mixed"},
        {"best_output": "nonsense"},
        {"best_output": "auto"},
        {"best_output": "mixed, single-pass", "mixing": None},
    ],
)
def test_outputs_that_a_model_cannot_have_are_refused(changes, tmp_path):
    path = copy(MODELS / "format-5-channels.safetensors", tmp_path / "m.safetensors", **changes)
    with pytest.raises(ModelFileError, match="not a model"):
        Denoiser.load(path, device="cpu")
