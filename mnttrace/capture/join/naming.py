# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts from the kernel's lists, with their names: from its paths, mountinfo, and arguments."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from mnttrace.capture.join.events import CallEnded, MountNamed
from mnttrace.capture.join.limits import TEXTS_KEPT
from mnttrace.capture.join.mount_list import namespace_key
from mnttrace.capture.join.mount_state import (
    Dentry,
    Filesystem,
    MountState,
    NamespaceRef,
    device_text,
    folder,
)
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.requests import NameMount
from mnttrace.linux.mountinfo import Mount
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import MountEntry

_DEVNAME_KEPT = 31  # bytes of a source that a mount_entry has at most

Lines = dict[int, Mount]  # mount id → line of a mount table


class Naming:
    """Makes mounts of entries, and finds where they are.

    Args:
        tables: the mounts that are known.
    """

    def __init__(self, tables: MountTables) -> None:
        self._tables = tables
        # Device → file system type with its subtype, and source in full.
        self._filesystems: dict[str, tuple[str, str]] = {}
        self._answers: dict[int, MountNamed] = {}

    # ---- asking for names

    def ask_anew(self, entries: Iterable[MountEntry], names: dict[int, str]) -> list[NameMount]:
        """What is to be asked before mounts can be made of these entries; forgets earlier answers.

        Args:
            entries: of mounts that are not in the tables.
            names: dentry → path within its file system, as the kernel sent them.
        """
        self._answers.clear()
        return [
            NameMount(entry.unique, entry.mntns_id)
            for entry in entries
            if entry.unique != entry.parent_unique
            and (self._root(entry, names) is None or self._mountpoint(entry, names) is None)
        ]

    def learn(self, answer: MountNamed) -> None:
        """Take an answer, until something else is asked."""
        self._answers[answer.unique] = answer

    # ---- mounts

    def make(
        self, entry: MountEntry, names: dict[int, str], origin: MountState | None
    ) -> MountState:
        """A mount as an entry of a list has it.

        Args:
            entry: the entry.
            names: dentry → path within its file system, as the kernel sent them.
            origin: the mount that it is a copy of.
        """
        root, mountpoint = self._root(entry, names), self._mountpoint(entry, names)
        if root is None and origin is not None:
            root = origin.root.path
        if entry.unique == entry.parent_unique:
            root = mountpoint = "/"
        elif root is None or mountpoint is None:
            answer = self._answers.get(entry.unique)
            if answer is not None:
                root = root or answer.root
                mountpoint = mountpoint or self._place_at(
                    entry.parent_unique, entry.mountpoint, answer.mountpoint
                )
        return MountState(
            unique=entry.unique,
            mount_id=entry.mount_id,
            namespace=_namespace(entry.mntns, entry.mntns_id),
            parent=entry.parent_unique,
            parent_id=entry.parent_id,
            mountpoint=Dentry(entry.mountpoint, entry.mountpoint_hash, mountpoint),
            root=Dentry(entry.root, entry.root_hash, root),
            filesystem=self._filesystem(entry, origin),
            group=entry.group,
            master=entry.master,
            flags=entry.flags,
        )

    def learn_filesystems(self, lines: Lines) -> None:
        """Learn the file systems in a mount table."""
        for line in lines.values():
            self._filesystems[line.device] = (line.fstype, line.source)

    def from_line(self, mount: MountState, lines: Lines, has_moved: bool) -> None:
        """Name a mount as its mount table does, if it has a line there: that of another file system
        is of a mount that had its mount id before.

        Args:
            mount: the mount.
            lines: the table.
            has_moved: whether the mount can have moved since the table was read.
        """
        line = lines.get(mount.mount_id)
        if line is None or line.device != mount.filesystem.device:
            return
        place = mount.mountpoint.path
        if not has_moved:
            place = place_in(line, lines) or place
            if line.parent_id not in lines:
                place = place or line.mountpoint
        mount.filesystem = mount.filesystem._replace(fstype=line.fstype, source=line.source)
        self._tables.rename(mount, line.root, place)

    def from_call(self, mount: MountState, call: CallEnded) -> None:
        """Name a new mount by the arguments of the call that made it."""
        row, known = call.row, mount.filesystem
        is_new = call.kind == SyscallKind.MOVE_MOUNT or call.mount_action == "new"
        if is_new and row["fstype"].partition(".")[0] == known.fstype.partition(".")[0]:
            source = row["source"] or known.source
            mount.filesystem = known._replace(fstype=row["fstype"], source=source)
            self._filesystems[known.device] = (row["fstype"], source)
        if mount.mountpoint.path is None:
            path = self._place_at(mount.parent, mount.mountpoint.key, row["path"])
            mount.mountpoint = mount.mountpoint._replace(path=path)

    def from_names(self, mount: MountState, names: dict[int, str]) -> None:
        """Name a mount whose names were not known when it was listed first."""
        root, mountpoint = mount.root, mount.mountpoint
        if mountpoint.path is None or root.path is None:
            self._tables.rename(
                mount,
                root.path or names.get(root.key),
                mountpoint.path or names.get(mountpoint.key),
            )

    def new_mountpoint(self, entry: MountEntry, call: CallEnded) -> str | None:
        """Where a call moved a mount to, within the file system of its parent; None: not known."""
        path = self._mountpoint(entry, call.names)
        if path is not None:
            return path
        # pivot_root moves what was the root to its second argument.
        is_pivot = call.kind == SyscallKind.PIVOT
        asked = call.row["source_path"] if is_pivot else call.row["path"]
        return self._place_at(entry.parent_unique, entry.mountpoint, asked)

    def path(self, entry: MountEntry, names: dict[int, str]) -> str | None:
        """Where a mount is that is not in the tables yet; None: not known."""
        parent = self._tables.get(entry.parent_unique)
        mountpoint = self._mountpoint(entry, names)
        if parent is None or parent.root.path is None:
            return None
        if entry.mountpoint == parent.root.key:
            return self._tables.path(parent)
        above = folder(parent.root.path)
        if mountpoint is None or not mountpoint.startswith(above):
            return None
        return self._tables.path(parent).rstrip("/") + mountpoint[len(above) :]

    # ---- parts of that

    def _filesystem(self, entry: MountEntry, origin: MountState | None) -> Filesystem:
        """The kernel's list has no subtype and cuts a long source; a device that is known may be
        another file system's by now."""
        if origin is not None:
            kept = origin.filesystem
            if kept.flags == entry.super_flags:
                return kept
            return kept._replace(flags=entry.super_flags)
        device = device_text(entry.device)
        fstype, source = _text(entry.fstype), _text(entry.devname)
        known_type, known_source = self._filesystems.get(device, ("", ""))
        if known_type.partition(".")[0] == fstype:
            fstype = known_type
            if len(source) == _DEVNAME_KEPT and known_source.startswith(source):
                source = known_source
        return Filesystem(device, fstype, source, entry.super_flags)

    def _root(self, entry: MountEntry, names: dict[int, str]) -> str | None:
        return names.get(entry.root) or self._tables.path_of_dentry(entry.root, entry.root_hash)

    def _mountpoint(self, entry: MountEntry, names: dict[int, str]) -> str | None:
        known = self._tables.path_of_dentry(entry.mountpoint, entry.mountpoint_hash)
        return names.get(entry.mountpoint) or known

    def _place_at(self, parent_unique: int, mountpoint: int, path: str) -> str | None:
        """The mount point in the file system of a parent that a path in its namespace leads to."""
        parent = self._tables.get(parent_unique)
        if parent is None or parent.root.path is None:
            return None
        if mountpoint == parent.root.key:
            return parent.root.path
        above = self._tables.path(parent).rstrip("/")
        if not path.startswith(f"{above}/"):
            return None
        return folder(parent.root.path) + path[len(above) :]


def place_in(line: Mount, lines: Lines) -> str | None:
    """The mount point of a mount within the file system of its parent, as a mount table has it;
    None if that has no line for the parent, or one of before or after it moved."""
    parent = lines.get(line.parent_id)
    if parent is None:
        return None
    if line.mountpoint == parent.mountpoint:
        return parent.root
    above = parent.mountpoint.rstrip("/")
    if not line.mountpoint.startswith(f"{above}/"):
        return None
    return folder(parent.root) + line.mountpoint[len(above) :]


@lru_cache(TEXTS_KEPT)
def _namespace(ns: int, ns_id: int) -> NamespaceRef:
    return NamespaceRef(namespace_key(ns, ns_id), ns)


@lru_cache(TEXTS_KEPT)
def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "backslashreplace")
