# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a survey finds to be other than it was known: effects whose cause nothing reported.

A survey can come between what a call did and the end of that call, which reports it. So a
difference counts only if another survey finds it again later, or if no other survey follows and no
call has explained it by the end.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple

from mnttrace.capture.join.known_mounts import KnownMounts
from mnttrace.capture.join.limits import CONFIRM_DIFFERENCE
from mnttrace.capture.join.mount_list import namespace_key
from mnttrace.capture.join.mount_state import Dentry, MountState
from mnttrace.capture.join.naming import Lines, place_in
from mnttrace.capture.join.outbox import Cause
from mnttrace.linux.mountinfo import Mount
from mnttrace.probes.records import MountEntry

# Of a mount: the columns of MountState that tables show, but for names.
_State = tuple[int, int, int, int, int, int]


class Found(NamedTuple):
    """What a survey found in a namespace.

    Attributes:
        ns, ns_id: of the namespace, as of events.
        entries: its mounts.
        is_complete: whether these are all of them.
        lines: its mount table, by mount id, for the names; empty where it could not be read.
        newest: the highest unique id that was known when the survey began.
        moved: the mounts that can have moved since the mount table was read.
        when: the time of effects that it shows.
        counts: when a difference does: at once, as tables are all there is; when another survey
            finds it again; at the end, as no other survey follows. Of those that count at once or
            at the end, all namespaces are surveyed.
    """

    ns: int
    ns_id: int
    entries: list[MountEntry]
    is_complete: bool
    lines: Lines
    newest: int
    moved: AbstractSet[int]
    when: Cause
    counts: Literal["at once", "again", "at the end"]

    @property
    def key(self) -> int:
        """What the namespace is known by."""
        return namespace_key(self.ns, self.ns_id)


class _Difference(NamedTuple):
    what: Literal["attach", "detach", "change", "super block"]
    unique: int
    entry: MountEntry | None  # of what is there, as it is now

    @property
    def doubt(self) -> _Difference:
        """What another survey has to find: how a mount is set by then makes no difference but for
        a change."""
        return self if self.what == "change" else self._replace(entry=None)


