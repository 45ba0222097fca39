"""Surveys of mount namespaces: the mount table of one, as mountinfo and as the kernel's list.

One read a namespace, and no descriptor stays open: that would keep the namespace and its mounts
alive and cause the very leak that is looked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from mnttrace.capture.join.tables import namespace_key
from mnttrace.capture.stream.decode import MountList
from mnttrace.linux import mountinfo, statmount
from mnttrace.linux.fanotify import MountGroup
from mnttrace.linux.namespaces import (
    MountNamespace,
    namespace_id,
    opened_by_id,
    read_mountinfo,
    representative,
)
from mnttrace.probes.kernel import Probes
from mnttrace.probes.null import Blind
from mnttrace.recording.snapshots import MountTable


@dataclass(slots=True)
class Survey:
    """A namespace and its mounts at one time.

    Attributes:
        ns, ns_id: its inode number and unique id (0 where the kernel has none).
        pid: a process in it, None if there is none.
        reason: start, birth, operation or end.
        started, ended: CLOCK_MONOTONIC around the read, ns.
        table: its mountinfo.
        unique_ids: mount id → unique id, where the kernel tells.
        newest: the highest unique id that was known when it began.
        listed: whether the kernel's list was asked for.
        lists: that list, once it has come.
    """

    ns: int
    ns_id: int
    pid: int | None
    reason: str
    started: int
    ended: int
    table: list[mountinfo.Mount]
    unique_ids: dict[int, int] = field(default_factory=dict)
    newest: int = 0
    listed: bool = False
    lists: list[MountList] = field(default_factory=list)

    @property
    def key(self) -> int:
        """What the namespace is known by."""
        return namespace_key(self.ns, self.ns_id)

    def as_mount_table(self) -> MountTable:
        """What was read, for the snapshots."""
        return MountTable(
            self.ns, self.key, self.reason, self.started, self.ended, self.table, self.unique_ids
        )

    def take_lists(self) -> MountList | None:
        """The parts of the kernel's list as one, None if none came; fills in the unique ids."""
        if not self.lists:
            return None
        whole = self.lists[0]
        for more in self.lists[1:]:
            whole.entries.extend(more.entries)
        self.lists.clear()
        self.unique_ids = {entry.mount_id: entry.unique for entry in whole.entries}
        return whole


class Surveyor:
    """Looks at namespaces, and has fanotify tell of those that it has not seen before.

    Args:
        probes: to ask the kernel for lists of mounts; None: mount tables only.
        group: to watch the namespaces with; None: they are not watched.

    Attributes:
        unreadable: how many tables could not be read.
    """

    def __init__(
        self, probes: Probes | Blind | None = None, group: MountGroup | None = None
    ) -> None:
        self._probes = probes
        self._group = group
        self._watched: set[int] = set()
        self.unreadable = 0

    def watched(self, key: int) -> bool:
        """Whether fanotify tells what is detached from a namespace."""
        return key in self._watched

    def forget(self, key: int) -> None:
        """A namespace is no more."""
        self._watched.discard(key)

    def survey(self, namespace: MountNamespace, reason: str) -> Survey | None:
        """Survey a namespace that was found, None if it is gone by now.

        Args:
            namespace: one of :func:`mnttrace.linux.namespaces.mount_namespaces`.
            reason: why, see :class:`Survey`.
        """
        if namespace.path:
            return self.at(namespace.path, namespace.pids, namespace.inum, reason)
        if namespace.namespace_id is None:
            return None
        try:
            with opened_by_id(namespace.namespace_id) as path:
                return self.at(path, [], namespace.inum, reason)
        except OSError:
            return None

    def at(self, path: str, pids: Iterable[int], ns: int, reason: str) -> Survey | None:
        """Survey the namespace at a path, None if it is gone.

        Args:
            path: where it can be opened.
            pids: the processes in it.
            ns: its inode number: another one at that path is not looked at.
            reason: why, see :class:`Survey`.
        """
        try:
            if os.stat(path).st_ino != ns:
                return None
            ns_id = namespace_id(path) or 0
            self._watch(path, namespace_key(ns, ns_id))
        except OSError:
            return None
        pid = representative(pids)
        survey = Survey(ns, ns_id, pid, reason, time.monotonic_ns(), 0, [])
        is_readable = True
        try:
            survey.table = _mount_table(pid, path, ns_id)
        except OSError:
            is_readable = False
            if _leads_to(path, ns):  # else it ended meanwhile, and there is no table
                self.unreadable += 1
        # After the table: what was there before both, and is listed, had its mount id all the time.
        survey.listed = bool(self._probes and self._probes.survey(path))
        if not is_readable and not survey.listed:
            return None
        survey.ended = time.monotonic_ns()
        if not survey.listed and statmount.available() and ns_id:
            with suppress(OSError):
                survey.unique_ids = statmount.unique_ids(ns_id)
        return survey

    def _watch(self, path: str, key: int) -> None:
        if self._group is None or self._probes is None or key in self._watched:
            return
        with suppress(OSError):
            self._group.mark(path)
            self._watched.add(key)
            self._probes.watch(path)


def _mount_table(pid: int | None, path: str, ns_id: int) -> list[mountinfo.Mount]:
    """The mount table of a namespace, also of one without a process.

    Raises:
        OSError: it cannot be read.
    """
    if pid is not None:
        return mountinfo.read(pid)
    if ns_id and statmount.available():
        return [_as_line(mount) for mount in statmount.table(ns_id)]
    return mountinfo.parse(read_mountinfo(path), path)


def _as_line(mount: statmount.StatMount) -> mountinfo.Mount:
    return mountinfo.Mount(
        mount.mount_id,
        mount.parent_id,
        mount.major,
        mount.minor,
        mount.root,
        mount.mount_point,
        mount.options,
        mount.peer_group or None,
        mount.master or None,
        mount.propagate_from or None,
        mount.unbindable,
        (),
        mount.filesystem,
        mount.source or "",
        mount.super_options,
    )


def _leads_to(path: str, ns: int) -> bool:
    with suppress(OSError):
        return os.stat(path).st_ino == ns
    return False
