# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mount tables as the kernel's lists have them, for kernels that do not let their mounts be walked.

What only a list has is made up here: where the kernel has no unique ids (before 6.8), a mount is
the same one as in the survey before if all is equal by which mounts differ; and in place of the
addresses of dentries are hashes of paths within file systems.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from mnttrace.capture.join.naming import place_in
from mnttrace.linux.mountinfo import Mount
from mnttrace.linux.options import MNT_UNBINDABLE, mount_bits, super_bits
from mnttrace.probes.records import HOW_LISTED, MountEntry

FIRST_MADE_UP = 1 << 62  # unique ids from here on are not the kernel's
_63_BITS = (1 << 63) - 1


class MountinfoEntries:
    """Makes entries of the mount tables of namespaces, from survey to survey."""

    def __init__(self) -> None:
        self._numbers = itertools.count(FIRST_MADE_UP)
        self._made_up: dict[int, dict[tuple[int, int, int], int]] = {}

    def of(
        self, ns: int, ns_id: int, table: list[Mount], unique: dict[int, int]
    ) -> list[MountEntry]:
        """The entries of one namespace's table.

        Args:
            ns, ns_id: the namespace's inode number and unique id.
            table: its mountinfo.
            unique: mount id → unique id, read after the table; empty where the kernel has none.
        """
        # What has none by now has gone since the table was read.
        lines = {line.mount_id: line for line in table if not unique or line.mount_id in unique}
        if not unique:
            unique = self._numbered(ns_id or ns, lines)
        return [self._entry(ns, ns_id, line, lines, unique) for line in self._parents_first(lines)]

    def forget(self, namespace: int) -> None:
        """A namespace, by its key, is no more; its inode number may be that of another one."""
        self._made_up.pop(namespace, None)

    def _entry(
        self, ns: int, ns_id: int, line: Mount, lines: dict[int, Mount], unique: dict[int, int]
    ) -> MountEntry:
        parent = lines.get(line.parent_id)
        own = unique[line.mount_id]
        above = parent.device if parent else line.device
        return MountEntry(
            unique=own,
            parent_unique=unique.get(line.parent_id, own) if parent else own,
            origin_unique=0,
            mntns_id=ns_id,
            root=self._dentry(line.device, line.root),
            mountpoint=self._dentry(above, place_in(line, lines) or "/"),
            mount_id=line.mount_id,
            parent_id=line.parent_id,
            mntns=ns,
            group=line.shared or 0,
            master=line.master or 0,
            device=line.major << 20 | line.minor,
            flags=mount_bits(line.options) | (MNT_UNBINDABLE if line.unbindable else 0),
            how=HOW_LISTED,
            root_hash=0,
            mountpoint_hash=0,
            super_flags=super_bits(line.super_options),
            spare=0,
            fstype=line.fstype.encode(),
            devname=line.source.encode(),
        )

    def _numbered(self, key: int, lines: dict[int, Mount]) -> dict[int, int]:
        """Numbers in place of unique ids; those of mounts that are gone are not used again."""
        before = self._made_up.get(key, {})
        now = {}
        for line in lines.values():
            what = (
                line.mount_id,
                line.major << 20 | line.minor,
                self._dentry(line.device, line.root),
            )
            now[what] = before.get(what) or next(self._numbers)
        self._made_up[key] = now
        return {mount_id: number for (mount_id, *_), number in now.items()}

    @staticmethod
    def _dentry(device: str, path: str) -> int:
        # Not numbered in order, which would keep each path that there ever was. 0 stands for none.
        return hash((device, path)) & _63_BITS or 1

    @staticmethod
    def _parents_first(lines: dict[int, Mount]) -> Iterable[Mount]:
        done: set[int] = set()
        for line in lines.values():
            chain = []
            at: Mount | None = line
            while at is not None and at.mount_id not in done:
                done.add(at.mount_id)
                chain.append(at)
                at = lines.get(at.parent_id)
            yield from reversed(chain)
