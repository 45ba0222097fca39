# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Rows of the tables `snapshots` and `mounts`."""

from __future__ import annotations

from mnttrace.capture.join.events import TableRead
from mnttrace.capture.join.outbox import Outbox
from mnttrace.recording.snapshots import MountTable, Snapshots


class SnapshotWriter:
    """Writes the mount tables that were read.

    Args:
        out: takes the rows.

    Attributes:
        last_seq: the last operation that was taken before.
    """

    def __init__(self, out: Outbox) -> None:
        self.last_seq = 0
        self._snapshots = Snapshots(out.add)

    def take(self, read: TableRead) -> None:
        """A table was read."""
        table = MountTable(
            read.ns, read.key, read.reason, read.at, read.ended, read.mounts, read.unique_ids
        )
        self._snapshots.take(table, self.last_seq)

    def gone(self, key: int, ns: int, at: int) -> None:
        """A namespace is no more; that was found at a time, CLOCK_MONOTONIC in ns."""
        self._snapshots.gone(ns, key, at, self.last_seq)
