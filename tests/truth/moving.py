# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Trees that move in namespaces which were born a moment before, and mounts that come into them.

    moving.py FOLDER

In each round a namespace is born in one of the ways of BIRTHS, in one of WAYS the tree at
FOLDER/here gets to another place of it, and at once something is mounted outside on the same tree,
which comes to both. It goes, and the namespace ends. The source of what is mounted is "way birth
number". Rounds go on until standard input ends; once there was one, a line is written.

FOLDER is the private root of a file system with the directories "there" and "old"; FOLDER/here is a
shared mount with another one at "x".
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from itertools import count

from tests.truth.fresh import (
    AT_FDCWD,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MNT_DETACH,
    MS_MOVE,
    MS_SLAVE,
    SYS_MOVE_MOUNT,
    SYS_PIVOT_ROOT,
    Birth,
    call,
    done,
    libc,
    mount,
    process,
    unshared,
)

BIRTHS = {
    "peer": Birth(unshared(CLONE_NEWNS)),
    "slave": Birth(unshared(CLONE_NEWNS, MS_SLAVE)),
    "user": Birth(unshared(CLONE_NEWUSER | CLONE_NEWNS)),
}


def mount_moves(folder: bytes) -> None:
    mount(folder + b"/here", folder + b"/there", MS_MOVE)


def move_mount(folder: bytes) -> None:
    call(SYS_MOVE_MOUNT, AT_FDCWD, folder + b"/here", AT_FDCWD, folder + b"/there", 0)


def there_and_back(folder: bytes) -> None:
    mount(folder + b"/here", folder + b"/there", MS_MOVE)
    mount(folder + b"/there", folder + b"/here", MS_MOVE)


def pivot_root(folder: bytes) -> None:
    """FOLDER becomes the root, and the old root lies below it."""
    os.chdir(folder)
    call(SYS_PIVOT_ROOT, b".", b"old")


def container(folder: bytes) -> None:
    """FOLDER becomes the root, and the old root goes."""
    os.chdir(folder)
    call(SYS_PIVOT_ROOT, b".", b".")
    done(libc.umount2(b".", MNT_DETACH))


# How the tree moves, and where what is mounted on it comes to then, "{folder}" is FOLDER. A user
# namespace may not take apart what it got as one.
WAYS: dict[str, tuple[Callable[[bytes], None], str, tuple[str, ...]]] = {
    "mount": (mount_moves, "{folder}/there/x/in", ("peer", "slave")),
    "move_mount": (move_mount, "{folder}/there/x/in", ("peer", "slave")),
    "twice": (there_and_back, "{folder}/here/x/in", ("peer", "slave")),
    # The new root may not be shared, nor what it is mounted on.
    "pivot": (pivot_root, "/here/x/in", ("slave",)),
    "container": (container, "/here/x/in", ("slave",)),
}


def rounds() -> Iterator[tuple[str, str]]:
    """Each way with each birth."""
    for way, (_, _, births) in WAYS.items():
        for birth in births:
            yield way, birth


def main() -> None:
    folder = sys.argv[1].encode()
    place = folder + b"/here/x/in"
    for number in count():
        for way, birth in rounds():
            move, born = WAYS[way][0], BIRTHS[birth]
            with process(born.life, born.flags, lambda move=move: move(folder)):
                mount(f"{way} {birth} {number}".encode(), place)
                done(libc.umount2(place, 0))
        if not number:
            print("goes on", flush=True)
        if select.select([0], [], [], 0)[0]:
            return


if __name__ == "__main__":
    main()
