# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that come and go in namespaces which were born a moment before, as fast as can be.

    fresh.py FOLDER ROUNDS WAY BIRTH

In each round a namespace is born (BIRTH says how), and at once something is mounted in FOLDER and
goes again (WAY says how); then the namespace ends. The source of what is mounted is the number of
the round. Nothing waits but for the step before. FOLDER is shared, FOLDER-private is not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_MOVE, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x2000, 0x4000, 0x40000, 0x80000, 0x100000
MNT_DETACH, MNT_EXPIRE = 2, 4
EAGAIN = 11
SYS_CLONE = {"x86_64": 56}.get(os.uname().machine, 220)

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


@contextmanager
def process(life: Prepared, flags: int = 0) -> Iterator[None]:
    """A process that has begun its life when this goes on, and has ended when it is left."""
    ready, says_ready = os.pipe()
    end, says_end = os.pipe()
    pid = libc.syscall(SYS_CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0)
    done(pid)
    if pid == 0:
        os.close(says_end)
        with contextmanager(life)():
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
        receives: how many namespaces receive what is mounted in a shared folder.
        flags: of the clone that makes the process.
    """

    life: Prepared
    receives: int = 1
    flags: int = 0


BIRTHS = {
    "peer": Birth(unshared(CLONE_NEWNS)),
    "slave": Birth(unshared(CLONE_NEWNS, MS_SLAVE)),
    "private": Birth(unshared(CLONE_NEWNS, MS_PRIVATE), receives=0),
    "user": Birth(unshared(CLONE_NEWUSER | CLONE_NEWNS)),
    "clone": Birth(cloned, flags=CLONE_NEWNS),
    "third": Birth(third_level, receives=2),
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


class Way(NamedTuple):
    """How a mount comes and goes.

    Attributes:
        does: with the mount's source and the folder.
        each: how many mounts that makes in each namespace.
        own: how many of these come to the namespace of the caller.
    """

    does: Callable[[bytes, bytes], None]
    each: int = 1


WAYS = {
    "plain": Way(umounted(0)),
    "lazy": Way(umounted(MNT_DETACH)),
    "expire": Way(umounted(MNT_EXPIRE, MNT_EXPIRE)),
    "tree": Way(tree, each=2),
    "moved": Way(moved),
}


def main() -> None:
    folder, rounds, way, birth = sys.argv[1:]
    born = BIRTHS[birth]
    for number in range(int(rounds)):
        with process(born.life, born.flags):
            WAYS[way].does(f"round-{number}".encode(), folder.encode())


if __name__ == "__main__":
    main()
