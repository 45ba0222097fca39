# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Raw logs: all that the core of a recording got, in order, to put it through again.

A raw log is one Arrow stream, `raw.arrows` in the recording, with a row an event: `body`, JSON of
its name and its fields, as in mnttrace/capture/join/events.py. What it was made with, and what
meta.json said then, is in the schema's metadata. Addresses of dentries, which are the kernel's own,
are replaced by other numbers.

It may come from a stranger: whatever does not fit the events' types is refused, and no memory is
taken because it says so.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec
import pyarrow as pa

from mnttrace.capture.join.events import AnyEvent, CallEnded, NamespaceListed
from mnttrace.capture.join.mount_list import MountList
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.join.setting import Setting
from mnttrace.capture.stream.arrow_batches import batches, read_schema
from mnttrace.errors import OutputError, RecordingError

NAME = "raw.arrows"
VERSION = 1  # of the events; raised when one that was written can no longer be read
_AT_ONCE = 4096  # events that wait for the next flush at most
_BYTES_AT_ONCE = 1 << 26  # and bytes of them, or one event; half of what is read at once
_KEPT = 1 << 16  # addresses whose numbers are remembered
_SCHEMA = pa.schema([("body", pa.string())])
# Older ones have columns with what the body has, too.
_OLD_SCHEMA = pa.schema([("at", pa.int64()), ("event", pa.string()), *_SCHEMA])


# What reading one that is damaged, or no raw log, ends in. A text within can nest without end.
_DAMAGE = (OSError, pa.ArrowException, ValueError, KeyError, RecursionError)


class _Meta(TypedDict):
    """What a recording's meta.json has to have, to be read again."""

    mnttrace: str
    host: str
    kernel: str
    boot_id: str
    started: Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
    wall_offset: int
    home_ns_id: int | None
    command: list[str]
    traced: list[str]
    missing: list[str]
    sees: dict[str, bool]
    filters: dict[str, list[int | str]]


class Header(msgspec.Struct):
    """What a raw log begins with.

    Attributes:
        version: of the events.
        setting: what the core worked with.
        wanted: which operations were wanted.
        meta: what meta.json said when the recording began.
    """

    version: int
    setting: Setting
    wanted: Filter
    meta: dict[str, Any]


class RawLogWriter:
    """Writes a raw log into a recording.

    Args:
        directory: of the recording.
        header: what it begins with.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, directory: Path, header: Header) -> None:
        self._path = directory / NAME
        self._hide = _Addresses()
        self._bodies: list[str] = []
        self._bytes = 0
        metadata = {b"mnttrace": msgspec.json.encode(header)}
        try:
            # What it has of other users' processes is for root's eyes.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._file = os.fdopen(descriptor, "wb")
        except OSError as error:
            raise OutputError(f"{self._path}: {error.strerror}", "choose another place") from error
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._schema = _SCHEMA.with_metadata(metadata)
        self._stream = pa.ipc.new_stream(self._file, self._schema, options=options)

    def add(self, event: AnyEvent) -> None:
        """Take one event, to be written at the next flush, or when there are many.

        Raises:
            OutputError: as :meth:`flush`.
        """
        kept = self._hide.in_event(event)
        # As text at once, since the core may change what it was given.
        body = msgspec.json.encode(kept).decode()
        if self._bytes + len(body) > _BYTES_AT_ONCE:
            self.flush()
        self._bodies.append(body)
        self._bytes += len(body)
        if len(self._bodies) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what was added.

        Raises:
            OutputError: the disk is full, or the folder is gone.
        """
        if not self._bodies:
            return
        column = pa.array(self._bodies, pa.string())
        self._bodies.clear()
        self._bytes = 0
        try:
            self._stream.write_batch(pa.record_batch([column], schema=self._schema))
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        """End the log.

        Raises:
            OutputError: as :meth:`flush`.
        """
        self.flush()
        try:
            self._stream.close()
            self._file.close()
        except OSError as error:
            raise OutputError(f"{self._path}: {error.strerror or error}") from error


