# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Imported mount tables, one a mount namespace: whose each is, and which are of the same one.

Mount ids are those of one machine, and a mount is in one namespace. Tables that share mounts by
their ids are of one namespace; processes in a chroot, or another moment, make them differ. Tables
without ids are only known to be of one namespace where their paths say that they are of one
process.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mnttrace.errors import BadInput
from mnttrace.linux.mount_listings import Listed
from mnttrace.recording.table_forms import ImportedTable

HOST = "host"
_ALIKE = 0.8  # of the mounts of two tables, so that one tells nothing new
# Where processes have their tables in /proc, and copies of it.
_PROCESS = re.compile(r"(.*?)/(?:proc/)?([0-9]{1,9})/(?:task/[0-9]+/)?(?:mountinfo|mounts|comm)")
# What whoever collected a support bundle saw: mostly the host's. Without these folders, files with
# such names in one folder are of one namespace.
_COLLECTOR = re.compile(
    r"(.*?)/(?:proc/(?:(?:thread-)?self/)?|etc/|sos_commands/filesys/)?"
    r"(?:mountinfo|mounts|mount|findmnt|mtab)(?:_-l)?(?:[.](?:txt|json|out|log))?"
)
# Folders that do not say whose a table is.
_FOLDERS = {"", "proc", "etc", "filesys"}


class Place(NamedTuple):
    """What a path says of a mount table.

    Attributes:
        path: the path.
        machine: the folder that stands for the root of the machine; "" if the path says no process.
        pid: of the process, 0 if that is not known.
        name: what to call the table.
    """

    path: str
    machine: str
    pid: int
    name: str


class Found(NamedTuple):
    """A mount table that was found.

    Attributes:
        name: of its namespace, "host" for that of the host.
        where: the file that it is from.
        place: what its path says.
        table: the table.
        is_named: whether a person named it.
        again: other files with tables of the same namespace.
        aliases: other names that people gave to it.
        processes: that are in it, as machine and pid of their places; pid 0: of the collector.
    """

    name: str
    where: str
    place: Place
    table: ImportedTable
    is_named: bool = False
    again: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    processes: frozenset[tuple[str, int]] = frozenset()

    @property
    def pids(self) -> list[int]:
        """The processes that are known to be in it."""
        return sorted({pid for _, pid in self.processes if pid})


def place_of(path: str) -> Place:
    """What a path says of a mount table.

    Args:
        path: absolute; in an archive, that of the archive before it.
    """
    if process := _PROCESS.fullmatch(path):
        pid = int(process[2])
        return Place(path, process[1], pid, f"pid {pid}")
    above, file = os.path.split(path)
    folder, stem = os.path.basename(above), os.path.splitext(file)[0]
    collector = _COLLECTOR.fullmatch(path)
    name = folder if collector and folder not in _FOLDERS else stem
    return Place(path, collector[1] if collector else "", 0, name)


def found_at(where: str, place: Place, table: ImportedTable, name: str = "") -> Found:
    """A table that was found.

    Args:
        where: the file that it is from.
        place: what its path says.
        table: the table.
        name: that a person gave it; "": nobody did.
    """
    known = frozenset({(place.machine, place.pid)} if place.machine or place.pid else ())
    return Found(name or place.name, where, place, table, bool(name), processes=known)


def seen_again(one: Found, where: str, place: Place) -> Found:
    """A table of which another file has the very same text, with the first process of both."""
    first = found_at(where, place, one.table)
    if (place.pid or 1 << 32) < (one.place.pid or 1 << 32):
        return _joined(first, one)
    return _joined(one, first)


def one_each(found: Iterable[Found]) -> list[Found]:
    """One table a mount namespace, with the host's named so if it is known.

    Raises:
        BadInput: a person gave one name to two tables.
    """
    # Names that people gave come first, and then the oldest process of a namespace.
    ordered = sorted(found, key=lambda one: (not one.is_named, one.place.pid or 1 << 32))
    tables = _by_ids(_by_process(ordered))
    tables = _with_host(tables)
    return _with_own_names(_without_lesser(tables))


def _by_process(found: Sequence[Found]) -> list[Found]:
    """The table of each process that tells most."""
    best: dict[tuple[str, int], Found] = {}
    kept: list[Found] = []
    for one in found:
        if one.is_named or not one.place.machine:
            kept.append(one)
            continue
        key = one.place.machine, one.place.pid
        other = best.get(key)
        if other is None:
            best[key] = one
        elif len(one.table.unknown) < len(other.table.unknown):
            best[key] = _joined(one, other)
        else:
            best[key] = _joined(other, one)
    return [*kept, *best.values()]


def _joined(one: Found, other: Found) -> Found:
    again = *one.again, other.where, *other.again
    aliases = *one.aliases, *([other.name] if other.is_named else []), *other.aliases
    return one._replace(again=again, aliases=aliases, processes=one.processes | other.processes)


