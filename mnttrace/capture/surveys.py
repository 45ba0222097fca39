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

from mnttrace.capture.decode import MountList
from mnttrace.capture.probes import Probes
from mnttrace.capture.tables import namespace_key
from mnttrace.linux import mountinfo
from mnttrace.linux.fanotify import MountGroup
from mnttrace.linux.namespaces import (
    MountNamespace,
    mount_namespaces,
    namespace_id,
    representative,
)


@dataclass(slots=True)
class Survey:
    """A namespace and its mounts at one time.

    Attributes:
        ns, ns_id: its inode number and unique id (0 where the kernel has none).
        pid: a process in it, None if there is none.
        reason: start, birth, operation or end.
        started, ended: CLOCK_MONOTONIC around the read, ns.
        table: its mountinfo.
        lists: what the kernel listed, once it has come.
        listed: whether a list was asked for.
    """

    ns: int
    ns_id: int
    pid: int | None
    reason: str
    started: int
    ended: int
    table: list[mountinfo.Mount]
    lists: list[MountList] = field(default_factory=list)
    listed: bool = False

    @property
    def key(self) -> int:
        """What the namespace is known by."""
        return namespace_key(self.ns, self.ns_id)

    @property
    def unique_ids(self) -> dict[int, int]:
        """Mount id → unique id, from the kernel's list."""
        return {entry.mount_id: entry.unique for found in self.lists for entry in found.entries}


class Surveyor:
    """Looks at namespaces, and has fanotify tell of those that it has not seen before.

    Attributes:
        unreadable: how many tables could not be read.
    """

    def __init__(self, probes: Probes, group: MountGroup | None) -> None:
        self._probes = probes
        self._group = group
        self._watched: set[int] = set()
        self.unreadable = 0

    def all_namespaces(self) -> list[MountNamespace]:
        """The namespaces of this machine, also those that no process is in."""
        return list(mount_namespaces(kernel=True).namespaces.values())

    def watched(self, key: int) -> bool:
        """Whether fanotify tells what is detached from a namespace."""
        return key in self._watched

    def forget(self, key: int) -> None:
        """A namespace is no more."""
        if key in self._watched:
            self._watched.discard(key)
            self._probes.unwatch(key)

    def take(self, pids: Iterable[int], path: str, ns: int, reason: str) -> Survey | None:
        """Survey one namespace: None if it is gone.

        Args:
            pids: the processes in it.
            path: where it can be opened.
            ns: its inode number: another one at that path is not looked at.
            reason: why, see :class:`Survey`.
        """
        pid = representative(pids)
        try:
            if os.stat(path).st_ino != ns:
                return None
            ns_id = namespace_id(path) or 0
            self._watch(path, namespace_key(ns, ns_id))
        except OSError:
            return None
        started = time.monotonic_ns()
        listed = self._probes.survey(path)
        table: list[mountinfo.Mount] = []
        try:
            if pid is not None:
                table = mountinfo.read(pid)
        except OSError:
            self.unreadable += 1
            if not listed:
                return None
        return Survey(ns, ns_id, pid, reason, started, time.monotonic_ns(), table, listed=listed)

    def _watch(self, path: str, key: int) -> None:
        if self._group is None or key in self._watched:
            return
        with suppress(OSError):
            self._group.mark(path)
            self._watched.add(key)
            self._probes.watch(key)
