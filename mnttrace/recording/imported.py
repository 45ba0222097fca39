# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recording made of mountinfo files, such as people attach to bug reports: snapshots alone."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mnttrace import __version__
from mnttrace.errors import BadInput
from mnttrace.linux import mountinfo
from mnttrace.recording.namespaces import unidentified
from mnttrace.recording.rows import NamespaceRow
from mnttrace.recording.snapshots import MountTable, Snapshots
from mnttrace.recording.writer import Writer

_LARGEST = 1 << 26  # bytes of one table: 300,000 mounts
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_HOST = "host"


class Table(NamedTuple):
    """One mount table: the name of its namespace, the file that it is from, and its text."""

    name: str
    where: str
    text: str


def import_tables(directory: Path, given: Iterable[str], force: bool = False) -> int:
    """Make a recording of mountinfo files.

    Args:
        directory: the recording to make.
        given: NAME=FILE; or a folder or tar of such files. Each is named after its file, or after
            its folder if the file is called "mountinfo". The one named "host" is the host's.
        force: replace a recording that exists.

    Returns:
        How many tables were imported.

    Raises:
        BadInput: there is no table, or two have one name.
        ParseError: a file is no mountinfo.
        OutputError: the recording exists, or cannot be written.
    """
    tables: dict[str, tuple[Table, list[mountinfo.Mount]]] = {}
    for table in (found for place in given for found in _tables(place)):
        if table.name in tables:
            raise BadInput(f"two tables are called {table.name}", "NAME=FILE gives another name")
        lines = table.text.split("\n")
        tables[table.name] = table, mountinfo.parse((line for line in lines if line), table.where)
    if not tables:
        raise BadInput("there is no mount table", "give NAME=FILE, a folder, or a tar")
    writer = Writer(directory, force)
    snapshots = Snapshots(writer.add)
    now = time.time_ns()
    for number, (name, (table, mounts)) in enumerate(tables.items(), 1):
        writer.add("namespaces", _namespace(number, name, table.where))
        snapshots.take(MountTable(number, number, "start", 0, 0, mounts), 0)
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
        "home_ns_id": list(tables).index(_HOST) + 1 if _HOST in tables else 0,
    }
    writer.close()
    return len(tables)


def _namespace(number: int, name: str, where: str) -> NamespaceRow:
    row = unidentified(number, number)
    row["kind"] = "host" if name == _HOST else "process"
    row["name"], row["command"] = name, where
    return row


def _tables(given: str) -> Iterator[Table]:
    name, is_named, file = given.partition("=")
    path = Path(file if is_named else given)
    try:
        if is_named:
            yield Table(name, file, _read(path))
        elif path.is_dir():
            for inside in sorted(path.rglob("*")):
                if inside.is_file():
                    yield Table(_name(inside), str(inside), _read(inside))
        elif given.endswith(_TARS):
            yield from _in_tar(path)
        else:
            yield Table(_name(path), given, _read(path))
    except (OSError, tarfile.TarError) as error:
        raise BadInput(f"{path} cannot be read: {error}", "is it there, and readable?") from error


def _in_tar(path: Path) -> Iterator[Table]:
    with tarfile.open(path) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is not None:
                where = f"{path}:{member.name}"
                yield Table(
                    _name(Path(member.name)), where, _text(stream.read(_LARGEST + 1), where)
                )


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return _text(file.read(_LARGEST + 1), str(path))


def _text(data: bytes, where: str) -> str:
    if len(data) > _LARGEST:
        raise BadInput(f"{where} is too large for a mount table", "is it one?")
    return data.decode("utf-8", "surrogateescape")


def _name(path: Path) -> str:
    """The name of a table: "web" of web.mountinfo, web.txt and web/mountinfo."""
    return path.parent.name if path.name == "mountinfo" and path.parent.name else path.stem
