"""How much memory work may take; known without PyTorch."""

from __future__ import annotations

import psutil


def memory_budget() -> int:
    """Bytes that work may take: half of the memory that is free now."""
    return int(psutil.virtual_memory().available) // 2


def fits_in_memory(size: int) -> bool:
    """Whether so many bytes are within the memory budget."""
    return size <= memory_budget()
