# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Text of strangers: mount points, sources, names of processes are bytes that need not be UTF-8."""

from __future__ import annotations


def decode(raw: bytes) -> str:
    r"""Text as it is kept in recordings: bytes that are not UTF-8 become \xNN."""
    return raw.decode("utf-8", "backslashreplace")


def words(raw: bytes) -> tuple[str, ...]:
    """The words of a command line, each of which ends with NUL; the last one may be cut."""
    ended = raw.rstrip(b"\0")
    return tuple(map(decode, ended.split(b"\0"))) if ended else ()


def clean(text: str) -> str:
    r"""The same of text that Python decoded with surrogates (os.fsdecode())."""
    if text.isascii():
        return text
    return decode(text.encode("utf-8", "surrogateescape"))
