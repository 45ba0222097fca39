# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces that end while nothing reports it.

One that ended before it was watched, a few milliseconds after its birth, is not reported of; nor
any where mount tables are all there is. Of others the report can be lost. So it is asked now and
then which are no more.
"""

from __future__ import annotations

from mnttrace.capture.join.limits import CALL_TOLD_WITHIN, CHECK_NAMESPACES, CHECK_OTHERS
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.requests import CheckNamespaces


class Endings:
    """Finds out which namespaces are no more.

    Args:
        out: for the question.
    """

    def __init__(self, out: Outbox) -> None:
        self._out = out
        # Namespaces of which it is asked, by how often.
        self._waiting: dict[int, set[int]] = {CHECK_NAMESPACES: set(), CHECK_OTHERS: set()}
        self._asked = dict.fromkeys(self._waiting, 0)
        # Namespace → the time until which all has to be reported before it is taken as ended.
        self._gone: dict[int, int] = {}

    def expect(self, key: int) -> None:
        """The end of a namespace will not be reported."""
        self._waiting[CHECK_NAMESPACES].add(key)

    def doubt(self, key: int) -> None:
        """A namespace may have ended, or may end, without a report."""
        if key not in self._waiting[CHECK_NAMESPACES]:
            self._waiting[CHECK_OTHERS].add(key)

    def forget(self, key: int) -> None:
        """It has ended, or is there."""
        for waiting in self._waiting.values():
            waiting.discard(key)
        self._gone.pop(key, None)

    def ask_if_due(self, at: int) -> None:
        """Ask which are no more, if that is due."""
        due: set[int] = set()
        for pace, waiting in self._waiting.items():
            if waiting and at - self._asked[pace] >= pace:
                self._asked[pace] = at
                due |= waiting
        if due:
            self._out.ask(CheckNamespaces(frozenset(due)))

    def are_gone(self, keys: list[int], at: int) -> None:
        """Some are no more; it was found at a time."""
        for pace, waiting in self._waiting.items():
            # A report that is only late says more.
            until = at if pace == CHECK_NAMESPACES else at + CALL_TOLD_WITHIN
            for key in waiting.intersection(keys):
                waiting.discard(key)
                self._gone[key] = until

    def ended(self, key: int, at: int) -> None:
        """One ended before it was watched; calls that began before that may be not over yet."""
        self._gone.setdefault(key, at + CALL_TOLD_WITHIN)

    def gone_at(self, key: int) -> int | None:
        """When a namespace was found to be no more, if it was (CLOCK_MONOTONIC, ns)."""
        return self._gone.get(key)

    def found(self, until: int) -> list[int]:
        """Those that were found to be no more before a time (CLOCK_MONOTONIC, ns): all that they
        did has been reported if all until then has."""
        return [key for key, since in self._gone.items() if since < until]
