# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables of processes, as /proc/PID/mountinfo has them."""

from __future__ import annotations

import os

from mnttrace.linux.mountinfo import Mount, parse

_AT_ONCE = 1 << 16  # bytes


def read(pid: int | str = "self") -> list[Mount]:
    """The mount table of a process, as it is seen from that process's root directory.

    Nothing stays open: a descriptor of mountinfo keeps the namespace and all its mounts alive.

    The kernel gives a table in pieces of up to a page (143 of them for 10,000 mounts), and mounts
    can change between two of them. So all are read at once, and parsed afterwards.

    Args:
        pid: of a process or thread; or "self", or "thread-self".

    Raises:
        OSError: the process is gone (ENOENT, ESRCH) or a zombie (EINVAL), as happens every day.
        ParseError: the kernel printed what this module does not know.
    """
    path = f"/proc/{pid}/mountinfo"
    table = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(table, _AT_ONCE):
            pieces.append(piece)
    finally:
        os.close(table)
    return parse(b"".join(pieces).decode("utf-8", "surrogateescape"), path)
