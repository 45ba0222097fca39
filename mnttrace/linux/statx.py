# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which mount a path or descriptor is on, by statx(2)."""

from __future__ import annotations

import ctypes
import os

_AT_FDCWD = -100
_AT_NO_AUTOMOUNT = 0x800
_AT_STATX_DONT_SYNC = 0x4000  # does not wait for a server that does not answer
# include/uapi/linux/stat.h; the unique id came with Linux 6.8, the other with 5.8.
_STATX_MNT_ID = 0x1000
_STATX_MNT_ID_UNIQUE = 0x4000
_MASK_AT, _MNT_ID_AT, _SIZE = 0, 144, 256

_libc = ctypes.CDLL(None, use_errno=True)


def mount_of(path: str) -> int | None:
    """The id of the mount that a path leads to, through links such as /proc/PID/cwd.

    Returns:
        The unique id, where the kernel gives it, else the one of mountinfo, which is used again;
        None where it gives neither.

    Raises:
        OSError: as of statx(2).
    """
    result = ctypes.create_string_buffer(_SIZE)
    status = _libc.statx(
        _AT_FDCWD,
        os.fsencode(path),
        _AT_NO_AUTOMOUNT | _AT_STATX_DONT_SYNC,
        _STATX_MNT_ID | _STATX_MNT_ID_UNIQUE,
        result,
    )
    if status:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)
    mask = int.from_bytes(result.raw[_MASK_AT : _MASK_AT + 4], "little")
    if not mask & (_STATX_MNT_ID | _STATX_MNT_ID_UNIQUE):
        return None
    return int.from_bytes(result.raw[_MNT_ID_AT : _MNT_ID_AT + 8], "little")
