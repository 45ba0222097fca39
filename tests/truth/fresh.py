# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that come and go in namespaces which were born a moment before, as fast as can be.

    fresh.py FOLDER ROUNDS

In each round a namespace is born in one of the ways of BIRTHS, and at once something is mounted and
goes again in one of WAYS; then the namespace ends. The source of what is mounted is "way birth
number". Nothing waits but for the step before. FOLDER is shared, FOLDER-private is not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

AT_FDCWD = -100
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_MOVE, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x2000, 0x4000, 0x40000, 0x80000, 0x100000
MNT_DETACH, MNT_EXPIRE = 2, 4
EAGAIN, EBADF = 11, 9
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_BENEATH = 4, 0x200
# The same numbers on all machines but for clone and pivot_root.
SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT = 429, 430, 431, 432
SYS_CLONE, SYS_PIVOT_ROOT = {"x86_64": (56, 155)}.get(os.uname().machine, (220, 41))

libc = ctypes.CDLL(None, use_errno=True)
Prepared = Callable[[], Iterator[None]]


def done(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source: bytes, target: bytes, flags: int = 0) -> None:
    """Mount a tmpfs, or with flags do what they say."""
    done(libc.mount(source, target, None if flags else b"tmpfs", flags, None))


def set_all(propagation: int) -> None:
    mount(b"none", b"/", MS_REC | propagation)


def call(number: int, *arguments: object) -> int:
    """Make a call; its result."""
    result = int(libc.syscall(number, *arguments, *[0] * (5 - len(arguments))))
    done(result)
    return result


