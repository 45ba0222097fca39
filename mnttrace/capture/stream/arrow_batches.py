# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Batches of an Arrow stream that may come from a stranger.

pyarrow takes memory as such a stream says, before it reads on: for a message, and for what is
compressed in it. So a message is never read beyond the end of the file, what its parts say of
themselves is looked at first, and what it has become is checked before it is used.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

_MOST = 1 << 27  # bytes that one batch may have: twice what is written at once
# Fields of the tables Message (Message.fbs) and RecordBatch, by their place there.
_HEADER, _BUFFERS, _COMPRESSION = 2, 2, 3


def read_schema(path: Path) -> pa.Schema:
    """The schema of a stream.

    Raises:
        OSError, ValueError, pa.ArrowException: there is none.
    """
    with _File(path) as file:
        return _schema(_messages(file))


def batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches of a stream, up to its end or where it is cut between two.

    Args:
        path: of the stream.
        schema: the one that it has to have.

    Raises:
        OSError, ValueError, pa.ArrowException: it is cut or damaged, after the batches before that.
    """
    with _File(path) as file:
        messages = _messages(file)
        if not _schema(messages).equals(schema):
            raise ValueError("it has other columns")
        for message in messages:
            if message.type != "record batch":
                raise ValueError(f"it has a {message.type} where a batch is due")
            _check_sizes(message)
            batch = pa.ipc.read_record_batch(message, schema)
            batch.validate(full=True)
            yield batch


class _File(io.FileIO):
    """A regular file that never makes room for more than it has."""

    def __init__(self, path: Path) -> None:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a FIFO would wait for who writes to it
            raise ValueError("it is no file")
        super().__init__(path)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read that many bytes, or those that are left."""
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left)) or b""


def _messages(file: _File) -> Iterator[pa.ipc.Message]:
    yield from pa.ipc.MessageReader.open_stream(pa.PythonFile(file, "r"))


def _schema(messages: Iterator[pa.ipc.Message]) -> pa.Schema:
    first = next(messages, None)
    if first is None:
        raise ValueError("it is empty")
    if first.type != "schema":
        raise ValueError("it does not begin with a schema")
    return pa.ipc.read_schema(first)


def _check_sizes(message: pa.ipc.Message) -> None:
    """Raises ValueError if a message says that more is compressed in it than can be."""
    data, body = memoryview(message.metadata), memoryview(message.body or b"")
    try:
        batch = _table(data, _field(data, _table(data, 0), _HEADER))
        if not _field(data, batch, _COMPRESSION):
            return
        vector = _table(data, _field(data, batch, _BUFFERS))
        (count,) = struct.unpack_from("<I", data, vector)
        size = 0
        for number in range(count):
            offset, length = struct.unpack_from("<qq", data, vector + 4 + 16 * number)
            if length:
                # Before what is compressed is its size, or -1 where it is not compressed.
                (whole,) = struct.unpack_from("<q", body, offset)
                size += max(whole, 0)
    except struct.error as error:
        raise ValueError("a batch has no proper description") from error
    if size > _MOST:
        raise ValueError(f"a batch of {size} bytes is more than any has")


def _table(data: memoryview, at: int) -> int:
    """Where that is to which the offset at a place leads."""
    (offset,) = struct.unpack_from("<I", data, at)
    return int(at + offset)


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a table is, 0 if it has none."""
    (to_fields,) = struct.unpack_from("<i", data, table)
    fields = table - to_fields
    (size,) = struct.unpack_from("<H", data, fields)
    place = 4 + 2 * number
    if place >= size:
        return 0
    (offset,) = struct.unpack_from("<H", data, fields + place)
    return int(table + offset) if offset else 0
