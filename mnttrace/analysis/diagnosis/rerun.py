# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The recorded history, put through the model, with some of its operations changed.

A mount has the unique id that was recorded for it wherever the same operation makes it at the same
place of the same namespace; what was not recorded has a negative one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis import calls, recorded_calls
from mnttrace.analysis.diagnosis.commands import Command, apply
from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import (
    Effect,
    MountId,
    Namespace,
    Refused,
    Spot,
)
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.replay import Replay, mount_of

ITSELF = None  # among the commands of a change: the operation as it was recorded

Changes = Mapping[int, tuple[Command | None, ...]]
"""What is done in place of operations, by their numbers."""

_OPERATIONS = ["seq", "monotonic", "syscall", "error", "ns_id", "root_unique", "root_path"]
_OPERATIONS += ["path", "path_unique", "source_path", "flags_value", "propagation"]
_EFFECTS = ["seq", "monotonic", "ns_id", "action", "via", "mnt_id_unique", "parent_unique"]
_EFFECTS += ["parent_path", "mountpoint", "root", "device", "shared", "master", "unbindable"]
_EFFECTS += ["locked", "copy_of_unique", "copy_of_ns_id"]


@dataclass(frozen=True)
class Attached:
    """A mount that was attached in a rerun.

    Attributes:
        id: its id there.
        seq: the operation, or the one in whose place it was done; None: none that is known.
        ns: its namespace.
        path: its mount point then.
    """

    id: MountId
    seq: int | None
    ns: Namespace
    path: str


@dataclass
class Rerun:
    """What a history leads to.

    Attributes:
        tables: at its end.
        attached: the mounts that were, in order.
        detached: by the id of a mount that was, the operation.
        ended: by namespace whose end was seen late, the operation before which it had ended.
        refused: operations that the model refuses, and commands in their place.
        impossible: operations of which a mount that they worked on is not there.
        as_recorded: operations that the model does not follow: their recorded effects were taken.
        changed: by operation, what it gave another propagation type.
        worked_on: by operation, the directory that it attached a mount to, or what it unmounted:
            device, and path within the file system.
    """

    tables: Tables
    attached: list[Attached] = field(default_factory=list)
    detached: dict[MountId, int | None] = field(default_factory=dict)
    ended: dict[Namespace, int] = field(default_factory=dict)
    refused: dict[int, Refused] = field(default_factory=dict)
    impossible: set[int] = field(default_factory=set)
    as_recorded: set[int] = field(default_factory=set)
    changed: dict[int, Spot] = field(default_factory=dict)
    worked_on: dict[int, recorded_calls.WorkedOn] = field(default_factory=dict)

    def elsewhere(self, before: Rerun) -> set[int]:
        """The operations that find something else at their paths than in another rerun."""
        return {
            seq
            for seq, spot in self.worked_on.items()
            if spot is not None and before.worked_on.get(seq) not in (None, spot)
        }


class History:
    """The operations and effects of a recording from one operation to another.

    Args:
        run: the whole recording; its mounts need unique ids.
        first: the number of the first operation.
        last: the number of the last one; None: to the end.
    """

    def __init__(self, run: Run, first: int, last: int | None = None) -> None:
        operations = run.operations.sort_values("seq")
        operations = operations[operations["seq"] >= first]
        if last is not None:
            operations = operations[operations["seq"] <= last]
        self.operations = list(rows(operations, _OPERATIONS))
        self.by_operation: dict[int, list[Row]] = defaultdict(list)
        self.without: list[Row] = []
        begin = self.operations[0]["monotonic"] if self.operations else 0
        effects = run.effects
        wanted = effects["seq"].isin(operations["seq"])
        wanted |= effects["seq"].isna() & (effects["monotonic"] >= begin)
        for row in rows(effects[wanted], _EFFECTS):
            if row["seq"] is None:
                self.without.append(row)
            else:
                self.by_operation[row["seq"]].append(row)
        moment = operations.head(1)[["seq", "monotonic", "ns_id"]]
        # Made anew, so that namespaces that were made meanwhile have their root directories.
        replayed = Replay(run, moment).to(first, begin).mounts if self.operations else {}
        self._begin = Tables(replayed.values())
        self._last_monotonic = self.operations[-1]["monotonic"] if last is not None else None

    def rerun(self, changes: Changes, before: Rerun | None = None) -> Rerun:
        """Go through it.

        Args:
            changes: what is done in place of operations.
            before: the same without changes: what the model refused there, and that was refused
                when it was recorded, is tried again; all other calls that failed are left out.
        """
        done = Rerun(self._begin.copy())
        ends = {row["ns_id"] for row in self.without if _is_end(row)}
        step = _Step(done, before, ends)
        pending = iter(self.without)
        loose = next(pending, None)
        for operation in self.operations:
            while loose is not None and (loose["monotonic"] or 0) < operation["monotonic"]:
                step.without_operation(loose)
                loose = next(pending, None)
            step.operation(operation, self.by_operation.get(operation["seq"], []), changes)
        while loose is not None and self._is_within(loose):
            step.without_operation(loose)
            loose = next(pending, None)
        return done

    def _is_within(self, effect: Row) -> bool:
        last = self._last_monotonic
        return last is None or (effect["monotonic"] or 0) < last


