"""What happens while one is recording or watching: probes, fanotify and surveys, joined to rows."""

from __future__ import annotations

import time
from pathlib import Path

from mnttrace.capture.filters import Filter
from mnttrace.capture.identity.identify import Identity
from mnttrace.capture.identity.registry import People
from mnttrace.capture.join.causes import Causes
from mnttrace.capture.join.effect_rows import Add, Row
from mnttrace.capture.join.effects import Birth, Effects
from mnttrace.capture.join.mountinfo_entries import Entries
from mnttrace.capture.join.pending import Notes
from mnttrace.capture.join.tables import MountTables, namespace_key
from mnttrace.capture.stream.decode import Call, Decoder, MountList, Process
from mnttrace.capture.stream.spool import Idle, Intake, Portion
from mnttrace.capture.survey.endings import Endings
from mnttrace.capture.survey.surveyor import Survey, Surveyor
from mnttrace.capture.users import Busy
from mnttrace.linux.fanotify import MountEvent, MountGroup, events
from mnttrace.linux.namespaces import mount_namespaces
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.kernel import Probes
from mnttrace.probes.null import Blind
from mnttrace.probes.ring import records
from mnttrace.recording.snapshots import Snapshots

_JOIN_AT_ONCE = 0.1  # seconds between looks at what else is due
_LOOK_AT_TABLES = 0.1  # seconds between surveys, where there is nothing else
_LOOK_AGAIN = 1.0  # seconds between surveys of a namespace that operations may have changed
_CHANGES_MOUNTS = {
    SyscallKind.MOUNT,
    SyscallKind.UMOUNT,
    SyscallKind.PIVOT,
    SyscallKind.MOVE_MOUNT,
    SyscallKind.SETATTR,
    SyscallKind.RECONFIGURE,
}


