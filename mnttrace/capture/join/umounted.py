# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which of the mounts that a thread detached a umount took, and how each came to go."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable

from mnttrace.capture.join.effect_rows import Via
from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.limits import UNRELATED_PASSED
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.pending import PendingMountEvents


class Reached:
    """Mounts that a umount took, and where it propagates to from those (propagate_umount() in
    fs/pnode.c)."""

    def __init__(self, tables: MountTables, taken: Iterable[MountState]) -> None:
        self._tables = tables
        self._taken: set[int] = set()
        # Dentry → the mounts on which something at that dentry goes, too.
        self._parents: dict[int, set[int]] = {}
        for mount in taken:
            self.add(mount)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._taken)

    def __contains__(self, mount: MountState) -> bool:
        """Whether a mount was taken, or a umount of one that was propagates to it."""
        parents = self._parents.get(mount.mountpoint.key, ())
        return mount.unique in self._taken or mount.parent in parents

    def has_parent_of(self, mount: MountState) -> bool:
        """Whether a mount was on one that was taken."""
        return mount.parent in self._taken

    def add(self, mount: MountState) -> None:
        """A mount that was taken."""
        self._taken.add(mount.unique)
        parent = self._tables.recall(mount.parent)
        parents = self._parents.setdefault(mount.mountpoint.key, set())
        # Where it propagates to from a receiver is among where it propagates to.
        if parent and parent.unique not in parents:
            parents |= self._tables.receivers(parent)


def likely_of(
    call: CallEnded,
    pending: PendingMountEvents,
    tables: MountTables,
    reported: Collection[int],
    gone: Iterable[MountState],
    expected: Container[int],
) -> list[int]:
    """What of a thread's detached mounts is likely of a umount: the first of its own namespace,
    unless it is known what that lost; and from there on, all that goes along with those.

    Args:
        call: the umount.
        pending: what its thread detached.
        tables: the mount tables before it.
        reported: what is known to be of this call.
        gone: that, and what its namespace lacks after it.
        expected: mounts that were to go with an earlier call.
    """
    found: list[int] = []
    reached = Reached(tables, gone)
    unrelated, tid = 0, call.row["tid"]
    before = set(reported)
    for unique in pending.more_of_call(call):
        mount = tables.get(unique)
        if mount is None:
            belongs = False
        elif reached and call.is_lazy:
            belongs = mount in reached or reached.has_parent_of(mount)
        elif reached:
            below = [
                child
                for child in tables.children(mount.unique)
                if child.unique not in before
                and child.unique not in expected
                and not pending.others_detached(child.unique, tid)
            ]
            belongs = mount in reached and not _stays(mount, below)
        else:
            belongs = mount.key == call.key
        before.add(unique)
        if mount is not None and belongs:
            found.append(unique)
            reached.add(mount)
        elif reached:
            unrelated += 1
            is_next = (reported or found) and mount is not None
            if is_next or unrelated > UNRELATED_PASSED:
                break  # here the next call begins
    return found


def _stays(mount: MountState, below: Iterable[MountState]) -> bool:
    """Whether a umount that takes one mount skips a copy of it: one that is locked, or has mounts
    below it other than one that covers its root (propagate_umount() in fs/pnode.c)."""
    return mount.locked or any(child.mountpoint.key != mount.root.key for child in below)


def begin_of(reported: list[MountState]) -> int:
    """Where a umount begins in what its thread detached up to the end of it: two mounts cannot
    have been at one place at the same time, so the first of them is of a call before."""
    places: set[tuple[int, int]] = set()
    for begin in range(len(reported), 0, -1):
        mount = reported[begin - 1]
        place = mount.parent, mount.mountpoint.key
        if mount.mountpoint.key and place in places:
            return begin
        places.add(place)
    return 0


def last_at_each_place(mounts: Iterable[MountState]) -> list[int]:
    """Of mounts that a list lacks, the oldest first, those that were not replaced by another of
    them: these went before, and with what is not known."""
    last: dict[tuple[int, int], int] = {}
    for mount in mounts:
        last[mount.parent, mount.mountpoint.key or -mount.unique] = mount.unique
    return list(last.values())


