# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which mounts moved, and in what order: a mount table that was read before has them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from mnttrace.probes.records import MountEntry


class Moves:
    """The mounts that moved and are attached.

    Attributes:
        count: how often any mount moved.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last: dict[int, int] = {}  # unique id → count with its last move

    def add(self, unique: int) -> None:
        """A mount moved."""
        self.count += 1
        self._last[unique] = self.count

    def forget(self, unique: int) -> None:
        """A mount was detached."""
        self._last.pop(unique, None)

    def has(self, unique: int, since: int) -> bool:
        """Whether a mount has moved since :attr:`count` was this."""
        return self._last.get(unique, 0) > since


def with_those_below(uniques: Iterable[int], entries: Iterable[MountEntry]) -> set[int]:
    """Some mounts of the kernel's list of a namespace, and all mounts below them."""
    below: dict[int, list[int]] = {}
    for entry in entries:
        below.setdefault(entry.parent_unique, []).append(entry.unique)
    grows = list(uniques)
    found = set(grows)
    for unique in grows:
        new = [one for one in below.get(unique, ()) if one not in found]
        found.update(new)
        grows += new
    return found
