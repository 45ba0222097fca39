# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What every answer about a recording stands on: its tables at the end, its story, the model."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis.barriers import Barrier, of_umount, on_the_way
from mnttrace.analysis.diagnosis.commands import where
from mnttrace.analysis.diagnosis.now import Now, locked_mounts, tables_of
from mnttrace.analysis.diagnosis.origins import Step, kind_of, steps_of
from mnttrace.analysis.diagnosis.otherwise import Histories
from mnttrace.analysis.diagnosis.remedies import Remedy, find_remedy
from mnttrace.analysis.model.mounts import Mount, MountId, Refused, lies_under
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.names import labels
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.moments import History
from mnttrace.analysis.state.replay import Replay
from mnttrace.analysis.untold import untold
from mnttrace.recording.namespaces import HOST

_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Typed:
    """A mount with the propagation type that it had.

    Attributes:
        path: its mount point, in its namespace.
        namespace: the row of `namespaces` of that.
        type: the propagation type.
        since: the operation since which it had that; None if it was so before the recording.
        is_known: whether `since` is known: False if no operation is known to have made it so.
    """

    path: str
    namespace: Row
    type: str
    since: Row | None = None
    is_known: bool = True


@dataclass(frozen=True)
class Stopped:
    """Why a mount or umount did not come to a namespace, with paths and operations.

    Attributes:
        barrier: by the model.
        mount: the barrier's mount.
        receiver: that of the barrier, if it has one.
        others: mount points of the mounts on it.
    """

    barrier: Barrier
    mount: Typed
    receiver: Typed | None = None
    others: tuple[str, ...] = ()


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


