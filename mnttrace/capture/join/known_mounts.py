# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mounts as they are known, and what keeps them so."""

from __future__ import annotations

from mnttrace.capture.join.changes import Changes
from mnttrace.capture.join.detaches import Detaches
from mnttrace.capture.join.effect_rows import EffectRows
from mnttrace.capture.join.events import AnyEvent, CallEnded
from mnttrace.capture.join.mount_list import MountList
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.naming import Naming
from mnttrace.capture.join.outbox import Cause, Outbox
from mnttrace.capture.join.pending import PendingMountEvents
from mnttrace.capture.join.setting import Setting
from mnttrace.capture.join.starting import made_by, moves_in
from mnttrace.capture.join.uncalled import UncalledMounts


class KnownMounts:
    """The mounts of all namespaces, and each way in which they change.

    Args:
        out: for questions.
        setting: what the recording is made with.

    Attributes:
        tables: the mounts.
        pending: what threads attached and detached, which no call accounts for yet.
        rows: what happened to mounts.
        naming: makes mounts and names them.
        changes, detaches: change mounts and take them away.
        uncalled: finds mounts that no call attached.
        left_to_calls: the mounts that calls made which are taken after the first lists, and that
            these are not to attach; None: all first lists were taken.
        first_moves: the calls which are taken after the first lists and moved mounts, by namespace.
        there_at: when mounts of the first lists were there (CLOCK_MONOTONIC, ns), as long as calls
            of before are taken.
    """

    def __init__(self, out: Outbox, setting: Setting) -> None:
        self.tables = MountTables()
        self.left_to_calls: frozenset[int] | None = None
        self.first_moves: dict[int, list[CallEnded]] = {}
        self.there_at: dict[int, int] = {}
        self.pending = PendingMountEvents(out, setting.reports_all)
        self.rows = EffectRows(self.tables)
        self.naming = Naming(self.tables)
        self.changes = Changes(self.tables, self.rows, self.pending)
        self.detaches = Detaches(self.tables, self.pending, self.rows, self.changes)
        self.uncalled = UncalledMounts(self.tables, self.pending, self.rows, out, setting)
        self._uses_fanotify = setting.uses_fanotify
        self._first_list: list[MountList] = []

    def first_lists_begin(self, waiting: list[AnyEvent]) -> None:
        """The first lists are taken now, and some events after them."""
        self.left_to_calls = made_by(waiting)
        self.first_moves = moves_in(waiting, self.left_to_calls)

    def first_lists_end(self) -> None:
        """The first lists were taken."""
        self.left_to_calls = None
        self.first_moves.clear()

    def waits_for(self, call: CallEnded) -> bool:
        """Whether it will be known later whether a call detached something."""
        return self.detaches.expected.are_of(call)

    def first_listed(self, part: MountList, when: Cause) -> None:
        """A part of one of the first lists came after calls that were taken meanwhile: what they
        were to take along, and the list lacks, went."""
        self._first_list.append(part)
        if part.is_last:
            self.detaches.expected.look_for_absent(self._first_list)
            self.detaches.take_due(when)
            self._first_list = []

    def add_losses(self, losses: dict[str, int]) -> None:
        """Add what is not known of mounts to what was lost, by kind."""
        losses["ambiguous_detaches"] = doubtful = self.detaches.doubtful
        # What was not listed matters only where it is not known with what mounts went.
        for kind in ("cut_unwatched", "lost_ended"):
            if kind in losses:
                losses[kind] = min(losses[kind], doubtful + self.detaches.unexplained)
        # Few removals detach mounts; those that did left mounts that no call took away.
        skipped = losses.pop("skipped_removals", 0)
        losses["lost_removals"] = min(skipped, self.detaches.uncalled)
        if self._uses_fanotify:
            losses["lost_notifications"] = self.pending.overflows
            unlisted = self.pending.unlisted + self.uncalled.unlisted
            losses["lost_made"] = losses.get("lost_made", 0) + unlisted

    def missed(self, mount: MountState, when: Cause) -> None:
        """Add a mount that was attached, and that no call had in its list."""
        self.tables.attach(mount)
        if mount.unique in self.uncalled:
            self.uncalled.listed(mount)
            return
        attached = self.pending.attached.take(mount.unique)
        if attached is None:
            self.rows.attach(mount, "", "snapshot", when)
        else:
            self.uncalled.listed_before(mount, attached)
