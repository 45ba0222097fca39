# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Small worlds of mounts and what happens in them, as events of the core.

A test describes mounts as :class:`M`, and makes of them what the kernel lists and what a mount
table shows. :class:`Core` takes events, and keeps rows and requests. Where a test says nothing, an
event has the time 0 and gets the next millisecond when it is taken.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mnttrace.capture.join.events import (
    Answered,
    AnyEvent,
    CallEnded,
    CaughtUp,
    MountsChanged,
    NamespaceListed,
    ProcessSeen,
    Reason,
    RoundBegan,
    RoundEnded,
    TableRead,
)
from mnttrace.capture.join.join import Join
from mnttrace.capture.join.mount_list import MountList
from mnttrace.capture.join.requests import Request
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.join.setting import Setting
from mnttrace.linux.mount_events import FAN_MNT_ATTACH, FAN_MNT_DETACH, MountEvent
from mnttrace.linux.mountinfo import Mount
from mnttrace.linux.options import mount_options, super_options
from mnttrace.linux.syscalls import BY_NAME, REMOVALS, SyscallKind
from mnttrace.probes.records import (
    BY_EVENT,
    HOW_LISTED,
    HOW_MADE,
    LIST_AFTER,
    LIST_BIRTH,
    LIST_MADE,
    LIST_SURVEY,
    MountEntry,
)
from mnttrace.recording.rows import OperationRow, ProcessRow, Row

MS = 1_000_000  # ns
NS, OTHER, THIRD = 4026531841, 4026532001, 4026532002
ME, YOU = 100, 200  # threads
WALL_OFFSET = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class M:
    """A mount.

    Attributes:
        unique: its unique id; its mount id is the rest of that by 1000.
        on: its parent; None: it is the root of its namespace.
        at: its mount point, from the root of its namespace on.
        root: what of its file system is mounted.
        minor: of the device; by default, one of its own.
    """

    unique: int
    on: M | None = None
    at: str = "/"
    ns: int = NS
    root: str = "/"
    minor: int = 0
    group: int = 0
    master: int = 0
    flags: int = 0
    super_flags: int = 0
    source: str = "none"
    fstype: str = "tmpfs"

    @property
    def mount_id(self) -> int:
        return self.unique % 1000

    @property
    def device(self) -> int:
        return self.minor or self.mount_id

    @property
    def place(self) -> str:
        """Its mount point in the file system of its parent."""
        if self.on is None:
            return "/"
        below = self.at.removeprefix(self.on.at.rstrip("/"))
        return self.on.root.rstrip("/") + below or "/"


def dentry(mount: M, path: str) -> int:
    """What stands for the address of a dentry in the file system of a mount."""
    return zlib.crc32(f"{mount.device} {path}".encode())


def entry(mount: M, how: int = HOW_LISTED, origin: int = 0, **fields: Any) -> MountEntry:
    """A mount in a list of the kernel."""
    above = mount.on or mount
    return MountEntry(
        unique=mount.unique,
        parent_unique=above.unique,
        origin_unique=origin,
        mntns_id=mount.ns,
        root=dentry(mount, mount.root),
        mountpoint=dentry(above, mount.place),
        mount_id=mount.mount_id,
        parent_id=above.mount_id,
        mntns=mount.ns,
        group=mount.group,
        master=mount.master,
        device=mount.device,
        flags=mount.flags,
        how=how,
        root_hash=0,
        mountpoint_hash=0,
        super_flags=mount.super_flags,
        spare=0,
        fstype=mount.fstype.encode(),
        devname=mount.source.encode(),
    )._replace(**fields)


def line(mount: M) -> Mount:
    """A mount in a mount table."""
    return Mount(
        mount_id=mount.mount_id,
        parent_id=mount.on.mount_id if mount.on else 1000 + mount.mount_id,
        major=0,
        minor=mount.device,
        root=mount.root,
        mountpoint=mount.at,
        options=mount_options(mount.flags),
        shared=mount.group or None,
        master=mount.master or None,
        propagate_from=None,
        unbindable=False,
        other=(),
        fstype=mount.fstype,
        source=mount.source,
        super_options=super_options(mount.super_flags),
    )


