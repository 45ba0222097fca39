# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Reading the mountinfo of a namespace in which no process is, by entering it."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable

from mnttrace.linux.flags import CLONE, CLONE_NEWNS
from mnttrace.linux.namespaces import opened


def read(path: str) -> str:
    """The mountinfo of the namespace at a path, seen from its root: for one without a process.

    For kernels whose statmount(2) does not reach other namespaces, or that have none: a thread
    enters the namespace, reads, and comes back before it ends, so nothing of it stays held.
    Needs CAP_SYS_ADMIN and CAP_SYS_CHROOT; raises OSError.
    """
    outcome: list[str | OSError] = []

    def visit() -> None:
        try:
            outcome.append(_visit(path))
        except OSError as error:
            outcome.append(error)

    visitor = threading.Thread(target=visit, name="mountinfo")
    visitor.start()
    visitor.join()
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]


def _visit(path: str) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    # setns(2) refuses a thread that shares its root and working directory with others.
    _call(libc.unshare, CLONE["CLONE_FS"])
    # The namespace may have no procfs: take along a descriptor of this one's.
    with opened("/proc/thread-self") as here, opened("/proc/thread-self/ns/mnt") as home:
        with opened(path) as away:
            _call(libc.setns, away, CLONE_NEWNS)
        try:
            table = os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=here)
            with open(table, "rb") as file:
                return os.fsdecode(file.read())
        finally:
            _call(libc.setns, home, CLONE_NEWNS)


def _call(function: Callable[..., int], *arguments: int) -> None:
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
