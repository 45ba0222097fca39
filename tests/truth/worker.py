# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Processes in mount namespaces of their own that do as they are told: see harness.py.

The first one stays where it is and only has children. It and all others take commands from a
socket, one JSON object a message, and answer each with {"value": ...} or {"error": errno}. A
process ends when the other end of its socket is closed. In the namespaces there is nothing but
what the commands put there, on a root directory that is a tmpfs.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
MS_BIND, MS_MOVE, MS_REC = 0x1000, 0x2000, 0x4000  # linux/mount.h, up to FSCONFIG_CMD_CREATE
MS_TYPES = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
MNT_DETACH = 2
OPEN_TREE_CLONE, FSCONFIG_CMD_CREATE = 1, 6
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_SET_GROUP, MOVE_MOUNT_BENEATH = 0x4, 0x100, 0x200
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000  # linux/fcntl.h
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# The numbers of these calls are the same on all machines but Alpha.
NR_OPEN_TREE, NR_MOVE_MOUNT, NR_FSOPEN, NR_FSCONFIG, NR_FSMOUNT = 428, 429, 430, 431, 432
NR_MOUNT_SETATTR = 442

NAMES, DEPTH = "ab", 2  # of the directories that are made on each tmpfs

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number: int, *arguments: int | str | None) -> int:
    # Each a whole register: ctypes would pass an int of 32 bits.
    given = [
        ctypes.c_char_p(None if value is None else os.fsencode(value))
        if value is None or isinstance(value, str)
        else ctypes.c_long(value)
        for value in arguments
    ]
    return check(libc.syscall(ctypes.c_long(number), *given))


def call_mount(source: str | None, target: str, fstype: str | None, flags: int) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, fstype)]
    check(libc.mount(*texts, ctypes.c_ulong(flags), None))


def directories() -> list[str]:
    """The directories on each tmpfs, relative to its root."""
    return [
        "/".join(names)
        for depth in range(1, DEPTH + 1)
        for names in itertools.product(NAMES, repeat=depth)
    ]


def furnish(root: int) -> str:
    """Make the directories on a new filesystem, by its root directory, and return its device."""
    for name in directories():
        os.mkdir(name, dir_fd=root)
    return device_of(root)


def device_of(path: str | int) -> str:
    device = os.stat(path).st_dev
    return f"{os.major(device)}:{os.minor(device)}"


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    directory = os.open(path, os.O_PATH)
    try:
        yield directory
    finally:
        os.close(directory)


