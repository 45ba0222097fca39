# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The records that the BPF programs send.

Made by scripts/generate_records.py from bpf/records.h; edit that one. Constants are there as plain
numbers, which compare faster, and as enumerations. Of an array each element is a field of its own,
`lengths0` …, and a property gives all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

RECORD_OPERATION: Final = 1
RECORD_PATH: Final = 2
RECORD_MOUNTS: Final = 3
RECORD_PROCESS: Final = 4
RECORD_EVENT: Final = 5
RECORD_ENDED: Final = 6

ARGUMENTS: Final = 6
STRING_SIZE: Final = 4096
# All strings of one operation: at most four arguments are strings.
STRINGS_SIZE: Final = 16384
PATH_DEPTH: Final = 64
NAME_SIZE: Final = 256
COMMAND_LINE_SIZE: Final = 1024

# `lengths` of an operation: of each string its bytes, counting the final NUL, or one of these.
STRING_NULL: Final = 0
STRING_UNREADABLE: Final = -1
# Longer than STRING_SIZE: so many bytes were kept, and the last of them is a NUL.
STRING_CUT: Final = 4097

# What an argument of a system call is; the same codes as ArgKind in mnttrace/linux/syscalls.py.
ARG_KIND_VALUE: Final = 0
ARG_KIND_STRING: Final = 1
ARG_KIND_PATH: Final = 2
ARG_KIND_PATH_AT: Final = 3
ARG_KIND_DESCRIPTOR: Final = 4
ARG_KIND_MOUNT_ATTR: Final = 5
ARG_KIND_CLONE_ARGS: Final = 6
ARG_KIND_VALUE_BY_COMMAND: Final = 7

# What a system call does to mounts; the same codes as SyscallKind in mnttrace/linux/syscalls.py.
SYSCALL_KIND_NOTHING: Final = 0
SYSCALL_KIND_DESCRIPTOR: Final = 1
SYSCALL_KIND_MOUNT: Final = 2
SYSCALL_KIND_MOVE_MOUNT: Final = 3
SYSCALL_KIND_UMOUNT: Final = 4
SYSCALL_KIND_PIVOT: Final = 5
SYSCALL_KIND_SETATTR: Final = 6
SYSCALL_KIND_NAMESPACE: Final = 7
# Removes or renames a file or directory: recorded only if mounts were detached by that.
SYSCALL_KIND_REMOVE: Final = 8
# fsconfig: changes a super block, if its command is FSCONFIG_CMD_RECONFIGURE.
SYSCALL_KIND_RECONFIGURE: Final = 9

# `argument` of a path record: the number of an argument, from 0, or one of these: the caller's root
# directory, if that is not the namespace's; the descriptor that the call returned; the mount point
# and the root of the mount that it made.
ARGUMENT_CHROOT: Final = 6
ARGUMENT_RESULT: Final = 7
ARGUMENT_MOUNTPOINT: Final = 8
ARGUMENT_ROOT: Final = 9

# `base` of a path record: where its names begin.
BASE_CWD: Final = 1
BASE_DESCRIPTOR: Final = 2
# The descriptor N of an argument that begins with /proc/self/fd/N or /proc/thread-self/fd/N.
BASE_PROC_FD: Final = 3
# A dentry: the names lead up to the root of its file system.
BASE_DENTRY: Final = 4
BASE_ROOT: Final = 5

LIST_MADE: Final = 1
LIST_BIRTH: Final = 2
LIST_AFTER: Final = 3
LIST_SURVEY: Final = 4
LIST_CHANGED: Final = 5
LIST_UNWATCHED: Final = 6

HOW_MADE: Final = 1
HOW_PROPAGATED: Final = 2
HOW_LISTED: Final = 3
HOW_COVERED: Final = 4

# So many mount entries at most are in one mounts_record.
ENTRIES: Final = 48

LOST_OPERATION: Final = 0
LOST_PATH: Final = 1
LOST_MOUNTS: Final = 2
LOST_PROCESS: Final = 3
LOST_INFLIGHT: Final = 4
TORN_OPERATION: Final = 5
CUT_WALK: Final = 6
SENT_OPERATION: Final = 7
SENT_PATH: Final = 8
SENT_MOUNTS: Final = 9
SENT_PROCESS: Final = 10
LOST_EVENT: Final = 11
SENT_EVENT: Final = 12
LOST_NUMBER: Final = 13
LOST_RUN: Final = 14
CUT_INCONSISTENT: Final = 15
LOST_MADE: Final = 16
CUT_UNWATCHED: Final = 17
LOST_ENDED: Final = 18
SENT_ENDED: Final = 19
LOSS_KINDS: Final = 20

