# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Writing a recording: Arrow IPC streams while it runs, Parquet once it is closed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mnttrace.errors import OutputError
from mnttrace.linux.text import clean
from mnttrace.recording.directory import make
from mnttrace.recording.rows import Row
from mnttrace.recording.schema import COLUMNS, FORMAT, schema

_WAITING = 1 << 14  # rows of a table that are kept until they are written
_ROW_GROUP = 1 << 17  # rows that are in memory at once when a stream becomes Parquet


def _columns(rows: list[Row], kind: pa.Schema) -> list[Sequence[Any]]:
    """The values of rows by column, None for what a row lacks."""
    try:
        return list(zip(*map(itemgetter(*kind.names), rows), strict=True))
    except KeyError:
        return [[row.get(name) for row in rows] for name in kind.names]


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([clean(value) if value else value for value in values], kind)


def _pieces(stream: Path) -> Iterator[pa.Table]:
    """The rows of a finished stream, some of its batches at a time."""
    with pa.OSFile(str(stream)) as file, pa.ipc.open_stream(file) as reader:
        some: list[pa.RecordBatch] = []
        for batch in reader:
            some.append(batch)
            if sum(map(len, some)) >= _ROW_GROUP:
                yield pa.Table.from_batches(some)
                some = []
        if some:
            yield pa.Table.from_batches(some)


class _NoPandas(MetaPathFinder):
    """Hides pandas from imports."""

    def find_spec(self, fullname: str, *_: object) -> None:
        """Refuse pandas; leave the rest to the other finders."""
        if fullname == "pandas":
            raise ImportError(fullname)


def _keep_pandas_out() -> None:
    """Make a first array while pandas is hidden.

    With the first array pyarrow imports pandas, to recognize its arrays (_check_import() in its
    pandas-shim.pxi): 0.2 s and 40 MB that a recorder has no use for. When a frame is wanted later,
    it tries again.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


class Writer:
    """A recording that is being written.

    Args:
        directory: NAME.mnttrace, made here.
        force: replace a recording that exists.
        is_made: it is there already, empty: see :mod:`mnttrace.recording.directory`.

    Raises:
        OutputError: it exists and `force` is not given, it is not a recording, or it cannot be
            made.
    """

    def __init__(self, directory: Path, force: bool = False, is_made: bool = False) -> None:
        if not is_made:
            make(directory, force)
        self.directory = directory
        _keep_pandas_out()
        self.meta: dict[str, Any] = {"format": FORMAT}
        self._rows: dict[str, list[Row]] = {table: [] for table in COLUMNS}
        self._streams: dict[str, pa.RecordBatchStreamWriter] = {}
        self._files: dict[str, Any] = {}

    def add(self, table: str, row: Row) -> None:
        """Take one row, to be written at the next flush, or when there are many.

        Raises:
            OutputError: as :meth:`flush`.
        """
        rows = self._rows[table]
        rows.append(row)
        if len(rows) >= _WAITING:
            self.flush()

    def flush(self) -> None:
        """Write the rows that were added.

        Raises:
            OutputError: the disk is full, or the folder is gone. What was written stays readable.
        """
        try:
            for table, rows in self._rows.items():
                if rows:
                    self._write(table, rows)
                    rows.clear()
            self._write_meta()
        except OSError as error:
            raise OutputError(
                f"{self.directory}: {error.strerror or error}",
                "what was written until then is readable",
            ) from error

    def drop_what_does_not_fit(self) -> None:
        """Leave out the rows that wait and have values which no column can have, and what comes
        after them in their table."""
        for table, rows in self._rows.items():
            kind = schema(table)
            for number, row in enumerate(rows):
                try:
                    for column, type_ in zip(_columns([row], kind), kind.types, strict=True):
                        _array(column, type_)
                except (OverflowError, ValueError, TypeError, pa.ArrowException):
                    del rows[number:]
                    break

    def _write(self, table: str, rows: list[Row]) -> None:
        kind = schema(table)
        arrays = [_array(*column) for column in zip(_columns(rows, kind), kind.types, strict=True)]
        if table not in self._streams:
            file = open(self.directory / f"{table}.arrows", "wb")  # noqa: SIM115
            self._files[table] = file
            self._streams[table] = pa.ipc.new_stream(file, kind)
        self._streams[table].write_batch(pa.record_batch(arrays, schema=kind))
        self._files[table].flush()

    def _write_meta(self) -> None:
        new = self.directory / "meta.json.new"
        new.write_text(json.dumps(self.meta, indent=1))
        new.replace(self.directory / "meta.json")

    def leave(self) -> None:
        """Write no more: the recording is as one whose recorder was killed.

        Raises:
            OutputError: as :meth:`flush`.
        """
        self.flush()
        self._streams.clear()
        for file in self._files.values():
            file.close()
        self._files.clear()

    def close(self) -> None:
        """End the recording: every table becomes Parquet.

        Raises:
            OutputError: as :meth:`flush`.
        """
        self.flush()
        try:
            for table in COLUMNS:
                kind = schema(table)
                stream = self._streams.pop(table, None)
                written = self.directory / f"{table}.arrows"
                if stream:
                    stream.close()
                    self._files.pop(table).close()
                with pq.ParquetWriter(self.directory / f"{table}.parquet", kind) as parquet:
                    for rows in _pieces(written) if stream else ():
                        parquet.write_table(rows, len(rows))
                written.unlink(missing_ok=True)
            self.meta["complete"] = True
            self._write_meta()
        except OSError as error:
            raise OutputError(
                f"{self.directory}: {error.strerror or error}",
                "what was written until then is readable",
            ) from error
