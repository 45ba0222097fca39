"""What a survey finds to be other than it was known: effects whose cause nobody told.

A survey can come between what a call did and the end of that call, when it tells of it. So a
difference counts only if another survey finds it again later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from mnttrace.capture.changes import Changes, is_set_otherwise
from mnttrace.capture.decode import MountList
from mnttrace.capture.detached import Detached
from mnttrace.capture.effect_rows import EffectRows, Row
from mnttrace.capture.naming import Naming
from mnttrace.capture.notes import Notes
from mnttrace.capture.tables import Known, MountTables, namespace_key
from mnttrace.linux.mountinfo import Mount

_GRACE = 0.5  # seconds after which a call that was not over when a survey was made is over

# Action, unique id, and for what is there the entry as it is now.
_Difference = tuple[str, int, tuple[Any, ...]]


class Differences:
    """Compares surveys with the tables.

    Args:
        tables, notes, rows: as of :class:`mnttrace.capture.effects.Effects`.
        naming, changes, detached: what makes, changes and takes away mounts.
    """

    def __init__(
        self,
        tables: MountTables,
        notes: Notes,
        rows: EffectRows,
        naming: Naming,
        changes: Changes,
        detached: Detached,
    ) -> None:
        self._tables = tables
        self._notes = notes
        self._rows = rows
        self._naming = naming
        self._changes = changes
        self._detached = detached
        self._doubts: dict[int, dict[_Difference, float]] = {}

    def survey(
        self,
        found: MountList,
        complete: bool,
        table: Iterable[Mount],
        when: Row,
        final: bool = False,
    ) -> None:
        """Take a list of a namespace's mounts that the recorder asked for.

        A namespace that was not known becomes known. Else each difference that an earlier survey
        has found, too, is an effect with the evidence `snapshot`.

        Args:
            found: the kernel's list.
            complete: whether it has all of the namespace's mounts.
            table: its mountinfo, for the names; empty where it could not be read.
            when: columns `ts` and `monotonic` of such effects.
            final: no other survey will follow, so that each difference counts.
        """
        key = namespace_key(found.ns, found.ns_id)
        is_new = not self._tables.of_namespace(key)
        lines = {line.mount_id: line for line in table}
        self._naming.from_table(lines)
        differences: dict[_Difference, Callable[[], None]] = {}
        lost: list[int] = []
        for entry in found.entries:
            known = self._tables.get(entry.unique)
            if known is not None:
                self._naming.from_line(known, lines.get(entry.mount_id), lines)
                if self._changes.explains(known, entry):
                    self._changes.found(known, entry, when)
                if known.has_moved(entry) or is_set_otherwise(known, entry):
                    differences["change", entry.unique, entry] = partial(
                        self._change, known, entry, when
                    )
                else:
                    self._tables.learn_keys(known, entry.mountpoint, entry.root)
            elif not self._tables.is_gone(entry.unique):
                differences["attach", entry.unique, ()] = partial(
                    self._attach, entry, lines, None if is_new else when
                )
        if complete:
            self._changes.looked_at(key)
            present = {entry.unique for entry in found.entries}
            for unique in self._tables.of_namespace(key) - present:
                if not self._notes.has_detached(unique):
                    differences["detach", unique, ()] = partial(lost.append, unique)
        self._apply(key, differences, at_once=is_new or final)
        self._detached.lost(lost, when)

    def are_doubtful(self, namespace: int) -> bool:
        """Whether another survey of a namespace is needed, some time later."""
        return namespace in self._doubts

    def missed(self, mount: Known, when: Row) -> None:
        """Write that a mount was attached, and that no call had it in its list."""
        self._rows.attach(mount, "", "snapshot", self._notes.cause_of(mount.unique) or when)

    def _apply(
        self, key: int, differences: dict[_Difference, Callable[[], None]], at_once: bool
    ) -> None:
        known_since = self._doubts.pop(key, {})
        now = time.monotonic()
        doubts = {}
        for difference, apply in differences.items():
            since = known_since.get(difference, now)
            if at_once or now - since >= _GRACE:
                apply()
            else:
                doubts[difference] = since
        if doubts:
            self._doubts[key] = doubts

    def _attach(self, entry: Any, lines: dict[int, Mount], when: Row | None) -> None:
        mount = self._naming.make(entry, {}, None)
        self._naming.from_line(mount, lines.get(entry.mount_id), lines)
        self._tables.attach(mount)
        if when is not None:
            self.missed(mount, when)

    def _change(self, known: Known, entry: Any, when: Row) -> None:
        if known.has_moved(entry):
            before = self._rows.place(known)
            place = self._tables.name(entry.mountpoint)
            self._tables.move(known, entry.parent_unique, entry.mountpoint, place)
            self._rows.move(known, "", "snapshot", when, before)
        self._changes.found(known, entry, when)
