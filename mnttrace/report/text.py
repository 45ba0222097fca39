# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Untrusted text, escaped for terminals."""

from __future__ import annotations


def safe(text: object) -> str:
    """Text for a terminal: characters that do not print are escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )
