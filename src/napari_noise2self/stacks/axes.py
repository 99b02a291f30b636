"""What the axes of an image mean: told by labels and metadata, or guessed and said so.

Letters are those of OME: T time, C channel, Z depth, Y row, X column, and S for the samples of
RGB.  Other letters are axes without a meaning here; they count frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_noise2self.engine.layout import Layout

# What the names that people and programs give to axes mean.
LABELS = {
    "T": ("t", "time", "times", "timepoint", "tp", "frame", "frames"),
    "C": ("c", "ch", "channel", "channels", "wavelength"),
    "Z": ("z", "depth", "plane", "planes", "slice", "slices"),
    "Y": ("y", "row", "rows", "height"),
    "X": ("x", "column", "columns", "width"),
}
LETTER_OF = {label: letter for letter, labels in LABELS.items() for label in labels}

# Letters for axes that have no name; they count frames.
UNNAMED = "QUWJKGDON"
# What an axis before YX is taken for if nobody says, the one next to YX first.  Channels are
# never guessed, nor RGB: three planes are more often three planes.
_GUESSES = "ZT" + UNNAMED

# By version 0.3 of OME-Zarr the axes had no names.
_BEFORE_NAMES = "TCZYX"
_TYPES = {"time": "T", "channel": "C"}


@dataclass(frozen=True)
class Axes:
    """One letter per axis, and who says so.

    Attributes
    ----------
    letters : str
        As in "TCZYX".
    guessed : str
        Those of the letters that were guessed from the shape.
    source : str
        Who told the others, such as "the OME metadata".
    """

    letters: str
    guessed: str = ""
    source: str = ""

    def words(self, shape: Sequence[int]) -> str:
        """One sentence: what the axes are, and how that is known.

        Parameters
        ----------
        shape : sequence of int
            Of the array.
        """
        doubtful = [letter for letter in self.letters if letter in self.guessed]
        if doubtful and set(doubtful) - set("YX"):
            rest = set(self.letters) - set(doubtful) - set("YX")
            which = f" ({', '.join(doubtful)})" if rest else ""
            return (
                f"Axes {self.letters}, guessed{which} from the shape {tuple(shape)}: name others "
                f"if they are wrong (--axes in the terminal)."
            )
        return (
            f"Axes {self.letters}, told by {self.source}."
            if self.source
            else (f"Axes {self.letters}.")
        )

    def notice(self, shape: Sequence[int]) -> str | None:
        """The same sentence where something was guessed that could be wrong, otherwise None."""
        return self.words(shape) if set(self.guessed) - set("YX") else None


def from_shape(ndim: int) -> Axes:
    """The axes of an array of which nothing is known but its shape.

    The last two are Y and X, the one before them Z, then T, then letters
    without a meaning; never C, and never S: RGB is not guessed.
    """
    return _completed([""] * ndim, "")


def from_labels(labels: Sequence[str | None], source: str = "the axis labels") -> Axes:
    """The axes that names such as "time", "ch" or "z" stand for.

    Names that say nothing are guessed from the shape; so are all where two
    names mean the same, because then they mean something else.

    Parameters
    ----------
    labels : sequence of str or None
        One per axis.
    source : str
        Who gave the names.
    """
    letters = [LETTER_OF.get((label or "").strip().lower(), "") for label in labels]
    known = [letter for letter in letters if letter]
    if len(set(known)) < len(known):
        letters = [""] * len(letters)
    return _completed(letters, source)


def from_ngff(axes: Sequence[Mapping[str, Any] | str] | None, ndim: int) -> Axes:
    """The axes of an OME-Zarr image.

    Parameters
    ----------
    axes : sequence of mapping or of str, or None
        As in the metadata: with name and type, names alone (0.3), or missing
        (before: always TCZYX).
    ndim : int
        Axes of the array.
    """
    source = "the OME-Zarr metadata"
    if not axes:
        return Axes(_BEFORE_NAMES, "", source) if ndim == 5 else from_shape(ndim)
    named = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]
    labels = [str(axis.get("name", "")) for axis in named]
    known = {LETTER_OF.get(label.strip().lower()) for label in labels}
    for number, axis in enumerate(named):
        letter = _TYPES.get(str(axis.get("type")))
        # A name of somebody's own, but its type says what it is.
        if letter and letter not in known and labels[number].strip().lower() not in LETTER_OF:
            labels[number] = letter
            known.add(letter)
    return from_labels(labels, source)


def from_tifffile(axes: str, source: str) -> Axes:
    """The axes of a TIFF series.

    Parameters
    ----------
    axes : str
        The letters of tifffile, in which Q and I are unknown.
    source : str
        Who told them to tifffile.
    """
    letters: list[str] = []
    for letter in reversed(axes):
        # The last axis of that name is the innermost one, and keeps it.
        letters.insert(0, "" if letter in "QI" or letter in letters else letter)
    return _completed(letters, source)


def checked(text: str, shape: Sequence[int]) -> str:
    """The letters that somebody typed, such as "tzyx" or "T Z Y X".

    Parameters
    ----------
    text : str
        Letters; spaces, commas and hyphens between them do not matter.
    shape : sequence of int
        Of the array, which needs one letter per axis.

    Returns
    -------
    letters : str

    Raises
    ------
    InputError
        If they do not fit the shape, one is named twice, or Y or X is missing.
    """
    return Layout.of(shape, re.sub(r"[\s,;.×/_-]+", "", text)).axes


def _completed(letters: list[str], source: str) -> Axes:
    """Letters for all axes; those that are missing are guessed."""
    told = list(letters)
    letters = list(letters)
    if not ("Y" in letters and "X" in letters):
        letters = ["" if letter in "YX" else letter for letter in letters]
        last = len(letters) - (letters[-1:] == ["S"])
        for axis, letter in zip(range(max(last - 2, 0), last), "YX"[-last:], strict=True):
            letters[axis] = letter
    spare = (letter for letter in _GUESSES if letter not in letters)
    for axis in reversed(range(len(letters))):
        letters[axis] = letters[axis] or next(spare)
    guessed = "".join(new for new, old in zip(letters, told, strict=True) if new != old)
    return Axes("".join(letters), guessed, source if len(guessed) < len(letters) else "")