def taken_directly(
    call: CallEnded,
    mounts: list[MountState],
    tables: MountTables,
    expected: Container[int],
    reported: Collection[int],
) -> tuple[dict[int, MountState], bool]:
    """Which of the detached mounts a umount took itself, and whether that is the one at its path; a
    lazy one, all that was mounted on that.

    Args:
        call: the umount.
        mounts: what it detached, at least one.
        tables: the mount tables before it.
        expected: mounts that were to go with an earlier call.
        reported: what its thread is reported to have detached.
    """
    own = [mount for mount in mounts if mount.key == call.key]
    likely = [mount for mount in own if mount.unique not in expected]
    at_path = [mount for mount in likely if tables.path(mount) == call.row["path"]]
    if not at_path and not reported:
        # What its thread was about to free is its own; what is at a known place is at another one.
        # (What is reported comes in the kernel's order: first what the call itself took.)
        last = call.last_detached
        likely.sort(
            key=lambda one: (last not in tables.tree(one.unique), one.mountpoint.path is not None)
        )
    top = (at_path or likely or own or mounts)[0]
    direct = {top.unique: top}
    if call.is_lazy:
        # Before Linux 6.8 what is mounted on others goes first.
        below = set(tables.tree(top.unique))
        direct |= {mount.unique: mount for mount in likely if mount.unique in below}
    return direct, bool(at_path)


class Origins:
    """Which of the mounts that a call itself detached took others along.

    Args:
        direct: what the call itself detached, and propagates.
        tables: the mount tables before it.
    """

    def __init__(self, direct: Iterable[MountState], tables: MountTables) -> None:
        self._tables = tables
        # Dentry → (root, peer group of the parent) → what was mounted there.
        self._at: dict[int, dict[tuple[int, int], list[MountState]]] = {}
        # Peer group → a mount in it, and what receives what happens under any of its mounts.
        self._member: dict[int, MountState] = {}
        self._reached: dict[int, set[int]] = {}
        for mount in direct:
            parent = tables.recall(mount.parent)
            group = parent.group if parent else 0
            if parent and group:
                self._member.setdefault(group, parent)
            here = self._at.setdefault(mount.mountpoint.key, {})
            here.setdefault((mount.root.key, group), []).append(mount)

    def of(self, mount: MountState) -> MountState | None:
        """What took a mount along: one that was at the same place on a peer or master of its
        parent, if there is one, rather with the same root; else any at that place."""
        here = self._at.get(mount.mountpoint.key, {})
        likely = sorted(here, key=lambda one: one[0] != mount.root.key)
        for root, group in likely:
            if mount.parent in self._reached_from(group):
                for one in here[root, group]:
                    if one.parent != mount.parent:
                        return one
        return here[likely[0]][0] if likely else None

    def _reached_from(self, group: int) -> set[int]:
        if group not in self._reached:
            member = self._member.get(group)
            found = self._tables.receivers(member) if member else set()
            if member and member.unique in self._tables:
                found.add(member.unique)
            self._reached[group] = found
        return self._reached[group]


def propagates(mount: MountState, tables: MountTables) -> bool:
    """Whether what happens to a mount propagates: it is on a shared one, or one that went."""
    parent = tables.recall(mount.parent)
    return parent is None or bool(parent.group) or parent.unique not in tables


def via_of(mount: MountState, origin: MountState | None, tables: MountTables) -> Via:
    """How a umount came to a copy: it lies on a peer of what its origin lies on, or a slave."""
    parent = tables.recall(mount.parent)
    above = tables.recall(origin.parent) if origin else None
    is_peer = parent and above and parent.group and parent.group == above.group
    return "peer" if is_peer else "slave"


def lowest_gone(mount: MountState, tables: MountTables) -> MountState:
    """The lowest of the detached mounts that lay on each other below this one."""
    seen = {mount.unique}
    while mount.parent not in tables and not mount.is_root:
        lower = tables.recall(mount.parent)
        if lower is None or lower.unique in seen:
            break
        seen.add(lower.unique)
        mount = lower
    return mount
