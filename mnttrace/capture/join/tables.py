"""The mount tables of all namespaces, kept up to date with what the kernel tells.

Mounts are known by their unique ids. Where each is mounted is kept as its place within the file
system of its parent, so that a mount that moves takes all below it along, and so that a copy of a
mount, whose parent shows another part of the same file system, is at the same place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mnttrace.linux import mountinfo
from mnttrace.linux.options import MNT_LOCKED, MNT_UNBINDABLE, mount_options

_GONE_KEPT = 65536  # detached mounts that are remembered, for events that come late


@dataclass(slots=True)
class Known:
    """One mount.

    Attributes:
        unique: its id that is never used again.
        parent: unique id of its parent; its own where it is the root of a namespace.
        namespace: the key of its namespace, see :func:`namespace_key`.
        ns: the namespace's inode number.
        place: path of the mount point within the file system of the parent; None: not known.
        root: what of its own file system is mounted; None: not known.
        place_key, root_key: addresses of these dentries, 0 if not known.
        place_hash, root_hash: of their names, as the addresses are used again.
        group: peer group, 0 for none; `master`: that of its master.
        flags: MNT_* bits of the kernel.
        super_flags: SB_* bits of its file system.
        parent_id: the parent's mount id as it was when the mount was listed, 0 if not known.
        path, path_as_of: kept by :meth:`MountTables.path`.
        is_hidden: it lies below the root directory of all processes, so that no mount table shows
            it, as rootfs, which is not the root of its namespace on 7.x.
    """

    unique: int
    mount_id: int
    parent: int
    namespace: int
    ns: int
    place: str | None
    root: str | None
    place_key: int
    root_key: int
    place_hash: int
    root_hash: int
    device: str
    fstype: str
    source: str
    group: int
    master: int
    flags: int
    super_flags: int
    parent_id: int = 0
    path: str = field(default="", compare=False, repr=False)
    path_as_of: int = field(default=-1, compare=False, repr=False)
    is_hidden: bool = False

    @property
    def propagation(self) -> str:
        """The propagation type in the words of mount_namespaces(7)."""
        return mountinfo.propagation_type(self.group or None, self.master or None, self.unbindable)

    @property
    def unbindable(self) -> bool:
        """Whether it is unbindable: a slave can be, too (MOVE_MOUNT_SET_GROUP)."""
        return bool(self.flags & MNT_UNBINDABLE)

    @property
    def locked(self) -> bool:
        """Whether it may not be taken from its parent, see mount_namespaces(7)."""
        return bool(self.flags & MNT_LOCKED)

    @property
    def tags(self) -> str:
        """Propagation with the numbers of the groups, as in mountinfo: "shared:1 master:2"."""
        tags = [f"{tag}:{n}" for tag, n in (("shared", self.group), ("master", self.master)) if n]
        if tags and self.unbindable:
            tags.append("unbindable")
        return " ".join(tags) or self.propagation

    @property
    def options(self) -> str:
        """Per-mount options, as in mountinfo."""
        return mount_options(self.flags)

    def has_moved(self, entry: Any) -> bool:
        """Whether it is not where a mount_entry of a list has it."""
        is_at_place = self.place_key in (0, entry.mountpoint)
        return bool(self.parent != entry.parent_unique or not is_at_place)

    def is_on_file_of(self, other: Known) -> bool:
        """Whether it is mounted on the same file or directory as another one."""
        here = self.place_key, self.place_hash
        return bool(self.place_key) and here == (other.place_key, other.place_hash)


def namespace_key(ns: int, ns_id: int) -> int:
    """What a namespace is known by: its unique id, or the inode number where there is none."""
    return ns_id or ns


def device_text(device: int) -> str:
    """A device like "8:1" from the kernel's dev_t."""
    return f"{device >> 20}:{device & 0xFFFFF}"


