# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The real kernel as the judge: processes in namespaces that do as told, and tables to compare.

:class:`Kernel` starts the processes (worker.py) and reads the mount tables of their namespaces.
:class:`Likeness` holds such tables against others: those of the model, or those of a recording.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mnttrace.analysis.model.mounts import Mount, MountId, Namespace, place_of
from mnttrace.analysis.model.tables import Tables
from mnttrace.capture.join.mount_list import namespace_key
from mnttrace.linux import mountinfo, namespaces, proc_mountinfo, statmount
from mnttrace.linux.btf import Btf

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 30  # seconds until a process that does not answer is a failure


@dataclass
class Process:
    """A process in a mount namespace, and the other end of its socket.

    Attributes:
        name: of its namespace, for tables.
        pid: of the process.
        namespace_id: the kernel's id of its namespace, or its inode number where the kernel tells
            none; 0 of the outer one.
    """

    name: str
    commands: socket.socket
    pid: int = 0
    namespace_id: int = 0

    def do(self, command: str, *, descriptor: int | None = None, **arguments: object) -> Any:
        """Have it carry out a command of worker.py.

        Raises:
            OSError: that it got from the kernel.
        """
        message = json.dumps({"do": command, **arguments}).encode()
        socket.send_fds(self.commands, [message], [] if descriptor is None else [descriptor])
        answer = self.commands.recv(65536)
        assert answer, f"the process of {self.name} died of {command} {arguments}"
        told = json.loads(answer)
        if "error" in told:
            raise OSError(told["error"], os.strerror(told["error"]), command)
        return told["value"]

    def end(self) -> None:
        """End it, and wait until the kernel has."""
        with open_pidfd(self.pid) as pidfd:
            self.commands.close()
            ended, _, _ = select.select([pidfd], [], [], PATIENCE)
        assert ended, f"the process of {self.name} does not end"