# ---- lists


def made(*mounts: M | MountEntry, ns: int = NS, is_first: bool = True) -> MountList:
    """What a call made, or moved."""
    return _list(LIST_MADE, ns, HOW_MADE, mounts, is_first)


def after(
    *mounts: M | MountEntry, ns: int = NS, reason: int = LIST_AFTER, is_first: bool = True
) -> MountList:
    """All mounts of a namespace after a call."""
    return _list(reason, ns, HOW_LISTED, mounts, is_first)


def birth(*mounts: M | MountEntry, ns: int = OTHER) -> MountList:
    """All mounts of a namespace that a call made."""
    return _list(LIST_BIRTH, ns, HOW_LISTED, mounts)


def _list(
    reason: int, ns: int, how: int, mounts: Sequence[M | MountEntry], is_first: bool = True
) -> MountList:
    entries = [entry(mount, how) if isinstance(mount, M) else mount for mount in mounts]
    return MountList(reason, ns, ns, is_first, True, entries)


# ---- events


def operation(syscall: str, **columns: Any) -> OperationRow:
    """A row of the table `operations`; other columns may be given."""
    tid = columns.get("tid", ME)
    ns = columns.get("ns", NS)
    row: OperationRow = {
        "seq": 1,
        "ts": 0,
        "monotonic": 0,
        "latency": MS,
        "syscall": syscall,
        "result": 0,
        "error": "",
        "pid": tid,
        "tid": tid,
        "parent": 1,
        "child": None,
        "uid": 0,
        "comm": "test",
        "cgroup": 1,
        "ns": ns,
        "ns_after": ns,
        "ns_target": None,
        "ns_id": ns,
        "ns_target_id": columns.get("ns_target"),
        "pidns": 1,
        "pid_inside": tid,
        "userns": 1,
        "root_unique": None,
        "source": "",
        "target": "",
        "fstype": "tmpfs",
        "path": "",
        "path_unique": None,
        "source_path": "",
        "flags": "",
        "flags_value": 0,
        "propagation": "",
        "attributes": "",
        "data": "",
        "fs_context": None,
        "unread": "",
    }
    row.update(columns)  # type: ignore[typeddict-item]
    return row


def call(
    syscall: str,
    *lists: MountList,
    names: dict[int, str] | None = None,
    last_detached: int = 0,
    known_by: int = BY_EVENT,
    is_cut: bool = False,
    descends: bool = False,
    last_released: int = 0,
    at: int = 0,
    **columns: Any,
) -> CallEnded:
    """A call ended; `columns` are of its row."""
    if syscall in BY_NAME:
        kind = BY_NAME[syscall].kind
    else:
        kind = SyscallKind.REMOVE
        assert syscall in {one.name for one in REMOVALS}
    row = operation(syscall, **columns)
    found = list(lists)
    known = last_detached, known_by, is_cut, descends, last_released
    return CallEnded(at, row, kind, found, names or {}, *known)


def process(pid: int, argv: tuple[str, ...] = (), **columns: Any) -> ProcessSeen:
    """A process made its first traced call."""
    row: ProcessRow = {
        "pid": pid,
        "started": 0,
        "seen": 0,
        "parent": 1,
        "uid": 0,
        "comm": "test",
        "parent_comm": "init",
        "command": "test one",
        "ns": NS,
        "ns_id": NS,
        "cgroup": 1,
        "cgroup_path": "/test",
    }
    row.update(columns)  # type: ignore[typeddict-item]
    return ProcessSeen(0, row, argv)


def attached(tid: int, *mounts: M, at: int = 0) -> MountsChanged:
    """A thread attached mounts."""
    return _changed(FAN_MNT_ATTACH, tid, mounts, at)


def detached(tid: int, *mounts: M, at: int = 0) -> MountsChanged:
    """A thread detached mounts."""
    return _changed(FAN_MNT_DETACH, tid, mounts, at)


def _changed(mask: int, tid: int, mounts: Sequence[M], at: int) -> MountsChanged:
    return MountsChanged(at, [MountEvent(mask, tid, mount.unique) for mount in mounts])


