"""The layers that the partition preview adds: written, followed and taken away."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap

from napari_noise2self.engine.palette import MOST_COLOURS, distinct_colours
from napari_noise2self.widgets.layers import AIDE

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_noise2self.widgets.scene import Scene

# What the layers are called after the name of their source, from the lowest to the highest.
NAMES = {"masked": "masked input", "subsets": "J partition", "targets": "J targets"}
# Which of them there are at first.
_AT_FIRST = {"masked": False, "subsets": True, "targets": True}
# Values of the layer of targets.
TARGET, HIDDEN = 1, 2

_SUBSETS_OPACITY = 0.4
# What is hidden around a target has this darker shade of its colour.
SHADE = 0.45
# What these layers share with their source in space.
_SPATIAL = ("scale", "rotate", "shear", "affine", "units", "axis_labels")
# Of the source's looks, what the masked input takes over.
_LOOKS = ("colormap", "contrast_limits", "gamma", "interpolation2d")


class PartitionLayers:
    """At most one layer of each kind in `NAMES`.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    on_change : callable
        Called when the user has hidden, shown or deleted one of the layers.

    Attributes
    ----------
    wanted : dict of str to bool
        Which kinds the user wants to see.
    """

    def __init__(self, viewer: napari.Viewer, on_change: Callable[[], None]) -> None:
        self._viewer = weakref.ref(viewer)
        self._layers: dict[str, Any] = {}
        self._on_change = on_change
        self._writing = False
        self.wanted = dict(_AT_FIRST)
        viewer.layers.events.removed.connect(self._notice_removal)

    def close(self) -> None:
        """Take all layers away, for good."""
        self.clear()
        viewer = self._viewer()
        if viewer is not None:
            viewer.layers.events.removed.disconnect(self._notice_removal)

    def start_over(self) -> None:
        """Want what is wanted at first: whoever deletes all layers means none of these."""
        self.wanted = dict(_AT_FIRST)

    def clear(self) -> None:
        """Take all layers away."""
        viewer = self._viewer()
        layers, self._layers = list(self._layers.values()), {}
        for layer in layers:
            layer.events.visible.disconnect(self._notice_visibility)
            if viewer is not None and layer in viewer.layers:
                viewer.layers.remove(layer)

    def hide(self, *kinds: str) -> None:
        """Show none of these kinds for now; without any, nothing at all."""
        for kind in kinds or NAMES:
            self._hide(kind)

    def show(self, kind: str, data: NDArray[Any], scene: Scene) -> None:
        """Show an array over the region of a scene; adds the layer if it is wanted.

        Parameters
        ----------
        kind : {"masked", "subsets", "targets"}
        data : ndarray
            Of the shape of the scene; labels count from 1.
        scene : Scene
        """
        if not self.wanted[kind]:
            self._hide(kind)
            return
        layer = self._layers.get(kind)
        if layer is not None and not _can_show(layer, kind, scene):
            self._remove(kind)
            layer = None
        self._writing = True
        try:
            if layer is None:
                self._add(kind, data, scene)
            else:
                self._follow(layer, scene)
                if not np.array_equal(layer.data, data):
                    layer.data = data
                layer.name = self._name(kind, scene)
                layer.visible = True
        finally:
            self._writing = False

    def colour_targets(self, subset: int) -> None:
        """Draw the targets in the colour of their subset."""
        layer = self._layers.get("targets")
        if layer is not None:
            layer.colormap = _targets_colormap(subset)

    # -- the layers ----------------------------------------------------------

    def _name(self, kind: str, scene: Scene) -> str:
        return f"{scene.source.layer.name} {NAMES[kind]}"

    def _add(self, kind: str, data: NDArray[Any], scene: Scene) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        looks = scene.source.looks
        common = {
            "name": self._name(kind, scene),
            "metadata": {AIDE: id(scene.source.layer)},
            "translate": scene.translate(),
            **{name: looks[name] for name in _SPATIAL},
        }
        layer: Any
        if kind == "masked":
            layer = Image(
                data,
                rgb=scene.source.layer.rgb,
                multiscale=False,
                **common,
                **{name: looks[name] for name in _LOOKS},
            )
            layer.contrast_limits_range = scene.source.contrast_range
        elif kind == "subsets":
            layer = Labels(data, opacity=_SUBSETS_OPACITY, colormap=_subsets_colormap(), **common)
        else:
            layer = Labels(data, opacity=1.0, colormap=_targets_colormap(0), **common)
        layer.editable = False
        self._layers[kind] = layer
        selection = viewer.layers.selection
        selected = set(selection)
        viewer.layers.insert(self._place(viewer, kind), layer)
        # What the user had selected stays selected.
        selection.symmetric_difference_update(set(selection) ^ selected)
        layer.events.visible.connect(self._notice_visibility)

    def _place(self, viewer: napari.Viewer, kind: str) -> int:
        """Below those of the layers that come later in `NAMES`."""
        kinds = list(NAMES)
        later = [self._layers.get(k) for k in kinds[kinds.index(kind) + 1 :]]
        places = [viewer.layers.index(x) for x in later if x is not None and x in viewer.layers]
        return min(places, default=len(viewer.layers))

    def _follow(self, layer: Any, scene: Scene) -> None:
        """Lie where the scene lies, and look like its source if that is another one now."""
        source = scene.source
        for name in _SPATIAL:
            value = source.looks[name]
            present = layer.affine.affine_matrix if name == "affine" else getattr(layer, name)
            if not np.array_equal(present, value):
                setattr(layer, name, value)
        translate = scene.translate()
        if not np.array_equal(layer.translate, translate):
            layer.translate = translate
        if layer.metadata[AIDE] != id(source.layer):
            layer.metadata = {AIDE: id(source.layer)}
            if isinstance(layer, Image):
                layer.contrast_limits_range = source.contrast_range
                for name in _LOOKS:
                    setattr(layer, name, source.looks[name])

    def _hide(self, kind: str) -> None:
        layer = self._layers.get(kind)
        if layer is not None and layer.visible:
            self._writing = True
            layer.visible = False
            self._writing = False

    def _remove(self, kind: str) -> None:
        viewer, layer = self._viewer(), self._layers.pop(kind)
        layer.events.visible.disconnect(self._notice_visibility)
        if viewer is not None and layer in viewer.layers:
            viewer.layers.remove(layer)

    # -- what the user does with them ----------------------------------------

    def _notice_removal(self, event: Any) -> None:
        for kind, layer in list(self._layers.items()):
            if layer is event.value:
                del self._layers[kind]
                layer.events.visible.disconnect(self._notice_visibility)
                self.wanted[kind] = False
                self._on_change()

    def _notice_visibility(self, event: Any = None) -> None:
        if self._writing:
            return
        for kind, layer in self._layers.items():
            self.wanted[kind] = bool(layer.visible)
        self._on_change()


def _can_show(layer: Any, kind: str, scene: Scene) -> bool:
    """Whether a layer can go on for this scene; a kind of layer cannot be changed."""
    same_colours = kind != "masked" or layer.rgb == scene.source.layer.rgb
    return layer.ndim == len(scene.shape) and same_colours


def _subsets_colormap() -> CyclicLabelColormap:
    colours = np.ones((MOST_COLOURS + 1, 4), np.float32)
    colours[0] = 0  # no subset
    colours[1:, :3] = distinct_colours(MOST_COLOURS) / 255
    return CyclicLabelColormap(colors=colours)


def _targets_colormap(subset: int) -> DirectLabelColormap:
    red, green, blue = distinct_colours(subset + 1)[subset] / 255
    clear = np.zeros(4)
    colours = {
        None: clear,
        0: clear,
        TARGET: np.array((red, green, blue, 1.0)),
        HIDDEN: np.array((SHADE * red, SHADE * green, SHADE * blue, 0.9)),
    }
    return DirectLabelColormap(color_dict=colours)
