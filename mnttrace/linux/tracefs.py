# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""tracefs without a mount point: the file system is opened detached, so no mount table changes.

A mount of it at /sys/kernel/tracing would show up in, and propagate to, what is being observed.
"""

from __future__ import annotations

import ctypes
import os

from mnttrace.errors import MissingPrerequisite

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same numbers on every architecture
_CLOEXEC, _CMD_CREATE = 1, 6
_MOUNTED = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")


def open_tracefs() -> int:
    """A descriptor of tracefs' root directory; the caller closes it.

    Raises:
        MissingPrerequisite: it is neither mounted nor can it be opened detached (before 5.2, or
            without CAP_SYS_ADMIN).
    """
    for path in _MOUNTED:
        if os.path.isdir(f"{path}/events"):
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    context = libc.syscall(_FSOPEN, b"tracefs", _CLOEXEC)
    if context >= 0:
        libc.syscall(_FSCONFIG, context, _CMD_CREATE, None, None, 0)
        root = int(libc.syscall(_FSMOUNT, context, _CLOEXEC, 0))
        os.close(context)
        if root >= 0:
            return root
    raise MissingPrerequisite(
        f"tracefs cannot be opened: {os.strerror(ctypes.get_errno())}",
        "mount -t tracefs tracefs /sys/kernel/tracing",
    )


def tracepoint_id(tracefs: int, name: str) -> int | None:
    """The id of a tracepoint, such as "syscalls/sys_enter_mount"; None if this kernel has none."""
    try:
        file = os.open(f"events/{name}/id", os.O_RDONLY | os.O_CLOEXEC, dir_fd=tracefs)
    except FileNotFoundError:
        return None
    with open(file, encoding="ascii") as stream:
        return int(stream.read())