BY_EVENT: Final = 0
BY_RELEASE_READ: Final = 1
BY_RELEASE: Final = 2


class RecordKind(IntEnum):
    """The first member of every record."""

    OPERATION = 1
    PATH = 2
    MOUNTS = 3
    PROCESS = 4
    EVENT = 5
    ENDED = 6


class ListReason(IntEnum):
    """Why mounts are listed."""

    MADE = 1  # a call made these
    BIRTH = 2  # all of a namespace that a call made
    AFTER = 3  # all of the caller's namespace, after a call that may have changed any
    SURVEY = 4  # all of a namespace that the recorder asked about
    CHANGED = 5  # the only one that a call can have changed
    UNWATCHED = 6  # all of a namespace that nobody reports of yet, after a call elsewhere


class HowListed(IntEnum):
    """How a mount came to be in the list."""

    MADE = 1  # the call made it, in the caller's namespace
    PROPAGATED = 2  # a copy of one that the call made, at a peer or a slave
    LISTED = 3  # it is one of the namespace
    COVERED = 4  # a copy was mounted beneath it, and is its parent now


class LastDetachKnownBy(IntEnum):
    """How `last_detached` of an operation is known."""

    EVENT = 0  # from the thread's last event in the fanotify queue, or from a kernel hook
    RELEASE_READ = 1  # from what the thread has yet to free; no event of it is in the queue
    RELEASE = 2  # from that, too; but events of it may be in the queue


class Loss(IntEnum):
    """What the map `losses` counts: records sent (SENT_) and lost for lack of room (LOST_), calls
    that began before the recorder (TORN_), and lists that are not complete (CUT_)."""

    LOST_OPERATION = 0
    LOST_PATH = 1
    LOST_MOUNTS = 2
    LOST_PROCESS = 3
    # A call that could not be kept until its end.
    LOST_INFLIGHT = 4
    TORN_OPERATION = 5
    # There are more mounts than one walk may look at.
    CUT_WALK = 6
    SENT_OPERATION = 7
    SENT_PATH = 8
    SENT_MOUNTS = 9
    SENT_PROCESS = 10
    LOST_EVENT = 11
    SENT_EVENT = 12
    # A mount that got no number, since there were too many: see identity.h.
    LOST_NUMBER = 13
    # A call whose end was not seen.
    LOST_RUN = 14
    # The walk met mounts that were being changed, each time that it was begun.
    CUT_INCONSISTENT = 15
    # A call attached a mount that its list lacks: it was detached meanwhile, or not found.
    LOST_MADE = 16
    # Namespaces that nobody reported of yet were not listed after a call, since there were too many
    # or they kept changing; and ends of such that were not sent.
    CUT_UNWATCHED = 17
    LOST_ENDED = 18
    SENT_ENDED = 19


OPERATION_RECORD: Final = Struct("=2HI2Qq6Q6i12Q14I16s")
OPERATION_RECORD_SIZE: Final = OPERATION_RECORD.size


class OperationRecord(NamedTuple):
    """A call that has ended. `last_detached` may be of an earlier call, if this one caused no
    event; the mount `last_released`, which the thread has yet to free, is not. `strings_size` bytes
    of NUL-terminated strings follow, in the order of the arguments."""

    kind: int
    strings_size: int
    number: int
    entered: int
    left: int
    result: int
    arguments0: int
    arguments1: int
    arguments2: int
    arguments3: int
    arguments4: int
    arguments5: int
    lengths0: int
    lengths1: int
    lengths2: int
    lengths3: int
    lengths4: int
    lengths5: int
    attr0: int
    attr1: int
    attr2: int
    attr3: int
    attr_size: int
    cgroup: int
    mntns_id_before: int
    mntns_id_after: int
    mntns_id_target: int
    root_unique: int
    last_detached: int
    last_released: int
    mntns_before: int
    mntns_after: int
    mntns_target: int
    pid: int
    tid: int
    parent: int
    uid: int
    child: int
    pidns: int
    userns: int
    pid_inside: int
    descends: int
    last_detached_known_by: int
    walk_cut: int
    comm: bytes

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> OperationRecord:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, OPERATION_RECORD.unpack_from(data, at))

    @property
    def arguments(self) -> tuple[int, ...]:
        """`arguments0` and so on."""
        return self[6:12]

    @property
    def lengths(self) -> tuple[int, ...]:
        """`lengths0` and so on."""
        return self[12:18]

    @property
    def attr(self) -> tuple[int, ...]:
        """`attr0` and so on."""
        return self[18:22]


PATH_RECORD: Final = Struct("=2H4BIi4Q6I")
PATH_RECORD_SIZE: Final = PATH_RECORD.size


