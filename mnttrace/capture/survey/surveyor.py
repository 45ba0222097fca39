# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Surveys of mount namespaces: the mount table of one, as mountinfo and as the kernel's list.

One read a namespace, and no descriptor stays open: that would keep the namespace and its mounts
alive and cause the very leak that is looked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from mnttrace.capture.join.events import Reason, TableRead
from mnttrace.capture.join.mount_list import namespace_key
from mnttrace.linux import entered_mountinfo, mountinfo, proc_mountinfo, statmount
from mnttrace.linux.fanotify import MountGroup
from mnttrace.linux.namespaces import (
    MountNamespace,
    mount_namespaces,
    namespace_id,
    opened_at,
    opened_by_id,
    representative,
    sees_all,
)
from mnttrace.linux.text import clean
from mnttrace.probes.kernel import KernelProbes
from mnttrace.probes.null import NullProbes


class Surveyor:
    """Reads mount tables, and has fanotify report of the namespaces that it had not seen before.

    Args:
        probes: to ask the kernel for lists of mounts.
        group: to watch the namespaces with; None: they are not watched.

    Attributes:
        unreadable: how many tables could not be read.
        hidden_processes: how many processes could not be looked at when all was surveyed last.
    """

    def __init__(self, probes: KernelProbes | NullProbes, group: MountGroup | None = None) -> None:
        self._probes = probes
        self._group = group
        self._watched: set[int] = set()
        self.unreadable = self.hidden_processes = 0

    def forget(self, key: int) -> None:
        """A namespace is no more."""
        self._watched.discard(key)

    def all(self, reason: Reason, everywhere: bool = False) -> Iterator[TableRead]:
        """Survey all namespaces that there are, one after the other.

        Args:
            reason: why.
            everywhere: also look for those that only descriptors and bind mounts keep alive, which
                takes longer.
        """
        found = mount_namespaces(descriptors=everywhere, binds=everywhere, kernel=True)
        self.hidden_processes = len(found.unreadable)
        for namespace in found.namespaces.values():
            read = self.survey(namespace, reason)
            if read is not None:
                yield read

    def some(self, keys: Iterable[int]) -> Iterator[TableRead]:
        """Survey some namespaces, by their keys."""
        wanted = set(keys)
        for namespace in mount_namespaces(kernel=True).namespaces.values():
            if namespace_key(namespace.inum, namespace.namespace_id or 0) in wanted:
                read = self.survey(namespace, "operation")
                if read is not None:
                    yield read

    def survey(self, namespace: MountNamespace, reason: Reason) -> TableRead | None:
        """Survey a namespace that was found, None if it is gone by now.

        Args:
            namespace: one of :func:`mnttrace.linux.namespaces.mount_namespaces`.
            reason: why.
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

    def at(self, path: str, pids: Iterable[int], ns: int, reason: Reason) -> TableRead | None:
        """Survey the namespace at a path, None if it is gone.

        Args:
            path: where it can be opened.
            pids: the processes in it.
            ns: its inode number: another one at that path is not looked at.
            reason: why.
        """
        try:
            with opened_at(path, ns) as held:
                ns_id = namespace_id(held) or 0
                self._watch(held, namespace_key(ns, ns_id))
        except OSError:
            return None
        pid = representative(pids)
        started = time.monotonic_ns()
        is_readable = True
        table: list[mountinfo.Mount] = []
        try:
            table = [_clean_line(line) for line in _mount_table(pid, path, ns, ns_id)]
        except OSError:
            is_readable = False
            if _leads_to(path, ns, ns_id):  # else it ended meanwhile, and there is no table
                self.unreadable += 1
        # After the table: what was there before both, and is listed, had its mount id all the time.
        is_listed = False
        with suppress(OSError), opened_at(path, ns, ns_id or None) as held:
            is_listed = self._probes.survey(held)
        if not is_readable and not is_listed:
            return None
        ended = time.monotonic_ns()
        unique_ids: dict[int, int] = {}
        if not is_listed and statmount.available() and ns_id:
            with suppress(OSError):
                unique_ids = statmount.unique_ids(ns_id)
        is_watched = namespace_key(ns, ns_id) in self._watched
        return TableRead(
            started, ns, ns_id, pid, reason, ended, table, unique_ids, is_watched, is_listed
        )

    def _watch(self, path: str, key: int) -> None:
        if self._group is None or key in self._watched:
            return
        with suppress(OSError):
            self._group.mark(path)
            self._watched.add(key)
            self._probes.watch(path)


def _mount_table(pid: int | None, path: str, ns: int, ns_id: int) -> list[mountinfo.Mount]:
    """The mount table of a namespace from its root on, also of one without a process there.

    Raises:
        OSError: it cannot be read.
    """
    if pid is not None and sees_all(pid):
        table = proc_mountinfo.read(pid)
        if _leads_to(f"/proc/{pid}/ns/mnt", ns, ns_id):  # else it is that of another one
            return table
    if ns_id and statmount.available():
        return [_as_line(mount) for mount in statmount.table(ns_id)]
    with opened_at(path, ns, ns_id or None) as held:
        return mountinfo.parse(entered_mountinfo.read(held), path)


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


def _clean_line(line: mountinfo.Mount) -> mountinfo.Mount:
    """A line of valid Unicode."""
    texts = (line.root, line.mountpoint, line.fstype, line.source, line.super_options)
    if all(map(str.isascii, texts)):
        return line
    root, mountpoint, fstype, source, super_options = map(clean, texts)
    return line._replace(
        root=root,
        mountpoint=mountpoint,
        fstype=fstype,
        source=source,
        super_options=super_options,
        other=tuple(map(clean, line.other)),
    )


def _leads_to(path: str, ns: int, ns_id: int) -> bool:
    with suppress(OSError), opened_at(path, ns, ns_id or None):
        return True
    return False
