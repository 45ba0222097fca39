# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Who a mount namespace belongs to: a container, a systemd unit, a process, or the host itself.

What is asked, cheapest first: the process's cgroup and the files that runtimes keep for the
container it names; the runtimes' records of running containers, for one whose first process is in
the same mount namespace; the command lines of the ancestors, for a process that makes or watches
over a container. All are hints of others, and none is asked over a socket. Nothing here raises for
a process that is gone or a file that cannot be read, and no descriptor stays open.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from mnttrace.capture.identity import hints
from mnttrace.capture.identity.containers import Containers, Record, Records, head
from mnttrace.capture.identity.hints import ContainerHint
from mnttrace.capture.join.identity import Identity, ProcessHints
from mnttrace.linux.text import clean

_GENERATIONS = 16  # of ancestors that are looked at
_LONGEST_COMMAND = 1 << 14  # bytes; conmon's has 3 KB
_LONGEST_CGROUP = 1 << 16  # bytes; a path has up to 4 KB, and there are some 13 hierarchies

_LINK = re.compile(r"(?:mnt|user):\[(\d{1,20})\]", re.ASCII)


_NOTHING = ProcessHints()


class Identities:
    """Finds out who mount namespaces belong to; one object for many, as it remembers what it read.

    Args:
        proc: where procfs is mounted.
        root: the directory that has the runtimes' folders (run, var/lib); paths that runtimes
            wrote into their files are taken as they are.
    """

    def __init__(self, proc: str = "/proc", root: str = "/") -> None:
        self._proc = proc
        root = root.rstrip("/")
        self._records = Records(root)
        self._containers = Containers(root)
        self._host = 0

    def of(self, pid: int, seen: ProcessHints = _NOTHING) -> Identity:
        """Who the mount namespace of a process belongs to."""
        process = self._look(pid, seen)
        paths = hints.cgroup_paths(process.cgroup)
        unit = hints.unit_of_cgroups(paths)
        mine = Identity(
            kind="process",
            name=f"{process.comm or '?'}[{pid}]",
            unit=unit,
            comm=process.comm,
            pid=pid,
            command=process.command,
        )
        if process.ns and process.ns == self.host():
            return replace(mine, kind="host", name="host")
        hint = self._hint(process, paths)
        if hint:
            details = self._containers.describe(hint)._asdict()
            return replace(mine, kind="container", id=hint.id, **details)
        if unit and not unit.endswith(".scope"):  # a scope's processes are others' than systemd's
            return replace(mine, kind="unit", name=unit)
        return mine

    def host(self) -> int:
        """The mount namespace of pid 1, inode number; 0 if it cannot be known.

        Where pid 1 may not be looked at, the kernel's own threads show it: they are in the one that
        it was started in.
        """
        if not self._host:
            self._host = self._namespace(1)
            if not self._host and self._file(2, "comm", 16).strip() == "kthreadd":
                self._host = self._namespace(2)
        return self._host

    # ---- hints

    def _hint(self, process: ProcessHints, paths: Sequence[str]) -> ContainerHint | None:
        named = hints.hint_of_cgroups(paths)
        if process.comm.startswith("runc:["):
            # It makes a container, and may be still in the cgroup of whoever wants that.
            made = self._hint_of_ancestors(process)
            if made and named and self._containers.have_one_shim(made, named):
                return named
            return made or named or self._hint_of_records(process, [])
        if named and named.runtime == "podman":  # its conmon knows the name, and where it is kept
            watched = self._hint_of_ancestors(process)
            return watched if watched and watched.id == named.id else named
        return named or self._hint_of_records(process, paths) or self._hint_of_ancestors(process)

    def _hint_of_records(self, process: ProcessHints, paths: Sequence[str]) -> ContainerHint | None:
        """The running container with the same mount namespace, else with the same cgroup."""
        paths = [path for path in paths if path.strip("/")]
        same_cgroup = None
        for record in self._records:
            if process.ns and self._namespace(record.pid) == process.ns and self._holds(record):
                return record.hint
            if not (same_cgroup or record.foreign) and _ends_with_any(record.cgroups, paths):
                same_cgroup = record.hint
        return same_cgroup

    def _holds(self, record: Record) -> bool:
        """Is it still that process, and may the record's writer say whose it is?

        A user's own runtime runs in a user namespace of that user, never in that of the host.
        """
        if record.start and self._stat(record.pid)[19:20] != [str(record.start)]:
            return False
        if not record.foreign:
            return True
        return self._link(record.pid, "user") not in (0, self._link("self", "user"))

    def _hint_of_ancestors(self, process: ProcessHints) -> ContainerHint | None:
        """What the nearest ancestor says that is outside of a namespace and made or watches it."""
        inside, command, parent = process.ns, process.command, process.parent
        # A child that runs on without an exec has the arguments of its parent, if that is gone.
        if hints.program(command) in hints.FORKING and self._is_gone(parent):
            return hints.hint_of_command(command)
        for _ in range(_GENERATIONS):
            if not parent:
                return None
            if self._is_outside(parent, inside):
                hint = hints.hint_of_command(self._command(parent))
                if hint:
                    return hint
            inside, parent = self._namespace(parent), self._parent(parent)
        return None

    def _is_gone(self, pid: int) -> bool:
        return pid != 1 and not self._namespace(pid)

    def _is_outside(self, pid: int, ns: int) -> bool:
        return not ns or self._namespace(pid) != ns

    # ---- /proc

    def _look(self, pid: int, seen: ProcessHints) -> ProcessHints:
        """A process as it is now; what is not there now, as it was seen."""
        ns = self._namespace(pid)
        if seen.ns and ns and ns != seen.ns:
            return seen
        return ProcessHints(
            comm=self._file(pid, "comm", 64).removesuffix("\n") or seen.comm,
            cgroup=self._file(pid, "cgroup", _LONGEST_CGROUP) or seen.cgroup,
            parent=self._parent(pid) or seen.parent,
            command=self._command(pid) or seen.command,
            ns=ns or seen.ns,
        )

    def _file(self, pid: int, name: str, limit: int) -> str:
        return os.fsdecode(head(f"{self._proc}/{pid}/{name}", limit))

    def _command(self, pid: int) -> tuple[str, ...]:
        text = self._file(pid, "cmdline", _LONGEST_COMMAND).rstrip("\0")
        return tuple(text.split("\0")) if text else ()

    def _stat(self, pid: int) -> list[str]:
        """The fields of /proc/PID/stat after the name, from the state on (proc_pid_stat(5))."""
        return self._file(pid, "stat", 4096).rpartition(")")[2].split()

    def _parent(self, pid: int) -> int:
        parent = "".join(self._stat(pid)[1:2])
        return int(parent) if re.fullmatch(r"[0-9]{1,10}", parent, re.ASCII) else 0

    def _namespace(self, pid: int) -> int:
        return self._link(pid, "mnt")

    def _link(self, pid: int | str, kind: str) -> int:
        """The inode number of a process's namespace, 0 if it is not to be had; opens nothing."""
        try:
            link = _LINK.fullmatch(os.readlink(f"{self._proc}/{pid}/ns/{kind}"))
        except OSError:
            return 0
        return int(link[1]) if link else 0


def cleaned(identity: Identity) -> Identity:
    """An identity of valid Unicode."""
    texts: dict[str, Any] = {
        field.name: clean(value)
        for field in fields(identity)
        if isinstance(value := getattr(identity, field.name), str)
    }
    return replace(identity, **texts, command=tuple(map(clean, identity.command)))


def _ends_with_any(texts: Sequence[str], ends: Sequence[str]) -> bool:
    return any(text.endswith(end) for text in texts for end in ends)
