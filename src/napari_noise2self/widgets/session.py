"""What one viewer knows about its denoising: settings, state, progress, result.

Everything here is plain data that says when it changes.  Views show it and
never decide anything by themselves; the controller alone moves the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from psygnal import SignalGroupDescriptor

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.partition import Checkerboard, Grid, Partition, RandomPartition
from napari_noise2self.engine.per_axis import PerAxis

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_noise2self.engine.model import Denoiser

# A curve is thinned out to half when it has more points than this.
MAX_CURVE_POINTS = 2000


class State(Enum):
    """Where a session is; the only thing that decides what can be clicked."""

    IDLE = "idle"
    PREPARING = "preparing"
    TRAINING = "training"
    PAUSED = "paused"
    STOPPING = "stopping"
    PREDICTING = "predicting"
    DONE = "done"
    FAILED = "failed"

    @property
    def running(self) -> bool:
        """Whether a worker is at it."""
        return self not in (State.IDLE, State.DONE, State.FAILED)

    @property
    def can_stop(self) -> bool:
        """Whether *Stop* has an effect."""
        return self.running and self is not State.STOPPING

    @property
    def can_pause(self) -> bool:
        """Whether *Pause* or *Resume* has an effect."""
        return self in (State.TRAINING, State.PAUSED, State.PREDICTING)


@dataclass(frozen=True)
class Target:
    """What a network learns from, besides the layer itself.

    Attributes
    ----------
    layer : Image
    objective : "n2n" or "n2t"
        Whether it is another noisy image, or clean.
    """

    layer: Image
    objective: Literal["n2n", "n2t"]


@dataclass
class Settings:
    """What the user chose.

    Attributes
    ----------
    layer : Image or None
        The layer to denoise.
    target : Target or None
        What to learn from; None is the layer itself.
    partition : "grid", "random" or "checkerboard"
        The kind of partition.
    width : int, tuple of int or None
        Grid width in pixels, one number or one per spatial axis; None is automatic.
    subsets : int
        Of a random partition.
    epochs : float or None
        None is automatic.
    network, device, output, seed
        As in `TrainingConfig`.
    volume : bool
        Denoise Z together where the layer has one, or T where it has no Z.
    context : int
        Neighbouring slices that are seen on either side, unless it is a volume.
    channel_use : "auto", "together", "shared" or "apart"
        As in `TrainingConfig`, where the layer has channels.
    region : "all", "view", "frame" or "ranges"
        What of the layer is learned from.
    ranges : str
        Those of its axes, as in "T=0:10,Y=0:512", where they are what is learned from.
    extent : int or tuple of int
        Odd full width of the block hidden around each target; a checkerboard takes none.
    preview : bool
        Show the result while it is learned.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    layer: Image | None = None
    target: Target | None = None
    partition: str = "grid"
    width: PerAxis | None = None
    subsets: int = 25
    epochs: float | None = None
    network: str = "unet"
    device: str = "auto"
    output: str = "auto"
    volume: bool = False
    context: int = 0
    channel_use: str = "auto"
    region: str = "all"
    ranges: str = ""
    extent: PerAxis = 1
    seed: int = 0
    preview: bool = True

    def config(self, axes: str) -> TrainingConfig:
        """The settings as the engine takes them.

        Parameters
        ----------
        axes : str
            Those of the image; what needs an axis that is not there has no meaning.

        Raises
        ------
        InputError
            If they contradict each other.
        """
        depth = depth_of(axes)
        volume = self.volume and bool(depth)
        return TrainingConfig(
            partition=self.chosen_partition(),
            network=self.network,
            epochs=self.epochs,
            output=self.output,
            device=self.device,
            seed=self.seed,
            volume=volume,
            context=self.context if depth and not volume else 0,
            depth_axis="T" if depth == "T" and (volume or self.context) else None,
            channel_use=self.channel_use if "C" in axes else "auto",
            objective="n2s" if self.target is None else self.target.objective,
        )

    def chosen_partition(self) -> Partition | None:
        """The partition that the settings ask for; None is the automatic one.

        Raises
        ------
        InputError
            If they contradict each other.
        """
        if self.partition == "checkerboard":
            return Checkerboard()
        if self.partition == "random":
            return RandomPartition(self.subsets, self.extent, self.seed)
        if self.width is not None:
            return Grid(self.width, self.extent)
        return None if self.extent == 1 else Grid.for_extent(self.extent)

    def take(self, grid: Grid) -> None:
        """Choose a grid, such as the one that a noise report suggests."""
        self.partition = "grid"
        self.width, self.extent = grid.width, grid.extent


def depth_of(axes: str) -> str:
    """What is depth in an image: Z, or T where there is none, or nothing."""
    return next((letter for letter in "ZT" if letter in axes), "")


@dataclass(frozen=True)
class Progress:
    """How far the present phase is; NaN where a number is not known.

    Attributes
    ----------
    fraction : float
        Share of the phase that is done, 0 to 1.
    seconds_left : float
        Until the phase ends.
    epoch, epochs, loss : float
        Of training; NaN in other phases.
    """

    fraction: float = math.nan
    seconds_left: float = math.nan
    epoch: float = math.nan
    epochs: float = math.nan
    loss: float = math.nan


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes
    ----------
    name : str
        Name of the result layer.
    denoiser : Denoiser
        The trained model.
    info : dict
        How the result was made.
    complete : bool
        False if prediction was stopped.
    """

    name: str
    denoiser: Denoiser
    info: dict[str, Any]
    complete: bool


@dataclass
class Curve:
    """Points to plot, thinned out when they become many."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)

    def append(self, x: float, y: float) -> None:
        """Add a point, unless it has no value."""
        if not math.isfinite(y):
            return
        self.x.append(x)
        self.y.append(y)
        if len(self.x) > MAX_CURVE_POINTS:
            # Keeps the newest point.
            del self.x[-2::-2], self.y[-2::-2]


@dataclass(eq=False)
class Session:
    """The state that all docks of one viewer show.

    Attributes
    ----------
    state : State
    progress : Progress or None
        None while nothing runs.
    message : str
        What the user should know now: how the last run ended, or why it failed.
    outcome : Outcome or None
        What the last run left, until the next begins.
    devices : dict of str to str, or None
        Description of each device that is there; None until PyTorch is loaded.
    axes, axes_note : str
        What the axes of the chosen layer mean, and how that is known.
    room : str
        What is to be known if its result does not fit into memory; otherwise empty.
    whole_ranges : str
        All of it, written as ranges of its axes.
    ranges_error : str
        Why the ranges that were typed cannot be learned from; otherwise empty.
    settings : Settings
    loss, score : Curve
        By epoch; `points` counts the appended points and says when they change.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    state: State = State.IDLE
    progress: Progress | None = None
    message: str = ""
    outcome: Outcome | None = None
    devices: dict[str, str] | None = None
    axes: str = ""
    axes_note: str = ""
    room: str = ""
    whole_ranges: str = ""
    ranges_error: str = ""
    points: int = 0

    def __post_init__(self) -> None:
        self.settings = Settings()
        self.loss = Curve()
        self.score = Curve()

    def begin(self) -> None:
        """Forget the last run and get ready for the next."""
        self.outcome = None
        self.message = ""
        self.loss = Curve()
        self.score = Curve()
        self.points = 0
        self.progress = Progress()
        self.state = State.PREPARING

    def end(self, state: State, message: str, outcome: Outcome | None = None) -> None:
        """Leave the running states."""
        self.progress = None
        self.outcome = outcome
        self.message = message
        self.state = state
