# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What comes out of the core: rows of the tables, and requests; and what caused an effect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mnttrace.capture.join.requests import Request
from mnttrace.recording.rows import OperationRow, Row


class Output(NamedTuple):
    """What one event led to.

    Attributes:
        rows: (table, row), in the order in which they are to be written.
        requests: to be carried out in their order; their answers are the next events.
    """

    rows: Sequence[tuple[str, Row]]
    requests: Sequence[Request]


_NOTHING = Output((), ())


class Outbox:
    """Collects what comes out, until it is taken."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, Row]] = []
        self._requests: list[Request] = []

    def add(self, table: str, row: Row) -> None:
        """A row is complete."""
        self._rows.append((table, row))

    def add_all(self, table: str, rows: Iterable[Row]) -> None:
        """Rows of one table are complete."""
        self._rows += [(table, row) for row in rows]

    def ask(self, request: Request) -> None:
        """Something is to be done or found out."""
        self._requests.append(request)

    def ask_all(self, requests: Iterable[Request]) -> bool:
        """Several things are to be done or found out; whether there are any."""
        before = len(self._requests)
        self._requests += requests
        return len(self._requests) > before

    def take(self) -> Output:
        """All that was collected since the last time."""
        if not (self._rows or self._requests):
            return _NOTHING
        output = Output(self._rows, self._requests)
        self._rows, self._requests = [], []
        return output


class Cause(NamedTuple):
    """What caused an effect: an operation, or else what is known of it.

    Attributes:
        seq: the operation, None: there was none, or it is not known.
        ts: wall time, ns; monotonic: CLOCK_MONOTONIC, ns: of the operation, or when it was seen.
        pid, tid: process and thread, None if not known.
    """

    seq: int | None
    ts: int
    monotonic: int
    pid: int | None = None
    tid: int | None = None

    @classmethod
    def of(cls, row: OperationRow) -> Cause:
        """An operation as a cause."""
        return cls(row["seq"], row["ts"], row["monotonic"], row["pid"], row["tid"])
