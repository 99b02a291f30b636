"""A figure for slides: pictures side by side, with titles and captions."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_noise2self.stacks.writing import check_free

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The width of a full-HD slide, and what lies between pictures.
WIDTH, GAP, MARGIN = 1920, 36, 48
_TITLE, _PANEL, _TEXT = 40, 30, 22
_INK, _PALE, _PAPER = (20, 20, 20), (90, 90, 90), (255, 255, 255)


@dataclass(frozen=True)
class Panel:
    """One picture of a figure.

    Attributes
    ----------
    title : str
    caption : str
    pixels : ndarray of uint8, shape (rows, columns, 3)
        Drawn large, every pixel as a square.
    """

    title: str
    caption: str
    pixels: NDArray[Any]


def draw(title: str, subtitle: str, panels: Sequence[Panel]) -> bytes:
    """Draw a figure.

    Parameters
    ----------
    title, subtitle : str
    panels : sequence of Panel
        Of the same shape, from left to right.

    Returns
    -------
    png : bytes
    """
    from PIL import Image, ImageDraw, ImageFont

    fonts = {size: ImageFont.load_default(size) for size in (_TITLE, _PANEL, _TEXT)}
    room = (WIDTH - 2 * MARGIN - (len(panels) - 1) * GAP) // len(panels)
    rows, columns = panels[0].pixels.shape[:2]
    factor = max(room // max(rows, columns), 1)

    def wrapped(text: str, width: int, size: int) -> list[str]:
        # So many letters of this font fit into the width, on average.
        letters = max(int(width / (0.47 * size)), 10)
        return textwrap.wrap(text, letters)

    below = [wrapped(panel.caption, room, _TEXT) for panel in panels]
    head = wrapped(title, WIDTH - 2 * MARGIN, _TITLE)
    under = wrapped(subtitle, WIDTH - 2 * MARGIN, _TEXT)
    top = MARGIN + len(head) * int(1.25 * _TITLE) + len(under) * int(1.35 * _TEXT) + GAP
    picture_top = top + int(1.4 * _PANEL)
    caption_top = picture_top + rows * factor + 14
    height = caption_top + max(map(len, below)) * int(1.35 * _TEXT) + MARGIN
    figure = Image.new("RGB", (WIDTH, height), _PAPER)
    pen = ImageDraw.Draw(figure)

    def write(lines: list[str], left: int, y: int, size: int, ink: tuple[int, int, int]) -> int:
        for line in lines:
            # The font that comes with Pillow has no other letters.
            plain = line.replace("×", "x").encode("latin-1", "replace").decode("latin-1")
            pen.text((left, y), plain, fill=ink, font=fonts[size])
            y += int((1.25 if size == _TITLE else 1.35) * size)
        return y

    y = write(head, MARGIN, MARGIN, _TITLE, _INK)
    write(under, MARGIN, y, _TEXT, _PALE)
    for number, panel in enumerate(panels):
        left = MARGIN + number * (room + GAP)
        pen.text((left, top), panel.title, fill=_INK, font=fonts[_PANEL])
        picture = Image.fromarray(panel.pixels).resize(
            (columns * factor, rows * factor), Image.Resampling.NEAREST
        )
        figure.paste(picture, (left, picture_top))
        pen.rectangle(
            (left - 1, picture_top - 1, left + columns * factor, picture_top + rows * factor),
            outline=_PALE,
        )
        write(below[number], left, caption_top, _TEXT, _INK)
    buffer = io.BytesIO()
    figure.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    InputError
        If it exists and may not be replaced.
    OSError
        If the disk is full, or the like.  No file is left then.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        check_free(path, overwrite=overwrite)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
