"""Mount tables of all mount namespaces, written as changes against the table before.

One read a namespace, and no descriptor stays open: that would keep the namespace and its mounts
alive and cause the very leak that is looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mnttrace.linux import mountinfo, statmount
from mnttrace.linux.namespaces import mount_namespaces, namespace_id, representative

Add = Callable[[str, dict[str, Any]], None]


class Snapshots:
    """The tables as last seen, and the rows that say how they came to be so.

    Args:
        add: takes (table, row), as `recording.writer.Writer.add`.
    """

    def __init__(self, add: Add) -> None:
        self._add = add
        self._tables: dict[int, dict[int, mountinfo.Mount]] = {}
        self._unique: dict[int, int] = {}
        self._pids: dict[int, list[int]] = {}
        self._next = 0
        self.unreadable = 0
        self._has_statmount = statmount.available()

    @property
    def namespaces(self) -> int:
        """How many namespaces have been seen."""
        return len(self._tables)

    def take_all(self, reason: str, operations: int) -> None:
        """Read every namespace that has a process; those that are gone are said to be so."""
        found = mount_namespaces().namespaces
        for ns in list(self._tables):
            if ns not in found:
                self._gone(ns, operations)
        self._pids = {ns: list(entry.pids) for ns, entry in found.items()}
        for ns in found:
            self._take(ns, reason, operations)

    def take(self, namespaces: Iterable[int], reason: str, operations: int) -> None:
        """Read some namespaces, and those that their peer groups and slaves carry events to."""
        wanted = self._receivers(set(namespaces))
        found = mount_namespaces().namespaces
        self._pids = {ns: list(entry.pids) for ns, entry in found.items()}
        for ns in wanted:
            if ns in found:
                self._take(ns, reason if ns in self._tables else "birth", operations)

    def _receivers(self, namespaces: set[int]) -> set[int]:
        """Where a mount made in one of these can turn up: over shared groups, down to slaves."""
        reached = set(namespaces)
        groups: set[int] = set()
        while True:
            for ns in reached:
                groups |= {
                    mount.shared for mount in self._tables.get(ns, {}).values() if mount.shared
                }
            more = {
                ns
                for ns, table in self._tables.items()
                if ns not in reached
                and any(
                    mount.shared in groups or mount.master in groups for mount in table.values()
                )
            }
            if not more:
                return reached
            reached |= more

    def _take(self, ns: int, reason: str, operations: int) -> None:
        pid = representative(self._pids.get(ns, []))
        if pid is None:
            return
        started = time.monotonic_ns()
        try:
            mounts = mountinfo.read(pid)
        except OSError:
            self.unreadable += 1
            return
        ended = time.monotonic_ns()
        unique = self._unique_ids(pid)
        table = {mount.mount_id: mount for mount in mounts}
        first = ns not in self._tables
        before = self._tables.get(ns, {})
        if not first and table == before and reason == "operation":
            return
        snapshot = self._snapshot(ns, started, ended, reason, operations)
        for mount in before.values():
            now = table.get(mount.mount_id)
            if now is None or _is_another(now, mount):
                self._row(snapshot, ns, "removed", mount, None)
        for mount in mounts:
            old = before.get(mount.mount_id)
            if old == mount:
                continue
            change = "added" if old is None or _is_another(mount, old) else "changed"
            self._row(snapshot, ns, "initial" if first else change, mount, unique)
        if first:
            self._describe(ns, pid)
        self._tables[ns] = table

    def _unique_ids(self, pid: int) -> dict[int, int] | None:
        if not self._has_statmount:
            return None
        try:
            ns_id = namespace_id(f"/proc/{pid}/ns/mnt")
            return statmount.unique_ids(ns_id, self._unique) if ns_id else None
        except OSError:
            return None

    def _snapshot(self, ns: int, started: int, ended: int, reason: str, operations: int) -> int:
        self._next += 1
        row = {"snapshot": self._next, "ns": ns, "started": started, "ended": ended}
        self._add("snapshots", row | {"reason": reason, "operations": operations})
        return self._next

    def _gone(self, ns: int, operations: int) -> None:
        now = time.monotonic_ns()
        snapshot = self._snapshot(ns, now, now, "gone", operations)
        for mount in self._tables.pop(ns).values():
            self._row(snapshot, ns, "removed", mount, None)

    def _row(
        self,
        snapshot: int,
        ns: int,
        change: str,
        mount: mountinfo.Mount,
        unique: dict[int, int] | None,
    ) -> None:
        self._add(
            "mounts",
            {
                "snapshot": snapshot,
                "ns": ns,
                "change": change,
                "mount_id": mount.mount_id,
                "mnt_id_unique": unique.get(mount.mount_id) if unique else None,
                "parent_id": mount.parent_id,
                "device": mount.device,
                "root": mount.root,
                "mountpoint": mount.mountpoint,
                "options": mount.options,
                "shared": mount.shared,
                "master": mount.master,
                "propagation": mount.propagation,
                "fstype": mount.fstype,
                "source": mount.source,
                "super_options": mount.super_options,
            },
        )

    def _describe(self, ns: int, pid: int) -> None:
        comm, cgroup = _read(pid, "comm").strip(), _cgroup(_read(pid, "cgroup"))
        container = _container(cgroup, comm)
        self._add(
            "namespaces",
            {
                "ns": ns,
                "pid": pid,
                "comm": comm,
                "cgroup": cgroup,
                "name": container or f"{comm}[{pid}]",
                "container": container is not None,
            },
        )


def _is_another(now: mountinfo.Mount, before: mountinfo.Mount) -> bool:
    """Is a mount id used for another mount than before? Device, root and place tell."""
    return (now.device, now.root, now.fstype) != (before.device, before.root, before.fstype)


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="surrogateescape")
    except OSError:
        return ""


def _cgroup(text: str) -> str:
    """The longest path of /proc/PID/cgroup: a runtime makes one in every hierarchy it uses."""
    return max((line.split(":", 2)[2] for line in text.splitlines() if line), key=len, default="")


def _container(cgroup: str, comm: str) -> str | None:
    """The container that a cgroup path names, as docker, podman and containerd make them."""
    last = cgroup.rstrip("/").rpartition("/")[2].removesuffix(".scope")
    name = last.rpartition("-")[2]
    if len(name) == 64 and all(digit in "0123456789abcdef" for digit in name):
        return name[:12]
    if last and (comm.startswith("runc:[") or Path(f"/run/runc/{last}/state.json").is_file()):
        return last
    return None
