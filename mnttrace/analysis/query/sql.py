# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""SQL over a recording: its tables, frames made of them, and views for frequent questions.

DuckDB reads Parquet through Arrow, and so only the columns that a query needs; it has no access to
files or the network itself. docs/sql.md describes tables and views.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from mnttrace.analysis.dataframes import DTYPES
from mnttrace.analysis.names import labels
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.mount_tables import last_tables
from mnttrace.errors import BadInput, MissingPrerequisite, RecordingError
from mnttrace.recording.schema import COLUMNS

try:
    import duckdb
except ImportError as error:
    raise MissingPrerequisite(
        f"DuckDB is missing: {error}", "pip install 'mnttrace[sql]'"
    ) from error

_LEAKS = {
    **dict.fromkeys(["src_ns", "dst_ns", "src_ns_id", "dst_ns_id", "via_group"], "UInt64"),
    **dict.fromkeys(["mounts", "present", "residue", "seq", "pid", "via_seq"], "UInt64"),
    "ts": "datetime64[ns, UTC]",
}


def _leaks(run: Run) -> pd.DataFrame:
    """The leaks; if there are none, empty columns of the right types."""
    return run.leaks.astype(_LEAKS) if run.leaks.empty else run.leaks


# Frames that are made from the tables when a query names them.
MADE: dict[str, Callable[[Run], pd.DataFrame]] = {
    "propagations": lambda run: run.propagations,
    "leaks": _leaks,
    "lost_mounts": lambda run: run.lost_mounts,
    "last_tables": last_tables,
}
# Described in docs/sql.md.
VIEWS = {
    "open_leaks": "select * from leaks where present > 0",
    "busiest_peer_groups": """
        select via_group as peer_group,
            count(*) filter (action = 'attach') as attached,
            count(*) filter (action = 'detach') as detached,
            count(distinct dst_ns_id) as namespaces,
            count(distinct seq) as operations,
            min(via_path) as via_path
        from propagations group by via_group order by attached + detached desc, peer_group
        """,
    "failures_by_process": """
        select pid, any_value(comm) as comm, syscall, error, count(*) as failures,
            arg_max(path, seq) as last_path, max(seq) as last_seq
        from operations where error <> '' group by pid, syscall, error
        order by failures desc, last_seq
        """,
    "longest_calls": """
        select seq, ts, latency / 1e6 as milliseconds, syscall, path, error, comm, pid, label
        from operations left join (select ns_id, label from namespaces) using (ns_id)
        order by latency desc, seq
        """,
    "mounts_per_namespace": """
        select label, ns_id, count(*) as mounts, count(shared) as shared, count(master) as slaves,
            any_value(gone) as gone
        from last_tables left join (select ns_id, label from namespaces) using (ns_id)
        group by label, ns_id order by mounts desc, ns_id
        """,
}

# DuckDB reads no files, network or variables of this program, and writes no files.
_CONFIG: dict[str, Any] = {"enable_external_access": False, "temp_directory": ""}


def ask(run: Run, query: str) -> pd.DataFrame:
    """The answer of DuckDB to a query (https://duckdb.org/docs/stable/sql/introduction).

    Args:
        run: the recording. Its tables are those of `recording.schema.COLUMNS`; `namespaces` has one
            row a namespace, and a `label` from :mod:`mnttrace.analysis.names`.
        query: may name these, and those of MADE and VIEWS. The last of several statements answers.

    Returns:
        A frame without object columns; whole numbers too large for 64 bits are floats.

    Raises:
        BadInput: DuckDB refuses the query, also because it needs a file or the network.
        RecordingError: a table cannot be read.
    """
    with duckdb.connect(config=_CONFIG) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set lock_configuration = true")
        _register(connection, run, _words(query))
        try:
            answer = connection.sql(query)
            return pd.DataFrame() if answer is None else _frame(answer.to_arrow_table())
        except duckdb.Error as error:
            reason = " ".join(
                re.split(r"\s(?:LINE \d+|Candidate functions):", str(error))[0].split()
            )
            if "Arrow source" in reason:
                raise RecordingError(f"{run.directory} is damaged: {reason}") from error
            raise BadInput(reason, "docs/sql.md has examples") from error


def _register(connection: duckdb.DuckDBPyConnection, run: Run, words: frozenset[str]) -> None:
    named = words.union(*(_words(VIEWS[view]) for view in words & VIEWS.keys()))
    made = MADE.keys() if words & {"show", "information_schema"} else MADE.keys() & named
    sources = {table: _stored(run, table) for table in COLUMNS}
    sources |= {table: _arrow(MADE[table](run)) for table in made}
    for table, source in sources.items():
        relation = connection.from_arrow(source)
        if "ts" in relation.columns:  # DuckDB cannot subtract times in ns from each other
            relation = relation.project("* replace (ts::timestamptz as ts)")
        relation.create_view(table)
    for view, query in VIEWS.items():
        if MADE.keys() & _words(query) <= made:
            connection.execute(f"create view {view} as {query}")


def _words(query: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", query.lower()))


def _stored(run: Run, table: str) -> pa.Table | ds.Dataset:
    """A table of the recording; of a finished one, columns are read when a query needs them."""
    if table == "namespaces":
        return _arrow(run.namespaces.assign(label=run.namespaces["ns_id"].map(labels(run))))
    finished = run.directory / f"{table}.parquet"
    if run is not run.whole or "upgraded_from" in run.meta or not finished.is_file():
        return _arrow(getattr(run, table))
    try:
        return ds.dataset(finished)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{run.directory}: {table} is damaged: {error}") from error


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """A frame for DuckDB: categorical columns as text, as enums cannot be compared with others."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    plain = [
        pa.field(field.name, field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(plain))


def _frame(table: pa.Table) -> pd.DataFrame:
    for at, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):  # as DuckDB's sums are
            table = table.set_column(at, field.name, _number(table.column(at)))
        elif pa.types.is_interval(field.type):  # as differences of times are
            table = table.set_column(at, field.name, _duration(table.column(at)))
        elif pa.types.is_binary(field.type):
            text = [None if blob is None else blob.hex() for blob in table.column(at).to_pylist()]
            table = table.set_column(at, field.name, pa.array(text, pa.string()))
    table = table.rename_columns(_distinct(table.column_names))
    frame: pd.DataFrame = table.to_pandas(types_mapper=_dtype)
    return frame


def _distinct(names: list[str]) -> list[str]:
    """The names made distinct, as a join can have two columns of one name: ts, ts_1."""
    found: dict[str, None] = {}
    for name in names:
        others = (f"{name}_{n}" for n in count(1))
        found[name if name not in found else next(n for n in others if n not in found)] = None
    return list(found)


def _number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64() if column.type.scale == 0 else pa.float64())
    except pa.ArrowInvalid:
        return column.cast(pa.float64())


def _duration(column: pa.ChunkedArray) -> pa.Array:
    """Intervals in ns, a month as 30 days; Arrow's own layout is months, days and ns."""
    array = column.combine_chunks()
    layout = [("months", "i4"), ("days", "i4"), ("ns", "i8")]
    parts = np.frombuffer(array.buffers()[1], layout, len(array), 16 * array.offset)
    days = parts["months"].astype("i8") * 30 + parts["days"]
    lengths = (days * 86_400_000_000_000 + parts["ns"]).astype("timedelta64[ns]")
    return pa.array(lengths, mask=array.is_null().to_numpy(zero_copy_only=False))


def _dtype(kind: pa.DataType) -> Any:
    if pa.types.is_floating(kind) or pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return None
    return DTYPES.get(kind) or pd.ArrowDtype(kind)
