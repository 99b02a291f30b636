"""The optimiser, without what `torch.optim.AdamW` brings along."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.adamw import adamw

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class AdamW:
    """AdamW (Loshchilov & Hutter 2019) by PyTorch's functional form.

    The numbers are those of ``torch.optim.AdamW``, whose first use imports
    PyTorch's compiler and with it SymPy: one to two seconds of every process.

    Parameters
    ----------
    network : Module
        Its parameters are changed in place; those without a gradient are left.
    weight_decay : float
    """

    def __init__(self, network: nn.Module, weight_decay: float = 1e-4) -> None:
        self._weight_decay = weight_decay
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self._steps = [torch.zeros((), device=p.device) for p in self._parameters]
        # One pass over the memory; PyTorch has it for real numbers alone.
        self._fused = all(p.is_floating_point() for p in self._parameters)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the parameters along their gradients by this learning rate; forget the gradients."""
        used = [i for i, p in enumerate(self._parameters) if p.grad is not None]
        adamw(
            [self._parameters[i] for i in used],
            [g for i in used if (g := self._parameters[i].grad) is not None],
            [self._means[i] for i in used],
            [self._squares[i] for i in used],
            [],
            [self._steps[i] for i in used],
            fused=self._fused,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        for p in self._parameters:
            p.grad = None
