"""What a survey finds to be other than it was known: effects whose cause nobody told.

A survey can come between what a call did and the end of that call, when it tells of it. So a
difference counts only if another survey finds it again later.
"""

from __future__ import annotations

import time
from typing import Any

from mnttrace.capture.join.changes import Changes, is_set_otherwise, is_super_set_otherwise
from mnttrace.capture.join.detached import Detached
from mnttrace.capture.join.effect_rows import EffectRows, Row
from mnttrace.capture.join.naming import Naming, place_in
from mnttrace.capture.join.pending import Notes
from mnttrace.capture.join.tables import Known, MountTables, namespace_key
from mnttrace.capture.stream.decode import MountList
from mnttrace.capture.survey.surveyor import Survey
from mnttrace.linux.mountinfo import Mount

_GRACE = 0.5  # seconds after which a call that was not over when a survey was made is over

# Action, unique id, and for what is there the mount_entry as it is now.
_Difference = tuple[str, int, Any]


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
        survey: Survey,
        when: Row,
        final: bool = False,
    ) -> None:
        """Take a list of a namespace's mounts that the recorder asked for.

        A namespace that was not known becomes known. Else each difference that an earlier survey
        has found, too, is an effect with the evidence `snapshot`.

        Args:
            found: the kernel's list.
            complete: whether it has all of the namespace's mounts.
            survey: what it is of, with a table for the names, empty where it could not be read.
            when: columns `ts` and `monotonic` of such effects.
            final: no other survey will follow, so that each difference counts.
        """
        key = namespace_key(found.ns, found.ns_id)
        is_new = not self._tables.of_namespace(key)
        lines = {line.mount_id: line for line in survey.table}
        self._naming.from_table(lines)
        found_here: list[_Difference] = []
        for entry in found.entries:
            known = self._tables.get(entry.unique)
            if known is not None:
                # A later one may have got the mount id of one that is in the table, and gone since.
                if entry.unique <= survey.newest and not known.has_moved(entry):
                    self._naming.from_line(known, lines.get(entry.mount_id), lines)
                if self._changes.explains(known, entry):
                    self._changes.found(known, entry, when)
                if is_super_set_otherwise(known, entry):
                    found_here.append(("super block", entry.unique, entry))
                if known.has_moved(entry) or is_set_otherwise(known, entry):
                    found_here.append(("change", entry.unique, entry))
                else:
                    self._tables.learn_keys(known, entry)
            elif not self._tables.is_gone(entry.unique):
                found_here.append(("attach", entry.unique, entry))
        if complete:
            self._changes.looked_at(key)
            present = {entry.unique for entry in found.entries}
            gone = self._tables.of_namespace(key) - present
            found_here += [("detach", u, None) for u in gone if not self._notes.has_detached(u)]
        certain = self._certain(key, found_here, at_once=is_new or final)
        # What went first: what lay on it has moved by that.
        self._detached.lost([unique for what, unique, _ in certain if what == "detach"], when)
        for what, _, entry in certain:
            if what == "attach":
                self._attach(entry, lines, None if is_new else when)
            elif what == "change":
                self._change(entry, lines, when)
            elif what == "super block":
                self._changes.super_blocks([entry], "snapshot", when)
        if is_new:
            self._hide(key, lines)

    def _hide(self, key: int, lines: dict[int, Mount]) -> None:
        """Find the mounts on which the root directory of all processes was mounted."""
        below: list[Known] = []
        at = self._tables.root_of(key)
        while at is not None and at.mount_id not in lines:
            below.append(at)
            at = self._tables.child_at(at.unique, at.root_key)
        if at is not None:
            for mount in below:
                mount.is_hidden = True

    def forget(self, namespace: int) -> None:
        """A namespace has ended."""
        self._doubts.pop(namespace, None)

    def are_doubtful(self, namespace: int) -> bool:
        """Whether another survey of a namespace is needed, some time later."""
        return namespace in self._doubts

    def missed(self, mount: Known, when: Row) -> None:
        """Write that a mount was attached, and that no call had it in its list."""
        self._rows.attach(mount, "", "snapshot", self._notes.cause_of(mount.unique) or when)

    def _certain(
        self, key: int, differences: list[_Difference], at_once: bool
    ) -> list[_Difference]:
        """The differences that an earlier survey has found, too; the others are remembered."""
        known_since = self._doubts.pop(key, {})
        now = time.monotonic()
        certain, doubts = [], {}
        for difference in differences:
            what, unique, _ = difference
            # That it is there at all is the difference, however it is set by now.
            told = difference if what == "change" else (what, unique, None)
            since = known_since.get(told, now)
            if at_once or now - since >= _GRACE:
                certain.append(difference)
            else:
                doubts[told] = since
        if doubts:
            self._doubts[key] = doubts
        return certain

    def _attach(self, entry: Any, lines: dict[int, Mount], when: Row | None) -> None:
        mount = self._naming.make(entry, {}, None)
        self._naming.from_line(mount, lines.get(entry.mount_id), lines)
        self._tables.attach(mount)
        if when is not None:
            self.missed(mount, when)

    def _change(self, entry: Any, lines: dict[int, Mount], when: Row) -> None:
        known = self._tables.get(entry.unique)
        if known is None:
            return
        if known.has_moved(entry):
            before = self._rows.place(known)
            at = entry.mountpoint, entry.mountpoint_hash
            place = self._tables.name(*at) or place_in(lines.get(entry.mount_id), lines)
            self._tables.move(known, entry.parent_unique, *at, place)
            self._rows.move(known, "", "snapshot", when, before)
        self._changes.found(known, entry, when)
