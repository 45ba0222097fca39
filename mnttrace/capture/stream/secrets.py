# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Passwords and keys in mount data and command lines, which are not kept."""

from __future__ import annotations

import re
from collections.abc import Iterable

REDACTED = "<redacted>"
_SECRET = re.compile(r"(?i)pass|cred|secret|token|key")
# What only says where a secret is, or of what kind: secretfile, ecryptfs_key_bytes, keyring; and
# ecryptfs_passthrough.
_HARMLESS = re.compile(r"(?i)(?:file|path|dir|fd|ring|bytes|bits|size|type|format|through)\Z")
_KEY = re.compile(r"(?<![\w.-])([\w.-]++)=")
_VALUE = re.compile(r"(?:[^,]|,,)*")  # cifs has a doubled comma for one within a password
_OPTION = re.compile(r"(?<!\S)--?([\w.-]++)(\s++)(?!--)(\S+)")


def is_secret(key: str) -> bool:
    """Whether the value of an option of that name is not to be kept."""
    return bool(_SECRET.search(key)) and not _HARMLESS.search(key)


def redact(data: str) -> str:
    """Mount data without its secrets: password=…, credentials=…, key=…."""
    kept, at = [], 0
    for found in _KEY.finditer(data) if "=" in data else ():
        if found.start() >= at and is_secret(found[1]):
            kept += [data[at : found.end()], REDACTED]
            value = _VALUE.match(data, found.end())
            at = value.end() if value else len(data)
    return "".join([*kept, data[at:]])


def redact_command(words: Iterable[str]) -> tuple[str, ...]:
    """A command line without its secrets, word by word: key=…, and what follows --password."""
    kept: list[str] = []
    is_value = False
    for word in words:
        kept.append(REDACTED if is_value and not word.startswith("--") else _redact_word(word))
        is_value = word.startswith("-") and "=" not in word and is_secret(word)
    return tuple(kept)


def _redact_word(word: str) -> str:
    """One word, which may be the command of a shell."""

    def without_value(found: re.Match[str]) -> str:
        return found[0].removesuffix(found[3]) + REDACTED if is_secret(found[1]) else found[0]

    return redact(_OPTION.sub(without_value, word))
