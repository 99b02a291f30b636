"""The settings of a run: validated, and the same from a widget, a terminal or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.partition import Partition, partition_from

Output = Literal["auto", "single-pass", "j-invariant", "mixed"]
Network = Literal["unet", "dncnn", "unet-paper", "custom"]
# The networks that can be had by name, and what they are called.
NETWORK_TITLES: dict[Network, str] = {
    "unet": "UNet",
    "dncnn": "DnCNN",
    "unet-paper": "UNet of the paper",
}
# What is compared unless it is asked for otherwise: that of the paper takes many times as long.
DEFAULT_NETWORKS: tuple[Network, ...] = ("unet", "dncnn")
Device = Literal["auto", "cuda", "mps", "cpu"]
Replacement = Literal["mean", "median", "neighbor", "uniform", "zero"]
Objective = Literal["n2s", "n2n", "n2t", "sure"]
Recipe = Literal["default", "plain"]
ChannelUse = Literal["auto", "together", "shared", "apart"]
DepthAxis = Literal["Z", "T"]
# So many channels have networks of their own, unless it is asked for otherwise: each takes as
# long as the first.
MOST_APART = 5


_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


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
        visible neighbours in the same slice, one of these by chance, random
        values with the mean and variance of the data, or the mean grey value.
        With a `grey_range`, random values in that range, or the middle of it.
    network : {"unet", "dncnn", "unet-paper", "custom"}
        "unet-paper" is the UNet of the Noise2Self paper, larger and slower;
        "custom" is set when a `torch.nn.Module` of the caller is trained.
    channels : int
        Features of the UNet at full resolution.
    depth : int
        Number of times that the UNet halves the image.
    epochs : float, optional
        Length of the training; one epoch draws as many targets as the data
        has pixels.  Training against a target, or by Stein's risk, takes as
        many steps as if pixels were hidden.  None plans it from the data and
        the device.  Where the noise is known, from 1.5 times that length on
        the learning rate has a second cycle, and a third from four times on.
        In these, half of the crops are the network's own estimate with noise
        drawn anew; that takes no more steps.
    output : {"auto", "single-pass", "j-invariant", "mixed"}
        What `predict` returns by default.
    device : {"auto", "cuda", "mps", "cpu"}
    seed : int
        Same seed, device and version: same result (on a GPU, up to the order
        in which it adds).
    volume : bool
        Denoise Z as a third spatial axis with a 3-D network instead of
        slice by slice.
    context : int
        So many neighbouring slices on either side that a 2-D network sees
        beside the slice it denoises; 0 shows it the slice alone.  Their
        noise has to be independent of that of the slice.  A grid is widened
        along them, so that nothing is hidden in the neighbours of a target.
    depth_axis : {"Z", "T"}, optional
        What is taken as depth by `volume` and `context`.  None takes Z, and
        for `context` T where there is no Z.
    channel_use : {"auto", "together", "shared", "apart"}
        One network sees all channels at once; or one network learns from all
        of them, each an image of its own; or each channel has a network.
        Together the channels share what they know of the same structures, but
        what one alone shows can bleed into another.  "auto" keeps up to five
        channels apart, and takes more, and the samples of colour images (an
        axis S), together; a trained denoiser says which it was.
    batch_size : int
        Crops per training step.
    crop_size : int
        Side of a training crop along Y and X, in pixels.
    learning_rate : float, optional
        Peak of the learning rate; None takes 3e-3 for images and 1e-3
        for volumes, whose networks are less stable.
    objective : {"n2s", "n2n", "n2t", "sure"}
        What is learned to predict: hidden pixels of the image itself
        (Noise2Self), or from the whole image a target, which is a second
        noisy image of the same scene (Noise2Noise) or the truth.  A target
        without a stated objective is taken to be noisy.  "sure" minimises
        Stein's unbiased risk estimate instead, which has to know the variance
        of the noise.
    noise_sd : float or tuple of float, optional
        The standard deviation of Gaussian noise, in grey values, for all
        channels or each, where it is known for sure and the objective is
        "sure"; None estimates the noise from the image.
    grey_range : (float, float), optional
        The grey values that are mapped to the ends of the same range whatever
        the image; None maps each channel to mean 0 and variance 1.  Where
        an image does not fit into the range, its own is taken, and told.
    recipe : {"default", "plain"}
        "plain" leaves out what this package adds to a textbook loop: Adam at
        a constant learning rate (1e-3 by default), gradients as they are, the
        last weights, crops and predictions that are never flipped.
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
    context: int = Field(default=0, ge=0, le=8)
    depth_axis: DepthAxis | None = None
    channel_use: ChannelUse = "auto"
    batch_size: int = Field(default=4, ge=1)
    crop_size: int = Field(default=128, ge=16)
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    objective: Objective = "n2s"
    noise_sd: _Positive | tuple[_Positive, ...] | None = None
    grey_range: tuple[_Finite, _Finite] | None = None
    recipe: Recipe = "default"
    averaging: bool = True

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainingConfig:
        """The settings of the Noise2Self paper for one of its data sets.

        `engine.presets` says of every value whether the paper publishes it.

        Parameters
        ----------
        name : {"paper-hanzi", "paper-imagenet", "paper-cellnet"}
        **changes
            Settings that are to be otherwise, such as ``network="dncnn"``.

        Returns
        -------
        config : TrainingConfig

        Raises
        ------
        InputError
            If there is no such preset, or a setting is unknown or out of range.
        """
        from napari_noise2self.engine.presets import preset

        return cls(**{**preset(name).settings, **changes})

    def layout(self, shape: Sequence[int], axes: str | None = None) -> Layout:
        """How an array is read with these settings.

        Parameters
        ----------
        shape : sequence of int
        axes : str, optional
            As for `Layout.of`.

        Raises
        ------
        InputError
            If it lacks an axis that they need.
        """
        letters = "" if axes is None else axes.upper()
        depth = self.depth_axis or "Z"
        if self.context and axes is not None and self.depth_axis is None and "Z" not in letters:
            if "T" not in letters:
                raise InputError(
                    f"The axes {axes!r} have neither Z nor T, along one of which neighbouring "
                    f"slices lie: set the context to 0, or name the axes of the image, such as "
                    f"'ZYX'."
                )
            depth = "T"
        return Layout.of(shape, axes, self.volume or self.context > 0, depth)

    def channels_of(self, layout: Layout) -> ChannelUse:
        """What "auto" stands for in images that are read so, or what was asked for.

        Parameters
        ----------
        layout : Layout
        """
        if self.channel_use != "auto":
            return self.channel_use
        alone = "S" not in layout.axes and 1 < layout.channels <= MOST_APART
        return "apart" if alone else "together"

    @field_validator("partition", mode="before")
    @classmethod
    def _partition_from_json(cls, value: Any) -> Any:
        return partition_from(value) if isinstance(value, dict) else value

    @field_validator("context")
    @classmethod
    def _context_of_slices(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("volume"):
            raise ValueError("a volume shows all of its slices already, so use one of the two")
        return value

    @field_validator("noise_sd")
    @classmethod
    def _noise_for_sure(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("objective") != "sure":
            raise ValueError("it is used by the objective 'sure' alone, so leave it out")
        return value

    @field_validator("grey_range")
    @classmethod
    def _rising(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("the lower end comes first, as in (0, 255)")
        return value

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
