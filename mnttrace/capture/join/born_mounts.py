# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The list of a namespace that a call made."""

from __future__ import annotations

from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.mount_list import MountList
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.outbox import Cause
from mnttrace.probes.records import MountEntry


def take_born(call: CallEnded, lists: list[MountList], known: KnownMounts) -> None:
    """All mounts of a namespace that was just made, each a copy of one of its maker's."""
    copied: dict[int, MountState] = {}
    seen: set[int] = set()
    root = known.tables.root_of(call.key)
    # In the order of their ids, which is that in which they were copied: parents first.
    for entry in (entry for found in lists for entry in found.entries):
        if entry.unique in seen:
            continue
        seen.add(entry.unique)
        is_root = entry.parent_unique == entry.unique
        above = copied.get(entry.parent_unique)
        at = known.tables.child_at(above.unique, entry.mountpoint) if above else None
        source = root if is_root else _copied(entry, at, known.tables)
        listed = known.tables.get(entry.unique)  # by a survey, before the call ended
        mount = listed or known.naming.make(entry, call.names, source)
        before = None
        if source is not None:
            copied[entry.unique] = source
            before = source.settings
            if listed is None:
                path = (at or source).mountpoint.path
                mount.mountpoint = mount.mountpoint._replace(path=path)
                mount.root = mount.root._replace(path=source.root.path)
                mount.is_hidden = source.is_hidden
        if listed is None:
            known.tables.attach(mount)
        known.pending.attached.claim(entry.unique)
        if not is_root and not mount.is_hidden:
            cause = Cause.of(call.row)
            known.rows.attach(mount, "namespace-copy", "kernel", cause, source, before)


def _copied(entry: MountEntry, found: MountState | None, tables: MountTables) -> MountState | None:
    """What a mount is a copy of: what was found in its place, or of several that lie on each
    other there the one with the same root. Others may be gone, which is not reported yet."""
    seen = set()
    while found is not None and found.root.key not in (0, entry.root):
        if found.unique in seen:
            return None
        seen.add(found.unique)
        found = tables.child_at(found.unique, found.root.key)
    return found