class RawLog:
    """A raw log that is read.

    Args:
        path: of a recording that has one, or of the log itself.

    Attributes:
        path: of the log.
        header: what it begins with.

    Raises:
        RecordingError: there is none, it is of another version, or none at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / NAME if path.is_dir() else path
        self._schema = _SCHEMA
        self.header = self._read_header()

    def check_meta(self) -> None:
        """Check that a recording can be made with what meta.json said.

        Raises:
            RecordingError: it cannot.
        """
        try:
            msgspec.convert(self.header.meta, _Meta)
        except msgspec.ValidationError as error:
            raise RecordingError(
                f"{self.path} is no recording's: {_first_line(error)}",
                "mnttrace record --keep-raw keeps one",
            ) from error

    def events(self) -> Iterator[AnyEvent]:
        """The events, in their order.

        Raises:
            RecordingError: it is cut or damaged; all events before that were given.
        """
        count = 0
        decoder = msgspec.json.Decoder(AnyEvent)
        try:
            for batch in batches(self.path, self._schema):
                for body in batch.column("body"):
                    text = body.as_buffer() if body.is_valid else b""
                    yield decoder.decode(text)
                    count += 1
        except _DAMAGE as error:
            raise RecordingError(
                f"{self.path} is damaged after {count} events: {_first_line(error)}",
                "what is before that was used",
            ) from error

    def _read_header(self) -> Header:
        try:
            schema = read_schema(self.path)
            if schema.equals(_OLD_SCHEMA):
                self._schema = _OLD_SCHEMA
            elif not schema.equals(_SCHEMA):
                raise ValueError("it has other columns")
            header = msgspec.json.decode((schema.metadata or {})[b"mnttrace"], type=Header)
        except FileNotFoundError as error:
            raise RecordingError(
                f"{self.path}: there is no raw log", "mnttrace record --keep-raw keeps one"
            ) from error
        except _DAMAGE as error:
            raise RecordingError(f"{self.path} is not a raw log: {_first_line(error)}") from error
        if header.version != VERSION:
            raise RecordingError(
                f"{self.path} has version {header.version}, this mnttrace reads {VERSION}",
                f"use mnttrace {_printable(header.meta.get('mnttrace', 'that made it'))}",
            )
        return header


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r} in its metadata"
    return _printable(str(error).partition("\n")[0])


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


class _Addresses:
    """Replaces the kernel's addresses of dentries, and hashes that are made of them, by numbers
    that say nothing: the same for the same ones, and 0 for 0."""

    def __init__(self) -> None:
        secret = secrets.token_bytes(32)

        @lru_cache(_KEPT)
        def number(value: int, size: int) -> int:
            data = value.to_bytes(8)
            return int.from_bytes(blake2b(data, key=secret, digest_size=size).digest()) or 1

        self._number = number

    def in_event(self, event: AnyEvent) -> AnyEvent:
        """An event without addresses."""
        if isinstance(event, CallEnded):
            names = {self._address(address): path for address, path in event.names.items()}
            lists = [self._in_list(mounts) for mounts in event.lists]
            return msgspec.structs.replace(event, names=names, lists=lists)
        if isinstance(event, NamespaceListed):
            return msgspec.structs.replace(event, mounts=self._in_list(event.mounts))
        return event

    def _in_list(self, mounts: MountList) -> MountList:
        entries = [
            entry._replace(
                root=self._address(entry.root),
                mountpoint=self._address(entry.mountpoint),
                root_hash=self._hash(entry.root_hash),
                mountpoint_hash=self._hash(entry.mountpoint_hash),
            )
            for entry in mounts.entries
        ]
        return msgspec.structs.replace(mounts, entries=entries)

    def _address(self, address: int) -> int:
        return self._number(address, 8) if address else 0

    def _hash(self, value: int) -> int:
        return self._number(value, 4) if value else 0
