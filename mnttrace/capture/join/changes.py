# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Effects that change how a mount is set: its peer group, its master, its options.

A list of a namespace shows what is different, not who did it: a mount can have lost its master by
what someone did in another namespace. So a difference is ascribed to the call that the list was
made after only if the call was about that mount.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from mnttrace.capture.join.effect_rows import EffectRows, Evidence, Via
from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.outbox import Cause
from mnttrace.capture.join.pending import PendingMountEvents
from mnttrace.linux.flags import MOVE_MOUNT
from mnttrace.linux.options import MNT_SHOWN, MNT_UNBINDABLE, super_options
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import MountEntry


class _NewMaster(NamedTuple):
    """A mount is to get another master.

    Attributes:
        master: its peer group, 0 for none.
        cause: by what.
        is_sure: it was there when the group of the one before was left by a change of propagation
            types. With a detached mount its slaves go, too, which may not be reported yet.
    """

    master: int
    cause: Cause
    is_sure: bool


class Changes:
    """Writes changes, and remembers which are to be expected.

    Args:
        tables: kept up to date.
        rows: what is written to.
        pending: what threads detached.
    """

    def __init__(self, tables: MountTables, rows: EffectRows, pending: PendingMountEvents) -> None:
        self._tables = tables
        self._rows = rows
        self._pending = pending
        self._expected: dict[int, _NewMaster] = {}

    def by_call(self, mount: MountState, entry: MountEntry, call: CallEnded) -> None:
        """A mount is set as an entry of a list has it, and the call before the list was about that
        mount. What such a call cannot have changed is left to be found.

        Args:
            mount: as it is known.
            entry: as the kernel has it after the call.
            call: the call.
        """
        cause = Cause.of(call.row)
        expected = self._expected.pop(mount.unique, None)
        if expected and expected.cause != cause and entry.master != mount.master:
            # It happened before the call, which would have left the master alone or taken it.
            self._get_master(mount, expected)
        if mount.is_set_otherwise(entry) and _can_set(call, mount, entry):
            self._set(mount, entry, "direct", "kernel", cause)

    def found(
        self, mount: MountState, entry: MountEntry, when: Cause, current: Cause | None = None
    ) -> None:
        """A mount turns out to be set as an entry has it: as was expected, or without any cause.

        Args:
            mount, entry: as above.
            when: the time, where no cause is known.
            current: the call that the list was made after, if it was.
        """
        if not mount.is_set_otherwise(entry):
            return
        if self.explains(mount, entry):
            cause = self._expected.pop(mount.unique).cause
            evidence: Evidence = "kernel" if cause == current else "snapshot"
            self._set(mount, entry, "slave", evidence, cause)
        else:
            self._set(mount, entry, "", "snapshot", when)

    def super_blocks(
        self,
        entries: Iterable[MountEntry],
        evidence: Evidence,
        cause: Cause,
        is_one_of_all: bool = False,
    ) -> None:
        """Super blocks are set as entries of a list have them; all mounts of each show that.

        Args:
            entries: of the list.
            evidence: the column of that name.
            cause: the call, or the time, where no cause is known.
            is_one_of_all: all namespaces are listed now: those that are not have ended.
        """
        for entry in entries:
            known = self._tables.get(entry.unique)
            if known is None or not known.is_super_set_otherwise(entry):
                continue
            before = super_options(known.filesystem.flags)
            after = super_options(entry.super_flags)
            same = [known] if is_one_of_all else self._tables.of_device(known.filesystem.device)
            for mount in same:
                mount.filesystem = mount.filesystem._replace(flags=entry.super_flags)
                if self._pending.went_before(mount.unique, cause.monotonic):
                    continue  # its namespace died, which is written later
                self._rows.super_block(mount, evidence, cause, before, after)

    def are_expected(self, unique: int) -> bool:
        """Whether a mount is to be set otherwise by what happened to its master."""
        return unique in self._expected

    def explains(self, mount: MountState, entry: MountEntry) -> bool:
        """Whether what is different about a mount was expected."""
        expected = self._expected.get(mount.unique)
        if expected is None or mount.has_other_options(entry):
            return False
        return entry.master == expected.master and entry.group == mount.group

    def expecting_namespaces(self) -> set[int]:
        """The keys of the namespaces in which something is expected."""
        return {mount.key for mount in self._tables.attached(self._expected)}

    def looked_at(self, present: AbstractSet[int]) -> None:
        """Some mounts were listed: what was expected of them has come true, or never will."""
        for unique in self._expected.keys() & present:
            del self._expected[unique]
        for unique in [one for one in self._expected if one not in self._tables]:
            del self._expected[unique]

    def goes(self, mount: MountState) -> None:
        """A mount is about to be detached, and nothing has listed it since another was made private
        or a slave: what was expected of it came true before."""
        expected = self._expected.pop(mount.unique, None)
        if expected and expected.is_sure and expected.master != mount.master:
            self._get_master(mount, expected)

    def left_group(self, mount: MountState, group: int, master: int, cause: Cause) -> None:
        """A mount left its peer group.

        If it was the last one, its group's slaves get the master that it had
        (transfer_propagation() in fs/pnode.c). That is only expected here: a member can be in a
        detached tree, which no list shows.

        Args:
            mount: the mount, which may be detached.
            group: the peer group that it was in.
            master: the peer group of its master, 0 for none.
            cause: why it left.
        """
        self._expected.pop(mount.unique, None)
        slaves = self._tables.slaves(group)
        if slaves and not self._has_members(group, cause):
            stays = mount.unique in self._tables
            for slave in self._tables.attached(slaves):
                is_sure = stays and self._is_there(slave, cause)
                self._expected[slave.unique] = _NewMaster(master, cause, is_sure)

    def _has_members(self, group: int, cause: Cause) -> bool:
        """Whether a group has members: those that went with their namespace before are still known,
        and its number may have been given to another group."""
        members = map(self._tables.get, self._tables.members(group))
        return any(mount and not self._had_gone(mount, cause) for mount in members)

    def _had_gone(self, mount: MountState, cause: Cause) -> bool:
        """Whether a mount had gone before a call. What the call's own thread is reported to have
        detached, and no call accounted for, it does after it."""
        at = cause.monotonic
        if not self._pending.was_there(mount.key, at):
            return True
        is_others = cause.tid is None or self._pending.others_detached(mount.unique, cause.tid)
        return is_others and self._pending.went_before(mount.unique, at)

    def _is_there(self, mount: MountState, cause: Cause) -> bool:
        """Whether a mount was there for certain when a call that detaches nothing ended."""
        if cause.tid is None or self._pending.others_detached(mount.unique, cause.tid):
            return False
        return self._pending.was_there(mount.key, cause.monotonic)

    def _get_master(self, mount: MountState, new: _NewMaster) -> None:
        self._write(mount, mount.group, new.master, mount.flags, "slave", "model", new.cause)

    def _set(
        self, mount: MountState, entry: MountEntry, via: Via, evidence: Evidence, cause: Cause
    ) -> None:
        self._write(mount, entry.group, entry.master, entry.flags, via, evidence, cause)

    def _write(
        self,
        mount: MountState,
        group: int,
        master: int,
        flags: int,
        via: Via,
        evidence: Evidence,
        cause: Cause,
    ) -> None:
        before, old_group, old_master = mount.settings, mount.group, mount.master
        self._tables.set(mount, group, master, flags)
        self._rows.change(mount, via, evidence, cause, before)
        if group != old_group:
            self.left_group(mount, old_group, old_master, cause)


def _can_set(call: CallEnded, mount: MountState, entry: MountEntry) -> bool:
    """Whether a call of this kind can change a mount from what it was to what an entry has."""
    is_regrouped = (mount.group, mount.master) != (entry.group, entry.master)
    has_other_flags = mount.has_other_options(entry)
    # What comes to a shared mount becomes shared (attach_recursive_mnt() in fs/namespace.c).
    becomes_shared = not has_other_flags and not mount.group and mount.master == entry.master
    match call.kind:
        case SyscallKind.SETATTR:
            return True
        case SyscallKind.MOVE_MOUNT:
            sets_group = bool(call.flags & MOVE_MOUNT["MOVE_MOUNT_SET_GROUP"])
            return (sets_group and not has_other_flags) or becomes_shared
        case SyscallKind.MOUNT if call.mount_action in ("remount", "reconfigure"):
            return not is_regrouped
        case SyscallKind.MOUNT if call.mount_action == "propagation":
            return not (mount.flags ^ entry.flags) & (MNT_SHOWN & ~MNT_UNBINDABLE)
        case SyscallKind.MOUNT if call.mount_action == "move":
            return becomes_shared
    return False
