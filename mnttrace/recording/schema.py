# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The tables of a recording: each column, its type and what it means."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

FORMAT = 4  # what changed since the others: recording/upgrade.py

_U64, _I64, _U32, _I32, _TEXT, _BOOL = (
    pa.uint64(),
    pa.int64(),
    pa.uint32(),
    pa.int32(),
    pa.string(),
    pa.bool_(),
)
_TIME = pa.timestamp("ns", tz="UTC")
_NULL = True


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: what it is called.
        type: its Arrow type.
        meaning: what it holds.
        nullable: whether a recording of this format has nulls in it. In one of an older format,
            every column that the format lacks is null.
        is_late: whether raw logs were written before there was such a column.
    """

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False
    is_late: bool = False


COLUMNS: dict[str, tuple[Column, ...]] = {
    "operations": (
        Column(
            "seq",
            _U64,
            "number of the operation; calls are numbered in the order in which they end",
        ),
        Column("ts", _TIME, "wall time when the call began"),
        Column("monotonic", _U64, "CLOCK_MONOTONIC when the call began, ns"),
        Column("latency", _U64, "time in the call, ns"),
        Column("syscall", _TEXT, "name of the call, as in its manual page"),
        Column("result", _I64, "what it returned; negative errno if it failed"),
        Column("error", _TEXT, 'errno name, "" if it succeeded'),
        Column("pid", _U32, "thread group id in the initial pid namespace"),
        Column("tid", _U32, "thread id in the initial pid namespace"),
        Column("parent", _U32, "thread group id of the real parent"),
        Column("child", _U32, "clone, clone3: the child; else null", _NULL),
        Column("uid", _U32, "real user id in the initial user namespace"),
        Column("comm", _TEXT, "name of the thread"),
        Column("cgroup", _U64, "id of the cgroup in the version 2 hierarchy"),
        Column("ns", _U32, "mount namespace before the call, inode number"),
        Column("ns_after", _U32, "mount namespace after the call, inode number"),
        Column(
            "ns_target", _U32, "mount namespace that the call made or entered; else null", _NULL
        ),
        Column(
            "ns_id", _U64, "unique id of `ns`; the inode number again where the kernel has none"
        ),
        Column("ns_target_id", _U64, "unique id of `ns_target`", _NULL),
        Column("pidns", _U32, "pid namespace, inode number"),
        Column("pid_inside", _U32, "thread id in `pidns`"),
        Column("userns", _U32, "user namespace, inode number"),
        Column(
            "root_unique",
            _U64,
            "unique id of the mount that is the caller's root; null if it is none: in a chroot",
            _NULL,
        ),
        Column(
            "root_path",
            _TEXT,
            "the caller's root directory when the call began: / but in a chroot; null where it is "
            "not known, as of rmdir and the like",
            _NULL,
            is_late=True,
        ),
        Column("source", _TEXT, "what is to be mounted, bound or moved, as given"),
        Column("target", _TEXT, "mount point or path that the call names, as given"),
        Column("fstype", _TEXT, "file system type, as given"),
        Column(
            "path",
            _TEXT,
            "target as a path from the root of the namespace, without . and ..; symbolic links are "
            "not followed",
        ),
        Column(
            "path_unique",
            _U64,
            "unique id of the mount that path leads to; null if only a path lookup could say",
            _NULL,
        ),
        Column(
            "source_path",
            _TEXT,
            "source likewise, if it is a path; else as given",
        ),
        Column("flags", _TEXT, "flags by name, without the propagation type"),
        Column(
            "flags_value",
            _U64,
            "flags as a number, as given; fsconfig: its command; 0 if the call takes none",
        ),
        Column(
            "propagation", _TEXT, "propagation type asked for: shared, slave, private, unbindable"
        ),
        Column("attributes", _TEXT, "attributes of mounts that are set (+) and cleared (-)"),
        Column("data", _TEXT, "mount data or fsconfig key=value, secrets redacted"),
        Column(
            "fs_context",
            _U64,
            "operation that opened the descriptor (fsopen, open_tree ...) that this one works on; "
            "else null",
            _NULL,
        ),
        Column("unread", _TEXT, "arguments that were cut or could not be read, comma separated"),
    ),
    "effects": (
        Column(
            "seq", _U64, "operation that caused it; null if none did, or if it is not known", _NULL
        ),
        Column("ts", _TIME, "wall time of the operation, or when it was seen"),
        Column("monotonic", _U64, "the same on CLOCK_MONOTONIC, ns"),
        Column("pid", _U32, "process that caused it, null if not known", _NULL),
        Column("tid", _U32, "thread that caused it, null if not known", _NULL),
        Column("ns", _U32, "mount namespace that it happened in, inode number"),
        Column("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
        Column("action", _TEXT, "attach, detach, move or change"),
        Column(
            "via",
            _TEXT,
            "how it came about: direct, peer, slave, beneath (another mount was slipped under it), "
            "namespace-copy, namespace-death, mountpoint-removed, super-block (of the file system, "
            "which all its mounts share), automount (the kernel mounted it on a look-up), expiry "
            '(and took it away); "" if not known',
        ),
        Column("evidence", _TEXT, "kernel, snapshot, model or ambiguous"),
        Column("mount_id", _I64, "mount id, which the kernel uses again"),
        Column(
            "mnt_id_unique",
            _U64,
            "unique mount id; a number in its place where the kernel has none",
        ),
        Column("parent_id", _I64, "mount id of the parent", _NULL),
        Column("parent_unique", _U64, "unique id of the parent"),
        Column(
            "parent_path", _TEXT, "mount point of the parent, from the root of the namespace", _NULL
        ),
        Column("mountpoint", _TEXT, "from the root of the namespace"),
        Column("root", _TEXT, "root of the mount within its file system; null if not known", _NULL),
        Column("device", _TEXT, "major:minor"),
        Column("fstype", _TEXT, "file system type"),
        Column("source", _TEXT, "source of the mount, as in mountinfo"),
        Column("shared", _I64, "peer group, null if not shared", _NULL),
        Column("master", _I64, "master's peer group, null if not a slave", _NULL),
        Column("propagation", _TEXT, "shared, slave, shared-and-slave, private, unbindable"),
        Column("unbindable", _BOOL, "whether it is unbindable; a slave can be, too"),
        Column("locked", _BOOL, "whether it is locked to its parent (mount_namespaces(7))"),
        Column(
            "before",
            _TEXT,
            "move: mount point before; change, namespace-copy: propagation and options before, or "
            "the options of the super block",
            _NULL,
        ),
        Column("after", _TEXT, "the same, afterwards", _NULL),
        Column(
            "copy_of",
            _I64,
            "mount id of the mount that it is (or was) a copy of, or was bound from",
            _NULL,
        ),
        Column("copy_of_unique", _U64, "its unique id", _NULL),
        Column("copy_of_path", _TEXT, "its mount point, from the root of its namespace", _NULL),
        Column("copy_of_ns", _U32, "its mount namespace, inode number", _NULL),
        Column("copy_of_ns_id", _U64, "that one's unique id", _NULL),
        Column(
            "via_group",
            _I64,
            "peer group through which it was propagated: that of the parent of the mount that it "
            "is a copy of",
            _NULL,
        ),
        Column("via_unique", _U64, "unique id of that parent", _NULL),
        Column(
            "via_path", _TEXT, "mount point of that parent, from the root of its namespace", _NULL
        ),
    ),
    "processes": (
        Column("pid", _U32, "thread group id in the initial pid namespace"),
        Column("started", _U64, "since boot, ns", _NULL),
        Column(
            "seen", _U64, "CLOCK_MONOTONIC of its first operation since it was executed, ns", _NULL
        ),
        Column("parent", _U32, "thread group id of its parent"),
        Column("uid", _U32, "real user id"),
        Column("comm", _TEXT, "name"),
        Column("parent_comm", _TEXT, "name of its parent", _NULL),
        Column("command", _TEXT, "command line, secrets redacted, up to 1024 bytes"),
        Column("ns", _U32, "mount namespace, inode number"),
        Column(
            "ns_id", _U64, "its unique id; the inode number again where the kernel has none", _NULL
        ),
        Column("cgroup", _U64, "id of the cgroup in the version 2 hierarchy", _NULL),
        Column(
            "cgroup_path", _TEXT, "path of the cgroup; the longest, where there are hierarchies"
        ),
    ),
    "snapshots": (
        Column("snapshot", _U64, "number of the snapshot"),
        Column("ns", _U32, "mount namespace, inode number"),
        Column("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
        Column("started", _U64, "CLOCK_MONOTONIC before the read, ns"),
        Column("ended", _U64, "CLOCK_MONOTONIC after the read, ns"),
        Column(
            "reason",
            _TEXT,
            "why it was read: start, birth, operation, end; gone: the namespace has ended",
        ),
        Column("operations", _U64, "operations that had been received before the read"),
    ),
    "mounts": (
        Column("snapshot", _U64, "snapshot that found the change"),
        Column("ns", _U32, "mount namespace, inode number"),
        Column("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
        Column("change", _TEXT, "initial, added, removed or changed, against the snapshot before"),
        Column(
            "mount_id",
            _I64,
            "mount id, which the kernel uses again; the line's number if an import lacks it",
        ),
        Column("mnt_id_unique", _U64, "unique mount id, null before Linux 6.8", _NULL),
        Column(
            "parent_id",
            _I64,
            "mount id of the parent; if an imported table has none, by the paths and their order",
        ),
        Column("device", _TEXT, 'major:minor; "" if an imported table does not tell'),
        Column(
            "root",
            _TEXT,
            'root of the mount within its file system; "" if an imported table does not tell',
        ),
        Column("mountpoint", _TEXT, "mount point, as the namespace sees it"),
        Column("options", _TEXT, "per-mount options"),
        Column("shared", _I64, "peer group, null if not shared", _NULL),
        Column("master", _I64, "master's peer group, null if not a slave", _NULL),
        Column(
            "propagation",
            _TEXT,
            "shared, slave, shared-and-slave, private, unbindable; unknown if an imported table "
            "does not tell",
        ),
        Column("unbindable", _BOOL, "whether it is unbindable; a slave can be, too"),
        Column("fstype", _TEXT, "file system type"),
        Column("source", _TEXT, "source of the mount, as in mountinfo"),
        Column("super_options", _TEXT, "super block options"),
    ),
    # A namespace has a row more whenever more becomes known of it: the last one counts.
    "namespaces": (
        Column("ns", _U32, "mount namespace, inode number; 0 if it is that of an imported table"),
        Column("ns_id", _U64, "its unique id; the inode number again where the kernel has none"),
        Column(
            "seq",
            _U64,
            "operation that made it, null if it was there before or is not known",
            _NULL,
        ),
        Column("parent_ns", _U32, "mount namespace that it is a copy of, where it is known", _NULL),
        Column("parent_ns_id", _U64, "that one's unique id", _NULL),
        Column("kind", _TEXT, "container, unit, process or host"),
        Column("name", _TEXT, "name of the container or unit, or of the process `pid`: COMM[PID]"),
        Column("id", _TEXT, "the container's id"),
        Column("runtime", _TEXT, "the container's runtime"),
        Column("image", _TEXT, "the container's image"),
        Column("pod", _TEXT, "the container's pod in Kubernetes"),
        Column("pod_namespace", _TEXT, "that pod's namespace in Kubernetes"),
        Column("unit", _TEXT, "systemd unit that the process is in"),
        Column("pid", _U32, "the process that was last seen in it; 0 if none was"),
        Column("comm", _TEXT, "name of the process that was first seen in it"),
        Column("command", _TEXT, "that one's command line"),
    ),
    # Which processes used a mount, or a copy of it, when its umount was refused with EBUSY.
    "users": (
        Column("ts", _TIME, "wall time when it was seen, after the call"),
        Column("monotonic", _U64, "the same on CLOCK_MONOTONIC, ns"),
        Column("seq", _U64, "the operation that was refused"),
        Column("ns_id", _U64, "unique id of the mount's namespace"),
        Column("mnt_id_unique", _U64, "unique mount id"),
        Column("pid", _U32, "process that uses it"),
        Column("comm", _TEXT, "name of the process"),
        Column("how", _TEXT, "cwd, root, exe, map or fd N"),
        Column(
            "path",
            _TEXT,
            "what it uses, as a path from the root of the process if that can reach it",
        ),
    ),
    "losses": (
        Column("kind", _TEXT, "what was lost, cut, not readable or not searched"),
        Column("count", _U64, "how many"),
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
        [
            pa.field(column.name, column.type, metadata={"meaning": column.meaning})
            for column in COLUMNS[table]
        ]
    )
