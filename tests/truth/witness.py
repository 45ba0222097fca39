# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recording beside the kernel: what it says of each operation, and what the mount tables say.

The truth of an operation is the difference of all namespaces' tables before and after it, by unique
ids, or by those of mountinfo where the kernel tells no others. The recording says it right if the
effects that it ascribes to the operation are these.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mnttrace.analysis.model.mounts import DELETED, Mount
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.state.replay import mount_of
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.session import Session
from mnttrace.probes.kernel import KernelProbes
from tests.rejoined import Kept
from tests.truth.both import Both
from tests.truth.harness import Kernel, tables_of, tells_unique_ids

Seen = dict[int, Mount]
What = tuple[str, int]  # action, id of the mount


class Step(NamedTuple):
    """An operation that was done: when (CLOCK_MONOTONIC, ns), and the truth of it.

    `actor` is the process that did it, 0 for none; `ways` how it came to each mount, by the model,
    None where no model is asked.
    """

    name: str
    begun: int
    ended: int
    truth: Counter[What]
    actor: int
    ways: dict[What, str] | None


@dataclass
class Score:
    """How often the recording was right: of what it told, and of what there was to tell."""

    told: int = 0
    right: int = 0
    truth: int = 0
    ambiguous: int = 0
    caused: int = 0
    elsewhere: int = 0
    ways: int = 0
    by_action: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        precision = self.right / self.told if self.told else 1
        recall = self.right / self.truth if self.truth else 1
        return (
            f"{self.truth} effects ({dict(self.by_action)}), {self.elsewhere} of them in other "
            f"namespaces than the caller's: precision {precision:.4f}, recall {recall:.4f}, "
            f"with their cause {self.caused / (self.told or 1):.4f}, ambiguous {self.ambiguous}; "
            f"how {self.ways} of them came there is what the model says"
        )


