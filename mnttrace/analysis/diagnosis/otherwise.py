# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a recorded history would have led to if some of its operations had been others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast, get_args

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.diagnosis.command_lines import DeviceOf, NamespaceOf, parse
from mnttrace.analysis.diagnosis.commands import ChangeType, Command
from mnttrace.analysis.diagnosis.rerun import ITSELF, Attached, Changes, History, Rerun
from mnttrace.analysis.model.mounts import Mount, MountId, PropagationType, Refused, is_mounted
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.run import Run
from mnttrace.errors import BadInput

MOST = 20_000  # operations that are put through the model: some seconds
_BIRTHS = ("unshare", "clone", "clone3")
_TYPE = re.compile(r"(r?)(" + "|".join(get_args(PropagationType)) + ")")
_USAGE = (
    "it is 'OPERATION: rslave' (or another propagation type), 'OPERATION: COMMAND; COMMAND', where "
    "... stands for the operation itself, or 'OPERATION:' to leave it out"
)


@dataclass(frozen=True)
class Left:
    """A mount at the end of a history.

    Attributes:
        mount: by the model.
        path: its mount point.
    """

    mount: Mount
    path: str


@dataclass(frozen=True)
class Otherwise:
    """How the end, and what led to it, would be other than recorded.

    Attributes:
        changes: what was done in place of which operations.
        gone: mounts that are there at the end, and would not be.
        more: mounts that would be there, and are not.
        gone_before: mounts that came and went, and would not have come.
        refused: numbers of operations that would be refused and were not, with why.
        allowed: those of operations that were refused, and would not be.
        unmounted: the ids of those of `gone` that these unmount: whoever called wanted that.
        impossible: those of operations that could not be done, as a mount that they worked on
            would not be there.
        elsewhere: those of operations that would find another mount at their paths: what lies
            below, if the path exists there, which tables do not tell.
        attached: all mounts that would have been attached.
        differs: how many mounts the model has at the end, without a change, that the recording has
            not, or the other way round, in the namespaces that this is about: none if it follows
            the recording.
    """

    changes: Changes
    gone: tuple[Left, ...]
    more: tuple[Left, ...]
    gone_before: tuple[Attached, ...]
    refused: tuple[tuple[int, Refused], ...]
    allowed: tuple[int, ...]
    unmounted: frozenset[MountId]
    impossible: tuple[int, ...]
    elsewhere: tuple[int, ...]
    attached: tuple[Attached, ...]
    differs: int


class Histories:
    """Tries changes of a recorded history.

    Args:
        run: the whole recording.
        tables: those at its end.
        first: the number of the first operation that is to be changed.

    Raises:
        BadInput: more than MOST operations follow.
    """

    def __init__(self, run: Run, tables: Tables, first: int) -> None:
        follow = int((run.operations["seq"] >= first).sum())
        if follow > MOST:
            raise BadInput(
                f"{follow:,} operations follow operation {first}: more than {MOST:,} are not tried",
                "change a later one",
            )
        self._history = History(run, first)
        self._recorded = self._history.rerun({})
        self._known: dict[tuple[object, ...], Otherwise] = {}
        now, ends = Counter(_ends(tables)), Counter(_ends(self._recorded.tables))
        self._differs = Counter(one[0] for one in ((now - ends) + (ends - now)).elements())

    def ends_with(self, mounts: Iterable[MountId]) -> bool:
        """Whether the model, without a change, has mounts at the end, by their unique ids."""
        return all(mount in self._recorded.tables.mounts for mount in mounts)

    def otherwise(self, changes: Changes) -> Otherwise:
        """What changes would have led to."""
        key = tuple(sorted(changes.items(), key=lambda change: change[0]))
        if key not in self._known:
            self._known[key] = self._otherwise(changes)
        return self._known[key]

    def _otherwise(self, changes: Changes) -> Otherwise:
        before, after = self._recorded, self._history.rerun(changes, self._recorded)
        refused = after.refused.keys() - before.refused.keys()
        allowed = before.refused.keys() - after.refused.keys() - changes.keys()
        gone, more = _only(before.tables, after.tables), _only(after.tables, before.tables)
        concerned = {one.mount.ns for one in (*gone, *more)}
        concerned |= {one.ns for some in changes.values() for one in some if one is not ITSELF}
        return Otherwise(
            changes,
            gone,
            more,
            _gone_before(before, after),
            tuple((seq, after.refused[seq]) for seq in sorted(refused)),
            tuple(sorted(allowed)),
            frozenset(id for id, seq in after.detached.items() if seq in allowed),
            tuple(sorted(after.impossible - before.impossible)),
            tuple(sorted(after.elsewhere(before) - after.refused.keys())),
            tuple(after.attached),
            sum(self._differs[ns] for ns in concerned),
        )


