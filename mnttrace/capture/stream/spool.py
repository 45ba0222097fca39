# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the kernel reports, taken from its buffers at once and kept until there is time for it.

A storm of mounts fills the ring buffer in a third of a second, and it takes several times as long
to join what is in it. So a process of its own does nothing but copy, to a file that has no name:
first the records of the probes, then the events of fanotify, which has reported a call's mounts
before its probe does. A thread would not do: it waits for the interpreter's lock, for hundreds of
milliseconds where all processors are busy.

The same process keeps the recorder out of the way of what it records: it lets that have processors
which nobody else wants (SCHED_IDLE), until something has waited for a while.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import select
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

from mnttrace.errors import CaptureError
from mnttrace.linux.fanotify import MountGroup
from mnttrace.probes.ring import Ring

_POLL = 0.01  # seconds between looks at the buffers, unless something urgent comes
# For each event the kernel looks through up to 128 that wait, of the same thread (fanotify_merge()
# in fs/notify/fanotify/fanotify.c): where many come, they are taken sooner.
_POLL_BUSY, _BUSY = 0.001, 2000  # seconds, and bytes of events in one look
_PRIORITY = -10  # to have a processor soon; it needs little of it
_PATIENCE = 0.1  # seconds that something waits before the recorder competes for processors
_HEADER = struct.Struct("=QQQQ")  # when, if that is all, bytes of records, bytes of events
# Numbers that both processes see: where the file's data ends, up to where the recorder is through
# with it, bytes that found no space in it, whether the recorder gives way, and when that look of
# the copier began which was the last one to take all that there was.
_END, _DONE, _LOST, _GIVES_WAY, _LOOKED = range(5)
_WOKEN, _CAUGHT_UP, _FAILED = b".", b"!", b"?"
_GIVEN_BACK = 1 << 22  # bytes of the file at a time: each time costs as much as reading many
_PUNCH_HOLE = 3  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


class Batch(NamedTuple):
    """What had come by one time.

    Attributes:
        at: that time, CLOCK_MONOTONIC in ns.
        is_whole: whether it has, with those before, all that had been reported by then: not if a
            record was still being written, and others waited behind it.
        records: as of :meth:`mnttrace.probes.ring.Ring.read`.
        events: as of :meth:`mnttrace.linux.fanotify.MountGroup.read`.
    """

    at: int
    is_whole: bool
    records: bytes
    events: bytes


class Spool:
    """Takes batches from the kernel's buffers, in a process of its own.

    Args:
        ring: what the probes write to.
        group: the fanotify group, if there is one.
        directory: where the file is made in which batches wait.

    Attributes:
        whole_until: when :meth:`next` found none: all that was reported before that has been
            given; CLOCK_MONOTONIC, ns.

    Raises:
        CaptureError: no file can be made there.
    """

    def __init__(self, ring: Ring, group: MountGroup | None, directory: Path | None) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise CaptureError(
                f"no temporary file can be made: {error}", "set TMPDIR to a directory with space"
            ) from error
        self._read_to = self._kept_from = self.whole_until = 0
        self._shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self._libc = ctypes.CDLL(None)
        self._copier, ours = socket.socketpair()
        gc.freeze()  # the collector would write to what both processes share, and look in vain
        self._pid = os.fork()
        if self._pid == 0:
            self._copier.close()
            _copy_and_exit(ring, group, self._file, self._shared, ours)
        ours.close()

    def next(self, timeout: float = 0) -> Batch | None:
        """The oldest batch that waits, None if there is none.

        Args:
            timeout: seconds to wait for one.
        """
        self._shared[_DONE] = self._read_to  # who asks for the next one is through with the last
        if not self._is_behind:
            self._copier.settimeout(timeout)
            with suppress(TimeoutError, BlockingIOError):
                self._hear()
        looked = self._shared[_LOOKED]  # before the end: what was taken until then is before that
        if self._is_behind:
            return self._pop()
        self.whole_until = looked
        return None

    def mark(self) -> int:
        """Where, for :meth:`until`, that ends which waits, and is in the buffers by now."""
        self._copier.settimeout(None)
        self._copier.send(_CAUGHT_UP)
        while _CAUGHT_UP not in self._hear():
            pass
        return self._shared[_END]

    def until(self, end: int) -> Iterator[Batch]:
        """What waits until a mark."""
        while self._read_to < end:
            yield self._pop()
            self._shared[_DONE] = self._read_to

    def stop(self) -> None:
        """Copy no more; what waits can still be had."""
        self._copier.shutdown(socket.SHUT_WR)

    def give_way(self, on: bool) -> None:
        """Whether this process leaves processors to others as long as it is not behind. What it
        starts meanwhile would do so for ever."""
        self._shared[_GIVES_WAY] = on

    @property
    def lost(self) -> int:
        """Bytes that could not be kept, since the disk was full."""
        return self._shared[_LOST]

    def close(self) -> None:
        """Take no more; the ring and the group are no longer looked at."""
        self._copier.close()
        os.waitpid(self._pid, 0)
        self._file.close()
        self._shared.release()

    @property
    def _is_behind(self) -> bool:
        return self._read_to < self._shared[_END]

    def _hear(self) -> bytes:
        with suppress(ConnectionResetError):
            heard = self._copier.recv(4096)
            _, failed, why = heard.partition(_FAILED)
            if failed:
                raise CaptureError(f"the kernel's buffers cannot be copied: {why.decode()}")
            if heard:
                return heard
        raise CaptureError(
            "the process that copies the kernel's buffers has ended", "was it killed, by whom?"
        )

    def _pop(self) -> Batch:
        end = self._read_to
        at, is_whole, records, events = _HEADER.unpack(self._read(_HEADER.size, end))
        end += _HEADER.size
        data = self._read(records + events, end)
        end += len(data)
        self._read_to = end
        if end - self._kept_from >= _GIVEN_BACK:
            # Gives the space back, where the file system can.
            hole = (ctypes.c_longlong(self._kept_from), ctypes.c_longlong(end - self._kept_from))
            self._libc.fallocate(self._file.fileno(), _PUNCH_HOLE, *hole)
            self._kept_from = end
        return Batch(at, bool(is_whole), data[:records], data[records:])

    def _read(self, size: int, at: int) -> bytes:
        parts = []
        while size:
            part = os.pread(self._file.fileno(), size, at)
            if not part:
                raise CaptureError("the temporary file is shorter than it was", "who cut it?")
            parts.append(part)
            size -= len(part)
            at += len(part)
        return b"".join(parts)


