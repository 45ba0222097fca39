#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Writes mnttrace/recording/rows.py: the type of a row of each table, from its schema.

Run it in the environment of this checkout: .venv/bin/python scripts/generate_rows.py
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from mnttrace.recording.schema import COLUMNS, Column

MODULE = Path(__file__).resolve().parents[1] / "mnttrace" / "recording" / "rows.py"
CLASSES = {
    "operations": "OperationRow",
    "effects": "EffectRow",
    "processes": "ProcessRow",
    "snapshots": "SnapshotRow",
    "mounts": "MountRow",
    "namespaces": "NamespaceRow",
    "users": "UserRow",
    "losses": "LossRow",
}
_WIDTH = 100
_HEAD = '''# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The rows of a recording's tables, as they are written. Times are nanoseconds.

Made by scripts/generate_rows.py from mnttrace/recording/schema.py; edit that one.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict
'''


def lines() -> Iterator[str]:
    """The module, line by line."""
    yield from _HEAD.splitlines()
    for table, columns in COLUMNS.items():
        yield from _class(table, columns)
    yield ""
    yield ""
    yield "Row = ("
    yield from _alternatives(list(CLASSES.values()))
    yield ")"


def _class(table: str, columns: tuple[Column, ...]) -> Iterator[str]:
    yield ""
    yield ""
    yield f"class {CLASSES[table]}(TypedDict):"
    yield f'    """A row of the table `{table}`.'
    yield ""
    yield "    Attributes:"
    for column in columns:
        yield from textwrap.wrap(
            f"{column.name}: {column.meaning}.",
            _WIDTH,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
        )
    yield '    """'
    yield ""
    for column in columns:
        yield f"    {column.name}: {_annotation(column)}"


def _annotation(column: Column) -> str:
    of_value = _python(column.type) + (" | None" if column.nullable else "")
    return f"NotRequired[{of_value}]" if column.is_late else of_value


def _python(kind: pa.DataType) -> str:
    if kind == pa.bool_():
        return "bool"
    return "str" if kind == pa.string() else "int"


def _alternatives(names: list[str]) -> Iterator[str]:
    yield f"    {names[0]}"
    for name in names[1:]:
        yield f"    | {name}"


if __name__ == "__main__":
    MODULE.write_text("".join(f"{line}\n" for line in lines()))