@contextlib.contextmanager
def open_pidfd(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


class Kernel:
    """Processes in mount namespaces, by the names of these; `with` ends them all.

    Args:
        directory: an empty one, to mount the root of the first namespace on.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, Process] = {}

    def __enter__(self) -> Kernel:
        ours, theirs = _sockets()
        self._outer = subprocess.Popen(
            [sys.executable, str(WORKER), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._outer_process = Process("outer", ours, self._outer.pid)
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever has come of the others: they are all of one session.
        for process in (*self.processes.values(), self._outer_process):
            process.commands.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._outer.pid, signal.SIGKILL)
        self._outer.wait()

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def first(self, name: str) -> Process:
        """A process in a namespace with nothing but a private tmpfs as its root directory."""
        return self._born(self._outer_process, name, root=str(self.directory), user=False)

    def copy(self, source: str, name: str, *, user: bool = False) -> Process:
        """A process in a copy of another one's namespace, in a user namespace of its own or not."""
        return self._born(self.processes[source], name, root=None, user=user)

    def _born(self, parent: Process, name: str, *, root: str | None, user: bool) -> Process:
        ours, theirs = _sockets()
        with theirs:
            pid = parent.do("namespace", descriptor=theirs.fileno(), root=root, user=user)
        process = Process(name, ours, pid)
        path = f"/proc/{pid}/ns/mnt"
        inum = os.stat(path).st_ino
        process.namespace_id = namespace_key(inum, namespaces.namespace_id(path) or 0)
        self.processes[name] = process
        return process

    def end(self, name: str) -> None:
        """End a process, and with it its namespace."""
        self.processes.pop(name).end()

    def tables(self) -> Tables:
        """The mount tables of all namespaces, as the kernel has them now."""
        return tables_of({name: self.table(name) for name in self.processes})

    def table(self, name: str) -> list[Line]:
        """The mount table of one namespace; from 7.x on without rootfs, which lies below all root
        directories and which mountinfo does not show."""
        process = self.processes[name]
        if not tells_unique_ids():
            return [_line_of_mountinfo(mount) for mount in proc_mountinfo.read(process.pid)]
        found = statmount.table(process.namespace_id)
        return [_line_of_statmount(mount) for mount in found if mount.filesystem != "rootfs"]


class Line(NamedTuple):
    """A mount of a table: by its unique id if the kernel tells that, else by its recycled one."""

    id: int
    parent: int
    device: str
    root: str
    mount_point: str
    group: int | None
    master: int | None
    unbindable: bool


def _line_of_statmount(mount: statmount.StatMount) -> Line:
    return Line(
        mount.unique_id,
        mount.parent_unique_id,
        f"{mount.major}:{mount.minor}",
        mount.root,
        mount.mount_point,
        mount.peer_group or None,
        mount.master or None,
        mount.unbindable,
    )


def _line_of_mountinfo(mount: mountinfo.Mount) -> Line:
    return Line(
        mount.mount_id,
        mount.parent_id,
        mount.device,
        mount.root,
        mount.mountpoint,
        mount.shared,
        mount.master,
        mount.unbindable,
    )


@cache
def tells_unique_ids() -> bool:
    """Whether the tables of all namespaces can be read by unique ids: not before Linux 6.11."""
    return namespaces.namespace_id("/proc/self/ns/mnt") is not None


@cache
def is_modelled() -> bool:
    """Whether this kernel is like Linux 6.17 and 6.18, which the model is of: 7.x lets mounts be
    put beneath root directories, and what a namespace copies stays unbindable there."""
    return Btf.load().has("mount.mnt_t_flags") and not _goes_beneath_root_directories()


def _goes_beneath_root_directories() -> bool:
    with TemporaryDirectory() as directory, Kernel(Path(directory)) as kernel:
        process = kernel.first("host")
        tree = process.do("open_tree", path="/a", recursive=False)
        try:
            process.do("attach", tree=tree, path="/", beneath=True)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True


def _sockets() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    return ours, theirs


def error_name(error: OSError) -> str:
    assert error.errno is not None
    return errno.errorcode[error.errno]


def tables_of(seen: Mapping[Namespace, Iterable[Line]]) -> Tables:
    """What the kernel tells of namespaces, as tables."""
    mounts = []
    for ns, lines in seen.items():
        by_id = {line.id: line for line in lines}
        for line in by_id.values():
            parent = by_id.get(line.parent)
            path = line.mount_point
            place = place_of(path, parent.mount_point, parent.root) if parent else "/"
            mounts.append(
                Mount(
                    line.id,
                    ns,
                    line.parent,
                    place,
                    line.device,
                    line.root,
                    line.group,
                    line.master,
                    line.unbindable,
                )
            )
    return Tables(mounts)


@dataclass
class Likeness:
    """Which mount and which peer group of some tables is which of others, from step to step.

    Tables are alike when their namespaces have the same trees of mounts (path, stacking order,
    root, device), and the same groups and masters but for their numbers. And from one comparison
    to the next the same mounts and groups have to be the same: a copy at the place of a mount that
    should have been moved is no likeness.
    """

    mounts: dict[MountId, MountId] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)

    def check(self, model: Tables, kernel: Tables) -> None:
        """Compare the namespaces of the second tables; and those of the first with them.

        Raises:
            AssertionError: that shows both, and the first difference.
        """
        mounts: dict[MountId, MountId] = {}
        groups: dict[int, int] = {}
        problem = (
            _different_namespaces(model, kernel)
            or self._different_mounts(model, kernel, mounts)
            or self._different_groups(model, kernel, mounts, groups)
        )
        if problem:
            raise AssertionError(
                f"{problem}\n--- model\n{render(model)}\n--- kernel\n{render(kernel)}"
            )
        self.mounts, self.groups = mounts, groups

    def _different_mounts(
        self, model: Tables, kernel: Tables, mounts: dict[MountId, MountId]
    ) -> str:
        pairs = [
            (one, other)
            for ns in _namespaces(kernel)
            for one, other in zip(_tops(model, ns), _tops(kernel, ns), strict=True)
        ]
        for one, other in pairs:  # grows meanwhile
            where = f"{one.ns} {model.path(one.id)}"
            if _looks(one) != _looks(other):
                return f"{where}: {_looks(one)} in the model, {_looks(other)} in the kernel"
            if self.mounts.get(one.id, other.id) != other.id:
                return f"{where}: not the mount that it was"
            mounts[one.id] = other.id
            ours = {child.place: child for child in model.children(one.id)}
            theirs = {child.place: child for child in kernel.children(other.id)}
            if ours.keys() != theirs.keys():
                return f"{where}: mounts at {sorted(ours)} in the model, {sorted(theirs)}"
            pairs += [(ours[place], theirs[place]) for place in ours]
        return ""

    def _different_groups(
        self,
        model: Tables,
        kernel: Tables,
        mounts: Mapping[MountId, MountId],
        groups: dict[int, int],
    ) -> str:
        back: dict[int, int] = {}
        for ours, theirs in mounts.items():
            one, other = model.mounts[ours], kernel.mounts[theirs]
            for what, a, b in (
                ("group", one.group, other.group),
                ("master", one.master, other.master),
            ):
                where = f"{one.ns} {model.path(ours)}: {what} {a} in the model, {b} in the kernel"
                if a is None or b is None:
                    if a != b:
                        return where
                elif groups.setdefault(a, b) != b or back.setdefault(b, a) != a:
                    return f"{where}, which are {groups[a]} and {back.get(b)} elsewhere"
                elif self.groups.get(a, b) != b:
                    return f"{where}: not the group that it was"
        return ""


def _looks(mount: Mount) -> tuple[object, ...]:
    return mount.device, mount.root, mount.unbindable


def _tops(tables: Tables, ns: Namespace) -> list[Mount]:
    return [mount for mount in tables.in_namespace(ns) if mount.parent not in tables.mounts]


def _namespaces(tables: Tables) -> list[Namespace]:
    return list(tables.roots)


def _different_namespaces(model: Tables, kernel: Tables) -> str:
    counts = [
        {ns: len(tables.in_namespace(ns)) for ns in _namespaces(tables)}
        for tables in (model, kernel)
    ]
    return "" if counts[0] == counts[1] else f"mounts: {counts[0]} in the model, {counts[1]}"


def render(tables: Tables) -> str:
    """All mounts, a line each, those that cover others after them."""
    lines = []
    for ns in _namespaces(tables):
        for top in _tops(tables, ns):
            depth = {top.id: 0}
            for mount in tables.tree(top.id):
                level = depth.setdefault(mount.id, depth.get(mount.parent, 0) + 1)
                kinds = [mount.propagation, "locked" if mount.locked else ""]
                lines.append(
                    f"{ns} {'  ' * level}{tables.path(mount.id)} (at {mount.place}) "
                    f"{mount.device}{mount.root} shared:{mount.group} master:{mount.master} "
                    f"{' '.join(filter(None, kinds))} [{mount.id}]"
                )
    return "\n".join(lines)