class NullSpool:
    """In the place of a spool, where there are no probes."""

    lost = 0

    @property
    def whole_until(self) -> int:
        """Nothing is reported, and so all has been given by now."""
        return time.monotonic_ns()

    def next(self, timeout: float = 0) -> Batch | None:
        """Nothing, after that time."""
        time.sleep(timeout)
        return None

    def mark(self) -> int:
        """Nothing waits."""
        return 0

    def until(self, end: int) -> Iterator[Batch]:
        """Nothing."""
        return iter(())

    def stop(self) -> None:
        """There is nothing to stop."""

    def give_way(self, on: bool) -> None:
        """Looking at tables now and then is in nobody's way."""

    def close(self) -> None:
        """There is nothing to give up."""


class _Priority:
    """Whether the recorder competes for processors.

    Args:
        shared: as of :class:`Spool`.
    """

    def __init__(self, shared: memoryview) -> None:
        self._shared = shared
        self._recorder = os.getppid()
        self._waits_since: float | None = None
        self._policy = os.sched_getscheduler(self._recorder)
        # One who may be preferred may also stop giving way. Another policy has been chosen.
        self._may_change = self._policy == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, 0) < 0

    def look(self) -> None:
        """Give way or compete, as things are now."""
        if self._shared[_DONE] == self._shared[_END]:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = time.monotonic()
        is_late = self._waits_since and time.monotonic() - self._waits_since >= _PATIENCE
        self._set(self._shared[_GIVES_WAY] == 1 and not is_late)

    def compete(self) -> None:
        """As everybody does."""
        self._set(False)

    def _set(self, gives_way: bool) -> None:
        policy = os.SCHED_IDLE if gives_way else os.SCHED_OTHER
        if self._may_change and policy != self._policy:
            with suppress(ProcessLookupError):
                os.sched_setscheduler(self._recorder, policy, os.sched_param(0))
            self._policy = policy


class _Taken(NamedTuple):
    """How many bytes the copier took by one look."""

    records: int
    events: int


class _Copier(NamedTuple):
    """What the copying process works with."""

    ring: Ring
    group: MountGroup | None
    file: IO[bytes]
    shared: memoryview
    recorder: socket.socket
    priority: _Priority

    def run(self) -> None:
        """Copy until the recorder closes its end."""
        wakeups = select.epoll()
        # By edge: records that are there already, and did not wake anybody, are not waited for.
        wakeups.register(self.ring.descriptor, select.EPOLLIN | select.EPOLLET)
        wakeups.register(self.recorder, select.EPOLLIN)
        took = _Taken(0, 0)
        while True:
            pause = _POLL_BUSY if took.events > _BUSY else _POLL
            woken = {descriptor for descriptor, _ in wakeups.poll(pause)}
            asked = self.recorder.fileno() in woken
            if asked and not self.recorder.recv(1):
                self.priority.compete()
                return
            took = self._take()
            self.priority.look()
            if asked:
                self.recorder.send(_CAUGHT_UP)
            elif any(took):
                with suppress(BlockingIOError):
                    self.recorder.send(_WOKEN, socket.MSG_DONTWAIT)

    def _take(self) -> _Taken:
        at = time.monotonic_ns()
        records = self.ring.read()
        events = self.group.read() if self.group else b""
        taken = _Taken(len(records), len(events))
        if any(taken) and not self._keep(
            _HEADER.pack(at, self.ring.is_empty, *taken), records, events
        ):
            return _Taken(0, 0)
        if self.ring.is_empty:
            self.shared[_LOOKED] = at
        return taken

    def _keep(self, *parts: bytes) -> bool:
        """Add to the file; whether there is space."""
        data = b"".join(parts)
        end = self.shared[_END]
        done = 0
        while done < len(data):
            try:
                done += os.pwrite(self.file.fileno(), memoryview(data)[done:], end + done)
            except OSError:
                # The disk is full: what does not fit into the buffers is counted as lost.
                if select.select([self.recorder], [], [], _POLL)[0]:
                    self.shared[_LOST] += len(data)
                    return False
        self.shared[_END] = end + len(data)
        return True


def _copy_and_exit(
    ring: Ring,
    group: MountGroup | None,
    file: IO[bytes],
    shared: memoryview,
    recorder: socket.socket,
) -> NoReturn:
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
        _Copier(ring, group, file, shared, recorder, _Priority(shared)).run()
    except BaseException as error:  # whatever it is, the recorder has to say it
        with suppress(OSError):
            recorder.send(_FAILED + repr(error).encode())
    finally:
        os._exit(0)
