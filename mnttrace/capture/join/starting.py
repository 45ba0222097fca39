# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What comes before the first lists of all namespaces are there, and waits for them."""

from __future__ import annotations

from mnttrace.capture.join.events import AnyEvent, CallEnded, MountsChanged, NamespaceListed
from mnttrace.capture.join.limits import STARTING_KEPT


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
