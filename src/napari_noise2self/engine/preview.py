"""The frame in view, denoised while training goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_noise2self.engine.events import Control
from napari_noise2self.engine.hardware import fast_dtype
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.prediction import Predictor
from napari_noise2self.engine.preparation import Frame, Normalisation


class Preview:
    """Fills the frame in view with what the network can do by now."""

    def __init__(
        self,
        image: Any,
        layout: Layout,
        normalisation: Normalisation,
        partition: Partition,
        device: torch.device,
        control: Control,
        out: NDArray[np.float32],
    ) -> None:
        self.image, self.layout, self.normalisation = image, layout, normalisation
        self.partition, self.device = partition, device
        self.control, self.out = control, out
        self._number: int | None = None
        self._frame: Frame | None = None

    def __call__(self, network: nn.Module) -> int | None:
        """Fill the frame in view; its number, or None if there was nothing to do."""
        number = self.control.preview_frame
        if number is None:
            return None
        if self._frame is None or number != self._number:
            self._frame = Frame.of(self.image, self.layout, self.normalisation, number)
            self._number = number
        predictor = Predictor(network, self.partition, self.device, dtype=fast_dtype(self.device))
        for part in predictor.single_pass(self._frame.values):
            if self.control.stopped:
                return None
            if isinstance(part, np.ndarray):
                self.layout.write(self.out, number, self._frame.restore(part))
        return number
