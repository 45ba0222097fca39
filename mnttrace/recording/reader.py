# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Reading a recording: finished, still being written, or cut short."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mnttrace.errors import RecordingError
from mnttrace.recording.schema import CATEGORIES, COLUMNS, FORMAT, schema
from mnttrace.recording.upgrade import is_new, is_readable, lacks, upgrade, upgrade_meta


def read_meta(directory: Path) -> dict[str, Any]:
    """The contents of meta.json, as the newest format has it.

    Added are, for a recording of an older format, `upgraded_from` and `lacks`; and
    `missing_tables`, those of a finished recording whose files are gone.

    Raises:
        RecordingError: not a recording, or of a version that this mnttrace does not know.
    """
    try:
        meta: dict[str, Any] = json.loads((directory / "meta.json").read_text())
        version = meta["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(
            f"{directory} is not a recording", "mnttrace record -o NAME.mnttrace makes one"
        ) from error
    if not is_readable(version):
        raise RecordingError(
            f"{directory} has format {version}, this mnttrace reads up to {FORMAT}",
            "use the mnttrace that made it, or a newer one",
        )
    if version != FORMAT:
        meta = upgrade_meta(version, meta)
        meta |= {"upgraded_from": version, "lacks": lacks(version)}
    if meta.get("complete"):
        meta["missing_tables"] = [
            table
            for table in COLUMNS
            if not is_new(table, version) and not (directory / f"{table}.parquet").is_file()
        ]
    return meta


def read_columns(directory: Path, table: str) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The columns of a table, names and values: whole, or up to the last batch that was written.

    They come one at a time, so that a caller that converts them never holds many of them twice.
    Columns with few values (`schema.CATEGORIES`) are dictionaries.

    Raises:
        RecordingError: the table cannot be read.
    """
    with _reading(directory, table) as version:
        if _is_current(directory, table, version):
            with _opened(directory, table) as file:
                yield from _columns(file)
            return
        rows = upgrade(version, table, _read(directory, table))
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            yield name, column.dictionary_encode() if name in CATEGORIES else column


def _columns(file: pq.ParquetFile) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Names and values; the next column is read while the caller converts one."""
    before: tuple[str, Future[pa.Table]] | None = None
    with ThreadPoolExecutor(1) as pool:
        for name in file.schema_arrow.names:
            now = name, pool.submit(file.read, columns=[name])
            if before:
                yield before[0], before[1].result().column(0)
            before = now
        if before:
            yield before[0], before[1].result().column(0)


def read_coded(directory: Path, table: str, columns: list[str]) -> pa.Table:
    """Some columns of a table, with all texts as dictionaries, as Parquet has them.

    For callers that need few of the rows: it takes a third of the time and memory.

    Raises:
        RecordingError: the table cannot be read.
    """
    texts = [field.name for field in schema(table) if field.type == pa.string()]
    with _reading(directory, table) as version:
        if _is_current(directory, table, version):
            with _opened(directory, table, texts) as file:
                return file.read(columns=columns)
        rows = upgrade(version, table, _read(directory, table)).select(columns)
        coded = [name for name in columns if rows[name].type == pa.string()]
        for name in coded:
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, name, rows[name].dictionary_encode())
        return rows


@contextmanager
def _reading(directory: Path, table: str) -> Iterator[int]:
    """Turn errors from reading a table into RecordingError; yields the recording's format."""
    version: int = read_meta(directory)["format"]
    try:
        yield version
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{directory}: {table} is damaged: {error}") from error


def _is_current(directory: Path, table: str, version: int) -> bool:
    return version == FORMAT and (directory / f"{table}.parquet").is_file()


def count_rows(directory: Path) -> dict[str, int]:
    """How many rows each table has.

    Raises:
        RecordingError: a table cannot be read.
    """
    return {table: _count(directory, table) for table in COLUMNS}


def _count(directory: Path, table: str) -> int:
    finished = directory / f"{table}.parquet"
    try:
        if finished.is_file():
            return int(pq.read_metadata(finished).num_rows)
        return int(_read(directory, table).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{directory}: {table} is damaged: {error}") from error


def _opened(directory: Path, table: str, coded: Collection[str] = CATEGORIES) -> pq.ParquetFile:
    # Dictionaries of the file stay dictionaries: no text is made of them first.
    coded = [name for name in schema(table).names if name in coded]
    return pq.ParquetFile(directory / f"{table}.parquet", read_dictionary=coded)


def _read(directory: Path, table: str) -> pa.Table:
    if (directory / f"{table}.parquet").is_file():
        with _opened(directory, table) as file:
            return file.read()
    stream = directory / f"{table}.arrows"
    if not stream.is_file():
        return schema(table).empty_table()
    return _read_stream(stream, table)


def _read_stream(path: Path, table: str) -> pa.Table:
    """The whole batches of a stream; a killed writer leaves the last one, or the header, cut."""
    batches = []
    with pa.OSFile(str(path)) as file:
        try:
            with pa.ipc.open_stream(file) as reader:
                batches.extend(reader)
        except (pa.ArrowInvalid, OSError):
            pass
    return pa.Table.from_batches(batches, batches[0].schema if batches else schema(table))
