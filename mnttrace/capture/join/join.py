# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The core: events in, rows and requests out. All events go through :meth:`Join.take`.

It has no clock, reads nothing and asks the kernel nothing: what went in can be put through again
anywhere, and gives the same rows.
"""

from __future__ import annotations

import errno
from collections.abc import Generator

from mnttrace.capture.join import events
from mnttrace.capture.join.busy import BusyMounts
from mnttrace.capture.join.call_effects import Birth
from mnttrace.capture.join.events import AnyEvent, CallEnded, NamespaceListed, RoundEnded
from mnttrace.capture.join.kernel_lists import KernelLists
from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.mount_source import MountSource
from mnttrace.capture.join.namespaces import Namespaces
from mnttrace.capture.join.outbox import Outbox, Output
from mnttrace.capture.join.registry import IdentityRegistry
from mnttrace.capture.join.row_writer import Counts, RowWriter
from mnttrace.capture.join.selection import Filter, Selection
from mnttrace.capture.join.setting import Setting
from mnttrace.capture.join.snapshot_writer import SnapshotWriter
from mnttrace.capture.join.starting import Starting
from mnttrace.capture.join.tables_alone import TablesAlone
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.recording.rows import EffectRow

# What is left to do of an event: it stops (`yield`) where it has asked for something.
_Step = Generator[None, None, None]


class Join:
    """Turns events into rows of the tables.

    Args:
        setting: what the recording is made with.
        wanted: which operations are written.

    Attributes:
        losses: what was lost, by kind, once all has been taken.
    """

    def __init__(self, setting: Setting, wanted: Filter) -> None:
        self.losses: dict[str, int] = {}
        self._setting = setting
        self._out = out = Outbox()
        self._known = KnownMounts(out, setting)
        self._registry = IdentityRegistry(out)
        selection = Selection(wanted)
        self._writer = RowWriter(selection, self._registry, out)
        self._snapshots = SnapshotWriter(out)
        self._busy = BusyMounts(self._known.tables, out, setting.wall_offset)
        parts = (self._known, self._snapshots, setting, out)
        self._source: MountSource
        if setting.sees_lists:
            self._source = KernelLists(*parts)
        else:
            self._source = TablesAlone(*parts)
        self._namespaces = Namespaces(
            self._known,
            self._source,
            self._registry,
            self._snapshots,
            selection,
            setting,
            out,
        )
        self._step: _Step | None = None
        self._starting = Starting()

    @property
    def counts(self) -> Counts:
        """How much was written until now."""
        return self._writer.counts

    @property
    def namespaces(self) -> int:
        """How many mount namespaces there have been."""
        return self._registry.count

    def take(self, event: AnyEvent) -> Output:
        """Take one event.

        Returns:
            Rows that are complete, and requests. When these have been carried out, and
            :attr:`is_waiting`, events.Answered is due.
        """
        if isinstance(event, events.Answer):
            self._take_answer(event)
        elif isinstance(event, events.Answered):
            self._go_on()
        else:
            self._finish()
            self._step = self._start(event) if self._starting.is_on else self._begin(event)
            self._go_on()
        return self._out.take()

    @property
    def is_waiting(self) -> bool:
        """Whether what is left to do of the last event waits for events.Answered."""
        return self._step is not None

    def finish(self) -> Output:
        """The events end here: do without what is missing, and write what waits."""
        self._finish()
        self._step = self._end_early()
        self._finish()
        return self._out.take()

    def _finish(self) -> None:
        while self._step is not None:
            self._go_on()

    def _go_on(self) -> None:
        if self._step is not None:
            for _ in self._step:
                return
            self._step = None

    def _start(self, event: AnyEvent) -> _Step:
        """Until the first survey of all namespaces has ended, events wait.

        The first list of a namespace is its table. A call that was taken before it would be about
        mounts whose parents are not known, and its mounts would seem to be all that there are.
        """
        is_end = isinstance(event, RoundEnded | events.LossesCounted)
        if is_end or not self._starting.keep(event):
            yield from self._started(event if isinstance(event, RoundEnded) else None)
            yield from self._begin(event) or ()

    def _started(self, end: RoundEnded | None) -> _Step:
        """Take the first lists, as far as they came until the survey ended, and then the rest."""
        waiting = self._starting.end()
        self._known.first_lists_begin(waiting)
        for one in waiting:
            if isinstance(one, NamespaceListed | events.RoundBegan):
                yield from self._begin(one) or ()
        if end is not None:
            if self._asks_names(end):
                yield
            self._source.round_ended(end)
        self._known.first_lists_end()
        for one in waiting:
            if isinstance(one, NamespaceListed):
                self._known.first_listed(one.mounts, self._setting.when(one.at))
            elif not isinstance(one, events.RoundBegan):
                yield from self._begin(one) or ()
        self._known.there_at.clear()

    def _end_early(self) -> _Step:
        """Write what waits for events that will not come."""
        if self._starting.is_on:
            yield from self._started(None)
        self._writer.is_held = False
        self._known.uncalled.finish()
        yield from self._write_uncaused()
        self._registry.write_unanswered()

    def _begin(self, event: AnyEvent) -> _Step | None:
        """Take an event as far as can be; what is left to do of it, if it asks for something."""
        match event:
            case CallEnded():
                return self._call(event)
            case events.MountsChanged():
                self._known.pending.take(event.changes, event.at)
            case events.CaughtUp():
                return self._caught_up(event.at)
            case NamespaceListed():
                return self._listed(event)
            case events.NamespaceEnded():
                self._namespaces.ended_unwatched(event)
            case events.ProcessSeen():
                self._registry.process_seen(event.row, event.argv)
            case events.TimePassed():
                self._source.ask_for_due(event.at)
                self._namespaces.endings.ask_if_due(event.at)
            case events.RoundBegan():
                self._writer.is_held = True
                self._namespaces.round_began(event)
            case RoundEnded():
                return self._round_ended(event)
            case events.LossesCounted():
                self._end(event)
        return None

    def _take_answer(self, event: AnyEvent) -> None:
        match event:
            case events.TableRead():
                self._namespaces.table_read(event)
            case events.MountNamed():
                self._known.naming.learn(event)
            case events.MountsFound():
                self._known.uncalled.found(event.keys)
            case events.NamespaceIdentified(key=key, identity=identity):
                self._namespaces.identified(key, identity)
            case events.ThreadIdentified():
                self._registry.thread_identified(event.tid, event.row, event.argv)
            case events.ThreadChecked():
                self._known.pending.thread_checked(event.tid, event.is_in_call, event.at)
            case events.NamespacesGone():
                self._namespaces.endings.are_gone(event.keys, event.at)
            case events.UsersFound():
                self._busy.found(event)

    # ---- calls

    def _call(self, call: CallEnded) -> _Step | None:
        if self._asks_names(call):
            return self._named_call(call)
        return self._call_with_names(call)

    def _named_call(self, call: CallEnded) -> _Step:
        yield
        yield from self._call_with_names(call) or ()

    def _call_with_names(self, call: CallEnded) -> _Step | None:
        self._snapshots.last_seq = call.row["seq"]
        self._namespaces.used_again(call)
        before = len(self._known.rows.waiting)
        if call.row["result"] >= 0:
            birth = self._source.call(call)
            if birth is not None:
                return self._call_with_birth(call, birth, before)
        self._write_call(call, self._known.rows.take(since=before))
        return None

    def _call_with_birth(self, call: CallEnded, birth: Birth, before: int) -> _Step:
        effects = self._known.rows.take(since=before)
        yield from self._namespaces.born(call, birth)
        self._write_call(call, effects)

    def _write_call(self, call: CallEnded, effects: list[EffectRow]) -> None:
        if call.kind == SyscallKind.REMOVE and not effects and not self._known.waits_for(call):
            return  # it detached nothing
        is_written = self._writer.call(call, effects)
        if is_written and call.row["result"] == -errno.EBUSY and call.kind == SyscallKind.UMOUNT:
            self._busy.refused(call)

    def _asks_names(self, event: CallEnded | NamespaceListed | RoundEnded) -> bool:
        return self._out.ask_all(self._source.unnamed(event))

    # ---- without calls

    def _caught_up(self, at: int) -> _Step:
        when = self._setting.when(at)
        self._known.uncalled.look(at)
        self._known.detaches.write_unclaimed(when)
        yield from self._write_uncaused()
        for key in self._namespaces.found_gone(at):
            self._known.detaches.namespace_gone(key, when)
            yield from self._write_uncaused()
            self._namespaces.ended(key, at)
        for key in sorted(self._known.tables.take_emptied()):
            self._namespaces.ended(key, at)

    def _write_uncaused(self) -> _Step:
        """Write effects that no call caused; those of a survey of all namespaces when it ended."""
        if not self._writer.is_held:
            yield from self._writer.without_call(self._known.rows.take())

    # ---- surveys

    def _listed(self, event: NamespaceListed) -> _Step:
        if self._asks_names(event):
            yield
        self._source.listed(event)
        yield from self._write_uncaused()

    def _round_ended(self, event: RoundEnded) -> _Step:
        if self._asks_names(event):
            yield
        is_end, when = event.reason == "end", self._setting.when(event.at)
        self._source.round_ended(event)
        self._namespaces.round_ended(event)
        if is_end:
            self._known.uncalled.finish()
        # What was reported of namespaces that died says who ended them.
        self._known.detaches.write_unclaimed(when, everything=is_end)
        if is_end:
            for key in self._namespaces.not_found(event):
                self._known.detaches.namespace_gone(key, when)
                self._namespaces.ended(key, event.at)
        self._source.explain()
        self._writer.is_held = False
        yield from self._write_uncaused()
        if is_end:
            self._registry.write_unanswered()

    def _end(self, event: events.LossesCounted) -> None:
        losses = event.losses | {"unsearched_users": self._busy.unsearched}
        self.losses = losses = losses | self._starting.losses()
        self._known.add_losses(losses)
        for kind, count in losses.items():
            self._out.add("losses", {"kind": kind, "count": count})
