"""Training and prediction against what the same convolutions reach alone.

    python benchmarks/throughput.py

For 2-D and 3-D, on the CPU and on a CUDA device where there is one: pixels a second of
whole training steps (drawing crops, masking, loss, optimiser, average of the weights) and
of prediction; and, in the same run, of the network's convolutions alone, forward and
backward, with the same shapes, precision and memory order.  Then how the cost of a step
grows with its pixels, and what preparing an image of 4096 x 4096 costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from common import print_table, write_result
from torch import nn

from napari_noise2self import Grid
from napari_noise2self.engine import networks, training
from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.hardware import fast_dtype, place
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.optimizer import AdamW
from napari_noise2self.engine.predictor import Predictor
from napari_noise2self.engine.preparation import prepare
from napari_noise2self.engine.sampling import Sampler


def seconds(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median time of a call, after two to warm up."""
    times = []
    for number in range(repeats + 2):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= 2:
            times.append(time.perf_counter() - began)
    return float(np.median(times))


def convolutions(
    network: nn.Module, x: torch.Tensor, dtype: torch.dtype | None
) -> tuple[Callable[[], None], Callable[[], None]]:
    """The convolutions of a network on inputs of their own: training, and prediction."""
    calls: list[tuple[nn.Module, torch.Tensor]] = []

    def note(module: nn.Module, arguments: tuple[torch.Tensor], _: torch.Tensor) -> None:
        calls.append((module, torch.randn_like(arguments[0])))

    kinds = (nn.Conv2d, nn.Conv3d)
    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, kinds)]
    with torch.no_grad(), torch.autocast(x.device.type, dtype, enabled=dtype is not None):
        network(x)
    for hook in hooks:
        hook.remove()
    for number, (_, given) in enumerate(calls):
        # The image itself needs no gradient.
        given.requires_grad_(number > 0)
    with torch.no_grad(), torch.autocast(x.device.type, dtype, enabled=dtype is not None):
        gradients = [torch.randn_like(module(given)) for module, given in calls]

    def both() -> None:
        for (module, given), gradient in zip(calls, gradients, strict=True):
            with torch.autocast(x.device.type, dtype, enabled=dtype is not None):
                out = module(given)
            out.backward(gradient)

    @torch.inference_mode()
    def forward() -> None:
        with torch.autocast(x.device.type, dtype, enabled=dtype is not None):
            for module, given in calls:
                module(given)

    return both, forward


def measure(device: torch.device, ndim: int, crop: int = 128) -> dict:
    shape = (512, 512) if ndim == 2 else (32, 128, 128)
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    config = TrainingConfig(volume=ndim == 3, crop_size=crop, device=device.type)
    layout = Layout.of(shape, volume=ndim == 3)
    data = prepare([(image, layout)])
    assert data is not None
    partition = Grid(2)
    sampler = Sampler(data, partition, config, device)
    network = place(networks.build(config, 1, ndim, 0), device, ndim)
    dtype = fast_dtype(device)
    optimizer, average = AdamW(network), training._Average(network)
    rng = np.random.default_rng(0)
    count = sampler.batch_size

    def step() -> None:
        training._step(network, optimizer, 1e-4, sampler, count, rng, dtype)
        average.update(0.05)

    x = sampler.batch(count, rng)[0]
    if ndim == 2:
        x = x.contiguous(memory_format=torch.channels_last)
    both, _ = convolutions(network, x, dtype)
    whole, alone = (seconds(f, device, 12) for f in (step, both))

    network.eval()
    predictor = Predictor(network, partition, device, dtype=dtype)
    frame = data.blocks[0].values
    whole_x = torch.from_numpy(frame)[None].to(device)
    if ndim == 2:
        whole_x = whole_x.contiguous(memory_format=torch.channels_last)
    _, forward = convolutions(network, whole_x, dtype)
    predicting, convolving = (
        seconds(f, device, 6) for f in (lambda: list(predictor.single_pass(frame)), forward)
    )
    pixels, size = x[:, 0].numel(), frame[0].size
    return {
        "device": device.type,
        "axes": "YX" if ndim == 2 else "ZYX",
        "crop": "x".join(map(str, x.shape[2:])),
        "step_ms": 1e3 * whole,
        "training_mpx_per_s": pixels / whole / 1e6,
        "share_of_convolutions": alone / whole,
        "predicted_mpx_per_s": size / predicting / 1e6,
        "predicting_share": convolving / predicting,
    }


def preparing() -> dict:
    image = np.random.default_rng(0).poisson(100, (4096, 4096)).astype(np.uint16)
    device = torch.device("cpu")
    layout = Layout.of(image.shape)
    steps: dict[str, Callable[[], object]] = {
        "prepare_4096_s": lambda: prepare([(image, layout)]),
        "noise_4096_s": lambda: estimate_noise(image),
    }
    data = prepare([(image, layout)])
    assert data is not None
    steps["sampler_4096_s"] = lambda: Sampler(data, Grid(2), TrainingConfig(), device)
    return {name: seconds(function, device, 3) for name, function in steps.items()}


if __name__ == "__main__":
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
    rows = [measure(device, ndim) for device in devices for ndim in (2, 3)]
    print_table(rows)
    growth = [measure(devices[-1], 2, crop) for crop in (64, 128, 256)]
    print_table(growth)
    large = preparing()
    print_table([large])
    write_result("throughput", rows, growth=growth, preparing=large)
