# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recording made of mount tables, such as people attach to bug reports: snapshots alone."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mnttrace import __version__
from mnttrace.errors import BadInput, ParseError
from mnttrace.linux.mount_listings import Listed
from mnttrace.linux.text import clean
from mnttrace.recording.bundles import DAMAGE, LARGEST, BundledFile, files_of, is_archive
from mnttrace.recording.namespaces import unidentified
from mnttrace.recording.rows import NamespaceRow, Row
from mnttrace.recording.same_namespaces import (
    HOST,
    Found,
    found_at,
    one_each,
    place_of,
    seen_again,
    with_devices,
)
from mnttrace.recording.table_forms import form_of, read_table
from mnttrace.recording.writer import Writer

_HEAD = 1 << 16  # bytes that decide whether a file is a mount table
_COMM = 64  # bytes of a process's name


@dataclass(frozen=True)
class Imported:
    """What was made a recording of.

    Attributes:
        tables: one a mount namespace.
        others: how many files are no mount tables.
        damaged: for each file that begins as a mount table and is none, what is wrong.
    """

    tables: list[Found]
    others: int
    damaged: list[str]


def import_tables(directory: Path, given: Iterable[str], force: bool = False) -> Imported:
    """Make a recording of mount tables of one machine.

    Args:
        directory: the recording to make.
        given: NAME=FILE or FILE, which have to be mount tables; or a folder, tar or zip with mount
            tables among other files.
        force: replace a recording that exists.

    Raises:
        BadInput: there is no table, or two have one name.
        ParseError: a file that was given by itself is no mount table.
        OutputError: the recording exists, or cannot be written.
    """
    search = _Search()
    for place in given:
        search.look(place)
    if not search.found:
        problem = f": {search.damaged[0]}" if search.damaged else ""
        raise BadInput(
            f"there is no mount table{problem}",
            "give NAME=FILE, or a folder, tar or zip with /proc/PID/mountinfo of processes",
        )
    tables = one_each(search.named())
    _write(directory, tables, force)
    return Imported(tables, search.others, search.damaged)


class _Search:
    """Looks for mount tables in what is given.

    Attributes:
        found: the tables.
        others, damaged: as of :class:`Imported`.
    """

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.others = 0
        self.damaged: list[str] = []
        self._comms: dict[tuple[str, int], str] = {}
        self._twins: dict[bytes, int] = {}  # where in `found` tables with mount ids are

    def look(self, given: str) -> None:
        name, is_named, file = given.partition("=")
        is_named = "" if os.path.lexists(given) else is_named
        path = Path(file if is_named else given)
        try:
            # What is no regular file, as a pipe, can be read once.
            if path.is_dir() or (path.is_file() and is_archive(path)):
                self._bundle(path)
            else:
                self._alone(path, name if is_named else "")
        except OSError as error:
            raise BadInput(
                f"{path} cannot be read: {error}", "is it there, and readable?"
            ) from error

    def named(self) -> list[Found]:
        """The tables with the names of their processes, where the bundle has these."""
        return [
            one._replace(name=f"{comm}[{one.place.pid}]")
            if not one.is_named and (comm := self._comms.get((one.place.machine, one.place.pid)))
            else one
            for one in self.found
        ]

    def _alone(self, path: Path, name: str) -> None:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise BadInput(f"{path} is too large for a mount table", "is it one?")
        if not data:
            raise BadInput(f"there is no mount in {path}", "is it cut?")
        table = read_table(_text(data), str(path))
        place = place_of(os.path.abspath(path))
        self.found.append(found_at(str(path), place, table, name))

    def _bundle(self, path: Path) -> None:
        try:
            for file in files_of(path):
                try:
                    self._within(path, file)
                except DAMAGE:
                    self.damaged.append(f"{path}/{file.path} cannot be read")
        except BadInput as error:
            if not self.found:
                raise
            self.damaged.append(f"the rest of {error.message}")

    def _within(self, bundle: Path, file: BundledFile) -> None:
        head = file.read(_HEAD)
        place = place_of(f"{os.path.abspath(bundle)}/{file.path.removeprefix('./')}")
        if place.pid and file.path.endswith("/comm"):
            self._comms[place.machine, place.pid] = _text(head[:_COMM]).strip()
        is_whole = len(head) < _HEAD
        begins = head if is_whole else head[: head.rfind(b"\n") + 1]
        if form_of(_text(begins)) is None:
            self.others += 1
            return
        where = f"{bundle}/{file.path}"
        data = head if is_whole else head + file.read(LARGEST + 1 - _HEAD)
        if len(data) > LARGEST:
            self.damaged.append(f"{where} is too large")
            return
        # Most processes of a machine are in one namespace: their tables are the same to the letter.
        digest = hashlib.sha256(data).digest()
        if (twin := self._twins.get(digest)) is not None:
            self.found[twin] = seen_again(self.found[twin], where, place)
            return
        try:
            table = read_table(_text(data), where)
        except ParseError as error:
            self.damaged.append(error.message)
            return
        if "mount_id" not in table.unknown:
            self._twins[digest] = len(self.found)
        self.found.append(found_at(where, place, table))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _write(directory: Path, tables: list[Found], force: bool) -> None:
    writer = Writer(directory, force)
    now = time.time_ns()
    for number, (one, mounts) in enumerate(zip(tables, with_devices(tables), strict=True), 1):
        writer.add("namespaces", _namespace(number, one))
        writer.add("snapshots", _snapshot(number))
        for mount in mounts:
            writer.add("mounts", _mount(number, mount))
    homes = [number for number, one in enumerate(tables, 1) if one.name == HOST]
    writer.meta |= {
        "mnttrace": __version__,
        "host": "not known: imported mount tables",
        "kernel": "not known",
        "started": now,
        "stopped": now,
        "command": [],
        "traced": [],
        "missing": [],
        "sees": {"mounts made": False, "mounts detached": False},
        "filters": {},
        "losses": {},
        "home_ns_id": homes[0] if homes else 0,
        # Processes, and other names, of namespaces.
        "also": {
            str(name): number
            for number, one in enumerate(tables, 1)
            for name in (*one.pids, *one.aliases)
        },
        # The columns of `mounts` that tables do not tell.
        "untold": [
            {"ns_id": number, "name": clean(one.name), "columns": sorted(one.table.unknown)}
            for number, one in enumerate(tables, 1)
            if one.table.unknown
        ],
    }
    writer.close()


def _namespace(number: int, one: Found) -> NamespaceRow:
    row = unidentified(0, number)  # no table has the inode number of its namespace
    row["kind"] = "host" if one.name == HOST else "process"
    row["name"], row["command"], row["pid"] = one.name, one.where, one.place.pid
    return row


def _snapshot(number: int) -> Row:
    return {
        "snapshot": number,
        "ns": 0,
        "ns_id": number,
        "started": 0,
        "ended": 0,
        "reason": "start",
        "operations": 0,
    }


def _mount(number: int, mount: Listed) -> Row:
    shared, master = mount.groups or (None, None)
    return {
        "snapshot": number,
        "ns": 0,
        "ns_id": number,
        "change": "initial",
        "mount_id": mount.mount_id or 0,
        "mnt_id_unique": None,
        "parent_id": mount.parent_id or 0,
        "device": mount.device or "",
        "root": mount.root or "",
        "mountpoint": mount.mountpoint,
        "options": mount.options or "",
        "shared": shared,
        "master": master,
        "propagation": mount.propagation or "unknown",
        "unbindable": mount.unbindable,
        "fstype": mount.fstype or "",
        "source": mount.source or "",
        "super_options": mount.super_options or "",
    }
