# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What goes into the core: what the kernel reported, what was read, and answers to requests.

Every event has the time at which it was known, `at`: CLOCK_MONOTONIC, ns. Text is valid Unicode:
bytes that are not UTF-8 are written as \\xNN. A raw log keeps exactly these, in their order.

From the kernel come CallEnded, NamespaceListed, NamespaceEnded, ProcessSeen (the ring buffer) and
MountsChanged (kernel hooks or fanotify); CaughtUp says up to when all that it reported has been
given.
Surveys give TableRead between RoundBegan and RoundEnded. The others answer a request of
:mod:`mnttrace.capture.join.requests`; Answered follows them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mnttrace.capture.join.identity import Identity, User
from mnttrace.capture.join.mount_list import MountList, namespace_key
from mnttrace.linux.flags import AT, MOUNT, UMOUNT, mount_action
from mnttrace.linux.mount_events import MountEvent
from mnttrace.linux.mountinfo import Mount
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.recording.rows import OperationRow, ProcessRow

# Members of an enumeration take longer to look up than names of a module.
_MOUNT, _UMOUNT, _SETATTR = SyscallKind.MOUNT, SyscallKind.UMOUNT, SyscallKind.SETATTR

Reason = Literal["start", "birth", "operation", "end"]


class Event(msgspec.Struct, tag=True):
    """What all events have: `at`, CLOCK_MONOTONIC in ns."""

    at: int


class Answer(Event):
    """Answers a request; Answered says that all were carried out."""


# ---- from the kernel


class CallEnded(Event):
    """A traced call ended.

    Attributes:
        row: of the table `operations`.
        kind: what such a call does when it succeeds.
        lists: the mounts that it made, or those of a namespace, in the order they were sent.
        names: key of a dentry → its path within its file system.
        last_detached: unique id of the last mount that the call detached, by the end of it.
        last_detached_known_by: one of BY_* in bpf/records.h.
        last_released: unique id of the last mount that its thread had yet to free then.
        source_unique: unique id of the mount that the source of a bind begins at, if it is no more
            than that; 0 where it is a path.
        is_cut: the kernel's list is not complete.
        descends: whether the caller descends from a process that the recorder follows.
    """

    row: OperationRow
    kind: SyscallKind
    lists: list[MountList]
    names: dict[int, str]
    last_detached: int
    last_detached_known_by: int
    is_cut: bool
    descends: bool
    last_released: int = 0
    source_unique: int = 0

    @property
    def key(self) -> int:
        """What the caller's namespace before the call is known by."""
        return self.row["ns_id"] or self.row["ns"]

    @property
    def end(self) -> int:
        """CLOCK_MONOTONIC when the call ended, ns."""
        return self.row["monotonic"] + self.row["latency"]

    @property
    def flags(self) -> int:
        """Its flags as they were given, 0 of a call without any."""
        return self.row["flags_value"]

    @property
    def mount_action(self) -> str:
        """What mount(2) does with its flags; "new" of other calls."""
        return mount_action(self.row["flags_value"] if self.kind == _MOUNT else 0)

    @property
    def can_move(self) -> bool:
        """Whether mounts that turn out to have moved can have been moved by it."""
        if self.kind == _MOUNT:
            return self.mount_action == "move"
        return self.kind in (SyscallKind.PIVOT, SyscallKind.MOVE_MOUNT)

    @property
    def is_lazy(self) -> bool:
        """Whether it is a umount that takes all that is mounted below, too."""
        return self.kind == _UMOUNT and bool(self.flags & UMOUNT["MNT_DETACH"])

    @property
    def is_recursive(self) -> bool:
        """Whether it is about all mounts below its target, too."""
        if self.kind == _MOUNT:
            return bool(self.flags & MOUNT["MS_REC"])
        return self.kind == _SETATTR and bool(self.flags & AT["AT_RECURSIVE"])


class NamespaceListed(Event):
    """A part of the kernel's list of a namespace that a survey asked for."""

    mounts: MountList


class NamespaceEnded(Event):
    """A namespace that was not watched yet was found to have ended by `at`: its key."""

    key: int


class ProcessSeen(Event):
    """A process made its first traced call since it was executed.

    Attributes:
        row: of the table `processes`.
        argv: its command line, word by word; none in older raw logs, which have the row alone.
    """

    row: ProcessRow
    argv: tuple[str, ...] = ()


class MountsChanged(Event):
    """Mounts were attached, detached or moved: in the kernel's order, with their threads."""

    changes: list[MountEvent]


class CaughtUp(Event):
    """All that the kernel reported before `at` has been given."""


class TimePassed(Event):
    """It is `at` now: what is due may be asked for."""


# ---- surveys


class RoundBegan(Event):
    """A survey of all namespaces begins."""

    reason: Reason


class TableRead(Answer):
    """The mount table of a namespace was read; `at` is when that began.

    Attributes:
        ns, ns_id: inode number and unique id of the namespace (0 where the kernel has none).
        pid: a process in it, None if there is none.
        reason: why it was read.
        ended: CLOCK_MONOTONIC when it had been read, ns.
        mounts: the lines of its mountinfo, none where it could not be read.
        unique_ids: mount id → unique id, where the kernel has them.
        is_watched: attached and detached mounts of it are reported, from `at` on at least.
        is_listed: the kernel's list was asked for, too, after the table was read.
    """

    ns: int
    ns_id: int
    pid: int | None
    reason: Reason
    ended: int
    mounts: list[Mount]
    unique_ids: dict[int, int]
    is_watched: bool
    is_listed: bool

    @property
    def key(self) -> int:
        """What the namespace is known by."""
        return namespace_key(self.ns, self.ns_id)


class RoundEnded(Event):
    """All namespaces have been surveyed, and all that the kernel reported until then was given.

    Attributes:
        alive: keys of those that there are.
    """

    reason: Reason
    alive: list[int]


# ---- answers


class Answered(Event):
    """All that was asked for by the last output was carried out: what is not answered by now is
    not known."""


class MountNamed(Answer):
    """Answers NameMount: root and mount point of a mount; None and "" if it is gone."""

    unique: int
    root: str | None
    mountpoint: str


class MountsFound(Answer):
    """Answers FindMounts: the keys of the namespaces that have some of them."""

    keys: list[int]


class NamespaceIdentified(Answer):
    """Answers IdentifyNamespace."""

    key: int
    identity: Identity


class ThreadIdentified(Answer):
    """Answers IdentifyThread: its process, as in ProcessSeen; None if it is gone."""

    tid: int
    row: ProcessRow | None
    argv: tuple[str, ...] = ()


class ThreadChecked(Answer):
    """Answers CheckThread: whether a thread is in one of the traced calls."""

    tid: int
    is_in_call: bool


class NamespacesGone(Answer):
    """Answers CheckNamespaces: the keys of those that are no more."""

    keys: list[int]


class UsersFound(Answer):
    """Answers FindUsers: the processes that use a mount which operation `seq` left busy."""

    seq: int
    users: list[User]


class LossesCounted(Event):
    """What was lost outside of the core, by kind: the last event of a recording."""

    losses: dict[str, int]


AnyEvent = (
    CallEnded
    | NamespaceListed
    | NamespaceEnded
    | ProcessSeen
    | MountsChanged
    | CaughtUp
    | TimePassed
    | RoundBegan
    | TableRead
    | RoundEnded
    | MountNamed
    | MountsFound
    | NamespaceIdentified
    | ThreadIdentified
    | ThreadChecked
    | NamespacesGone
    | UsersFound
    | LossesCounted
    | Answered
)
