# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What every answer about a recording stands on: its tables at the end, its story, the model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis.barriers import Barrier, of_umount, on_the_way
from mnttrace.analysis.diagnosis.now import Now, locked_mounts, tables_of
from mnttrace.analysis.diagnosis.origins import Step, kind_of, steps_of
from mnttrace.analysis.diagnosis.remedies import Remedy, find_remedy
from mnttrace.analysis.diagnosis.story import Story
from mnttrace.analysis.model.mounts import MountId
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.moments import History
from mnttrace.analysis.state.replay import Replay

_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Stopped:
    """Why a umount did not take a copy, with paths and operations.

    Attributes:
        barrier: by the model.
        path: the mount point of the barrier's mount, in its namespace.
        type: its propagation type.
        others: mount points of the mounts on it.
        since: the operation since which it was so; None if it was before the recording, or if the
            kind of barrier has none.
        is_known: whether `since` is known: False if an effect without operation made it so.
    """

    barrier: Barrier
    path: str
    type: str
    others: tuple[str, ...] = ()
    since: Row | None = None
    is_known: bool = True


class Diagnosis:
    """Answers about a recording.

    Args:
        run: the whole recording.
        history: of that.
    """

    def __init__(self, run: Run, history: History) -> None:
        self._run = run
        self._history = history
        self.story = Story(run)
        self.home: int | None = run.meta.get("home_ns_id")

    @cached_property
    def now(self) -> Now:
        """The mount tables at the end."""
        return tables_of(self._history.at(_END), locked_mounts(self._run))

    @cached_property
    def _by_number(self) -> dict[tuple[int, int], MountId]:
        return {(row["ns_id"], row["mount_id"]): id for id, row in self.now.facts.items()}

    @cached_property
    def _endable(self) -> frozenset[int]:
        """Namespaces with a process that was seen in them."""
        names = self._run.namespaces
        return frozenset(int(one) for one in names.loc[names["pid"].fillna(0) > 0, "ns_id"])

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
        wrong = [facts[id] for id in found & facts.keys() if self._is_wrong(id)]
        return {(row["ns_id"], row["mount_id"]) for row in wrong}

    def _is_wrong(self, mount: MountId) -> bool:
        return kind_of(self.story, steps_of(self.story, mount)) in ("held", "residue")

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
        if barrier is None:
            return None
        path, kind = tables.path(barrier.mount.id), barrier.mount.propagation
        others = tuple(tables.path(one.id) for one in barrier.others)
        if others or barrier.kind == "locked":
            return Stopped(barrier, path, kind, others)
        typed = self.story.typed_since(barrier.mount.id, operation["seq"])
        since = self.story.operation(typed["seq"]) if typed else None
        return Stopped(barrier, path, kind, (), since, typed is None or since is not None)

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

    def facts(self, mounts: Iterable[MountId]) -> list[Row]:
        """What the tables at the end say of some mounts."""
        return [self.now.facts[mount] for mount in mounts if mount in self.now.facts]

    @cached_property
    def namespaces(self) -> dict[int, Row]:
        """The rows of `namespaces`; that of the recorder is of kind "host"."""
        found = {row["ns_id"]: row for row in rows(self._run.namespaces)}
        if self.home is not None:
            found[self.home] = found.get(self.home, {}) | {"kind": "host", "name": "host"}
        return found
