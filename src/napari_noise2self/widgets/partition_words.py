"""The figures of a partition in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_noise2self.engine.inspection import Figures, name_of
from napari_noise2self.widgets.words import NBSP, escaped

if TYPE_CHECKING:
    from napari_noise2self.engine.leakage import Leakage
    from napari_noise2self.engine.noise.report import Suggestion
    from napari_noise2self.widgets.partition_shown import Shown


def figures_in_words(numbers: Figures) -> str:
    """Subsets, pixels per subset, shares."""
    pixels = "pixel" if numbers.most == 1 else "pixels"
    if not numbers.exact:
        each = f"about {_count(numbers.most)} {pixels} each"
    elif numbers.fewest == numbers.most:
        each = f"{_count(numbers.most)} {pixels} each"
    else:
        each = f"{_count(numbers.fewest)} to {_count(numbers.most)} {pixels} each"
    words = f"<b>{_count(numbers.subsets)} subsets</b> of {each} in a frame. "
    if numbers.empty:
        are = "is" if numbers.empty == 1 else "are"
        words += (
            f"{_count(numbers.empty)} of them {are} empty: the image is narrower than the grid. "
        )
    words += f"In one step <b>{_percent(numbers.targets)}</b> of the pixels are targets"
    if numbers.hidden > 1.001 * numbers.targets:
        words += f", and {_percent(numbers.hidden)} are hidden"
    return words + "."


def leakage_in_words(leakage: Leakage, subsets: int) -> str:
    """What the check found, in the data in view."""
    once = (
        "Every pixel is covered <b>exactly once</b>."
        if leakage.covered_once
        else "<b>Some pixels belong to no subset.</b>"
    )
    which = "all" if leakage.subsets == subsets else f"{leakage.subsets} of {_count(subsets)}"
    if leakage.leaks:
        found = (
            f"<b>It leaks</b>: {_count(leakage.leaks)} pixels of the masked input changed with "
            f"what is hidden from it."
        )
    else:
        found = (
            f"<b>Nothing leaks</b>: in view, {_count(leakage.changed)} hidden pixels of {which} "
            f"subsets were changed, and the masked input stayed the same bit by bit."
        )
    return f"{once} {found}"


def shown_in_words(shown: Shown) -> str:
    """All that is known of the present view, as rich text."""
    name = name_of(shown.partition, shown.scene.layout.ndim)
    lines = []
    if shown.automatic and shown.measured:
        lines.append(f"Automatic, by the noise estimate: a {name}.")
    elif shown.automatic:
        lines.append(
            f"Automatic: a {name}, unless the noise is found to be correlated when training begins."
        )
    else:
        lines.append(f"{name[0].upper()}{name[1:]}.")
    lines.append(figures_in_words(shown.figures))
    if shown.error:
        lines.append(escaped(shown.error))
    elif shown.leakage is None:
        lines.append("Looking for leaks…")
    else:
        lines.append(leakage_in_words(shown.leakage, shown.figures.subsets))
    return "<br>".join(lines)


def suggestion_in_words(suggestion: Suggestion, ndim: int) -> str:
    """What the noise estimate suggests, and why."""
    name = name_of(suggestion.partition, ndim)
    return f"Suggested: a <b>{name}</b>. {escaped(suggestion.reasons[0])}"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _percent(share: float) -> str:
    digits = 0 if share >= 0.995 else 1 if share >= 0.01 else 2
    return f"{100 * share:.{digits}f}{NBSP}%"
