"""Namespaces that end while nobody tells of them.

One that ended before fanotify watched it, a few milliseconds after its birth, is not told of: so
those are looked for now and then, by asking the kernel for their mounts.
"""

from __future__ import annotations

import time

from mnttrace.linux import statmount

_LOOK_AGAIN = 1.0  # seconds


class Endings:
    """Finds out which namespaces are no more.

    Only where the kernel can be asked by the id of a namespace (Linux 6.11); else a survey of all
    finds out at the end.
    """

    def __init__(self) -> None:
        self._can_ask = statmount.available()
        self._waiting: set[int] = set()
        self._gone: dict[int, int] = {}
        self._looked = time.monotonic()

    def expect(self, namespace: int) -> None:
        """Look for the end of a namespace that nobody will tell of; its unique id."""
        if self._can_ask:
            self._waiting.add(namespace)

    def forget(self, namespace: int) -> None:
        """It has ended."""
        self._waiting.discard(namespace)
        self._gone.pop(namespace, None)

    def look(self) -> None:
        """Ask the kernel which are no more, if that is due."""
        now = time.monotonic()
        if now - self._looked < _LOOK_AGAIN:
            return
        self._looked = now
        for namespace in [one for one in self._waiting if not _is_there(one)]:
            self._waiting.discard(namespace)
            self._gone[namespace] = time.monotonic_ns()

    def found(self, until: int) -> list[int]:
        """Those that were found to be no more before a time (CLOCK_MONOTONIC, ns): all that they
        did has been told if all until then has."""
        return [namespace for namespace, since in self._gone.items() if since < until]


def _is_there(namespace: int) -> bool:
    try:
        statmount.list_mounts(namespace)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
