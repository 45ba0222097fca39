# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What happens while one is recording or watching: what the kernel reports and what is read goes
into the core; the core's rows come out, and what it asks for is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mnttrace.capture.identity.identify import Identities, cleaned
from mnttrace.capture.identity.processes import cgroup_path, ended_process, process_of
from mnttrace.capture.join import events, requests
from mnttrace.capture.join.events import AnyEvent, Reason
from mnttrace.capture.join.join import Join
from mnttrace.capture.join.mount_list import namespace_key
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.join.setting import Setting
from mnttrace.capture.stream.decode import Decoder
from mnttrace.capture.stream.secrets import redact_command
from mnttrace.capture.stream.spool import Batch, NullSpool, Spool
from mnttrace.capture.survey.gone import gone
from mnttrace.capture.survey.surveyor import Surveyor
from mnttrace.capture.survey.users import users
from mnttrace.linux import statmount
from mnttrace.linux.fanotify import MountGroup
from mnttrace.linux.mount_events import events as mount_events
from mnttrace.linux.text import clean
from mnttrace.probes.kernel import KernelProbes
from mnttrace.probes.null import NullProbes
from mnttrace.probes.ring import records
from mnttrace.recording.rows import Row

_JOIN_FOR = 0.1  # seconds for which batches are joined before what else is due is looked at

Add = Callable[[str, Row], None]


class _Round(NamedTuple):
    """A survey of all namespaces.

    Attributes:
        reason: why it was made.
        before, until: marks of the spool before and after it.
        began, ended: when it was made (CLOCK_MONOTONIC, ns).
        reads: the tables.
    """

    reason: Reason
    before: int
    began: int
    reads: list[events.TableRead]
    until: int
    ended: int


