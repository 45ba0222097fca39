"""Text from a stranger, made fit to be shown."""

from __future__ import annotations


def safe(text: object) -> str:
    """Text for a terminal: what does not print is escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )
