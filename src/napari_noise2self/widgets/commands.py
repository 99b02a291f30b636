"""What the manifest calls: menu entries and sample data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari import current_viewer

# Not for type checking alone: napari resolves the annotation to inject the viewer.
from napari.viewer import Viewer
from qtpy.QtCore import QThread

from napari_noise2self.widgets.controller import controller_of
from napari_noise2self.widgets.layers import LayerData, layer_data

if TYPE_CHECKING:
    from napari_noise2self.stacks.public import Fetched
    from napari_noise2self.stacks.samples import Sample


def denoise_active(viewer: Viewer) -> None:
    """Open the *Denoise* dock with the active layer chosen."""
    _open(viewer, "Denoise")


def partition_active(viewer: Viewer) -> None:
    """Open the *J partition preview* dock with the active layer chosen."""
    _open(viewer, "J partition preview")


def noise_active(viewer: Viewer) -> None:
    """Open the *Noise report* dock with the active layer chosen."""
    _open(viewer, "Noise report")


def compare_active(viewer: Viewer) -> None:
    """Open the *Compare denoisers* dock with the active layer chosen."""
    _open(viewer, "Compare denoisers")


def export_active(viewer: Viewer) -> None:
    """Open the *Apply and export* dock for the selected layers."""
    _open(viewer, "Apply and export")


def _open(viewer: Viewer, widget: str) -> None:
    dock, _ = viewer.window.add_plugin_dock_widget("napari-noise2self", widget)
    dock.show()
    dock.raise_()
    controller_of(viewer).select_active()


def sample_cells() -> list[LayerData]:
    """Simulated cells under a noisy camera, and their hidden truth."""
    from napari_noise2self.stacks.samples import cells

    return _layers(cells())


def sample_nuclei() -> list[LayerData]:
    """A simulated Z stack of nuclei under a noisy camera, and its hidden truth."""
    from napari_noise2self.stacks.samples import nuclei

    return _layers(nuclei())


def sample_filaments() -> list[LayerData]:
    """Simulated microtubules in very little light, and their hidden truth."""
    from napari_noise2self.stacks.samples import filaments

    return _layers(filaments())


def sample_mitochondria() -> list[LayerData]:
    """Simulated mitochondria whose noise is correlated along rows, and their hidden truth."""
    from napari_noise2self.stacks.samples import mitochondria

    return _layers(mitochondria())


def sample_tissue() -> list[LayerData]:
    """A simulated Z stack of two channels, and its hidden truth."""
    from napari_noise2self.stacks.samples import tissue

    return _layers(tissue())


def sample_vesicles() -> list[LayerData]:
    """A simulated time series of moving vesicles that bleaches, and its hidden truth."""
    from napari_noise2self.stacks.samples import vesicles

    return _layers(vesicles())


def public_brain() -> list[LayerData]:
    """Mouse brain under a confocal microscope, and the mean of 50 frames of it."""
    return _fetched("brain")


def public_endothelium() -> list[LayerData]:
    """Endothelial cells with correlated noise, and the mean of 50 frames of them."""
    return _fetched("endothelium")


def public_secretion() -> list[LayerData]:
    """Cells under a wide-field microscope, with their pixel size."""
    return _fetched("secretion")


def public_envelope() -> list[LayerData]:
    """A confocal Z stack of nuclear envelopes."""
    return _fetched("envelope")


def public_kidney() -> list[LayerData]:
    """A confocal Z stack of kidney in three channels."""
    return _fetched("kidney")


def _fetched(key: str) -> list[LayerData]:
    """A public image: fetched before this returns, or afterwards where a window is alive."""
    from napari_noise2self.stacks import public

    viewer, thread = current_viewer(), QThread.currentThread()
    # Where no events are handled, as in a script, there is nothing to keep alive, and the next
    # line of the script expects the layers.
    if viewer is None or thread is None or not thread.loopLevel():
        return _credited(public.fetch(key))
    from napari_noise2self.widgets.fetching import fetch_into

    fetch_into(viewer, key, _credited)
    # napari calls no layers at all an error; an image of no channels becomes no layer.
    return [(np.empty((0, 1, 1)), {"channel_axis": 0}, "image")]


def _credited(fetched: Fetched) -> list[LayerData]:
    """A public image, with whom to credit for it in its metadata and before the user's eyes."""
    from napari.utils.notifications import show_info

    about = fetched.about
    show_info(about.credit())
    source = {
        "title": about.title,
        "licence": about.licence,
        "citation": about.citation,
        "url": about.noisy.url,
    }
    return _layers(fetched, {"source": source})


def _layers(
    sample: Sample | Fetched, metadata: dict[str, dict[str, str]] | None = None
) -> list[LayerData]:
    data, looks, kind = layer_data(sample.noisy)
    looks["metadata"] = {**looks.get("metadata", {}), **(metadata or {})}
    # The noisy layer comes last: the last one added is the active one.
    layers = [(data, looks, kind)]
    if sample.truth is not None:
        truth = {**looks, "name": f"{sample.noisy.name} truth", "visible": False}
        layers.insert(0, (sample.truth, truth, kind))
    return layers
