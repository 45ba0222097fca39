# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Untrusted text, escaped for terminals; and numbers of things."""

from __future__ import annotations


def safe_lines(text: object) -> list[str]:
    """The same for text of several lines, as the command of a shell can be, line by line."""
    return [safe(line) for line in str(text).split("\n")]


def safe(text: object) -> str:
    """Text for a terminal: characters that do not print are escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )


def count(n: int, what: str, many: str = "") -> str:
    """Like "1 mount", "2 mounts"; `many` for another plural than with s."""
    return f"{n} {what if n == 1 else many or what + 's'}"
