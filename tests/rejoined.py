# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""That what a session's core got gives the same rows when it is put through again."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from mnttrace.capture.join.events import AnyEvent
from mnttrace.capture.join.join import Join
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.rejoin import rejoin
from mnttrace.capture.session import Session
from mnttrace.capture.stream.raw_log import VERSION, Header, RawLog, RawLogWriter
from mnttrace.recording.rows import Row

Rows = list[tuple[str, Row]]


class Kept:
    """The raw log of a session, in a folder; and the rows that came of it.

    `Session(…, add)`, then `kept = Kept(session, folder)` before it begins, with `kept.add` called
    for each row.
    """

    def __init__(self, session: Session, directory: Path, wanted: Filter | None = None) -> None:
        self.rows: Rows = []
        self._directory = directory
        header = Header(VERSION, session.setting, wanted or Filter(), {})
        self._writer = RawLogWriter(directory, header)
        session.keep = self._writer.add

    def add(self, table: str, row: Row) -> None:
        self.rows.append((table, copy.copy(row)))

    def check(self) -> None:
        """Put the log through the core again; the session has ended.

        Raises:
            AssertionError: a row is another one, or in another place.
        """
        self._writer.close()
        again = joined(RawLog(self._directory))
        for at, (ours, theirs) in enumerate(zip(self.rows, again, strict=False)):
            assert ours == theirs, f"row {at}: {ours} became {theirs}"
        assert len(again) == len(self.rows)


def joined(log: RawLog) -> Rows:
    """All rows that a raw log gives."""
    return joined_events(log, log.events())


def joined_events(log: RawLog, events: Iterable[AnyEvent]) -> Rows:
    """All rows that events give, recorded as a raw log says."""
    join = Join(log.header.setting, log.header.wanted)
    rows: Rows = []
    for event in events:
        rows += join.take(event).rows
    return [*rows, *join.finish().rows]


def check_recording(recording: Path, again: Path) -> None:
    """Make a recording of another one's raw log, and compare all tables.

    Raises:
        AssertionError: they are not equal.
    """
    rejoin(recording, again)
    for table in sorted(recording.glob("*.parquet")):
        assert pq.read_table(table).equals(pq.read_table(again / table.name)), table.stem
