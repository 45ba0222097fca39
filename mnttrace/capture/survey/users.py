# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which processes use a mount, and so keep it busy: by working and root directories, executables,
open files and mappings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from mnttrace.capture.join.identity import User
from mnttrace.linux.statx import mount_of
from mnttrace.linux.text import clean

_LINKS = ("cwd", "root", "exe")


def users(mounts: Mapping[int, str]) -> list[User]:
    """The processes that use mounts; not what the kernel itself uses, as loop devices and swap.

    Args:
        mounts: ids, unique where the kernel has such ids, with the device ("8:1") of each.
    """
    devices = {_hex(device) for device in mounts.values()}
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            found += _of_process(int(entry), mounts, devices)
    return found


def _of_process(pid: int, mounts: Mapping[int, str], devices: set[str]) -> list[User]:
    found = []
    for link, how in _links(pid, devices):
        with suppress(OSError):  # it ended, or closed it
            mount = mount_of(link)
            if mount is not None and mount in mounts:
                comm = Path(f"/proc/{pid}/comm").read_text(errors="backslashreplace").strip()
                found.append(User(mount, pid, comm, how, clean(os.readlink(link))))
    return found


def _links(pid: int, devices: set[str]) -> Iterator[tuple[str, str]]:
    """What leads from a process to files: path of the link, and how the file is used."""
    for name in _LINKS:
        yield f"/proc/{pid}/{name}", name
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            yield f"/proc/{pid}/fd/{descriptor}", f"fd {descriptor}"
    with suppress(OSError):
        mapped = set()
        for line in Path(f"/proc/{pid}/maps").read_bytes().splitlines():
            addresses, _, _, device, inode, *_ = line.split(None, 5)
            if device.decode() in devices and inode not in mapped:
                mapped.add(inode)
                yield f"/proc/{pid}/map_files/{addresses.decode()}", "map"


def _hex(device: str) -> str:
    """A device as /proc/PID/maps has it: "08:01"."""
    major, _, minor = device.partition(":")
    return f"{int(major):02x}:{int(minor):02x}" if minor else ""
