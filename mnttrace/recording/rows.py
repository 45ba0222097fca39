# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The rows of a recording's tables, as they are written. Times are nanoseconds.

Made by scripts/generate_rows.py from mnttrace/recording/schema.py; edit that one.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class OperationRow(TypedDict):
    """A row of the table `operations`.

    Attributes:
        seq: number of the operation; calls are numbered in the order in which they end.
        ts: wall time when the call began.
        monotonic: CLOCK_MONOTONIC when the call began, ns.
        latency: time in the call, ns.
        syscall: name of the call, as in its manual page.
        result: what it returned; negative errno if it failed.
        error: errno name, "" if it succeeded.
        pid: thread group id in the initial pid namespace.
        tid: thread id in the initial pid namespace.
        parent: thread group id of the real parent.
        child: clone, clone3: the child; else null.
        uid: real user id in the initial user namespace.
        comm: name of the thread.
        cgroup: id of the cgroup in the version 2 hierarchy.
        ns: mount namespace before the call, inode number.
        ns_after: mount namespace after the call, inode number.
        ns_target: mount namespace that the call made or entered; else null.
        ns_id: unique id of `ns`; the inode number again where the kernel has none.
        ns_target_id: unique id of `ns_target`.
        pidns: pid namespace, inode number.
        pid_inside: thread id in `pidns`.
        userns: user namespace, inode number.
        root_unique: unique id of the mount that is the caller's root; null if it is none: in a
            chroot.
        root_path: the caller's root directory when the call began: / but in a chroot; null where it
            is not known, as of rmdir and the like.
        source: what is to be mounted, bound or moved, as given.
        target: mount point or path that the call names, as given.
        fstype: file system type, as given.
        path: target as a path from the root of the namespace, without . and ..; symbolic links are
            not followed.
        path_unique: unique id of the mount that path leads to; null if only a path lookup could
            say.
        source_path: source likewise, if it is a path; else as given.
        flags: flags by name, without the propagation type.
        flags_value: flags as a number, as given; fsconfig: its command; 0 if the call takes none.
        propagation: propagation type asked for: shared, slave, private, unbindable.
        attributes: attributes of mounts that are set (+) and cleared (-).
        data: mount data or fsconfig key=value, secrets redacted.
        fs_context: operation that opened the descriptor (fsopen, open_tree ...) that this one works
            on; else null.
        unread: arguments that were cut or could not be read, comma separated.
    """

    seq: int
    ts: int
    monotonic: int
    latency: int
    syscall: str
    result: int
    error: str
    pid: int
    tid: int
    parent: int
    child: int | None
    uid: int
    comm: str
    cgroup: int
    ns: int
    ns_after: int
    ns_target: int | None
    ns_id: int
    ns_target_id: int | None
    pidns: int
    pid_inside: int
    userns: int
    root_unique: int | None
    root_path: NotRequired[str | None]
    source: str
    target: str
    fstype: str
    path: str
    path_unique: int | None
    source_path: str
    flags: str
    flags_value: int
    propagation: str
    attributes: str
    data: str
    fs_context: int | None
    unread: str


class EffectRow(TypedDict):
    """A row of the table `effects`.

    Attributes:
        seq: operation that caused it; null if none did, or if it is not known.
        ts: wall time of the operation, or when it was seen.
        monotonic: the same on CLOCK_MONOTONIC, ns.
        pid: process that caused it, null if not known.
        tid: thread that caused it, null if not known.
        ns: mount namespace that it happened in, inode number.
        ns_id: its unique id; the inode number again where the kernel has none.
        action: attach, detach, move or change.
        via: how it came about: direct, peer, slave, beneath (another mount was slipped under it),
            namespace-copy, namespace-death, mountpoint-removed, super-block (of the file system,
            which all its mounts share), automount (the kernel mounted it on a look-up), expiry (and
            took it away); "" if not known.
        evidence: kernel, snapshot, model or ambiguous.
        mount_id: mount id, which the kernel uses again.
        mnt_id_unique: unique mount id; a number in its place where the kernel has none.
        parent_id: mount id of the parent.
        parent_unique: unique id of the parent.
        parent_path: mount point of the parent, from the root of the namespace.
        mountpoint: from the root of the namespace.
        root: root of the mount within its file system; null if not known.
        device: major:minor.
        fstype: file system type.
        source: source of the mount, as in mountinfo.
        shared: peer group, null if not shared.
        master: master's peer group, null if not a slave.
        propagation: shared, slave, shared-and-slave, private, unbindable.
        unbindable: whether it is unbindable; a slave can be, too.
        locked: whether it is locked to its parent (mount_namespaces(7)).
        before: move: mount point before; change, namespace-copy: propagation and options before, or
            the options of the super block.
        after: the same, afterwards.
        copy_of: mount id of the mount that it is (or was) a copy of, or was bound from.
        copy_of_unique: its unique id.
        copy_of_path: its mount point, from the root of its namespace.
        copy_of_ns: its mount namespace, inode number.
        copy_of_ns_id: that one's unique id.
        via_group: peer group through which it was propagated: that of the parent of the mount that
            it is a copy of.
        via_unique: unique id of that parent.
        via_path: mount point of that parent, from the root of its namespace.
    """

    seq: int | None
    ts: int
    monotonic: int
    pid: int | None
    tid: int | None
    ns: int
    ns_id: int
    action: str
    via: str
    evidence: str
    mount_id: int
    mnt_id_unique: int
    parent_id: int | None
    parent_unique: int
    parent_path: str | None
    mountpoint: str
    root: str | None
    device: str
    fstype: str
    source: str
    shared: int | None
    master: int | None
    propagation: str
    unbindable: bool
    locked: bool
    before: str | None
    after: str | None
    copy_of: int | None
    copy_of_unique: int | None
    copy_of_path: str | None
    copy_of_ns: int | None
    copy_of_ns_id: int | None
    via_group: int | None
    via_unique: int | None
    via_path: str | None


