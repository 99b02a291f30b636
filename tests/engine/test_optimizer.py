import subprocess
import sys

import torch
from torch import nn

from napari_noise2self.engine.optimizer import AdamW


def test_its_steps_are_those_of_pytorch_and_a_parameter_without_gradient_stays():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(torch.randn(mine.shape, generator=generator))
            other.copy_(mine)
    ours.spare = nn.Parameter(torch.ones(4))
    optimizer = AdamW(ours, weight_decay=0.1)
    reference = torch.optim.AdamW(theirs.parameters(), weight_decay=0.1)
    for rate in (0.1, 0.05, 0.2):
        for network in (ours, theirs):
            network(torch.ones(5, 3)).square().sum().backward()
        optimizer.step(rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        reference.zero_grad()
    for mine, other in zip((ours.weight, ours.bias), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
    assert torch.equal(ours.spare, torch.ones(4))
    assert all(p.grad is None for p in ours.parameters())


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, numpy as np, napari_noise2self as n2s\n"
        "image = np.random.default_rng(0).normal(100, 9, (48, 48)).astype('float32')\n"
        "n2s.Denoiser(n2s.TrainingConfig(epochs=0.3, device='cpu')).fit(image)\n"
        "sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code]).returncode == 0
