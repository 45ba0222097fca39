# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Where mounts did not come, and umounts would not come, with what keeps them from there."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.barriers import Barrier, on_the_way
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis, Stopped
from mnttrace.analysis.diagnosis.now import Now
from mnttrace.analysis.model.mounts import Mount, MountId, lies_under


@dataclass(frozen=True)
class Missing:
    """A namespace that a mount did not come to.

    Attributes:
        namespace: its row of `namespaces`.
        stopped: why not.
        mount: the mount.
    """

    namespace: Row
    stopped: Stopped
    mount: Mount


Unstopped = Literal["no-directory", "open", "untold"]


@dataclass(frozen=True)
class Unexplained:
    """A namespace that does not have a mount, and nothing is known to have stopped it.

    Attributes:
        namespace: its row of `namespaces`.
        reason: "no-directory": it has no mount of the directory; "open": nothing keeps it from
            there now; "untold": its table, or the mount's, does not tell.
    """

    namespace: Row
    reason: Unstopped


class Reach:
    """Answers by the tables at a moment.

    Args:
        diagnosis: of the recording.
        now: the tables; None: those at the end.
        seq: the first operation that had not ended then; None: all had.
    """

    def __init__(self, diagnosis: Diagnosis, now: Now | None = None, seq: int | None = None):
        self._diagnosis = diagnosis
        self._now = now or diagnosis.now
        self._tables = self._now.tables
        self._seq = seq

    def missing(self, mounts: Iterable[Row], namespaces: Collection[int]) -> list[Missing]:
        """To which namespaces some mounts of one file system did not come, and why.

        A mount can come to a namespace that has the directory which it is on: by a mount of the
        same file system.

        Args:
            mounts: rows with `ns_id` and `mount_id`, of mounts that are there.
            namespaces: the ones that are asked about.
        """
        found = []
        for row, way in self._ways_to(mounts, namespaces):
            if isinstance(way, tuple):
                mount, barrier = way
                found.append(
                    Missing(row, self._diagnosis.stopped(self._tables, barrier, self._seq), mount)
                )
        return found

    def unexplained(self, mounts: Iterable[Row], namespaces: Collection[int]) -> list[Unexplained]:
        """The other namespaces that do not have some mounts of one file system.

        Args:
            mounts, namespaces: as for :meth:`missing`.
        """
        ways = self._ways_to(mounts, namespaces)
        return [Unexplained(row, way) for row, way in ways if isinstance(way, str)]

    def _ways_to(
        self, mounts: Iterable[Row], namespaces: Collection[int]
    ) -> Iterator[tuple[Row, tuple[Mount, Barrier] | Unstopped]]:
        there = [
            self._tables.mounts[id] for row in mounts if (id := self._mount_of(row)) is not None
        ]
        has = {mount.ns for mount in there}
        for ns in namespaces:
            if ns not in has:
                yield self._diagnosis.namespaces.get(ns, {}), self._barrier_to(ns, there)

    def _mount_of(self, row: Row) -> MountId:
        return self._now.by_number.get((row["ns_id"], row["mount_id"]))

    def _barrier_to(self, ns: int, mounts: Iterable[Mount]) -> tuple[Mount, Barrier] | Unstopped:
        """The mount that could have come to a namespace, and why it did not."""
        lacks_devices = self._lacks_devices(ns)
        for mount in mounts:
            parent = self._tables.mounts.get(mount.parent)
            if parent is None:
                continue
            for receiver in self._tables.in_namespace(ns):
                if receiver.device == parent.device and lies_under(mount.place, receiver.root):
                    if not self._tells_way(parent.id, receiver.id):
                        return "untold"
                    barrier = on_the_way(self._tables, parent.id, receiver.id)
                    return "open" if barrier is None else (mount, barrier)
            lacks_devices = lacks_devices or self._lacks_devices(mount.ns)
        return "untold" if lacks_devices else "no-directory"

    def _lacks_devices(self, ns: Hashable) -> bool:
        return bool(self._diagnosis.untold.get(ns, frozenset()) & {"device", "root"})

    def _tells_way(self, sender: MountId, receiver: MountId) -> bool:
        """Whether tables tell if what happens under one mount comes to another one: a private one
        neither sends nor receives, whatever the other one is."""
        kinds = [self._propagation(id) for id in (sender, receiver)]
        return None not in kinds or "private" in kinds or "unbindable" in kinds

    def _propagation(self, id: MountId) -> str | None:
        """The propagation type of a mount; None if its peer groups are not told."""
        row = self._now.facts[id]
        if row["propagation"] in ("private", "unbindable"):
            return str(row["propagation"])
        lacks = self._diagnosis.untold.get(row["ns_id"], frozenset())
        return None if lacks & {"propagation", "shared"} else str(row["propagation"])

    def tells_reach(self, sender: Row, receiver: Row) -> bool:
        """Whether it is known if a umount of one mount would take another one.

        Args:
            sender, receiver: rows with `ns_id` and `mount_id`, of mounts that are there.
        """
        ids = [self._mount_of(row) for row in (sender, receiver)]
        parents = [self._tables.mounts[id].parent for id in ids if id is not None]
        known = [id for id in parents if id in self._now.facts]
        return len(known) == len(ids) and self._tells_way(*known)

    def barrier_now(self, sender: Row, receiver: Row) -> Barrier | None:
        """Why a umount of one mount would not take another one now; None if it would, or if that
        is not known.

        Args:
            sender, receiver: rows with `ns_id` and `mount_id`, of mounts that are there.
        """
        from_, to = self._mount_of(sender), self._mount_of(receiver)
        if from_ is None or to is None:
            return None
        above, there = self._tables.mounts[from_].parent, self._tables.mounts[to].parent
        if above not in self._tables.mounts or there not in self._tables.mounts:
            return None
        return on_the_way(self._tables, above, there)
