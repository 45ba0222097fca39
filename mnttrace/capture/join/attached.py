# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that threads attached, until a call accounts for them, or turns out to be missing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.limits import ASK_ABOUT_ATTACHED, CUT_CALLS_KEPT
from mnttrace.capture.join.outbox import Cause, Outbox
from mnttrace.capture.join.requests import CheckThread


class Attached(NamedTuple):
    """A mount that a thread attached.

    Attributes:
        tid: the thread.
        number: as which of all mounts that were attached.
        came: when that had been reported (CLOCK_MONOTONIC, ns).
        cause: the call that did so, if its list was cut: others' lists have what they attached.
    """

    tid: int
    number: int
    came: int
    cause: Cause | None = None


class _Cut(NamedTuple):
    """A call whose list is not complete: its thread, and how many mounts had been attached by the
    end of it."""

    tid: int
    until: int
    cause: Cause


class AttachedMounts:
    """Remembers who attached what.

    Args:
        out: to ask whether a thread is in a call that may account for what it attached.
        reports_all: whether all namespaces are reported of, from before the first call on.
    """

    def __init__(self, out: Outbox, reports_all: bool) -> None:
        self._out = out
        self._reports_all = reports_all
        self._waiting: dict[int, Attached] = {}
        self._number = 0
        self._cut: deque[_Cut] = deque(maxlen=CUT_CALLS_KEPT)
        # Thread → since when it is known to be in no call, None: that was asked.
        self._asked: dict[int, int | None] = {}

    def __contains__(self, unique: object) -> bool:
        """Whether a mount is not accounted for."""
        return unique in self._waiting

    def add(self, unique: int, tid: int, at: int) -> None:
        """A mount was attached by a thread; it is known since a time (CLOCK_MONOTONIC, ns)."""
        self._number += 1
        self._waiting[unique] = Attached(tid, self._number, at)

    def claim(self, unique: int) -> Attached | None:
        """A mount is accounted for; how it was attached, if that is not so yet."""
        return self._waiting.pop(unique, None)

    def awaits_call(self, unique: int) -> bool:
        """Whether a mount was reported to be attached by a call that has not come yet. Where all
        namespaces are reported of, so is each copy that a new namespace gets: that is not told."""
        return not self._reports_all and unique in self._waiting

    def by(self, unique: int) -> int | None:
        """The thread that attached a mount which is not accounted for, if that was reported."""
        one = self._waiting.get(unique)
        return one.tid if one else None

    # ---- calls whose lists were cut

    def remember_cut(self, call: CallEnded) -> None:
        """The list of a call is not complete: what else its thread attached until now may be
        its."""
        self._cut.append(_Cut(call.row["tid"], self._number, Cause.of(call.row)))

    def was_cut(self, unique: int) -> bool:
        """Whether a mount may be of a call whose list was cut."""
        return self._cut_call(unique) is not None

    def take(self, unique: int) -> Attached | None:
        """A mount is accounted for; how it was attached, and by which call, if that was cut."""
        cause = self._cut_call(unique)
        attached = self.claim(unique)
        return attached and attached._replace(cause=cause)

    def _cut_call(self, unique: int) -> Cause | None:
        """The first one that ended after the mount was attached: others of its thread are later."""
        one = self._waiting.get(unique)
        if one is None:
            return None
        cut = (two.cause for two in self._cut if two.tid == one.tid and one.number <= two.until)
        return next(cut, None)

    # ---- calls that were not seen

    def take_uncalled(self, at: int) -> dict[int, list[int]]:
        """Thread → the mounts that it attached, in the kernel's order, and that no call accounted
        for: it is in none, and what had ended by then has been reported.

        If it is not known whether a thread is in a call, that is asked.

        Args:
            at: up to when all has been reported (CLOCK_MONOTONIC, ns).
        """
        found: dict[int, list[int]] = {}
        for unique, one in self._old(at):
            left = self._asked.get(one.tid, 0)
            if left is None:
                continue
            if left <= one.came:
                self._asked[one.tid] = None
                self._out.ask(CheckThread(one.tid))
            elif left < at:
                found.setdefault(one.tid, []).append(unique)
        if not self._waiting:
            self._asked.clear()
        for uniques in found.values():
            uniques.sort(key=lambda unique: self._waiting[unique].number)
        return found

    def thread_checked(self, tid: int, is_in_call: bool, at: int) -> None:
        """A thread is in a call, or in none, at a time."""
        if is_in_call:
            self._asked.pop(tid, None)  # it is asked again
        elif tid in self._asked:
            self._asked[tid] = at

    def _old(self, at: int) -> Iterator[tuple[int, Attached]]:
        for unique, one in self._waiting.items():
            if at - one.came <= ASK_ABOUT_ATTACHED:
                return
            yield unique, one
