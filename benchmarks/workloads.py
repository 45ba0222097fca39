# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is timed while something traces it; each prints the seconds that its loop took, and the
seconds of processor time that the thread and its children used for it.

    workloads.py NAME TIMES

It runs where it may mount: a mount namespace of its own, whose folder is the current one.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)
MS_BIND, MS_REC = 0x1000, 0x4000


def checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def pairs(times: int) -> None:
    """A tmpfs mounted and unmounted, at `place/x`."""
    for _ in range(times):
        checked(libc.mount(b"bench", b"place/x", b"tmpfs", 0, None))
        checked(libc.umount2(b"place/x", 0))


def births(times: int) -> None:
    """A process in a mount namespace of its own."""
    for _ in range(times):
        subprocess.run(["unshare", "--mount", "true"], check=True)


def rbind(times: int) -> None:
    """What is mounted in `tree`, bound with all that is on it, and unmounted."""
    for _ in range(times):
        checked(libc.mount(b"tree", b"bound", None, MS_BIND | MS_REC, None))
        checked(libc.umount2(b"bound", 2))  # MNT_DETACH


def containers(times: int) -> None:
    """A container that does nothing, as tests/runtimes prepared it."""
    for _ in range(times):
        with open("container.log", "wb") as log:
            start = ["sh", "-ec", os.environ["CONTAINER"]]
            subprocess.run(start, check=True, stdout=log, stderr=log)


def processes(times: int) -> None:
    """A process that is forked and executed."""
    for _ in range(times):
        subprocess.run(["true"], check=True)


def files(times: int) -> None:
    """A file that is opened, read and closed."""
    for _ in range(times):
        descriptor = os.open("/etc/passwd", os.O_RDONLY)
        os.read(descriptor, 64)
        os.close(descriptor)


def calls(times: int) -> None:
    """A system call that does nothing."""
    for _ in range(times):
        os.getppid()


def processor_time() -> float:
    """Of this thread, and of its children that have ended; in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time() + children.ru_utime + children.ru_stime


NAMED: dict[str, Callable[[int], None]] = {
    one.__name__: one for one in (pairs, births, rbind, containers, processes, files, calls)
}


def main() -> None:
    name, times = sys.argv[1], int(sys.argv[2])
    NAMED[name](max(1, times // 20))  # warm
    start, used = time.monotonic(), processor_time()
    NAMED[name](times)
    print("took", time.monotonic() - start)
    print("used", processor_time() - used, flush=True)


if __name__ == "__main__":
    main()
