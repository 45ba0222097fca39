# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Each traced call once, by a program of 64 bits or as 32-bit programs make it.

    compat_calls.py 64|32 FOLDER [rmdir]

FOLDER is a shared mount with the directories a, b, c and d. All is unmounted at the end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from compat import call as call_32

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
MS_NOSUID, MS_BIND, MS_PRIVATE, MS_REC = 2, 0x1000, 0x40000, 0x4000
CLONE_NEWNS = 0x20000
F_EMPTY_PATH = 4
NUMBERS = {  # name: (of 64 bits, of 32)
    "mount": (165, 21),
    "umount": (166, 22),  # without flags, where there is one
    "umount2": (166, 52),
    "pivot_root": (155, 217),
    "chroot": (161, 61),
    "setns": (308, 346),
    "unshare": (272, 310),
    "clone": (56, 120),
    "rmdir": (84, 40),
} | {
    name: (number, number)
    for name, number in {
        "open_tree": 428,
        "move_mount": 429,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
        "fspick": 433,
        "clone3": 435,
        "mount_setattr": 442,
    }.items()
}

Call = Callable[..., int]


def calls(bits: str) -> Call:
    """What makes a call by its name; its result, or -errno."""

    def of_64(name: str, *arguments: bytes | int) -> int:
        given = [one if isinstance(one, bytes) else ctypes.c_long(one) for one in arguments]
        rest = [ctypes.c_long(0)] * (5 - len(given))
        result = int(libc.syscall(NUMBERS[name][0], *given, *rest))
        return -ctypes.get_errno() if result < 0 else result

    def of_32(name: str, *arguments: bytes | int) -> int:
        return call_32(NUMBERS[name][1], *arguments)

    return of_64 if bits == "64" else of_32


def child(life: Callable[[], None]) -> None:
    """A process that lives so, until it has ended."""
    pid = os.fork()
    if pid == 0:
        try:
            life()
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@contextmanager
def mounted_elsewhere(done: Call, place: bytes) -> Iterator[None]:
    """A private mount at a place, in a namespace that ends afterwards."""
    (there, is_there), (end, ending) = os.pipe(), os.pipe()

    def life() -> None:
        done("unshare", CLONE_NEWNS)
        done("mount", b"none", b"/", 0, MS_REC | MS_PRIVATE, 0)
        done("mount", b"elsewhere", place, b"tmpfs", 0, 0)
        os.close(ending)
        os.write(is_there, b"!")
        os.read(end, 1)

    pid = os.fork()
    if pid == 0:
        life()
        os._exit(0)
    os.close(is_there)
    assert os.read(there, 1)
    yield
    os.close(ending)
    os.waitpid(pid, 0)


def main() -> None:
    bits, folder = sys.argv[1], sys.argv[2].encode()
    call = calls(bits)

    def done(name: str, *arguments: bytes | int) -> int:
        result = call(name, *arguments)
        assert result >= 0, f"{name} {arguments}: {os.strerror(-result)}"
        return result

    a, b, c, d = (folder + b"/" + one for one in (b"a", b"b", b"c", b"d"))
    done("mount", b"first", a, b"tmpfs", MS_NOSUID, b"size=1m")
    done("umount", a)
    done("mount", b"second", a, b"tmpfs", 0, 0)
    done("mount", a, b, 0, MS_BIND, 0)
    done("umount2", b, 2)
    assert call("umount2", b, 0) < 0

    context = done("fsopen", b"tmpfs", 1)
    done("fsconfig", context, 1, b"source", b"third", 0)
    done("fsconfig", context, 6, 0, 0, 0)
    mount = done("fsmount", context, 1, 2)
    done("move_mount", mount, b"", AT_FDCWD, c, F_EMPTY_PATH)
    tree = done("open_tree", AT_FDCWD, c, 1)
    done("move_mount", tree, b"", AT_FDCWD, d, F_EMPTY_PATH)
    attr = struct.pack("<QQQQ", 8, 0, MS_PRIVATE, 0)  # noexec
    done("mount_setattr", AT_FDCWD, d, 0, attr, len(attr))
    picked = done("fspick", AT_FDCWD, c, 0)
    done("fsconfig", picked, 0, b"ro", 0, 0)
    done("fsconfig", picked, 7, 0, 0, 0)
    for one in (mount, tree, context, picked):
        os.close(one)

    def elsewhere() -> None:
        here = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        done("unshare", CLONE_NEWNS)
        done("setns", here, CLONE_NEWNS)

    def apart() -> None:
        done("unshare", CLONE_NEWNS)
        done("mount", b"none", b"/", 0, MS_REC | MS_PRIVATE, 0)
        done("mount", b"root", b, b"tmpfs", 0, 0)
        os.mkdir(b + b"/old")
        done("pivot_root", b, b + b"/old")
        os.chdir("/")
        done("umount2", b"/old", 2)
        os.mkdir("inner")
        done("chroot", b"/inner")

    child(elsewhere)
    child(apart)
    if done("clone", CLONE_NEWNS | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)
    os.wait()
    # exit_signal is the fifth of its words.
    args = struct.pack("<8Q", CLONE_NEWNS, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    if done("clone3", args, len(args)) == 0:
        os._exit(0)
    os.wait()
    for place in (a, c, d):
        done("umount2", place, 0)
    for removal in sys.argv[3:]:
        # What another namespace has mounted there goes with it.
        with mounted_elsewhere(done, a):
            done(removal, a)
        os.mkdir(a)


if __name__ == "__main__":
    main()
