"""Reading a recording: finished, still being written, or cut short."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mnttrace.errors import RecordingError
from mnttrace.recording.schema import CATEGORIES, COLUMNS, FORMAT, schema
from mnttrace.recording.upgrade import is_new, is_readable, lacks, upgrade


def read_meta(directory: Path) -> dict[str, Any]:
    """What meta.json says.

    And, where that is so, `upgraded_from` and `lacks`, of an older format, and `missing_tables`:
    those whose files are gone.

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

    They come one at a time, so that who makes something else of them does not have all of them
    twice. Those with few values (`schema.CATEGORIES`) are dictionaries.

    Raises:
        RecordingError: the table cannot be read.
    """
    version = read_meta(directory)["format"]
    finished = directory / f"{table}.parquet"
    try:
        if version == FORMAT and finished.is_file():
            with _opened(finished, table) as file:
                for name in file.schema_arrow.names:
                    yield name, file.read(columns=[name]).column(0)
            return
        rows = upgrade(version, table, _read(directory, table))
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            yield name, column.dictionary_encode() if name in CATEGORIES else column
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{directory}: {table} is damaged: {error}") from error


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


def _opened(path: Path, table: str) -> pq.ParquetFile:
    # What is in the file as a dictionary need not be made a text first, and looked up again.
    coded = [name for name in schema(table).names if name in CATEGORIES]
    return pq.ParquetFile(path, read_dictionary=coded)


def _read(directory: Path, table: str) -> pa.Table:
    finished = directory / f"{table}.parquet"
    if finished.is_file():
        return _opened(finished, table).read()
    stream = directory / f"{table}.arrows"
    if not stream.is_file():
        return schema(table).empty_table()
    return _read_stream(stream, table)


def _read_stream(path: Path, table: str) -> pa.Table:
    """What was written whole: a writer that was killed leaves the last batch cut, or the header."""
    batches = []
    with pa.OSFile(str(path)) as file:
        try:
            with pa.ipc.open_stream(file) as reader:
                batches.extend(reader)
        except (pa.ArrowInvalid, OSError):
            pass
    return pa.Table.from_batches(batches, batches[0].schema if batches else schema(table))