class _Step:
    """Carries operations out."""

    def __init__(self, done: Rerun, before: Rerun | None, ends: set[Namespace]) -> None:
        self._done = done
        self._tables = done.tables
        self._before = before
        self._ends = ends  # those that no operation caused, and that are therefore seen late
        self._ended: dict[int, list[Namespace]] = defaultdict(list)
        for ns, seq in (before.ended if before else {}).items():
            self._ended[seq].append(ns)

    def operation(self, row: Row, recorded: list[Row], changes: Changes) -> None:
        for ns in self._ended.get(row["seq"], ()):
            propagation.end_namespace(self._tables, ns)
        for command in changes.get(row["seq"], (ITSELF,)):
            try:
                if command is ITSELF:
                    self._itself(row, recorded)
                else:
                    apply(self._tables, command)
                    self._finish(row["seq"], self._tables.effects(), recorded)
            except (Refused, KeyError) as why:
                self._tables.undo()
                if self._before is None and not row["error"]:
                    self._as_recorded(row["seq"], recorded)
                elif isinstance(why, Refused):
                    self._done.refused[row["seq"]] = why
                else:
                    self._done.impossible.add(row["seq"])
        for ns in dict.fromkeys(one["ns_id"] for one in recorded if _is_end(one)):
            propagation.end_namespace(self._tables, ns)

    def _as_recorded(self, seq: int, recorded: list[Row]) -> None:
        """Do what was recorded of a call that the model does not follow."""
        self._done.as_recorded.add(seq)
        for effect in recorded:
            id = effect["mnt_id_unique"]
            if effect["action"] == "detach":
                self._tables.learn(id, None)
            elif effect["parent_unique"] in self._tables.mounts:
                self._tables.learn(id, mount_of(effect, self._tables))

    def without_operation(self, effect: Row) -> None:
        """What no operation did: the end of a namespace, or a mount that the kernel made."""
        if _is_end(effect):
            propagation.end_namespace(self._tables, effect["ns_id"])
        elif effect["action"] == "attach" and effect["parent_unique"] in self._tables.mounts:
            mount = mount_of(effect, self._tables)
            spot = Spot(mount.parent, mount.place)
            try:
                found = propagation.mount(
                    self._tables, spot, mount.device, root=mount.root, id=mount.id
                )
            except Refused:
                return
            self._finish(None, found, [effect])

    def _itself(self, row: Row, recorded: list[Row]) -> None:
        if self._before is not None and row["seq"] in self._before.as_recorded:
            self._as_recorded(row["seq"], recorded)
            return
        if row["error"]:
            found = self._failed(row)
        elif born := [one for one in recorded if one["via"] == "namespace-copy"]:
            found = recorded_calls.birth(self._tables, born)
        elif calls.is_type_change(row):
            found = self._change(row, recorded)
        else:
            found = recorded_calls.call(self._tables, row, recorded)
            self._done.worked_on[row["seq"]] = recorded_calls.worked_on(self._tables, found)
        if self._before is None and recorded:
            found = self._without_ended(row["seq"], found, recorded)
        self._finish(row["seq"], found, recorded)

    def _without_ended(self, seq: int, effects: list[Effect], recorded: list[Row]) -> list[Effect]:
        """End the namespaces that an operation did not reach any more, though it would have."""
        would = {one.mount.ns for one in effects if one.via in ("peer", "slave")}
        ended = (would & self._ends) - {row["ns_id"] for row in recorded}
        for ns in ended:
            self._done.ended[ns] = seq
            propagation.end_namespace(self._tables, ns)
        return [one for one in effects if one.mount.ns not in ended]

    def _change(self, row: Row, recorded: list[Row]) -> list[Effect]:
        spot = self._before.changed.get(row["seq"]) if self._before else None
        if spot is None or spot.mount not in self._tables.mounts:
            spot = recorded_calls.spot_of_change(self._tables, row, recorded)
        self._done.changed[row["seq"]] = spot
        recursive = calls.is_recursive(row)
        return propagation.change(self._tables, spot, row["propagation"], recursive=recursive)

    def _failed(self, row: Row) -> list[Effect]:
        if row["syscall"] not in calls.CALLS:
            return []
        if self._before is None:
            why = calls.refusal(self._tables, row)
            if why is not None and why.errno == row["error"]:
                raise why
            return []
        if row["seq"] not in self._before.refused:
            return []
        return calls.carry_out(self._tables, row)

    def _finish(self, seq: int | None, effects: list[Effect], recorded: list[Row]) -> None:
        """Give new mounts their recorded ids, and note them."""
        for one in effects:
            if one.action == "detach":
                self._done.detached[one.mount.id] = seq
        attached = [one for one in effects if one.action == "attach"]
        names = _names(self._tables, attached, recorded)
        self._tables.rename(mounts=names)
        for effect in attached:
            old = effect.mount.id
            id = names.get(old, old)
            path = self._tables.path(id)
            self._done.attached.append(Attached(id, seq, effect.mount.ns, path))


def _is_end(effect: Row) -> bool:
    return bool(effect["via"] == "namespace-death")


def _names(tables: Tables, attached: list[Effect], recorded: list[Row]) -> dict[MountId, MountId]:
    """The recorded ids of new mounts, by the ids that the model gave them.

    Copies of a namespace are found by what they are copies of, others by their mount points.
    """
    known: dict[object, list[MountId]] = defaultdict(list)
    for row in recorded:
        if row["action"] != "attach" or row["mnt_id_unique"] in tables.mounts:
            continue
        is_copy = row["via"] == "namespace-copy"
        key = row["copy_of_unique"] if is_copy else row["mountpoint"]
        known[row["ns_id"], is_copy, key].append(row["mnt_id_unique"])
    found: dict[MountId, MountId] = {}
    for effect in attached:
        mount, is_copy = effect.mount, effect.via == "namespace-copy"
        if isinstance(mount.id, int) and mount.id > 0:
            continue
        key = effect.copy_of if is_copy else tables.path(mount.id)
        if ids := known.get((mount.ns, is_copy, key)):
            found[mount.id] = ids.pop(0)
    return found
