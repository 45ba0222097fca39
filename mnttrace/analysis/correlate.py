"""Which operation made which copy: mount tables' differences joined with operations.

A mount that appears in a table was carried there by an operation if its parent is a peer or a
slave of the mount under which the operation mounted, and it lies at the same place under it
(Documentation/filesystems/sharedsubtree.rst). What that leaves open is `ambiguous`.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

from mnttrace.recording.reader import read_table

Row = dict[str, Any]
Match = tuple[Row, Row, str]  # operation, the mount that it mounted under, via

PROPAGATION_COLUMNS = [
    "seq",
    "ts",
    "pid",
    "tid",
    "comm",
    "syscall",
    "src_ns",
    "dst_ns",
    "action",
    "mount_id",
    "mnt_id_unique",
    "mountpoint",
    "root",
    "source",
    "fstype",
    "via",
    "evidence",
    "copy_of",
    "group",
    "origin",
    "present",
]
_ATTACHES = {"mount", "move_mount"}


def propagations(directory: Path) -> list[Row]:
    """Every copy that an operation made elsewhere, as rows with PROPAGATION_COLUMNS.

    `group` is the peer group that carried it, `origin` the path that was mounted on in src_ns,
    `present` whether the copy was in the last table of dst_ns.

    Raises:
        RecordingError: a table cannot be read.
    """
    operations = [row for row in read_table(directory, "operations").to_pylist() if _action(row)]
    mounts = read_table(directory, "mounts").to_pylist()
    snapshots = read_table(directory, "snapshots").to_pylist()
    windows = _windows(snapshots)
    died = {row["snapshot"] for row in snapshots if row["reason"] == "gone"}
    known: dict[int, list[Row]] = {}
    for mount in mounts:
        known.setdefault(mount["ns"], []).append(mount)
    last = _last_tables(mounts)
    found = []
    for mount in mounts:
        action = {"added": "attach", "removed": "detach"}.get(mount["change"])
        if action is None or mount["snapshot"] in died:
            continue
        begin, end = windows[mount["snapshot"]]
        inside = [
            row
            for row in operations
            if _action(row) == action
            and row["monotonic"] + row["latency"] >= begin
            and row["monotonic"] <= end
        ]
        if not any(_is_direct(row, mount) for row in inside):
            found += _carried(mount, inside, known, last)
    return sorted(found, key=lambda row: (row["seq"], row["dst_ns"]))


def _action(operation: Row) -> str:
    """What an operation that succeeded does to mount tables: attach, detach, or neither ("")."""
    if operation["result"] < 0:
        return ""
    if operation["syscall"] == "umount2":
        return "detach"
    makes = operation["syscall"] in _ATTACHES and not operation["propagation"]
    return "attach" if makes and "MS_REMOUNT" not in operation["flags"] else ""


def _windows(snapshots: list[Row]) -> dict[int, tuple[int, int]]:
    """For every snapshot the time in which its changes happened: since the one before."""
    before: dict[int, int] = {}
    windows = {}
    for row in snapshots:
        windows[row["snapshot"]] = (before.get(row["ns"], 0), row["ended"])
        before[row["ns"]] = row["started"]
    return windows


def _last_tables(mounts: list[Row]) -> dict[int, dict[int, Row]]:
    """The mounts that were there at the end, each as the row in which it first appeared."""
    tables: dict[int, dict[int, Row]] = {}
    for mount in mounts:
        table = tables.setdefault(mount["ns"], {})
        if mount["change"] == "removed":
            table.pop(mount["mount_id"], None)
        elif mount["change"] != "changed":
            table[mount["mount_id"]] = mount
    return tables


def _is_direct(operation: Row, mount: Row) -> bool:
    return bool(operation["ns"] == mount["ns"] and operation["path"] == mount["mountpoint"])


def _place(path: str, mount: Row) -> str | None:
    """Where a path lies within the file system of a mount that holds it, else None."""
    point = mount["mountpoint"].rstrip("/")
    if path != point and not path.startswith(f"{point}/"):
        return None
    return posixpath.normpath(f"{mount['root']}/{path[len(point) :]}").replace("//", "/")


def _carried(
    mount: Row, inside: list[Row], known: dict[int, list[Row]], last: dict[int, dict[int, Row]]
) -> list[Row]:
    """The propagation that brought one mount, as a list of at most one row."""
    matches = _by_kernel(mount, inside) if mount["change"] == "added" else {}
    if not matches:
        matches = _by_tables(mount, inside, known)
    if not matches:
        return []
    operation, origin, via = matches[max(matches)]
    return [_row(mount, operation, origin, via, len(matches) == 1, last)]


def _by_kernel(mount: Row, inside: list[Row]) -> dict[int, Match]:
    """The operations whose new mount, as the kernel had it then, this is a peer or slave of."""
    matches = {}
    for operation in inside:
        group = operation["made_group"]
        # The newest mount may itself be a copy at another path: then it is in the same group.
        names = {posixpath.basename(operation[path] or "") for path in ("made_path", "path")}
        if not group or len(names) > 1:
            continue
        via = {mount["shared"]: "peer", mount["master"]: "slave"}.get(group)
        if via:
            origin = {
                "shared": operation["parent_group"],
                "mountpoint": posixpath.dirname(operation["path"]),
            }
            matches[operation["seq"]] = (operation, origin, via)
    return matches


def _by_tables(mount: Row, inside: list[Row], known: dict[int, list[Row]]) -> dict[int, Match]:
    """The operations that mounted at the same place under a peer or master of its parent."""
    matches: dict[int, Match] = {}
    parent = _parent(mount, known[mount["ns"]])
    place = _place(mount["mountpoint"], parent) if parent else None
    if parent is None or place is None:
        return matches
    for operation in inside:
        for origin in known.get(operation["ns"], []):
            via = _via(origin, parent)
            if via and _place(operation["path"], origin) == place:
                matches[operation["seq"]] = (operation, origin, via)
    return matches


def _parent(mount: Row, rows: list[Row]) -> Row | None:
    """The parent's newest row up to the mount's snapshot; mount ids are recycled."""
    fitting = [
        row
        for row in rows
        if row["mount_id"] == mount["parent_id"] and row["snapshot"] <= mount["snapshot"]
    ]
    return fitting[-1] if fitting else None


def _row(
    mount: Row,
    operation: Row,
    origin: Row,
    via: str,
    certain: bool,
    last: dict[int, dict[int, Row]],
) -> Row:
    present = last.get(mount["ns"], {}).get(mount["mount_id"]) is mount
    return {
        **{name: operation[name] for name in ("seq", "ts", "pid", "tid", "comm", "syscall")},
        **{name: mount[name] for name in ("mount_id", "mnt_id_unique", "mountpoint", "root")},
        "source": mount["source"],
        "fstype": mount["fstype"],
        "src_ns": operation["ns"],
        "dst_ns": mount["ns"],
        "action": "attach" if mount["change"] == "added" else "detach",
        "via": via,
        "evidence": "snapshot" if certain else "ambiguous",
        "copy_of": operation["path"],
        "group": origin["shared"],
        "origin": origin["mountpoint"],
        "present": present,
    }


def _via(origin: Row, parent: Row) -> str:
    """How an event under `origin` reaches `parent`: as a peer, as a slave, or not ("")."""
    if origin["shared"] is None or origin["device"] != parent["device"]:
        return ""
    if origin["shared"] == parent["shared"]:
        return "peer"
    return "slave" if origin["shared"] == parent["master"] else ""
