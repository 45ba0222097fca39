"""From what the kernel tells to effects: each mount attached, detached, moved or changed, and why.

Three things come from the kernel: at the end of each call the mounts that it made, with their
peers and slaves, or all mounts of its namespace; from fanotify, which mounts were attached and
detached, and by which thread; and lists of whole namespaces that the recorder asked for. They are
joined by unique ids, so what is told twice is one effect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from mnttrace.capture.decode import Call, MountList
from mnttrace.capture.detached import Detached
from mnttrace.capture.effect_rows import Add, EffectRows, Row, settings
from mnttrace.capture.layout import constants
from mnttrace.capture.notes import Notes
from mnttrace.capture.tables import Known, MountTables, device_text, namespace_key
from mnttrace.linux.flags import MNT_SHOWN, mount_action
from mnttrace.linux.mountinfo import Mount
from mnttrace.linux.syscalls import Does

_C = constants()
_MADE, _CARRIED, _COVERED = _C["HOW_MADE"], _C["HOW_CARRIED"], _C["HOW_COVERED"]
_BIRTH, _AFTER, _LIST_MADE = _C["LIST_BIRTH"], _C["LIST_AFTER"], _C["LIST_MADE"]
_GRACE = 0.5  # seconds after which a call that was not over when a survey was made is

# What a survey finds: action, unique id, and for a change the entry as it is now.
_Difference = tuple[str, int, tuple[Any, ...]]


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
        tables: filled by :meth:`survey`, kept up to date here.
        notes: what fanotify told and no call has claimed yet.
        add: takes (table, row).

    Attributes:
        rows: counts what was written.
        detached: what else happens to mounts than what a call tells.
        born: namespaces that were made; the recorder takes them from here.
    """

    def __init__(self, tables: MountTables, notes: Notes, add: Add) -> None:
        self._tables = tables
        self._notes = notes
        self.rows = EffectRows(tables, add)
        self.detached = Detached(tables, notes, self.rows)
        self._filesystems: dict[str, tuple[str, str]] = {}
        self._doubts: dict[int, dict[_Difference, float]] = {}
        self.born: list[Birth] = []

    # ---- what is there already

    def survey(
        self,
        found: MountList,
        complete: bool,
        table: Iterable[Mount],
        when: Row,
        final: bool = False,
    ) -> None:
        """Take a list of a namespace's mounts that the recorder asked for.

        A namespace that was not known becomes known. Else each difference is an effect whose
        cause nobody told, with the evidence `snapshot`; but only if another survey finds it again
        later, for the call that made it may not be over yet.

        Args:
            found: the kernel's list.
            complete: whether it has all of the namespace's mounts.
            table: its mountinfo, for the names; empty where it could not be read.
            when: columns `ts` and `monotonic` of such effects.
            final: no other survey will follow.
        """
        key = namespace_key(found.ns, found.ns_id)
        is_new = not self._tables.of_namespace(key)
        lines = {line.mount_id: line for line in table}
        for line in lines.values():
            self._filesystems[line.device] = (line.fstype, line.source)
        differences: dict[_Difference, Callable[[], None]] = {}
        for entry in found.entries:
            known = self._tables.get(entry.unique)
            if known is None and not self._tables.is_gone(entry.unique):
                add = partial(self._find, entry, lines, None if is_new else when)
                differences["attach", entry.unique, ()] = add
            elif known is not None:
                self._name(known, lines.get(entry.mount_id), lines)
                change = partial(self._update, known, entry, when, "snapshot")
                if _is_different(known, entry):
                    differences["change", entry.unique, entry] = change
                else:
                    change()
        if complete:
            present = {entry.unique for entry in found.entries}
            for unique in self._tables.of_namespace(key) - present:
                if not self._notes.has_detached(unique):
                    lose = partial(self.detached.missed, [unique], when)
                    differences["detach", unique, ()] = lose
        self._apply(key, differences, at_once=is_new or final)

    def _apply(
        self, key: int, differences: dict[_Difference, Callable[[], None]], at_once: bool
    ) -> None:
        """Apply the differences that a survey has found before, and remember the others."""
        known_since = self._doubts.pop(key, {})
        now = time.monotonic()
        doubts = {}
        for difference, apply in differences.items():
            since = known_since.get(difference, now)
            if at_once or now - since >= _GRACE:
                apply()
            else:
                doubts[difference] = since
        if doubts:
            self._doubts[key] = doubts

    def has_doubts(self, namespace: int) -> bool:
        """Whether another survey of a namespace is needed, some time later."""
        return namespace in self._doubts

    def _find(self, entry: Any, lines: dict[int, Mount], when: Row | None) -> None:
        mount = self._new(entry, {}, None)
        self._name(mount, lines.get(entry.mount_id), lines)
        self._tables.attach(mount)
        if when is not None:
            self._missed(mount, when)

    def _missed(self, mount: Known, when: Row) -> None:
        cause = self._notes.cause_of(mount.unique)
        self.rows.attach(mount, "", "snapshot", cause or when)

    def _name(self, mount: Known, line: Mount | None, lines: dict[int, Mount]) -> None:
        """Take the names of a mount from mountinfo."""
        if line is None:
            return
        parent = lines.get(line.parent_id)
        place = mount.place
        if parent is not None:
            below = line.mountpoint.removeprefix(parent.mountpoint.rstrip("/"))
            place = (parent.root.rstrip("/") + below) or "/"
        elif place is None:
            place = line.mountpoint
        mount.fstype, mount.source = line.fstype, line.source
        self._tables.rename(mount, line.root, place)

    # ---- calls

    def call(self, call: Call) -> None:
        """Write the effects of one call."""
        if call.row["result"] < 0:
            return
        made = (entry for found in call.lists if found.why == _LIST_MADE for entry in found.entries)
        # The kernel lists the newest first; a mount's parent, and what it is a copy of, are older.
        for entry in sorted(made, key=_age):
            self._made(call, entry)
        after = [found for found in call.lists if found.why == _AFTER]
        missing = self._after(call, after) if after else []
        born = [found for found in call.lists if found.why == _BIRTH]
        if born:
            self._born(call, born)
        if call.does == Does.UMOUNT:
            self.detached.umount(call, missing)
        elif call.does == Does.NAMESPACE or call.row["syscall"] == "setns":
            self.detached.left(call)
        if call.cut:
            self._notes.remember_cut(call)

    def _made(self, call: Call, entry: Any) -> None:
        """A mount that the call made or moved, itself or as a copy elsewhere."""
        known = self._tables.get(entry.unique)
        if known is not None:
            self._update(known, entry, call.row, "kernel", call.names)
            return
        if self._tables.is_gone(entry.unique) or self._notes.is_anothers(entry.unique, call):
            return
        origin = self._tables.get(entry.origin_unique) if entry.how == _CARRIED else None
        mount = self._new(entry, call.names, origin)
        if entry.how == _MADE:
            self._complete(mount, call)
        self._tables.attach(mount)
        self._notes.claim(entry.unique)
        via = "direct"
        if entry.how == _CARRIED:
            via = "peer" if origin and mount.group and mount.group == origin.group else "slave"
        self.rows.attach(mount, via, "kernel", call.row, origin)

    def _new(self, entry: Any, names: dict[int, str], origin: Known | None) -> Known:
        device = device_text(entry.device)
        told = (_text(entry.fstype), _text(entry.devname))
        fstype, source = self._filesystems.get(device, told)
        root = names.get(entry.root) or self._tables.name(entry.root)
        place = names.get(entry.mountpoint) or self._tables.name(entry.mountpoint)
        if root is None and origin is not None:
            root = origin.root
        if entry.unique == entry.parent_unique:
            root = place = "/"
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
            device=device,
            fstype=origin.fstype if origin else fstype,
            source=origin.source if origin else source,
            group=entry.group,
            master=entry.master,
            flags=entry.flags,
        )

    def _complete(self, mount: Known, call: Call) -> None:
        """What the arguments of the call say of a mount, and the kernel's struct does not."""
        row = call.row
        is_new = call.does == Does.MOVE_MOUNT or mount_action(call.mount_flags) == "new"
        if is_new and row["fstype"] and row["fstype"].split(".")[0] == mount.fstype.split(".")[0]:
            mount.fstype = row["fstype"]
            mount.source = row["source"] or mount.source
            self._filesystems[mount.device] = (mount.fstype, mount.source)
        if mount.place is None:
            mount.place = self._place_at(mount.parent, mount.place_key, row["path"])

    def _update(
        self,
        known: Known,
        entry: Any,
        cause: Row,
        evidence: str,
        names: dict[int, str] | None = None,
    ) -> None:
        """Write what is different about a mount that was known: its place, or how it is set."""
        if _has_moved(known, entry):
            self._move(known, entry, self._new_place(entry, cause, names or {}), cause, evidence)
        elif not known.place_key or not known.root_key:
            known.root_key = known.root_key or entry.root
            self._tables.move(known, known.parent, entry.mountpoint, known.place)
        before = settings(known)
        known.group, known.master, known.flags = entry.group, entry.master, entry.flags
        if before != settings(known):
            self.rows.change(known, "direct", evidence, cause, before)

    def _move(self, known: Known, entry: Any, place: str | None, cause: Row, evidence: str) -> None:
        before = self.rows.place(known)
        self._tables.move(known, entry.parent_unique, entry.mountpoint, place)
        via = "beneath" if entry.how == _COVERED else "direct"
        self.rows.move(known, via, evidence, cause, before)

    def _new_place(self, entry: Any, cause: Row, names: dict[int, str]) -> str | None:
        """Where a mount was moved to within the file system of its parent."""
        name = names.get(entry.mountpoint) or self._tables.name(entry.mountpoint)
        if name is not None:
            return name
        # pivot_root moves what was the root to its second argument.
        column = "source_path" if cause.get("syscall") == "pivot_root" else "path"
        return self._place_at(entry.parent_unique, entry.mountpoint, cause.get(column) or "")

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
        return parent.root.rstrip("/") + path[len(above) :]

    def _after(self, call: Call, lists: list[MountList]) -> list[int]:
        """All mounts of the call's namespace, as they were after it; those that a umount took."""
        entries = [entry for found in lists for entry in found.entries]
        # Copies first: what propagation slipped beneath others changes their parents.
        for entry in sorted(entries, key=_age):
            if entry.how in (_CARRIED, _COVERED):
                self._made(call, entry)
        listed = [entry for entry in entries if entry.how not in (_CARRIED, _COVERED)]
        nobody = {"ts": call.row["ts"], "monotonic": call.row["monotonic"]}
        self._moved(call, listed)
        for entry in listed:
            known = self._tables.get(entry.unique)
            if known is not None:
                self._update(known, entry, call.row, "kernel", call.names)
            elif not self._tables.is_gone(entry.unique):
                mount = self._new(entry, call.names, None)
                self._tables.attach(mount)
                self._missed(mount, nobody)
        if not lists[-1].last or call.cut:
            return []
        key = namespace_key(lists[0].ns, lists[0].ns_id)
        missing = sorted(self._tables.of_namespace(key) - {entry.unique for entry in listed})
        if call.does == Does.UMOUNT:
            return missing
        if not self._notes.is_watched(key):
            self.detached.missed(missing, nobody)
        return []

    def _moved(self, call: Call, entries: list[Any]) -> None:
        """Move what has another place. All places are found before anything is moved, since the
        paths of the call are of that time."""
        moves = []
        for entry in entries:
            known = self._tables.get(entry.unique)
            if known is not None and _has_moved(known, entry):
                place = self._new_place(entry, call.row, call.names)
                moves.append((known, entry, place, self.rows.place(known)))
        for known, entry, place, _ in moves:
            self._tables.move(known, entry.parent_unique, entry.mountpoint, place)
        for known, _, _, before in moves:
            self.rows.move(known, "direct", "kernel", call.row, before)

    def _born(self, call: Call, lists: list[MountList]) -> None:
        """All mounts of a namespace that was just made, each a copy of one of its maker's."""
        row = call.row
        copied: dict[int, Known] = {}
        root = self._root_of(namespace_key(row["ns"], row["ns_id"]))
        # In the order of their ids, which is that in which they were copied: parents first.
        for entry in (entry for found in lists for entry in found.entries):
            is_root = entry.parent_unique == entry.unique
            above = copied.get(entry.parent_unique)
            source = self._tables.child_at(above.unique, entry.mountpoint) if above else None
            if is_root:
                source = root
            mount = self._new(entry, call.names, source)
            before = None
            if source is not None:
                copied[entry.unique] = source
                mount.place, mount.root = source.place, source.root
                before = settings(source)
            self._tables.attach(mount)
            if not is_root:
                self.rows.attach(mount, "namespace-copy", "kernel", row, source, before)
        complete = lists[-1].last and not call.cut
        self.born.append(Birth(lists[0].ns, lists[0].ns_id, row, complete))

    def _root_of(self, namespace: int) -> Known | None:
        for unique in self._tables.of_namespace(namespace):
            mount = self._tables.get(unique)
            if mount and mount.parent == unique:
                return mount
        return None


def _age(entry: Any) -> tuple[bool, bool, int]:
    return entry.how == _COVERED, entry.how == _CARRIED, entry.unique


def _has_moved(known: Known, entry: Any) -> bool:
    is_at_place = known.place_key in (0, entry.mountpoint)
    return bool(known.parent != entry.parent_unique or not is_at_place)


def _is_different(known: Known, entry: Any) -> bool:
    settings_now = (entry.group, entry.master, entry.flags & MNT_SHOWN)
    settings_then = (known.group, known.master, known.flags & MNT_SHOWN)
    return _has_moved(known, entry) or settings_now != settings_then


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "surrogateescape")