class PathRecord(NamedTuple):
    """What a relative path or a descriptor among the arguments begins at, or all paths of a process
    in a chroot. Taken when the call begins; for the descriptor that it returns and the mount that
    it makes, when it ends. `names_size` bytes of NUL-terminated names follow: the path's components
    from the last one up to the root of the namespace, or to that of the file system."""

    kind: int
    names_size: int
    argument: int
    base: int
    complete: int
    at_mount_root: int
    tid: int
    descriptor: int
    entered: int
    mount_unique: int
    context: int
    dentry: int
    mount_id: int
    mntns: int
    nsfs_inode: int
    nsfs_type: int
    filesystem_magic: int
    spare: int

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> PathRecord:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, PATH_RECORD.unpack_from(data, at))


MOUNT_ENTRY: Final = Struct("=6Q12I16s32s")
MOUNT_ENTRY_SIZE: Final = MOUNT_ENTRY.size


class MountEntry(NamedTuple):
    """One mount. `root` and `mountpoint` are addresses of dentries, which are used again; with
    their hashes (dentry_hash() in kernel.h) they tell dentries apart. They never get into a
    recording."""

    unique: int
    parent_unique: int
    origin_unique: int
    mntns_id: int
    root: int
    mountpoint: int
    mount_id: int
    parent_id: int
    mntns: int
    group: int
    master: int
    device: int
    flags: int
    how: int
    root_hash: int
    mountpoint_hash: int
    super_flags: int
    spare: int
    fstype: bytes
    devname: bytes

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> MountEntry:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, MOUNT_ENTRY.unpack_from(data, at))

    @classmethod
    def unpack_many(cls, data: bytes, at: int, count: int) -> Iterator[MountEntry]:
        """`count` structs, one behind the other."""
        end = at + count * MOUNT_ENTRY_SIZE
        return map(cls._make, MOUNT_ENTRY.iter_unpack(memoryview(data)[at:end]))


MOUNTS_RECORD: Final = Struct("=2HI2QIH2B")
MOUNTS_RECORD_SIZE: Final = MOUNTS_RECORD.size


class MountsRecord(NamedTuple):
    """A part of a list of mounts: `entry_count` mount_entry follow. One that is `first` replaces
    the parts before it, since the walk was begun anew. After one that was lost none is `last`."""

    kind: int
    entry_count: int
    tid: int
    entered: int
    mntns_id: int
    mntns: int
    why: int
    first: int
    last: int

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> MountsRecord:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, MOUNTS_RECORD.unpack_from(data, at))


EVENT_RECORD: Final = Struct("=2HI2Q2I")
EVENT_RECORD_SIZE: Final = EVENT_RECORD.size


class EventRecord(NamedTuple):
    """A mount was attached or detached, as a kernel hook saw it (see hooks.h). `mask` has the bits
    of fanotify."""

    kind: int
    spare: int
    mask: int
    at: int
    unique: int
    tid: int
    mount_id: int

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> EventRecord:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, EVENT_RECORD.unpack_from(data, at))


ENDED_RECORD: Final = Struct("=2HI2Q")
ENDED_RECORD_SIZE: Final = ENDED_RECORD.size


class EndedRecord(NamedTuple):
    """A namespace that nobody reported of yet was found to have ended, at a time."""

    kind: int
    spare: int
    mntns: int
    at: int
    mntns_id: int

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> EndedRecord:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, ENDED_RECORD.unpack_from(data, at))


PROCESS_RECORD: Final = Struct("=2HI4Q4I16s16s")
PROCESS_RECORD_SIZE: Final = PROCESS_RECORD.size


class ProcessRecord(NamedTuple):
    """A process that made a recorded call, sent once for each program that it executes. `size`
    bytes of its command line follow; `cut` says that there are more."""

    kind: int
    size: int
    pid: int
    entered: int
    started: int
    cgroup: int
    mntns_id: int
    parent: int
    uid: int
    mntns: int
    cut: int
    comm: bytes
    parent_comm: bytes

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> ProcessRecord:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, PROCESS_RECORD.unpack_from(data, at))


ENDED_THREAD: Final = Struct("=4I16s")
ENDED_THREAD_SIZE: Final = ENDED_THREAD.size


class EndedThread(NamedTuple):
    """A thread that has ended, in the map `ended_threads`: what it did without a call may be told
    of only then."""

    pid: int
    parent: int
    uid: int
    mntns: int
    comm: bytes

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> EndedThread:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, ENDED_THREAD.unpack_from(data, at))

    @classmethod
    def unpack_many(cls, data: bytes, at: int, count: int) -> Iterator[EndedThread]:
        """`count` structs, one behind the other."""
        end = at + count * ENDED_THREAD_SIZE
        return map(cls._make, ENDED_THREAD.iter_unpack(memoryview(data)[at:end]))