class Diagnosis:
    """Answers about a recording.

    Args:
        run: the whole recording.
        history: of that.
    """

    def __init__(self, run: Run, history: History) -> None:
        self._run = run
        self._history = history
        self.story = run.story
        self.home: int | None = run.meta.get("home_ns_id")
        self.untold = untold(run.meta)
        self.histories = lru_cache(maxsize=4)(self._histories)

    @cached_property
    def now(self) -> Now:
        """The mount tables at the end."""
        return tables_of(self._history.at(_END), locked_mounts(self._run))

    def _histories(self, first: int) -> Histories:
        """To try changes of the history from an operation on; the last ones are kept."""
        return Histories(self._run, self.now.tables, first)

    @cached_property
    def _by_number(self) -> dict[tuple[int, int], MountId]:
        return {(row["ns_id"], row["mount_id"]): id for id, row in self.now.facts.items()}

    @cached_property
    def _endable(self) -> frozenset[int]:
        """Namespaces with a process that was seen in them."""
        names = self._run.namespaces
        return frozenset(int(one) for one in names.loc[names["pid"].fillna(0) > 0, "ns_id"])

    def has_mount_id(self, mount_id: int) -> bool:
        """Whether a mount with that id is there at the end, in any namespace."""
        return any(one == mount_id for _, one in self._by_number)

    def mount(self, ns_id: int, mount_id: int) -> MountId:
        """The id in the tables at the end of a mount with a number; None if it is gone."""
        return self._by_number.get((ns_id, mount_id))

    def remedy(
        self, unwanted: Iterable[tuple[int, int]], busy: Collection[MountId] = ()
    ) -> Remedy | None:
        """How to take some mounts away; None if none of them is there at the end.

        Args:
            unwanted: their namespaces and mount ids.
            busy: those that processes use, by their ids in the tables.
        """
        found = [id for place in unwanted if (id := self.mount(*place)) is not None]
        if not found:
            return None
        return find_remedy(self.now.tables, found, home=self.home, busy=busy, endable=self._endable)

    def came_along(self, mount: Row, steps: list[Step]) -> set[tuple[int, int]]:
        """What is held or left, too, and belongs to a mount: what lies on it, and what came there
        by the same operation; as namespaces and mount ids.

        Args:
            mount: a row with `ns_id` and `mount_id`, held or left.
            steps: how it came there.
        """
        tables, facts = self.now.tables, self.now.facts
        top = self.mount(mount["ns_id"], mount["mount_id"])
        if top is None:
            return set()
        found = {one.id for one in tables.tree(top)}
        if steps and steps[0].how == "propagated" and steps[0].effect:
            seq, effects = steps[0].effect["seq"], self._run.effects
            same = (effects["seq"] == seq) & (effects["ns_id"] == mount["ns_id"])
            same &= effects["action"] == "attach"
            found |= set(effects.loc[same.fillna(False), "mnt_id_unique"].dropna().astype(int))
        wrong = [facts[id] for id in found & facts.keys() if self.is_wrong(id)]
        return {(row["ns_id"], row["mount_id"]) for row in wrong}

    def is_wrong(self, mount: MountId) -> bool:
        """Whether a mount is held or left."""
        return kind_of(self.story, steps_of(self.story, mount)) in ("held", "residue")

    def asked_to_unmount(self, operation: Row) -> set[tuple[int, int]]:
        """The mount that is now where a umount was asked for: its namespace and mount id."""
        if operation["syscall"] != "umount2":
            return set()
        try:
            spot = where(self.now.tables, operation["ns_id"], operation["path"])
        except (KeyError, Refused):
            return set()
        row = self.now.facts[spot.mount]
        return {(row["ns_id"], row["mount_id"])}

    def stopped_umount(self, mount: object, steps: list[Step]) -> Stopped | None:
        """Why the umount of what a mount is a copy of did not take it; None if there was none.

        Args:
            mount: its unique id.
            steps: how it came there.
        """
        if kind_of(self.story, steps) not in ("held", "residue"):
            return None
        came = next(step for step in steps if step.how != "bound")
        return self.why_umount_stopped((came.effect or {}).get("copy_of_unique"), mount)

    def why_umount_stopped(self, original: object, copy: object) -> Stopped | None:
        """Why the umount of one mount did not take a copy of it away; None if it is not known.

        Args:
            original, copy: their unique ids.
        """
        gone = self.story.detached(original)
        if gone is None or gone["via"] == "namespace-death":
            return None
        operation = self.story.operation(gone["seq"])
        if operation is None:
            return None
        operations = self._run.operations
        moment = operations.loc[operations["seq"] == operation["seq"]]
        moment = moment[["seq", "monotonic", "ns_id"]]
        tables = Replay(self._run, moment).to(operation["seq"], operation["monotonic"])
        try:
            barrier = of_umount(tables, original, copy)
        except KeyError:
            return None
        return None if barrier is None else self.stopped(tables, barrier, operation["seq"])

    def stopped(self, tables: Tables, barrier: Barrier, seq: int | None) -> Stopped:
        """A barrier with paths and operations.

        Args:
            tables: that it was found in.
            barrier: the barrier.
            seq: the operation that it stopped; None: it is one at the end.
        """
        receiver = barrier.receiver and self._typed(tables, barrier.receiver, seq)
        others = tuple(tables.path(one.id) for one in barrier.others)
        as_slave = barrier.kind == "sends-nothing-up"
        mount = self._typed(tables, barrier.mount, seq, as_slave=as_slave)
        return Stopped(barrier, mount, receiver, others)

    def _typed(
        self, tables: Tables, mount: Mount, seq: int | None, *, as_slave: bool = False
    ) -> Typed:
        """A mount with its type, and since when it has that; or is a slave, where that counts."""
        since = self.story.slave_since if as_slave else self.story.typed_since
        effect = since(mount.id, seq)
        operation = self.story.operation(effect["seq"]) if effect else None
        is_older = effect is None and bool(self._run.meta.get("traced"))
        is_known = is_older or operation is not None
        row = self.namespaces.get(mount.ns, {}) if isinstance(mount.ns, int) else {}
        return Typed(tables.path(mount.id), row, mount.propagation, operation, is_known)

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
                found.append(Missing(row, self.stopped(self.now.tables, barrier, None), mount))
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
        tables = self.now.tables
        there = [tables.mounts[id] for row in mounts if (id := self._mount_of(row)) is not None]
        has = {mount.ns for mount in there}
        for ns in namespaces:
            if ns not in has:
                yield self.namespaces.get(ns, {}), self._barrier_to(ns, there)

    def _mount_of(self, row: Row) -> MountId:
        return self.mount(row["ns_id"], row["mount_id"])

    def _barrier_to(self, ns: int, mounts: Iterable[Mount]) -> tuple[Mount, Barrier] | Unstopped:
        """The mount that could have come to a namespace, and why it did not."""
        tables = self.now.tables
        lacks_devices = self._lacks_devices(ns)
        for mount in mounts:
            parent = tables.mounts.get(mount.parent)
            if parent is None:
                continue
            for receiver in tables.in_namespace(ns):
                if receiver.device == parent.device and lies_under(mount.place, receiver.root):
                    if not self._tells_way(parent.id, receiver.id):
                        return "untold"
                    barrier = on_the_way(tables, parent.id, receiver.id)
                    return "open" if barrier is None else (mount, barrier)
            lacks_devices = lacks_devices or self._lacks_devices(mount.ns)
        return "untold" if lacks_devices else "no-directory"

    def _lacks_devices(self, ns: Hashable) -> bool:
        return bool(self.untold.get(ns, frozenset()) & {"device", "root"})

    def _tells_way(self, sender: MountId, receiver: MountId) -> bool:
        """Whether tables tell if what happens under one mount comes to another one: a private one
        neither sends nor receives, whatever the other one is."""
        kinds = [self._propagation(id) for id in (sender, receiver)]
        return None not in kinds or "private" in kinds or "unbindable" in kinds

    def _propagation(self, id: MountId) -> str | None:
        """The propagation type of a mount; None if its peer groups are not told."""
        row = self.now.facts[id]
        if row["propagation"] in ("private", "unbindable"):
            return str(row["propagation"])
        lacks = self.untold.get(row["ns_id"], frozenset())
        return None if lacks & {"propagation", "shared"} else str(row["propagation"])

    def tells_reach(self, sender: Row, receiver: Row) -> bool:
        """Whether it is known if a umount of one mount would take another one.

        Args:
            sender, receiver: rows with `ns_id` and `mount_id`, of mounts that are there.
        """
        tables = self.now.tables
        ids = [self.mount(row["ns_id"], row["mount_id"]) for row in (sender, receiver)]
        parents = [tables.mounts[id].parent for id in ids if id is not None]
        known = [id for id in parents if id in self.now.facts]
        return len(known) == len(ids) and self._tells_way(*known)

    def barrier_now(self, sender: Row, receiver: Row) -> Barrier | None:
        """Why a umount of one mount would not take another one now; None if it would, or if that
        is not known.

        Args:
            sender, receiver: rows with `ns_id` and `mount_id`, of mounts that are there.
        """
        tables = self.now.tables
        from_ = self.mount(sender["ns_id"], sender["mount_id"])
        to = self.mount(receiver["ns_id"], receiver["mount_id"])
        if from_ is None or to is None:
            return None
        above, there = tables.mounts[from_].parent, tables.mounts[to].parent
        if above not in tables.mounts or there not in tables.mounts:
            return None
        return on_the_way(tables, above, there)

    def file_system(self, mount: Mount) -> Row:
        """`fstype` and `source` of what is mounted, where they are known.

        Of a mount that the model predicts they are those of the last file system with its device
        number; others can have had that before.
        """
        known = self.now.facts.get(mount.id) or self.story.attached(mount.id)
        return known or self.file_systems.get(mount.device, {})

    def cover(self, mount: Row) -> Row | None:
        """What the tables at the end say of the mount that hides another one from paths: it is on
        its root, or on a directory above it; None if there is none.

        Args:
            mount: a row with `ns_id` and `mount_id`.
        """
        tables = self.now.tables
        one = tables.mounts.get(self.mount(mount["ns_id"], mount["mount_id"]))
        if one is None:
            return None
        found = tables.overmount(one)
        while found is None and one is not None:
            around = tables.children(one.parent) if one.parent in tables.mounts else []
            above = [o for o in around if o.id != one.id and lies_under(one.place, o.place)]
            found = above[0] if above else None
            one = tables.mounts.get(one.parent)
        return None if found is None else self.now.facts.get(found.id)

    @cached_property
    def file_systems(self) -> dict[str, Row]:
        """`fstype` and `source` of each device that was mounted; of the last one with a number."""
        effects = self._run.effects[["device", "fstype", "source"]].dropna(subset=["device"])
        last = effects.drop_duplicates("device", keep="last")
        found = {row["device"]: row for row in rows(last)}
        found |= {row["device"]: row for row in self.now.facts.values()}
        return found

    def facts(self, mounts: Iterable[MountId]) -> list[Row]:
        """What the tables at the end say of some mounts."""
        return [self.now.facts[mount] for mount in mounts if mount in self.now.facts]

    @cached_property
    def namespaces(self) -> dict[int, Row]:
        """The rows of `namespaces`, with `label`; that of the recorder is of kind "host"."""
        names = labels(self._run)
        found = {
            row["ns_id"]: row | {"label": names[row["ns_id"]]} for row in rows(self._run.namespaces)
        }
        if self.home is not None:
            host = {"kind": HOST, "name": HOST, "label": HOST}
            found[self.home] = found.get(self.home, {}) | host
        return found
