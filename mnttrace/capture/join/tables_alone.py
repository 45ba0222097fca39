# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts from mount tables alone: all are read now and then, and the calls between explain what
is different."""

from __future__ import annotations

from mnttrace.capture.join.call_effects import Birth
from mnttrace.capture.join.differences import Differences, Found
from mnttrace.capture.join.events import (
    CallEnded,
    NamespaceListed,
    RoundBegan,
    RoundEnded,
    TableRead,
)
from mnttrace.capture.join.kernel_lists import CHANGING
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.likely_causes import LikelyCauses
from mnttrace.capture.join.limits import READ_TABLES
from mnttrace.capture.join.mountinfo_entries import MountinfoEntries
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.requests import NameMount, SurveyAll
from mnttrace.capture.join.setting import Setting
from mnttrace.capture.join.snapshot_writer import SnapshotWriter
from mnttrace.linux.syscalls import SyscallKind


class _Round:
    """When all tables were read last, in ns of CLOCK_MONOTONIC, and what was before that.

    Attributes:
        began, ended: of the last one; 0: none yet.
        calls: that ended before it, and may explain what it shows.
        births: namespaces that were born before it: what is left of them after it is of
            namespaces that are gone.
    """

    __slots__ = ("began", "births", "calls", "ended")

    def __init__(self) -> None:
        self.began = self.ended = 0
        self.calls: list[CallEnded] = []
        self.births: set[int] = set()


class TablesAlone:
    """Writes effects by the differences between mount tables.

    Args:
        known: kept up to date.
        snapshots: takes the tables that were read.
        setting: what the recording is made with.
        out: for questions.
    """

    def __init__(
        self,
        known: KnownMounts,
        snapshots: SnapshotWriter,
        setting: Setting,
        out: Outbox,
    ) -> None:
        self._known = known
        self._snapshots = snapshots
        self._out = out
        self._setting = setting
        self._entries = MountinfoEntries()
        self._causes = LikelyCauses(known.tables, known.rows)
        self._differences = Differences(known)
        self._calls: list[CallEnded] = []
        self._births: dict[int, CallEnded] = {}
        # Namespace → when its table that was compared last had been asked for.
        self._compared: dict[int, int] = {}
        self._round = _Round()

    def unnamed(self, event: CallEnded | NamespaceListed | RoundEnded) -> list[NameMount]:
        """Mount tables have all names."""
        return []

    def call(self, call: CallEnded) -> Birth | None:
        """A call succeeded: it may explain what the next tables show."""
        if call.kind == SyscallKind.NAMESPACE:
            made = call.row["ns_target_id"]
            if made is not None and made != call.row["ns_id"]:
                self._births[made] = call
        if call.kind in CHANGING or call.kind == SyscallKind.NAMESPACE:
            self._calls.append(call)
        return None

    def birth_of(self, key: int) -> CallEnded | None:
        """The call that made a namespace which was not surveyed yet."""
        return self._births.get(key)

    def ended_before(self, event: CallEnded | TableRead) -> tuple[int, int] | None:
        """Where namespaces have no unique ids one that has ended may have had the number of the one
        whose first table since its birth is read."""
        birth = self._births.get(event.key) if isinstance(event, TableRead) else None
        if birth is None:
            return None
        born = birth.row["monotonic"]
        return (event.key, born) if self._compared.get(event.key, born) < born else None

    def table_read(self, read: TableRead) -> None:
        """Compare a mount table with the one before."""
        key, birth = read.key, self._births.pop(read.key, None)
        self._compared[key] = read.at
        when = self._setting.when(read.ended)
        found = Found(
            ns=read.ns,
            ns_id=read.ns_id,
            entries=self._entries.of(read.ns, read.ns_id, read.mounts, read.unique_ids),
            is_complete=True,
            lines={line.mount_id: line for line in read.mounts},
            newest=self._known.tables.newest,
            moved=frozenset(),
            when=when,
            counts="at once",
        )
        self._differences.survey(found)
        if birth:
            self._causes.born(key, birth, when)
        self._snapshots.take(read)

    def listed(self, event: NamespaceListed) -> None:
        """The kernel makes no lists."""

    def round_began(self, event: RoundBegan) -> None:
        """All tables are read now: the calls until then explain what is different."""
        self._round.calls, self._calls = self._calls, []
        self._round.births = set(self._births)
        self._round.began = event.at

    def round_ended(self, event: RoundEnded) -> None:
        """All tables have been read."""
        self._round.ended = event.at
        for key in self._round.births:
            self._births.pop(key, None)
        self._round.births.clear()

    def explain(self) -> None:
        """Give effects that wait their likely causes."""
        # What a call did while the tables were read is in some of these, and in the next ones.
        self._causes.find([*self._round.calls, *self._calls])
        self._round.calls = []

    def ask_for_due(self, at: int) -> None:
        """Ask for the tables, if something can be different by now."""
        took = self._round.ended - self._round.began
        is_due = at - self._round.ended >= max(READ_TABLES, took)
        if is_due and (self._calls or not self._setting.sees_calls):
            self._out.ask(SurveyAll("operation"))

    def forget(self, key: int) -> None:
        """A namespace has ended."""
        self._differences.forget(key)
        self._entries.forget(key)
        self._compared.pop(key, None)
