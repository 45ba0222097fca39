# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mount tables in forms that tell less than mountinfo: /proc/PID/mounts, and what mount(8) prints.

Neither has mount ids, parents, devices, roots or propagation. Both have the lines in the order of
mountinfo.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mnttrace.errors import ParseError
from mnttrace.linux import mountinfo


class Listed(NamedTuple):
    """A mount as a listing has it; None for what that does not tell.

    Attributes:
        mountpoint: its mount point.
        fstype, source, options, super_options, root: as of :class:`mnttrace.linux.mountinfo.Mount`;
            where `super_options` is None, `options` has both together, if the listing has any.
        mount_id, parent_id: its mount id, and that of its parent.
        above: where the parent is in the listing, if that has a tree; None at its root.
        device: like "8:1".
        propagation: the propagation type, in the words of mount_namespaces(7).
        groups: the peer group, and the master's; None if the listing has no peer groups.
        unbindable: whether it is unbindable, as far as the listing tells; a slave can be, too.
    """

    mountpoint: str
    fstype: str | None = None
    source: str | None = None
    options: str | None = None
    super_options: str | None = None
    root: str | None = None
    mount_id: int | None = None
    parent_id: int | None = None
    above: int | None = None
    device: str | None = None
    propagation: str | None = None
    groups: tuple[int | None, int | None] | None = None
    unbindable: bool = False


_MOUNTS_LINE = re.compile(r"([^ ]*) (/[^ ]*) ([^ ]+) (r[ow](?:,[^\n]*)?) 0 0")
# The source can have " on " in it, and the mount point " type ": the first "on /" and the last
# "type" are taken.
_MOUNT_LINE = re.compile(r"(.*?)(?:^| )on (/.*) type ([^ ]+) \((r[ow](?:,.*)?)\)(?: \[.*\])?")
# Sources of fstab(5), which looks like a mount table.
_TAGS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID=")


def of_proc_mounts(lines: Sequence[str], where: str) -> list[Listed]:
    """The mounts of /proc/PID/mounts, or of an /etc/mtab, in its order.

    Raises:
        ParseError: for the first line that is none of it.
    """
    found = []
    for number, line in enumerate(lines, 1):
        fields = _MOUNTS_LINE.fullmatch(line)
        if fields is None or line.startswith(_TAGS):
            raise ParseError(where, number, "no line of /proc/PID/mounts")
        source, target, fstype = (mountinfo.unescape(text) for text in fields.groups()[:3])
        found.append(Listed(target, fstype, source, fields[4]))
    return found


def of_mount(lines: Sequence[str], where: str) -> list[Listed]:
    """The mounts that mount(8) lists, with or without -l, in its order.

    It prints "?" for characters that a terminal should not get.

    Raises:
        ParseError: for the first line that is none of it.
    """
    found = []
    for number, line in enumerate(lines, 1):
        fields = _MOUNT_LINE.fullmatch(line)
        if fields is None:
            raise ParseError(where, number, "no line of mount(8)")
        source, target, fstype, options = fields.groups()
        found.append(Listed(target, fstype, source, options))
    return found


def is_tag(source: str | None) -> bool:
    """Whether a source is one of fstab(5), as no kernel has it."""
    return source is not None and source.startswith(_TAGS)
