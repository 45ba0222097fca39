# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mount namespaces that are born and end as fast as can be; in each a mount comes and goes.

    storm.py FOLDER COUNT

One process leaves its namespace for a copy of it, COUNT times; one makes COUNT children, each in a
copy of its own; then two at once do so. What is mounted has the source "unshare 7", "clone 7" or
"both 7", and propagates to FOLDER, which is shared, in the namespace where all began; that of both
is in FOLDER-private, and stays where it is.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from fresh import CLONE_NEWNS, SYS_CLONE, done, libc, mount


def mounted(source: str, place: bytes) -> None:
    mount(source.encode(), place)
    done(libc.umount2(place, 0))


def unshared(folder: bytes, count: int) -> None:
    for number in range(count):
        done(libc.unshare(CLONE_NEWNS))
        mounted(f"unshare {number}", folder + b"/place")


def cloned(name: str, folder: bytes, numbers: range) -> None:
    for number in numbers:
        pid = libc.syscall(SYS_CLONE, CLONE_NEWNS | signal.SIGCHLD, 0, 0, 0, 0)
        done(pid)
        if pid == 0:
            mounted(f"{name} {number}", folder + b"/place")
            os._exit(0)
        os.waitpid(pid, 0)


def main() -> None:
    folder, count = sys.argv[1].encode(), int(sys.argv[2])
    apart, half = folder + b"-private", count // 2
    for name, parts in {
        "unshare": [lambda: unshared(folder, count)],
        "clone": [lambda: cloned("clone", folder, range(count))],
        "both": [
            lambda: cloned("both", apart, range(half)),
            lambda: cloned("both", apart, range(half, count)),
        ],
    }.items():
        began = time.monotonic()
        children = []
        for part in parts:
            children.append(os.fork())
            if children[-1] == 0:
                part()
                os._exit(0)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print(name, f"{count / (time.monotonic() - began):.0f} namespaces a second", flush=True)


if __name__ == "__main__":
    main()
