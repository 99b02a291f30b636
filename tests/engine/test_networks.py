from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from napari_noise2self import TrainingConfig
from napari_noise2self.engine.networks import DnCNN, PaperUNet, UNet, _double, build


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("size", [(16, 16), (33, 20), (7, 48)])
def test_the_unet_of_the_paper_has_its_size_and_takes_any_size(ndim, size):
    net = PaperUNet(2, 2, ndim)
    shape = (1, 2, *((3,) if ndim == 3 else ()), *size)
    assert net(torch.randn(shape)).shape == shape
    if ndim == 2:
        assert sum(p.numel() for p in PaperUNet().parameters()) == 3_343_521


def test_the_dncnn_of_the_paper_makes_all_of_its_output():
    assert not build(TrainingConfig.preset("paper-hanzi", network="dncnn"), 1, 2, 0).blurred
    assert build(TrainingConfig(network="dncnn"), 1, 2, 0).blurred


def test_dncnn_has_the_size_of_the_paper():
    assert sum(p.numel() for p in DnCNN().parameters()) == 556_032


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("size", [(7, 13), (16, 16), (33, 20)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_unet_takes_any_size(ndim, size, channels):
    shape = (1, channels, *((5,) if ndim == 3 else ()), *size)
    net = UNet(channels, channels, ndim, channels=2, depth=2)
    assert net(torch.randn(shape)).shape == shape


@pytest.mark.parametrize(
    "net",
    [UNet(channels=3, depth=1), UNet(channels=3, depth=3), DnCNN(channels=3, layers=5)],
    ids=["unet-1", "unet-3", "dncnn"],
)
def test_no_input_beyond_the_halo_changes_an_output(net):
    net.eval()
    with (
        torch.no_grad()
    ):  # where all weights are positive, no ReLU closes and no path cancels another
        for parameter in net.parameters():
            parameter.abs_()
    side = 16 * (net.halo[0] // 8 + 1)
    x = torch.rand(1, 1, side, side, requires_grad=True)
    centre = side // 2 + torch.arange(net.multiple[0])
    output = net(x)
    for place in centre.tolist():
        (gradient,) = torch.autograd.grad(output[0, 0, place, place], x, retain_graph=True)
        distance = torch.nonzero(gradient[0, 0]).sub(place).abs().max()
        assert distance <= net.halo[0]


def test_weights_come_from_the_seed_alone_and_leave_global_numbers_as_they_were():
    config = TrainingConfig()
    before = torch.get_rng_state()
    first, same, other = (build(config, 1, 2, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first.parameters(), same.parameters()))
    assert not all(map(torch.equal, first.parameters(), other.parameters()))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_output_is_the_same_with_and_without_gradients(ndim):
    net = build(TrainingConfig(volume=ndim == 3), 1, ndim, seed=0).eval()
    x = torch.randn(1, 1, *(5, 37, 44)[-ndim:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        without = net(x)
    assert torch.equal(without, net(x))


def test_doubling_has_the_gradient_of_interpolation():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn((2, 3, 4, 5), generator=rng).requires_grad_()
    weights = torch.randn((2, 3, 8, 10), generator=rng)
    gradients = []
    for doubled in (_double(x, (2, 2)), F.interpolate(x, scale_factor=2, mode="nearest")):
        assert torch.equal(doubled, x.repeat_interleave(2, 2).repeat_interleave(2, 3))
        gradients.append(torch.autograd.grad((doubled * weights).sum(), x)[0])
    torch.testing.assert_close(*gradients)
