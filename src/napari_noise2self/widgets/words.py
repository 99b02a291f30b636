"""What all docks need to put words into labels."""

from __future__ import annotations

# Keeps a number and its unit on one line.
NBSP = "\N{NO-BREAK SPACE}"


def escaped(text: str) -> str:
    """Plain text for a label or a tip that takes rich text."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
