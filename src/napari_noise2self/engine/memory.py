"""How much memory work may take; known without PyTorch."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from napari_noise2self.engine.errors import InputError

# The share of the free memory that work takes unless it is told otherwise.
SHARE = 0.5
# In GB: for machines that are shared in ways that cannot be seen from within.
VARIABLE = "NOISE2SELF_MEMORY"
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def memory_budget() -> int:
    """Bytes that work may take: half of the memory that is free now.

    In a container or a batch job, of what is free of its share.  The
    environment variable NOISE2SELF_MEMORY, in GB, overrules it.

    Raises
    ------
    InputError
        If the variable is no number of GB.
    """
    asked = os.environ.get(VARIABLE)
    if asked:
        try:
            size = float(asked)
        except ValueError:
            size = 0.0
        if not 0 < size < float("inf"):
            raise InputError(
                f"The environment variable {VARIABLE} is {asked!r}: set it to the memory in GB "
                f"that may be used, such as 4."
            )
        return int(size * 2**30)
    free = int(psutil.virtual_memory().available)
    return int(SHARE * min([free, *_free_in_groups()]))


def fits_in_memory(size: int) -> bool:
    """Whether so many bytes are within the memory budget."""
    return size <= memory_budget()


def _free_in_groups() -> list[int]:
    """What Linux leaves to this process in each of the groups that it belongs to."""
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        top = _CONTROL_GROUPS / kinds
        names: tuple[str, str, str] = ("memory.max", "memory.current", "inactive_file ")
        if kinds:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
        group = top / path.strip("/")
        for folder in [group, *group.parents]:
            found += _free_in(folder, *names)
            if folder == top:
                break
    return found


def _free_in(folder: Path, limit: str, usage: str, cached: str) -> list[int]:
    """What is free in one group, where it has a limit; cached files count as free."""
    try:
        most = int((folder / limit).read_text())
        used = int((folder / usage).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return []
    files = sum(int(line.removeprefix(cached)) for line in lines if line.startswith(cached))
    return [max(most - used + files, 0)]
