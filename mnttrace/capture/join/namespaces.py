# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The life of mount namespaces: born, surveyed, ended."""

from __future__ import annotations

from collections.abc import Generator

from mnttrace.capture.join.call_effects import Birth
from mnttrace.capture.join.endings import Endings
from mnttrace.capture.join.events import (
    CallEnded,
    NamespaceEnded,
    RoundBegan,
    RoundEnded,
    TableRead,
)
from mnttrace.capture.join.identity import Identity
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.mount_source import MountSource
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.registry import IdentityRegistry
from mnttrace.capture.join.requests import ForgetNamespace, SurveyBirth
from mnttrace.capture.join.selection import Selection
from mnttrace.capture.join.setting import Setting
from mnttrace.capture.join.snapshot_writer import SnapshotWriter
from mnttrace.linux.syscalls import SyscallKind


class Namespaces:
    """Takes namespaces in when they are found, and forgets them when they have ended.

    Args:
        known: the mounts.
        source: where mounts come from.
        registry: whose namespaces they are.
        snapshots: takes the tables that were read.
        selection: of which containers operations are written.
        setting: what the recording is made with.
        out: for questions.

    Attributes:
        endings: finds out which ended and nothing reported it.
    """

    def __init__(
        self,
        known: KnownMounts,
        source: MountSource,
        registry: IdentityRegistry,
        snapshots: SnapshotWriter,
        selection: Selection,
        setting: Setting,
        out: Outbox,
    ) -> None:
        self._known = known
        self._source = source
        self._registry = registry
        self._snapshots = snapshots
        self.endings = Endings(out)
        self._selection = selection
        self._setting = setting
        self._out = out
        # Those that were not found when all were surveyed last.
        self._absent: set[int] = set()
        # When the last survey of all began (CLOCK_MONOTONIC, ns), and those that were born since.
        self._surveyed = 0
        self._born_since: set[int] = set()

    def used_again(self, event: CallEnded | TableRead) -> None:
        """An event may be of a namespace with the number of one that has ended."""
        ended = self._source.ended_before(event)
        if ended is None and isinstance(event, TableRead):
            at = self.endings.gone_at(event.key)
            ended = None if at is None else (event.key, at)
        if ended is not None:
            key, at = ended
            self._known.detaches.used_again(key, self._setting.when(at))
            self.ended(key, at)

    def born(self, call: CallEnded, birth: Birth) -> Generator[None, None, None]:
        """A call made a namespace: have it surveyed, and find out whose it is; it stops where it
        asks."""
        if call.end >= self._surveyed:
            self._born_since.add(birth.key)
        row = call.row
        has_descriptor = call.kind == SyscallKind.DESCRIPTOR
        tid = row["child"] or row["tid"]
        descriptor = row["result"] if has_descriptor else None
        holder = row["pid"] if has_descriptor else tid
        self._out.ask(SurveyBirth(birth.ns, birth.ns_id, holder, descriptor))
        yield
        if birth.key not in self._registry:
            self._registry.namespace_seen(birth.key, birth.ns, tid, row)
            yield
        self._expect_end(birth.key)

    def table_read(self, read: TableRead) -> None:
        """The mount table of a namespace was read."""
        self.used_again(read)
        if read.is_watched:
            self._known.pending.watch(read.key, read.at)
        birth = self._source.birth_of(read.key)
        self._registry.namespace_seen(
            read.key, read.ns, read.pid or 0, birth.row if birth else None
        )
        if read.reason == "end" and read.pid:
            self._registry.last_seen(read.key, read.pid)
        self._expect_end(read.key)
        self._source.table_read(read)

    def _expect_end(self, key: int) -> None:
        """A namespace is there: one day it will not be."""
        if not self._setting.can_check_namespaces:
            self.endings.forget(key)
        elif self._known.pending.reports_of(key):
            self.endings.doubt(key)
        else:
            self.endings.expect(key)

    def identified(self, key: int, identity: Identity) -> None:
        """It became known whose a namespace is."""
        if self._registry.namespace_identified(key, identity):
            self._selection.learn(key, identity)

    def round_began(self, event: RoundBegan) -> None:
        """All namespaces are surveyed from now on."""
        self._surveyed = event.at
        self._born_since.clear()
        self._source.round_began(event)

    def not_found(self, event: RoundEnded) -> list[int]:
        """The keys of those that a survey of all did not find, but for those that were born
        meanwhile and have not ended, as far as is known."""
        absent = self._registry.namespaces() - set(event.alive)
        return sorted(key for key in absent if key not in self._born_since or self._is_over(key))

    def _is_over(self, key: int) -> bool:
        is_reported = self.endings.gone_at(key) is not None
        return is_reported or self._known.tables.root_of(key) is None

    def round_ended(self, event: RoundEnded) -> None:
        """All namespaces have been surveyed. One that was not found twice may be held by what is
        not looked at then, such as a descriptor, or may have ended."""
        if self._setting.can_check_namespaces:
            return  # then all are asked about
        absent = set(self.not_found(event))
        for key in absent & self._absent:
            self.endings.doubt(key)
        self._absent = absent

    def found_gone(self, until: int) -> list[int]:
        """Those that were found to be no more before a time, but for what is reported of them and
        may still be a call's."""
        tables, pending = self._known.tables, self._known.pending
        return [
            key
            for key in self.endings.found(until)
            if not any(map(pending.has_detached, tables.of_namespace(key)))
        ]

    def ended_unwatched(self, event: NamespaceEnded) -> None:
        """A namespace ended before it was watched."""
        if event.key in self._registry:
            self.endings.ended(event.key, event.at)
            self._known.pending.ended(event.key, event.at)

    def ended(self, key: int, at: int) -> None:
        """A namespace is no more: a recording may be long, and keeps nothing of what is gone."""
        ns = self._registry.forget(key)
        self._born_since.discard(key)
        if ns is not None:
            self._snapshots.gone(key, ns, at)
        self._known.pending.forget(key)
        self.endings.forget(key)
        self._source.forget(key)
        self._selection.forget(key)
        self._out.ask(ForgetNamespace(key))
