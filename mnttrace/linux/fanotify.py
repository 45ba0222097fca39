# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts attached to and detached from mount namespaces, as fanotify(7) reports them, since 6.15.

An event has the unique id of a mount and the thread that caused it. Copies that propagation made
have an event of their own in the namespace that they are in, a mount that is moved has one with
both bits, and a namespace that ends has one for each of its mounts. The queue is filled under the
lock of all mount tables (notify_mnt_list() in fs/namespace.c): it is in the order of what happened,
and events of one call are never mixed with those of another.

A mark does not keep its namespace alive. There are no events for changes of propagation or options,
nor for mounts that were there when the namespace was marked.
"""

from __future__ import annotations

import ctypes
import os

from mnttrace.linux.mount_events import FAN_MNT_ATTACH, FAN_MNT_DETACH

FAN_CLOEXEC = 0x1
FAN_NONBLOCK = 0x2
FAN_UNLIMITED_QUEUE = 0x10
FAN_REPORT_TID = 0x100
FAN_REPORT_MNT = 0x4000
FAN_MARK_ADD = 0x1
FAN_MARK_MNTNS = 0x110

_READ_AT_ONCE = 1 << 20


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fanotify_mark.argtypes = [
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint64,
        ctypes.c_int,
        ctypes.c_char_p,
    ]
    return libc


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class MountGroup:
    """A fanotify group for mount namespaces; its descriptor never blocks.

    Raises:
        OSError: EINVAL before 6.15; EPERM without CAP_SYS_ADMIN.
    """

    def __init__(self) -> None:
        flags = FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_REPORT_TID | FAN_REPORT_MNT
        self._libc = _libc()
        self.descriptor = _checked(self._libc.fanotify_init(flags, 0))

    def mark(self, path: str) -> None:
        """Report what happens in a mount namespace from now on.

        Args:
            path: such as /proc/PID/ns/mnt.

        Raises:
            OSError: it is gone (ENOENT, ESRCH), or no mount namespace (EINVAL).
        """
        _checked(
            self._libc.fanotify_mark(
                self.descriptor,
                FAN_MARK_ADD | FAN_MARK_MNTNS,
                FAN_MNT_ATTACH | FAN_MNT_DETACH,
                -1,
                os.fsencode(path),
            )
        )

    def read(self) -> bytes:
        """All events that are in the queue, in order, for
        :func:`mnttrace.linux.mount_events.events`."""
        parts = []
        while True:
            try:
                parts.append(os.read(self.descriptor, _READ_AT_ONCE))
            except BlockingIOError:
                return b"".join(parts)

    def close(self) -> None:
        """End the group and all its marks."""
        os.close(self.descriptor)
