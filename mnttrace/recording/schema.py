"""The tables of a recording: each column, its type and what it means."""

from __future__ import annotations

import pyarrow as pa

FORMAT = 2  # what has changed since the others: recording/upgrade.py

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
        ("child", _U32, "clone, clone3: the child; else null"),
        ("uid", _U32, "real user id in the initial user namespace"),
        ("comm", _TEXT, "name of the thread"),
        ("cgroup", _U64, "id of the cgroup in the version 2 hierarchy"),
        ("ns", _U32, "mount namespace before the call, inode number"),
        ("ns_after", _U32, "mount namespace after the call, inode number"),
        ("ns_target", _U32, "mount namespace that the call made or entered; else null"),
        ("ns_id", _U64, "unique id of `ns`; the inode number again where the kernel has none"),
        ("ns_target_id", _U64, "unique id of `ns_target`"),
        ("pidns", _U32, "pid namespace, inode number"),
        ("pid_inside", _U32, "thread id in `pidns`"),
        ("userns", _U32, "user namespace, inode number"),
        ("root_unique", _U64, "unique id of the mount that is the caller's root; null: a chroot"),
        ("source", _TEXT, "what is mounted, bound or moved, as given"),
        ("target", _TEXT, "where, as given"),
        ("fstype", _TEXT, "file system type, as given"),
        ("path", _TEXT, "where a relative or descriptor target leads; else target"),
        ("path_unique", _U64, "unique id of the mount that path leads to, where no lookup tells"),
        ("source_path", _TEXT, "where a relative or descriptor source leads; else source"),
        ("flags", _TEXT, "flags by name, without the propagation type"),
        ("propagation", _TEXT, "propagation type asked for: shared, slave, private, unbindable"),
        ("attributes", _TEXT, "attributes of mounts that are set (+) and cleared (-)"),
        ("data", _TEXT, "mount data or fsconfig key=value, secrets redacted"),
        ("story", _U64, "operation that opened the descriptor which this one works on; else null"),
        ("unread", _TEXT, "arguments that were cut or could not be read, comma separated"),
    ),
    "effects": (
        ("seq", _U64, "operation that caused it; null: none did, or it is not known"),
        ("ts", pa.timestamp("ns", tz="UTC"), "wall time of the operation, or when it was seen"),
        ("monotonic", _U64, "the same, CLOCK_MONOTONIC, ns"),
        ("pid", _U32, "process that caused it, null if not known"),
        ("tid", _U32, "thread that caused it, null if not known"),
        ("ns", _U32, "mount namespace that it happened in, inode number"),
        ("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
        ("action", _TEXT, "attach, detach, move or change"),
        (
            "via",
            _TEXT,
            "how it came there: direct, peer, slave, beneath (another mount was slipped under it), "
            "namespace-copy, namespace-death, mountpoint-removed, super-block (of the file system, "
            'which all its mounts share); "" if not known',
        ),
        ("evidence", _TEXT, "kernel, snapshot, model or ambiguous"),
        ("mount_id", _I64, "mount id, recycled by the kernel"),
        ("mnt_id_unique", _U64, "unique mount id"),
        ("parent_id", _I64, "mount id of the parent"),
        ("parent_unique", _U64, "unique id of the parent"),
        ("parent_path", _TEXT, "mount point of the parent, from the root of the namespace"),
        ("mountpoint", _TEXT, "from the root of the namespace"),
        ("root", _TEXT, "root of the mount within its file system; null if not known"),
        ("device", _TEXT, "major:minor"),
        ("fstype", _TEXT, "file system type"),
        ("source", _TEXT, "source"),
        ("shared", _I64, "peer group, null if not shared"),
        ("master", _I64, "master's peer group, null if not a slave"),
        ("propagation", _TEXT, "shared, slave, shared-and-slave, private, unbindable"),
        ("unbindable", _BOOL, "whether it is unbindable, which a slave can be, too"),
        ("locked", _BOOL, "whether it may not be taken from its parent (mount_namespaces(7))"),
        (
            "before",
            _TEXT,
            "move: place before; change, namespace-copy: propagation and options, or those of the "
            "super block",
        ),
        ("after", _TEXT, "the same, afterwards"),
        ("copy_of", _I64, "mount id of the mount that it is (or was) a copy of, or was bound from"),
        ("copy_of_unique", _U64, "its unique id"),
        ("copy_of_path", _TEXT, "its mount point, from the root of its namespace"),
        ("copy_of_ns", _U32, "its mount namespace, inode number"),
        ("copy_of_ns_id", _U64, "that one's unique id"),
        ("carried_by", _I64, "peer group of that one's parent, which carried it"),
        ("carrier_unique", _U64, "unique id of that parent"),
        ("carrier_path", _TEXT, "mount point of that parent, from the root of its namespace"),
    ),
    "processes": (
        ("pid", _U32, "thread group id in the initial pid namespace"),
        ("started", _U64, "since boot, ns"),
        ("seen", _U64, "CLOCK_MONOTONIC of its first operation since it was executed, ns"),
        ("parent", _U32, "thread group id of its parent"),
        ("uid", _U32, "real user id"),
        ("comm", _TEXT, "name"),
        ("parent_comm", _TEXT, "name of its parent"),
        ("command", _TEXT, "command line, secrets redacted, up to 1024 bytes"),
        ("ns", _U32, "mount namespace, inode number"),
        ("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
        ("cgroup", _U64, "id of the cgroup in the version 2 hierarchy"),
        ("cgroup_path", _TEXT, "path of the cgroup; the longest, where there are hierarchies"),
    ),
    "snapshots": (
        ("snapshot", _U64, "number of the snapshot"),
        ("ns", _U32, "mount namespace, inode number"),
        ("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
        ("started", _U64, "CLOCK_MONOTONIC before the read, ns"),
        ("ended", _U64, "CLOCK_MONOTONIC after the read, ns"),
        ("reason", _TEXT, "start, birth, operation, end; gone: the namespace no longer is"),
        ("operations", _U64, "operations that had been received before the read"),
    ),
    "mounts": (
        ("snapshot", _U64, "the snapshot that found the change"),
        ("ns", _U32, "mount namespace, inode number"),
        ("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
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
        ("unbindable", _BOOL, "whether it is unbindable, which a slave can be, too"),
        ("fstype", _TEXT, "file system type"),
        ("source", _TEXT, "source"),
        ("super_options", _TEXT, "super block options"),
    ),
    # A namespace can have several rows, as more becomes known of it: the last one holds.
    "namespaces": (
        ("ns", _U32, "mount namespace, inode number"),
        ("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
        ("seq", _U64, "operation that made it, null if it was there before or is not known"),
        ("parent_ns", _U32, "mount namespace that it is a copy of, where it is known"),
        ("parent_ns_id", _U64, "that one's unique id"),
        ("kind", _TEXT, "container, unit, process or host"),
        ("name", _TEXT, "name of the container, unit or process"),
        ("id", _TEXT, "the container's id"),
        ("runtime", _TEXT, "the container's runtime"),
        ("image", _TEXT, "the container's image"),
        ("pod", _TEXT, "the container's pod in Kubernetes"),
        ("pod_namespace", _TEXT, "that pod's namespace in Kubernetes"),
        ("unit", _TEXT, "systemd unit that the process is in"),
        ("pid", _U32, "a process in it, the last one that was seen"),
        ("comm", _TEXT, "name of the first one that was seen"),
        ("command", _TEXT, "that one's command line"),
    ),
    # Who used a mount when its umount was refused with EBUSY; also its copies elsewhere.
    "users": (
        ("ts", pa.timestamp("ns", tz="UTC"), "wall time when it was seen, after the call"),
        ("monotonic", _U64, "the same, CLOCK_MONOTONIC, ns"),
        ("seq", _U64, "the operation that was refused"),
        ("ns_id", _U64, "unique id of the mount's namespace"),
        ("mnt_id_unique", _U64, "unique mount id"),
        ("pid", _U32, "process that uses it"),
        ("comm", _TEXT, "name of the process"),
        ("how", _TEXT, "cwd, root, exe, map or fd N"),
        ("path", _TEXT, "what it uses, from its own root on if it can see it"),
    ),
    "losses": (
        ("kind", _TEXT, "what was lost, torn, cut or sent"),
        ("count", _U64, "how many"),
    ),
}

# Columns that have few values.
CATEGORIES = {
    "syscall",
    "error",
    "propagation",
    "action",
    "via",
    "evidence",
    "reason",
    "change",
    "kind",
    "fstype",
    "runtime",
}


def schema(table: str) -> pa.Schema:
    """The Arrow schema of a table; the meanings are the fields' metadata.

    Raises:
        KeyError: there is no such table.
    """
    return pa.schema(
        [pa.field(name, kind, metadata={"meaning": text}) for name, kind, text in COLUMNS[table]]
    )
