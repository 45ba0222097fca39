"""From what the kernel tells to effects: each mount attached, detached, moved or changed, and why.

Three things come from the kernel: at the end of each call the mounts that it made, with their
peers and slaves, or all mounts of its namespace; from fanotify, which mounts were attached and
detached, and by which thread; and lists of whole namespaces that the recorder asked for. They are
joined by unique ids, so what is told twice is one effect.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mnttrace.capture.join.changes import Changes, is_set_otherwise
from mnttrace.capture.join.detached import Detached
from mnttrace.capture.join.differences import Differences
from mnttrace.capture.join.effect_rows import Add, EffectRows, Row, settings
from mnttrace.capture.join.naming import Naming
from mnttrace.capture.join.pending import Notes
from mnttrace.capture.join.tables import Known, MountTables, namespace_key
from mnttrace.capture.stream.decode import Call, MountList
from mnttrace.linux.flags import mount_action
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import (
    HOW_COVERED,
    HOW_MADE,
    HOW_PROPAGATED,
    LIST_AFTER,
    LIST_BIRTH,
    LIST_CHANGED,
    LIST_MADE,
)


class Birth(NamedTuple):
    """A mount namespace that a call made.

    Attributes:
        ns: its inode number; ns_id: its unique id.
        row: the call, a row of `operations`.
        complete: whether the kernel's list of its mounts is.
    """

    ns: int
    ns_id: int
    row: Row
    complete: bool


class Effects:
    """Writes rows of the table `effects`, and keeps the mount tables that they lead to.

    Args:
        tables: filled by surveys, kept up to date here.
        notes: what fanotify told and no call has claimed yet.
        add: takes (table, row).

    Attributes:
        changes, detached, differences: what happens to mounts that no call tells of.
        born: namespaces that were made; the recorder takes them from here.
    """

    def __init__(self, tables: MountTables, notes: Notes, add: Add) -> None:
        self._tables = tables
        self._notes = notes
        self.rows = EffectRows(tables, add)
        self._naming = Naming(tables)
        self.changes = Changes(tables, self.rows)
        self.detached = Detached(tables, notes, self.rows, self.changes)
        self.differences = Differences(
            tables, notes, self.rows, self._naming, self.changes, self.detached
        )
        self.born: list[Birth] = []
        # What the mounts of the call that is being written were bound from.
        self._sources: dict[int, Known] = {}

    def call(self, call: Call) -> None:
        """Write the effects of one call."""
        if call.row["result"] < 0:
            return
        made = [entry for found in call.lists if found.why == LIST_MADE for entry in found.entries]
        if call.does == SyscallKind.MOVE_MOUNT:
            # A copy can come to be in the tree that was moved; that itself is no copy.
            copies = {entry.unique for entry in made if entry.how == HOW_PROPAGATED}
            made = [entry for entry in made if entry.how != HOW_MADE or entry.unique not in copies]
            made = self._with_covered(made)
        # The kernel lists the newest first; a mount's parent, and what it is a copy of, are older.
        made.sort(key=_age)
        self._sources.clear()
        evidence = "kernel"
        key = namespace_key(call.row["ns"], call.row["ns_id"])
        if made and not self._notes.is_watched(key, call.row["monotonic"]):
            made, evidence = self._own(call, made)
        for entry in made:
            self._made(call, entry, evidence)
        after = [found for found in call.lists if found.why in (LIST_AFTER, LIST_CHANGED)]
        missing = self._after(call, after) if after else []
        born = [found for found in call.lists if found.why == LIST_BIRTH]
        if born:
            self._born(call, born)
        if call.does == SyscallKind.UMOUNT:
            self.detached.umount(call, missing)
        elif call.does == SyscallKind.REMOVE:
            self.detached.removed(call)
        elif call.row["ns_after"] not in (None, call.row["ns"]):
            self.detached.left(call)
        if call.cut:
            self._notes.remember_cut(call)

    def _with_covered(self, made: list[Any]) -> list[Any]:
        """The list of a tree that was moved, with what it was slipped beneath marked as such: that
        is listed with the tree, as it is mounted on it now."""
        listed = {entry.unique for entry in made}
        return [
            entry._replace(how=HOW_COVERED)
            if entry.how == HOW_MADE
            and entry.parent_unique in listed
            and (known := self._tables.get(entry.unique)) is not None
            and known.has_moved(entry)
            else entry
            for entry in made
        ]

    def _own(self, call: Call, made: list[Any]) -> tuple[list[Any], str]:
        """What of a list a call made, and the evidence for that, where fanotify does not tell who
        made what: others may have made mounts in the namespace at the same time."""
        new = {entry.unique for entry in made if entry.unique not in self._tables}
        tops = [
            e for e in made if e.how == HOW_MADE and e.unique in new and e.parent_unique not in new
        ]
        at_path = [top for top in tops if self._naming.path(top, call.names) == call.row["path"]]
        if not at_path:
            return made, "ambiguous" if tops else "kernel"
        others = {top.unique for top in tops} - {top.unique for top in at_path}
        for entry in made:  # those below them, and copies, come later
            if entry.parent_unique in others or entry.origin_unique in others:
                others.add(entry.unique)
        return [entry for entry in made if entry.unique not in others], "kernel"

    def _made(self, call: Call, entry: Any, evidence: str = "kernel") -> None:
        """A mount that the call made or moved, itself or as a copy elsewhere."""
        if not entry.mntns_id:
            return  # in a detached tree, whose anonymous namespace has no id; or already gone
        known = self._tables.get(entry.unique)
        if known is not None:
            self._made_other(call, known, entry)
            return
        if self._tables.is_gone(entry.unique) or self._notes.is_anothers(entry.unique, call):
            return
        origin = self._tables.get(entry.origin_unique) if entry.how == HOW_PROPAGATED else None
        mount = self._naming.make(entry, call.names, origin)
        if entry.how == HOW_MADE and evidence == "kernel":
            self._naming.from_call(mount, call)
        if entry.how == HOW_MADE:
            origin = self._bound_from(call, entry, mount)
        self._tables.attach(mount)
        self._notes.claim(entry.unique)
        via = "direct"
        if entry.how == HOW_PROPAGATED:
            via = "peer" if origin and mount.group and mount.group == origin.group else "slave"
        self.rows.attach(mount, via, evidence, call.row, origin)

    def _bound_from(self, call: Call, entry: Any, mount: Known) -> Known | None:
        """The mount that a bind made this one of; None where it was not bound, or is not known."""
        if mount_action(call.mount_flags) != "bind":
            return None
        above = self._sources.get(entry.parent_unique)
        if above is not None:
            source = self._tables.child_at(above.unique, entry.mountpoint)
        else:
            key = namespace_key(call.row["ns"], call.row["ns_id"])
            source = self._tables.below(key, call.row["source_path"], mount.device)
        if source is not None:
            self._sources[entry.unique] = source
        return source

    def _made_other(self, call: Call, known: Known, entry: Any) -> None:
        """A mount that was there before. If the call neither moved nor covered it, it is another's
        that was made at the same time, and may be half gone."""
        self._naming.from_names(known, call.names)
        is_moved = call.does == SyscallKind.MOVE_MOUNT and entry.how == HOW_MADE
        if (is_moved or entry.how == HOW_COVERED) and known.has_moved(entry):
            self._move(call, [(known, entry)], "direct" if is_moved else "beneath")
        if is_moved:
            self.changes.direct(known, entry, call.row)

    def _move(self, call: Call, moved: list[tuple[Known, Any]], via: str) -> None:
        """Move mounts. All places are found before anything is moved, since the paths of the call
        are of that time."""
        row = call.row
        found = [
            (known, entry, self._naming.new_place(entry, row, call.names), self.rows.place(known))
            for known, entry in moved
        ]
        for known, entry, place, _ in found:
            at = entry.mountpoint, entry.mountpoint_hash
            self._tables.move(known, entry.parent_unique, *at, place)
        for known, _, _, before in found:
            self.rows.move(known, via, "kernel", row, before)

    def _after(self, call: Call, lists: list[MountList]) -> list[int]:
        """The mounts of the call's namespace, all or that which the call can have changed, as they
        were after it; those that a umount took."""
        entries = [entry for found in lists for entry in found.entries if entry.mntns_id]
        self._name_places(call, entries)
        listed = [entry for entry in entries if entry.how not in (HOW_PROPAGATED, HOW_COVERED)]
        key = namespace_key(lists[0].ns, lists[0].ns_id)
        is_whole = lists[-1].last and lists[-1].why == LIST_AFTER and not call.cut
        missing: set[int] = set()
        if is_whole:
            missing = self._tables.of_namespace(key) - {entry.unique for entry in listed}
            self.detached.went_along(missing)  # what lay on that had moved before the call
        both = [(self._tables.get(entry.unique), entry) for entry in listed]
        # Most of a list is as it was before.
        news = [
            (mount, entry)
            for mount, entry in both
            if mount is not None
            and (
                is_set_otherwise(mount, entry)
                or mount.has_moved(entry)
                or self.changes.are_expected(mount.unique)
            )
        ]
        # What the call moved comes first: its copies are carried from where it is then. What has a
        # copy for its parent comes after that copy, which was slipped beneath it.
        self._settle(call, news, carried=False)
        for entry in sorted(entries, key=_age):
            if entry.how in (HOW_PROPAGATED, HOW_COVERED):
                self._made(call, entry)
        nobody = {"ts": call.row["ts"], "monotonic": call.row["monotonic"]}
        self._settle(call, news, carried=True)
        for mount, entry in news:
            self.changes.found(mount, entry, nobody, call.row)
        if call.does == SyscallKind.RECONFIGURE or mount_action(call.mount_flags) == "remount":
            self.changes.super_blocks(listed, "kernel", call.row)
        if is_whole:
            self.changes.looked_at(key)
        for before, entry in both:
            # What nobody attached as far as is known may be of a call that is not over.
            if before is None and self._notes.was_cut(entry.unique):
                new = self._naming.make(entry, call.names, None)
                self._tables.attach(new)
                self.differences.missed(new, nobody)
        if call.does == SyscallKind.UMOUNT:
            return sorted(missing & self._tables.of_namespace(key))
        if not self._notes.is_watched(key, call.row["monotonic"]):
            self.detached.lost(sorted(missing & self._tables.of_namespace(key)), nobody)
        return []

    def _settle(self, call: Call, known: list[tuple[Known, Any]], carried: bool) -> None:
        """Write what the call itself moved and changed.

        Args:
            call: the call.
            known: mounts, and entries that have them as they are after it.
            carried: whether the copies that it made are in the tables already.
        """
        moved = [(mount, entry) for mount, entry in known if mount.has_moved(entry)]
        if not carried:
            moved = [
                (mount, entry) for mount, entry in moved if entry.parent_unique in self._tables
            ]
        elif not moved:
            return
        about = self._about(call, moved if _can_move(call) else [])
        for mount, entry in known:
            if about is None or mount.unique in about:
                self.changes.direct(mount, entry, call.row)

    def _name_places(self, call: Call, entries: list[Any]) -> None:
        """Find where mounts were moved to, before anything is: the call's paths are of that time.
        Copies are at places of the same names."""
        for entry in entries:
            known = self._tables.get(entry.unique)
            if known is not None and known.has_moved(entry) and entry.how != HOW_COVERED:
                place = self._naming.new_place(entry, call.row, call.names)
                if place is not None:
                    call.names[entry.mountpoint] = place

    def _about(self, call: Call, moved: list[tuple[Known, Any]]) -> set[int] | None:
        """The mounts that a call can have changed itself; None: any. What was moved is moved."""
        if moved:
            # A tree that comes to a shared mount becomes shared (attach_recursive_mnt()).
            about = {unique for mount, _ in moved for unique in self._tables.tree(mount.unique)}
            self._move(call, moved, "direct")
            return about
        if call.does in (SyscallKind.UMOUNT, SyscallKind.PIVOT, SyscallKind.RECONFIGURE):
            return set()
        key = namespace_key(call.row["ns"], call.row["ns_id"])
        told = call.row["path_unique"]
        target = self._tables.get(told) if told else self._tables.at(key, call.row["path"])
        if target is None:
            return None
        flags = call.row["flags"].split("|")
        is_recursive = "MS_REC" in flags or "AT_RECURSIVE" in flags
        return set(self._tables.tree(target.unique)) if is_recursive else {target.unique}

    def _born(self, call: Call, lists: list[MountList]) -> None:
        """All mounts of a namespace that was just made, each a copy of one of its maker's."""
        row = call.row
        copied: dict[int, Known] = {}
        root = self._tables.root_of(namespace_key(row["ns"], row["ns_id"]))
        # In the order of their ids, which is that in which they were copied: parents first.
        for entry in (entry for found in lists for entry in found.entries):
            is_root = entry.parent_unique == entry.unique
            above = copied.get(entry.parent_unique)
            at = self._tables.child_at(above.unique, entry.mountpoint) if above else None
            source = root if is_root else self._copied(entry, at)
            mount = self._naming.make(entry, call.names, source)
            before = None
            if source is not None:
                copied[entry.unique] = source
                mount.place, mount.root = (at or source).place, source.root
                mount.is_hidden = source.is_hidden
                before = settings(source)
            self._tables.attach(mount)
            if not is_root and not mount.is_hidden:
                self.rows.attach(mount, "namespace-copy", "kernel", row, source, before)
        complete = lists[-1].last and not call.cut
        self.born.append(Birth(lists[0].ns, lists[0].ns_id, row, complete))

    def _copied(self, entry: Any, found: Known | None) -> Known | None:
        """What a mount is a copy of: what was found in its place, or of several that lie on each
        other there the one with the same root. Others may be gone, and nobody has told yet."""
        while found is not None and found.root_key not in (0, entry.root):
            found = self._tables.child_at(found.unique, found.root_key)
        return found


def _can_move(call: Call) -> bool:
    """Whether a call after which mounts turn out to have moved can have moved them."""
    if call.does == SyscallKind.MOUNT:
        return mount_action(call.mount_flags) == "move"
    return call.does not in (SyscallKind.SETATTR, SyscallKind.RECONFIGURE)


def _age(entry: Any) -> tuple[bool, bool, int]:
    return entry.how == HOW_COVERED, entry.how == HOW_PROPAGATED, entry.unique