class Session:
    """Turns what the kernel tells into rows.

    Args:
        probes: armed, or none.
        add: takes (table, row): operations, effects, processes, namespaces, snapshots, mounts.
        wall_offset: CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.
        wanted: which operations are to be told.
        keep_secrets: leave passwords and keys in mount data as they are.
        directory: where what the kernel tells faster than it can be joined may wait in a file.

    Attributes:
        operations, effects: how many there were of those that are wanted.
        sees_detached: whether detached mounts are told of.
    """

    def __init__(
        self,
        probes: Probes | Blind,
        add: Add,
        wall_offset: int,
        wanted: Filter,
        keep_secrets: bool = False,
        directory: Path | None = None,
    ) -> None:
        self._probes = probes
        self._add = add
        self._offset = wall_offset
        self._wanted = wanted
        self._group = _mount_group() if probes.can_notify else None
        self.sees_detached = probes.tells or self._group is not None
        if self._group:
            probes.show_group(self._group.descriptor)
        self._intake = Intake(probes.ring, self._group, directory) if probes.ring else Idle()
        self._surveyor = Surveyor(probes, self._group)
        self._snapshots = Snapshots(add)
        self._decoder = Decoder(wall_offset, keep_secrets)
        self._notes = Notes(probes.is_in_call, of_all=probes.tells)
        self._pending: list[Row] = []
        self._tables = tables = MountTables()
        self._effects = Effects(tables, self._notes, self._take_effect)
        self._people = People(add)
        self._endings = Endings()
        # For where mounts cannot be walked: there are but calls, and mount tables between them.
        self._entries = None if probes.can_walk else Entries()
        self._causes = Causes(tables, self._effects.rows)
        self._calls: list[Row] = []
        self._births: dict[int, Row] = {}
        self._compared: dict[int, int] = {}
        self._looked = self._took_to_look = 0.0
        self._busy = Busy(tables)
        self._surveys: dict[int, Survey] = {}
        self._changed: dict[int, float] = {}
        self.operations = self.effects = 0
        self._last_seq = 0

    @property
    def namespaces(self) -> int:
        """How many mount namespaces there have been."""
        return self._people.count

    def begin(self) -> None:
        """Survey all namespaces."""
        self._survey_all("start")

    def give_way(self) -> None:
        """Leave processors to others from now on, as long as that makes nothing late. To be called
        once everything is started that is to be recorded: children would do the same."""
        self._intake.give_way(True)

    def look(self, timeout: float = 0) -> None:
        """Take what there is, and survey what is due.

        Namespaces in which something is expected at once, others that changed after a while.

        Args:
            timeout: seconds to wait for something urgent, such as the birth of a namespace.
        """
        self._take_some(timeout)
        now = time.monotonic()
        if self._entries:
            is_due = now - self._looked >= max(_LOOK_AT_TABLES, self._took_to_look)
            if is_due and (self._calls or not self._probes.traced):
                self._compare_all("operation")
            return
        due = {key for key, since in self._changed.items() if now - since >= _LOOK_AGAIN}
        for key in due:
            del self._changed[key]
        self._survey_some(due | self._effects.changes.namespaces_to_look_at())
        self._endings.look()

    def settle(self) -> None:
        """Account for all that has been told until now, as if no call were under way."""
        self._take_all()
        self._survey_all("end")

    def end(self) -> dict[str, int]:
        """Take what is left and survey all namespaces; what was lost, by kind."""
        self._intake.give_way(False)
        self.settle()
        losses = self._probes.losses()
        losses["lost_runs"] = losses.get("lost_runs", 0) + self._probes.unended()
        losses["lost_bytes"] = self._intake.lost
        losses["unsearched_users"] = self._busy.unsearched
        losses["cut_strings"] = self._decoder.cut
        losses["unreadable_tables"] = self._surveyor.unreadable
        if self._group:
            losses["lost_notifications"] = self._notes.overflows
            losses["lost_made"] += self._notes.unlisted
        return losses

    def close(self) -> None:
        """Give up what is held open."""
        self._intake.close()
        if self._group:
            self._group.close()

    # ---- what the kernel tells

    def _take_all(self) -> None:
        for portion in self._intake.all():
            self._join(portion)

    def _take_some(self, timeout: float) -> None:
        portion = self._intake.next(timeout)
        end = time.monotonic() + _JOIN_AT_ONCE
        while portion and time.monotonic() < end:
            self._join(portion)
            portion = self._intake.next()
        self._join(portion or Portion(time.monotonic_ns(), b"", b""))

    def _join(self, portion: Portion) -> None:
        self._notes.take(events(portion.events), portion.at)
        for raw in records(portion.records):
            self._take(self._decoder.take(raw), portion.at)
        self._effects.detached.settle(self._when(portion.at))
        self._write_effects()
        for key in self._endings.found(portion.at):
            self._effects.detached.gone(key, self._when(portion.at))
            self._write_effects()
            self._ended(key)
        for key in self._tables.take_emptied():
            self._ended(key)

    def _take(self, item: Call | MountList | Process | MountEvent | None, at: int) -> None:
        if isinstance(item, Call):
            self._take_call(item)
        elif isinstance(item, MountEvent):
            self._notes.take([item], at)
        elif isinstance(item, Process):
            told = self._people.process(item)
            if told:
                self._learn(*told)
        elif isinstance(item, MountList):
            survey = self._surveys.get(namespace_key(item.ns, item.ns_id))
            if survey:
                if item.first:
                    survey.lists.clear()
                survey.lists.append(item)
                if item.last:
                    self._surveyed(survey, complete=True)

    def _take_call(self, call: Call) -> None:
        row = call.row
        self._last_seq = row["seq"]
        self._effects.call(call)
        born, self._effects.born = self._effects.born, []
        for birth in born:
            self._survey_birth(birth)
        if self._entries and row["result"] >= 0:
            self._remember(call)
        if row["result"] >= 0 and call.does in _CHANGES_MOUNTS:
            key = namespace_key(row["ns"], row["ns_id"])
            self._changed.setdefault(key, time.monotonic())
        effects, self._pending = self._pending, []
        if call.does == SyscallKind.REMOVE and not effects:
            return  # what its thread detached before was taken for what this call did
        if self._wanted.wants_all or self._wanted.wants_call(
            row, effects, self._people.cgroup(row["pid"])
        ):
            self.operations += 1
            self._add("operations", row)
            if call.does == SyscallKind.UMOUNT and row["error"] == "EBUSY":
                for user in self._busy.users(row):
                    self._add("users", self._now() | user)
            for effect in effects:
                self._add_effect(effect)

    def _remember(self, call: Call) -> None:
        row = call.row
        if call.does == SyscallKind.NAMESPACE and row["ns_target_id"] not in (None, row["ns_id"]):
            self._births[row["ns_target_id"]] = row
        if call.does in _CHANGES_MOUNTS or call.does == SyscallKind.NAMESPACE:
            self._calls.append(row)

    def _take_effect(self, _table: str, row: Row) -> None:
        self._pending.append(row)

    def _write_effects(self) -> None:
        """Those that no call caused."""
        effects, self._pending = self._pending, []
        for effect in effects:
            if self._wanted.wants_effect(effect):
                if effect["pid"] is None and effect["tid"] is not None:
                    effect["pid"] = self._people.process_of(effect["tid"])
                self._add_effect(effect)

    def _add_effect(self, effect: Row) -> None:
        self.effects += 1
        self._add("effects", effect)

    def _now(self) -> Row:
        return self._when(time.monotonic_ns())

    def _when(self, monotonic: int) -> Row:
        return {"ts": monotonic + self._offset, "monotonic": monotonic}

    # ---- surveys

    def _compare_all(self, reason: str) -> None:
        """Survey all namespaces, and find the calls that made them what they are."""
        self._take_all()
        calls, self._calls = self._calls, []
        began = time.monotonic()
        alive = self._begin_all(reason)
        self._end_of_survey(reason, alive)
        self._looked = time.monotonic()
        self._took_to_look = self._looked - began
        self._births.clear()  # of those that are left the namespaces are gone
        self._causes.find(calls, self._pending)
        self._write_effects()

    def _survey_all(self, reason: str) -> None:
        if self._entries:
            self._compare_all(reason)
            return
        alive = self._begin_all(reason)
        self._take_all()
        for survey in list(self._surveys.values()):
            self._surveyed(survey, complete=False)
        self._end_of_survey(reason, alive)
        self._write_effects()

    def _begin_all(self, reason: str) -> set[int]:
        """The keys of the namespaces that there are."""
        alive = set()
        for namespace in mount_namespaces(kernel=True).namespaces.values():
            survey = self._surveyor.survey(namespace, reason)
            if survey:
                alive.add(survey.key)
                birth = self._births.get(survey.key)
                if (
                    birth
                    and self._compared.get(survey.key, birth["monotonic"]) < birth["monotonic"]
                ):
                    # Where namespaces have no unique ids: one that has ended had its number.
                    self._effects.detached.gone(survey.key, self._when(birth["monotonic"]))
                    self._ended(survey.key)
                self._begin(survey, birth)
        return alive

    def _end_of_survey(self, reason: str, alive: set[int]) -> None:
        # What fanotify told of namespaces that died says who ended them.
        self._effects.detached.settle(self._now(), everything=reason == "end")
        if reason == "end":
            for key in self._people.namespaces.keys() - alive:
                self._effects.detached.gone(key, self._now())
                self._ended(key)

    def _ended(self, key: int) -> None:
        """A namespace is no more: a recording may be long, and keeps nothing of what is gone."""
        ns = self._people.forget(key)
        if ns is not None:
            self._snapshots.gone(ns, key, time.monotonic_ns(), self._last_seq)
        self._surveyor.forget(key)
        self._notes.forget(key)
        self._endings.forget(key)
        self._effects.differences.forget(key)
        self._surveys.pop(key, None)
        self._changed.pop(key, None)
        self._compared.pop(key, None)
        if self._entries:
            self._entries.forget(key)

    def _survey_birth(self, birth: Birth) -> None:
        row = birth.row
        tid = row["child"] or row["tid"]
        key = namespace_key(birth.ns, birth.ns_id)
        if row["syscall"] in ("open_tree", "fsmount"):
            path, pids = f"/proc/{row['pid']}/fd/{row['result']}", []
        else:
            path, pids = f"/proc/{tid}/ns/mnt", [tid]
        survey = self._surveyor.at(path, pids, birth.ns, "birth")
        if survey is None or survey.key != key:
            self._identify(key, birth.ns, tid, row)
        else:
            self._begin(survey, row)
        if not self._notes.is_watched(key, time.monotonic_ns()):
            self._endings.expect(key)

    def _survey_some(self, keys: set[int]) -> None:
        if not keys:
            return
        for namespace in mount_namespaces(kernel=True).namespaces.values():
            if namespace_key(namespace.inum, namespace.namespace_id or 0) in keys:
                survey = self._surveyor.survey(namespace, "operation")
                if survey:
                    self._begin(survey)

    def _begin(self, survey: Survey, birth: Row | None = None) -> None:
        self._surveys[survey.key] = survey
        survey.newest = self._tables.newest
        if self._surveyor.watched(survey.key):
            self._notes.watch(survey.key, survey.started)
        self._identify(survey.key, survey.ns, survey.pid or 0, birth)
        if survey.reason == "end" and survey.pid:
            self._people.last_seen(survey.key, survey.pid)
        if not survey.listed:
            self._surveyed(survey, complete=False)

    def _identify(self, key: int, ns: int, pid: int, birth: Row | None) -> None:
        identity = self._people.namespace(key, ns, pid, birth)
        if identity:
            self._learn(key, identity)

    def _learn(self, key: int, identity: Identity) -> None:
        if identity.kind == "container":
            self._wanted.learn(key, identity.name, identity.id)

    def _surveyed(self, survey: Survey, complete: bool) -> None:
        del self._surveys[survey.key]
        found = survey.take_lists()
        if self._entries:
            self._compare(survey, self._entries)
        elif found:
            when = self._when(survey.ended)
            is_final = survey.reason == "end"
            self._effects.differences.survey(found, complete, survey, when, is_final)
            if self._effects.differences.are_doubtful(survey.key):
                self._changed.setdefault(survey.key, time.monotonic())
        self._snapshots.take(survey.as_mount_table(), self._last_seq)

    def _compare(self, survey: Survey, entries: Entries) -> None:
        """Compare a mount table with the one before."""
        self._compared[survey.key] = survey.started
        made_of = entries.of(survey.ns, survey.ns_id, survey.table, survey.unique_ids)
        found = MountList(0, survey.ns, survey.ns_id, True, True, made_of)
        when = self._when(survey.ended)
        self._effects.differences.survey(found, True, survey, when, final=True)
        birth = self._births.pop(survey.key, None)
        if birth:
            self._causes.born(survey.key, birth)


def _mount_group() -> MountGroup | None:
    """The group that tells of attached and detached mounts, where this kernel has such (6.15)."""
    try:
        return MountGroup()
    except OSError:
        return None
