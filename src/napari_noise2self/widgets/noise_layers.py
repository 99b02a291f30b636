"""The layers that the noise report adds: hot pixels, and where a residual is not noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points
from napari.utils import Colormap

from napari_noise2self.engine.layout import Layout
from napari_noise2self.widgets.layers import AIDE, Source

if TYPE_CHECKING:
    import napari

    from napari_noise2self.engine.residual.map import ResidualMap
    from napari_noise2self.widgets.noise_worker import Defects

# Blue where noise is missing, orange where there is image: colour-blind people can tell them.
_MAP_COLOURS = Colormap(
    [[0.0, 0.45, 0.70, 1.0], [0.0, 0.0, 0.0, 1.0], [0.90, 0.62, 0.0, 1.0]],
    name="less or more than noise",
)
_HOT, _DEAD = "#e69f00", "#56b4e9"
# What these layers share with their source in space.
_SPATIAL = ("rotate", "shear", "affine", "units", "axis_labels")


def show_defects(viewer: napari.Viewer, source: Source, found: Defects) -> None:
    """Mark hot pixels in orange and dead ones in blue.

    Parameters
    ----------
    viewer : napari.Viewer
    source : Source
    found : Defects
    """
    ndim = source.layer.ndim  # without the samples of RGB
    places = np.concatenate([found.hot, found.dead])[:, :ndim]
    kinds = ["hot"] * len(found.hot) + ["dead"] * len(found.dead)
    layer = Points(
        places,
        name=f"{source.name} hot pixels",
        ndim=ndim,
        features={"kind": kinds},
        face_color="transparent",
        border_color=[_HOT] * len(found.hot) + [_DEAD] * len(found.dead),
        border_width=0.15,
        size=7,
        symbol="ring",
        scale=source.looks["scale"],
        translate=source.looks["translate"],
        metadata={AIDE: "defects"},
        **{name: source.looks[name] for name in _SPATIAL},
    )
    _replace(viewer, layer)


def show_map(viewer: napari.Viewer, source: Source, found: ResidualMap) -> None:
    """Show where the residual holds more (orange) or less (blue) than noise.

    Parameters
    ----------
    viewer : napari.Viewer
    source : Source
        The noisy layer.
    found : ResidualMap
    """
    from napari_noise2self.engine.residual.map import CELL

    layer = source.layer
    layout = Layout.of(source.data.shape, source.axes)
    index = layout.index(found.frame)
    values = found.structure
    if layer.rgb:
        values = values.max(axis=0, keepdims=True)  # one map for the three colours
    axes = source.axes[: layer.ndim]
    sizes = []
    for letter in axes:
        if letter in "YX":
            sizes.append(values.shape["YX".index(letter) + 1])
        else:
            sizes.append(layout.size(letter) if letter == "C" else 1)
    kept = [letter for letter in axes if letter == "C"] + ["Y", "X"]
    values = values.reshape([*(layout.size("C") for _ in kept[:-2]), *values.shape[1:]])
    order = [kept.index(letter) for letter in axes if letter in kept]
    data = values.transpose(order).reshape(sizes)

    start, scale = [], np.array(source.looks["scale"], float)
    for axis, letter in enumerate(axes):
        if letter in "YX":
            scale[axis] *= CELL
            start.append((CELL - 1) / 2)
        else:
            place = index[axis]
            start.append(float(place) if isinstance(place, int) else 0.0)
    # Where the first cell lies, in the coordinates before the layer's affine.
    translate = layer.affine.inverse(layer.data_to_world(start))
    shown = Image(
        data,
        name=f"{source.name} residual map",
        rgb=False,
        multiscale=False,
        colormap=_MAP_COLOURS,
        contrast_limits=(0, 2),
        blending="additive",
        opacity=0.7,
        interpolation2d="linear",
        scale=scale,
        translate=translate,
        metadata={AIDE: "residual map"},
        **{name: source.looks[name] for name in _SPATIAL},
    )
    _replace(viewer, shown)


def _replace(viewer: napari.Viewer, layer: Any) -> None:
    """Add a layer in place of one of its name that was added before; keep the selection."""
    for old in [x for x in viewer.layers if x.name == layer.name and AIDE in x.metadata]:
        viewer.layers.remove(old)
    selection = viewer.layers.selection
    selected, active = set(selection), selection.active
    viewer.add_layer(layer)
    selection.clear()
    selection.update(selected & set(viewer.layers))
    selection.active = active if active in viewer.layers else None
