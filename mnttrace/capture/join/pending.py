# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that threads detached, until a call accounts for them.

Within one thread all is in order: its calls, and the mounts that it is reported to have detached.
What is to be found is where the mounts of one call end and those of the next begin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from mnttrace.capture.join.attached import AttachedMounts
from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.limits import ASK_ABOUT_THREAD, CALL_TOLD_WITHIN
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.requests import CheckThread
from mnttrace.linux.mount_events import FAN_MNT_ATTACH, FAN_MNT_DETACH, FAN_Q_OVERFLOW, MountEvent
from mnttrace.probes.records import BY_RELEASE_READ


class _Detached(NamedTuple):
    """A mount that a thread detached.

    Attributes:
        unique: its unique id.
        came: when that had been reported.
        after: how many mounts the thread had attached before. No call that detaches mounts
            attaches some in between, so those of one call have one number.
    """

    unique: int
    came: int
    after: int


class _Thread:
    """What a thread detached, and whether it may be still in the call that did so.

    Attributes:
        detached: in the kernel's order.
        attached: how many mounts it attached since the first of these.
        since: when something was reported last, or it was asked whether it is in a call.
        left: since when it is known to be in no call, None: it may be in one.
    """

    __slots__ = ("attached", "detached", "left", "since")

    def __init__(self) -> None:
        self.detached: deque[_Detached] = deque()
        self.attached = 0
        self.since = 0
        self.left: int | None = None


