# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What commands would do to the mount tables at the end of a recording, by the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.barriers import Barrier, on_the_way
from mnttrace.analysis.diagnosis.command_lines import NamespaceOf, parse
from mnttrace.analysis.diagnosis.commands import Command, RefusedCommand, carry_out, effects_of
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis, Stopped
from mnttrace.analysis.diagnosis.otherwise import Otherwise, changes_of
from mnttrace.analysis.model.mounts import Effect, Mount, MountId, Namespace, Refused, lies_under
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.query.targets import namespaces_of
from mnttrace.analysis.run import Run
from mnttrace.analysis.untold import ATTACH
from mnttrace.errors import BadInput

COLUMNS = ["command", "action", "ns_id", "ns", "name", "mountpoint", "via", "fstype", "source"]
COLUMNS += ["root", "propagation", "before"]


@dataclass(frozen=True)
class Consequence:
    """What a command would do to one mount.

    Attributes:
        command: the command.
        effect: by the model; copies that it predicts have negative ids, and so have new groups.
        path: the mount point, from the root of its namespace; of a detached one, as it was.
        facts: `fstype` and `source` of what is mounted, where they are known.
    """

    command: Command
    effect: Effect
    path: str
    facts: Row


@dataclass(frozen=True)
class Absent:
    """A namespace that a new mount would not come to, though it has the directory.

    Attributes:
        namespace: its row of `namespaces`.
        stopped: why not.
    """

    namespace: Row
    stopped: Stopped


@dataclass(frozen=True)
class InTheWay:
    """A mount because of which a command would be refused.

    Attributes:
        mount: as it was then.
        path: its mount point.
        facts: as for :class:`Consequence`.
    """

    mount: Mount
    path: str
    facts: Row


