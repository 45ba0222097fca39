"""Rows of the table `effects`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mnttrace.capture.join.tables import Known, MountTables

Add = Callable[[str, dict[str, Any]], None]
Row = dict[str, Any]


class EffectRows:
    """Writes what happened to a mount.

    Args:
        tables: what it is a mount among; read only.
        add: takes (table, row).
    """

    def __init__(self, tables: MountTables, add: Add) -> None:
        self._tables = tables
        self._add = add

    def attach(
        self,
        mount: Known,
        via: str,
        evidence: str,
        cause: Row,
        origin: Known | None = None,
        before: str | None = None,
    ) -> None:
        """A mount was attached.

        Args:
            mount: as it is now.
            via, evidence: the columns of that name.
            cause: a row of `operations`, or what is known of the cause: `seq`, `pid`, `tid`,
                `ts` and `monotonic` are taken from it.
            origin: the mount that it is a copy of.
            before: of a namespace's copy, the propagation and options of the origin.
        """
        after = settings(mount) if before is not None else None
        self._write("attach", mount, via, evidence, cause, origin, before, after)

    def detach(
        self, mount: Known, via: str, evidence: str, cause: Row, origin: Known | None = None
    ) -> None:
        """A mount is about to be taken out of the tables; arguments as for :meth:`attach`."""
        self._write("detach", mount, via, evidence, cause, origin)

    def move(self, mount: Known, via: str, evidence: str, cause: Row, before: str) -> None:
        """A mount has got another parent or place; `before` is its old :meth:`place`."""
        self._write("move", mount, via, evidence, cause, None, before, self.place(mount))

    def change(self, mount: Known, via: str, evidence: str, cause: Row, before: str) -> None:
        """A mount's propagation or options have changed; `before` were the old ones."""
        self._write("change", mount, via, evidence, cause, None, before, settings(mount))

    def super_block(self, mount: Known, evidence: str, cause: Row, before: str, after: str) -> None:
        """The options of a mount's file system have changed."""
        self._write("change", mount, "super-block", evidence, cause, None, before, after)

    def place(self, mount: Known) -> str:
        """Where a mount is, and on which one."""
        parent = self._tables.recall(mount.parent)
        return f"{self._tables.path(mount)} on {parent.mount_id if parent else '?'}"

    def _write(
        self,
        action: str,
        mount: Known,
        via: str,
        evidence: str,
        cause: Row,
        origin: Known | None,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        tables = self._tables
        parent = tables.recall(mount.parent)
        above = tables.recall(origin.parent) if origin and via != "direct" else None
        self._add(
            "effects",
            {
                "seq": cause.get("seq"),
                "ts": cause.get("ts"),
                "monotonic": cause.get("monotonic"),
                "pid": cause.get("pid"),
                "tid": cause.get("tid"),
                "ns": mount.ns,
                "ns_id": mount.namespace,
                "action": action,
                "via": via,
                "evidence": evidence,
                "mount_id": mount.mount_id,
                "mnt_id_unique": mount.unique,
                "parent_id": parent.mount_id if parent else mount.parent_id or None,
                "parent_unique": mount.parent,
                "parent_path": tables.path(parent) if parent else None,
                "mountpoint": tables.path(mount),
                "root": mount.root,
                "device": mount.device,
                "fstype": mount.fstype,
                "source": mount.source,
                "shared": mount.group or None,
                "master": mount.master or None,
                "propagation": mount.propagation,
                "unbindable": mount.unbindable,
                "locked": mount.locked,
                "before": before,
                "after": after,
                "copy_of": origin.mount_id if origin else None,
                "copy_of_unique": origin.unique if origin else None,
                "copy_of_path": tables.path(origin) if origin else None,
                "copy_of_ns": origin.ns if origin else None,
                "copy_of_ns_id": origin.namespace if origin else None,
                "carried_by": (above.group or None) if above else None,
                "carrier_unique": above.unique if above else None,
                "carrier_path": tables.path(above) if above else None,
            },
        )


def settings(mount: Known) -> str:
    """Propagation and options of a mount, as "shared:1 rw,relatime"."""
    return f"{mount.tags} {mount.options}"
