# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces that end while nothing reports it.

One that ended before it was watched, a few milliseconds after its birth, is not reported of: so it
is asked now and then whether those are still there.
"""

from __future__ import annotations

from mnttrace.capture.join.limits import CHECK_NAMESPACES
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.requests import CheckNamespaces


class Endings:
    """Finds out which namespaces are no more.

    Args:
        out: for the question.
    """

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._waiting: set[int] = set()
        self._gone: dict[int, int] = {}
        self._asked = 0

    def expect(self, key: int) -> None:
        """The end of a namespace will not be reported."""
        self._waiting.add(key)

    def forget(self, key: int) -> None:
        """It has ended."""
        self._waiting.discard(key)
        self._gone.pop(key, None)

    def ask_if_due(self, at: int) -> None:
        """Ask which are no more, if that is due."""
        if self._waiting and at - self._asked >= CHECK_NAMESPACES:
            self._asked = at
            self._out.ask(CheckNamespaces(frozenset(self._waiting)))

    def are_gone(self, keys: list[int], at: int) -> None:
        """Some are no more; it was found at a time."""
        for key in self._waiting.intersection(keys):
            self._waiting.discard(key)
            self._gone[key] = at

    def found(self, until: int) -> list[int]:
        """Those that were found to be no more before a time (CLOCK_MONOTONIC, ns): all that they
        did has been reported if all until then has."""
        return [key for key, since in self._gone.items() if since < until]
