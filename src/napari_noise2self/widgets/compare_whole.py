"""A whole layer denoised with what a comparison found: a calibrated filter or a saved model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_noise2self.widgets.application import Application

if TYPE_CHECKING:
    import napari

    from napari_noise2self.engine.events import Control
    from napari_noise2self.engine.ranking import Row
    from napari_noise2self.widgets.layers import Source


def whole(viewer: napari.Viewer, source: Source, row: Row, control: Control) -> Application:
    """The denoising of a whole layer with a calibrated filter or a saved model.

    Parameters
    ----------
    viewer : napari.Viewer
    source : Source
    row : Row
        Of the filter or the model.
    control : Control
    """
    info = {
        "denoiser": row.name,
        "parameters": row.parameters,
        "settings": dict(row.settings),
    }
    return Application(viewer, source, row.denoiser, row.name, info, control)
