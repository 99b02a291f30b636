from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_noise2self import Denoiser
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.networks import DnCNN, UNet
from napari_noise2self.engine.torchscript import compiled

MODELS = Path(__file__).parents[1] / "fixtures" / "models"


@pytest.fixture(scope="module")
def trained():
    return Denoiser.load(MODELS / "format-2b.safetensors", device="cpu").trained


def image(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("averaging", [1, 3])
def test_the_program_does_what_the_single_pass_does(trained, averaging, tmp_path):
    program = compiled(trained, averaging)
    assert program.averaging == averaging
    frame = image(1, 46, 60)
    *_, expected = trained.predictor(averaging, exact=True).single_pass(frame)
    np.testing.assert_allclose(program(frame[None])[0], expected, atol=1e-5)
    program.save(tmp_path / "weights.pt")
    with pytest.warns(DeprecationWarning, match="jit.load"):
        script = torch.jit.load(tmp_path / "weights.pt")
    np.testing.assert_array_equal(script(torch.from_numpy(frame[None])), program(frame[None]))
    with zipfile.ZipFile(tmp_path / "weights.pt") as file:
        assert not any(b"site-packages" in file.read(name) for name in file.namelist())


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", [UNet, DnCNN])
def test_tiles_with_the_halo_are_what_the_whole_is(trained, kind, ndim):
    generator = torch.Generator().manual_seed(0)
    network = UNet(1, 1, ndim, 2, 2) if kind is UNet else DnCNN(1, 1, ndim, 2, 4)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    program = compiled(dataclasses.replace(trained, network=network, ndim=ndim))
    assert program.halo is not None
    sizes = zip(program.halo, program.step, program.smallest, strict=True)
    shape = [max(2 * h + 6 * s, least) for h, s, least in sizes]
    whole = image(1, 1, *[n + 4 * s for n, s in zip(shape, program.step, strict=True)])
    # A tile in the middle, begun at a multiple of the step.
    start = [2 * s for s in program.step]
    tile = (..., *(slice(a, a + n) for a, n in zip(start, shape, strict=True)))
    inner = (..., *(slice(h, n - h) for h, n in zip(program.halo, shape, strict=True)))
    np.testing.assert_allclose(
        program(np.ascontiguousarray(whole[tile]))[inner], program(whole)[tile][inner], atol=1e-4
    )


def test_a_network_of_which_nothing_is_known_gets_no_halo(trained):
    program = compiled(dataclasses.replace(trained, network=nn.Conv2d(1, 1, 3, padding=1)))
    assert program.halo is None
    assert program(image(1, 1, 64, 48)).shape == (1, 1, 64, 48)


class Fickle(nn.Module):
    """Depends on the size by a constant that a recording would keep."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.weight * float(x.shape[-1])


def test_a_network_that_cannot_be_recorded_is_refused(trained):
    with pytest.raises(InputError, match="cannot be exported"):
        compiled(dataclasses.replace(trained, network=Fickle()))
