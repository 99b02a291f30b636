"""The settings of a run: validated, and the same from a widget, a terminal or JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
)

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.partition import Partition, partition_from

Output = Literal["auto", "single-pass", "j-invariant", "mixed"]
Network = Literal["unet", "dncnn", "custom"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Replacement = Literal["mean", "median", "neighbor", "uniform", "zero"]
Objective = Literal["n2s", "n2n", "n2t"]


class TrainingConfig(BaseModel):
    """Everything that decides how a denoiser is trained and applied.

    Frozen; ``model_dump_json()`` and ``model_validate_json()`` turn it into
    JSON and back.

    Parameters
    ----------
    partition : Grid, RandomPartition or Checkerboard, optional
        The partition J; None takes a grid of width 2, or what suits the noise
        where it is correlated.
    replacement : {"mean", "median", "neighbor", "uniform", "zero"}
        What hidden pixels are replaced with: the mean or the median of their
        visible neighbours, one of these by chance, random values with the
        mean and variance of the data, or the mean grey value.
    network : {"unet", "dncnn", "custom"}
        "custom" is set when a `torch.nn.Module` of the caller is trained.
    channels : int
        Features of the UNet at full resolution.
    depth : int
        Number of times that the UNet halves the image.
    epochs : float, optional
        Length of the training; one epoch draws as many targets as the data
        has pixels.  None plans it from the data and the device.
    output : {"auto", "single-pass", "j-invariant", "mixed"}
        What `predict` returns by default.
    device : {"auto", "cuda", "mps", "cpu"}
    seed : int
        Same seed, device and version: same result (on a GPU, up to the order
        in which it adds).
    volume : bool
        Denoise Z as a third spatial axis with a 3-D network instead of
        slice by slice.
    batch_size : int
        Crops per training step.
    crop_size : int
        Side of a training crop along Y and X, in pixels.
    learning_rate : float, optional
        Peak of the one-cycle schedule; None takes 3e-3 for images and 1e-3
        for volumes, whose networks are less stable.
    objective : {"n2s", "n2n", "n2t"}
        What is learned to predict: hidden pixels of the image itself
        (Noise2Self), or from the whole image a target, which is a second
        noisy image of the same scene (Noise2Noise) or the truth.  A target
        without a stated objective is taken to be noisy.
    averaging : bool
        Average the prediction over the flips and rotations of the square, or
        over two of them where there are more than eight million pixels.

    Raises
    ------
    InputError
        If a setting is unknown or out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    partition: Partition | None = None
    replacement: Replacement = "mean"
    network: Network = "unet"
    channels: int = Field(default=16, ge=1, le=512)
    depth: int = Field(default=3, ge=1, le=6)
    epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    output: Output = "auto"
    device: Device = "auto"
    seed: int = Field(default=0, ge=0, lt=2**63)
    volume: bool = False
    batch_size: int = Field(default=4, ge=1)
    crop_size: int = Field(default=128, ge=16)
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    objective: Objective = "n2s"
    averaging: bool = True

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None

    @field_validator("partition", mode="before")
    @classmethod
    def _partition_from_json(cls, value: Any) -> Any:
        return partition_from(value) if isinstance(value, dict) else value

    @field_serializer("partition")
    def _partition_to_json(self, value: Partition | None) -> dict[str, Any] | None:
        return None if value is None else value.description()


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][:1]) or "setting"
    if first["type"] == "extra_forbidden":
        known = ", ".join(TrainingConfig.model_fields)
        return f"There is no setting named {name!r}: use one of {known}."
    reason = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"The setting {name!r} was {first['input']!r}: {reason[0].lower()}{reason[1:]}."