class PendingMountEvents:
    """Attached and detached mounts by thread, as kernel hooks or fanotify report them.

    Args:
        out: to ask whether a thread is in a call that may account for what it detached.
        reports_all: whether all namespaces are reported of, from before the first call on.

    Attributes:
        attached: what threads attached.
        overflows: how often events were lost.
        unlisted: how many mounts were attached and detached again that no list had; where all
            namespaces are reported of, the probes count them.
    """

    def __init__(self, out: Outbox, reports_all: bool = False) -> None:
        self.overflows = self.unlisted = 0
        self.attached = AttachedMounts(out, reports_all)
        self._out = out
        self._reports_all = reports_all
        self._threads: dict[int, _Thread] = {}
        self._detached_by: dict[int, int] = {}
        self._watched: dict[int, int] = {}
        self._ended: dict[int, int] = {}

    # ---- which namespaces are reported of

    def watch(self, namespace: int, since: int) -> None:
        """Say that mounts which are detached from a namespace are reported.

        Args:
            namespace: its key.
            since: calls that began after that are reported of; CLOCK_MONOTONIC, ns.
        """
        self._watched.setdefault(namespace, since)

    def ended(self, namespace: int, at: int) -> None:
        """A namespace that is not watched was found to have ended (CLOCK_MONOTONIC, ns): no call
        that begins later does anything in it."""
        self._ended[namespace] = at

    def was_there(self, namespace: int, at: int) -> bool:
        """Whether a namespace is not known to have ended before a time."""
        return self._ended.get(namespace, at) >= at

    def forget(self, namespace: int) -> None:
        """A namespace has ended, and its mounts were taken away."""
        self._watched.pop(namespace, None)
        self._ended.pop(namespace, None)

    def is_watched(self, namespace: int, at: int) -> bool:
        """Whether what began at a time is reported of a namespace."""
        return self._reports_all or self._watched.get(namespace, at) < at

    def reports_of(self, namespace: int) -> bool:
        """Whether what happens in a namespace from now on is reported."""
        return self._reports_all or namespace in self._watched

    # ---- what is reported

    def take(self, events: Iterable[MountEvent], at: int) -> None:
        """Add events, in the kernel's order, that had come at a time (CLOCK_MONOTONIC, ns)."""
        for mask, tid, unique in events:
            if mask & FAN_MNT_ATTACH and mask & FAN_MNT_DETACH:
                continue  # moved: the call's own list has it
            thread = self._threads.get(tid)
            if mask & FAN_MNT_ATTACH:
                self.attached.add(unique, tid, at)
                if thread is not None:
                    thread.attached += 1
            elif mask & FAN_MNT_DETACH:
                if unique in self._detached_by:
                    continue  # reported twice: the first one holds
                if thread is None:
                    thread = self._threads[tid] = _Thread()
                thread.detached.append(_Detached(unique, at, thread.attached))
                thread.since, thread.left = at, None
                self._detached_by[unique] = tid
            elif mask & FAN_Q_OVERFLOW:
                self.overflows += 1

    def thread_checked(self, tid: int, is_in_call: bool, at: int) -> None:
        """A thread is in a call, or in none, at a time."""
        self.attached.thread_checked(tid, is_in_call, at)
        thread = self._threads.get(tid)
        if thread and not is_in_call:
            thread.left = at

    # ---- detached mounts

    def has_detached(self, unique: int) -> bool:
        """Whether a mount is known to be detached, and by whom is to be found out."""
        return unique in self._detached_by

    def others_detached(self, unique: int, tid: int) -> bool:
        """Whether a mount is known to be detached by another thread. What this one has detached,
        and its calls until now did not account for, it does after them."""
        return self._detached_by.get(unique, tid) != tid

    def went_before(self, unique: int, at: int) -> bool:
        """Whether a mount was detached before a time, as far as that is known for certain; kernel
        hooks report in order, so that what they have reported was before the call that is taken."""
        thread = self._threads.get(self._detached_by.get(unique, 0))
        if thread is None:
            return False
        reported = [one.came for one in thread.detached if one.unique == unique]
        return self._reports_all or any(came < at for came in reported)

    def take_before(self, call: CallEnded) -> list[int]:
        """The mounts that the thread of a call detached before it, as is known from what it
        attached in between, and that no call accounted for."""
        tid = call.row["tid"]
        if self._detached_by.get(call.last_detached) != tid:
            return []
        detached = self._threads[tid].detached
        if detached[0].after == detached[-1].after:
            return []
        last = next(one for one in detached if one.unique == call.last_detached)
        found: list[int] = []
        while detached[0].after < last.after:
            found.append(self._take_next(tid))
        return found

    def take_of(self, call: CallEnded) -> list[int]:
        """The mounts that a call detached, up to the last one that the kernel has for it, in the
        kernel's order, with what the thread detached before it and no call has accounted for;
        none where that last one is not known."""
        tid = call.row["tid"]
        found: list[int] = []
        if self._detached_by.get(call.last_detached) != tid:
            return found
        while call.last_detached in self._detached_by:
            found.append(self._take_next(tid))
        self._forget_empty(tid)
        return found

    def detached_by(self, tid: int) -> list[int]:
        """The mounts that a thread detached and no call accounted for, in the kernel's order."""
        thread = self._threads.get(tid)
        return [one.unique for one in thread.detached] if thread else []

    def more_of_call(self, call: CallEnded) -> Iterator[int]:
        """Of these, what may be of a call that may have detached more than :meth:`take_of` knows:
        if all of it had been read when the call ended, nothing that came after that."""
        thread = self._threads.get(call.row["tid"])
        for one in thread.detached if thread else ():
            if call.last_detached_known_by == BY_RELEASE_READ and one.came > call.end:
                return
            yield one.unique

    def drop(self, tid: int, uniques: Collection[int]) -> None:
        """Some of these are accounted for."""
        wanted = {unique for unique in uniques if self._detached_by.get(unique) == tid}
        if not wanted:
            return
        thread = self._threads[tid]
        thread.detached = deque(one for one in thread.detached if one.unique not in wanted)
        for unique in wanted:
            self._account_for(unique)
        self._forget_empty(tid)

    def take_detached(self, uniques: Collection[int]) -> Iterator[tuple[int, list[int]]]:
        """(thread, mounts that it detached) for those of some mounts that no call has accounted
        for."""
        for tid, thread in list(self._threads.items()):
            found = [one.unique for one in thread.detached if one.unique in uniques]
            self.drop(tid, found)
            if found:
                yield tid, found

    def take_unclaimed(self, at: int, everything: bool) -> Iterator[tuple[int, list[int]]]:
        """(thread, mounts that it detached) for what no call has accounted for in time, or at all,
        of what had come at a time."""
        for tid in list(self._threads):
            if everything or self._ask_if_over(tid, at):
                yield tid, [self._take_next(tid) for _ in range(len(self._threads[tid].detached))]
                self._forget_empty(tid)

    def _ask_if_over(self, tid: int, at: int) -> bool:
        """Whether the call in which a thread detached something would have been reported, if there
        was one: it was in none, and what had ended by then has been reported. If it is not known
        whether the thread is in one, that is asked."""
        thread = self._threads[tid]
        if at - thread.since <= ASK_ABOUT_THREAD:
            return False
        if thread.left is None:
            thread.since = at
            self._out.ask(CheckThread(tid))
            return False
        return at - thread.left > CALL_TOLD_WITHIN

    def _take_next(self, tid: int) -> int:
        unique = self._threads[tid].detached.popleft().unique
        self._account_for(unique)
        return unique

    def _account_for(self, unique: int) -> None:
        del self._detached_by[unique]
        if self.attached.claim(unique) and not self._reports_all:
            self.unlisted += 1

    def _forget_empty(self, tid: int) -> None:
        thread = self._threads.get(tid)
        if thread and not thread.detached:
            del self._threads[tid]
