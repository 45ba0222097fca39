# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The recorder: a session whose rows are written, around a command or until it is stopped."""

from __future__ import annotations

import gc
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from mnttrace.capture.about import about
from mnttrace.capture.cost import Cost, Meter
from mnttrace.capture.identity.processes import descendants
from mnttrace.capture.join.selection import Filter
from mnttrace.errors import BadInput
from mnttrace.probes.kernel import KernelProbes
from mnttrace.probes.null import NullProbes
from mnttrace.probes.supply import Say
from mnttrace.recording.directory import check, make
from mnttrace.recording.rows import Row

if TYPE_CHECKING:
    from mnttrace.capture.stream.raw_log import RawLogWriter

_POLL = 0.01  # seconds between looks at the ring buffer
_FLUSH = 0.5  # seconds between writes
_PATIENCE = 10.0  # seconds that a command has to end after it was asked to

Progress = Callable[["Recorder"], None]


class Recorder:
    """One recording, from arming the probes to the finished tables.

    Args:
        directory: the recording to make.
        force: replace one that exists.
        keep_secrets: leave passwords and keys in mount data and commands as they are.
        wanted: which operations to record.
        command: what to record, started once the probes are armed; empty: what others do.
        keep_raw: also keep what the core gets, in order.
        backend: as of :class:`mnttrace.probes.kernel.KernelProbes`; or "none": mount tables alone.
        programs: as of that class.
        say, compat: as of that class.

    Raises:
        BadInput: there is no such command.
        MnttraceError: as the probes and the writer.
    """

    def __init__(
        self,
        directory: Path,
        force: bool = False,
        keep_secrets: bool = False,
        wanted: Filter | None = None,
        command: Sequence[str] = (),
        backend: str | None = None,
        keep_raw: bool = False,
        programs: Path | None = None,
        say: Say = lambda _: None,
        compat: bool = False,
    ) -> None:
        wanted = wanted or Filter()
        self._meter = Meter()
        self._command = list(command)
        if command and not shutil.which(command[0]):
            raise _not_startable(command, "there is no such command")
        check(directory, force)
        self._probes: KernelProbes | NullProbes
        if backend == "none":
            self._probes = NullProbes()
        else:
            self._probes = KernelProbes(
                follow=descendants(wanted.pids),
                backend=backend,
                programs=programs,
                say=say,
                compat=compat,
            )
        self._raw: RawLogWriter | None = None
        self._signal = 0
        with ExitStack() as held:
            held.callback(self._probes.close)
            # Imported once the probes are armed: what happens meanwhile waits in their buffer.
            from mnttrace.capture.session import Session

            self._probes.complete()
            make(directory, force)
            meta = about(command, keep_secrets)
            self.session = Session(
                self._probes, self._add, meta["wall_offset"], wanted, keep_secrets, directory
            )
            held.callback(self.session.close)
            # Imported once the session has its copying process, in whose memory it would be, too.
            from mnttrace.capture.stream.raw_log import VERSION, Header, RawLogWriter
            from mnttrace.recording.writer import Writer

            self.writer = Writer(directory, is_made=True)
            self.writer.meta |= meta | self._capabilities() | {"filters": wanted.as_dict()}
            if keep_raw:
                header = Header(VERSION, self.session.setting, wanted, self.writer.meta)
                self._raw = RawLogWriter(directory, header)
                self.session.keep = self._raw.add
            held.pop_all()

    def _add(self, table: str, row: Row) -> None:
        self.writer.add(table, row)

    def _capabilities(self) -> dict[str, Any]:
        """What this machine lets a recording see, for meta.json."""
        return {
            "traced": self._probes.traced,
            "missing": self._probes.missing,
            "backend": self._probes.backend,
            "calls_by": self._probes.calls_by,
            "sees": {
                "mounts made": self._probes.can_walk,
                "mounts detached": self.session.sees_detached,
            },
        }

    @property
    def lost(self) -> int:
        """How many records could not be sent or seen until now."""
        return sum(n for kind, n in self._probes.losses().items() if kind.startswith("lost"))

    @property
    def cost(self) -> Cost:
        """What the recorder took until now; all of it once it has run."""
        return self._meter.read()

    def run(self, duration: float | None = None, progress: Progress = lambda _: None) -> int:
        """Record until the command ends, the time is over, or SIGINT or SIGTERM comes.

        Args:
            duration: seconds, None for no end.
            progress: called about twice a second.

        Returns:
            The command's exit status (128 + signal if one ended it), 0 without a command.

        Raises:
            BadInput: the command cannot be started.
            OutputError: the recording cannot be written; the command has run to its end.
        """
        # Mounts and rows form no cycles: to look for some each 700 objects takes 6 % of the time.
        gc.set_threshold(20_000)
        handled = (signal.SIGINT, signal.SIGTERM)
        old = {number: signal.signal(number, self._stop) for number in handled}
        child = None
        try:
            self.session.begin()
            self.writer.flush()
            child = _start(self._command)
            self.session.give_way()
            self._watch(child, duration, progress)
            self._finish()
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            self.session.close()
            self._probes.close()
            if child:
                child.wait()
        if child is None:
            return 0
        status = child.wait()
        return status if status >= 0 else 128 - status

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number

    def _watch(
        self, child: subprocess.Popen[bytes] | None, duration: float | None, progress: Progress
    ) -> None:
        end = None if duration is None else time.monotonic() + duration
        flushed = time.monotonic()
        asked = False
        while child is None or not self._meter.has_ended(child):
            now = time.monotonic()
            if self._signal or (end is not None and now >= end):
                if child is None:
                    break
                if not asked:
                    _ask_to_end(child, self._signal)
                    asked, end = True, now + _PATIENCE
                elif end is not None and now >= end:
                    child.kill()
            self.session.poll(_POLL)
            if now - flushed >= _FLUSH:
                self.writer.flush()
                if self._raw:
                    self._raw.flush()
                progress(self)
                flushed = now

    def _finish(self) -> None:
        losses = self.session.end()
        if self._raw:
            self._raw.close()
        self.writer.meta |= {"stopped": time.time_ns(), "losses": losses}
        self.writer.close()


def _start(command: Sequence[str]) -> subprocess.Popen[bytes] | None:
    if not command:
        return None
    try:
        return subprocess.Popen(command)
    except OSError as error:
        raise _not_startable(command, error.strerror or str(error)) from error


def _not_startable(command: Sequence[str], why: str) -> BadInput:
    return BadInput(f"{command[0]} cannot be run: {why}", "is it installed, and on PATH?")


def _ask_to_end(child: subprocess.Popen[bytes], number: int) -> None:
    """Pass a signal on; Ctrl-C has reached the command already, as it is in the same group."""
    with suppress(ProcessLookupError):
        if number != signal.SIGINT:
            child.send_signal(signal.SIGTERM)