def _by_ids(found: Sequence[Found]) -> list[Found]:
    """Tables that share most of their mounts are one, under the name of the first: the larger one,
    since a process in a chroot is not shown all."""
    kept: list[Found] = []
    owners: dict[tuple[object, ...], int] = {}
    for one in found:
        if "mount_id" in one.table.unknown:
            kept.append(one)
            continue
        keys = [_identity(mount) for mount in one.table.mounts]
        shares = Counter(owners[key] for key in keys if key in owners)
        owner, shared = max(shares.items(), key=lambda item: item[1], default=(-1, 0))
        smaller = min(len(keys), len(kept[owner].table.mounts)) if shared else 0
        if 2 * shared <= smaller or not shared:
            owners |= dict.fromkeys(keys, len(kept))
            kept.append(one)
            continue
        first = kept[owner]
        kept[owner] = _joined(first, one)
        if len(one.table.mounts) > len(first.table.mounts):
            owners |= dict.fromkeys(keys, owner)
            again = *first.again, first.where, *one.again
            kept[owner] = kept[owner]._replace(table=one.table, where=one.where, again=again)
    return kept


def _identity(mount: Listed) -> tuple[object, ...]:
    return mount.mount_id, mount.parent_id, mount.device, mount.root, mount.fstype, mount.groups


def _with_host(tables: Sequence[Found]) -> list[Found]:
    """With pid 1's called the host's, if nobody named one so and there is a single one."""
    first = [one for one in tables if one.place.pid == 1 and not one.is_named]
    if len(first) != 1 or any(one.name == HOST for one in tables):
        return list(tables)
    return [one._replace(name=HOST) if one is first[0] else one for one in tables]


def _without_lesser(tables: Sequence[Found]) -> list[Found]:
    """Without tables that tell nothing new: of a process, or with the very mounts, of a table that
    tells more; and what the collector of a bundle printed, if that is like the table of pid 1."""
    telling = [one for one in tables if not one.table.unknown]
    of_process = {process: one for one in telling for process in one.processes}
    with_mounts = {_mounts_of(one.table): one for one in telling}
    kept: list[Found] = []
    again: dict[str, tuple[str, ...]] = {}
    for one in tables:
        other = with_mounts.get(_mounts_of(one.table))
        if one.place.machine and other is None:
            other = of_process.get((one.place.machine, one.place.pid))
            first = of_process.get((one.place.machine, 1))
            if other is None and first and not one.place.pid and _is_alike(one.table, first.table):
                other = first
        if other is None or one.is_named or not one.table.unknown:
            kept.append(one)
        else:
            again[other.where] = (*again.get(other.where, ()), one.where, *one.again)
    return [one._replace(again=(*one.again, *again.get(one.where, ()))) for one in kept]


def _mounts_of(table: ImportedTable) -> frozenset[tuple[object, int]]:
    """Where there are which mounts, and how many."""
    return frozenset(Counter((one.mountpoint, one.fstype) for one in table.mounts).items())


def _is_alike(one: ImportedTable, other: ImportedTable) -> bool:
    a, b = (Counter(mount.mountpoint for mount in table.mounts) for table in (one, other))
    return (a & b).total() >= _ALIKE * (a | b).total()


def _with_own_names(tables: Sequence[Found]) -> list[Found]:
    """With a name of its own for each: of those that share one, as much of the path as it takes."""
    named = Counter(one.name for one in tables if one.is_named)
    twice = next((name for name, count in named.items() if count > 1), None)
    if twice is not None:
        raise BadInput(f"two tables are called {twice}", "NAME=FILE gives another name")
    counts = Counter(one.name for one in tables)
    return [
        one._replace(name=_longer(one, tables))
        if counts[one.name] > 1 and not one.is_named
        else one
        for one in tables
    ]


def _longer(one: Found, tables: Sequence[Found]) -> str:
    parts = one.place.path.strip("/").split("/")
    others = [other.place.path for other in tables if other is not one]
    for count in range(2, len(parts)):
        name = "/".join(parts[-count:])
        if not any(other.endswith("/" + name) for other in others):
            return name
    return one.place.path


def with_devices(tables: Sequence[Found]) -> Iterator[Sequence[Listed]]:
    """The mounts of each table, with the devices that other tables give.

    A source that is a path of a block device, or of a server, is one file system: where all other
    mounts of that source and type have one device, it is that.
    """
    known: dict[tuple[object, object], set[str]] = {}
    for mount in (mount for one in tables for mount in one.table.mounts):
        if mount.device is not None and is_telling(mount.source):
            known.setdefault((mount.fstype, mount.source), set()).add(mount.device)
    for one in tables:
        if "device" not in one.table.unknown:
            yield one.table.mounts
            continue
        yield [
            mount._replace(device=next(iter(devices)))
            if mount.device is None
            and len(devices := known.get((mount.fstype, mount.source), set())) == 1
            else mount
            for mount in one.table.mounts
        ]


def is_telling(source: str | None) -> bool:
    """Whether a source names a file system, as "tmpfs" and "overlay" do not."""
    return source is not None and (source.startswith("/dev/") or ":/" in source)