@dataclass(frozen=True)
class WhatIf:
    """The answer.

    Attributes:
        commands: as they were understood, up to the one that would be refused.
        texts: for each of them the line that it is from.
        consequences: in order of the commands.
        absent: namespaces that new mounts would not come to.
        refused: the last command, if it would be refused; nothing of what it asks for happens.
        in_the_way: the mounts because of which it would be.
        diagnosis: what the answer stands on.
    """

    commands: tuple[Command, ...]
    texts: tuple[str, ...]
    consequences: tuple[Consequence, ...]
    absent: tuple[Absent, ...]
    refused: RefusedCommand | None
    in_the_way: tuple[InTheWay, ...]
    diagnosis: Diagnosis

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The consequences with COLUMNS, a row each.

        `command` counts from 0, `ns_id`, `ns`, `name` are the namespace of the mount, `mountpoint`
        is its path there; `propagation` is that after it, `before` the one before it.
        """
        found = [_values(self, one) for one in self.consequences]
        frame = pd.DataFrame(found, columns=COLUMNS)
        texts = [name for name in COLUMNS if name not in ("command", "ns_id", "ns")]
        types = {"command": "Int64", "ns_id": "UInt64", "ns": "UInt32"}
        return frame.astype(types | dict.fromkeys(texts, "string[pyarrow]"))


def _values(answer: WhatIf, one: Consequence) -> Row:
    effect, mount = one.effect, one.effect.mount
    namespace = answer.diagnosis.namespaces.get(mount.ns, {}) if isinstance(mount.ns, int) else {}
    return {
        "command": answer.commands.index(one.command),
        "action": effect.action,
        "ns_id": mount.ns,
        "ns": namespace.get("ns"),
        "name": namespace.get("name"),
        "mountpoint": one.path,
        "via": effect.via,
        "fstype": one.facts.get("fstype"),
        "source": one.facts.get("source"),
        "root": mount.root,
        "propagation": mount.propagation,
        "before": effect.before.propagation if effect.before else None,
    }


def what_if(
    run: Run,
    diagnosis: Diagnosis,
    lines: Sequence[str],
    within: str,
    resolved: Callable[[str], str] = str,
) -> WhatIf:
    """Try commands on the tables at the end; nothing is changed.

    Args:
        run: the whole recording.
        diagnosis: of that.
        lines: commands as a person types them, see :func:`command_lines.parse`; they are tried one
            after the other, until one would be refused.
        within: the namespace that they are given in, by its name or a pid; "host": that of the
            recorder.
        resolved: another name for a namespace that is named in a line.

    Raises:
        BadInput: a line is no command that is known, or a namespace is not known; or imported
            tables do not tell what propagates.
    """
    if diagnosis.untold:
        raise BadInput("what propagates is not told by all of the imported mount tables", ATTACH)
    namespace_of = _finder(run, diagnosis, resolved)
    ns = namespace_of(within)
    asked = _Asked(diagnosis)
    given = [
        (one, text) for text in lines for one in parse(text, ns, namespace_of, asked.device_of)
    ]
    return asked.answer([one for one, _ in given], [text for _, text in given])


def replaced(run: Run, diagnosis: Diagnosis, lines: Sequence[str]) -> Otherwise:
    """What the recorded history would have led to with some of its operations changed.

    Args:
        run: the whole recording.
        diagnosis: of that.
        lines: the changes, see :func:`mnttrace.analysis.diagnosis.otherwise.changes_of`.

    Raises:
        BadInput: a line is no change, or there is no such operation; too many follow it.
    """
    if not run.meta.get("traced"):
        raise BadInput(
            "these are only mount tables: there are no operations to be replaced",
            "mnttrace record makes a recording that has them",
        )
    asked = _Asked(diagnosis)
    changes = changes_of(run, lines, _finder(run, diagnosis, str), asked.device_of)
    histories = diagnosis.histories(min(changes))
    return histories.otherwise(changes)


def _finder(run: Run, diagnosis: Diagnosis, resolved: Callable[[str], str]) -> NamespaceOf:
    """Finds the one namespace that a name stands for."""

    def namespace_of(text: str) -> Namespace:
        found = namespaces_of(run, resolved(text))
        if len(found) > 1:
            names = ", ".join(f"mnt:[{diagnosis.namespaces[one]['ns']}]" for one in sorted(found))
            raise BadInput(f"{len(found)} namespaces are called {text!r}", f"they are {names}")
        return found.pop()

    return namespace_of


class _Asked:
    """Tries commands on tables of its own."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self._diagnosis = diagnosis
        self._tables = diagnosis.now.tables
        self._new: dict[str, Row] = {}

    def device_of(self, source: str) -> str:
        """The device of a source that is mounted already; else a new one."""
        if source.startswith("/dev/"):
            for device, row in self._diagnosis.file_systems.items():
                if row["source"] == source:
                    return device
        device = f"new:{len(self._new)}"
        self._new[device] = {"source": source}
        return device

    def answer(self, commands: Sequence[Command], texts: Sequence[str]) -> WhatIf:
        consequences: list[Consequence] = []
        absent: list[Absent] = []
        refused, number = None, 0
        in_the_way: tuple[InTheWay, ...] = ()
        for number, command in enumerate(commands, 1):
            try:
                found = effects_of(self._tables, command)
            except Refused as why:
                in_the_way = tuple(map(self._in_the_way, why.mounts))
                refused = RefusedCommand(command, why.errno, why.reason)
                break
            except KeyError as error:
                raise BadInput(
                    "a namespace that a command is given in has no mounts",
                    "mnttrace info shows the namespaces that are there",
                ) from error
            consequences += [self._consequence(command, *one) for one in found]
            absent += self._absent(effect for effect, _ in found)
            if number < len(commands):
                self._go_on(command)
        return WhatIf(
            tuple(commands[:number]),
            tuple(texts[:number]),
            tuple(consequences),
            tuple(absent),
            refused,
            in_the_way,
            self._diagnosis,
        )

    def _go_on(self, command: Command) -> None:
        """Carry a command out, on a copy: the tables are shared by all answers."""
        if self._tables is self._diagnosis.now.tables:
            self._tables = self._tables.copy()
        carry_out(self._tables, [command])

    def _consequence(self, command: Command, effect: Effect, path: str) -> Consequence:
        return Consequence(command, effect, path, self._facts_of(effect.mount))

    def _in_the_way(self, id: MountId) -> InTheWay:
        mount = self._tables.mounts[id]
        return InTheWay(mount, self._tables.path(id), self._facts_of(mount))

    def _facts_of(self, mount: Mount) -> Row:
        return self._new.get(mount.device) or self._diagnosis.file_system(mount)

    def _absent(self, effects: Iterator[Effect]) -> Iterator[Absent]:
        """The namespaces that have the directory of a new mount, and get no copy."""
        new = [one.mount for one in effects if one.action == "attach"]
        if not new:
            return
        [top, *_], has = new, {one.ns for one in new}
        parent = self._tables.mounts.get(top.parent)
        if parent is None:
            return
        for ns, row in self._diagnosis.namespaces.items():
            receiver = None if ns in has else _with_directory(self._tables, ns, parent, top.place)
            if receiver is None:
                continue
            barrier = on_the_way(self._tables, parent.id, receiver.id)
            if barrier is not None:
                yield Absent(row, self._stopped(barrier))

    def _stopped(self, barrier: Barrier) -> Stopped:
        found = self._diagnosis.stopped(self._tables, barrier, None)
        if self._diagnosis.now.tables.mounts.get(barrier.mount.id) == barrier.mount:
            return found
        # It is so by one of the commands.
        return replace(found, mount=replace(found.mount, since=None, is_known=False))


def _with_directory(tables: Tables, ns: Namespace, parent: Mount, place: str) -> Mount | None:
    """A mount of a namespace that has a directory of another mount's file system."""
    for mount in tables.in_namespace(ns):
        if mount.device == parent.device and lies_under(place, mount.root):
            return mount
    return None
