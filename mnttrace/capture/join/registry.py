# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Who did it, and whose namespaces they are: rows of the tables `processes` and `namespaces`."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from mnttrace.capture.join.identity import Identity, ProcessHints
from mnttrace.capture.join.limits import PROCESSES_KEPT
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.requests import IdentifyNamespace
from mnttrace.recording.namespaces import unidentified
from mnttrace.recording.rows import NamespaceRow, OperationRow, ProcessRow

_NAMED = frozenset({"container", "unit", "host"})  # kinds of namespaces that need no better name


class _Process(NamedTuple):
    """A process: its row, and the words of its command line."""

    row: ProcessRow
    argv: tuple[str, ...]


class _Namespace(NamedTuple):
    """A namespace that exists.

    Attributes:
        ns: its inode number.
        birth: the operation that made it, None if it was there before.
        is_written: whether it has a row.
        row: the last one of it, without an identity as long as there is none.
    """

    ns: int
    birth: OperationRow | None
    is_written: bool
    row: NamespaceRow


class IdentityRegistry:
    """Knows processes and namespaces from when they are first seen, since they may soon be gone.

    Args:
        out: takes rows, and questions whose a namespace is.

    Attributes:
        count: how many namespaces were seen.
    """

    def __init__(self, out: Outbox) -> None:
        self.count = 0
        self._out = out
        self._processes: OrderedDict[int, _Process] = OrderedDict()
        self._process_of: dict[int, int] = {}
        self._namespaces: dict[int, _Namespace] = {}
        self._asked_now: set[int] = set()  # namespaces of which it was asked what runs in them now

    def __contains__(self, key: int) -> bool:
        """Whether a namespace is known, and has not ended."""
        return key in self._namespaces

    def namespaces(self) -> set[int]:
        """The keys of the namespaces that were seen, but for those that have ended."""
        return set(self._namespaces)

    # ---- processes

    def process_seen(self, row: ProcessRow, argv: tuple[str, ...]) -> None:
        """A process made its first call since it was executed: it may say more of its namespace
        than others did."""
        process = _Process(row, argv)
        self._remember(process)
        self._out.add("processes", row)
        key = row["ns_id"] or row["ns"]
        namespace = self._namespaces.get(key)
        self._rename(key, row)
        # What makes a container may be in that one's cgroup, and works from its maker's namespace,
        # as runc's first two processes do. So one that was there before is not called by it.
        if namespace is None or namespace.birth is None or namespace.row["kind"] in _NAMED:
            return
        if namespace.is_written and not row["comm"].startswith(("runc:[0", "runc:[1")):
            self._out.ask(IdentifyNamespace(key, row["pid"], _hints(process, row["ns"])))

    def thread_identified(self, tid: int, row: ProcessRow | None, argv: tuple[str, ...]) -> None:
        """The process of a thread that made no call was found: it removed a mount point, or ended;
        None: it is gone."""
        if row is None:
            return
        self._process_of[tid] = row["pid"]
        if row["pid"] not in self._processes:
            self._remember(_Process(row, argv))
            self._out.add("processes", row)

    def process_of(self, tid: int) -> int | None:
        """The process of a thread that was identified just now; if that is gone, the process with
        its number that was seen. As long as it is there it is asked: numbers are used again."""
        found = self._process_of.get(tid)
        return tid if found is None and tid in self._processes else found

    def forget_threads(self) -> None:
        """Threads that were identified may be others by the next time."""
        self._process_of.clear()

    def cgroup(self, pid: int) -> str:
        """The cgroup of a process, as it was when it was first seen."""
        process = self._processes.get(pid)
        return process.row["cgroup_path"] if process else ""

    # ---- namespaces

    def namespace_seen(self, key: int, ns: int, pid: int, birth: OperationRow | None) -> None:
        """A namespace was found; if it was not known, it is asked whose it is.

        Args:
            key: what it is known by.
            ns: its inode number.
            pid: a process in it, 0 for none; it may be gone.
            birth: the operation that made it, None if it was there before.
        """
        if key in self._namespaces:
            return
        self.count += 1
        self._namespaces[key] = _Namespace(ns, birth, False, _row(key, ns, birth))
        if pid:
            seen = self._processes.get(birth["pid"]) if birth else None
            hints = _hints(seen, ns) if seen else ProcessHints(ns=ns)
            self._out.ask(IdentifyNamespace(key, pid, hints))
        else:
            self.namespace_identified(key, _unknown(ns))

    def namespace_identified(self, key: int, identity: Identity) -> bool:
        """It became known whose a namespace is; whether that says more than was known."""
        namespace = self._namespaces.get(key)
        if namespace is None:
            return False
        if namespace.is_written and identity.kind not in _NAMED:
            if key in self._asked_now and identity.comm:
                self._call(key, namespace, identity.name)
            return False
        row = _with_identity(namespace.row, identity)
        self._namespaces[key] = namespace._replace(is_written=True, row=row)
        self._out.add("namespaces", row)
        return True

    def last_seen(self, key: int, pid: int) -> None:
        """Write that a process is in a namespace now; the one that was seen first may be gone, or
        be executing something else. Where that process is all that there is to call the namespace
        by, it is asked for its name."""
        namespace = self._namespaces.get(key)
        if namespace is None or not namespace.is_written:
            return
        if namespace.row["pid"] != pid:
            row = namespace.row.copy()
            row["pid"] = pid
            self._namespaces[key] = namespace._replace(row=row)
            self._out.add("namespaces", row)
        if namespace.row["kind"] not in _NAMED:
            self._asked_now.add(key)
            self._out.ask(IdentifyNamespace(key, pid, ProcessHints(ns=namespace.ns)))

    def _rename(self, key: int, row: ProcessRow) -> None:
        """A process shows what the one is now by which its namespace is called: mostly a shell,
        which was executed by the unshare(1) that made it. The process itself shows that only as
        long as the namespace is called by what made it: it may be about to leave for another."""
        namespace = self._namespaces.get(key)
        if namespace is None or namespace.birth is None or namespace.row["kind"] in _NAMED:
            return
        pid, comm = namespace.row["pid"], None
        if row["parent"] == pid:
            comm = row["parent_comm"]
        elif row["pid"] == pid and namespace.row["name"] == f"{namespace.birth['comm']}[{pid}]":
            comm = row["comm"]
        if namespace.is_written and pid and comm:
            self._call(key, namespace, f"{comm}[{pid}]")

    def _call(self, key: int, namespace: _Namespace, name: str) -> None:
        """Write what a namespace is called now."""
        if namespace.row["name"] != name:
            row = namespace.row.copy()
            row["name"] = name
            self._namespaces[key] = namespace._replace(row=row)
            self._out.add("namespaces", row)

    def forget(self, key: int) -> int | None:
        """A namespace has ended; its inode number, None if it was not known."""
        self._asked_now.discard(key)
        namespace = self._namespaces.pop(key, None)
        if namespace is None:
            return None
        self._write_unanswered(key, namespace)
        return namespace.ns

    def write_unanswered(self) -> None:
        """Write the namespaces of which it was never answered whose they are."""
        for key, namespace in list(self._namespaces.items()):
            self._write_unanswered(key, namespace)

    def _write_unanswered(self, key: int, namespace: _Namespace) -> None:
        if not namespace.is_written:
            row = _with_identity(namespace.row, _unknown(namespace.ns))
            self._out.add("namespaces", row)
            if key in self._namespaces:
                self._namespaces[key] = namespace._replace(is_written=True, row=row)

    def _remember(self, process: _Process) -> None:
        pid = process.row["pid"]
        self._processes[pid] = process
        self._processes.move_to_end(pid)
        if len(self._processes) > PROCESSES_KEPT:
            self._processes.popitem(last=False)


def _unknown(ns: int) -> Identity:
    return Identity("process", f"mnt:[{ns}]")


def _row(key: int, ns: int, birth: OperationRow | None) -> NamespaceRow:
    row = unidentified(ns, key)
    if birth:
        row["seq"], row["parent_ns"], row["parent_ns_id"] = (
            birth["seq"],
            birth["ns"],
            birth["ns_id"],
        )
    return row


def _with_identity(row: NamespaceRow, identity: Identity) -> NamespaceRow:
    new = row.copy()
    new["kind"], new["name"], new["id"] = identity.kind, identity.name, identity.id
    new["runtime"], new["image"] = identity.runtime, identity.image
    new["pod"], new["pod_namespace"] = identity.pod, identity.pod_namespace
    new["unit"], new["pid"], new["comm"] = identity.unit, identity.pid, identity.comm
    new["command"] = " ".join(identity.command)
    return new


def _hints(process: _Process, ns: int) -> ProcessHints:
    """What was seen of a process."""
    row = process.row
    command = row["command"]
    return ProcessHints(
        comm=row["comm"],
        cgroup=row["cgroup_path"],
        parent=row["parent"],
        command=process.argv or tuple(command.split(" ") if command else ()),
        ns=ns or row["ns"],
    )
