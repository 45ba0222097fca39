# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Up to when all that was reported has been given: as far as the copying process has looked."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from mnttrace.capture.join.events import AnyEvent, CaughtUp
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.session import Session
from mnttrace.capture.stream.spool import Spool
from mnttrace.probes.null import NullProbes
from mnttrace.probes.ring import Ring


class FakeRing:
    """A ring of which both processes see how much there is, and whether that is being written."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0)
        self.is_empty = True
        self.shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    def read(self) -> bytes:
        self.is_empty = not self.shared[1]
        size, self.shared[0] = self.shared[0], 0
        return b"x" * size

    def begin(self) -> None:
        """A record is being written, until :meth:`end`."""
        self.shared[1] = 1

    def end(self) -> None:
        self.shared[1] = 0


@pytest.fixture
def ring() -> FakeRing:
    return FakeRing()


@pytest.fixture
def spool(ring: FakeRing, tmp_path: Path) -> Iterator[Spool]:
    made = Spool(cast(Ring, ring), None, tmp_path)
    yield made
    os.kill(made._pid, signal.SIGCONT)
    made.close()


def looked_again(spool: Spool) -> None:
    """Wait for two looks, the second of which began after this was called."""
    for _ in range(2):
        before = spool.whole_until
        while spool.whole_until == before:
            assert spool.next(0.01) is None


def test_it_goes_on_as_long_as_the_copier_looks(spool: Spool) -> None:
    began = time.monotonic_ns()
    looked_again(spool)
    assert began < spool.whole_until < time.monotonic_ns()


def test_a_copier_that_does_not_look_says_nothing_new(spool: Spool) -> None:
    looked_again(spool)
    os.kill(spool._pid, signal.SIGSTOP)
    os.waitpid(spool._pid, os.WUNTRACED)
    stopped = time.monotonic_ns()
    assert spool.next(0.05) is None
    assert spool.whole_until < stopped
    os.kill(spool._pid, signal.SIGCONT)
    looked_again(spool)
    assert spool.whole_until > stopped


def test_what_is_being_written_is_waited_for(spool: Spool, ring: FakeRing) -> None:
    looked_again(spool)
    ring.begin()
    assert spool.next(0.05) is None  # the look that goes on may have begun before
    until = spool.whole_until
    ring.shared[0] = 5
    batch = spool.next(1) or spool.next(1)
    assert batch is not None
    assert (batch.records, batch.is_whole) == (b"xxxxx", False)
    assert spool.next(0.05) is None
    assert spool.whole_until == until
    ring.end()
    looked_again(spool)
    ring.shared[0] = 5
    batch = spool.next(1) or spool.next(1)
    assert batch is not None
    assert batch.is_whole


def test_a_session_says_no_more_than_that(ring: FakeRing, tmp_path: Path) -> None:
    probes = NullProbes()
    probes.ring = cast(None, ring)
    session = Session(probes, lambda *_: None, 0, Filter(), directory=tmp_path)
    fed: list[AnyEvent] = []
    session.keep = fed.append
    spool = session._spool
    assert isinstance(spool, Spool)
    try:
        for _ in range(5):
            session.poll(0.02)
        os.kill(spool._pid, signal.SIGSTOP)
        os.waitpid(spool._pid, os.WUNTRACED)
        stopped = time.monotonic_ns()
        for _ in range(3):
            session.poll(0.02)
    finally:
        os.kill(spool._pid, signal.SIGCONT)
        session.close()
    times = [event.at for event in fed if isinstance(event, CaughtUp)]
    assert times
    assert times == sorted(set(times))
    assert times[-1] < stopped
