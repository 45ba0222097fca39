"""The recorder: probes, snapshots and the writer, joined."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from mnttrace import __version__
from mnttrace.capture.decode import Decoder
from mnttrace.capture.probes import Probes
from mnttrace.capture.snapshots import Snapshots
from mnttrace.errors import BadInput
from mnttrace.recording.writer import Writer

_POLL = 0.01  # seconds between looks at the ring buffer
_FLUSH = 0.5  # seconds between writes
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
        self.snapshots = Snapshots(self.writer.add)
        offset = time.time_ns() - time.monotonic_ns()
        self._decoder = Decoder(offset, keep_secrets)
        self.operations = 0
        self._dirty: set[int] = set()
        self._stopped = False
        system = os.uname()
        self.writer.meta |= {
            "mnttrace": __version__,
            "host": system.nodename,
            "kernel": system.release,
            "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "wall_offset": offset,
            "started": time.time_ns(),
            "traced": self.probes.traced,
            "missing": self.probes.missing,
            "home_ns": os.stat("/proc/self/ns/mnt").st_ino,
            "complete": False,
        }

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
            self.snapshots.take_all("start", 0)
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
            self._look()
            if time.monotonic() - flushed >= _FLUSH:
                self.writer.flush()
                flushed = time.monotonic()
            time.sleep(_POLL)
        if child is not None and child.poll() is None:
            child.terminate()

    def _look(self) -> None:
        self.probes.drain(self._take)
        if self._dirty:
            dirty, self._dirty = self._dirty, set()
            self.snapshots.take(dirty, "operation", self.operations)

    def _take(self, raw: bytes) -> None:
        row = self._decoder.take(raw)
        if row is None or row["pid"] == os.getpid():
            return
        self.operations = row["seq"]
        self.writer.add("operations", row)
        if row["result"] >= 0:
            if row["syscall"] in _CHANGES_MOUNTS:
                self._dirty.add(row["ns"])
            if row["ns_target"]:
                self._dirty.add(row["ns_target"])

    def _finish(self) -> None:
        self.probes.drain(self._take)
        self.snapshots.take_all("end", self.operations)
        losses = self.probes.losses()
        losses["cut_strings"] = self._decoder.cut
        losses["unreadable_tables"] = self.snapshots.unreadable
        for kind, count in losses.items():
            self.writer.add("losses", {"kind": kind, "count": count})
        self.probes.close()
        self.writer.meta |= {"stopped": time.time_ns(), "losses": losses}
        self.writer.close()
