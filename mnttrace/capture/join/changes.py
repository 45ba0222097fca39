"""Effects that change how a mount is set: its peer group, its master, its options.

A list of a namespace shows what is different, not who did it: a mount can have lost its master by
what someone did in another namespace. So a difference is ascribed to the call that the list was
made after only if the call was about that mount.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mnttrace.capture.join.effect_rows import EffectRows, Row, settings
from mnttrace.capture.join.tables import Known, MountTables
from mnttrace.linux.options import MNT_SHOWN, SB_SHOWN, super_options


class Changes:
    """Writes changes, and remembers which are to be expected.

    Args:
        tables: kept up to date.
        rows: what is written to.
    """

    def __init__(self, tables: MountTables, rows: EffectRows) -> None:
        self._tables = tables
        self._rows = rows
        self._expected: dict[int, tuple[int, Row]] = {}

    def direct(self, known: Known, entry: Any, cause: Row) -> None:
        """A mount is set as an entry of a list has it, and the call before the list did that.

        Args:
            known: the mount.
            entry: a mount_entry.
            cause: the call, a row of `operations`.
        """
        master, earlier = self._expected.pop(known.unique, (0, cause))
        if earlier is not cause and entry.master != known.master:
            # It happened before the call, which would have left the master alone or taken it.
            self._write(known, known.group, master, known.flags, "slave", "model", earlier)
        if is_set_otherwise(known, entry):
            self._set(known, entry, "direct", "kernel", cause)

    def found(self, known: Known, entry: Any, when: Row, current: Row | None = None) -> None:
        """A mount turns out to be set as an entry has it: by what was expected, or by nobody.

        Args:
            known, entry: as above.
            when: columns `ts` and `monotonic` of what nobody is known to have done.
            current: the call that the list was made after, if it was.
        """
        if not is_set_otherwise(known, entry):
            return
        if self.explains(known, entry):
            _, cause = self._expected.pop(known.unique)
            evidence = "kernel" if cause is current else "snapshot"
            self._set(known, entry, "slave", evidence, cause)
        else:
            self._set(known, entry, "", "snapshot", when)

    def super_blocks(self, entries: Iterable[Any], evidence: str, cause: Row) -> None:
        """Super blocks are set as entries of a list have them; all mounts of each show that.

        Args:
            entries: mount_entry.
            evidence: the column of that name.
            cause: the call, or columns `ts` and `monotonic` of what nobody is known to have done.
        """
        for entry in entries:
            known = self._tables.get(entry.unique)
            if known is None or not is_super_set_otherwise(known, entry):
                continue
            before, after = super_options(known.super_flags), super_options(entry.super_flags)
            for mount in self._tables.of_device(known.device):
                mount.super_flags = entry.super_flags
                self._rows.super_block(mount, evidence, cause, before, after)

    def are_expected(self, unique: int) -> bool:
        """Whether a mount is to be set otherwise by what happened to its master."""
        return unique in self._expected

    def explains(self, known: Known, entry: Any) -> bool:
        """Whether what is different about a mount was expected."""
        master, _ = self._expected.get(known.unique, (None, None))
        shown = entry.flags & MNT_SHOWN, known.flags & MNT_SHOWN
        return bool(entry.master == master and entry.group == known.group and shown[0] == shown[1])

    def namespaces_to_look_at(self) -> set[int]:
        """The keys of the namespaces in which something is expected."""
        mounts = (self._tables.get(unique) for unique in self._expected)
        return {mount.namespace for mount in mounts if mount}

    def looked_at(self, namespace: int) -> None:
        """A namespace was looked at: what was expected in it has come true, or never will."""
        for unique in list(self._expected):
            mount = self._tables.get(unique)
            if mount is None or mount.namespace == namespace:
                del self._expected[unique]

    def left(self, mount: Known, group: int, master: int, cause: Row) -> None:
        """A mount has left its peer group.

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
        if group and not self._tables.members(group):
            for slave in self._tables.slaves(group):
                self._expected[slave] = (master, cause)

    def _set(self, known: Known, entry: Any, via: str, evidence: str, cause: Row) -> None:
        self._write(known, entry.group, entry.master, entry.flags, via, evidence, cause)

    def _write(
        self,
        known: Known,
        group: int,
        master: int,
        flags: int,
        via: str,
        evidence: str,
        cause: Row,
    ) -> None:
        before, old_group, old_master = settings(known), known.group, known.master
        self._tables.set(known, group, master, flags)
        self._rows.change(known, via, evidence, cause, before)
        if group != old_group:
            self.left(known, old_group, old_master, cause)


def is_super_set_otherwise(known: Known, entry: Any) -> bool:
    """Whether the super block of a mount is not set as an entry has it."""
    return bool((known.super_flags ^ entry.super_flags) & SB_SHOWN)


def is_set_otherwise(known: Known, entry: Any) -> bool:
    """Whether a mount's groups or options are not those of an entry."""
    return bool(
        entry.group != known.group
        or entry.master != known.master
        or (entry.flags ^ known.flags) & MNT_SHOWN
    )
