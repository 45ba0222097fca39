"""Mounts from the kernel's lists, with their names: from its paths, mountinfo, and arguments."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mnttrace.capture.join.effect_rows import Row
from mnttrace.capture.join.tables import Known, MountTables, device_text, folder, namespace_key
from mnttrace.capture.stream.decode import Call
from mnttrace.linux import statmount
from mnttrace.linux.flags import mount_action
from mnttrace.linux.mountinfo import Mount
from mnttrace.linux.syscalls import SyscallKind

_DEVNAME_KEPT = 31  # bytes of a source that a mount_entry has at most
_TEXTS_KEPT = 1 << 12


class Naming:
    """Makes mounts of entries, and finds where they are.

    Args:
        tables: the mounts that are known.
    """

    def __init__(self, tables: MountTables) -> None:
        self._tables = tables
        self._filesystems: dict[str, tuple[str, str]] = {}

    def make(self, entry: Any, names: dict[int, str], origin: Known | None) -> Known:
        """A mount as an entry of a list has it.

        Args:
            entry: a mount_entry.
            names: dentry → path within its file system, as the kernel sent them.
            origin: the mount that it is a copy of.
        """
        device = device_text(entry.device)
        fstype, source = self._filesystem(device, entry)
        root = names.get(entry.root) or self._tables.name(entry.root, entry.root_hash)
        place = self._place(entry, names)
        if root is None and origin is not None:
            root = origin.root
        if entry.unique == entry.parent_unique:
            root = place = "/"
        elif root is None or place is None:
            told, path = _ask(entry)
            root = root or told
            place = place or self._place_at(entry.parent_unique, entry.mountpoint, path)
        return Known(
            unique=entry.unique,
            mount_id=entry.mount_id,
            parent=entry.parent_unique,
            namespace=namespace_key(entry.mntns, entry.mntns_id),
            ns=entry.mntns,
            place=place,
            root=root,
            place_key=entry.mountpoint,
            root_key=entry.root,
            place_hash=entry.mountpoint_hash,
            root_hash=entry.root_hash,
            device=device,
            fstype=origin.fstype if origin else fstype,
            source=origin.source if origin else source,
            group=entry.group,
            master=entry.master,
            flags=entry.flags,
            super_flags=entry.super_flags,
            parent_id=entry.parent_id,
        )

    def from_table(self, lines: dict[int, Mount]) -> None:
        """Learn the file systems in a mount table, by mount id."""
        for line in lines.values():
            self._filesystems[line.device] = (line.fstype, line.source)

    def from_line(self, mount: Known, line: Mount | None, lines: dict[int, Mount]) -> None:
        """Name a mount as its mount table does."""
        if line is None:
            return
        place = place_in(line, lines) or mount.place or line.mountpoint
        mount.fstype, mount.source = line.fstype, line.source
        self._tables.rename(mount, line.root, place)

    def from_call(self, mount: Known, call: Call) -> None:
        """Name a new mount by the arguments of the call that made it."""
        row = call.row
        is_new = call.does == SyscallKind.MOVE_MOUNT or mount_action(call.mount_flags) == "new"
        if is_new and row["fstype"].partition(".")[0] == mount.fstype.partition(".")[0]:
            mount.fstype = row["fstype"]
            mount.source = row["source"] or mount.source
            self._filesystems[mount.device] = (mount.fstype, mount.source)
        if mount.place is None:
            mount.place = self._place_at(mount.parent, mount.place_key, row["path"])

    def from_names(self, mount: Known, names: dict[int, str]) -> None:
        """Name a mount whose names were not known when it was listed first."""
        if mount.place is None or mount.root is None:
            root = mount.root or names.get(mount.root_key)
            self._tables.rename(mount, root, mount.place or names.get(mount.place_key))

    def new_place(self, entry: Any, cause: Row, names: dict[int, str]) -> str | None:
        """Where a mount was moved to within the file system of its parent; None: not known."""
        name = self._place(entry, names)
        if name is not None:
            return name
        # pivot_root moves what was the root to its second argument.
        column = "source_path" if cause.get("syscall") == "pivot_root" else "path"
        return self._place_at(entry.parent_unique, entry.mountpoint, cause.get(column) or "")

    def path(self, entry: Any, names: dict[int, str]) -> str | None:
        """Where a mount is that is not in the tables yet; None: not known."""
        parent = self._tables.get(entry.parent_unique)
        place = self._place(entry, names)
        if parent is None or parent.root is None:
            return None
        if entry.mountpoint == parent.root_key:
            return self._tables.path(parent)
        if place is None or not place.startswith(folder(parent.root)):
            return None
        below = place[len(folder(parent.root)) :]
        return self._tables.path(parent).rstrip("/") + below

    def _filesystem(self, device: str, entry: Any) -> tuple[str, str]:
        """Type and source of a mount: the kernel's list has no subtype and cuts a long source; a
        device that is known may be another file system's by now."""
        fstype, source = _text(entry.fstype), _text(entry.devname)
        known_type, known_source = self._filesystems.get(device, ("", ""))
        if known_type.partition(".")[0] == fstype:
            fstype = known_type
            if len(source) == _DEVNAME_KEPT and known_source.startswith(source):
                source = known_source
        return fstype, source

    def _place(self, entry: Any, names: dict[int, str]) -> str | None:
        known = self._tables.name(entry.mountpoint, entry.mountpoint_hash)
        return names.get(entry.mountpoint) or known

    def _place_at(self, parent_unique: int, place_key: int, path: str) -> str | None:
        """The place below a parent that a path in its namespace leads to."""
        parent = self._tables.get(parent_unique)
        if parent is None or parent.root is None:
            return None
        if place_key == parent.root_key:
            return parent.root
        above = self._tables.path(parent).rstrip("/")
        if not path.startswith(f"{above}/"):
            return None
        return folder(parent.root) + path[len(above) :]


def place_in(line: Mount | None, lines: dict[int, Mount]) -> str | None:
    """The place of a mount within the file system of its parent, as a mount table tells; None if
    that has not both.

    Args:
        line: of the mount.
        lines: mount id → line.
    """
    parent = lines.get(line.parent_id) if line else None
    if line is None or parent is None:
        return None
    below = line.mountpoint.removeprefix(parent.mountpoint.rstrip("/"))
    return (folder(parent.root) + below) or "/"


def _ask(entry: Any) -> tuple[str | None, str]:
    """The root and the mount point of a mount, None and "" if it is no longer there."""
    try:
        return statmount.names(entry.unique, entry.mntns_id)
    except OSError:
        return None, ""


@lru_cache(_TEXTS_KEPT)
def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "surrogateescape")
