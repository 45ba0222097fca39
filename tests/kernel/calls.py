# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Raw mount calls, for scripts that are recorded: `python3 calls.py` and Python code on stdin."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "open_tree_attr": 467,
}


def call(name: str, *arguments: int | str | bytes | None) -> int:
    """A system call; its result, or the negative errno."""
    given = [
        ctypes.c_char_p(os.fsencode(value)) if isinstance(value, str) else value
        for value in arguments
    ]
    # Each a whole register: ctypes would pass an int of 32 bits.
    whole = [ctypes.c_long(value) if isinstance(value, int) else value for value in given]
    if name in NUMBERS:
        result = libc.syscall(ctypes.c_long(NUMBERS[name]), *whole)
    else:
        result = getattr(libc, name)(*whole)
    return -ctypes.get_errno() if result < 0 else int(result)


def mount_attr(set_: int = 0, clear: int = 0, propagation: int = 0) -> bytes:
    """A struct mount_attr."""
    return struct.pack("=QQQQ", set_, clear, propagation, 0)


if __name__ == "__main__":
    exec(compile(sys.stdin.read(), "<calls>", "exec"))
