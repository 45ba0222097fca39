# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts from the kernel's own lists: at the end of calls, and in surveys."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from mnttrace.capture.join.call_effects import Birth, CallEffects
from mnttrace.capture.join.differences import Differences, Found
from mnttrace.capture.join.events import (
    CallEnded,
    NamespaceListed,
    RoundBegan,
    RoundEnded,
    TableRead,
)
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.limits import SURVEY_CHANGED, SURVEYS_KEPT
from mnttrace.capture.join.mount_list import MountList
from mnttrace.capture.join.mount_state import device_text
from mnttrace.capture.join.moves import with_those_below
from mnttrace.capture.join.naming import Lines, place_in
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.requests import NameMount, SurveySome
from mnttrace.capture.join.setting import Setting
from mnttrace.capture.join.snapshot_writer import SnapshotWriter
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import LIST_BIRTH, MountEntry

CHANGING = frozenset(
    {
        SyscallKind.MOUNT,
        SyscallKind.UMOUNT,
        SyscallKind.PIVOT,
        SyscallKind.MOVE_MOUNT,
        SyscallKind.SETATTR,
        SyscallKind.RECONFIGURE,
    }
)


@dataclass(eq=False, slots=True)
class _Survey:
    """A mount table that was read, and the kernel's list as far as it has come.

    Attributes:
        lines: those of the table, by mount id.
        newest: the highest unique id that was known when it had been read.
        moves: how often mounts had moved by then.
        has_list: whether a part of the list has come; has_first: and the first one.
    """

    read: TableRead
    lines: Lines
    newest: int
    moves: int
    entries: list[MountEntry] = field(default_factory=list)
    has_list: bool = False
    has_first: bool = False


class _Again(NamedTuple):
    """A namespace was asked for, and has not answered: when that is done again, and how long it is
    waited then. It may have ended, or cannot be entered, and each search looks at all processes."""

    at: int
    wait: int


