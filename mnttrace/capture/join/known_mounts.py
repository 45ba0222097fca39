# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mounts as they are known, and what keeps them so."""

from __future__ import annotations

from mnttrace.capture.join.changes import Changes
from mnttrace.capture.join.detaches import Detaches
from mnttrace.capture.join.effect_rows import EffectRows
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.naming import Naming
from mnttrace.capture.join.outbox import Cause, Outbox
from mnttrace.capture.join.pending import PendingMountEvents


class KnownMounts:
    """The mounts of all namespaces, and each way in which they change.

    Args:
        out: for questions.
        reports_all: as of :class:`mnttrace.capture.join.pending.PendingMountEvents`.

    Attributes:
        tables: the mounts.
        pending: what threads attached and detached, which no call accounts for yet.
        rows: what happened to mounts.
        naming: makes mounts and names them.
        changes, detaches: change mounts and take them away.
        left_to_calls: the mounts that calls made which are taken after the first lists, and that
            these are not to attach; None: all first lists were taken.
        there_at: when mounts of the first lists were there (CLOCK_MONOTONIC, ns), as long as calls
            of before are taken.
    """

    def __init__(self, out: Outbox, reports_all: bool) -> None:
        self.tables = MountTables()
        self.left_to_calls: frozenset[int] | None = None
        self.there_at: dict[int, int] = {}
        self.pending = PendingMountEvents(out, reports_all)
        self.rows = EffectRows(self.tables)
        self.naming = Naming(self.tables)
        self.changes = Changes(self.tables, self.rows, self.pending)
        self.detaches = Detaches(self.tables, self.pending, self.rows, self.changes)

    @property
    def losses(self) -> dict[str, int]:
        """What is not known, by kind."""
        return {"ambiguous_detaches": self.detaches.doubtful}

    def missed(self, mount: MountState, when: Cause) -> None:
        """Add a mount that was attached, and that no call had in its list."""
        self.tables.attach(mount)
        self.rows.attach(mount, "", "snapshot", self.pending.take_cause(mount.unique) or when)
