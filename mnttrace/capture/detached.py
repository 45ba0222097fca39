"""Effects of mounts that went: by umount, with their namespace, or with their mount point."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mnttrace.capture.changes import Changes
from mnttrace.capture.decode import Call
from mnttrace.capture.effect_rows import EffectRows, Row
from mnttrace.capture.notes import Notes
from mnttrace.capture.tables import Known, MountTables, namespace_key


class Detached:
    """Takes mounts out of the tables, and writes why they went.

    Args:
        tables, notes, rows: as of :class:`mnttrace.capture.effects.Effects`.
        changes: is told which mounts leave their peer groups.
    """

    def __init__(
        self, tables: MountTables, notes: Notes, rows: EffectRows, changes: Changes
    ) -> None:
        self._tables = tables
        self._notes = notes
        self._rows = rows
        self._changes = changes

    def umount(self, call: Call, missing: Iterable[int]) -> None:
        """What a umount detached.

        Args:
            call: the umount.
            missing: what the kernel's list of its namespace lacked after it, where there is one.
        """
        key = namespace_key(call.row["ns"], call.row["ns_id"])
        told = self._notes.of_call(call, lambda unique: self._is_in(unique, key))
        mounts = self._attached(dict.fromkeys([*missing, *told]))
        if not mounts:
            return
        key = namespace_key(call.row["ns"], call.row["ns_id"])
        own = [mount for mount in mounts if mount.namespace == key]
        at_path = [mount for mount in own if self._tables.path(mount) == call.row["path"]]
        top = (at_path or own or mounts)[0]
        direct = {top.unique: top}
        for mount in own:
            if mount.parent in direct:
                direct[mount.unique] = mount
        for mount in mounts:
            if mount.unique in direct:
                self._rows.detach(mount, "direct", "kernel", call.row)
            else:
                origin = _original(mount, direct.values())
                via = self._carried_as(mount, origin)
                self._rows.detach(mount, via, "kernel", call.row, origin)
        self._take_away(mounts, call.row)

    def left(self, call: Call) -> None:
        """A call by which a thread left its namespace: the last one to leave takes it down."""
        key = namespace_key(call.row["ns"], call.row["ns_id"])
        told = self._notes.of_death(call.row["tid"], lambda unique: self._is_in(unique, key))
        self._died(self._attached(told), "kernel", call.row)

    def settle(self, when: Row, everything: bool = False) -> None:
        """Write the detached mounts that no call of their thread accounts for: their namespace
        died, or their mount point was removed.

        Args:
            when: columns `ts` and `monotonic`.
            everything: also those that a call that is not over may still account for.
        """
        for tid, uniques in self._notes.unclaimed(everything):
            mounts = self._attached(uniques)
            dead = {mount.namespace for mount in mounts if mount.parent == mount.unique}
            cause = when | {"tid": tid}
            self._died([mount for mount in mounts if mount.namespace in dead], "kernel", cause)
            removed = [mount for mount in mounts if mount.namespace not in dead]
            for mount in removed:
                self._rows.detach(mount, "mountpoint-removed", "kernel", cause)
            self._take_away(removed, cause)

    def gone(self, namespace: int, when: Row) -> None:
        """A namespace is no longer there, and nobody told of it: fanotify did not watch it yet."""
        mounts = self._attached(sorted(self._tables.of_namespace(namespace)))
        self._died(mounts, "snapshot", when)

    def missed(self, uniques: Iterable[int], when: dict[str, Any]) -> None:
        """Mounts that are no longer there, and nobody told of it."""
        for mount in self._attached(uniques):
            self._rows.detach(mount, "", "snapshot", when)
            self._remove([mount], when)

    def _attached(self, uniques: Iterable[int]) -> list[Known]:
        return [mount for unique in uniques if (mount := self._tables.get(unique))]

    def _is_in(self, unique: int, namespace: int) -> bool:
        mount = self._tables.get(unique)
        return mount is not None and mount.namespace == namespace

    def _carried_as(self, mount: Known, origin: Known | None) -> str:
        parent = self._tables.recall(mount.parent)
        above = self._tables.recall(origin.parent) if origin else None
        is_peer = parent and above and parent.group and parent.group == above.group
        return "peer" if is_peer else "slave"

    def _died(self, mounts: list[Known], evidence: str, cause: Row) -> None:
        for mount in mounts:
            if mount.parent != mount.unique:
                self._rows.detach(mount, "namespace-death", evidence, cause)
        self._remove(mounts, cause)

    def _take_away(self, mounts: list[Known], cause: Row) -> None:
        """Detach mounts; what covered one, and stays, gets its parent (reparent(), fs/pnode.c)."""
        self._remove(mounts, cause)
        for mount in mounts:
            above = self._tables.child_at(mount.unique, mount.root_key)
            if above is None:
                continue
            before = self._rows.place(above)
            below = self._lowest_gone(mount)
            self._tables.move(above, below.parent, below.place_key, below.place)
            self._rows.move(above, "beneath", "model", cause, before)

    def _remove(self, mounts: list[Known], cause: Row) -> None:
        for mount in mounts:
            self._tables.detach(mount.unique)
        for mount in mounts:
            self._changes.left(mount, mount.group, mount.master, cause)

    def _lowest_gone(self, mount: Known) -> Known:
        """The lowest of the detached mounts that lay on each other below this one."""
        while mount.parent not in self._tables and mount.parent != mount.unique:
            lower = self._tables.recall(mount.parent)
            if lower is None:
                break
            mount = lower
        return mount


def _original(mount: Known, direct: Iterable[Known]) -> Known | None:
    """Which of the mounts that a call itself detached another was a copy of."""
    for candidate in direct:
        if (candidate.root_key, candidate.place_key) == (mount.root_key, mount.place_key):
            return candidate
    return None
