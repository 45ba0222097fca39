"""The tables of a recording: each column, its type and what it means."""

from __future__ import annotations

import pyarrow as pa

FORMAT = 1

_U64, _I64, _U32, _I32, _TEXT, _BOOL = (
    pa.uint64(),
    pa.int64(),
    pa.uint32(),
    pa.int32(),
    pa.string(),
    pa.bool_(),
)

# table → (column, type, meaning)
COLUMNS: dict[str, tuple[tuple[str, pa.DataType, str], ...]] = {
    "operations": (
        ("seq", _U64, "number of the operation, in the order in which calls ended"),
        ("ts", pa.timestamp("ns", tz="UTC"), "wall time when the call began"),
        ("monotonic", _U64, "CLOCK_MONOTONIC when the call began, ns"),
        ("latency", _U64, "time in the call, ns"),
        ("syscall", _TEXT, "name of the call, as in its manual page"),
        ("result", _I64, "what it returned; negative errno if it failed"),
        ("error", _TEXT, 'errno name, "" if it succeeded'),
        ("pid", _U32, "thread group id in the initial pid namespace"),
        ("tid", _U32, "thread id in the initial pid namespace"),
        ("parent", _U32, "thread group id of the real parent"),
        ("child", _U32, "clone, clone3: the child; else 0"),
        ("uid", _U32, "real user id in the initial user namespace"),
        ("comm", _TEXT, "name of the thread"),
        ("cgroup", _U64, "id of the cgroup in the version 2 hierarchy"),
        ("ns", _U32, "mount namespace before the call, inode number"),
        ("ns_after", _U32, "mount namespace after the call, inode number"),
        ("ns_target", _U32, "mount namespace that the call made or entered; else 0"),
        ("pidns", _U32, "pid namespace, inode number"),
        ("userns", _U32, "user namespace, inode number"),
        ("source", _TEXT, "what is mounted, bound or moved, as given"),
        ("target", _TEXT, "where, as given"),
        ("fstype", _TEXT, "file system type, as given"),
        ("path", _TEXT, "where a relative or descriptor target leads; else target"),
        ("source_path", _TEXT, "where a relative or descriptor source leads; else source"),
        ("made", _I64, "mount id of the newest mount after mount, move_mount; else null"),
        ("made_unique", _U64, "its unique id"),
        ("made_path", _TEXT, "its mount point, as the caller sees it"),
        ("made_group", _I64, "its peer group, 0 if none: its copies are its peers or slaves"),
        ("parent_group", _I64, "peer group of its parent, 0 if none: what carries copies"),
        ("parent_master", _I64, "peer group of its parent's master, 0 if none"),
        ("flags", _TEXT, "flags by name, without the propagation type"),
        ("propagation", _TEXT, "propagation type asked for: shared, slave, private, unbindable"),
        ("data", _TEXT, "mount data or fsconfig key=value, secrets redacted"),
        ("unread", _TEXT, "arguments that were cut or could not be read, comma separated"),
    ),
    "snapshots": (
        ("snapshot", _U64, "number of the snapshot"),
        ("ns", _U32, "mount namespace, inode number"),
        ("started", _U64, "CLOCK_MONOTONIC before the read, ns"),
        ("ended", _U64, "CLOCK_MONOTONIC after the read, ns"),
        ("reason", _TEXT, "start, birth, operation, end; gone: the namespace no longer is"),
        ("operations", _U64, "operations that had been received before the read"),
    ),
    "mounts": (
        ("snapshot", _U64, "the snapshot that found the change"),
        ("ns", _U32, "mount namespace, inode number"),
        ("change", _TEXT, "initial, added, removed, changed: against the one before"),
        ("mount_id", _I64, "mount id, recycled by the kernel"),
        ("mnt_id_unique", _U64, "unique mount id, null before Linux 6.8"),
        ("parent_id", _I64, "mount id of the parent"),
        ("device", _TEXT, "major:minor"),
        ("root", _TEXT, "root of the mount within its file system"),
        ("mountpoint", _TEXT, "mount point, as the namespace sees it"),
        ("options", _TEXT, "per-mount options"),
        ("shared", _I64, "peer group, null if not shared"),
        ("master", _I64, "master's peer group, null if not a slave"),
        ("propagation", _TEXT, "shared, slave, shared-and-slave, private, unbindable"),
        ("fstype", _TEXT, "file system type"),
        ("source", _TEXT, "source"),
        ("super_options", _TEXT, "super block options"),
    ),
    "namespaces": (
        ("ns", _U32, "mount namespace, inode number"),
        ("pid", _U32, "a process in it when it was first seen"),
        ("comm", _TEXT, "that process's name"),
        ("cgroup", _TEXT, "that process's cgroup"),
        ("name", _TEXT, "container or process name"),
        ("container", _BOOL, "whether the name is a container's"),
    ),
    "losses": (
        ("kind", _TEXT, "what was lost, torn, cut or sent"),
        ("count", _U64, "how many"),
    ),
}


def schema(table: str) -> pa.Schema:
    """The Arrow schema of a table; the meanings are the fields' metadata.

    Raises:
        KeyError: there is no such table.
    """
    return pa.schema(
        [pa.field(name, kind, metadata={"meaning": text}) for name, kind, text in COLUMNS[table]]
    )
