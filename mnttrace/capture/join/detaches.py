# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Effects of mounts that went: by umount, with their namespace, or with their mount point."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby

from mnttrace.capture.join.changes import Changes
from mnttrace.capture.join.effect_rows import EffectRows, Evidence, Via
from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.expected_detaches import Expected, ExpectedDetaches
from mnttrace.capture.join.mount_list import MountList, whole_lists
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.mountinfo_entries import FIRST_MADE_UP
from mnttrace.capture.join.outbox import Cause
from mnttrace.capture.join.pending import PendingMountEvents
from mnttrace.capture.join.umounted import (
    Origins,
    Reached,
    begin_of,
    last_at_each_place,
    likely_of,
    lowest_gone,
    propagates,
    taken_directly,
    via_of,
)
from mnttrace.probes.records import BY_EVENT


class Detaches:
    """Takes mounts out of the tables, and writes why they went.

    Args:
        tables: kept up to date.
        pending: what threads detached.
        rows: what is written to.
        changes: hears which mounts leave their peer groups.

    Attributes:
        expected: what is to go along in other namespaces.
        uncalled: how many mounts went by a thread, and not with a call or a namespace.
        unexplained: how many were found missing, and nothing says with what they went.
        doubtful: of how many mounts it is not known with what they went: a call or their namespace.
    """

    def __init__(
        self, tables: MountTables, pending: PendingMountEvents, rows: EffectRows, changes: Changes
    ) -> None:
        self._tables = tables
        self._pending = pending
        self._rows = rows
        self._changes = changes
        self.expected = ExpectedDetaches(tables, pending)
        self.doubtful = self.uncalled = self.unexplained = 0

    # ---- by calls

    def by_umount(self, call: CallEnded, missing: Iterable[int]) -> None:
        """What a umount detached.

        Args:
            call: the umount.
            missing: what the kernel's list of its namespace lacked after it, where there is one.
        """
        tid, cause = call.row["tid"], Cause.of(call.row)
        missing = list(missing)
        self._before_call(self._tables.attached(self._pending.take_before(call)), call)
        reported = self._pending.take_of(call)
        if not reported or call.last_detached_known_by != BY_EVENT:
            gone = self._tables.attached([*missing, *reported])
            more = likely_of(call, self._pending, self._tables, reported, gone, self.expected)
            self._pending.drop(tid, more)
            reported += more
        known = self._tables.attached(reported)
        begin = begin_of(known)
        self._before_call(known[:begin], call)
        reported = [mount.unique for mount in known[begin:]]
        missing = last_at_each_place(self._tables.attached(missing))
        mounts = self._tables.attached(dict.fromkeys([*missing, *reported]))
        if not mounts and (released := self.expected.released(call)):
            mounts = [released]
        if not mounts:
            return
        direct, is_at_path = taken_directly(call, mounts, self._tables, self.expected, reported)
        # No report says who detached what is missing: others may have done it meanwhile.
        evidence: Evidence = "kernel" if reported or is_at_path else "ambiguous"
        sources = [one for one in mounts if one.unique in direct and propagates(one, self._tables)]
        along = Origins(sources, self._tables)
        origins = {mount.unique: along.of(mount) for mount in mounts}
        # What was to go with an earlier call did, if it is not reported to have gone with this one.
        unreported = origins.keys() - set(reported)
        origins |= dict.fromkeys(one for one in unreported if one in self.expected)
        others = [m for m in mounts if m.unique not in direct and origins[m.unique] is None]
        # What the thread did before the call, without one. What else is missing may be of calls
        # that are not over: these calls or a survey report it.
        of_others = {mount.unique for mount in others}
        of_thread = set(reported)
        self._before_call([mount for mount in others if mount.unique in of_thread], call)
        gone = mounts
        if others:
            gone = [mount for mount in mounts if mount.unique not in of_others]
        for mount in gone:
            origin = None if mount.unique in direct else origins[mount.unique]
            is_direct = mount.unique in direct
            via: Via = "direct" if is_direct else via_of(mount, origin, self._tables)
            self._write(mount, via, evidence, cause, origin)
        self.expected.copies(call, gone, {**origins, **direct})
        self._take_away([(mount, cause) for mount in gone])
        self.take_due(cause)

    def by_removal(self, call: CallEnded) -> None:
        """A call that removed or renamed what mounts were on in other namespaces."""
        cause = Cause.of(call.row)
        self._before_call(self._tables.attached(self._pending.take_before(call)), call)
        mounts = self._tables.attached(self._pending.take_of(call))
        # What is mounted on in the caller's own namespace cannot be removed: a umount before took
        # that, and its copies.
        umounted = Reached(self._tables, [mount for mount in mounts if mount.key == call.key])
        self._before_call([mount for mount in mounts if mount in umounted], call)
        mounts = [mount for mount in mounts if mount.unique in self._tables]
        own = {mount.unique for mount in mounts}
        on_file = next((m for m in reversed(mounts) if m.parent not in own), None)
        on_file = on_file or self.expected.released(call)
        if on_file is None:
            return
        if call.last_detached_known_by != BY_EVENT:
            mounts += self._gone_along(own, on_file, call)
        for mount in mounts:
            self._write(mount, "mountpoint-removed", "kernel", cause)
        self._take_away([(mount, cause) for mount in mounts])
        self.expected.on_file(call, on_file)
        self.take_due(cause)

    def _gone_along(self, gone: set[int], on_file: MountState, call: CallEnded) -> list[MountState]:
        """What the thread detached next that was on the same file, or mounted on what went: such is
        reported after that, and stays on it (UMOUNT_CONNECTED in fs/namespace.c)."""
        parents = set(gone)
        along = []
        for unique in self._pending.more_of_call(call):
            mount = self._tables.get(unique)
            if mount is None:
                break
            if mount.parent not in parents and not mount.mountpoint.is_same(on_file.mountpoint):
                break
            parents.add(unique)
            along.append(mount)
        self._pending.drop(call.row["tid"], [mount.unique for mount in along])
        return along

    def by_lists(self, call: CallEnded, lists: list[MountList]) -> None:
        """What was to go with a call in these namespaces, and is there, stayed; what is not went
        with it."""
        for _, present in whole_lists(lists):
            self.expected.found(present, call.end + 1)
        self.take_due(Cause.of(call.row))

    def take_due(self, current: Cause) -> None:
        """Take away what was to go, and is known to have gone: with a call, or with one before."""
        self.missing(self.expected.take_due(), current, current)

    def by_leaving(self, call: CallEnded) -> None:
        """A call by which a thread left its namespace: the last one to leave takes it down."""
        detached = self._pending.detached_by(call.row["tid"])
        own = [mount for mount in self._tables.attached(detached) if mount.key == call.key]
        root = next((index for index, mount in enumerate(own) if mount.is_root), None)
        if root is not None:
            # The root goes first (umount_tree() in fs/namespace.c), but last where mounts have no
            # unique ids (before Linux 6.8).
            first = root if own[root].unique < FIRST_MADE_UP else 0
            self._pending.drop(call.row["tid"], {mount.unique for mount in own})
            self._before_call(own[:first], call)
            self._died(own[first:], "kernel", Cause.of(call.row))

    # ---- without calls

    def write_unclaimed(self, when: Cause, everything: bool = False) -> None:
        """Write the detached mounts that no call of their thread accounts for: their namespace
        died, or their mount point was removed.

        Args:
            when: the time up to which all has been reported.
            everything: also those that a call that is not over may still account for.
        """
        for tid, uniques in self._pending.take_unclaimed(when.monotonic, everything):
            self._without_call(self._tables.attached(uniques), when._replace(tid=tid))

    def _before_call(self, mounts: list[MountState], call: CallEnded) -> None:
        """Write what the thread of a call detached before it, and no other call accounts for."""
        if mounts:
            self._without_call(mounts, Cause.of(call.row)._replace(seq=None))

    def _without_call(self, mounts: list[MountState], cause: Cause) -> None:
        dead = {mount.key for mount in mounts if mount.is_root}
        self._died([mount for mount in mounts if mount.key in dead], "kernel", cause)
        removed = [mount for mount in mounts if mount.key not in dead]
        self.uncalled += len(removed)
        for mount in removed:
            if not mount.is_hidden:
                via: Via = "expiry" if mount.is_automount else ""
                self._write(mount, via, "kernel", cause)
        self._take_away([(mount, cause) for mount in removed])

    def namespace_gone(self, key: int, when: Cause) -> None:
        """A namespace is no more, and nothing reported that: it was not watched yet.

        What was to go along with a umount may have done so, or with the namespace before that.
        """
        here = self._tables.of_namespace(key)
        is_reported = bool(here) and self._tables.root_of(key) is None
        # What is left of one whose end was reported went before that.
        absent = here if is_reported else self.expected.are_absent(here)
        self.doubtful += sum(unique not in self.expected for unique in absent)
        self.missing(sorted(absent), when)
        mounts = self._tables.attached(sorted(self._tables.of_namespace(key)))
        doubtful = [mount for mount in mounts if mount.unique in self.expected]
        certain = [mount for mount in mounts if mount.unique not in self.expected]
        self.doubtful += len(doubtful)
        self._died(doubtful, "ambiguous", when)
        self._died(certain, "snapshot", when)

    def used_again(self, key: int, when: Cause) -> None:
        """A namespace ended, and another one has its number: what is reported of its mounts says
        who detached them."""
        for tid, uniques in self._pending.take_detached(self._tables.of_namespace(key)):
            self._without_call(self._tables.attached(uniques), when._replace(tid=tid))
        self.namespace_gone(key, when)

    def apply_expected(self, uniques: Iterable[int], when: Cause) -> None:
        """Of mounts that a list lacks, those that were to go with an earlier call did."""
        self.missing([unique for unique in uniques if unique in self.expected], when)

    def missing(self, uniques: Iterable[int], when: Cause, current: Cause | None = None) -> None:
        """Mounts that are no longer there, which nothing reported: first what went with the
        earliest call, for that moved what lay on it.

        Args:
            uniques: their unique ids.
            when: the time, where no cause is known.
            current: the call that the list was made after, if it was.
        """
        nothing = Expected(when, None, "")
        waiting = [
            (mount, self.expected.take(mount.unique) or nothing)
            for mount in self._tables.attached(uniques)
        ]
        self.unexplained += sum(expected is nothing for _, expected in waiting)
        waiting.sort(key=lambda one: one[1].cause.seq or math.inf)
        for _, group in groupby(waiting, key=lambda one: one[1].cause.seq):
            gone = list(group)
            for mount, expected in gone:
                evidence: Evidence = "kernel" if expected.cause == current else "snapshot"
                self._write(mount, expected.via, evidence, expected.cause, expected.origin)
            self._take_away([(mount, expected.cause) for mount, expected in gone])

    # ---- out of the tables

    def _write(
        self,
        mount: MountState,
        via: Via,
        evidence: Evidence,
        cause: Cause,
        origin: MountState | None = None,
    ) -> None:
        self._changes.goes(mount)
        self._rows.detach(mount, via, evidence, cause, origin)

    def _died(self, mounts: list[MountState], evidence: Evidence, cause: Cause) -> None:
        for mount in mounts:
            if not mount.is_root and not mount.is_hidden:
                self._write(mount, "namespace-death", evidence, cause)
        self._remove([(mount, cause) for mount in mounts])

    def _take_away(self, gone: list[tuple[MountState, Cause]]) -> None:
        """Detach mounts; what covered one, and stays, gets its parent (reparent(), fs/pnode.c)."""
        self._remove(gone)
        for mount, cause in gone:
            if (above := self._tables.child_at(mount.unique, mount.root.key)) is None:
                continue
            before = self._rows.place(above)
            below = lowest_gone(mount, self._tables)
            self._tables.move(above, below.parent, below.mountpoint)
            self._rows.move(above, "beneath", "model", cause, before)

    def _remove(self, gone: list[tuple[MountState, Cause]]) -> None:
        for mount, _ in gone:
            self._tables.detach(mount.unique)
            self._pending.attached.claim(mount.unique)
            self.expected.take(mount.unique)
        for mount, cause in gone:
            self._changes.left_group(mount, mount.group, mount.master, cause)
