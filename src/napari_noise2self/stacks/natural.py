"""The order that people give to numbered names: 2 before 10."""

from __future__ import annotations

import re


def natural(name: str) -> list[tuple[int, int, str]]:
    """What to sort names by, so that a2 comes before a10."""
    return [
        (0, int(part), part) if part.isdecimal() else (1, 0, part.lower())
        for part in re.split(r"(\d+)", name)
        if part
    ]
