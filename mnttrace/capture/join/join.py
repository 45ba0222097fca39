"""The core: events in, rows and requests out. All events go through :meth:`Join.take`.

It has no clock, reads nothing and asks the kernel nothing: what went in can be put through again
anywhere, and gives the same rows.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from mnttrace.capture.join.busy import BusyMounts
from mnttrace.capture.join.call_effects import Birth
from mnttrace.capture.join.endings import Endings
from mnttrace.capture.join.events import (
    ANSWERS,
    AnyEvent,
    CallEnded,
    CaughtUp,
    LossesCounted,
    MountNamed,
    MountsChanged,
    NamespaceIdentified,
    NamespaceListed,
    NamespacesGone,
    ProcessSeen,
    RoundBegan,
    RoundEnded,
    TableRead,
    ThreadChecked,
    ThreadIdentified,
    TimePassed,
    UsersFound,
)
from mnttrace.capture.join.kernel_lists import KernelLists
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.mount_source import MountSource
from mnttrace.capture.join.outbox import Cause, Outbox, Output
from mnttrace.capture.join.registry import IdentityRegistry
from mnttrace.capture.join.requests import ForgetNamespace, IdentifyThread, SurveyBirth
from mnttrace.capture.join.selection import Filter, Selection
from mnttrace.capture.join.snapshot_writer import SnapshotWriter
from mnttrace.capture.join.tables_alone import TablesAlone
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.recording.rows import EffectRow

_Step = Generator[None, None, None]  # what is left to do of an event, as soon as it is answered


@dataclass(frozen=True, slots=True)
class Setting:
    """What a recording is made with.

    Attributes:
        wall_offset: CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.
        backend: one of mnttrace.probes.backends.BACKENDS, or "none".
        uses_fanotify: whether fanotify reports attached and detached mounts.
    """

    wall_offset: int
    backend: str
    uses_fanotify: bool


@dataclass(slots=True)
class Counts:
    """How much was written: operations, effects of them and without one."""

    operations: int = 0
    effects: int = 0


class Join:
    """Turns events into rows of the tables.

    Args:
        setting: what the recording is made with.
        wanted: which operations are written.

    Attributes:
        counts: how much was written until now.
        losses: what was lost, by kind, once all has been taken.
    """

    def __init__(self, setting: Setting, wanted: Filter) -> None:
        self.counts = Counts()
        self.losses: dict[str, int] = {}
        self._setting = setting
        self._selection = Selection(wanted)
        self._out = out = Outbox()
        self._known = KnownMounts(out, reports_all=setting.backend == "kernel-hooks")
        self._registry = IdentityRegistry(out)
        self._snapshots = SnapshotWriter(out)
        self._endings = Endings(out)
        self._busy = BusyMounts(self._known.tables, out, setting.wall_offset)
        parts = (self._known, self._snapshots, out, setting.wall_offset)
        self._source: MountSource
        if setting.backend in ("kernel-hooks", "walk"):
            self._source = KernelLists(*parts)
        else:
            self._source = TablesAlone(*parts, sees_calls=setting.backend != "none")
        self._step: _Step | None = None

    @property
    def namespaces(self) -> int:
        """How many mount namespaces there have been."""
        return self._registry.count

    def take(self, event: AnyEvent) -> Output:
        """Take one event.

        Returns:
            Rows that are complete, and requests: their answers are due before the next event that
            is no answer.
        """
        if isinstance(event, ANSWERS):
            self._take_answer(event)
        else:
            self._finish()
            self._step = self._steps(event)
            self._go_on()
        return self._out.take()

    def finish(self) -> Output:
        """Do without the answers that have not come."""
        self._finish()
        return self._out.take()

    def _finish(self) -> None:
        while self._step is not None:
            self._go_on()

    def _go_on(self) -> None:
        if self._step is not None and next(self._step, self) is self:
            self._step = None

    def _steps(self, event: AnyEvent) -> _Step:
        match event:
            case CallEnded():
                yield from self._call(event)
            case MountsChanged():
                self._known.pending.take(event.changes, event.at)
            case CaughtUp():
                yield from self._caught_up(event.at)
            case NamespaceListed():
                yield from self._ask_names(event)
                self._source.listed(event)
                yield from self._write_uncaused()
            case ProcessSeen():
                self._registry.process_seen(event.row)
            case TimePassed():
                self._source.ask_for_due(event.at)
                self._endings.ask_if_due(event.at)
            case RoundBegan():
                self._source.round_began(event)
            case RoundEnded():
                yield from self._round_ended(event)
            case LossesCounted():
                self._end(event)

    def _take_answer(self, event: AnyEvent) -> None:
        match event:
            case TableRead():
                self._table_read(event)
            case MountNamed():
                self._known.naming.learn(event)
            case NamespaceIdentified(key=key, identity=identity):
                is_new = self._registry.namespace_identified(key, identity)
                if is_new and identity.kind == "container":
                    self._selection.learn(key, identity.name, identity.id)
            case ThreadIdentified():
                self._registry.thread_identified(event.tid, event.row)
            case ThreadChecked():
                self._known.pending.thread_checked(event.tid, event.is_in_call, event.at)
            case NamespacesGone():
                self._endings.are_gone(event.keys, event.at)
            case UsersFound():
                self._busy.found(event)

    # ---- calls

    def _call(self, call: CallEnded) -> _Step:
        row = call.row
        yield from self._ask_names(call)
        self._snapshots.last_seq = row["seq"]
        if row["result"] >= 0:
            birth = self._source.call(call)
            if birth is not None:
                yield from self._survey_birth(call, birth)
        effects = self._known.rows.take()
        if call.kind == SyscallKind.REMOVE and not effects:
            return  # what its thread detached before was taken for what this call did
        cgroup = self._registry.cgroup(row["pid"])
        if self._selection.wants_call(call, effects, cgroup):
            self.counts.operations += 1
            self._out.add("operations", row)
            if call.kind == SyscallKind.UMOUNT and row["error"] == "EBUSY":
                self._busy.refused(call)
            self._write(effects)

    def _survey_birth(self, call: CallEnded, birth: Birth) -> _Step:
        """Have a namespace surveyed that a call made, and find out whose it is."""
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
        if not self._known.pending.reports_of(birth.key):
            self._endings.expect(birth.key)

    def _ask_names(self, event: CallEnded | NamespaceListed | RoundEnded) -> _Step:
        names = self._source.unnamed(event)
        for name in names:
            self._out.ask(name)
        if names:
            yield

    # ---- without calls

    def _caught_up(self, at: int) -> _Step:
        when = self._when(at)
        self._known.detaches.settle(when)
        yield from self._write_uncaused()
        for key in self._endings.found(at):
            self._known.detaches.namespace_gone(key, when)
            yield from self._write_uncaused()
            self._namespace_ended(key, at)
        for key in sorted(self._known.tables.take_emptied()):
            self._namespace_ended(key, at)

    def _write_uncaused(self) -> _Step:
        """Write effects that no call caused, with the processes of their threads."""
        effects = [row for row in self._known.rows.take() if self._selection.wants_effect(row)]
        threads = {row["tid"] for row in effects if row["pid"] is None and row["tid"] is not None}
        unknown = [tid for tid in sorted(threads) if not self._registry.knows_process(tid)]
        for tid in unknown:
            self._out.ask(IdentifyThread(tid))
        if unknown:
            yield
        for row in effects:
            if row["pid"] is None and row["tid"] is not None:
                row["pid"] = self._registry.process_of(row["tid"])
        self._registry.forget_threads()
        self._write(effects)

    def _write(self, effects: list[EffectRow]) -> None:
        self.counts.effects += len(effects)
        for row in effects:
            self._out.add("effects", row)

    def _when(self, at: int) -> Cause:
        return Cause(None, at + self._setting.wall_offset, at)

    # ---- surveys

    def _table_read(self, read: TableRead) -> None:
        born = self._source.born_again(read)
        if born is not None:
            self._known.detaches.namespace_gone(read.key, self._when(born))
            self._namespace_ended(read.key, born)
        if read.is_watched:
            self._known.pending.watch(read.key, read.at)
        birth = self._source.birth_of(read.key)
        self._registry.namespace_seen(
            read.key, read.ns, read.pid or 0, birth.row if birth else None
        )
        if read.reason == "end" and read.pid:
            self._registry.last_seen(read.key, read.pid)
        self._source.table_read(read)

    def _round_ended(self, event: RoundEnded) -> _Step:
        yield from self._ask_names(event)
        is_end = event.reason == "end"
        when = self._when(event.at)
        self._source.round_ended(event)
        # What was reported of namespaces that died says who ended them.
        self._known.detaches.settle(when, everything=is_end)
        if is_end:
            for key in sorted(self._registry.namespaces() - set(event.alive)):
                self._known.detaches.namespace_gone(key, when)
                self._namespace_ended(key, event.at)
        self._source.explain()
        yield from self._write_uncaused()
        if is_end:
            self._registry.write_unanswered()

    def _namespace_ended(self, key: int, at: int) -> None:
        """A namespace is no more: a recording may be long, and keeps nothing of what is gone."""
        ns = self._registry.forget(key)
        if ns is not None:
            self._snapshots.gone(key, ns, at)
        self._known.pending.forget(key)
        self._endings.forget(key)
        self._source.forget(key)
        self._selection.forget(key)
        self._out.ask(ForgetNamespace(key))

    def _end(self, event: LossesCounted) -> None:
        losses = dict(event.losses)
        losses["unsearched_users"] = self._busy.unsearched
        if self._setting.uses_fanotify:
            losses["lost_notifications"] = self._known.pending.overflows
            losses["lost_made"] = losses.get("lost_made", 0) + self._known.pending.unlisted
        self.losses = losses
        for kind, count in losses.items():
            self._out.add("losses", {"kind": kind, "count": count})
