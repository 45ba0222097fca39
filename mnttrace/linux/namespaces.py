# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount namespaces of this machine: which there are, what keeps each alive, how to look inside.

A descriptor of a namespace (or of a process's mountinfo) keeps the namespace and all its mounts
alive. So nothing here returns a descriptor or keeps one: each is closed as soon as the kernel
has answered, before the answer is used.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from mnttrace.linux.flags import CLONE_NEWNS, NAMESPACES

# include/uapi/linux/nsfs.h, as x86, ARM and RISC-V number their ioctls.
NS_GET_USERNS = 0xB701
NS_GET_MNTNS_ID = 0x8008B705  # since 6.11
NS_GET_MNTNS_ID_OLD = 0xB705  # the same, as first declared
NS_MNT_GET_INFO = 0x8010B70A  # these three since 6.12
NS_MNT_GET_NEXT = 0x8010B70B
NS_MNT_GET_PREV = 0x8010B70C
_MNT_NS_INFO = struct.Struct("=IIQ")  # size, nr_mounts, mnt_ns_id

_LINK_NAMES = {bit: name.removeprefix("CLONE_NEW").lower() for name, bit in NAMESPACES.items()} | {
    CLONE_NEWNS: "mnt"
}
_LINK = re.compile(r"mnt:\[(\d+)\]")


class Holder(NamedTuple):
    """Something that keeps a mount namespace alive, with a path through which it can be opened.

    `kind` is "process", "thread", "descriptor" or "bind"; `pid` is the process that it was found
    through; `path` is "" for a bind mount that another mount covers.
    """

    kind: str
    pid: int
    path: str


@dataclass
class MountNamespace:
    """A mount namespace that was found.

    Attributes:
        inum: its inode number, the N of "mnt:[N]"; recycled after its death.
        pids: the processes in it, ascending (by the main thread of each).
        others: what else holds it, where that was asked for.
        namespace_id: the kernel's id, never recycled; None where it was not asked for.
        mounts: how many mounts the kernel counts in it, hidden ones among them; None as above.
    """

    inum: int
    pids: list[int] = field(default_factory=list)
    others: list[Holder] = field(default_factory=list)
    namespace_id: int | None = None
    mounts: int | None = None
    proc: str = field(default="/proc", repr=False)

    @property
    def kept_by(self) -> str:
        """What keeps it alive: "process", else the kind of its first other holder.

        "kernel" if only the kernel's own list has it: it is kept by a descriptor that is being
        passed over a socket or is of an unreadable process, by an open mountinfo, or by a bind
        mount in such a namespace.
        """
        if self.pids:
            return "process"
        return self.others[0].kind if self.others else "kernel"

    @property
    def path(self) -> str:
        """A path through which it can be opened, or ""."""
        if self.pids:
            return f"{self.proc}/{self.pids[0]}/ns/mnt"
        return next((holder.path for holder in self.others if holder.path), "")


class Found(NamedTuple):
    """What :func:`mount_namespaces` found, by inode number, and the processes it could not read."""

    namespaces: dict[int, MountNamespace]
    unreadable: frozenset[int]


class KernelNamespace(NamedTuple):
    """An entry of the kernel's own list of mount namespaces."""

    namespace_id: int
    mounts: int


def mount_namespaces(
    proc: str = "/proc",
    *,
    threads: bool = False,
    descriptors: bool = False,
    binds: bool = False,
    kernel: bool = False,
) -> Found:
    """Find the mount namespaces of all processes, in one pass that opens nothing.

    What else may keep a namespace alive costs more, so each has to be asked for:

    Args:
        proc: where procfs is mounted.
        threads: look at every thread; unshare(2) and setns(2) move one thread alone.
            Of a process whose main thread has exited the others are looked at in any case.
        descriptors: look at every open descriptor; those in a socket's queue cannot be seen.
        binds: read the mountinfo of one process of each namespace for bind mounts of nsfs.
        kernel: ask the kernel for its list (:func:`kernel_namespaces`), which has them all, and
            fill in ids and counts of mounts.

    Processes that vanish are left out. Those that may not be looked at (EACCES, EPERM) are in
    `unreadable`; there can be some for root, too.
    """
    search = _Search(proc)
    pids = sorted(int(name) for name in os.listdir(proc) if name.isdecimal())
    for pid in pids:
        search.look_at_process(pid, threads=threads)
    if descriptors:
        for pid in pids:
            search.look_at_descriptors(pid)
    if binds:
        search.look_for_binds()
    if kernel:
        for inum, entry in kernel_namespaces(f"{proc}/self/ns/mnt").items():
            namespace = search.namespace(inum)
            namespace.namespace_id, namespace.mounts = entry
    return Found(search.found, frozenset(search.unreadable))


class _Search:
    """One pass over a procfs."""

    def __init__(self, proc: str) -> None:
        self.proc = proc
        self.found: dict[int, MountNamespace] = {}
        self.unreadable: set[int] = set()

    def namespace(self, inum: int) -> MountNamespace:
        return self.found.setdefault(inum, MountNamespace(inum, proc=self.proc))

    @contextmanager
    def _of(self, pid: int) -> Iterator[None]:
        try:
            yield
        except PermissionError:
            self.unreadable.add(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass

    def look_at_process(self, pid: int, *, threads: bool) -> None:
        leader = None
        with self._of(pid):
            leader = _inode_in_link(f"{self.proc}/{pid}/ns/mnt")
            if leader is not None:
                self.namespace(leader).pids.append(pid)
        if pid not in self.unreadable and (threads or leader is None):
            self._look_at_threads(pid, leader)

    def _look_at_threads(self, pid: int, leader: int | None) -> None:
        with self._of(pid):
            for tid in sorted(map(int, os.listdir(f"{self.proc}/{pid}/task"))):
                path = f"{self.proc}/{pid}/task/{tid}/ns/mnt"
                with self._of(pid):
                    inum = _inode_in_link(path)
                    if inum is not None and inum != leader:
                        self.namespace(inum).others.append(Holder("thread", pid, path))

    def look_at_descriptors(self, pid: int) -> None:
        with self._of(pid):
            for number in os.listdir(f"{self.proc}/{pid}/fd"):
                path = f"{self.proc}/{pid}/fd/{number}"
                with self._of(pid):
                    inum = _inode_in_link(path)
                    if inum is not None:
                        self.namespace(inum).others.append(Holder("descriptor", pid, path))

    def look_for_binds(self) -> None:
        for namespace in list(self.found.values()):
            pid = representative(namespace.pids, self.proc)
            if pid is None:
                continue
            with self._of(pid), suppress(OSError):  # EINVAL of a process that has just died
                # The open file keeps the namespace alive: read it whole, parse it afterwards.
                with open(f"{self.proc}/{pid}/mountinfo", "rb") as table:
                    lines = table.read().splitlines()
                for inum, point in nsfs_binds(map(os.fsdecode, lines)):
                    path = f"{self.proc}/{pid}/root{point}"
                    path = path if _inode(path) == inum else ""
                    self.namespace(inum).others.append(Holder("bind", pid, path))


def _inode_in_link(path: str) -> int | None:
    """The inode number of a mount namespace from the text of its magic link: opens nothing."""
    link = _LINK.fullmatch(os.readlink(path))
    return int(link[1]) if link else None


def _inode(path: str) -> int | None:
    with suppress(OSError):
        return os.stat(path).st_ino
    return None


def namespace_link(kind: int, inum: int) -> str:
    """What the link of a namespace in /proc/PID/ns says, and the root of a mount of it: "mnt:[…]".

    Args:
        kind: its CLONE_NEW… bit.
        inum: its inode number.
    """
    return f"{_LINK_NAMES.get(kind, '?')}:[{inum}]"


def nsfs_binds(mountinfo: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The bind mounts of mount namespaces in the lines of a mountinfo: (inode number, where).

    The mountpoint is unescaped, and relative to the root of the process the lines came from.
    """
    for line in mountinfo:
        fields = line.split(" ")
        link = _LINK.fullmatch(fields[3]) if " - nsfs " in line else None
        if link:
            yield int(link[1]), re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])


def representative(pids: Iterable[int], proc: str = "/proc") -> int | None:
    """The process of a namespace whose mountinfo shows the most of it, or None for no process.

    A chrooted process's mountinfo lacks all mounts outside of its root directory. So the first
    one whose root is "/" is taken; else the one with the shortest root; else any.
    """
    best: tuple[int, int] | None = None
    pid = None
    for pid in pids:
        try:
            root = os.readlink(f"{proc}/{pid}/root")
        except OSError:
            continue
        if root == "/":
            return pid
        if best is None or len(root) < best[0]:
            best = len(root), pid
    return best[1] if best else pid


def sees_all(pid: int, proc: str = "/proc") -> bool:
    """Whether a process has the root directory of its mount namespace, as it seems from outside."""
    with suppress(OSError):
        return os.readlink(f"{proc}/{pid}/root") == "/"
    return False


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of a namespace while the context lasts. Raises OSError."""
    # O_NONBLOCK, so that opening does not wait if the path leads to a fifo by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def namespace_id(path: str) -> int | None:
    """The kernel's id of the mount namespace at a path such as /proc/PID/ns/mnt (>= 6.11).

    None where the kernel has no such ids, or the path leads to something else. Raises OSError
    where it cannot be opened. The namespace is held open only while the kernel is asked.
    """
    with opened(path) as descriptor:
        for request in (NS_GET_MNTNS_ID, NS_GET_MNTNS_ID_OLD):
            with suppress(OSError):  # ENOTTY: not known; EINVAL: another kind of namespace
                return int.from_bytes(fcntl.ioctl(descriptor, request, bytes(8)), "little")
    return None


def owner_user_namespace(path: str) -> int | None:
    """The inode number of the user namespace that owns the mount namespace at a path.

    None where the caller may not know it (EPERM: it is no descendant of the caller's own) or
    the path leads to something else. Raises OSError where it cannot be opened.
    """
    with opened(path) as descriptor:
        try:
            owner = fcntl.ioctl(descriptor, NS_GET_USERNS)
        except OSError:
            return None
        try:
            return os.fstat(owner).st_ino
        finally:
            os.close(owner)


def kernel_namespaces(start: str = "/proc/self/ns/mnt") -> dict[int, KernelNamespace]:
    """The kernel's own list of mount namespaces, by inode number; also those without a process.

    Beside the one at `start`, only those over whose owner the caller has CAP_SYS_ADMIN (later
    kernels ask for the initial pid namespace, too). {} where the kernel has no list (< 6.12).
    Each namespace is held open while the next one is asked for.
    """
    found: dict[int, KernelNamespace] = {}
    with opened(start) as descriptor:
        answer = bytearray(_MNT_NS_INFO.pack(_MNT_NS_INFO.size, 0, 0))
        try:
            fcntl.ioctl(descriptor, NS_MNT_GET_INFO, answer, True)
        except OSError:
            return {}
        found[os.fstat(descriptor).st_ino] = _kernel_namespace(answer)
        for request in (NS_MNT_GET_PREV, NS_MNT_GET_NEXT):
            found.update(_neighbours(descriptor, request))
    return found


@contextmanager
def opened_at(path: str, inum: int, identity: int | None = None) -> Iterator[str]:
    """A path to one mount namespace while the context lasts: a process that one is opened by can
    enter another one meanwhile.

    Args:
        path: where it can be opened, such as /proc/PID/ns/mnt.
        inum: its inode number; identity: its id, if that is known.

    Raises:
        OSError: it is gone, or the path leads to another one (ESTALE).
    """
    with opened(path) as descriptor:
        held = f"/proc/thread-self/fd/{descriptor}"
        is_it = os.fstat(descriptor).st_ino == inum
        if not is_it or identity not in (None, namespace_id(held)):
            raise OSError(errno.ESTALE, f"{path} leads to another namespace")
        yield held


@contextmanager
def opened_by_id(identity: int, start: str = "/proc/self/ns/mnt") -> Iterator[str]:
    """A path through which a mount namespace can be opened while the context lasts, by its id.

    For one without a process, a descriptor or a bind mount that could be found. The namespace is
    held open meanwhile; raises FileNotFoundError where the kernel's list has no such.
    """
    with opened(start) as descriptor:
        for request in (NS_MNT_GET_PREV, NS_MNT_GET_NEXT):
            for found, entry in _walk_neighbours(descriptor, request):
                if entry.namespace_id == identity:
                    yield f"/proc/thread-self/fd/{found}"
                    return
    raise FileNotFoundError(errno.ENOENT, f"no mount namespace has the id {identity}")


def _neighbours(start: int, request: int) -> Iterator[tuple[int, KernelNamespace]]:
    """All namespaces on one side of one in the kernel's list, by inode number."""
    for descriptor, entry in _walk_neighbours(start, request):
        yield os.fstat(descriptor).st_ino, entry


def _walk_neighbours(start: int, request: int) -> Iterator[tuple[int, KernelNamespace]]:
    """All namespaces on one side of one in the kernel's list, each by its descriptor, which is
    open until the next one is asked for."""
    current = os.dup(start)
    try:
        while True:
            answer = bytearray(_MNT_NS_INFO.pack(_MNT_NS_INFO.size, 0, 0))
            try:
                following = fcntl.ioctl(current, request, answer, True)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                return  # ENOENT: the end; EPERM: not for this caller
            os.close(current)
            current = following
            yield current, _kernel_namespace(answer)
    finally:
        os.close(current)


def _kernel_namespace(answer: bytearray) -> KernelNamespace:
    _, mounts, identity = _MNT_NS_INFO.unpack(answer)
    return KernelNamespace(identity, mounts)
