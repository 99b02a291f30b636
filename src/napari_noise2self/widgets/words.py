"""What all docks need to put words into labels."""

from __future__ import annotations

import re

# Keeps a number and its unit on one line.
NBSP = "\N{NO-BREAK SPACE}"
_OPTION = re.compile(r" \(--[a-z-]+(?: in the terminal)?\)")


def escaped(text: str) -> str:
    """Plain text for a label or a tip that takes rich text."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def without_options(text: str) -> str:
    """A sentence without the options of the terminal that it names beside what to do."""
    return _OPTION.sub("", text)
