# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The objects of the model of shared subtrees: mounts, spots, effects, refusals."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, NamedTuple

MountId = Hashable
Namespace = Hashable

Action = Literal["attach", "detach", "move", "change"]
Via = Literal["direct", "peer", "slave", "namespace-copy", "namespace-death", "mountpoint-removed"]
PropagationType = Literal["shared", "slave", "private", "unbindable"]

# What stands in the way of a call that is refused.
Obstacle = Literal[
    "mounts-on-it",  # a umount is stopped by what is mounted there
    "in-use",  # processes use it
    "copy-in-use",  # processes use a copy that a umount would take along
    "locked",  # it came from a more privileged namespace, and cannot be taken from where it is
    "hidden",  # the same of a mount on it: what is under that would be shown
    "shared",  # a mount is in a peer group, and must not be
    "unbindable",
    "no-mount",  # a path leads to a directory or file that nothing is mounted on
    "root-directory",  # the caller's root directory is one: it is in a chroot
    "within-itself",  # a tree would be put into itself
    "removed",  # the directory or file that a mount shows
    "locked-flags",  # flags that a less privileged namespace may not clear
    "foreign",  # the file system belongs to a more privileged user namespace
    "not-visible",  # no proc or sysfs of the namespace shows all of it
    "overlay-in-use",  # another overlay uses a directory
    "overlay-layers",  # the directories cannot be those of an overlay
    "too-many",  # mounts, or namespaces
    "other",
]

DELETED = "//deleted"  # what the kernel writes behind the root of a mount that was removed since


@dataclass(frozen=True, slots=True)
class Detached:
    """Stands for the namespace of one detached tree, as of open_tree(2) and fsmount(2)."""

    number: int


class Mount(NamedTuple):
    """One mount.

    Attributes:
        id: its unique id where that is known; the model gives copies that it predicts negative ids.
        ns: its mount namespace; a :class:`Detached` one is of no process; None only while it is
            being made.
        parent: the mount it is attached to; an id that is not in the tables for a parent that
            cannot be seen, as that of "/"; None for the root of all.
        place: its mountpoint as a path within the *filesystem* of the parent.
        device: the number of its file system, like "8:1".
        root: the part of its file system that is mounted, as a path within that.
        group: the peer group that it is in, or None.
        master: the peer group that it is a slave of, or None.
        unbindable: whether it is unbindable.
        locked: whether it is locked to its parent (MNT_LOCKED: it came from a namespace of another
            user namespace). No table of the kernel shows this.
    """

    id: MountId
    ns: Namespace
    parent: MountId
    place: str
    device: str
    root: str
    group: int | None = None
    master: int | None = None
    unbindable: bool = False
    locked: bool = False

    @property
    def propagation(self) -> str:
        """The propagation type in the words of mount_namespaces(7), or "shared-and-slave"."""
        if self.group is not None:
            return "shared" if self.master is None else "shared-and-slave"
        if self.master is not None:
            return "slave"
        return "unbindable" if self.unbindable else "private"


class Spot(NamedTuple):
    """What a path resolves to (struct path): a mount, and a path within its file system."""

    mount: MountId
    place: str


class Effect(NamedTuple):
    """The effect of an operation on one mount.

    Attributes:
        action: "attach", "detach"; "move", for a mount with another parent or mountpoint, also one
            that a copy was slipped beneath; "change", for one with other groups.
        mount: as it is after the operation; for a detached one, as it was before.
        before: for "move" and "change".
        via: how it reached this mount.
        copy_of: for an attached mount the one that was copied; for one that is detached by
            propagation the one that was unmounted; else None.
    """

    action: Action
    mount: Mount
    before: Mount | None
    via: Via
    copy_of: MountId


class Refused(Exception):
    """An operation that the kernel refuses.

    Args:
        errno: the name of the error, like "EINVAL".
        reason: why, in words.
        mounts: the mounts in the way.
        kind: what stands in the way.
    """

    def __init__(self, errno: str, reason: str, *mounts: MountId, kind: Obstacle = "other") -> None:
        super().__init__(f"{errno}: {reason}")
        self.errno = errno
        self.reason = reason
        self.mounts = mounts
        self.kind = kind


def lies_under(place: str, root: str) -> bool:
    """Whether a path is another one, or under it: is_subdir() of the kernel."""
    return root in (place, "/") or place.startswith(root + "/")


def place_of(path: str, parent_path: str, parent_root: str) -> str:
    """The place of a mount, from what the tables of the kernel show.

    Args:
        path: its mountpoint.
        parent_path: the mountpoint of its parent.
        parent_root: the root of its parent.
    """
    below = path if parent_path == "/" else path[len(parent_path) :]
    return joined(parent_root, below)


def joined(root: str, below: str) -> str:
    """A path, and one that begins with "/" from there on."""
    return below or "/" if root == "/" else root + ("" if below == "/" else below)


def is_mounted(mount: Mount) -> bool:
    """Whether it is in a namespace that a process can be in."""
    return mount.ns is not None and not isinstance(mount.ns, Detached)


def action_of(before: Mount | None, after: Mount | None) -> Action | None:
    """What happened to a mount, from its states before and after; None stands for not mounted."""
    if before is None:
        return None if after is None else "attach"
    if after is None:
        return "detach"
    if (before.parent, before.place, before.ns) != (after.parent, after.place, after.ns):
        return "move"
    same = (before.root, before.group, before.master, before.unbindable) == (
        after.root,
        after.group,
        after.master,
        after.unbindable,
    )
    return None if same else "change"
