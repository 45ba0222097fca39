# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that come and go where the caller's root directory is not that of its namespace.

    roots.py FOLDER ROUNDS ROOT

A process gets a root directory in FOLDER, which is a mount (ROOT says how), and mounts and unmounts
there, each of WAYS so many times. Nothing waits but for the step before. In the end it leaves a
mount, and its thread id is printed, and where the mount is by the mount table of a process with the
namespace's root.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE = 1, 0x20, 0x1000, 0x2000
MS_UNBINDABLE, MS_PRIVATE = 0x20000, 0x40000
MNT_DETACH = 2
AT_FDCWD = -100
MOVE_MOUNT_F_EMPTY_PATH, OPEN_TREE_CLONE = 4, 1
FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 1, 6
SYS_PIVOT_ROOT = {"x86_64": 155}.get(os.uname().machine, 41)
SYS_SETNS = {"x86_64": 308}.get(os.uname().machine, 268)
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_FSCONFIG = 428, 429, 430, 431
SYS_FSMOUNT, SYS_MOUNT_SETATTR = 432, 442

libc = ctypes.CDLL(None, use_errno=True)


def done(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def syscall(*arguments: object) -> int:
    return done(libc.syscall(*arguments))


def mount(source: bytes | None, target: bytes, flags: int = 0, fstype: bytes = b"tmpfs") -> None:
    """Mount a file system, or with flags do what they say."""
    done(libc.mount(source, target, None if flags else fstype, flags, None))


def umount(target: bytes, flags: int = 0) -> None:
    done(libc.umount2(target, flags))


def nothing(folder: str) -> None:
    """Do nothing."""


# ---- how a process comes to its root and working directories


def to_mount(folder: str) -> None:
    os.chroot(folder)
    os.chdir("/")


def to_directory(folder: str) -> None:
    os.chroot(f"{folder}/deep/er")
    os.chdir("/")


def to_nested(folder: str) -> None:
    to_mount(folder)
    os.chroot("deep/er")
    os.chdir("/")


def to_mount_with_cwd_outside(folder: str) -> None:
    os.chdir(f"{folder}/deep")
    os.chroot("er")


def to_entered(folder: str) -> None:
    """The mount namespace of the parent, by now."""
    descriptor = os.open(f"/proc/{os.getppid()}/ns/mnt", os.O_RDONLY)
    syscall(SYS_SETNS, descriptor, CLONE_NEWNS)
    to_directory(folder)


def to_own_namespace(folder: str) -> None:
    done(libc.unshare(CLONE_NEWNS))


def make_new_root(folder: str) -> None:
    to_own_namespace(folder)
    mount(None, b"/", MS_PRIVATE)
    os.mkdir(f"{folder}-new")
    mount(b"new", f"{folder}-new".encode())
    mount(None, f"{folder}-new".encode(), MS_PRIVATE)
    os.makedirs(f"{folder}-new/old")
    os.mkdir(f"{folder}-new/proc")
    mount(b"proc", f"{folder}-new/proc".encode(), fstype=b"proc")


def pivot(folder: str) -> None:
    os.chdir(f"{folder}-new")
    syscall(SYS_PIVOT_ROOT, b".", b"old")


class Root(NamedTuple):
    """A root directory.

    Attributes:
        enter: makes it that of the process.
        path: where it lies in the folder.
        working: where the working directory lies in the folder.
        begins: what paths in the folder begin with in the namespace.
        receives: how many namespaces receive what is mounted, where that is shared.
        before, meanwhile, after: what the parent does, which has the namespace's root: before it
            makes the process, before that enters, and after that.
    """

    enter: Callable[[str], None]
    path: str
    working: str = ""
    begins: str = ""
    receives: int = 2
    before: Callable[[str], None] = nothing
    meanwhile: Callable[[str], None] = nothing
    after: Callable[[str], None] = nothing


DEEP = "/deep/er"
ROOTS = {
    "mount": Root(to_mount, ""),
    "directory": Root(to_directory, DEEP),
    "nested": Root(to_nested, DEEP),
    "outside": Root(to_mount_with_cwd_outside, DEEP, working="/deep"),
    "entered": Root(to_entered, DEEP, receives=3, meanwhile=to_own_namespace),
    "pivoted": Root(
        to_directory, DEEP, begins="/old", receives=3, before=make_new_root, after=pivot
    ),
}


# ---- how mounts come and go


def absolute(source: bytes) -> None:
    mount(source, b"/a")
    umount(b"/a")


def lazily(source: bytes) -> None:
    mount(source, b"/a")
    umount(b"/a", MNT_DETACH)


def dots(source: bytes) -> None:
    mount(source, b"/../b/../../a")
    umount(b"//a/.")


def own_root(source: bytes) -> None:
    mount(source, b"/proc/self/root/a")
    umount(b"/proc/thread-self/root/a")


def descriptor(source: bytes) -> None:
    opened = os.open("/a", os.O_PATH)
    mount(source, b"/proc/self/fd/%d" % opened)
    os.close(opened)
    opened = os.open("/", os.O_PATH)
    umount(b"/proc/thread-self/fd/%d/a" % opened)
    os.close(opened)


def relative(source: bytes) -> None:
    os.mkdir("here")
    mount(source, b"here")
    umount(b"./here")
    os.rmdir("here")


def bound(source: bytes) -> None:
    mount(b"/private", b"/b", MS_BIND)
    umount(b"/b")


def moved(source: bytes) -> None:
    mount(source, b"/private/a")
    mount(b"/private/a", b"/b", MS_MOVE)
    umount(b"/b")


def changed(source: bytes) -> None:
    mount(source, b"/a")
    mount(None, b"/a", MS_UNBINDABLE)
    mount(None, b"/a", MS_REMOUNT | MS_BIND | MS_RDONLY)
    umount(b"/a")


def new_mount(source: bytes) -> int:
    context = syscall(SYS_FSOPEN, b"tmpfs", 0)
    syscall(SYS_FSCONFIG, context, FSCONFIG_SET_STRING, b"source", source, 0)
    syscall(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
    made = syscall(SYS_FSMOUNT, context, 0, 0)
    os.close(context)
    return made


def new_calls(source: bytes) -> None:
    made = new_mount(source)
    syscall(SYS_MOVE_MOUNT, made, b"", AT_FDCWD, b"/private/a", MOVE_MOUNT_F_EMPTY_PATH)
    os.close(made)
    syscall(SYS_MOVE_MOUNT, AT_FDCWD, b"/private/a", AT_FDCWD, b"/b", 0)
    attributes = (ctypes.c_uint64 * 4)(0, 0, MS_UNBINDABLE, 0)
    syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/b", 0, attributes, 32)
    umount(b"/b")


def new_calls_at(source: bytes) -> None:
    root = os.open("/", os.O_PATH)
    tree = syscall(SYS_OPEN_TREE, root, b"private", OPEN_TREE_CLONE)
    syscall(SYS_MOVE_MOUNT, tree, b"", root, b"a", MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)
    umount(b"/a")
    os.close(root)


class Done(NamedTuple):
    """A call, and what comes of it.

    Attributes:
        syscall: its name.
        path: its path, from the root directory on; "./": from the working directory on.
        effect: of it where it is made: attach, detach, move, change; "" for none.
        source: its source's path, likewise; None: it has none in the namespace.
        passes: whether it propagates, as an attach or a detach.
    """

    syscall: str
    path: str
    effect: str
    source: str | None = None
    passes: bool = True


class Way(NamedTuple):
    """How mounts come and go: with a source, and the calls that makes."""

    does: Callable[[bytes], None]
    calls: tuple[Done, ...]


def _at(path: str) -> tuple[Done, Done]:
    return Done("mount", path, "attach"), Done("umount2", path, "detach")


WAYS = {
    "absolute": Way(absolute, _at("/a")),
    "lazily": Way(lazily, _at("/a")),
    "dots": Way(dots, _at("/a")),
    "own-root": Way(own_root, _at("/a")),
    "descriptor": Way(descriptor, _at("/a")),
    "relative": Way(relative, _at("./here")),
    "bound": Way(
        bound, (Done("mount", "/b", "attach", "/private"), Done("umount2", "/b", "detach"))
    ),
    "moved": Way(
        moved,
        (
            Done("mount", "/private/a", "attach", passes=False),
            Done("mount", "/b", "move", "/private/a"),
            Done("umount2", "/b", "detach"),
        ),
    ),
    "changed": Way(
        changed,
        (
            Done("mount", "/a", "attach"),
            Done("mount", "/a", "change", passes=False),
            Done("mount", "/a", "change", passes=False),
            Done("umount2", "/a", "detach"),
        ),
    ),
    "new-calls": Way(
        new_calls,
        (
            Done("move_mount", "/private/a", "attach", passes=False),
            Done("move_mount", "/b", "move", "/private/a"),
            Done("mount_setattr", "/b", "change", passes=False),
            Done("umount2", "/b", "detach"),
        ),
    ),
    "new-calls-at": Way(
        new_calls_at,
        (
            Done("open_tree", "/private", "", passes=False),
            Done("move_mount", "/a", "attach"),
            Done("umount2", "/a", "detach"),
        ),
    ),
}


def furnish(place: str) -> None:
    """Make a folder one that all ways can be gone in."""
    for name in ("a", "b", "proc", "private", "truth"):
        os.makedirs(f"{place}/{name}")
    mount(b"proc", f"{place}/proc".encode(), fstype=b"proc")
    private = f"{place}/private".encode()
    mount(b"private", private)
    mount(None, private, MS_PRIVATE)
    os.mkdir(f"{place}/private/a")


def go(rounds: int) -> None:
    libc.umount2(b"/begin", 0)  # there is no such; here the test begins to look
    for name, way in WAYS.items():
        for number in range(rounds):
            way.does(f"{name}-{number}".encode())
    mount(b"truth", b"/truth")


def main() -> None:
    folder, rounds, root = sys.argv[1], int(sys.argv[2]), ROOTS[sys.argv[3]]
    furnish(folder)
    furnish(f"{folder}{DEEP}")
    root.before(folder)
    theirs, ours = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(theirs[0], 1)
        root.enter(folder)
        os.write(ours[1], b".")
        os.read(theirs[0], 1)
        go(rounds)
        os._exit(0)
    root.meanwhile(folder)
    os.write(theirs[1], b".")
    os.read(ours[0], 1)
    root.after(folder)
    os.write(theirs[1], b".")
    assert os.waitpid(pid, 0)[1] == 0
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        (place,) = (line.split()[4] for line in table if " tmpfs truth " in line)
    sys.stdout.write(f"told {pid} {place}\n")


if __name__ == "__main__":
    main()