class MountTables:
    """All mounts that are attached, as far as is known; those that are gone for a while longer.

    Attributes:
        newest: the highest unique id that any of them had.
    """

    def __init__(self) -> None:
        self.newest = 0
        self._mounts: dict[int, Known] = {}
        self._by_namespace: dict[int, set[int]] = {}
        self._children: dict[int, dict[int, int]] = {}
        self._members: dict[int, set[int]] = {}
        self._slaves: dict[int, set[int]] = {}
        self._names: dict[tuple[int, int], list[Any]] = {}
        self._gone: OrderedDict[int, Known] = OrderedDict()
        self._emptied: set[int] = set()
        # How often something happened that can give mounts other paths.
        self._moves = 0

    def __contains__(self, unique: int) -> bool:
        """Whether a mount is attached."""
        return unique in self._mounts

    def get(self, unique: int) -> Known | None:
        """A mount that is attached."""
        return self._mounts.get(unique)

    def recall(self, unique: int) -> Known | None:
        """A mount that is or was attached."""
        return self._mounts.get(unique) or self._gone.get(unique)

    def is_gone(self, unique: int) -> bool:
        """Whether it was detached, as far as that is remembered."""
        return unique in self._gone and unique not in self._mounts

    def namespaces(self) -> Iterator[int]:
        """The keys of the namespaces that have mounts."""
        return iter(list(self._by_namespace))

    def take_emptied(self) -> set[int]:
        """The keys of the namespaces whose last mount went since this was asked for: they ended."""
        emptied, self._emptied = self._emptied, set()
        return emptied - self._by_namespace.keys()

    def of_namespace(self, namespace: int) -> set[int]:
        """The unique ids of a namespace's mounts."""
        return set(self._by_namespace.get(namespace, ()))

    def of_device(self, device: str) -> list[Known]:
        """All mounts of a file system."""
        return [mount for mount in self._mounts.values() if mount.device == device]

    def child_at(self, parent: int, place_key: int) -> Known | None:
        """What is mounted on a dentry of a mount."""
        unique = self._children.get(parent, {}).get(place_key)
        return None if unique is None else self._mounts.get(unique)

    def tree(self, unique: int) -> list[int]:
        """A mount and all that is mounted below it."""
        found = [unique]
        for mount in found:  # grows meanwhile
            found += self._children.get(mount, {}).values()
        return found

    def members(self, group: int) -> set[int]:
        """The mounts in a peer group."""
        return self._members.get(group, set())

    def slaves(self, group: int) -> set[int]:
        """The mounts whose master is in a peer group."""
        return self._slaves.get(group, set())

    def receivers(self, mount: Known) -> set[int]:
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

    def at(self, namespace: int, path: str) -> Known | None:
        """The topmost mount at a path, from the root of its namespace on."""
        found = None
        for unique in self._by_namespace.get(namespace, ()):
            mount = self._mounts[unique]
            covered = self._children.get(unique, {}).get(mount.root_key)
            if covered is None and self.path(mount) == path:
                found = mount
        return found

    def below(self, namespace: int, path: str, device: str) -> Known | None:
        """The mount of a file system that a path leads into, from the root of its namespace on."""
        found, longest = None, -1
        for unique in self._by_namespace.get(namespace, ()):
            mount = self._mounts[unique]
            if mount.device == device:
                at = self.path(mount)
                is_in = path == at or path.startswith(at.rstrip("/") + "/")
                if is_in and len(at) > longest:
                    found, longest = mount, len(at)
        return found

    def name(self, key: int, name_hash: int) -> str | None:
        """The path of a dentry that something is mounted on, or that is a root, now.

        Args:
            key: its address.
            name_hash: what tells it from one that was there before.
        """
        named = self._names.get((key, name_hash))
        return named[0] if named else None

    def attach(self, mount: Known) -> None:
        """Add a mount that was not there."""
        if self._gone.pop(mount.unique, None):
            self._moves += 1
        self.newest = max(self.newest, mount.unique)
        self._mounts[mount.unique] = mount
        self._by_namespace.setdefault(mount.namespace, set()).add(mount.unique)
        self._link(mount)
        self._group(mount)

    def move(
        self, mount: Known, parent: int, place_key: int, place_hash: int, place: str | None
    ) -> None:
        """Give a mount another parent or place."""
        self._moves += 1
        self._unlink(mount.unique)
        mount.parent, mount.parent_id, mount.place = parent, 0, place
        mount.place_key, mount.place_hash = place_key, place_hash
        self._link(mount)

    def set(self, mount: Known, group: int, master: int, flags: int) -> None:
        """Change how a mount is set."""
        self._ungroup(mount)
        mount.group, mount.master, mount.flags = group, master, flags
        self._group(mount)

    def learn_keys(self, mount: Known, entry: Any) -> None:
        """Learn the dentries of a mount that was known by its mount table alone, or whose mount
        point was renamed, from a mount_entry."""
        keys = (entry.mountpoint, entry.root, entry.mountpoint_hash, entry.root_hash)
        if (mount.place_key, mount.root_key, mount.place_hash, mount.root_hash) != keys:
            self._moves += 1
            self._unlink(mount.unique)
            mount.place_key, mount.root_key, mount.place_hash, mount.root_hash = keys
            self._link(mount)

    def rename(self, mount: Known, root: str | None, place: str | None) -> None:
        """Give a mount, attached or not, other names: those that mountinfo shows."""
        if (mount.root, mount.place) == (root, place):
            return
        self._moves += 1
        is_attached = mount.unique in self._mounts
        if is_attached:
            self._unlink(mount.unique)
        mount.root, mount.place = root, place
        if is_attached:
            self._link(mount)

    def detach(self, unique: int) -> Known | None:
        """Take a mount away; what it was, or None if it was not attached."""
        self._unlink(unique)
        mount = self._mounts.pop(unique, None)
        if mount is None:
            return None
        self._ungroup(mount)
        members = self._by_namespace[mount.namespace]
        members.discard(unique)
        if not members:
            del self._by_namespace[mount.namespace]
            self._emptied.add(mount.namespace)
        self._gone[unique] = mount
        if len(self._gone) > _GONE_KEPT:
            self._gone.popitem(last=False)
        return mount

    def root_of(self, namespace: int) -> Known | None:
        """The root of a namespace's tree of mounts, None if it is not known."""
        for unique in self.of_namespace(namespace):
            mount = self._mounts.get(unique)
            if mount and mount.parent == unique:
                return mount
        return None

    def path(self, mount: Known) -> str:
        """The mount point from the root of its namespace on; "…" stands for what is not known."""
        if mount.path_as_of == self._moves:
            return mount.path
        asked, is_whole = mount, self.recall(mount.unique) is mount
        parts: list[str] = []
        seen = {mount.unique}
        while mount.parent != mount.unique:
            if mount.path_as_of == self._moves:
                parts.append("" if mount.path == "/" else mount.path)
                break
            parent = self.recall(mount.parent)
            if parent is None or parent.unique in seen:
                parts.append("/…" if mount.place is None else mount.place.rstrip("/"))
                is_whole = False
                break
            parts.append(_below(mount, parent))
            seen.add(parent.unique)
            mount = parent
        path = "".join(reversed(parts)) or "/"
        if is_whole:
            asked.path, asked.path_as_of = path, self._moves
        return path

    def _link(self, mount: Known) -> None:
        if mount.place_key and mount.parent != mount.unique:
            self._children.setdefault(mount.parent, {})[mount.place_key] = mount.unique
        for key, name in _names_of(mount):
            if key[0] and name is not None:
                self._names.setdefault(key, [name, 0])[1] += 1

    def _unlink(self, unique: int) -> None:
        mount = self._mounts.get(unique)
        if mount is None:
            return
        here = self._children.get(mount.parent, {})
        if here.get(mount.place_key) == unique:
            del here[mount.place_key]
            if not here:
                del self._children[mount.parent]
        for key, name in _names_of(mount):
            named = self._names.get(key)
            if named and name is not None:
                named[1] -= 1
                if named[1] <= 0:
                    del self._names[key]

    def _group(self, mount: Known) -> None:
        for index, group in ((self._members, mount.group), (self._slaves, mount.master)):
            if group:
                index.setdefault(group, set()).add(mount.unique)

    def _ungroup(self, mount: Known) -> None:
        for index, group in ((self._members, mount.group), (self._slaves, mount.master)):
            if group:
                index[group].discard(mount.unique)
                if not index[group]:
                    del index[group]


def _names_of(mount: Known) -> tuple[tuple[tuple[int, int], str | None], ...]:
    return (
        ((mount.place_key, mount.place_hash), mount.place),
        ((mount.root_key, mount.root_hash), mount.root),
    )


def folder(root: str) -> str:
    """The root of a mount as something that paths begin with: without the mark of a removed one."""
    return root.removesuffix("//deleted").rstrip("/")


def _below(mount: Known, parent: Known) -> str:
    """The mount point below that of the parent: "" where it covers the parent's root."""
    if mount.place is None or parent.root is None:
        return "/…"
    if mount.place_key and mount.place_key == parent.root_key:
        return ""
    root = folder(parent.root)
    if mount.place == (root or "/"):
        return ""
    if mount.place.startswith(f"{root}/"):
        return mount.place[len(root) :]
    return f"/…{mount.place}"
