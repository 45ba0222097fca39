# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The list of mounts that a call made: each attached or moved, by itself or as a copy elsewhere."""

from __future__ import annotations

from mnttrace.capture.join.effect_rows import Evidence, Via
from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.mount_list import MountList
from mnttrace.capture.join.mount_state import Dentry, MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.outbox import Cause
from mnttrace.linux.flags import MOVE_MOUNT
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import HOW_COVERED, HOW_MADE, HOW_PROPAGATED, MountEntry


class MadeMounts:
    """Writes what calls attached and moved.

    Args:
        known: kept up to date.
    """

    def __init__(self, known: KnownMounts) -> None:
        self._known = known
        # What the mounts of the call that is being written were bound from.
        self._sources: dict[int, MountState] = {}

    def take(self, call: CallEnded, lists: list[MountList]) -> None:
        """Write what a call made, by the lists of that."""
        made = [entry for found in lists for entry in found.entries]
        if call.kind == SyscallKind.MOVE_MOUNT:
            # A copy can come to be in the tree that was moved; that itself is no copy.
            copies = {entry.unique for entry in made if entry.how == HOW_PROPAGATED}
            made = [entry for entry in made if entry.how != HOW_MADE or entry.unique not in copies]
            made = self._mark_covered(call, made)
        # The kernel lists the newest first; a mount's parent, and what it is a copy of, are older.
        made.sort(key=age)
        self._sources.clear()
        made, unsure, evidence = self._own(call, made)
        cause = Cause.of(call.row)
        for entry in made:
            self.take_entry(call, entry, cause, evidence if entry.unique in unsure else "kernel")

    def _mark_covered(self, call: CallEnded, made: list[MountEntry]) -> list[MountEntry]:
        """The list of a tree that was moved, with what it was slipped beneath marked as such: that
        is listed with the tree, as it is mounted on it now."""
        listed = {entry.unique: entry for entry in made}
        covered: set[int] = set()
        for entry in reversed(made):  # the oldest first
            parent = listed.get(entry.parent_unique)
            if entry.how == HOW_MADE and parent is not None:
                known = self._known.tables.get(entry.unique)
                if known is not None:
                    is_covered = known.has_moved(entry)
                elif parent.unique in covered:
                    is_covered = True
                else:
                    # The call that attached it was not reported: its place says it.
                    is_on_top = (
                        parent.parent_unique not in listed and parent.root == entry.mountpoint
                    )
                    is_covered = is_on_top and bool(call.flags & MOVE_MOUNT["MOVE_MOUNT_BENEATH"])
                if is_covered:
                    covered.add(entry.unique)
        return [
            entry._replace(how=HOW_COVERED) if entry.unique in covered else entry for entry in made
        ]

    def _own(
        self, call: CallEnded, made: list[MountEntry]
    ) -> tuple[list[MountEntry], set[int], Evidence]:
        """What of a list a call made; what of that nothing reported who attached it, and the
        evidence for that: others may have made mounts in the namespace at the same time."""
        tables, pending = self._known.tables, self._known.pending
        new = {entry.unique for entry in made if entry.unique not in tables}
        unsure = {unique for unique in new if pending.attached.by(unique) is None}
        if not unsure:
            return made, unsure, "kernel"
        tid = call.row["tid"]
        tops = [e for e in made if e.how == HOW_MADE and e.unique in unsure]
        tops = [e for e in tops if e.parent_unique not in new]
        at_path = {
            top.unique
            for top in tops
            if self._known.naming.path(top, call.names) == call.row["path"]
        }
        others = {unique for unique in new - unsure if pending.attached.by(unique) != tid}
        is_known = any(e.how == HOW_MADE and pending.attached.by(e.unique) == tid for e in made)
        if at_path or is_known:
            others.update(top.unique for top in tops if top.unique not in at_path)
        for entry in made:  # those below them, and copies, come later
            if entry.unique in unsure and others & {entry.parent_unique, entry.origin_unique}:
                others.add(entry.unique)
        evidence: Evidence = "ambiguous" if tops and not (at_path or is_known) else "kernel"
        return [entry for entry in made if entry.unique not in others], unsure, evidence

    def take_entry(
        self, call: CallEnded, entry: MountEntry, cause: Cause, evidence: Evidence = "kernel"
    ) -> None:
        """A mount that the call made or moved, itself or as a copy elsewhere."""
        if not entry.mntns_id:
            return  # in a detached tree, whose anonymous namespace has no id; or already gone
        known = self._known.tables.get(entry.unique)
        if known is not None:
            self._made_before(call, known, entry)
            return
        is_others = self._known.pending.attached.by(entry.unique) not in (None, call.row["tid"])
        is_older = entry.how == HOW_COVERED  # a survey finds it
        if is_others or is_older or self._known.tables.was_detached(entry.unique):
            return
        is_copy = entry.how == HOW_PROPAGATED
        origin = self._known.tables.get(entry.origin_unique) if is_copy else None
        mount = self._known.naming.make(entry, call.names, origin)
        if entry.how == HOW_MADE:
            if evidence == "kernel":
                self._known.naming.from_call(mount, call)
            origin = self._bound_from(call, mount)
        self._known.tables.attach(mount)
        self._known.pending.attached.claim(entry.unique)
        via: Via = "direct"
        if is_copy:
            via = "peer" if origin and mount.group and mount.group == origin.group else "slave"
        self._known.rows.attach(mount, via, evidence, cause, origin)

    def _bound_from(self, call: CallEnded, mount: MountState) -> MountState | None:
        """The mount that a bind made this one of; None where it was not bound, or is not known."""
        if call.mount_action != "bind":
            return None
        above = self._sources.get(mount.parent)
        if above is not None:
            source = self._known.tables.child_at(above.unique, mount.mountpoint.key)
        else:
            source = self._known.tables.get(call.source_unique)
            if source is None:
                path, device = call.row["source_path"], mount.filesystem.device
                source = _led_into(self._known.tables, call.key, path, device)
        if source is not None:
            self._sources[mount.unique] = source
        return source

    def _made_before(self, call: CallEnded, known: MountState, entry: MountEntry) -> None:
        """A mount that was there before. If the call neither moved nor covered it, it is another's
        that was made at the same time, and may be half gone."""
        self._known.naming.from_names(known, call.names)
        is_moved = call.kind == SyscallKind.MOVE_MOUNT and entry.how == HOW_MADE
        if (is_moved or entry.how == HOW_COVERED) and known.has_moved(entry):
            self.move(call, [(known, entry)], "direct" if is_moved else "beneath")
        if is_moved:
            self._known.changes.by_call(known, entry, call)

    def move(self, call: CallEnded, moved: list[tuple[MountState, MountEntry]], via: Via) -> None:
        """Move mounts. All places are found before anything is moved, since the paths of the call
        are of that time."""
        found = [
            (
                mount,
                entry,
                self._known.naming.new_mountpoint(entry, call),
                self._known.rows.place(mount),
            )
            for mount, entry in moved
        ]
        for mount, entry, path, _ in found:
            mountpoint = Dentry(entry.mountpoint, entry.mountpoint_hash, path)
            self._known.tables.move(mount, entry.parent_unique, mountpoint)
        for mount, _, _, before in found:
            self._known.rows.move(mount, via, "kernel", Cause.of(call.row), before)


