# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What fanotify(7) reports of mounts, as :mod:`mnttrace.linux.fanotify` reads it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

FAN_MNT_ATTACH = 0x01000000
FAN_MNT_DETACH = 0x02000000
FAN_Q_OVERFLOW = 0x4000

_METADATA = struct.Struct("=IBBHQii")  # struct fanotify_event_metadata
_INFO = struct.Struct("=BBHIQ")  # struct fanotify_event_info_mnt, with its padding


class MountEvent(NamedTuple):
    """One event: bits of FAN_MNT_*, the thread that caused it, the unique id of the mount; or
    FAN_Q_OVERFLOW alone: events were lost."""

    mask: int
    tid: int
    unique_id: int


def events(data: bytes) -> Iterator[MountEvent]:
    """The events in what was read of a group."""
    at = 0
    while at < len(data):
        length, _, _, header, mask, _, tid = _METADATA.unpack_from(data, at)
        unique_id = 0 if mask & FAN_Q_OVERFLOW else _INFO.unpack_from(data, at + header)[4]
        yield MountEvent(mask, tid, unique_id)
        at += length