@contextmanager
def process(
    life: Prepared, flags: int = 0, inside: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """A process that has begun its life, and done something, when this goes on, and has ended when
    it is left."""
    ready, says_ready = os.pipe()
    end, says_end = os.pipe()
    pid = libc.syscall(SYS_CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0)
    done(pid)
    if pid == 0:
        os.close(says_end)
        with contextmanager(life)():
            inside()
            os.write(says_ready, b".")
            os.read(end, 1)
        os._exit(0)
    os.close(says_ready)
    os.close(end)
    assert os.read(ready, 1) == b"."
    yield
    os.close(ready)
    os.close(says_end)
    os.waitpid(pid, 0)


# ---- how the namespace is born


def unshared(flags: int, propagation: int = 0) -> Prepared:
    def life() -> Iterator[None]:
        done(libc.unshare(flags))
        if propagation:
            set_all(propagation)
        yield

    return life


def third_level() -> Iterator[None]:
    """A slave that is shared, and a slave of that one."""
    done(libc.unshare(CLONE_NEWNS))
    set_all(MS_SLAVE)
    set_all(MS_SHARED)
    with process(unshared(CLONE_NEWNS, MS_SLAVE)):
        yield


def cloned() -> Iterator[None]:
    yield


class Birth(NamedTuple):
    """How a namespace is born.

    Attributes:
        life: of its first process, up to where the round goes on.
        receives: how many namespaces receive what is mounted in a shared folder; slaves: in how
            many of them it is a slave of the original.
        inside: and how many have what it mounts itself.
        flags: of the clone that makes the process.
    """

    life: Prepared
    receives: int = 1
    inside: int = 1
    flags: int = 0
    slaves: int = 1

    @property
    def is_peer(self) -> bool:
        """Whether others receive what it mounts."""
        return self.inside == 0


BIRTHS = {
    "peer": Birth(unshared(CLONE_NEWNS), inside=0, slaves=0),
    "slave": Birth(unshared(CLONE_NEWNS, MS_SLAVE)),
    "private": Birth(unshared(CLONE_NEWNS, MS_PRIVATE), receives=0, slaves=0),
    "user": Birth(unshared(CLONE_NEWUSER | CLONE_NEWNS)),
    "clone": Birth(cloned, inside=0, flags=CLONE_NEWNS, slaves=0),
    "third": Birth(third_level, receives=2, inside=2),
}


# ---- how the mount comes and goes


def umounted(*flags: int) -> Callable[[bytes, bytes], None]:
    """Mounted, and unmounted by so many calls; all but the last one are to come again."""

    def way(source: bytes, folder: bytes) -> None:
        mount(source, folder + b"/place")
        for flag in flags[:-1]:
            assert libc.umount2(folder + b"/place", flag) == -1
            assert ctypes.get_errno() == EAGAIN
        done(libc.umount2(folder + b"/place", flags[-1]))

    return way


def tree(source: bytes, folder: bytes) -> None:
    mount(source, folder + b"/place")
    os.mkdir(folder + b"/place/below")
    mount(source, folder + b"/place/below")
    done(libc.umount2(folder + b"/place", MNT_DETACH))


def moved(source: bytes, folder: bytes) -> None:
    mount(source, folder + b"-private/place")
    mount(folder + b"-private/place", folder + b"/place", MS_MOVE)
    done(libc.umount2(folder + b"/place", 0))


def beneath(source: bytes, folder: bytes) -> None:
    place = folder + b"/place"
    mount(source, place)
    context = call(SYS_FSOPEN, b"tmpfs", 0)
    call(SYS_FSCONFIG, context, 1, b"source", source, 0)
    call(SYS_FSCONFIG, context, 6, None, None, 0)
    new = call(SYS_FSMOUNT, context, 0, 0)
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH
    call(SYS_MOVE_MOUNT, new, b"", AT_FDCWD, place, flags)
    os.close(new)
    os.close(context)
    done(libc.umount2(place, 0))
    done(libc.umount2(place, 0))


def changed(source: bytes, folder: bytes) -> None:
    """Its slaves lose their master as it goes private."""
    place = folder + b"/place"
    mount(source, place)
    mount(b"none", place, MS_PRIVATE)
    done(libc.umount2(place, 0))


def takes_beneath() -> bool:
    """Whether the kernel knows MOVE_MOUNT_BENEATH (from Linux 6.5 on): flags come first."""
    libc.syscall(SYS_MOVE_MOUNT, -1, b"x", -1, b"x", MOVE_MOUNT_BENEATH)
    return ctypes.get_errno() == EBADF


def mounted(source: bytes, folder: bytes) -> None:
    mount(source, folder + b"/place")


def pivoted(source: bytes, folder: bytes) -> None:
    """What container runtimes do: another root, and all that was there goes."""
    root = folder + b"-private/place"
    mount(source, root)
    os.chdir(root)
    call(SYS_PIVOT_ROOT, b".", b".")  # the old root covers the new one then
    done(libc.umount2(b".", MNT_DETACH))


def nothing(source: bytes, folder: bytes) -> None:
    pass


def removed(_: bytes, folder: bytes) -> None:
    os.rmdir(folder + b"/place")
    os.mkdir(folder + b"/place")


def replaced(_: bytes, folder: bytes) -> None:
    os.rename(folder + b"/other", folder + b"/place")
    os.mkdir(folder + b"/other")


class Way(NamedTuple):
    """How a mount comes and goes.

    Attributes:
        does: with the mount's source and the folder.
        ends_by: the call by which it goes.
        each: how many mounts come and go in each namespace.
        inside: what the new namespace does before; what that mounts is to go.
        comes_by, calls: the calls by which mounts come, and how many calls let them go.
        births: those that it can be done with.
    """

    does: Callable[[bytes, bytes], None]
    ends_by: str = "umount2"
    each: int = 1
    inside: Callable[[bytes, bytes], None] = nothing
    comes_by: frozenset[str] = frozenset({"mount"})
    calls: int = 1
    births: tuple[str, ...] = tuple(BIRTHS)

    @property
    def is_inside(self) -> bool:
        """Whether the new namespace mounts it itself."""
        return self.inside is not nothing


# What a peer mounts comes to where it would have to be removed.
ALONE = tuple(name for name, born in BIRTHS.items() if not born.is_peer)
WAYS = {
    "plain": Way(umounted(0)),
    "lazy": Way(umounted(MNT_DETACH)),
    "expire": Way(umounted(MNT_EXPIRE, MNT_EXPIRE)),
    "tree": Way(tree, each=2),
    "moved": Way(moved),
    "changed": Way(changed),
    "removed": Way(removed, "rmdir", inside=mounted, births=ALONE),
    "replaced": Way(replaced, "rename", inside=mounted, births=ALONE),
    # No parent of the new root may be shared.
    "pivoted": Way(nothing, inside=pivoted, births=("slave", "private", "user")),
}
if takes_beneath():
    by_both = frozenset({"mount", "move_mount"})
    WAYS["beneath"] = Way(beneath, each=2, comes_by=by_both, calls=2)


def rounds() -> Iterator[tuple[str, str]]:
    """Each way with each birth."""
    for way, how in WAYS.items():
        for birth in how.births:
            yield way, birth


def main() -> None:
    folder = sys.argv[1].encode()
    for way, birth in rounds():
        how, born = WAYS[way], BIRTHS[birth]
        for number in range(int(sys.argv[2])):
            source = f"{way} {birth} {number}".encode()
            with process(born.life, born.flags, partial(how.inside, source, folder)):
                how.does(source, folder)


if __name__ == "__main__":
    main()