def age(entry: MountEntry) -> tuple[bool, bool, int]:
    """To sort entries by: the call's own before copies, and these before what was moved onto a
    copy; the oldest first."""
    return entry.how == HOW_COVERED, entry.how == HOW_PROPAGATED, entry.unique


def _led_into(tables: MountTables, key: int, path: str, device: str) -> MountState | None:
    """The mount of a file system that a path leads into, from the root of a namespace on."""
    found: list[tuple[int, MountState]] = []
    for unique in tables.of_namespace(key):
        mount = tables.get(unique)
        if mount is not None and mount.filesystem.device == device:
            at = tables.path(mount)
            if path == at or path.startswith(at.rstrip("/") + "/"):
                found.append((len(at), mount))
    found.sort(key=lambda one: one[0], reverse=True)
    mounts = [mount for _, mount in found]
    # One that paths do not lead to can still be named by a descriptor, or a working directory.
    return next((one for one in mounts if _is_reached(tables, one)), mounts[0] if mounts else None)


def _is_reached(tables: MountTables, mount: MountState) -> bool:
    """Whether a path can lead to a mount: nothing is mounted on its root, nor on a directory on the
    way to it."""
    if tables.child_at(mount.unique, mount.root.key) is not None:
        return False
    seen: set[int] = set()  # tables that are not whole can have circles
    while not mount.is_root and mount.unique not in seen:
        seen.add(mount.unique)
        parent, here = tables.get(mount.parent), tables.path(mount)
        if parent is None:
            break
        on_root = tables.child_at(parent.unique, parent.root.key)
        if on_root not in (None, mount):
            return False
        for other in tables.children(parent.unique):
            if other is not mount and here.startswith(tables.path(other).rstrip("/") + "/"):
                return False
        mount = parent
    return True