class KernelLists:
    """Writes effects by what the kernel lists.

    Args:
        known: kept up to date.
        snapshots: takes the tables that were read.
        setting: what the recording is made with.
        out: for questions.
    """

    def __init__(
        self, known: KnownMounts, snapshots: SnapshotWriter, setting: Setting, out: Outbox
    ) -> None:
        self._known = known
        self._snapshots = snapshots
        self._out = out
        self._setting = setting
        self._calls = CallEffects(known)
        self._differences = Differences(known)
        # By namespace, in order. The recorder can lag: a table is read at once, and its list comes
        # with the calls, after those of the surveys before it.
        self._surveys: dict[int, list[_Survey]] = {}
        # Namespaces that calls have changed, with the time of the first of them.
        self._changed: dict[int, int] = {}
        # Namespaces in which something is expected, and when it is looked for again.
        self._again: dict[int, _Again] = {}
        self._births: dict[int, CallEnded] = {}
        # When it was asked last what is due. Calls that come late are of a time before: if that
        # counted, a recorder that lags would survey at once after each, and lag more.
        self._now = 0

    def unnamed(self, event: CallEnded | NamespaceListed | RoundEnded) -> list[NameMount]:
        """What is to be asked before an event is taken."""
        if isinstance(event, CallEnded):
            return self._calls.unnamed(event)
        if isinstance(event, NamespaceListed):
            survey = self._survey_of(event)
            if survey is None or not event.mounts.is_last:
                return []
            before = [] if event.mounts.is_first else survey.entries
            return self._unnamed_in(survey, [*before, *event.mounts.entries])
        return [
            ask
            for survey in chain.from_iterable(self._surveys.values())
            for ask in self._unnamed_in(survey, survey.entries)
        ]

    def _unnamed_in(self, survey: _Survey, entries: list[MountEntry]) -> list[NameMount]:
        moved = self._moved_since(survey, entries)
        new = [
            entry
            for entry in entries
            if entry.unique not in self._known.tables
            and (entry.unique in moved or not _has_line(survey.lines, entry))
        ]
        return self._known.naming.ask_anew(new, {}) if new else []

    def call(self, call: CallEnded) -> Birth | None:
        """A call succeeded; the namespace that it made, if the kernel listed one."""
        birth = self._calls.take(call)
        if birth:
            self._births[birth.key] = call
            self._differences.born(birth.key)
        if call.kind in CHANGING:
            self._changed.setdefault(call.key, max(call.at, self._now))
        return birth

    def ended_before(self, event: CallEnded | TableRead) -> tuple[int, int] | None:
        """Before 6.11 a namespace is known by its inode number, which the next one may get at once:
        the list of its birth has another root then."""
        if isinstance(event, TableRead):
            return None
        born = [found for found in event.lists if found.reason == LIST_BIRTH]
        root = self._known.tables.root_of(born[0].key) if born and born[0].is_first else None
        if root is None:
            return None
        listed = {entry.unique for found in born for entry in found.entries}
        return None if root.unique in listed else (root.key, event.row["monotonic"])

    def birth_of(self, key: int) -> CallEnded | None:
        """The call that made a namespace which was not surveyed yet."""
        return self._births.get(key)

    def table_read(self, read: TableRead) -> None:
        """The mount table of a namespace was read; its list follows, if one was asked for."""
        self._births.pop(read.key, None)
        tables = self._known.tables
        lines = {line.mount_id: line for line in read.mounts}
        survey = _Survey(read, lines, tables.newest, tables.moves.count)
        if read.is_listed:
            waiting = self._surveys.setdefault(read.key, [])
            waiting.append(survey)
            del waiting[:-SURVEYS_KEPT]
        else:
            self._surveyed(survey, is_complete=False)

    def listed(self, event: NamespaceListed) -> None:
        """A part of the kernel's list of a namespace came."""
        found: MountList = event.mounts
        survey = self._survey_of(event)
        if survey is None:
            return
        waiting = self._surveys[found.key]
        del waiting[: waiting.index(survey)]  # their lists would have come before
        if found.is_first:
            survey.entries.clear()
            survey.has_first = True
        survey.has_list = True
        survey.entries += found.entries
        if found.is_last:
            waiting.remove(survey)
            self._surveyed(survey, is_complete=survey.has_first)

    def _survey_of(self, event: NamespaceListed) -> _Survey | None:
        """The survey that a part of a list is of: that of the last table begun before it."""
        surveys = self._surveys.get(event.mounts.key, [])
        before = [survey for survey in surveys if survey.read.at <= event.at]
        return before[-1] if before else None

    def round_began(self, event: RoundBegan) -> None:
        """All namespaces are surveyed now."""

    def round_ended(self, event: RoundEnded) -> None:
        """All namespaces have been surveyed: a list that has not come whole will not."""
        for survey in chain.from_iterable(self._surveys.values()):
            self._surveyed(survey, is_complete=False)
        self._surveys.clear()
        if event.reason == "end":
            self._differences.settle()

    def explain(self) -> None:
        """The calls' own lists have explained what could be."""

    def ask_for_due(self, at: int) -> None:
        """Ask for surveys: at once where something is expected, else a while after a change."""
        self._now = at
        due = {key for key, since in self._changed.items() if at - since >= SURVEY_CHANGED}
        for key in due:
            del self._changed[key]
        due |= self._expecting(at)
        if due:
            self._out.ask(SurveySome(frozenset(due)))

    def _expecting(self, at: int) -> set[int]:
        """The namespaces in which something is expected, and that are due: each at once, and then
        less and less often until its list has come."""
        expecting = self._known.changes.expecting_namespaces()
        again = {key: one for key, one in self._again.items() if key in expecting}
        due = {key for key in expecting if key not in again or at >= again[key].at}
        for key in due:
            wait = again[key].wait if key in again else SURVEY_CHANGED
            again[key] = _Again(at + wait, 2 * wait)
        self._again = again
        return due

    def forget(self, key: int) -> None:
        """A namespace has ended."""
        self._differences.forget(key)
        for kept in (self._surveys, self._changed, self._births):
            kept.pop(key, None)

    def _moved_since(self, survey: _Survey, entries: list[MountEntry]) -> AbstractSet[int]:
        """The mounts of a list that can have moved since the table was read, by themselves or with
        what they lie on. The table is read in parts: of these it can have some as they were."""
        read = survey.read
        first = self._known.first_moves.get(read.key, ())
        if any(read.at <= one.end and one.row["monotonic"] <= read.ended for one in first):
            return {entry.unique for entry in entries}
        moved = [entry.unique for entry in entries if self._has_moved(survey, entry)]
        return with_those_below(moved, entries) if moved else frozenset()

    def _has_moved(self, survey: _Survey, entry: MountEntry) -> bool:
        tables = self._known.tables
        mount = tables.get(entry.unique)
        if mount is None:
            return False
        if mount.has_moved(entry):  # by a call that has not ended: before the table, or after it
            line = survey.lines.get(mount.mount_id)
            return line is not None and line.mountpoint == tables.path(mount)
        return tables.moves.has(entry.unique, survey.moves)

    def _correct(self, read: TableRead, found: Found) -> None:
        """Have the lines of mounts that moved meanwhile show where they are, as far as is known."""
        tables, now = self._known.tables, dict(found.lines)
        for entry in found.entries:
            mount = tables.get(entry.unique) if entry.unique in found.moved else None
            if mount is None or mount.is_root or mount.has_moved(entry):
                continue
            path, line = tables.path(mount), found.lines.get(entry.mount_id)
            is_known = mount.parent in tables and "/…" not in path
            if line and is_known and line.device == mount.filesystem.device:
                now[entry.mount_id] = line._replace(parent_id=entry.parent_id, mountpoint=path)
        read.mounts = list(now.values())

    def _surveyed(self, survey: _Survey, is_complete: bool) -> None:
        read, key = survey.read, survey.read.key
        if survey.has_list:
            read.unique_ids = {entry.mount_id: entry.unique for entry in survey.entries}
            found = Found(
                ns=read.ns,
                ns_id=read.ns_id,
                entries=survey.entries,
                is_complete=is_complete,
                lines=survey.lines,
                newest=survey.newest,
                moved=self._moved_since(survey, survey.entries),
                when=self._setting.when(read.ended),
                counts="at the end" if read.reason == "end" else "again",
            )
            self._differences.survey(found)
            if found.moved:
                self._correct(read, found)
            if self._differences.are_doubtful(key):
                self._changed.setdefault(key, max(read.ended, self._now))
        self._snapshots.take(read)


def _has_line(lines: Lines, entry: MountEntry) -> bool:
    """Whether a mount table has a line with the mount id and the file system of a mount, and its
    place in that of its parent."""
    line = lines.get(entry.mount_id)
    if line is None or line.device != device_text(entry.device):
        return False
    return line.parent_id not in lines or place_in(line, lines) is not None