class ProcessRow(TypedDict):
    """A row of the table `processes`.

    Attributes:
        pid: thread group id in the initial pid namespace.
        started: since boot, ns.
        seen: CLOCK_MONOTONIC of its first operation since it was executed, ns.
        parent: thread group id of its parent.
        uid: real user id.
        comm: name.
        parent_comm: name of its parent.
        command: command line, secrets redacted, up to 1024 bytes.
        ns: mount namespace, inode number.
        ns_id: its unique id; the inode number again where the kernel has none.
        cgroup: id of the cgroup in the version 2 hierarchy.
        cgroup_path: path of the cgroup; the longest, where there are hierarchies.
    """

    pid: int
    started: int | None
    seen: int | None
    parent: int
    uid: int
    comm: str
    parent_comm: str | None
    command: str
    ns: int
    ns_id: int | None
    cgroup: int | None
    cgroup_path: str


class SnapshotRow(TypedDict):
    """A row of the table `snapshots`.

    Attributes:
        snapshot: number of the snapshot.
        ns: mount namespace, inode number.
        ns_id: its unique id; the inode number again where the kernel has none.
        started: CLOCK_MONOTONIC before the read, ns.
        ended: CLOCK_MONOTONIC after the read, ns.
        reason: why it was read: start, birth, operation, end; gone: the namespace has ended.
        operations: operations that had been received before the read.
    """

    snapshot: int
    ns: int
    ns_id: int
    started: int
    ended: int
    reason: str
    operations: int


class MountRow(TypedDict):
    """A row of the table `mounts`.

    Attributes:
        snapshot: snapshot that found the change.
        ns: mount namespace, inode number.
        ns_id: its unique id; the inode number again where the kernel has none.
        change: initial, added, removed or changed, against the snapshot before.
        mount_id: mount id, which the kernel uses again; the line's number if an import lacks it.
        mnt_id_unique: unique mount id, null before Linux 6.8.
        parent_id: mount id of the parent; if an imported table has none, by the paths and their
            order.
        device: major:minor; "" if an imported table does not tell.
        root: root of the mount within its file system; "" if an imported table does not tell.
        mountpoint: mount point, as the namespace sees it.
        options: per-mount options.
        shared: peer group, null if not shared.
        master: master's peer group, null if not a slave.
        propagation: shared, slave, shared-and-slave, private, unbindable; unknown if an imported
            table does not tell.
        unbindable: whether it is unbindable; a slave can be, too.
        fstype: file system type.
        source: source of the mount, as in mountinfo.
        super_options: super block options.
    """

    snapshot: int
    ns: int
    ns_id: int
    change: str
    mount_id: int
    mnt_id_unique: int | None
    parent_id: int
    device: str
    root: str
    mountpoint: str
    options: str
    shared: int | None
    master: int | None
    propagation: str
    unbindable: bool
    fstype: str
    source: str
    super_options: str


class NamespaceRow(TypedDict):
    """A row of the table `namespaces`.

    Attributes:
        ns: mount namespace, inode number; 0 if it is that of an imported table.
        ns_id: its unique id; the inode number again where the kernel has none.
        seq: operation that made it, null if it was there before or is not known.
        parent_ns: mount namespace that it is a copy of, where it is known.
        parent_ns_id: that one's unique id.
        kind: container, unit, process or host.
        name: name of the container or unit, or of the process `pid`: COMM[PID].
        id: the container's id.
        runtime: the container's runtime.
        image: the container's image.
        pod: the container's pod in Kubernetes.
        pod_namespace: that pod's namespace in Kubernetes.
        unit: systemd unit that the process is in.
        pid: the process that was last seen in it; 0 if none was.
        comm: name of the process that was first seen in it.
        command: that one's command line.
    """

    ns: int
    ns_id: int
    seq: int | None
    parent_ns: int | None
    parent_ns_id: int | None
    kind: str
    name: str
    id: str
    runtime: str
    image: str
    pod: str
    pod_namespace: str
    unit: str
    pid: int
    comm: str
    command: str


class UserRow(TypedDict):
    """A row of the table `users`.

    Attributes:
        ts: wall time when it was seen, after the call.
        monotonic: the same on CLOCK_MONOTONIC, ns.
        seq: the operation that was refused.
        ns_id: unique id of the mount's namespace.
        mnt_id_unique: unique mount id.
        pid: process that uses it.
        comm: name of the process.
        how: cwd, root, exe, map or fd N.
        path: what it uses, as a path from the root of the process if that can reach it.
    """

    ts: int
    monotonic: int
    seq: int
    ns_id: int
    mnt_id_unique: int
    pid: int
    comm: str
    how: str
    path: str


class LossRow(TypedDict):
    """A row of the table `losses`.

    Attributes:
        kind: what was lost, cut, not readable or not searched.
        count: how many.
    """

    kind: str
    count: int


Row = (
    OperationRow
    | EffectRow
    | ProcessRow
    | SnapshotRow
    | MountRow
    | NamespaceRow
    | UserRow
    | LossRow
)
