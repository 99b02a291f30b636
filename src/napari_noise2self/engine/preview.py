"""What is in view, denoised while training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_noise2self.engine.bad_pixels import HotRule
from napari_noise2self.engine.events import Control
from napari_noise2self.engine.hardware import fast_dtype
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.prediction import Method
from napari_noise2self.engine.predictor import Part, Predictor
from napari_noise2self.engine.preparation import Frame, Normalisation
from napari_noise2self.engine.windows import Box, Place


class Preview:
    """Fills the frame in view with what the network can do by now.

    Of a volume only the slice in view, if there is one: all of it would
    take longer than anybody waits for a preview.
    """

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
        # What belongs to all of the data is found out when it is needed first.
        self._rule: HotRule | None = None
        self._frame: Frame | None = None
        self._shown: tuple[int, Box] | None = None

    def __call__(self, network: nn.Module) -> int | None:
        """Fill what is in view; the number of its frame, or None if there was nothing to do."""
        number = self.control.preview_frame
        if number is None:
            return None
        if self._rule is None:
            self._rule = HotRule.of(self.image, self.layout, self.control)
        shape = self.layout.spatial_shape
        predictor = Predictor(network, self.partition, self.device, dtype=fast_dtype(self.device))

        def apply(frame: Frame) -> Iterator[Part]:
            return predictor.single_pass(frame.values, frame.place)

        method = Method(apply, self.normalisation, predictor.reach(shape, masked=False))
        box, depth = Place.whole(shape).read, self.control.preview_depth
        if depth is not None and self.layout.volume:
            box = (slice(depth, depth + 1), *box[1:])
        places = method.windows(box, self.layout)
        for place in places:
            frame = self._frame if self._shown == (number, box) else None
            if frame is None:
                frame = Frame.of(
                    self.image, self.layout, self.normalisation, number, self._rule, place
                )
            if len(places) == 1:
                self._frame, self._shown = frame, (number, box)
            for part in apply(frame):
                if self.control.stopped:
                    return None
                if isinstance(part, np.ndarray):
                    self.layout.write(self.out, number, frame.restore(part), place.box)
        return number
