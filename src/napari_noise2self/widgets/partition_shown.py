"""What the partition preview knows of the present view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_noise2self.engine.inspection import Donut, Figures
    from napari_noise2self.engine.leakage import Leakage
    from napari_noise2self.engine.partition import Partition
    from napari_noise2self.widgets.scene import Scene


@dataclass
class Shown:
    """What is known of the present view.

    Attributes
    ----------
    scene : Scene
    partition : Partition
    automatic : bool
        Whether the settings leave the partition to the noise estimate.
    measured : bool
        Whether that estimate has been made.
    subset : int
    figures : Figures
    labels : ndarray of int32
        The subset of each pixel, of the shape of the layers.
    hidden : ndarray of bool
        Targets and their blocks, of the same shape.
    donut : Donut or None
    values, masked : ndarray or None
        The image and the masked input; None until they are read.
    leakage : Leakage or None
    error : str
        Why the data in view could not be used.
    """

    scene: Scene
    partition: Partition
    automatic: bool
    measured: bool
    subset: int
    figures: Figures
    labels: NDArray[np.int32]
    hidden: NDArray[np.bool_]
    donut: Donut | None
    values: NDArray[Any] | None = None
    masked: NDArray[Any] | None = None
    leakage: Leakage | None = None
    error: str = ""
