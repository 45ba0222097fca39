# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Child processes in mount namespaces of their own, for the tests of this folder."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mnttrace.linux import namespaces

PREAMBLE = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def unshare(flags=0x20000):  # CLONE_NEWNS
    check(libc.unshare(flags))
    check(libc.mount(None, b"/", None, 0x44000, None))  # MS_REC|MS_PRIVATE
def mount(source, target, fstype=None, flags=0, data=None):
    check(libc.mount(source, target, fstype, flags, data))
def inum(path="/proc/thread-self/ns/mnt"):
    return os.stat(path).st_ino
def ready(*words):
    print(*words, flush=True)
    sys.stdin.readline()
"""


KEEP_DESCRIPTOR = """
home = os.open("/proc/self/ns/mnt", os.O_RDONLY)
unshare()
kept, there = os.open("/proc/self/ns/mnt", os.O_RDONLY), inum()
check(libc.setns(home, 0x20000))
"""


# On one CPU: each gives out namespace ids from a range of its own (6.18, kernel/nstree.c), and a
# namespace can be bound only into one with a lower id (mnt_ns_loop() in fs/namespace.c: EINVAL).
KEEP_BIND = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
unshare()
place = os.path.realpath("kept here")
open(place, "w").close()
gate, done = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    unshare()
    os.close(gate[1])
    os.write(done[1], b"x")
    os.read(gate[0], 1)  # or the end of file, when the parent is killed
    os._exit(0)
os.read(done[0], 1)
there = inum(f"/proc/{pid}/ns/mnt")
mount(f"/proc/{pid}/ns/mnt".encode(), place.encode(), flags=0x1000)
os.write(gate[1], b"x")
os.waitpid(pid, 0)
"""


@contextlib.contextmanager
def child(code: str, cwd: Path | None = None, **env: str) -> Iterator[tuple[int, list[str]]]:
    """A Python process that runs the code up to its ready(); its pid, and what it said there."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | env,
    )
    assert process.stdout
    with process:
        try:
            said = process.stdout.readline().split()
            assert said, "the child died before it was ready"
            yield process.pid, said
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def eventually(is_so: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether it becomes so: other tests may look at the namespaces, too, and hold one a moment."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_dead(identity: int | None) -> bool:
    """Whether the kernel's list lacks a namespace; by its id, for inode numbers are recycled."""
    assert identity is not None
    return all(entry.namespace_id != identity for entry in namespaces.kernel_namespaces().values())


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))
