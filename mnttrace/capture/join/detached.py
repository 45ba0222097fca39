"""Effects of mounts that went: by umount, with their namespace, or with their mount point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import groupby

from mnttrace.capture.join.changes import Changes
from mnttrace.capture.join.effect_rows import EffectRows, Row
from mnttrace.capture.join.pending import Notes
from mnttrace.capture.join.tables import Known, MountTables, namespace_key
from mnttrace.capture.stream.decode import Call
from mnttrace.probes.records import BY_EVENT

_OTHERS_PASSED = 16  # mounts that are not known, or that an earlier call left over


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
        # Mount → the call that it goes with, what that took itself, and how it comes to this one.
        self._expected: dict[int, tuple[Row, Known | None, str]] = {}

    def umount(self, call: Call, missing: Iterable[int]) -> None:
        """What a umount detached.

        Args:
            call: the umount.
            missing: what the kernel's list of its namespace lacked after it, where there is one.
        """
        key, tid = namespace_key(call.row["ns"], call.row["ns_id"]), call.row["tid"]
        missing = list(missing)
        told = self._notes.of_call(call)
        if not told or call.notified_by != BY_EVENT:
            more = self._likely(call, told, self._attached([*missing, *told]), key)
            self._notes.drop(tid, more)
            told += more
        mounts = self._attached(dict.fromkeys([*missing, *told]))
        if not mounts:
            return
        direct, is_at_path = self._direct(mounts, key, call.row)
        # Nobody else tells who detached what is missing: it may be what others did meanwhile.
        evidence = "kernel" if told or is_at_path else "ambiguous"
        gone = [mount for mount in mounts if mount.unique in direct]
        carried = [mount for mount in gone if self._is_carried(mount)]
        origins = {mount.unique: _original(mount, carried) for mount in mounts}
        # What was to go with an earlier call did, if nobody told that it went with this one.
        origins |= dict.fromkeys(self._expected.keys() & origins.keys() - set(told))
        others = [m for m in mounts if m.unique not in direct and origins[m.unique] is None]
        when = {"ts": call.row["ts"], "monotonic": call.row["monotonic"]}
        # What the thread did before the call, without one. What else is missing may be of calls
        # that are not over: they or a survey tell.
        self._without_call([mount for mount in others if mount.unique in told], tid, when)
        gone = [mount for mount in mounts if mount not in others]
        for mount in gone:
            origin = None if mount.unique in direct else origins[mount.unique]
            via = "direct" if mount.unique in direct else self._carried_as(mount, origin)
            self._rows.detach(mount, via, evidence, call.row, origin)
        self._expect_to_go_along(gone, {**origins, **direct}, call.row)
        self._take_away(gone, [call.row] * len(gone))

    def _likely(self, call: Call, told: list[int], lost: list[Known], namespace: int) -> list[int]:
        """What of a thread's detached mounts is likely of a umount: the first of its own namespace,
        unless it is known what that lost; and from there on, all that goes along with those."""
        found: list[int] = []
        is_lazy = "MNT_DETACH" in call.row["flags"]
        reached = _Reached(self._tables)
        for gone in lost:
            reached.add(gone)
        others = 0
        for unique in self._notes.more_of_call(call):
            mount = self._tables.get(unique)
            if mount is None:
                belongs = False
            elif reached:
                belongs = mount in reached or (is_lazy and reached.has_parent_of(mount))
            else:
                belongs = mount.namespace == namespace
            if mount is not None and belongs:
                found.append(unique)
                reached.add(mount)
            elif reached:
                others += 1
                if ((told or found) and mount is not None) or others > _OTHERS_PASSED:
                    break  # here the next call begins
        return found

    def _direct(
        self, mounts: list[Known], namespace: int, call: Row
    ) -> tuple[dict[int, Known], bool]:
        """Which of the detached mounts a umount took itself, and whether that is the one at its
        path; a lazy one, all that was mounted on that."""
        own = [mount for mount in mounts if mount.namespace == namespace]
        likely = [mount for mount in own if mount.unique not in self._expected]
        at_path = [mount for mount in likely if self._tables.path(mount) == call["path"]]
        top = (at_path or likely or own or mounts)[0]
        direct = {top.unique: top}
        if "MNT_DETACH" in call["flags"]:
            for mount in likely:
                if mount.parent in direct:
                    direct[mount.unique] = mount
        return direct, bool(at_path)

    def _expect_to_go_along(
        self, gone: list[Known], origins: Mapping[int, Known | None], cause: Row
    ) -> None:
        """What is at the same place on peers and slaves goes, too (propagate_umount(), fs/pnode.c):
        where fanotify does not tell of that yet, it is looked for later.

        It goes with what the call itself took, also where only a copy of that leads to it: that a
        copy's parent has got another master may not be known yet.
        """
        here = {mount.unique for mount in gone}
        for mount in gone:
            parent = self._tables.recall(mount.parent)
            for receiver in self._tables.receivers(parent) if parent else ():
                there = self._tables.child_at(receiver, mount.place_key)
                if there is None or there.unique in here:
                    continue
                if not self._notes.is_watched(there.namespace, cause["monotonic"]):
                    origin = origins[mount.unique] or mount
                    via = self._carried_as(there, origin)
                    self._expected.setdefault(there.unique, (cause, origin, via))

    def removed(self, call: Call) -> None:
        """A call that removed or renamed what mounts were on in other namespaces."""
        mounts = self._attached(self._notes.of_call(call))
        own = {mount.unique for mount in mounts}
        on_file = next((m for m in reversed(mounts) if m.parent not in own), None)
        if on_file is None:
            return
        if call.notified_by != BY_EVENT:
            mounts += self._gone_along(own, on_file, call)
        for mount in mounts:
            self._rows.detach(mount, "mountpoint-removed", "kernel", call.row)
        self._take_away(mounts, [call.row] * len(mounts))
        self._expect_on(on_file, call.row)

    def _gone_along(self, gone: set[int], on_file: Known, call: Call) -> list[Known]:
        """What the thread detached next that was on the same file, or mounted on what went: such is
        told of after that, and stays on it (UMOUNT_CONNECTED in fs/namespace.c)."""
        parents = set(gone)
        along = []
        for unique in self._notes.more_of_call(call):
            mount = self._tables.get(unique)
            if mount is None or not (mount.parent in parents or mount.is_on_file_of(on_file)):
                break
            parents.add(unique)
            along.append(mount)
        self._notes.drop(call.row["tid"], [mount.unique for mount in along])
        return along

    def _expect_on(self, on_file: Known, cause: Row) -> None:
        """What is on a removed file in namespaces of which fanotify does not tell yet went, too."""
        for namespace in self._tables.namespaces():
            if self._notes.is_watched(namespace, cause["monotonic"]):
                continue
            for mount in self._attached(sorted(self._tables.of_namespace(namespace))):
                if mount.is_on_file_of(on_file):
                    for unique in self._tables.tree(mount.unique):
                        self._expected.setdefault(unique, (cause, None, "mountpoint-removed"))

    def left(self, call: Call) -> None:
        """A call by which a thread left its namespace: the last one to leave takes it down."""
        key = namespace_key(call.row["ns"], call.row["ns_id"])
        told = self._notes.detached_by(call.row["tid"])
        own = [mount for mount in self._attached(told) if mount.namespace == key]
        if any(mount.parent == mount.unique for mount in own):
            self._notes.drop(call.row["tid"], {mount.unique for mount in own})
            self._died(own, "kernel", call.row)

    def settle(self, when: Row, everything: bool = False) -> None:
        """Write the detached mounts that no call of their thread accounts for: their namespace
        died, or their mount point was removed.

        Args:
            when: the time up to which all has been told, as columns `ts` and `monotonic`.
            everything: also those that a call that is not over may still account for.
        """
        for tid, uniques in self._notes.unclaimed(when["monotonic"], everything):
            self._without_call(self._attached(uniques), tid, when)

    def _without_call(self, mounts: list[Known], tid: int, when: Row) -> None:
        dead = {mount.namespace for mount in mounts if mount.parent == mount.unique}
        cause = when | {"tid": tid}
        self._died([mount for mount in mounts if mount.namespace in dead], "kernel", cause)
        removed = [mount for mount in mounts if mount.namespace not in dead]
        for mount in removed:
            self._rows.detach(mount, "mountpoint-removed", "kernel", cause)
        self._take_away(removed, [cause] * len(removed))

    def gone(self, namespace: int, when: Row) -> None:
        """A namespace is no longer there, and nobody told of it: fanotify did not watch it yet.

        What was to go along with a umount may have done so, or with the namespace before that.
        """
        mounts = self._attached(sorted(self._tables.of_namespace(namespace)))
        doubtful = [mount for mount in mounts if mount.unique in self._expected]
        self._died(doubtful, "ambiguous", when)
        self._died([mount for mount in mounts if mount not in doubtful], "snapshot", when)

    def went_along(self, uniques: Iterable[int]) -> None:
        """Of mounts that are no longer there, those that were to go with an earlier call did."""
        self.lost([unique for unique in uniques if unique in self._expected], {})

    def lost(self, uniques: Iterable[int], when: Row) -> None:
        """Mounts that are no longer there, and nobody told of it: first what went with the earliest
        call, for that moved what lay on it."""
        waiting = [
            (mount, self._expected.pop(mount.unique, (when, None, "")))
            for mount in self._attached(uniques)
        ]
        waiting.sort(key=lambda one: one[1][0].get("seq") or math.inf)
        for _, group in groupby(waiting, key=lambda one: one[1][0].get("seq")):
            gone = list(group)
            for mount, (cause, origin, via) in gone:
                self._rows.detach(mount, via, "snapshot", cause, origin)
            self._take_away([mount for mount, _ in gone], [cause for _, (cause, _, _) in gone])

    def _attached(self, uniques: Iterable[int]) -> list[Known]:
        return [mount for unique in uniques if (mount := self._tables.get(unique))]

    def _is_carried(self, mount: Known) -> bool:
        """Whether what happens to a mount propagates: it is on a shared one, or one that went."""
        parent = self._tables.recall(mount.parent)
        return parent is None or bool(parent.group) or parent.unique not in self._tables

    def _carried_as(self, mount: Known, origin: Known | None) -> str:
        parent = self._tables.recall(mount.parent)
        above = self._tables.recall(origin.parent) if origin else None
        is_peer = parent and above and parent.group and parent.group == above.group
        return "peer" if is_peer else "slave"

    def _died(self, mounts: list[Known], evidence: str, cause: Row) -> None:
        for mount in mounts:
            if mount.parent != mount.unique and not mount.is_hidden:
                self._rows.detach(mount, "namespace-death", evidence, cause)
        self._remove(mounts, [cause] * len(mounts))

    def _take_away(self, mounts: list[Known], causes: list[Row]) -> None:
        """Detach mounts; what covered one, and stays, gets its parent (reparent(), fs/pnode.c)."""
        self._remove(mounts, causes)
        for mount, cause in zip(mounts, causes, strict=True):
            above = self._tables.child_at(mount.unique, mount.root_key)
            if above is None:
                continue
            before = self._rows.place(above)
            below = self._lowest_gone(mount)
            at = below.place_key, below.place_hash
            self._tables.move(above, below.parent, *at, below.place)
            self._rows.move(above, "beneath", "model", cause, before)

    def _remove(self, mounts: list[Known], causes: list[Row]) -> None:
        for mount in mounts:
            self._tables.detach(mount.unique)
            self._expected.pop(mount.unique, None)
        for mount, cause in zip(mounts, causes, strict=True):
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
    """Which of the mounts that a call itself detached took another along: one at the same place,
    if there is one that was mounted on a peer or master of its parent."""
    same_place = [other for other in direct if other.place_key == mount.place_key]
    copies = [other for other in same_place if other.root_key == mount.root_key]
    return next(iter([*copies, *same_place]), None)


class _Reached:
    """Mounts that a umount took, and where it propagates to from those (propagate_umount() in
    fs/pnode.c)."""

    def __init__(self, tables: MountTables) -> None:
        self._tables = tables
        self._taken: set[int] = set()
        self._parents: dict[int, set[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._taken)

    def __contains__(self, mount: Known) -> bool:
        return mount.unique in self._taken or mount.parent in self._parents.get(mount.place_key, ())

    def has_parent_of(self, mount: Known) -> bool:
        """Whether a mount was on one that was taken."""
        return mount.parent in self._taken

    def add(self, mount: Known) -> None:
        """A mount that was taken."""
        self._taken.add(mount.unique)
        parent = self._tables.recall(mount.parent)
        parents = self._parents.setdefault(mount.place_key, set())
        # Where it propagates to from a receiver is among where it propagates to.
        if parent and parent.unique not in parents:
            parents |= self._tables.receivers(parent)
