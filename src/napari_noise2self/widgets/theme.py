"""The colours of a viewer's theme, for what Qt's style sheets do not reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme

if TYPE_CHECKING:
    import napari


@dataclass(frozen=True)
class Colours:
    """The colours of a theme.

    Attributes
    ----------
    background, text : str
        As in "#262930".
    dark : bool
    """

    background: str
    text: str
    dark: bool

    @classmethod
    def of(cls, viewer: napari.Viewer) -> Colours:
        """Those of a viewer's present theme."""
        theme = get_theme(viewer.theme)
        return cls(theme.background.as_hex(), theme.text.as_hex(), theme.type == "dark")
