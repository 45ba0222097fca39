# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings of older formats: what changed with each format, as data.

A recording is read as if it were of the newest format. What an older format does not hold is null,
and `lacks` says so; nothing is made up for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

from mnttrace.linux.flags import flags_value
from mnttrace.recording.schema import FORMAT, schema


class Added(NamedTuple):
    """A table, or columns of one, that the next format has.

    Attributes:
        table: the table.
        columns: they are null in every row of a recording without them; (): the whole table is new.
        lacks: what is missing in an older recording, in words; "" if another entry says it.
    """

    table: str
    columns: tuple[str, ...]
    lacks: str


class Renamed(NamedTuple):
    """A column that has another name in the next format."""

    table: str
    old: str
    new: str


class Computed(NamedTuple):
    """A column that the next format has, and that follows from columns of this one.

    Attributes:
        table: the table.
        column: the new column.
        function: its value, from those of the columns `of`.
    """

    table: str
    column: str
    function: Callable[..., Any]
    of: tuple[str, ...]


class RenamedLoss(NamedTuple):
    """A kind of loss that has another name in the next format."""

    old: str
    new: str


class RenamedMeta(NamedTuple):
    """A key of meta.json that has another name in the next format.

    Attributes:
        old: the key.
        new: its new name.
        values: old value → new value, where that is another one.
    """

    old: str
    new: str
    values: dict[str, str]


def _flags_value(syscall: str, flags: str, propagation: str) -> int:
    # Only mount(2) is given the propagation type among its flags.
    return flags_value(flags, propagation if syscall == "mount" else "")


Change = Added | Renamed | Computed | RenamedLoss | RenamedMeta

# Format → what the one after it changed.
CHANGES: dict[int, tuple[Change, ...]] = {
    1: (
        Added("users", (), "processes that kept mounts busy"),
        Added("effects", ("unbindable", "locked"), "whether mounts are unbindable or locked"),
        Added("mounts", ("unbindable",), ""),
        Added("operations", ("path_unique",), ""),
    ),
    2: (
        Renamed("operations", "story", "fs_context"),
        Computed("operations", "flags_value", _flags_value, ("syscall", "flags", "propagation")),
        Renamed("effects", "carried_by", "via_group"),
        Renamed("effects", "carrier_unique", "via_unique"),
        Renamed("effects", "carrier_path", "via_path"),
        RenamedLoss("cut_astray", "cut_inconsistent"),
        RenamedMeta("way", "backend", {"inner": "kernel-hooks"}),
    ),
    3: (Added("operations", ("root_path",), ""),),
}


def is_readable(version: object) -> bool:
    """Whether a format can be read."""
    return version == FORMAT or version in CHANGES


def is_new(table: str, version: int) -> bool:
    """Whether recordings of a format have no such table."""
    return any(not one.columns and one.table == table for one in _added(version))


def lacks(version: int) -> str:
    """What is missing in a recording of a format, in words; "" if nothing is."""
    return ", ".join(one.lacks for one in _added(version) if one.lacks)


def upgrade_meta(version: int, meta: dict[str, Any]) -> dict[str, Any]:
    """The meta.json of an older format as the newest one has it."""
    for change in _changes(version):
        if isinstance(change, RenamedMeta) and change.old in meta:
            value = meta[change.old]
            meta = {key: meta[key] for key in meta if key != change.old}
            meta[change.new] = change.values.get(value, value)
        elif isinstance(change, RenamedLoss) and change.old in meta.get("losses", {}):
            losses = meta["losses"].items()
            named = {change.new if kind == change.old else kind: count for kind, count in losses}
            meta = meta | {"losses": named}
    return meta


def upgrade(version: int, name: str, table: pa.Table) -> pa.Table:
    """A table of an older format as the newest one has it."""
    for change in _changes(version):
        if isinstance(change, RenamedLoss) and name == "losses":
            kinds = [change.new if one == change.old else one for one in table["kind"].to_pylist()]
            at = table.column_names.index("kind")
            table = table.set_column(at, "kind", pa.array(kinds, pa.string()))
        elif isinstance(change, Added | Renamed | Computed) and change.table == name:
            table = _apply(change, table)
    return table.select([column for column in schema(name).names if column in table.column_names])


def _changes(version: int) -> list[Change]:
    return [change for step in range(version, FORMAT) for change in CHANGES[step]]


def _added(version: int) -> list[Added]:
    return [change for change in _changes(version) if isinstance(change, Added)]


def _apply(change: Added | Renamed | Computed, table: pa.Table) -> pa.Table:
    if isinstance(change, Renamed):
        names = [change.new if old == change.old else old for old in table.column_names]
        return table.rename_columns(names)
    if isinstance(change, Computed):
        if change.column in table.column_names:  # an empty table, in place of a file that is gone
            return table
        given = zip(*(table[name].to_pylist() for name in change.of), strict=True)
        field = schema(change.table).field(change.column)
        return table.append_column(
            field, pa.array([change.function(*row) for row in given], field.type)
        )
    for column in set(change.columns).difference(table.column_names):
        field = schema(change.table).field(column)
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table
