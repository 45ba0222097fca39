"""What fanotify told, until a call accounts for it.

Within one thread all is in order: its calls, and the mounts that it was told to have detached.
What is to be found is where the events of one call end and those of the next begin.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from mnttrace.capture.decode import Call
from mnttrace.linux.fanotify import FAN_MNT_ATTACH, FAN_MNT_DETACH, MountEvent

_GRACE = 0.5  # seconds that a call may still take after its events came
_CUT_KEPT = 256


class Notes:
    """Events of fanotify by thread."""

    def __init__(self) -> None:
        self._detached: OrderedDict[int, list[int]] = OrderedDict()
        self._since: dict[int, float] = {}
        self._attached: dict[int, int] = {}
        self._cut: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._watched: dict[int, int] = {}

    def watch(self, namespace: int, since: int) -> None:
        """Say that the mounts which are detached from a namespace are told of.

        Args:
            namespace: its key.
            since: what began after that is told of; CLOCK_MONOTONIC, ns.
        """
        self._watched.setdefault(namespace, since)

    def is_watched(self, namespace: int, at: int) -> bool:
        """Whether they were told of what began at a time."""
        return self._watched.get(namespace, at) < at

    def take(self, events: Iterable[MountEvent]) -> None:
        """Add events, in the order of the queue."""
        now = time.monotonic()
        for mask, tid, unique in events:
            if mask & FAN_MNT_ATTACH and mask & FAN_MNT_DETACH:
                continue  # moved: the call's own list has it
            if mask & FAN_MNT_ATTACH:
                self._attached[unique] = tid
            elif mask & FAN_MNT_DETACH:
                self._attached.pop(unique, None)
                self._detached.setdefault(tid, []).append(unique)
                self._since[tid] = now

    def claim(self, unique: int) -> None:
        """An attached mount is accounted for."""
        self._attached.pop(unique, None)

    def is_anothers(self, unique: int, call: Call) -> bool:
        """Whether a mount was attached by another thread than the one of a call."""
        owner = self._attached.get(unique)
        return owner is not None and owner != call.row["tid"]

    def has_detached(self, unique: int) -> bool:
        """Whether a mount is known to be detached, and by whom is to be found out."""
        return any(unique in uniques for uniques in self._detached.values())

    def unclaimed_attached(self) -> list[int]:
        """Mounts that were attached, and that no call had in its list."""
        return list(self._attached)

    def remember_cut(self, call: Call) -> None:
        """The list of a call is not complete: what else its thread attached may be its."""
        self._cut[call.row["tid"]] = call.row
        if len(self._cut) > _CUT_KEPT:
            self._cut.popitem(last=False)

    def cause_of(self, unique: int) -> dict[str, Any] | None:
        """The call whose list was cut and whose thread attached a mount."""
        tid = self._attached.pop(unique, None)
        return None if tid is None else self._cut.get(tid)

    def of_call(self, call: Call) -> list[int] | None:
        """The mounts that a umount detached, in the kernel's order, with what the thread detached
        before it and no call has accounted for; None where it is not known which they are."""
        told = self._detached.get(call.row["tid"], [])
        if call.notified not in told:
            return None
        end = told.index(call.notified) + 1
        self._keep(call.row["tid"], told[end:])
        return told[:end]

    def peek(self, tid: int) -> list[int]:
        """The mounts that a thread detached, in the kernel's order."""
        return list(self._detached.get(tid, ()))

    def drop(self, tid: int, uniques: set[int]) -> None:
        """Some of these are accounted for."""
        self._keep(tid, [unique for unique in self.peek(tid) if unique not in uniques])

    def unclaimed(self, everything: bool) -> Iterator[tuple[int, list[int]]]:
        """(thread, mounts that it detached) for what no call has accounted for in time."""
        now = time.monotonic()
        for tid in list(self._detached):
            if everything or now - self._since[tid] > _GRACE:
                yield tid, self._detached.pop(tid)
                del self._since[tid]

    def _keep(self, tid: int, rest: list[int]) -> None:
        if rest:
            self._detached[tid] = rest
        else:
            self._detached.pop(tid, None)
            self._since.pop(tid, None)
