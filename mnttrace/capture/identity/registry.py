"""Who did it, and whose namespaces they are: rows of the tables `processes` and `namespaces`."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress

from mnttrace.capture.identity.hints import cgroup_paths
from mnttrace.capture.identity.identify import Identities, Identity, Seen
from mnttrace.capture.join.effect_rows import Add, Row
from mnttrace.capture.stream.decode import Process

_KEPT = 65536  # processes that are remembered
_NAMED = {"container", "unit", "host"}  # kinds of namespaces that need no better name
_COLUMNS = (
    "kind",
    "name",
    "id",
    "runtime",
    "image",
    "pod",
    "pod_namespace",
    "unit",
    "pid",
    "comm",
)


class People:
    """Looks up processes and namespaces when they are first seen, since they may soon be gone.

    Args:
        add: takes (table, row).

    Attributes:
        namespaces: key → inode number of the mount namespaces that were seen, but for those that
            have ended.
        count: how many were seen.
    """

    def __init__(self, add: Add) -> None:
        self._add = add
        self._identities = Identities()
        self._processes: OrderedDict[int, Row] = OrderedDict()
        self._unnamed: dict[int, Row] = {}
        self._told: dict[int, Row] = {}
        self.namespaces: dict[int, int] = {}
        self.count = 0

    def process(self, process: Process) -> tuple[int, Identity] | None:
        """A process made its first operation since it was executed.

        Returns:
            (key, identity) of its namespace, if this process tells more of it than others did.
        """
        row = process.row
        row["cgroup_path"] = _own_cgroup(row["pid"])
        self._remember(row)
        self._add("processes", row)
        namespace = self._unnamed.get(row["ns_id"])
        # What makes a container may be in that one's cgroup, and works from its maker's namespace,
        # as runc's first two processes do. So one that was there before is not called by it.
        if namespace is None or "seq" not in namespace:
            return None
        if row["comm"].startswith(("runc:[0", "runc:[1")):
            return None
        identity = self._identities.of(row["pid"], _seen(row))
        if identity.kind not in _NAMED:
            return None
        self._write(row["ns_id"], namespace, identity)
        return row["ns_id"], identity

    def process_of(self, tid: int) -> int | None:
        """The process that a thread is of; one that is seen for the first time is written.

        For threads that made no operation: they removed a mount point, or ended.
        """
        if tid in self._processes:
            return tid
        try:
            with open(f"/proc/{tid}/status", encoding="utf-8", errors="surrogateescape") as file:
                status = dict(
                    line.split(":\t", 1) for line in file.read().splitlines() if "\t" in line
                )
            pid = int(status["Tgid"])
            row = {
                "pid": pid,
                "parent": int(status["PPid"]),
                "uid": int(status["Uid"].split()[0]),
                "comm": status["Name"],
                "command": _command(pid),
                "ns": os.stat(f"/proc/{pid}/ns/mnt").st_ino,
                "cgroup_path": _own_cgroup(pid),
            }
        except (OSError, KeyError, ValueError, IndexError):
            return None
        if pid not in self._processes:
            self._remember(row)
            self._add("processes", row)
        return pid

    def cgroup(self, pid: int) -> str:
        """The cgroup of a process, as it was when it was first seen."""
        row = self._processes.get(pid)
        return str(row["cgroup_path"]) if row else ""

    def namespace(self, key: int, ns: int, pid: int, birth: Row | None) -> Identity | None:
        """Write who a mount namespace belongs to, unless that is done; None then.

        Args:
            key: what it is known by.
            ns: its inode number.
            pid: a process in it, 0 for none; it may be gone.
            birth: the operation that made it, None if it was there before.
        """
        if key in self.namespaces:
            return None
        self.namespaces[key] = ns
        self.count += 1
        row: Row = {"ns": ns, "ns_id": key}
        if birth:
            row |= {"seq": birth["seq"], "parent_ns": birth["ns"], "parent_ns_id": birth["ns_id"]}
        told = self._processes.get(birth["pid"]) if birth else None
        identity = Identity("process", f"mnt:[{ns}]")
        if pid:
            identity = self._identities.of(pid, _seen(told, ns) if told else Seen(ns=ns))
        self._write(key, row, identity)
        return identity

    def forget(self, key: int) -> int | None:
        """A namespace has ended; its inode number, None if it was not known."""
        self._unnamed.pop(key, None)
        self._told.pop(key, None)
        return self.namespaces.pop(key, None)

    def last_seen(self, key: int, pid: int) -> None:
        """Write that a process is in a namespace now; the one that was seen first may be gone."""
        told = self._told.get(key)
        if told and told["pid"] != pid:
            self._told[key] = told | {"pid": pid}
            self._add("namespaces", self._told[key])

    def _write(self, key: int, row: Row, identity: Identity) -> None:
        told = {name: getattr(identity, name) for name in _COLUMNS}
        self._told[key] = row | told | {"command": " ".join(identity.command)}
        self._add("namespaces", self._told[key])
        if identity.kind in _NAMED:
            self._unnamed.pop(key, None)
        else:
            self._unnamed[key] = row

    def _remember(self, row: Row) -> None:
        self._processes[row["pid"]] = row
        self._processes.move_to_end(row["pid"])
        if len(self._processes) > _KEPT:
            self._processes.popitem(last=False)


def _seen(row: Row, ns: int = 0) -> Seen:
    """A row of the table `processes` as what was seen of a process."""
    return Seen(
        comm=row["comm"],
        cgroup=row["cgroup_path"],
        parent=row["parent"],
        command=tuple(row["command"].split(" ")),
        ns=ns or row["ns"],
    )


def _own_cgroup(pid: int) -> str:
    """The longest path of /proc/PID/cgroup: what made one put it into every hierarchy it uses."""
    with suppress(OSError), open(f"/proc/{pid}/cgroup", "rb") as file:
        return max(cgroup_paths(os.fsdecode(file.read(1 << 16))), key=len, default="")
    return ""


def _command(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return os.fsdecode(file.read(1024)).replace("\0", " ").rstrip()
    return ""
