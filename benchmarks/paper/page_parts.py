"""The small parts that the page of the paper is put together from."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from shared import RESULTS


def read(path: str) -> dict[str, Any] | None:
    """A committed result; None where it is not there."""
    file = RESULTS / f"{path}.json"
    return json.loads(file.read_text()) if file.exists() else None


def link(path: str) -> str:
    """A link to a result."""
    return f"[{path.rpartition('/')[2]}.json](../../benchmarks/results/{path}.json)"


def table(rows: Sequence[Mapping[str, Any]], numbers: bool = True) -> str:
    """A Markdown table of cells that are text already."""
    columns = list(rows[0])
    align = ["---", *("--:" if numbers else "---" for _ in columns[1:])]
    lines = [columns, align, *([str(row[c]) for c in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wrapped(section: str) -> str:
    """The prose in lines of one length; tables, headings and pictures as they are."""
    parts = []
    for part in section.strip().split("\n\n"):
        lines = part.split("\n")
        if lines[0][:1] not in "|#!":
            # Each item of a list is filled by itself.
            items: list[str] = []
            for line in lines:
                if line.startswith("- ") or not items:
                    items.append(line)
                else:
                    items[-1] += " " + line.strip()
            lines = [
                textwrap.fill(
                    item,
                    110,
                    subsequent_indent="  " if item.startswith("- ") else "",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                for item in items
            ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def db(value: float | None) -> str:
    """A PSNR, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def measured(record: Mapping[str, Any]) -> str:
    """On what, when, and how busy it was."""
    used = record["machine"]
    busy = record.get("load")
    shared = f", load {busy:g} at the end" if busy is not None and busy > used["cores"] else ""
    return f"{used['processor']}, {used['cores']} cores, {used['date']}{shared}"


def missing(command: str) -> str:
    """What stands where a result is not there."""
    return f"Not measured yet: `python benchmarks/paper/{command}`."