def table(
    *mounts: M, reason: Reason = "operation", pid: int | None = 1, at: int = 0, **fields: Any
) -> TableRead:
    """The mount table of a namespace; its kernel's list is to follow, unless `is_listed=False`."""
    ns = mounts[0].ns if mounts else NS
    given: dict[str, Any] = {
        "ns": ns,
        "ns_id": ns,
        "pid": pid,
        "reason": reason,
        "ended": at,
        "mounts": [line(mount) for mount in mounts],
        "unique_ids": {},
        "is_watched": True,
        "is_listed": True,
    }
    return TableRead(at, **given | fields)


def listed(*mounts: M | MountEntry, ns: int = NS, is_first: bool = True) -> NamespaceListed:
    """The kernel's list of a namespace that a survey asked for."""
    if mounts and isinstance(mounts[0], M):
        ns = mounts[0].ns
    return NamespaceListed(0, _list(LIST_SURVEY, ns, HOW_LISTED, mounts, is_first))


def survey(*mounts: M, reason: Reason = "operation", at: int = 0, **fields: Any) -> list[AnyEvent]:
    """A namespace is surveyed: its table and the kernel's list of it."""
    return [table(*mounts, reason=reason, at=at, **fields), listed(*mounts)]


def everything(
    *namespaces: Sequence[M],
    reason: Reason = "start",
    alive: list[int] | None = None,
    at: int = 0,
    **fields: Any,
) -> list[AnyEvent]:
    """All namespaces are surveyed."""
    if alive is None:
        alive = [mounts[0].ns for mounts in namespaces]
    found = [one for mounts in namespaces for one in survey(*mounts, reason=reason, **fields)]
    return [RoundBegan(at, reason), *found, RoundEnded(at, reason, alive)]


class Core:
    """The core, what it was given, and what came out.

    Args:
        backend: how mounts are seen.
        uses_fanotify: whether fanotify reports attached and detached mounts.
        wanted: which operations are written.
    """

    def __init__(
        self, backend: str = "walk", uses_fanotify: bool = True, wanted: Filter | None = None
    ) -> None:
        setting = Setting(WALL_OFFSET, backend, uses_fanotify)
        self.join = Join(setting, wanted or Filter())
        self.rows: list[tuple[str, Row]] = []
        self.requests: list[Request] = []
        self.now = 0

    def take(self, *events: AnyEvent | Sequence[AnyEvent]) -> None:
        """Take events, each after its time or a millisecond after the one before."""
        for one in events:
            for event in [one] if not isinstance(one, Sequence) else one:
                self._take(event)

    def _take(self, event: AnyEvent) -> None:
        self.now = event.at or self.now + MS
        event.at = self.now
        if isinstance(event, TableRead):
            event.ended = event.ended or self.now
        if isinstance(event, CallEnded):
            row = event.row
            row["monotonic"] = row["monotonic"] or self.now - row["latency"]
            row["ts"] = row["ts"] or row["monotonic"] + WALL_OFFSET
        output = self.join.take(event)
        self.rows += output.rows
        self.requests += output.requests

    def ask(self, kind: type) -> list[Any]:
        """The requests of a kind that have come since this was asked."""
        found = [one for one in self.requests if isinstance(one, kind)]
        self.requests = [one for one in self.requests if not isinstance(one, kind)]
        return found

    def answer(self, *answers: AnyEvent) -> None:
        """Answer what was asked last."""
        self.take(*answers, Answered(0))

    def catch_up(self, after: int = 0) -> None:
        """All that was reported until some time later has been given."""
        self.take(CaughtUp(self.now + after if after else 0))

    def of(self, name: str) -> list[Any]:
        """The rows of a table."""
        rest = self.join.finish()
        self.rows += rest.rows
        return [row for table, row in self.rows if table == name]

    def effects(self, *columns: str) -> list[tuple[Any, ...]]:
        """The effects: (operation, action, way, evidence, mount), or other columns."""
        columns = columns or ("seq", "action", "via", "evidence", "mnt_id_unique")
        return [tuple(row[name] for name in columns) for row in self.of("effects")]
