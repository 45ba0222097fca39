# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that were attached without a call that was seen, or by one whose list was cut.

The kernel mounts automounts by itself when a path leads through them (finish_automount() in
fs/namespace.c), also their copies at peers and slaves; and a program on a call can be skipped. Only
that they were attached is reported, and by which thread. So they are looked for, and listed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from mnttrace.capture.join.attached import Attached
from mnttrace.capture.join.effect_rows import EffectRows, Via
from mnttrace.capture.join.limits import LOOK_AGAIN, LOOKS_FOR_UNCALLED
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.pending import PendingMountEvents
from mnttrace.capture.join.requests import FindMounts, SurveySome
from mnttrace.capture.join.setting import Setting


@dataclass(slots=True)
class _Group:
    """What one thread attached.

    Attributes:
        waiting: the mounts that have not been listed yet, by unique id.
        listed: those that have, in the kernel's order in the end.
        looks: how often the waiting ones were looked for.
        due: when that is to be done again (CLOCK_MONOTONIC, ns).
    """

    waiting: dict[int, Attached]
    listed: list[tuple[Attached, MountState]] = field(default_factory=list)
    looks: int = 0
    due: int = 0


class UncalledMounts:
    """Finds and writes mounts that no call attached, or that the list of their call lacks.

    Args:
        tables: the mounts that are known.
        pending: what threads attached.
        rows: what is written to.
        out: for questions.
        setting: what the recording is made with.

    Attributes:
        unlisted: how many were never listed.
    """

    def __init__(
        self,
        tables: MountTables,
        pending: PendingMountEvents,
        rows: EffectRows,
        out: Outbox,
        setting: Setting,
    ) -> None:
        self._tables = tables
        self._pending = pending
        self._rows = rows
        self._out = out
        self._setting = setting
        self.unlisted = 0
        self._groups: list[_Group] = []
        self._of: dict[int, _Group] = {}

    def __contains__(self, unique: object) -> bool:
        """Whether it is known that no call attached a mount that is to be listed."""
        return unique in self._of

    def look(self, at: int) -> None:
        """Look for mounts that no call has accounted for, though all that was reported until a
        time (CLOCK_MONOTONIC, ns) has been given; and write those that were found."""
        for uniques in self._pending.attached.take_uncalled(at).values():
            self._begin(uniques, at)
        for group in list(self._groups):
            if not group.waiting or (at > group.due and group.looks == LOOKS_FOR_UNCALLED):
                self._end(group)
            elif at > group.due:
                self._look_for(group, at)

    def finish(self) -> None:
        """Write those that were found, and do without the others."""
        for group in list(self._groups):
            self._end(group)

    def _begin(self, uniques: list[int], at: int) -> None:
        waiting = {}
        for unique in uniques:
            attached = self._pending.attached.take(unique)
            if attached is not None and unique not in self._tables:
                waiting[unique] = attached
        if waiting:
            group = _Group(waiting)
            self._groups.append(group)
            self._of.update(dict.fromkeys(waiting, group))
            self._look_for(group, at)

    def _look_for(self, group: _Group, at: int) -> None:
        group.due = at + (LOOK_AGAIN << group.looks)
        group.looks += 1
        everywhere = frozenset(self._tables.namespaces())
        self._out.ask(FindMounts(frozenset(group.waiting), everywhere))

    def found(self, keys: Collection[int]) -> None:
        """Some of them are in these namespaces, by their keys."""
        if keys:
            self._out.ask(SurveySome(frozenset(keys)))

    def listed(self, mount: MountState) -> None:
        """One was listed, and is in the tables."""
        group = self._of.pop(mount.unique)
        group.listed.append((group.waiting.pop(mount.unique), mount))

    def listed_before(self, mount: MountState, attached: Attached) -> None:
        """One was listed, and is in the tables, before it was looked for."""
        for group in self._groups:
            if not group.waiting and group.listed[0][0].tid == attached.tid:
                group.listed.append((attached, mount))
                return
        self._groups.append(_Group({}, [(attached, mount)]))

    def _end(self, group: _Group) -> None:
        """Write what was listed, and forget the rest: it is no longer there, or in no namespace."""
        self._groups.remove(group)
        for unique in group.waiting:
            del self._of[unique]
        self.unlisted += len(group.waiting)
        group.listed.sort(key=lambda one: one[0].number)
        origins: dict[tuple[str, int, int], MountState] = {}
        for attached, mount in group.listed:
            if attached.cause:
                self._rows.attach(mount, "", "snapshot", attached.cause)
                continue
            place = mount.filesystem.device, mount.root.key, mount.mountpoint.key
            origin = origins.setdefault(place, mount)
            if mount.is_root or mount.is_hidden:
                continue  # its namespace was born, by a call that is missing
            via = self._via(mount, origin)
            cause = self._setting.when(attached.came)._replace(tid=attached.tid)
            self._rows.attach(mount, via, "kernel", cause, None if origin is mount else origin)

    def _via(self, mount: MountState, origin: MountState) -> Via:
        if origin is not mount:
            is_peer = mount.group and mount.group == origin.group
            return "peer" if is_peer else "slave"
        return "automount" if mount.is_automount else ""
