"""The recorder: probes, fanotify, surveys and the writer, joined."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from mnttrace import __version__
from mnttrace.capture.decode import Call, Decoder, MountList, Process
from mnttrace.capture.effects import Birth, Effects
from mnttrace.capture.notes import Notes
from mnttrace.capture.probes import Probes
from mnttrace.capture.snapshots import Snapshots
from mnttrace.capture.surveys import Survey, Surveyor
from mnttrace.capture.tables import MountTables, namespace_key
from mnttrace.errors import BadInput
from mnttrace.linux.fanotify import MountGroup
from mnttrace.linux.namespaces import namespace_id
from mnttrace.recording.writer import Writer

_POLL = 0.01  # seconds between looks at the ring buffer
_FLUSH = 0.5  # seconds between writes
_LOOK_AGAIN = 1.0  # seconds between surveys of a namespace that operations may have changed
_CHANGES_MOUNTS = {"mount", "umount2", "pivot_root", "move_mount", "mount_setattr"}


class Recorder:
    """One recording, from arming the probes to the finished tables.

    Args:
        directory: the recording to make.
        force: replace one that exists.
        keep_secrets: do not redact mount data.

    Raises:
        MnttraceError: as the probes and the writer.
    """

    def __init__(self, directory: Path, force: bool = False, keep_secrets: bool = False) -> None:
        self.probes = Probes()
        try:
            self.writer = Writer(directory, force)
        except BaseException:
            self.probes.close()
            raise
        self._group = _mount_group()
        if self._group:
            self.probes.show_group(self._group.descriptor)
        self._surveyor = Surveyor(self.probes, self._group)
        self.snapshots = Snapshots(self.writer.add)
        self._offset = time.time_ns() - time.monotonic_ns()
        self._decoder = Decoder(self._offset, keep_secrets)
        self._notes = Notes()
        self._effects = Effects(MountTables(), self._notes, self.writer.add)
        self._surveys: dict[int, Survey] = {}
        self._changed: dict[int, float] = {}
        self._namespaces: set[int] = set()
        self.operations = 0
        self._stopped = False
        system = os.uname()
        self.writer.meta |= {
            "mnttrace": __version__,
            "host": system.nodename,
            "kernel": system.release,
            "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "wall_offset": self._offset,
            "started": time.time_ns(),
            "traced": self.probes.traced,
            "missing": self.probes.missing,
            "sees": {"mounts made": self.probes.can_walk, "mounts detached": bool(self._group)},
            "home_ns_id": _home(),
            "complete": False,
        }

    @property
    def effects(self) -> int:
        """How many effects there have been."""
        return self._effects.rows.count

    @property
    def namespaces(self) -> int:
        """How many mount namespaces there have been."""
        return len(self._namespaces)

    def run(self, command: Sequence[str] = (), duration: float | None = None) -> int:
        """Record until the command ends, the time is over, or SIGINT or SIGTERM comes.

        Args:
            command: started once the probes are armed; empty to record what others do.
            duration: seconds, None for no end.

        Returns:
            The command's exit status (128 + signal if one ended it), 0 without a command.

        Raises:
            BadInput: the command cannot be started.
            OutputError: the recording cannot be written.
        """
        old = {
            number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)
        }
        child = None
        try:
            self.writer.meta["command"] = list(command)
            self._survey_all("start")
            self.writer.flush()
            child = self._start(command)
            self._watch(child, duration)
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            self._finish()
        if child is None:
            return 0
        status = child.wait()
        return status if status >= 0 else 128 - status

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes] | None:
        if not command:
            return None
        try:
            return subprocess.Popen(command)
        except OSError as error:
            raise BadInput(
                f"{command[0]} cannot be run: {error.strerror}", "is it installed, and on PATH?"
            ) from error

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopped = True

    def _watch(self, child: subprocess.Popen[bytes] | None, duration: float | None) -> None:
        end = None if duration is None else time.monotonic() + duration
        flushed = time.monotonic()
        while not self._stopped and (child is None or child.poll() is None):
            if end is not None and time.monotonic() >= end:
                break
            self._look(_POLL)
            self._survey_changed()
            if time.monotonic() - flushed >= _FLUSH:
                self.writer.flush()
                flushed = time.monotonic()
        if child is not None and child.poll() is None:
            child.terminate()

    # ---- what the kernel tells

    def _look(self, timeout: float = 0) -> None:
        """Take what there is. The probes first: what they tell of, fanotify has told by then."""
        records = self.probes.read(timeout)
        if self._group:
            self._notes.take(self._group.read())
        for raw in records:
            self._take(self._decoder.take(raw))
        self._effects.detached.settle(self._now())
        if self._effects.born:
            born, self._effects.born = self._effects.born, []
            for birth in born:
                self._survey_birth(birth)
            self._look()

    def _take(self, item: Call | MountList | Process | None) -> None:
        if isinstance(item, Call):
            self.operations = item.row["seq"]
            self.writer.add("operations", item.row)
            self._effects.call(item)
            if item.row["result"] >= 0 and item.row["syscall"] in _CHANGES_MOUNTS:
                key = namespace_key(item.row["ns"], item.row["ns_id"])
                self._changed.setdefault(key, time.monotonic())
        elif isinstance(item, Process):
            self.writer.add("processes", item.row)
        elif isinstance(item, MountList):
            survey = self._surveys.get(namespace_key(item.ns, item.ns_id))
            if survey:
                survey.lists.append(item)
                if item.last:
                    self._surveyed(survey, complete=True)

    def _now(self) -> dict[str, Any]:
        now = time.monotonic_ns()
        return {"ts": now + self._offset, "monotonic": now}

    # ---- surveys

    def _survey_all(self, reason: str) -> None:
        found = self._surveyor.all_namespaces()
        alive = set()
        for namespace in found:
            survey = self._surveyor.take(namespace.pids, namespace.path, namespace.inum, reason)
            if survey:
                alive.add(survey.key)
                self._begin(survey)
        self._look()
        for survey in list(self._surveys.values()):
            self._surveyed(survey, complete=False)
        if reason != "start":
            # What fanotify told of namespaces that died says who ended them.
            self._effects.detached.settle(self._now(), everything=True)
            for key in self._namespaces - alive:
                self._gone(key)

    def _survey_birth(self, birth: Birth) -> None:
        row = birth.row
        tid = row["child"] or row["tid"]
        path = f"/proc/{tid}/ns/mnt"
        survey = self._surveyor.take([tid], path, birth.ns, "birth")
        if survey is None or survey.ns_id != birth.ns_id:
            self._describe(namespace_key(birth.ns, birth.ns_id), birth.ns, None)
            return
        self._notes.watch(survey.key)
        self._begin(survey)

    def _survey_changed(self) -> None:
        now = time.monotonic()
        due = [key for key, since in self._changed.items() if now - since >= _LOOK_AGAIN]
        if not due:
            return
        for key in due:
            del self._changed[key]
        for namespace in self._surveyor.all_namespaces():
            if namespace_key(namespace.inum, namespace.namespace_id or 0) in due:
                survey = self._surveyor.take(
                    namespace.pids, namespace.path, namespace.inum, "operation"
                )
                if survey:
                    self._begin(survey)
        self._look()

    def _begin(self, survey: Survey) -> None:
        self._surveys[survey.key] = survey
        if self._surveyor.watched(survey.key):
            self._notes.watch(survey.key)
        self._describe(survey.key, survey.ns, survey.pid)
        if not survey.listed:
            self._surveyed(survey, complete=False)

    def _surveyed(self, survey: Survey, complete: bool) -> None:
        del self._surveys[survey.key]
        when = {"ts": survey.ended + self._offset, "monotonic": survey.ended}
        if survey.lists:
            whole = survey.lists[0]
            for more in survey.lists[1:]:
                whole.entries.extend(more.entries)
            survey.lists = [whole]
            self._effects.survey(whole, complete, survey.table, when)
        self.snapshots.take(survey, self.operations)

    def _gone(self, key: int) -> None:
        self._effects.detached.gone(key, self._now())
        self.snapshots.gone(key, self.operations)
        self._surveyor.forget(key)

    def _describe(self, key: int, ns: int, pid: int | None) -> None:
        if key in self._namespaces:
            return
        self._namespaces.add(key)
        self.writer.add("namespaces", {"ns": ns, "ns_id": key})

    def _finish(self) -> None:
        self._look()
        self._survey_all("end")
        losses = self.probes.losses()
        losses["cut_strings"] = self._decoder.cut
        losses["unreadable_tables"] = self._surveyor.unreadable
        if self._group:
            losses["lost_notifications"] = self._group.overflows
        for kind, count in losses.items():
            self.writer.add("losses", {"kind": kind, "count": count})
        self.probes.close()
        if self._group:
            self._group.close()
        self.writer.meta |= {"stopped": time.time_ns(), "losses": losses}
        self.writer.close()


def _home() -> int:
    """What the recorder's own mount namespace is known by."""
    path = "/proc/self/ns/mnt"
    return namespace_key(os.stat(path).st_ino, namespace_id(path) or 0)


def _mount_group() -> MountGroup | None:
    """The group that tells of attached and detached mounts, where this kernel has such (6.15)."""
    try:
        return MountGroup()
    except OSError:
        return None
