# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Lists of mounts, as the kernel sent them, and what namespaces are known by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from mnttrace.probes.records import LIST_UNWATCHED, MountEntry


def namespace_key(ns: int, ns_id: int) -> int:
    """What a namespace is known by: its unique id, or the inode number where there is none."""
    return ns_id or ns


class MountList(msgspec.Struct):
    """Mounts of one namespace, as the kernel listed them.

    A list comes in parts: one that is `is_first` replaces what came before it. Parts can be lost:
    of a call's list CallEnded.is_cut says so, and after a lost one none `is_last`.

    Attributes:
        reason: one of LIST_* in bpf/records.h.
        ns: inode number of the namespace; ns_id: its unique id, 0 where the kernel has none.
    """

    reason: int
    ns: int
    ns_id: int
    is_first: bool
    is_last: bool
    entries: list[MountEntry]

    @property
    def key(self) -> int:
        """What the namespace is known by."""
        return namespace_key(self.ns, self.ns_id)

    def replaces(self, other: MountList) -> bool:
        """Whether another one is of the same list, or of one that this one was made in place of."""
        return self.reason == other.reason and self.key == other.key


def lists_of_unwatched(lists: Iterable[MountList]) -> list[MountList]:
    """Those of a call's lists that are of namespaces which nobody reports of yet."""
    return [found for found in lists if found.reason == LIST_UNWATCHED]


def whole_lists(lists: Iterable[MountList]) -> Iterator[tuple[int, set[int]]]:
    """(namespace, the unique ids of its mounts) for those of some lists, in parts, that came
    whole."""
    for key, parts in groupby(lists, key=lambda found: found.key):
        found = list(parts)
        if found[0].is_first and found[-1].is_last:
            yield key, {entry.unique for part in found for entry in part.entries}
