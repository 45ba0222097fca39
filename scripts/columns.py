#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Writes docs/columns.md: what each column of a recording holds, from mnttrace/recording/schema.py.

Run it in the environment of this checkout: .venv/bin/python scripts/columns.py
"""

from collections.abc import Iterator
from pathlib import Path

from mnttrace.recording.schema import CATEGORIES, COLUMNS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "columns.md"


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield "# Tables and columns of a recording"
    yield ""
    yield "Made by scripts/columns.py from mnttrace/recording/schema.py; edit that one."
    yield ""
    yield "Each table is a file, NAME.mnttrace/TABLE.parquet. Types are those of Arrow; a column of"
    yield "text marked † is categorical in mnttrace's frames; a column marked ∅ can be null."
    for table, columns in COLUMNS.items():
        yield ""
        yield f"## {table}"
        yield ""
        yield "| column | type | meaning |"
        yield "|---|---|---|"
        for name, kind, meaning, nullable, _ in columns:
            mark = (" †" if name in CATEGORIES else "") + (" ∅" if nullable else "")
            yield f"| `{name}` | {kind}{mark} | {meaning.replace('|', '&#124;')} |"


if __name__ == "__main__":
    PAGE.write_text("".join(f"{line}\n" for line in lines()))
