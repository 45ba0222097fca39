"""What fanotify told, until a call accounts for it.

Within one thread all is in order: its calls, and the mounts that it was told to have detached.
What is to be found is where the events of one call end and those of the next begin.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from mnttrace.capture.stream.decode import Call
from mnttrace.linux.fanotify import FAN_MNT_ATTACH, FAN_MNT_DETACH, FAN_Q_OVERFLOW, MountEvent
from mnttrace.probes.records import BY_RELEASE_READ

_GRACE = 200_000_000  # ns after its events from which on a thread is asked whether its call goes on
_TOLD = 200_000_000  # ns within which what ended is told of
_CUT_KEPT = 256


class Notes:
    """Events of fanotify by thread, or those that inner probes tell in its place.

    Args:
        is_in_call: whether a thread is in a call that may account for what it detached.
        of_all: whether all namespaces are told of, from before the first call on.

    Attributes:
        overflows: how often events were lost.
        unlisted: how many mounts were attached and detached again that no list had; where all
            namespaces are told of, the probes count them.
    """

    def __init__(self, is_in_call: Callable[[int], bool], of_all: bool = False) -> None:
        self.overflows = self.unlisted = 0
        self._is_in_call = is_in_call
        self._of_all = of_all
        # Thread → what it detached, with the time at which that had come.
        self._detached: OrderedDict[int, deque[tuple[int, int]]] = OrderedDict()
        self._detached_by: dict[int, int] = {}
        self._since: dict[int, int] = {}
        # Threads that were found to be in no call, and when that was.
        self._out: dict[int, int] = {}
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

    def forget(self, namespace: int) -> None:
        """A namespace has ended."""
        self._watched.pop(namespace, None)

    def is_watched(self, namespace: int, at: int) -> bool:
        """Whether they were told of what began at a time."""
        return self._of_all or self._watched.get(namespace, at) < at

    def take(self, events: Iterable[MountEvent], at: int) -> None:
        """Add events, in the order of the queue, that had come at a time (CLOCK_MONOTONIC, ns)."""
        for mask, tid, unique in events:
            if mask & FAN_MNT_ATTACH and mask & FAN_MNT_DETACH:
                continue  # moved: the call's own list has it
            if mask & FAN_MNT_ATTACH:
                self._attached[unique] = tid
            elif mask & FAN_MNT_DETACH:
                self._detached.setdefault(tid, deque()).append((unique, at))
                self._detached_by[unique] = tid
                self._since[tid] = at
                self._out.pop(tid, None)
            elif mask & FAN_Q_OVERFLOW:
                self.overflows += 1

    def claim(self, unique: int) -> None:
        """An attached mount is accounted for."""
        self._attached.pop(unique, None)

    def is_anothers(self, unique: int, call: Call) -> bool:
        """Whether a mount was attached by another thread than the one of a call."""
        owner = self._attached.get(unique)
        return owner is not None and owner != call.row["tid"]

    def has_detached(self, unique: int) -> bool:
        """Whether a mount is known to be detached, and by whom is to be found out."""
        return unique in self._detached_by

    def remember_cut(self, call: Call) -> None:
        """The list of a call is not complete: what else its thread attached may be its."""
        self._cut[call.row["tid"]] = call.row
        if len(self._cut) > _CUT_KEPT:
            self._cut.popitem(last=False)

    def was_cut(self, unique: int) -> bool:
        """Whether a mount was attached by a thread whose call's list was cut."""
        return self._attached.get(unique) in self._cut

    def cause_of(self, unique: int) -> dict[str, Any] | None:
        """The call whose list was cut and whose thread attached a mount."""
        tid = self._attached.pop(unique, None)
        return None if tid is None else self._cut.get(tid)

    def of_call(self, call: Call) -> list[int]:
        """The mounts that a call detached, up to the one that it was told to have detached last, in
        the kernel's order, with what the thread detached before it and no call has accounted for;
        none where that one is not known."""
        tid = call.row["tid"]
        told: list[int] = []
        if self._detached_by.get(call.notified) != tid:
            return told
        while call.notified in self._detached_by:
            told.append(self._next(tid))
        self._forget_empty(tid)
        return told

    def detached_by(self, tid: int) -> Iterator[int]:
        """The mounts that a thread detached and no call accounted for, in the kernel's order."""
        return (unique for unique, _ in self._detached.get(tid, ()))

    def more_of_call(self, call: Call) -> Iterator[int]:
        """Of these, what may be of a call that may have detached more than :meth:`of_call` knows:
        if all of it had been read when the call ended, nothing that came after that."""
        end = call.row["monotonic"] + call.row["latency"]
        for unique, came in self._detached.get(call.row["tid"], ()):
            if call.notified_by == BY_RELEASE_READ and came > end:
                return
            yield unique

    def drop(self, tid: int, uniques: Collection[int]) -> None:
        """Some of these are accounted for."""
        wanted = {unique for unique in uniques if self._detached_by.get(unique) == tid}
        passed = []
        while wanted:
            one = self._detached[tid].popleft()
            if one[0] in wanted:
                wanted.remove(one[0])
                self._account_for(one[0])
            else:
                passed.append(one)
        if passed:
            self._detached[tid].extendleft(reversed(passed))
        self._forget_empty(tid)

    def unclaimed(self, at: int, everything: bool) -> Iterator[tuple[int, list[int]]]:
        """(thread, mounts that it detached) for what no call has accounted for in time, or at all,
        of what had come at a time."""
        for tid in list(self._detached):
            if everything or self._is_over(tid, at):
                yield tid, [self._next(tid) for _ in range(len(self._detached[tid]))]
                self._forget_empty(tid)

    def _is_over(self, tid: int, at: int) -> bool:
        """Whether the call in which a thread detached something would have been told of, if there
        was one: it was in none, and what had ended by then has been told."""
        if at - self._since[tid] <= _GRACE:
            return False
        if tid not in self._out:
            if self._is_in_call(tid):
                self._since[tid] = at
            else:
                self._out[tid] = time.monotonic_ns()
            return False
        return at - self._out[tid] > _TOLD

    def _next(self, tid: int) -> int:
        unique, _ = self._detached[tid].popleft()
        self._account_for(unique)
        return unique

    def _account_for(self, unique: int) -> None:
        del self._detached_by[unique]
        if self._attached.pop(unique, None) is not None and not self._of_all:
            self.unlisted += 1

    def _forget_empty(self, tid: int) -> None:
        if not self._detached.get(tid, True):
            del self._detached[tid], self._since[tid]
            self._out.pop(tid, None)
