"""The settings of the Noise2Self paper for its three data sets, value by value.

The paper (Batson & Royer, ICML 2019) publishes less than a run needs.  Each
value here says whether it is published or had to be chosen, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.partition import RandomPartition

SUBSETS = 25


@dataclass(frozen=True)
class Value:
    """One value of a preset.

    Attributes
    ----------
    name : str
        What it is, in a few words.
    value : str
        As the paper or this package says it.
    published : bool
        Whether the paper says so; else it was chosen.
    remark : str
        Why it was chosen, or how it is met here; may be empty.
    """

    name: str
    value: str
    published: bool
    remark: str = ""


@dataclass(frozen=True)
class Preset:
    """Settings, and where each comes from.

    Attributes
    ----------
    name : str
    title : str
        The data set of the paper.
    settings : mapping
        Arguments of `TrainingConfig`.
    values : tuple of Value
    """

    name: str
    title: str
    settings: Mapping[str, Any]
    values: tuple[Value, ...]

    def to_json(self) -> list[dict[str, Any]]:
        """The values as rows of a table: name, value, published or chosen, remark."""
        return [
            {
                "name": value.name,
                "value": value.value,
                "source": "published" if value.published else "chosen",
                "remark": value.remark,
            }
            for value in self.values
        ]


def _preset(
    name: str, title: str, *, batch: int, passes: int, side: int, range_: tuple[int, int]
) -> Preset:
    settings = {
        "partition": RandomPartition(SUBSETS),
        "replacement": "uniform",
        "grey_range": range_,
        "network": "unet-paper",
        "recipe": "plain",
        "learning_rate": 1e-3,
        "batch_size": batch,
        "crop_size": side,
        # One pass predicts one subset of each image; an epoch here, all pixels.
        "epochs": passes / SUBSETS,
        "averaging": False,
        "output": "single-pass",
    }
    low, high = range_
    unit = range_ == (0, 1)
    values = (
        Value("partition J", f"random, {SUBSETS} subsets", True),
        Value(
            "partition of each image",
            "the same",
            False,
            "The paper does not say whether it was drawn anew. One of the subsets is never a "
            "target here: the self-supervised score is taken on it.",
        ),
        Value(
            "replacement s(x)",
            "uniform in [0, 1]",
            True,
            "" if unit else f"In grey values of this data set: in [{low}, {high}].",
        ),
        Value("loss", "squared error at the hidden pixels", True),
        Value(
            "network",
            "UNet of 32-64-128-256 channels with instance normalisation, strided and transposed "
            "convolutions; or DnCNN of 17 layers of 64 channels, not residual",
            True,
            "network='unet-paper' (3.3 million parameters) and network='dncnn' (556 032).",
        ),
        Value(
            "activation of the UNet, kernels of its strided and transposed convolutions",
            "leaky ReLU of slope 0.1; 2×2 on each channel by itself",
            False,
            "With these the number of parameters is that of the paper.",
        ),
        Value("first weights", "He et al. (2015), biases of zero", False),
        Value(
            "grey values",
            f"[{low}, {high}], mapped to the same range around 0 for every image",
            False,
            "The paper does not say what its networks were given.",
        ),
        Value("batch", f"{batch} images of {side}×{side}", True),
        Value(
            "length",
            f"{passes} {'epoch' if passes == 1 else 'epochs'}, which are passes over the images "
            f"with one random subset each",
            True,
            f"{passes / SUBSETS:g} in the epochs of this package, in which every pixel is a "
            f"target once on average.",
        ),
        Value(
            "order of the images",
            "drawn with replacement",
            False,
            "A pass meets an image once on average, not exactly once.",
        ),
        Value("optimiser", "Adam, its other constants at PyTorch's defaults", False),
        Value("learning rate", "0.001, constant", False, "The usual first choice for Adam."),
        Value(
            "what else keeps training stable",
            "nothing",
            False,
            "No clipping, no averaging of weights, no weight decay; the last weights count.",
        ),
        Value("flips and rotations", "none, neither in training nor afterwards", False),
        Value(
            "output",
            "single pass",
            False,
            "The paper does not say which output its table is of.",
        ),
        Value(
            "precision",
            "bfloat16 where the device is faster with it",
            False,
            "As everywhere in this package; losses and weights are in float32.",
        ),
    )
    return Preset(name, title, MappingProxyType(settings), values)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        found.name: found
        for found in (
            _preset("paper-hanzi", "Hànzì", batch=64, passes=30, side=64, range_=(0, 1)),
            _preset("paper-imagenet", "ImageNet", batch=32, passes=1, side=128, range_=(0, 255)),
            _preset("paper-cellnet", "CellNet", batch=64, passes=50, side=128, range_=(0, 1)),
        )
    }
)


def preset(name: str) -> Preset:
    """The preset with this name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}: use one of {', '.join(PRESETS)}.")
    return PRESETS[name]
