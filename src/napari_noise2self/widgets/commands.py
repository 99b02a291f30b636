"""What the manifest calls: menu entries and sample data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Not for type checking alone: napari resolves the annotation to inject the viewer.
from napari.viewer import Viewer

from napari_noise2self.widgets.controller import controller_of

if TYPE_CHECKING:
    from napari_noise2self.stacks.samples import Sample

LayerData = tuple[Any, dict[str, Any], str]


def denoise_active(viewer: Viewer) -> None:
    """Open the *Denoise* dock with the active layer chosen."""
    dock, _ = viewer.window.add_plugin_dock_widget("napari-noise2self", "Denoise")
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


def _layers(sample: Sample) -> list[LayerData]:
    noisy = sample.noisy
    looks = {"scale": noisy.scale, "units": noisy.units, "axis_labels": tuple(noisy.axes.lower())}
    truth = {**looks, "name": f"{noisy.name} truth", "visible": False}
    # The noisy layer comes last: the last one added is the active one.
    return [(sample.truth, truth, "image"), (noisy.data, {**looks, "name": noisy.name}, "image")]
