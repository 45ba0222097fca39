# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Effects without a cause, by where they are: each call looks only at what it can have caused."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.recording.rows import EffectRow


class UncausedEffects:
    """Finds effects; those that got a cause meanwhile are left out.

    Args:
        rows: of the effects.
        tables: as they are after the effects.
    """

    def __init__(self, rows: Iterable[EffectRow], tables: MountTables) -> None:
        # (namespace, action) → mount points, sorted, with their effects: what is below a path is
        # side by side there.
        self._places: dict[tuple[int, str], list[tuple[str, int]]] = {}
        # (parent, dentry, action) → effects.
        self._mounted: dict[tuple[int, int, str], list[EffectRow]] = {}
        self._rows = list(rows)
        for number, row in enumerate(self._rows):
            place = row["mountpoint"], number
            self._places.setdefault((row["ns_id"], row["action"]), []).append(place)
            mount = tables.recall(row["mnt_id_unique"])
            if mount is not None:
                key = mount.parent, mount.mountpoint.key, row["action"]
                self._mounted.setdefault(key, []).append(row)
        for places in self._places.values():
            places.sort()

    def at(self, namespace: int, path: str, actions: Iterable[str], below: bool) -> list[EffectRow]:
        """The effects at a path of a namespace, or also those below it, in their order.

        Args:
            namespace: its key.
            path: from the root of the namespace on.
            actions: of the effects.
            below: whether those below are meant, too.
        """
        top = path.rstrip("/")
        found: list[int] = []
        for action in actions:
            places = self._places.get((namespace, action), [])
            found += _between(places, path, path + "\0")
            if below:
                found += _between(places, top + "/", top + "0")  # "0" comes next after "/"
        rows = (self._rows[number] for number in sorted(set(found)))
        return [row for row in rows if row["seq"] is None]

    def on(self, parent: int, dentry: int, action: str) -> list[EffectRow]:
        """The effects of mounts on a dentry, by its key, of a mount."""
        rows = self._mounted.get((parent, dentry, action), [])
        return [row for row in rows if row["seq"] is None]


def _between(places: list[tuple[str, int]], first: str, end: str) -> list[int]:
    """The effects whose mount points are not before the first of two, and before the other."""
    begin = bisect_left(places, (first, -1))
    return [number for _, number in places[begin : bisect_left(places, (end, -1))]]