class Differences:
    """Compares surveys with the tables.

    Args:
        known: kept up to date.
    """

    def __init__(self, known: KnownMounts) -> None:
        self._known = known
        # Namespace → what one survey found, and when that was first.
        self._doubts: dict[int, dict[_Difference, int]] = {}
        # Namespaces all of whose mounts are in the tables, or were.
        self._whole: set[int] = set()
        # What counts at the end, and how each mount was known when that was found, if it was.
        self._last: list[tuple[Found, list[tuple[_Difference, _State | None]]]] = []

    def survey(self, found: Found) -> None:
        """Take what a survey found.

        A namespace that was not known becomes known. Else each difference that an earlier survey
        found, too, is an effect with the evidence `snapshot`.
        """
        is_new = found.key not in self._whole
        self._known.naming.learn_filesystems(found.lines)
        differences = [one for entry in found.entries for one in self._of_entry(entry, found)]
        if found.is_complete:
            self._whole.add(found.key)
            present = {entry.unique for entry in found.entries}
            self._known.changes.looked_at(present)
            # The kernel's list is made after the table was read.
            self._known.detaches.expected.found(present, found.when.monotonic)
            gone = [
                unique
                for unique in sorted(self._known.tables.of_namespace(found.key) - present)
                if not self._known.pending.has_detached(unique)
            ]
            self._known.detaches.expected.lacks(gone)
            differences += [_Difference("detach", unique, None) for unique in gone]
        self._apply(self._confirmed(found, differences, is_new), found, is_new)
        if is_new:
            self._hide(found)

    def settle(self) -> None:
        """No other survey will follow, and the calls have been taken: what none of them explains
        counts."""
        last, self._last = self._last, []
        for found, differences in last:
            left = [one for one, before in differences if self._is_left(one, before)]
            self._apply(left, found, is_new=False)

    def _is_left(self, difference: _Difference, before: _State | None) -> bool:
        """Whether nothing has happened to a mount since it was found to be other than it was
        known."""
        unique = difference.unique
        if before is None:  # it can be in no table, and have been reported to have gone
            return self._known.tables.recall(unique) is None
        return self._state_of(unique) == before and not self._known.pending.has_detached(unique)

    def _state_of(self, unique: int) -> _State | None:
        mount = self._known.tables.get(unique)
        if mount is None:
            return None
        place = mount.parent, mount.mountpoint.key
        return *place, mount.group, mount.master, mount.flags, mount.filesystem.flags

    def _apply(self, certain: list[_Difference], found: Found, is_new: bool) -> None:
        """Have differences take effect."""
        # What went first: what lay on it has moved by that.
        self._known.detaches.missing(
            [one.unique for one in certain if one.what == "detach"], found.when
        )
        for what, _, entry in certain:
            if entry is None:
                continue
            if what == "attach":
                self._attach(entry, found, is_new)
                if self._known.left_to_calls is not None:
                    self._known.there_at[entry.unique] = found.when.monotonic
            elif what == "change":
                self._change(entry, found)
            elif what == "super block":
                self._known.changes.super_blocks(
                    [entry], "snapshot", found.when, is_one_of_all=found.counts != "again"
                )

    def born(self, namespace: int) -> None:
        """All mounts of a namespace came to the tables when it was born."""
        self._whole.add(namespace)

    def forget(self, namespace: int) -> None:
        """A namespace has ended."""
        self._doubts.pop(namespace, None)
        self._whole.discard(namespace)
        self._last = [one for one in self._last if one[0].key != namespace]

    def are_doubtful(self, namespace: int) -> bool:
        """Whether another survey of a namespace is needed, some time later."""
        return namespace in self._doubts

    def _of_entry(self, entry: MountEntry, found: Found) -> list[_Difference]:
        mount = self._known.tables.get(entry.unique)
        if mount is None:
            is_gone = self._known.tables.was_detached(entry.unique)
            if is_gone or entry.unique in (self._known.left_to_calls or ()):
                return []
            return [_Difference("attach", entry.unique, entry)]
        # A later one may have got the mount id of one that is in the table, and gone since.
        if entry.unique <= found.newest and not mount.has_moved(entry):
            has_moved = entry.unique in found.moved
            self._known.naming.from_line(mount, found.lines, has_moved)
        if self._known.changes.explains(mount, entry):
            self._known.changes.found(mount, entry, found.when)
        differences = []
        if mount.is_super_set_otherwise(entry):
            differences.append(_Difference("super block", entry.unique, entry))
        if mount.has_moved(entry) or mount.is_set_otherwise(entry):
            differences.append(_Difference("change", entry.unique, entry))
        else:
            self._known.tables.learn_dentries(mount, entry)
        return differences

    def _hide(self, found: Found) -> None:
        """Find the mounts on which the root directory of all processes was mounted."""
        below: list[MountState] = []
        at = self._known.tables.root_of(found.key)
        while at is not None and at.mount_id not in found.lines:
            if at in below:
                return
            below.append(at)
            at = self._known.tables.child_at(at.unique, at.root.key)
        if at is not None:
            for mount in below:
                mount.is_hidden = True

    def _confirmed(
        self, found: Found, differences: list[_Difference], is_new: bool
    ) -> list[_Difference]:
        """The differences that an earlier survey found, too, and all mounts of a namespace that
        was not known; the others are remembered."""
        known_since = self._doubts.pop(found.key, {})
        now = found.when.monotonic
        confirmed, doubts = [], {}
        last: list[tuple[_Difference, _State | None]] = []
        for difference in differences:
            since = known_since.get(difference.doubt, now)
            is_first = (
                is_new
                and difference.what == "attach"
                and not self._known.pending.attached.awaits_call(difference.unique)
            )
            is_sure = found.counts == "at once" or difference.unique in self._known.uncalled
            if is_sure or is_first or now - since >= CONFIRM_DIFFERENCE:
                confirmed.append(difference)
            elif found.counts == "at the end":
                last.append((difference, self._state_of(difference.unique)))
            else:
                doubts[difference.doubt] = since
        if last:
            self._last.append((found, last))
        if doubts:
            self._doubts[found.key] = doubts
        return confirmed

    def _attach(self, entry: MountEntry, found: Found, is_new: bool) -> None:
        if entry.unique in self._known.tables:
            return  # twice in the list
        mount = self._known.naming.make(entry, {}, None)
        self._known.naming.from_line(mount, found.lines, entry.unique in found.moved)
        if is_new:
            self._known.tables.attach(mount)
        else:
            self._known.missed(mount, found.when)

    def _change(self, entry: MountEntry, found: Found) -> None:
        mount = self._known.tables.get(entry.unique)
        if mount is None:
            return
        if mount.has_moved(entry):
            before = self._known.rows.place(mount)
            path = self._known.tables.path_of_dentry(entry.mountpoint, entry.mountpoint_hash)
            line: Mount | None = found.lines.get(entry.mount_id)
            if path is None and line is not None and entry.unique not in found.moved:
                path = place_in(line, found.lines)
            mountpoint = Dentry(entry.mountpoint, entry.mountpoint_hash, path)
            self._known.tables.move(mount, entry.parent_unique, mountpoint)
            self._known.rows.move(mount, "", "snapshot", found.when, before)
        self._known.changes.found(mount, entry, found.when)
