"""Which processes use a mount, and so keep it busy: by working and root directories, executables,
open files and mappings."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mnttrace.capture.join.tables import MountTables, namespace_key
from mnttrace.linux.statx import mount_of

_ASK_AGAIN = 1.0  # seconds between searches while it is recorded: each looks at all processes
_LINKS = ("cwd", "root", "exe")


class User(NamedTuple):
    """One use of a mount.

    Attributes:
        mount: its id, as it was asked for.
        pid: the process.
        comm: its name.
        how: "cwd", "root", "exe", "map" or "fd N".
        path: what it uses, as the kernel tells it: from the root of the process on, if it can.
    """

    mount: int
    pid: int
    comm: str
    how: str
    path: str


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
                found.append(User(mount, pid, comm, how, os.readlink(link)))
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


class Busy:
    """Searches for those who use what could not be unmounted, or a copy of it.

    Args:
        tables: the mount tables, as they are now.

    Attributes:
        unsearched: how often it did not: the last search was but now, or the mount is not known.
    """

    def __init__(self, tables: MountTables) -> None:
        self.unsearched = 0
        self._tables = tables
        self._asked = 0.0

    def users(self, call: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Rows of the table `users` but for their time, for a umount that was refused.

        Args:
            call: its row of the table `operations`.
        """
        target = self._tables.at(namespace_key(call["ns"], call["ns_id"]), call["path"])
        if target and len(self._tables.tree(target.unique)) > 1:
            return  # it is what is mounted there that keeps it busy
        if target is None or time.monotonic() - self._asked < _ASK_AGAIN:
            self.unsearched += 1
            return
        same = {
            mount.unique: mount
            for mount in self._tables.of_device(target.device)
            if mount.root == target.root
        }
        for user in users(dict.fromkeys(same, target.device)):
            told = {"seq": call["seq"], "ns_id": same[user.mount].namespace} | user._asdict()
            yield told | {"mnt_id_unique": told.pop("mount")}
        self._asked = time.monotonic()
