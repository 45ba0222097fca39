# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""One mount, as far as is known, and what its file system and dentries are known by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from mnttrace.capture.join.limits import TEXTS_KEPT
from mnttrace.linux.mountinfo import propagation_type
from mnttrace.linux.options import (
    MNT_LOCKED,
    MNT_SHOWN,
    MNT_SHRINKABLE,
    MNT_UNBINDABLE,
    SB_SHOWN,
    mount_options,
)
from mnttrace.probes.records import MountEntry


class Dentry(NamedTuple):
    """A directory or file of a file system.

    Attributes:
        key: its address in the kernel, 0 if not known; hash: of its name, as addresses are used
            again.
        path: within its file system; None: not known.
    """

    key: int
    hash: int
    path: str | None

    def is_same(self, other: Dentry) -> bool:
        """Whether both are known, and are one."""
        return bool(self.key) and (self.key, self.hash) == (other.key, other.hash)


class NamespaceRef(NamedTuple):
    """A mount namespace: what it is known by, and its inode number."""

    key: int
    inum: int


class Filesystem(NamedTuple):
    """Of a mount's file system: device ("8:1"), type, source, and SB_* bits of its super block."""

    device: str
    fstype: str
    source: str
    flags: int


@dataclass(slots=True)
class MountState:
    """One mount.

    Attributes:
        unique: its id that is never used again; mount_id: the one that is.
        namespace: where it is attached.
        parent: unique id of its parent; its own where it is the root of a namespace.
        parent_id: the parent's mount id as it was when the mount was listed, 0 if not known.
        mountpoint: in the file system of the parent.
        root: what of its own file system is mounted.
        filesystem: of that.
        group: peer group, 0 for none; master: that of its master.
        flags: MNT_* bits of the kernel.
        is_hidden: it lies below the root directory of all processes, so that no mount table shows
            it, as rootfs, which is not the root of its namespace on 7.x.
    """

    unique: int
    mount_id: int
    namespace: NamespaceRef
    parent: int
    parent_id: int
    mountpoint: Dentry
    root: Dentry
    filesystem: Filesystem
    group: int
    master: int
    flags: int
    is_hidden: bool = False

    @property
    def key(self) -> int:
        """What its namespace is known by."""
        return self.namespace.key

    @property
    def is_root(self) -> bool:
        """Whether it is the root of its namespace's tree."""
        return self.parent == self.unique

    @property
    def propagation(self) -> str:
        """The propagation type in the words of mount_namespaces(7)."""
        return propagation_type(self.group or None, self.master or None, self.unbindable)

    @property
    def unbindable(self) -> bool:
        """Whether it is unbindable: a slave can be, too (MOVE_MOUNT_SET_GROUP)."""
        return bool(self.flags & MNT_UNBINDABLE)

    @property
    def locked(self) -> bool:
        """Whether it may not be taken from its parent, see mount_namespaces(7)."""
        return bool(self.flags & MNT_LOCKED)

    @property
    def is_automount(self) -> bool:
        """Whether the kernel mounted it by itself, or what it is a copy of."""
        return bool(self.flags & MNT_SHRINKABLE)

    @property
    def settings(self) -> str:
        """Propagation with the numbers of the groups, and options: "shared:1 rw,relatime"."""
        tags = [f"{tag}:{n}" for tag, n in (("shared", self.group), ("master", self.master)) if n]
        if tags and self.unbindable:
            tags.append("unbindable")
        return f"{' '.join(tags) or self.propagation} {mount_options(self.flags)}"

    def has_moved(self, entry: MountEntry) -> bool:
        """Whether it is not where an entry of a list has it."""
        is_at_place = self.mountpoint.key in (0, entry.mountpoint)
        return self.parent != entry.parent_unique or not is_at_place

    def is_set_otherwise(self, entry: MountEntry) -> bool:
        """Whether its groups or options are not those of an entry."""
        return (
            entry.group != self.group
            or entry.master != self.master
            or self.has_other_options(entry)
        )

    def has_other_options(self, entry: MountEntry) -> bool:
        """Whether its options are not those of an entry, leaving its groups aside."""
        return bool((entry.flags ^ self.flags) & MNT_SHOWN)

    def is_super_set_otherwise(self, entry: MountEntry) -> bool:
        """Whether its super block is not set as an entry has it."""
        return bool((self.filesystem.flags ^ entry.super_flags) & SB_SHOWN)


@lru_cache(TEXTS_KEPT)
def device_text(device: int) -> str:
    """A device like "8:1" from the kernel's dev_t."""
    return f"{device >> 20}:{device & 0xFFFFF}"


def folder(root: str) -> str:
    """The root of a mount as something that paths begin with: without the mark of a removed one."""
    return root.removesuffix("//deleted").rstrip("/")
