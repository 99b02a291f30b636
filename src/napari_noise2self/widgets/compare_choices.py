"""What the user chose to compare, and the request that follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_noise2self.engine.config import DEFAULT_NETWORKS, NETWORK_TITLES
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.filters.catalogue import (
    DEFAULT_FILTERS,
    FILTER_NAMES,
    installed,
    named,
)
from napari_noise2self.widgets.compare_region import Region, fits, is_small
from napari_noise2self.widgets.compare_worker import Request
from napari_noise2self.widgets.layers import Source, images_in, of_same_shape

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_noise2self.widgets.session import Settings


@dataclass
class Choices:
    """What the user chose, besides what all docks share.

    Attributes
    ----------
    ticked : set of str
        Names of filters and networks, and paths of models.
    models : list of str
        Paths of the saved models that were added.
    whole : bool or None
        Whether to compare on the whole layer; None: where it is small.
    truth : Image or None
    """

    ticked: set[str] = field(default_factory=lambda: {*DEFAULT_FILTERS, *DEFAULT_NETWORKS})
    models: list[str] = field(default_factory=list)
    whole: bool | None = None
    truth: Image | None = None


def candidates() -> dict[str, tuple[str, bool]]:
    """What can be compared: by name, the title, and whether it is there."""
    found = {name: (named(name, (1, 1)).title, installed(name)) for name in FILTER_NAMES}
    return found | {name: (title, True) for name, title in NETWORK_TITLES.items()}


def asked(viewer: napari.Viewer, settings: Settings, choices: Choices) -> tuple[Region, Request]:
    """What is to be compared, and on which part of the layer.

    Raises
    ------
    InputError
        If there is no layer, or no denoiser is ticked.
    """
    source = Source.of(settings.layer)
    volume = settings.volume and "Z" in source.axes
    whole = fits(source) and (is_small(source) if choices.whole is None else choices.whole)
    region = Region.whole_of(source, volume) if whole else Region.in_view_of(viewer, source, volume)
    names = [name for name in (*FILTER_NAMES, *NETWORK_TITLES) if name in choices.ticked]
    models = [Path(name) for name in choices.models if name in choices.ticked]
    if not (names or models):
        raise InputError("No denoiser is ticked: tick at least one.")
    truths = of_same_shape(source.layer, images_in(viewer))
    truth = choices.truth if choices.truth in truths else None
    request = Request(
        source.data,
        source.axes,
        region.window,
        None if truth is None else Source.of(truth).data,
        (*names, *models),
        volume,
        settings.epochs,
        settings.device,
        settings.seed,
        None if truth is None else truth.name,
    )
    return region, request
