"""Recordings of older formats: what has changed since each, as data.

A recording is read as if it were of the newest format. What an older one did not hold is missing,
and `lacks` says so; nothing is made up for it.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from mnttrace.recording.schema import FORMAT, schema


class Added(NamedTuple):
    """A table, or columns of one, that the next format has.

    Attributes:
        table: which.
        columns: null for all rows then, if the recording has not got them; (): the whole table.
        lacks: what an older recording does not tell, in words; "" if another entry says it.
    """

    table: str
    columns: tuple[str, ...]
    lacks: str


class Renamed(NamedTuple):
    """A column that is called otherwise in the next format."""

    table: str
    old: str
    new: str


# Format → what the one after it has changed.
CHANGES: dict[int, tuple[Added | Renamed, ...]] = {
    1: (
        Added("users", (), "who used what could not be unmounted"),
        Added("effects", ("unbindable", "locked"), "which mounts are unbindable or locked"),
        Added("mounts", ("unbindable",), ""),
        Added("operations", ("path_unique",), ""),
    ),
}


def is_readable(version: object) -> bool:
    """Whether a format can be read."""
    return version == FORMAT or version in CHANGES


def is_new(table: str, version: int) -> bool:
    """Whether recordings of a format have no such table."""
    changes = [change for step in range(version, FORMAT) for change in CHANGES[step]]
    return table in {one.table for one in changes if isinstance(one, Added) and not one.columns}


def lacks(version: int) -> str:
    """What a recording of a format does not tell, in words; "" if nothing."""
    changes = [change for step in range(version, FORMAT) for change in CHANGES[step]]
    return ", ".join(one.lacks for one in changes if isinstance(one, Added) and one.lacks)


def upgrade(version: int, name: str, table: pa.Table) -> pa.Table:
    """A table of an older format as the newest one has it."""
    for step in range(version, FORMAT):
        for change in CHANGES[step]:
            if change.table == name:
                table = _apply(change, table)
    return table


def _apply(change: Added | Renamed, table: pa.Table) -> pa.Table:
    if isinstance(change, Renamed):
        names = [change.new if old == change.old else old for old in table.column_names]
        return table.rename_columns(names)
    for column in set(change.columns).difference(table.column_names):
        field = schema(change.table).field(column)
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table
