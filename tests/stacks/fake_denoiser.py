"""A denoiser that trains nothing: it halves every pixel, and tells which regions it has done."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.events import PredictionEvent, exhaust
from napari_noise2self.stacks.export import export_events
from napari_noise2self.stacks.stack import Stack


class FakeDenoiser:
    def __init__(self, weight=0.5, volume=False, before_region=None):
        self.config = TrainingConfig(volume=volume)
        self.summary = {"score": float("nan"), "network": "unet"}
        self.weight = weight
        self.before_region = before_region or (lambda number: None)
        self.regions = []

    def check(self, image, axes=None):
        if self.config.volume and "Z" not in axes:
            raise InputError("The axes lack Z.")

    def resolved_output(self, output="auto"):
        return "single-pass" if output == "auto" else output

    def save(self, path):
        text = json.dumps({"config": self.config.model_dump(mode="json"), "weight": self.weight})
        header = json.dumps({"__metadata__": {"noise2self": text}}).encode()
        Path(path).write_bytes(len(header).to_bytes(8, "little") + header)

    def denoised(self, image):
        return np.asarray(image, np.float32) * self.weight

    def predict_stream(self, image, axes=None, output="auto", *, sink, control=None):
        lines = [
            [slice(a, min(a + c, n)) for a in range(0, n, c)]
            for n, c in zip(image.shape, sink.chunks, strict=True)
        ]
        regions = list(itertools.product(*lines))
        for number, region in enumerate(regions):
            if sink.has(region):
                continue
            self.before_region(number)
            if control is not None and control.stopped:
                return False
            sink.write(region, self.denoised(image[region]))
            self.regions.append(region)
            yield PredictionEvent((number + 1) / len(regions), 1.0, 1.0, None)
        return True


def noisy(axes="TYX", shape=(5, 300, 1500), dtype="uint16"):
    data = np.random.default_rng(0).integers(0, 1000, shape).astype(dtype)
    units = ["s" if letter == "T" else "µm" for letter in axes]
    return Stack(data, axes, [0.5] * len(axes), units, "cells")


def export(denoiser, stack, target, **choices):
    return exhaust(export_events(denoiser, stack, target, **choices))