class Session:
    """Feeds the core, and does what it asks for.

    Args:
        probes: armed, or none.
        add: takes (table, row).
        wall_offset: CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.
        wanted: which operations are written.
        keep_secrets: leave passwords and keys in mount data as they are.
        directory: where what the kernel reports faster than it can be joined waits in a file.

    Attributes:
        join: the core.
        setting: what it works with.
        keep: takes each event that the core gets, if it is set.
        surveyor: reads mount tables.
        sees_detached: whether detached mounts are reported.
    """

    def __init__(
        self,
        probes: KernelProbes | NullProbes,
        add: Add,
        wall_offset: int,
        wanted: Filter,
        keep_secrets: bool = False,
        directory: Path | None = None,
    ) -> None:
        probes.complete()
        self._probes = probes
        self._add = add
        self._group = _mount_group() if probes.can_use_fanotify else None
        if self._group:
            probes.show_group(self._group.descriptor)
        self.sees_detached = probes.reports_mount_events or self._group is not None
        self.setting = Setting(
            wall_offset, probes.backend, self._group is not None, statmount.available()
        )
        self.join = Join(self.setting, wanted)
        self.keep: Callable[[AnyEvent], None] | None = None
        self._spool = Spool(probes.ring, self._group, directory) if probes.ring else NullSpool()
        self.surveyor = Surveyor(probes, self._group)
        self._decoder = Decoder(wall_offset, keep_secrets)
        self._identities = Identities()
        self._keeps_secrets = keep_secrets
        self._caught_up = 0
        self._is_ending = False

    def begin(self, everywhere: bool = False) -> None:
        """Survey all namespaces.

        Args:
            everywhere: as of :meth:`mnttrace.capture.survey.surveyor.Surveyor.all`.
        """
        self._take_round(self._look_at_all("start", everywhere))

    def give_way(self) -> None:
        """Leave processors to others from now on, as long as that makes nothing late. To be called
        once everything is started that is to be recorded: children would do the same."""
        self._spool.give_way(True)

    def poll(self, timeout: float = 0) -> None:
        """Take what has come, and survey what is due.

        Args:
            timeout: seconds to wait for something urgent, such as the birth of a namespace.
        """
        batch = self._spool.next(timeout)
        end = time.monotonic() + _JOIN_FOR
        while batch and time.monotonic() < end:
            self._take_batch(batch)
            batch = self._spool.next()
        if batch:
            self._take_batch(batch)
        else:
            self._catch_up(self._spool.whole_until)
        self._feed(events.TimePassed(time.monotonic_ns()))

    def drain(self) -> None:
        """Account for all that has been reported until now, as if no call were under way."""
        self._take_round(self._look_at_all("end"))

    def end(self) -> dict[str, int]:
        """Survey all namespaces, and take what has been reported until then, as if no call were
        under way; what was lost, by kind.

        What is reported later is not recorded: mounts can go on faster than they are taken.
        """
        self._spool.give_way(False)
        seen = self._look_at_all("end")
        losses = self._probes.losses()
        losses["lost_runs"] = losses.get("lost_runs", 0) + self._probes.unended()
        losses["lost_bytes"] = self._spool.lost
        self._spool.stop()
        self._is_ending = True
        self._take_round(seen)
        losses["cut_strings"] = self._decoder.cut
        losses["unreadable_tables"] = self.surveyor.unreadable
        self._feed(events.LossesCounted(time.monotonic_ns(), losses))
        return self.join.losses

    def close(self) -> None:
        """Give up what is held open."""
        self._spool.close()
        if self._group:
            self._group.close()

    # ---- into the core

    def _feed(self, event: AnyEvent) -> None:
        if self.keep:
            self.keep(event)
        output = self.join.take(event)
        for table, row in output.rows:
            self._add(table, row)
        for request in output.requests:
            self._perform(request)
        if self.join.is_waiting and not isinstance(event, events.Answer | events.Answered):
            while self.join.is_waiting:
                self._feed(events.Answered(time.monotonic_ns()))

    def _take_until(self, end: int) -> None:
        for batch in self._spool.until(end):
            self._take_batch(batch)

    def _take_batch(self, batch: Batch) -> None:
        changes = list(mount_events(batch.events))
        if changes:
            self._feed(events.MountsChanged(batch.at, changes))
        for raw in records(batch.records):
            event = self._decoder.take(raw, batch.at)
            if isinstance(event, events.ProcessSeen):
                event.row["cgroup_path"] = cgroup_path(event.row["pid"])
            if event is not None:
                self._feed(event)
        if batch.is_whole:
            self._catch_up(batch.at)

    def _catch_up(self, until: int) -> None:
        """All that was reported before a time has been given."""
        if until > self._caught_up:
            self._caught_up = until
            self._feed(events.CaughtUp(until))

    def _look_at_all(self, reason: Reason, everywhere: bool = False) -> _Round:
        """Survey all namespaces now; what was reported before waits."""
        before, began = self._spool.mark(), time.monotonic_ns()
        reads = list(self.surveyor.all(reason, everywhere))
        return _Round(reason, before, began, reads, self._spool.mark(), time.monotonic_ns())

    def _take_round(self, seen: _Round) -> None:
        """Take what had been reported before a survey, that, and what came with it."""
        self._take_until(seen.before)
        self._feed(events.RoundBegan(seen.began, seen.reason))
        for read in seen.reads:
            self._feed(read)
        self._take_until(seen.until)
        alive = [read.key for read in seen.reads]
        self._feed(events.RoundEnded(seen.ended, seen.reason, alive))

    # ---- what the core asks for

    def _perform(self, request: requests.Request) -> None:
        match request:
            case requests.SurveyBirth():
                self._survey_birth(request)
            case requests.SurveySome() if self._is_ending:
                pass  # the last survey shows them
            case requests.SurveySome():
                for read in self.surveyor.some(request.keys):
                    self._feed(read)
            case requests.SurveyAll():
                self._take_round(self._look_at_all(request.reason))
            case requests.ForgetNamespace():
                self.surveyor.forget(request.key)
            case _:
                answer = self._answer(request)
                if answer is not None:
                    self._feed(answer)

    def _survey_birth(self, birth: requests.SurveyBirth) -> None:
        if birth.descriptor is None:
            path, pids = f"/proc/{birth.tid}/ns/mnt", [birth.tid]
        else:
            path, pids = f"/proc/{birth.tid}/fd/{birth.descriptor}", []
        read = self.surveyor.at(path, pids, birth.ns, "birth")
        if read is not None and read.key == namespace_key(birth.ns, birth.ns_id):
            self._feed(read)

    def _answer(self, request: requests.Request) -> AnyEvent | None:
        match request:
            case requests.NameMount(unique, ns_id):
                root, mountpoint = _names(unique, ns_id)
                return events.MountNamed(time.monotonic_ns(), unique, root, mountpoint)
            case requests.FindMounts(uniques, keys):
                return events.MountsFound(time.monotonic_ns(), _having(uniques, keys))
            case requests.IdentifyNamespace(key, pid, hints):
                identity = cleaned(self._identities.of(pid, hints))
                command = self._without_secrets(identity.command)
                identity = replace(identity, command=command)
                return events.NamespaceIdentified(time.monotonic_ns(), key, identity)
            case requests.IdentifyThread(tid):
                return self._identify_thread(tid)
            case requests.CheckThread(tid):
                is_in_call = self._probes.is_in_call(tid)
                return events.ThreadChecked(time.monotonic_ns(), tid, is_in_call)
            case requests.FindUsers(seq, device, mounts):
                found = users(dict.fromkeys(mounts, device))
                return events.UsersFound(time.monotonic_ns(), seq, found)
            case requests.CheckNamespaces(keys):
                return events.NamespacesGone(time.monotonic_ns(), gone(keys))
        return None

    def _identify_thread(self, tid: int) -> events.ThreadIdentified:
        found = process_of(tid)
        if found is None:
            ended = self._probes.ended_thread(tid)
            found = ended and (process_of(ended.pid) or (ended_process(ended), ()))
        if found is None:
            return events.ThreadIdentified(time.monotonic_ns(), tid, None)
        row, argv = found
        argv = self._without_secrets(argv)
        row["command"] = " ".join(argv).rstrip()
        return events.ThreadIdentified(time.monotonic_ns(), tid, row, argv)

    def _without_secrets(self, command: tuple[str, ...]) -> tuple[str, ...]:
        return command if self._keeps_secrets else redact_command(command)


def _mount_group() -> MountGroup | None:
    """The group that reports attached and detached mounts, where this kernel has such (6.15)."""
    try:
        return MountGroup()
    except OSError:
        return None


def _having(uniques: Collection[int], keys: Iterable[int]) -> list[int]:
    """The namespaces that have some of these mounts; all, if the kernel does not say."""
    if not statmount.available():
        return list(keys)
    found, missing = [], set(uniques)
    for key in keys:
        with suppress(OSError):  # it has ended
            if not missing.isdisjoint(here := set(statmount.list_mounts(key))):
                found.append(key)
                missing -= here
        if not missing:
            break
    return found


def _names(unique: int, ns_id: int) -> tuple[str | None, str]:
    """The root and the mount point of a mount, None and "" if it is no longer there."""
    try:
        root, mountpoint = statmount.names(unique, ns_id)
    except OSError:
        return None, ""
    return clean(root), clean(mountpoint)
