# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What comes before the first lists of all namespaces are there, and waits for them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from mnttrace.capture.join.events import AnyEvent, CallEnded, MountsChanged, NamespaceListed
from mnttrace.capture.join.limits import STARTING_KEPT
from mnttrace.linux.mount_events import FAN_MNT_ATTACH, FAN_MNT_DETACH
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import HOW_MADE, HOW_PROPAGATED, LIST_BIRTH


class Starting:
    """Keeps events until the first survey of all namespaces has ended.

    Attributes:
        is_on: whether it has not ended yet.
    """

    def __init__(self) -> None:
        self.is_on = True
        self._cut = 0
        self._events: list[AnyEvent] = []
        self._room = STARTING_KEPT

    def keep(self, event: AnyEvent) -> bool:
        """Have an event wait, if there is room."""
        self._room -= _size(event)
        if self._room < 0:
            self._cut = 1
            return False
        self._events.append(event)
        return True

    def end(self) -> list[AnyEvent]:
        """No more has to wait; what did."""
        self.is_on = False
        events, self._events = self._events, []
        return events

    def losses(self) -> dict[str, int]:
        """How often it was ended early, as there was no more room."""
        return {"cut_start": self._cut} if self._cut else {}


def _size(event: AnyEvent) -> int:
    """How many mounts an event is about; one that is about none counts, too."""
    mounts = 0
    if isinstance(event, CallEnded):
        mounts = sum(len(found.entries) for found in event.lists)
    elif isinstance(event, NamespaceListed):
        mounts = len(event.mounts.entries)
    elif isinstance(event, MountsChanged):
        mounts = len(event.changes)
    return 1 + mounts


def made_by(events: Iterable[AnyEvent]) -> frozenset[int]:
    """The unique ids of the mounts that calls among some events made.

    What a move_mount(2) of these moved may be older: it was made if it is reported as attached.
    """
    made: set[int] = set()
    moved: set[int] = set()
    attached: set[int] = set()
    for event in events:
        if isinstance(event, MountsChanged):
            attached.update(
                change.unique_id
                for change in event.changes
                if change.mask & FAN_MNT_ATTACH and not change.mask & FAN_MNT_DETACH
            )
        elif isinstance(event, CallEnded):
            for found in event.lists:
                is_birth = found.reason == LIST_BIRTH
                for entry in found.entries:
                    if is_birth or entry.how == HOW_PROPAGATED:
                        made.add(entry.unique)
                    elif entry.how == HOW_MADE:
                        is_mount = event.kind == SyscallKind.MOUNT
                        (made if is_mount else moved).add(entry.unique)
    return frozenset(made | (moved & attached))


def moves_in(events: Iterable[AnyEvent], made: AbstractSet[int]) -> dict[int, list[CallEnded]]:
    """The calls among some events that moved mounts, by namespace.

    Args:
        events: the events.
        made: the mounts that calls among them made: to attach one is no move.
    """
    moves: dict[int, list[CallEnded]] = {}
    for event in events:
        if not isinstance(event, CallEnded) or event.row["result"] < 0 or not event.can_move:
            continue
        placed = {e.unique for found in event.lists for e in found.entries if e.how == HOW_MADE}
        if event.kind != SyscallKind.MOVE_MOUNT or event.is_cut or placed - made:
            moves.setdefault(event.key, []).append(event)
    return moves
