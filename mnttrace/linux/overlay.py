# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The directories of an overlay, from its options (Documentation/filesystems/overlayfs.rst)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)


class Layers(NamedTuple):
    """The directories of an overlay, as given.

    Attributes:
        lower: from the topmost on, with those for data alone.
        upper, work: "" if there are none, so that the overlay is read-only.
    """

    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""


def layers_of(options: str) -> Layers:
    """The directories in the options of mount(2), or in the super options of mountinfo.

    Both have backslashes before what would end a word: the one as they are, the other as octal
    numbers for commas and the like.
    """
    return told(_split(options, ","))


def told(options: Iterable[str]) -> Layers:
    """The directories in options one by one, as fsconfig(2) is given them: "key=value"."""
    lower: list[str] = []
    upper = work = ""
    for option in options:
        key, _, value = option.partition("=")
        if key == "lowerdir":
            lower = [_plain(part) for part in _split(value, ":") if part]
        elif key in ("lowerdir+", "datadir+"):
            lower.append(_plain(value))
        elif key == "upperdir":
            upper = _plain(value)
        elif key == "workdir":
            work = _plain(value)
    return Layers(tuple(lower), upper, work)


def _split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that have no backslash before them."""
    parts = re.findall(rf"((?:[^{separator}\\]|\\.)+)", text, re.DOTALL)
    return [str(part) for part in parts]


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: _character(match[1]), text)


def _character(escaped: str) -> str:
    return chr(int(escaped, 8)) if len(escaped) == 3 else escaped
