"""Which calls caused what only surveys found, by the rules of shared subtrees.

Where the kernel does not let its mounts be walked there are but the calls and the mount tables
between them. A call's own mounts are those at its path; its copies are at the same place on what
gets propagation from the mount below (mount_namespaces(7)). What fits is given the call as its
cause, with the evidence `model`; the rest keeps the evidence `snapshot`, and no cause.
"""

from __future__ import annotations

from collections.abc import Iterable

from mnttrace.capture.join.effect_rows import EffectRows, Row, settings
from mnttrace.capture.join.tables import Known, MountTables

_DETACHING = {"umount", "umount2"}


class Causes:
    """Gives effects the calls that caused them.

    Args:
        tables: as they are after the effects.
        rows: what is written to.
    """

    def __init__(self, tables: MountTables, rows: EffectRows) -> None:
        self._tables = tables
        self._rows = rows

    def find(self, calls: Iterable[Row], effects: list[Row]) -> None:
        """Fill in the effects that have no cause.

        Args:
            calls: rows of `operations` that may have changed mounts since the last survey, in
                their order.
            effects: rows of `effects` that the surveys after them found.
        """
        left = [row for row in effects if row["seq"] is None and row["evidence"] == "snapshot"]
        # Of several calls at one path only what the last one left can be seen.
        for call in reversed(list(calls)):
            for row, via, origin in self._fitting(call, left):
                row |= {name: call[name] for name in ("seq", "ts", "monotonic", "pid", "tid")}
                row |= {"via": via, "evidence": "model"}
                if origin is not None:
                    self._tell_origin(row, origin)
            left = [row for row in left if row["seq"] is None]

    def born(self, namespace: int, call: Row) -> None:
        """Write that a call made a namespace: each mount is a copy of the one that its maker had at
        that path.

        Args:
            namespace: its key; its mounts are in the tables.
            call: a row of `operations`.
        """
        sources = {
            (self._tables.path(mount), mount.device, mount.root): mount
            for mount in self._mounts(call["ns_id"])
        }
        for mount in self._mounts(namespace):
            if mount.parent != mount.unique:
                origin = sources.get((self._tables.path(mount), mount.device, mount.root))
                before = settings(origin) if origin else None
                self._rows.attach(mount, "namespace-copy", "model", call, origin, before)

    def _mounts(self, namespace: int) -> list[Known]:
        found = (self._tables.get(unique) for unique in self._tables.of_namespace(namespace))
        return [mount for mount in found if mount is not None]

    def _fitting(self, call: Row, left: list[Row]) -> list[tuple[Row, str, Known | None]]:
        """The effects of a call, how each came there, and what each is a copy of."""
        actions = self._actions(call)
        here = [row for row in left if row["ns_id"] == call["ns_id"]]
        direct = [row for row in here if row["action"] in actions and self._is_at(row, call)]
        found: list[tuple[Row, str, Known | None]] = [(row, "direct", None) for row in direct]
        taken = {row["mnt_id_unique"] for row in direct}
        for row in direct:
            found += self._copies(row, [r for r in left if r["mnt_id_unique"] not in taken])
        return found

    @staticmethod
    def _actions(call: Row) -> set[str]:
        if call["syscall"] in _DETACHING:
            return {"detach"}
        flags = call["flags"].split("|")
        if call["syscall"] == "pivot_root" or "MS_MOVE" in flags:
            return {"move"}
        if call["syscall"] == "move_mount":
            return {"move", "attach"}
        if call["syscall"] == "mount" and not call["propagation"] and "MS_REMOUNT" not in flags:
            return {"attach"}
        return {"change"}

    @staticmethod
    def _is_at(row: Row, call: Row) -> bool:
        """Whether an effect is at the call's path, or below that if the call goes so far."""
        path = call["path"]
        if row["mountpoint"] == path:
            return True
        is_recursive = {"MS_REC", "AT_RECURSIVE", "MNT_DETACH"} & set(call["flags"].split("|"))
        goes_below = is_recursive or call["syscall"] in ("pivot_root", "move_mount")
        return bool(goes_below) and row["mountpoint"].startswith(path.rstrip("/") + "/")

    def _copies(self, direct: Row, left: list[Row]) -> list[tuple[Row, str, Known | None]]:
        origin = self._tables.recall(direct["mnt_id_unique"])
        parent = self._tables.recall(origin.parent) if origin else None
        if origin is None or parent is None:
            return []
        receivers = self._tables.receivers(parent)
        found: list[tuple[Row, str, Known | None]] = []
        for row in left:
            mount = self._tables.recall(row["mnt_id_unique"])
            action = "detach" if direct["action"] == "detach" else "attach"
            if mount is None or row["action"] != action or direct["action"] == "change":
                continue
            if mount.parent in receivers and mount.place_key == origin.place_key:
                above = self._tables.recall(mount.parent)
                is_peer = above is not None and above.group == parent.group
                found.append((row, "peer" if is_peer else "slave", origin))
        return found

    def _tell_origin(self, row: Row, origin: Known) -> None:
        above = self._tables.recall(origin.parent)
        row |= {
            "copy_of": origin.mount_id,
            "copy_of_unique": origin.unique,
            "copy_of_path": self._tables.path(origin),
            "copy_of_ns": origin.ns,
            "copy_of_ns_id": origin.namespace,
            "carried_by": (above.group or None) if above else None,
            "carrier_unique": above.unique if above else None,
            "carrier_path": self._tables.path(above) if above else None,
        }