class Worker:
    """A process in a namespace. Its commands are the methods from `namespace` on."""

    def __init__(self, commands: socket.socket, proc: int) -> None:
        self.commands = commands
        self.proc = proc  # a descriptor of procfs, which cannot be seen from inside
        self.came: list[int] = []  # descriptors that came with the last command
        self.ways = itertools.cycle((self.change_at, self.change_here, self.change_by_descriptor))

    def serve(self) -> None:
        while True:
            message, ancillary, *_ = self.commands.recvmsg(65536, socket.CMSG_SPACE(4))
            if not message:
                return
            self.came = [fd for *_, data in ancillary for fd in array.array("i", data)]
            command = json.loads(message)
            try:
                answer = {"value": getattr(self, command.pop("do"))(**command)}
            except OSError as error:
                answer = {"error": error.errno}
            self.commands.send(json.dumps(answer).encode())

    def be_born(self, commands: int, said: int, go: int, root: str | None, user: bool) -> None:
        """All that a child does in its life, up to its end."""
        try:
            check(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)))
            if root is not None:
                self.leave_all_for(root)
        except OSError as error:
            os.write(said, str(error.errno).encode())
            return
        os.write(said, b"0")
        os.read(go, 1)
        for fd in range(3, 256):
            if fd not in (commands, self.proc):
                with contextlib.suppress(OSError):
                    os.close(fd)
        Worker(socket.socket(fileno=commands), self.proc).serve()

    def leave_all_for(self, root: str) -> None:
        call_mount(None, "/", None, MS_REC | MS_TYPES["private"])
        call_mount("none", root, "tmpfs", 0)
        os.chdir(root)
        check(libc.pivot_root(b".", b"."))
        check(libc.umount2(b".", MNT_DETACH))
        os.chdir("/")
        with opened("/") as tmpfs:
            furnish(tmpfs)

    def map_ids(self, pid: int) -> None:
        for name in ("uid_map", "gid_map"):
            fd = os.open(f"{pid}/{name}", os.O_WRONLY, dir_fd=self.proc)
            os.write(fd, b"0 0 4294967295")
            os.close(fd)

    # Ways to change a propagation type: what leads to the mount is seen otherwise.

    def change_at(self, path: str, to: int, recursive: bool) -> None:
        call_mount(None, path, None, to | (MS_REC if recursive else 0))

    def change_here(self, path: str, to: int, recursive: bool) -> None:
        with opened(".") as before, opened(path) as mount:
            try:
                os.fchdir(mount)
                self.change_at(".", to, recursive)
            finally:
                os.fchdir(before)

    def change_by_descriptor(self, path: str, to: int, recursive: bool) -> None:
        attributes = array.array("Q", [0, 0, to, 0])  # struct mount_attr
        address, size = attributes.buffer_info()[0], 8 * len(attributes)
        flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
        with opened(path) as mount:
            syscall(NR_MOUNT_SETATTR, mount, "", flags, address, size)

    # Commands. Paths are those of the process.

    def namespace(self, root: str | None, user: bool) -> int:
        """Have a child in a new mount namespace; it gets the socket that came with the command.

        With a directory in `root` nothing is left in the namespace but a tmpfs from there.
        """
        [commands] = self.came
        (heard, said), (go, let) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(let)  # so that it is the parent's to let it go
                self.be_born(commands, said, go, root, user)
            finally:
                os._exit(0)
        os.close(said)
        number = int(os.read(heard, 16) or b"5")  # EIO, if it could not even say
        if user and number == 0:
            self.map_ids(pid)
        for fd in (commands, heard, go, let):
            os.close(fd)
        if number:
            raise OSError(number, os.strerror(number))
        return pid

    def mount(self, path: str, fstype: str) -> None:
        call_mount("none", path, fstype, 0)

    def device(self, path: str) -> str:
        return device_of(path)

    def furnish(self, path: str, device: str) -> bool:
        """Make the directories on a filesystem, if it is that to which a path leads."""
        with contextlib.suppress(FileNotFoundError), opened(path) as root:
            if device_of(root) == device:
                furnish(root)
                return True
        return False

    def bind(self, source: str, target: str, recursive: bool) -> None:
        call_mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))

    def move(self, source: str, target: str, beneath: bool) -> None:
        flags = MOVE_MOUNT_BENEATH if beneath else 0
        syscall(NR_MOVE_MOUNT, AT_FDCWD, source, AT_FDCWD, target, flags)

    def set_group(self, source: str, target: str) -> None:
        syscall(NR_MOVE_MOUNT, AT_FDCWD, source, AT_FDCWD, target, MOVE_MOUNT_SET_GROUP)

    def change(self, path: str, to: str, recursive: bool) -> None:
        next(self.ways)(path, MS_TYPES[to], recursive)

    def umount(self, path: str, lazy: bool) -> None:
        check(libc.umount2(os.fsencode(path), MNT_DETACH if lazy else 0))

    def pivot_root(self, new_root: str, put_old: str) -> None:
        check(libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)))

    def remove(self, path: str) -> None:
        """Remove a directory, and make another one of that name."""
        os.rmdir(path)
        os.mkdir(path)

    def open_tree(self, path: str, recursive: bool) -> int:
        flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0)
        return syscall(NR_OPEN_TREE, AT_FDCWD, path, flags)

    def fsmount(self) -> tuple[int, str]:
        context = syscall(NR_FSOPEN, "tmpfs", 0)
        syscall(NR_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        tree = syscall(NR_FSMOUNT, context, 0, 0)
        os.close(context)
        return tree, furnish(tree)

    def open_namespace(self, pid: int, path: str) -> tuple[int, str, str]:
        """A detached mount of the file of a process's mount namespace, with root and device.

        An empty file is made at the path to attach it to.
        """
        open(path, "w").close()
        name = f"{pid}/ns/mnt"
        file = os.open(name, os.O_RDONLY, dir_fd=self.proc)
        number, device = os.fstat(file).st_ino, device_of(file)
        os.close(file)
        tree = syscall(NR_OPEN_TREE, self.proc, name, OPEN_TREE_CLONE)
        return tree, f"mnt:[{number}]", device

    def attach(self, tree: int, path: str, beneath: bool) -> None:
        flags = MOVE_MOUNT_F_EMPTY_PATH | (MOVE_MOUNT_BENEATH if beneath else 0)
        syscall(NR_MOVE_MOUNT, tree, "", AT_FDCWD, path, flags)

    def close(self, tree: int) -> None:
        os.close(tree)

    def chdir(self, path: str) -> None:
        os.chdir(path)


if __name__ == "__main__":
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Of two namespaces the later one then has the higher id, and can be mounted in the other
    # (KEEP_BIND in tests/kernel/linux/children.py).
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not waited for
    Worker(socket.socket(fileno=int(sys.argv[1])), os.open("/proc", os.O_RDONLY)).serve()