def _ends(tables: Tables) -> Iterable[tuple[object, str, str, str]]:
    """What can be compared of the mounts of all namespaces."""
    for mount in tables.mounts.values():
        if is_mounted(mount):
            yield mount.ns, tables.path(mount.id), mount.device, mount.root


def _only(these: Tables, those: Tables) -> tuple[Left, ...]:
    """The mounts of tables that others have not at the same place."""
    missing = Counter(_ends(those))
    found = []
    # Those of the same id first: of a stack the other ones are what is new.
    mounts = sorted(these.mounts.values(), key=lambda mount: mount.id not in those.mounts)
    for mount in mounts:
        key = mount.ns, these.path(mount.id), mount.device, mount.root
        if missing[key] > 0:
            missing[key] -= 1
        elif is_mounted(mount):
            found.append(Left(mount, these.path(mount.id)))
    return tuple(found)


def _gone_before(before: Rerun, after: Rerun) -> tuple[Attached, ...]:
    """What was attached, is not there at the end, and was not attached after a change."""
    came = Counter((one.seq, one.ns, one.path) for one in after.attached)
    found = []
    for one in before.attached:
        key = one.seq, one.ns, one.path
        if came[key] > 0:
            came[key] -= 1
        elif one.id not in before.tables.mounts:
            found.append(one)
    return tuple(found)


def changes_of(
    run: Run, lines: Sequence[str], namespace_of: NamespaceOf, device_of: DeviceOf
) -> Changes:
    """Changes as a person types them.

    Args:
        run: the whole recording.
        lines: "OPERATION: WHAT" each, with what is done in place of the operation: a propagation
            type for the mount that it made, changed or copied to a new namespace; commands, where
            "..." stands for the operation itself; nothing.
        namespace_of, device_of: as for :func:`command_lines.parse`.

    Raises:
        BadInput: there is no such operation, or the commands are not known.
    """
    changes: dict[int, tuple[Command | None, ...]] = {}
    for text in lines:
        number, colon, what = text.partition(":")
        if not colon or not number.strip().isdecimal():
            raise BadInput(f"{text!r} names no operation", _USAGE)
        row = _operation(run, int(number))
        changes[row["seq"]] = _replacement(row, what.strip(), namespace_of, device_of)
    return changes


def _operation(run: Run, seq: int) -> Row:
    operations = run.operations
    for row in rows(operations[operations["seq"] == seq]):
        return row
    raise BadInput(f"there is no operation {seq}", "mnttrace timeline shows their numbers")


def _replacement(
    row: Row, what: str, namespace_of: NamespaceOf, device_of: DeviceOf
) -> tuple[Command | None, ...]:
    if not what:
        return ()
    if found := _TYPE.fullmatch(what):
        return _typed(row, cast(PropagationType, found[2]), bool(found[1]))
    before, _, after = (part.strip(" ;&") for part in what.partition("..."))
    commands: list[Command | None] = []
    if before:
        commands += parse(before, row["ns_id"], namespace_of, device_of)
    if "..." in what:
        commands.append(ITSELF)
    if after:
        commands += parse(after, row["ns_id"], namespace_of, device_of)
    return tuple(commands)


def _typed(row: Row, to: PropagationType, recursive: bool) -> tuple[Command | None, ...]:
    """The operation with another propagation type: in place of the one that it gives, or of what it
    attaches or copies."""
    if row["syscall"] in _BIRTHS and row["ns_target_id"] is not None:
        return ITSELF, ChangeType(row["ns_target_id"], "/", to, recursive)
    if not row["path"].startswith("/"):
        raise BadInput(f"operation {row['seq']} has no mount point", _USAGE)
    change = ChangeType(row["ns_id"], row["path"], to, recursive)
    return (change,) if calls.is_type_change(row) else (ITSELF, change)
