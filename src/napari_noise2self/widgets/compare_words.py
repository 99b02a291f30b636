"""A comparison in words, and as a table in text."""

from __future__ import annotations

import csv
import io
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_noise2self.widgets.words import NBSP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_noise2self.engine.comparison import Comparison
    from napari_noise2self.engine.ranking import Ranking, Row

# What each column of the table says, and in which unit, for the tip over its title.
COLUMNS = {
    "Rank": (
        "By the self-supervised score. Rows with = cannot be told from the first of their rank: "
        "their scores on the same pixels differ by less than chance does."
    ),
    "Denoiser": "Click a row to see its result as a layer.",
    "Score": (
        "Self-supervised score: the mean squared difference between the J-invariant prediction and "
        "the noisy pixels, in squared grey values, with its standard error. It holds the noise, "
        "too; lower is better."
    ),
    "Gain (dB)": (
        "Estimated gain in PSNR of the J-invariant prediction over the noisy image; ≥ where only "
        "the least is known."
    ),
    "Time (s)": "Seconds for calibration or training, and the result.",
    "PSNR (dB)": "Of the result against the truth, at the range of the truth.",
    "SSIM": "Of the result against the truth.",
    "Parameters": "What was found best, or was set.",
}
TRUTH_COLUMNS = ("PSNR (dB)", "SSIM")
_CSV = {
    "rank": "rank",
    "tied": "tied",
    "denoiser": "denoiser",
    "parameters": "parameters",
    "score": "self-supervised score (squared grey values)",
    "error": "standard error (squared grey values)",
    "gain": "estimated gain (dB)",
    "gain_at_least": "gain at least (dB)",
    "seconds": "seconds",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "failure": "failure",
}
# Whose versions change the numbers.
_PACKAGES = (
    "napari-noise2self",
    "numpy",
    "scipy",
    "scikit-image",
    "torch",
    "PyWavelets",
    "imagecodecs",
    "bm3d",
)


def columns_of(ranking: Ranking) -> list[str]:
    """The titles of the columns; those of a truth only where there is one."""
    truth = any(row.psnr is not None for row in ranking.rows)
    return [title for title in COLUMNS if truth or title not in TRUTH_COLUMNS]


def cells(ranking: Ranking, number: int) -> dict[str, tuple[str, Any]]:
    """A row of the table: by column, the text and what to sort by.

    Parameters
    ----------
    ranking : Ranking
    number : int
        Which of its rows.
    """
    row, rank, tied = ranking.rows[number], ranking.ranks[number], ranking.tied[number]
    gain, least = row.score.gain, row.score.gain_at_least
    if gain is not None:
        gained: tuple[str, Any] = f"{gain:.1f}", -gain
    elif least is not None and least > 0:
        gained = f"≥{NBSP}{least:.1f}", -least
    else:
        gained = "–", math.inf
    failed = row.failure is not None
    score = f"{row.score.loss:.4g}{NBSP}±{NBSP}{row.score.error:.2g}"
    return {
        "Rank": ("–" if rank is None else f"{rank}{NBSP}=" if tied else str(rank), number),
        "Denoiser": (row.name, row.name.lower()),
        "Score": ("failed", math.inf) if failed else (score, row.score.loss),
        "Gain (dB)": gained,
        "Time (s)": ("–", math.inf) if failed else (f"{row.seconds:.3g}", row.seconds),
        "PSNR (dB)": _number(row.psnr, ".2f"),
        "SSIM": _number(row.ssim, ".3f"),
        "Parameters": (row.failure or row.parameters, row.parameters),
    }


def _number(value: float | None, form: str) -> tuple[str, float]:
    """Text and what to sort by: the largest first."""
    return ("–", math.inf) if value is None else (format(value, form), -value)


def tie_sentence(ranking: Ranking, number: int) -> str:
    """What the rank of a row means, in words."""
    rank = ranking.ranks[number]
    if rank is None:
        return ""
    if not ranking.tied[number]:
        if rank > 1:
            # A rank is left by what differs from the first row in it.
            other = ranking.rows[ranking.ranks.index(ranking.ranks[number - 1])]
            side = "above"
        elif len(ranking.rows) > 1 and ranking.ranks[1] is not None:
            other, side = ranking.rows[1], "below"
        else:
            return "Number 1."
        return (
            f"Number {rank}: on the same pixels its score is {side} that of {other.name}, by more "
            f"than chance."
        )
    others = [
        row.name for i, row in enumerate(ranking.rows) if ranking.ranks[i] == rank and i != number
    ]
    return (
        f"Number {rank}, tied with {_listed(others)}: on the same pixels their scores differ by "
        f"less than chance does."
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def winner_sentence(ranking: Ranking) -> str:
    """Who is best."""
    if not ranking.rows or ranking.ranks[0] is None:
        return ""
    first = [row.name for row, rank in zip(ranking.rows, ranking.ranks, strict=True) if rank == 1]
    if len(first) == 1:
        return f"Best: {first[0]}."
    return f"Best: {_listed(first)}, which cannot be told apart."


def basis_sentence(found: Comparison) -> str:
    """What the scores are based on."""
    partition = found.partition
    kind = {"grid": "mask grid", "random": "random partition", "checkerboard": "checkerboard"}
    words = kind.get(partition["kind"], partition["kind"])
    if "width" in partition:
        words += f"{NBSP}{_sizes(partition['width'])}"
    if _sizes(partition.get("extent", 1)) != "1":
        words += f", hidden block{NBSP}{_sizes(partition['extent'])}"
    return f"All on the same {found.positions:,} held-out pixels, {words}."


def _sizes(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return str(value[0]) if len(set(value)) == 1 else "×".join(map(str, value))
    return str(value)


def row_sentence(ranking: Ranking, row: Row) -> str:
    """What a chosen row shows, and what its numbers speak of."""
    if row.failure is not None:
        return f"{row.name}: {row.failure}"
    number = next(i for i, other in enumerate(ranking.rows) if other is row)
    return f"{row.name}, {row.parameters}. {tie_sentence(ranking, number)}"


def as_csv(ranking: Ranking) -> str:
    """The table with full precision, columns named with their units."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV.values())
    for row in ranking.to_json():
        writer.writerow(["" if row[key] is None else row[key] for key in _CSV])
    return text.getvalue()


def as_markdown(ranking: Ranking) -> str:
    """The table as it is shown."""
    titles = columns_of(ranking)
    rows = [titles, ["---"] * len(titles)]
    for number in range(len(ranking.rows)):
        found = cells(ranking, number)
        rows.append([found[title][0].replace(NBSP, " ").replace("|", "\\|") for title in titles])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def versions() -> dict[str, str]:
    """Of Python and of the packages that compute."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
