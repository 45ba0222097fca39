# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables of all namespaces, kept up to date with what the kernel reports.

Mounts are known by their unique ids. Where each is mounted is kept as its mount point within the
file system of its parent, so that a mount that moves takes all below it along, and so that a copy
of a mount, whose parent shows another part of the same file system, has the same mount point.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from mnttrace.capture.join.limits import DETACHED_KEPT
from mnttrace.capture.join.mount_state import Dentry, MountState, folder
from mnttrace.capture.join.moves import Moves
from mnttrace.probes.records import MountEntry


class MountTables:
    """All mounts that are attached, as far as is known; those that are gone for a while longer.

    Attributes:
        newest: the highest unique id that any of them had.
        moves: which of them moved, and in what order.
    """

    def __init__(self) -> None:
        self.newest = 0
        self.moves = Moves()
        self._mounts: dict[int, MountState] = {}
        self._by_namespace: dict[int, set[int]] = {}
        # Namespaces whose root is or was here: of others only some mounts are known.
        self._rooted: set[int] = set()
        self._children: dict[int, dict[int, int]] = {}
        self._members: dict[int, set[int]] = {}
        self._slaves: dict[int, set[int]] = {}
        # (key, hash) of a dentry → its path, and how many attached mounts have it.
        self._names: dict[tuple[int, int], tuple[str, int]] = {}
        self._detached: OrderedDict[int, MountState] = OrderedDict()
        self._emptied: set[int] = set()
        # Paths that were asked for, until something happens that can give mounts other ones.
        self._paths: dict[int, str] = {}

    def __contains__(self, unique: int) -> bool:
        """Whether a mount is attached."""
        return unique in self._mounts

    def get(self, unique: int) -> MountState | None:
        """A mount that is attached."""
        return self._mounts.get(unique)

    def attached(self, uniques: Iterable[int]) -> list[MountState]:
        """Those of some mounts that are attached, in their order."""
        return [mount for unique in uniques if (mount := self._mounts.get(unique))]

    def recall(self, unique: int) -> MountState | None:
        """A mount that is or was attached."""
        return self._mounts.get(unique) or self._detached.get(unique)

    def was_detached(self, unique: int) -> bool:
        """Whether a mount was detached, as far as that is remembered."""
        return unique in self._detached and unique not in self._mounts

    def namespaces(self) -> list[int]:
        """The keys of the namespaces that have mounts."""
        return list(self._by_namespace)

    def take_emptied(self) -> set[int]:
        """The keys of the namespaces whose last mount went since this was asked for: they ended."""
        emptied, self._emptied = self._emptied, set()
        return emptied - self._by_namespace.keys()

    def of_namespace(self, key: int) -> set[int]:
        """The unique ids of a namespace's mounts."""
        return set(self._by_namespace.get(key, ()))

    def of_device(self, device: str) -> list[MountState]:
        """All mounts of a file system."""
        return [mount for mount in self._mounts.values() if mount.filesystem.device == device]

    def root_of(self, key: int) -> MountState | None:
        """The root of a namespace's tree of mounts, None if it is not known."""
        roots = (self._mounts[unique] for unique in self._by_namespace.get(key, ()))
        return next((mount for mount in roots if mount.is_root), None)

    # ---- trees and groups

    def child_at(self, parent: int, dentry: int) -> MountState | None:
        """What is mounted on a dentry, by its key, of a mount."""
        unique = self._children.get(parent, {}).get(dentry)
        return None if unique is None else self._mounts.get(unique)

    def children(self, parent: int) -> list[MountState]:
        """All that is mounted on a mount."""
        return [self._mounts[unique] for unique in self._children.get(parent, {}).values()]

    def tree(self, unique: int) -> list[int]:
        """A mount and all that is mounted below it."""
        found, seen = [unique], {unique}
        for mount in found:  # grows meanwhile
            below = [one for one in self._children.get(mount, {}).values() if one not in seen]
            found += below
            seen.update(below)
        return found

    def members(self, group: int) -> set[int]:
        """The mounts in a peer group."""
        return self._members.get(group, set())

    def slaves(self, group: int) -> set[int]:
        """The mounts whose master is in a peer group."""
        return self._slaves.get(group, set())

    def receivers(self, mount: MountState) -> set[int]:
        """The mounts that get what happens under one: its peers, slaves, their peers, and so on."""
        found: set[int] = set()
        groups, seen = [mount.group] if mount.group else [], set()
        for group in groups:  # grows meanwhile
            if group not in seen:
                seen.add(group)
                members = self.members(group) | self.slaves(group)
                found |= members
                groups += [self._mounts[unique].group for unique in members]
        return found - {mount.unique}

    # ---- paths

    def at(self, key: int, path: str) -> MountState | None:
        """The topmost mount at a path, from the root of its namespace on."""
        found = None
        for unique in self._by_namespace.get(key, ()):
            mount = self._mounts[unique]
            covered = self._children.get(unique, {}).get(mount.root.key)
            if covered is None and self.path(mount) == path:
                found = mount
        return found

    def path_of_dentry(self, key: int, name_hash: int) -> str | None:
        """The path of a dentry that something is mounted on, or that is a root, now."""
        named = self._names.get((key, name_hash))
        return named[0] if named else None

    def path(self, mount: MountState) -> str:
        """The mount point from the root of its namespace on; "…" stands for what is not known."""
        kept = self._paths.get(mount.unique)
        return self._find_path(mount) if kept is None else kept

    def _find_path(self, mount: MountState) -> str:
        asked, is_whole = mount, self.recall(mount.unique) is mount
        parts: list[str] = []
        seen = {mount.unique}
        while not mount.is_root:
            kept = self._paths.get(mount.unique) if mount is not asked else None
            if kept is not None:
                parts.append("" if kept == "/" else kept)
                break
            parent = self.recall(mount.parent)
            if parent is None or parent.unique in seen:
                path = mount.mountpoint.path
                parts.append("/…" if path is None else path.rstrip("/"))
                is_whole = False
                break
            parts.append(_below(mount, parent))
            seen.add(parent.unique)
            mount = parent
        path = "".join(reversed(parts)) or "/"
        if is_whole:
            self._paths[asked.unique] = path
        return path

    # ---- changes

    def attach(self, mount: MountState) -> None:
        """Add a mount that was not there."""
        if self._detached.pop(mount.unique, None):
            self._paths.clear()
        self.newest = max(self.newest, mount.unique)
        self._mounts[mount.unique] = mount
        self._by_namespace.setdefault(mount.key, set()).add(mount.unique)
        if mount.is_root:
            self._rooted.add(mount.key)
        self._link(mount)
        self._group(mount)

    def move(self, mount: MountState, parent: int, mountpoint: Dentry) -> None:
        """Give a mount another parent or mount point."""
        self._unlink(mount)
        mount.parent, mount.parent_id, mount.mountpoint = parent, 0, mountpoint
        self.moves.add(mount.unique)
        self._link(mount)

    def set(self, mount: MountState, group: int, master: int, flags: int) -> None:
        """Change how a mount is set."""
        self._ungroup(mount)
        mount.group, mount.master, mount.flags = group, master, flags
        self._group(mount)

    def learn_dentries(self, mount: MountState, entry: MountEntry) -> None:
        """Learn the dentries of a mount that was known by its mount table alone, or whose mount
        point was renamed."""
        mountpoint, root = mount.mountpoint, mount.root
        ours = (mountpoint.key, mountpoint.hash, root.key, root.hash)
        theirs = (entry.mountpoint, entry.mountpoint_hash, entry.root, entry.root_hash)
        if ours != theirs:
            self._unlink(mount)
            mount.mountpoint = Dentry(entry.mountpoint, entry.mountpoint_hash, mountpoint.path)
            mount.root = Dentry(entry.root, entry.root_hash, root.path)
            self._link(mount)

    def rename(self, mount: MountState, root: str | None, mountpoint: str | None) -> None:
        """Give a mount, attached or not, other names: those that mountinfo shows."""
        if (mount.root.path, mount.mountpoint.path) == (root, mountpoint):
            return
        is_attached = mount.unique in self._mounts
        if is_attached:
            self._unlink(mount)
        mount.root = mount.root._replace(path=root)
        mount.mountpoint = mount.mountpoint._replace(path=mountpoint)
        if is_attached:
            self._link(mount)
        self._paths.clear()

    def detach(self, unique: int) -> MountState | None:
        """Take a mount away; what it was, or None if it was not attached."""
        mount = self._mounts.get(unique)
        if mount is None:
            return None
        self._unlink(mount, forget_paths=False)
        del self._mounts[unique]
        self.moves.forget(unique)
        self._ungroup(mount)
        members = self._by_namespace[mount.key]
        members.discard(unique)
        if not members:
            del self._by_namespace[mount.key]
            if mount.key in self._rooted:
                self._rooted.discard(mount.key)
                self._emptied.add(mount.key)
        self._detached[unique] = mount
        if len(self._detached) > DETACHED_KEPT:
            oldest, _ = self._detached.popitem(last=False)
            self._paths.pop(oldest, None)
        return mount

    def _link(self, mount: MountState) -> None:
        if mount.mountpoint.key and not mount.is_root:
            self._children.setdefault(mount.parent, {})[mount.mountpoint.key] = mount.unique
        for dentry in (mount.mountpoint, mount.root):
            if dentry.key and dentry.path is not None:
                _, count = self._names.get(dentry[:2], ("", 0))  # what was told last holds
                self._names[dentry[:2]] = dentry.path, count + 1

    def _unlink(self, mount: MountState, forget_paths: bool = True) -> None:
        if forget_paths:
            self._paths.clear()
        here = self._children.get(mount.parent, {})
        if here.get(mount.mountpoint.key) == mount.unique:
            del here[mount.mountpoint.key]
            if not here:
                del self._children[mount.parent]
        for dentry in (mount.mountpoint, mount.root):
            named = self._names.get(dentry[:2])
            if named and dentry.path is not None:
                if named[1] > 1:
                    self._names[dentry[:2]] = named[0], named[1] - 1
                else:
                    del self._names[dentry[:2]]

    def _group(self, mount: MountState) -> None:
        for index, group in ((self._members, mount.group), (self._slaves, mount.master)):
            if group:
                index.setdefault(group, set()).add(mount.unique)

    def _ungroup(self, mount: MountState) -> None:
        for index, group in ((self._members, mount.group), (self._slaves, mount.master)):
            if group and group in index:
                index[group].discard(mount.unique)
                if not index[group]:
                    del index[group]


def _below(mount: MountState, parent: MountState) -> str:
    """The mount point below that of the parent: "" where it covers the parent's root."""
    path = mount.mountpoint.path
    if path is None or parent.root.path is None:
        return "/…"
    if mount.mountpoint.key and mount.mountpoint.key == parent.root.key:
        return ""
    root = folder(parent.root.path)
    if path == (root or "/"):
        return ""
    if path.startswith(f"{root}/"):
        return path[len(root) :]
    return f"/…{path}"