class Witness:
    """Records while a test goes on; `with` arms the probes once for many kernels.

    Args:
        late: how many operations are let pass before the recorder looks: 0, it looks after each.
            If it looks late, it cannot always know when a mount lost its master by what was done
            in another namespace, or by the end of a detached tree: changes are not compared. Nor
            can it know what was moved or carried in a namespace that has lived between two looks,
            or that was born since the last one, and is not watched yet.
        backend: as of :class:`mnttrace.probes.kernel.KernelProbes`.
    """

    def __init__(self, late: int = 0, backend: str | None = None) -> None:
        self.late = late
        self.backend = backend
        self.score = Score()

    def __enter__(self) -> Witness:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self._numbers: dict[int, int] = {}
        self.probes = KernelProbes(backend=self.backend)
        self.session = Session(self.probes, self._add, 0, Filter())
        self._directory = TemporaryDirectory()
        self._kept = Kept(self.session, Path(self._directory.name))
        self.session.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.losses = self.session.end()
        self.session.close()
        self.probes.close()
        with self._directory:
            self._kept.check()

    def _add(self, table: str, row: dict[str, Any]) -> None:
        self._kept.add(table, row)
        if table == "effects" and not tells_unique_ids():
            row = {
                **row,
                "number": row["mnt_id_unique"],
                "mnt_id_unique": row["mount_id"],
                "parent_unique": row["parent_id"],
            }
        self.rows.setdefault(table, []).append(row)

    def lost(self, kind: str) -> int:
        """How many records of a kind of loss there were, once it is over."""
        return sum(n for name, n in self.losses.items() if name.startswith(kind))

    def begin(self, kernel: Kernel) -> None:
        """Begin with a kernel that has its first namespace."""
        self.session.poll()
        self.session.drain()
        self.tables = Tables()
        self.names = {process.namespace_id: name for name, process in kernel.processes.items()}
        for row in self.rows.setdefault("effects", []):
            self._apply(row)
        self.rows["effects"] = []
        self.rows["operations"] = []
        self.steps: list[Step] = []
        self.homes: dict[int, Any] = {}
        self.watched = set(self.names)
        self.seen = self._look(kernel)
        self._compare(kernel, "begin")
        self.begun = time.monotonic_ns()

    def step(self, kernel: Kernel, name: str, both: Both | None = None) -> None:
        """Take the truth of an operation that was just done; compare, if it is time for that.

        Args:
            kernel: what it was done in.
            name: of the operation.
            both: what the model says of it.
        """
        ended = time.monotonic_ns()
        for process in kernel.processes.values():
            self.names.setdefault(process.namespace_id, process.name)
        seen = self._look(kernel)
        truth = _difference(self.seen, seen)
        for what in list(truth):
            table = seen if what[0] == "attach" else self.seen
            if what[0] in ("attach", "detach") and not self._is_told(what[1], table):
                del truth[what]
        actor = kernel.processes[both.actor].pid if both and both.actor else 0
        ways = dict(both.ways) if both else None
        self.steps.append(Step(name, self.begun, ended, truth, actor, ways))
        self.seen = seen
        if len(self.steps) > self.late:
            self.check(kernel)
        self.begun = time.monotonic_ns()

    def check(self, kernel: Kernel) -> None:
        """Compare what has been recorded since the last time.

        Raises:
            AssertionError: that names the operation, and what is missing or too much.
        """
        self.session.poll()
        self.session.drain()
        told = self._told()
        alive = {process.namespace_id for process in kernel.processes.values()}
        problems = []
        for step, effects in zip(self.steps, told, strict=True):
            self.score.told += effects.total()
            self.score.truth += step.truth.total()
            self.score.right += (effects & step.truth).total()
            self.score.by_action.update(action for action, _ in step.truth.elements())
            more, less = (
                self._counted(found, alive & self.watched)
                for found in (effects - step.truth, step.truth - effects)
            )
            if more or less:
                problems.append(f"{step.name}: too much {dict(more)}, missing {dict(less)}")
        assert not problems, "\n".join([*problems, self._log()])
        self._compare(kernel, ", ".join(step.name for step in self.steps))
        self.watched = alive
        self.steps = []
        self.rows["effects"].clear()
        self.rows["operations"].clear()

    def _counted(self, found: Counter[What], watched: set[int]) -> Counter[What]:
        """What can be known: see `late`."""
        if not self.late:
            return found
        return Counter(
            {
                (action, id): n
                for (action, id), n in found.items()
                if action != "change" and not (action == "move" and self.homes[id] not in watched)
            }
        )

    def _told(self) -> list[Counter[What]]:
        """What the recording says of each step."""
        operations = {row["seq"]: row for row in self.rows["operations"]}
        told: list[Counter[What]] = [Counter() for _ in self.steps]
        uncaused: list[What] = []
        for row in self.rows["effects"]:
            what = (row["action"], row["mnt_id_unique"])
            self._apply(row)
            if row["ns_id"] not in self.names:
                continue
            # Nobody tells of a namespace that was born since the last look.
            is_told = not self.late or row["ns_id"] in self.watched
            self.score.ambiguous += row["evidence"] == "ambiguous" and is_told
            cause = operations.get(row["seq"])
            self.score.elsewhere += row["ns_id"] != (cause or row)["ns_id"]
            # Of what no operation did, as when a namespace ends, the thread that did it.
            self.score.caused += row["tid"] is not None
            if cause:
                at = self._step_at(cause["monotonic"])
                told[at][what] += 1
                self._check_actor(row, cause, self.steps[at])
                if is_told:
                    self._check_way(row, self.steps[at])
            else:
                uncaused.append(what)
        for what in uncaused:
            told[self._step_of(what, told)][what] += 1
        return told

    def _check_actor(self, row: dict[str, Any], cause: dict[str, Any], step: Step) -> None:
        """That the operation is that of the process that did it."""
        assert not step.actor or cause["tid"] == step.actor, (step.name, row, cause)

    def _check_way(self, row: dict[str, Any], step: Step) -> None:
        """That the operation came to the mount as the model says.

        In a namespace that is not watched yet, a mount may have moved unseen: so it is not known
        whether a lazy umount took it as one of the tree, or as a copy.
        """
        way = (step.ways or {}).get((row["action"], row["mnt_id_unique"]))
        if way is not None and row["via"]:
            assert row["via"] == way, (step.name, way, row, self._log())
            self.score.ways += 1

    def _step_at(self, moment: int) -> int:
        (at,) = [n for n, step in enumerate(self.steps) if step.begun <= moment <= step.ended]
        return at

    def _step_of(self, what: What, told: list[Counter[What]]) -> int:
        """No operation did it, so it has no moment: it has to be the truth of some step, of which
        nobody has told it yet, as an id can be that of several mounts one after the other."""
        fitting = (at for at, step in enumerate(self.steps) if told[at][what] < step.truth[what])
        return next(fitting, len(self.steps) - 1)

    def _apply(self, row: dict[str, Any]) -> None:
        unique = row["mnt_id_unique"]
        is_gone = row["action"] == "detach"
        number = row.get("number", unique)
        if is_gone and self._numbers.get(unique, number) != number:
            return  # the id is that of another mount since, where ids are used again
        self._numbers[unique] = number
        self.tables.learn(unique, None if is_gone else mount_of(row, self.tables))

    def _look(self, kernel: Kernel) -> Seen:
        tables = tables_of(
            {process.namespace_id: kernel.table(name) for name, process in kernel.processes.items()}
        )
        seen = {int(str(mount.id)): mount for mount in tables.mounts.values()}
        self.homes |= {id: mount.ns for id, mount in seen.items()}
        return seen

    def _is_told(self, id: int, seen: Seen) -> bool:
        """Whether it is told that a mount came or went: of what has no parent that a table shows it
        is not, where there are but tables."""
        return self.backend != "syscalls" or seen[id].parent in seen

    def _compare(self, kernel: Kernel, step: str) -> None:
        """The tables that the recording leads to, and those of the kernel, mount by mount."""
        alive = {process.namespace_id for process in kernel.processes.values()}
        ours = {id: mount for id, mount in self.tables.mounts.items() if mount.ns in alive}
        problems = [
            f"{name} {self.seen.get(id, ours.get(id))}"
            for name, ids in (
                (
                    "missing",
                    {id for id in self.seen.keys() - ours.keys() if self._is_told(id, self.seen)},
                ),
                ("too much", ours.keys() - self.seen.keys()),
            )
            for id in ids
        ]
        for id in self.seen.keys() & ours.keys():
            theirs, mine = self.seen[id], ours[id]
            # The root directory's parent cannot be seen.
            # That the root was removed is for the next snapshot to say. Who looks late may find
            # nobody left that knows a name.
            wanted = theirs._replace(locked=False, root=theirs.root.removesuffix(DELETED))
            found = mine._replace(locked=False, root=mine.root.removesuffix(DELETED))
            if wanted.parent not in self.seen:
                found = found._replace(parent=wanted.parent, place=wanted.place)
            if found != wanted:
                problems.append(f"{found}\n   should be {wanted}")
        assert not problems, "\n".join([f"after {step}:", *problems, self._log()])

    def _log(self) -> str:
        """What was recorded."""
        lines = [
            f"{row['seq']} {row['tid']} {row['syscall']} {row['path']} {row['flags']} "
            f"{row['propagation']} {row['error']}"
            for row in self.rows["operations"]
            if row["ns_id"] in self.names or row["ns_target_id"] in self.names
        ]
        lines += [
            f"{row['seq']} {row['tid']} {row['action']} {row['via']} {row['evidence']} "
            f"{row['mnt_id_unique']} in {self.names.get(row['ns_id'], row['ns_id'])} "
            f"{row['mountpoint']} {row['before']} -> {row['after']}"
            for row in self.rows["effects"]
            if row["ns_id"] in self.names
        ]
        return "\n".join(lines)


def _difference(before: Seen, after: Seen) -> Counter[What]:
    """The effects of an operation."""
    found: Counter[What] = Counter()
    for id in before.keys() | after.keys():
        old, new = before.get(id), after.get(id)
        if old is None:
            found["attach", id] += 1
        elif new is None:
            found["detach", id] += 1
        else:
            if (old.parent, old.place) != (new.parent, new.place):
                found["move", id] += 1
            kept = ("group", "master", "unbindable")
            if any(getattr(old, name) != getattr(new, name) for name in kept):
                found["change", id] += 1
    return found
