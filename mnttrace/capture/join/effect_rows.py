# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Rows of the table `effects`."""

from __future__ import annotations

from typing import Literal

from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.outbox import Cause
from mnttrace.recording.rows import EffectRow

Evidence = Literal["kernel", "snapshot", "model", "ambiguous"]
Via = Literal[
    "",
    "direct",
    "peer",
    "slave",
    "beneath",
    "namespace-copy",
    "namespace-death",
    "mountpoint-removed",
    "super-block",
    "automount",
    "expiry",
]


class EffectRows:
    """Makes rows of what happened to mounts, and keeps them until they are taken.

    Args:
        tables: what the mounts are among; read only.
    """

    def __init__(self, tables: MountTables) -> None:
        self._tables = tables
        self._rows: list[EffectRow] = []

    @property
    def waiting(self) -> list[EffectRow]:
        """The rows that were not taken yet."""
        return self._rows

    def take(self, since: int = 0) -> list[EffectRow]:
        """The rows that were not taken yet, in their order, but for the first ones."""
        rows = self._rows[since:]
        del self._rows[since:]
        return rows

    def attach(
        self,
        mount: MountState,
        via: Via,
        evidence: Evidence,
        cause: Cause,
        origin: MountState | None = None,
        before: str | None = None,
    ) -> None:
        """A mount was attached.

        Args:
            mount: as it is now.
            via, evidence: the columns of that name.
            cause: what caused it.
            origin: the mount that it is a copy of.
            before: of a namespace's copy, the propagation and options of the origin.
        """
        after = mount.settings if before is not None else None
        self._write("attach", mount, via, evidence, cause, origin, before, after)

    def detach(
        self,
        mount: MountState,
        via: Via,
        evidence: Evidence,
        cause: Cause,
        origin: MountState | None = None,
    ) -> None:
        """A mount is about to be taken out of the tables; arguments as for :meth:`attach`."""
        self._write("detach", mount, via, evidence, cause, origin)

    def move(
        self, mount: MountState, via: Via, evidence: Evidence, cause: Cause, before: str
    ) -> None:
        """A mount got another parent or mount point; `before` is its old :meth:`place`."""
        self._write("move", mount, via, evidence, cause, None, before, self.place(mount))

    def change(
        self, mount: MountState, via: Via, evidence: Evidence, cause: Cause, before: str
    ) -> None:
        """A mount's propagation or options have changed; `before` were the old ones."""
        self._write("change", mount, via, evidence, cause, None, before, mount.settings)

    def super_block(
        self, mount: MountState, evidence: Evidence, cause: Cause, before: str, after: str
    ) -> None:
        """The options of a mount's file system have changed."""
        self._write("change", mount, "super-block", evidence, cause, None, before, after)

    def place(self, mount: MountState) -> str:
        """Where a mount is, and on which one: "/srv on 24"."""
        parent = self._tables.recall(mount.parent)
        return f"{self._tables.path(mount)} on {parent.mount_id if parent else '?'}"

    def name_origin(self, row: EffectRow, origin: MountState) -> None:
        """Fill in what a mount is a copy of, and through which peer group it came."""
        above = self._tables.recall(origin.parent) if row["via"] != "direct" else None
        row["copy_of"], row["copy_of_unique"] = origin.mount_id, origin.unique
        row["copy_of_path"] = self._tables.path(origin)
        row["copy_of_ns"], row["copy_of_ns_id"] = origin.namespace.inum, origin.key
        if above is not None:
            row["via_group"], row["via_unique"] = above.group or None, above.unique
            row["via_path"] = self._tables.path(above)

    def _write(
        self,
        action: Literal["attach", "detach", "move", "change"],
        mount: MountState,
        via: Via,
        evidence: Evidence,
        cause: Cause,
        origin: MountState | None,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        row = self._row(action, mount, via, evidence, cause)
        row["before"], row["after"] = before, after
        if origin is not None:
            self.name_origin(row, origin)
        self._rows.append(row)

    def _row(
        self,
        action: Literal["attach", "detach", "move", "change"],
        mount: MountState,
        via: Via,
        evidence: Evidence,
        cause: Cause,
    ) -> EffectRow:
        tables = self._tables
        parent = tables.recall(mount.parent)
        return {
            "seq": cause.seq,
            "ts": cause.ts,
            "monotonic": cause.monotonic,
            "pid": cause.pid,
            "tid": cause.tid,
            "ns": mount.namespace.inum,
            "ns_id": mount.key,
            "action": action,
            "via": via,
            "evidence": evidence,
            "mount_id": mount.mount_id,
            "mnt_id_unique": mount.unique,
            "parent_id": parent.mount_id if parent else mount.parent_id or None,
            "parent_unique": mount.parent,
            "parent_path": tables.path(parent) if parent else None,
            "mountpoint": tables.path(mount),
            "root": mount.root.path,
            "device": mount.filesystem.device,
            "fstype": mount.filesystem.fstype,
            "source": mount.filesystem.source,
            "shared": mount.group or None,
            "master": mount.master or None,
            "propagation": mount.propagation,
            "unbindable": mount.unbindable,
            "locked": mount.locked,
            "before": None,
            "after": None,
            "copy_of": None,
            "copy_of_unique": None,
            "copy_of_path": None,
            "copy_of_ns": None,
            "copy_of_ns_id": None,
            "via_group": None,
            "via_unique": None,
            "via_path": None,
        }
